//! The server of the model: core's transition over a store, a line with a mark, and the ends that a
//! process can come to.

use super::{Committing, Content, Line, Packet, Payload, Scheduled, Store, World, agent_id};
use crate::configuration::{Configuration, Kind, Twist};
use crate::record::Happened;
use downbeat_core::guard::Guard;
use downbeat_core::ids::{RequestId, TimelineId};
use downbeat_core::message::{ObjectRef, Reply, ReplyBody, Request, RequestBody, Route, Stamp, ToAgent};
use downbeat_core::server::{Facts, Transition, Verdict, answer_from_snapshot, transition};
use downbeat_core::time::{ServerTime, Span};
use downbeat_core::timeline::{Mark, OldLine, begin_line};

/// How far ahead of its clock the model's server stores its mark.
fn mark_ahead(config: &Configuration) -> Span {
    Span::from_nanos(2 * config.unit())
}

impl Scheduled {
    /// Whether the record is visible at an activation (PROTOCOL §7).
    pub fn visible(&self, activation: ServerTime) -> bool {
        self.effective <= activation && self.expires.is_none_or(|expires| expires > activation)
    }
}

impl Store {
    /// Production as of an activation.
    pub fn candidate(&self, activation: ServerTime) -> Content {
        let scheduled = self.scheduled.is_some_and(|record| record.visible(activation));
        Content { version: self.production, scheduled }
    }
}

impl Facts for Store {
    fn first_due(&self, at_or_after: ServerTime) -> Option<ServerTime> {
        let record = self.scheduled?;
        let instants = [Some(record.effective), record.expires];
        instants.into_iter().flatten().filter(|instant| *instant >= at_or_after).min()
    }
    fn verdict(&self, activation: ServerTime) -> Verdict {
        let digest = self.candidate(activation).digest();
        if digest == self.table.staged.digest { Verdict::Unchanged } else { Verdict::Promote(digest) }
    }
}

impl World {
    /// Whether a request has to wait for the transaction under way.
    pub(crate) fn waits_for_commit(&self, request: &Request) -> bool {
        self.server.committing.is_some()
            && answer_from_snapshot::<u16>(&self.server.store.table, &request.body, self.server_now())
                .is_none()
            && !matches!(
                request.body,
                RequestBody::Route { .. } | RequestBody::Fetch { .. } | RequestBody::Report(_)
            )
    }

    /// A request is received and answered at once.
    pub(crate) fn serve(&mut self, config: &Configuration, agent: usize, via: u8, request: &Request) {
        if !self.processes.is_empty() && !self.reads_clock(config, via as usize) {
            return;
        }
        let received = self.upper_end(config, via);
        let body = self.answer(config, agent, request, self.server_now());
        self.reply(config, (agent, via), request, received, body);
    }

    /// A request is received, and its transaction lasts.
    pub fn serve_slowly(&mut self, config: &Configuration, index: usize) {
        let request = self.network.remove(index);
        if !self.processes.is_empty() && !self.reads_clock(config, request.via as usize) {
            return;
        }
        let (received, read) = (self.upper_end(config, request.via), self.server_now());
        self.server.committing = Some(Committing { request, received, read });
    }

    /// The transaction under way ends: with its write, and with the answer or without.
    pub fn commit(&mut self, config: &Configuration, answered: bool) {
        let Some(Committing { request, received, read }) = self.server.committing.take() else { return };
        let Payload::Request(body) = &request.payload else { return };
        let agent = request.agent as usize;
        let answer = self.answer(config, agent, body, read);
        if answered {
            self.reply(config, (agent, request.via), body, received, answer);
        }
    }

    /// What a request does to the store, and its answer.
    fn answer(
        &mut self,
        config: &Configuration,
        agent: usize,
        request: &Request,
        now: ServerTime,
    ) -> (ReplyBody<u16>, Option<Content>) {
        let id =
            RequestId { agent: agent_id(agent), incarnation: request.incarnation, number: request.number };
        let seen = self.twisted_table(config, &request.body, now);
        let facts = self.asked(config, now);
        let done = transition::<u16>(&seen, id, &request.body, now, &facts, config.guards);
        if let Some(Transition { table, reply, .. }) = done {
            let table = self.kept_table(config, table);
            let before = self.server.store.table.clone();
            self.record_transition(&before, &table, request, &reply, now);
            self.server.store.table = table;
            return (reply, None);
        }
        self.answer_content(config, &request.body)
    }

    fn answer_content(
        &self,
        config: &Configuration,
        request: &RequestBody,
    ) -> (ReplyBody<u16>, Option<Content>) {
        let table = &self.server.store.table;
        let known =
            |digest| digest == table.staged.digest || table.active.is_some_and(|gen_| gen_.digest == digest);
        let gone = config.guards.on(Guard::Gone);
        let len = if config.two_parts { 1_000 } else { 1 };
        match request {
            RequestBody::Route { target, .. } if known(target.digest) || !gone => {
                let mut route = Route::default();
                let object = ObjectRef { name: target.digest, len };
                route.objects.push(object).expect("a route has room for one object");
                (ReplyBody::Route(route), None)
            }
            RequestBody::Fetch { object, offset, len: wanted } if known(*object) || !gone => {
                let content = if known(*object) { *object } else { table.staged.digest };
                let body = ReplyBody::Bytes { offset: *offset, total: len, bytes: *wanted };
                (body, Some(Content::of(content)))
            }
            RequestBody::Report(_) => (ReplyBody::Noted, None),
            RequestBody::Time => (ReplyBody::Time, None),
            _ => (ReplyBody::Gone, None),
        }
    }

    /// Sends an answer with the times of this transmission.
    fn reply(
        &mut self,
        config: &Configuration,
        (agent, via): (usize, u8),
        request: &Request,
        received: ServerTime,
        (body, content): (ReplyBody<u16>, Option<Content>),
    ) {
        let mut stamp = Stamp {
            timeline: self.line_known(via),
            echo: request.sent,
            received,
            answered: self.lower_end(config, via),
        };
        self.remember(config, agent, request, &mut stamp);
        self.note_promise(&body);
        let reply = Reply { incarnation: request.incarnation, number: request.number, stamp, body };
        self.send(agent, via, Payload::Answer(ToAgent::Reply(reply), content));
    }

    /// How far a server that only estimates its clock stamps it outwards.
    pub(super) fn stamp_epsilon(&self, config: &Configuration) -> Span {
        let epsilon = Span::from_nanos(config.server_epsilon);
        if World::twisted(config, Twist::InnerEnds) { Span::ZERO - epsilon } else { epsilon }
    }

    /// A broken server remembers parts of the transmission with the answer.
    fn remember(&mut self, config: &Configuration, agent: usize, request: &Request, stamp: &mut Stamp) {
        let (times, line) = (
            World::twisted(config, Twist::RememberedTimes),
            World::twisted(config, Twist::RememberedTimeline),
        );
        if !(times || line) {
            return;
        }
        let key = (agent as u8, request.incarnation, request.number);
        let known = self.server.remembered.iter().find(|known| (known.0, known.1, known.2) == key);
        match known {
            Some(known) if times => {
                (stamp.received, stamp.answered) = (known.3, known.3);
            }
            Some(known) => stamp.timeline = known.4,
            None => self.server.remembered.push((key.0, key.1, key.2, stamp.received, stamp.timeline)),
        }
    }

    pub(crate) fn store_mark(&mut self, config: &Configuration) {
        let now = self.server_now();
        self.server.mark = Mark { until: now + mark_ahead(config), stored_at: now };
    }

    /// The last mark as a start finds it: read outwards, by a tick of either line, where lines are
    /// clocks that may miss a tick.
    pub(super) fn mark_found(&self, config: &Configuration) -> Mark {
        let step = Configuration::granularity(config.server_rate).times(2);
        Mark { stored_at: self.server.mark.stored_at - step, ..self.server.mark }
    }

    /// It starts again where the old line can't be continued, and finds the last mark, one from before
    /// it (a mark that was being stored when the process ended may be lost), or none: then nothing is
    /// known of how far the old line has come, as after a restore (PROTOCOL §8).
    pub fn server_moves(&mut self, config: &Configuration, kind: Kind, shift: i64) {
        let mark = self.mark_found(config);
        let old = match kind {
            Kind::MarkLost => OldLine::Unknown,
            Kind::MarkOld => OldLine::MarkStored(Mark {
                until: mark.until - mark_ahead(config),
                stored_at: mark.stored_at - mark_ahead(config),
            }),
            _ => OldLine::MarkStored(mark),
        };
        if kind == Kind::MarkLost {
            self.record.note(Happened::MarkLost);
        }
        self.server_begins_line(config, shift, old);
    }

    /// The server's process ends. Sockets break: what was on its way is lost.
    pub fn server_ends(&mut self, config: &Configuration, committed: bool) {
        if committed {
            self.commit(config, false);
        }
        self.server.committing = None;
        self.server.up = false;
        self.network.clear();
    }

    /// It starts again within the same boot: the line continues exactly.
    pub fn server_continues(&mut self, config: &Configuration) {
        self.server.up = true;
        if self.server.mark.until < self.server_now() {
            self.store_mark(config);
        }
        self.reconnect(config);
    }

    /// It starts again where the old line can't be continued: a new one, `shift` ticks off.
    pub fn server_begins_line(&mut self, config: &Configuration, shift: i64, old: OldLine) {
        let offset = self.line().offset + shift;
        let counter = self.lines.len() as u64 + 1;
        let id = if World::twisted(config, Twist::LineIdAgain) && old == OldLine::Unknown {
            self.line().id
        } else {
            TimelineId { counter, random: counter }
        };
        self.lines.push(Line { id, offset });
        (self.server.error, self.server.last_error) = (0, None);
        let now = self.server_now();
        let table = begin_line(&self.server.store.table, id, old, now, config.server_rate, config.guards);
        self.server.store.table = table;
        self.server.up = true;
        self.store_mark(config);
        self.record_line();
        if self.processes.is_empty() {
            self.reconnect(config);
        }
    }

    /// The store is replaced by the first backup or the last, after the old server has certainly stopped.
    pub fn server_restored(&mut self, config: &Configuration, last: bool, shift: i64) {
        let backups = &self.server.backups;
        let Some(backup) = if last { backups.last() } else { backups.first() }.cloned() else { return };
        self.server_ends(config, false);
        self.server.store = backup;
        self.server_begins_line(config, shift, OldLine::Unknown);
    }

    /// Agents that were started while there was no server reach it now.
    fn reconnect(&mut self, config: &Configuration) {
        for index in 0..self.hosts.len() {
            if self.hosts[index].agent.table().is_none() {
                self.connect(config, index);
            }
        }
    }

    /// A packet's request, for the choice of what may last.
    pub fn is_write(packet: &Packet) -> bool {
        matches!(
            &packet.payload,
            Payload::Request(Request { body: RequestBody::Lock | RequestBody::Advance { .. }, .. })
        )
    }
}
