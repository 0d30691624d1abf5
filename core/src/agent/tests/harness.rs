//! A farm in virtual time: agents with clocks of their own, a real `server::transition` at the other
//! end, and a network that delays, loses and repeats. [`Farm::drive`] goes from event to event and
//! checks after each what has to hold in every run: strict agents serve what is live (S7), readers
//! never go back (S9), and nobody is woken for nothing.

use super::*;
use crate::effect::{Cache, PollAt};
use crate::ids::{Digest, Name, RequestId};
use crate::message::{ErrorCode, ObjectRef, Route, Stamp, Welcome};
use crate::server::{Facts, Verdict, transition};
use crate::serving::{Serving, serving};
use crate::settings::{Limits, Settings};
use crate::table::SyncTable;
use crate::time::ServerTime;
use std::collections::BTreeMap;
use std::vec::Vec;

pub(super) const MS: i64 = 1_000_000;
pub(super) const SEC: i64 = 1_000 * MS;
/// When the farm is made, by its own clock; its slots are whole multiples of ten seconds.
pub(super) const START: i64 = 1_000 * SEC;

pub(super) fn settings() -> Settings {
    Settings {
        interval: Span::from_secs(10),
        lead: Span::from_secs(2),
        lease: Span::from_millis(200),
        round_trip: Span::from_millis(100),
        retrieve: Span::from_secs(1),
        stagger: Span::from_millis(200),
        early_limit: Span::from_millis(50),
        sample_window: Span::from_millis(50),
    }
}

/// What a test counts requests and loses them by.
pub(super) fn kind(body: &RequestBody) -> &'static str {
    match body {
        RequestBody::Read => "read",
        RequestBody::Lock => "lock",
        RequestBody::Advance { .. } => "advance",
        RequestBody::Unlock { .. } => "unlock",
        RequestBody::Route { .. } => "route",
        RequestBody::Fetch { .. } => "fetch",
        RequestBody::Report(_) => "report",
        RequestBody::Time => "time",
    }
}

/// On its way.
#[expect(clippy::large_enum_variant, reason = "a queue of a few")]
#[derive(Clone, Debug)]
enum Message {
    Hello,
    Request(Request),
    ToAgent(ToAgent<u16>),
    Verified(Generation, Verified),
    Copied,
}

/// An agent with its clock, its line and what its host was asked to do.
pub(super) struct Host {
    pub(super) agent: Agent,
    /// Its clock shows `offset` + true time · (1 + rate).
    pub(super) offset: i64,
    pub(super) rate_ppb: i64,
    /// One way, there and back.
    pub(super) latency: (i64, i64),
    /// Messages of an earlier connection are lost.
    connection: u32,
    pub(super) may_lock: bool,
    /// The next request of each of these kinds is lost; and the next reply to one.
    pub(super) lose: Vec<&'static str>,
    pub(super) lose_replies: Vec<&'static str>,
    /// Every reply comes again this much later.
    pub(super) repeat_after: Option<i64>,
    /// What is found at the next verifications; whole after those.
    pub(super) findings: Vec<Verified>,
    pub(super) copy_takes: i64,
    /// Requests sent, by kind, in order; events; what readers were given when it changed.
    pub(super) sent: Vec<(i64, &'static str)>,
    pub(super) events: Vec<(i64, Event)>,
    pub(super) seen: Vec<(i64, Serving)>,
    pub(super) begun: Vec<(Generation, Cache)>,
    pub(super) kept: u64,
    /// What is published: what readers go by.
    page: SwitchPlan,
    highest: Epoch,
    inputs: u32,
    /// S7 and S9 are not asked of a run that breaks the assumptions on purpose.
    pub(super) honest: bool,
}

pub(super) struct Farm {
    /// True time, which is also the server's but for `shift`.
    pub(super) now: i64,
    pub(super) shift: i64,
    pub(super) table: SyncTable,
    pub(super) production: Digest,
    pub(super) due: Vec<i64>,
    /// Lengths of the objects of a generation; one of 100 bytes where nothing is said.
    pub(super) objects: BTreeMap<Digest, Vec<u64>>,
    pub(super) hosts: Vec<Host>,
    pub(super) loss_percent: u64,
    random: u64,
    queue: BTreeMap<(i64, u64), (usize, u32, Message)>,
    number: u64,
    delivered: u64,
    /// T of each generation of the line, as true time.
    live: BTreeMap<Epoch, (Generation, i64)>,
}

struct Content<'a>(&'a Farm);
impl Facts for Content<'_> {
    fn first_due(&self, from: ServerTime) -> Option<ServerTime> {
        self.0.due.iter().map(|due| ServerTime::from_nanos(*due)).find(|due| *due >= from)
    }
    fn verdict(&self, _: ServerTime) -> Verdict {
        Verdict::Promote(self.0.production)
    }
}

pub(super) fn digest(of: u8) -> Digest {
    Digest([of; 32])
}
pub(super) fn generation(epoch: Epoch, of: u8) -> Generation {
    Generation { epoch, digest: digest(of) }
}
fn object(of: Digest, index: usize) -> Digest {
    let mut name = of;
    name.0[31] = index as u8 + 100;
    name
}

pub(super) fn config(mode: Mode) -> Config {
    Config { back_off: (Span::from_millis(100), Span::from_secs(1)), ..Config::new(AgentId([1; 16]), mode) }
}

pub(super) fn fresh(config: Config, now: LocalTime) -> Agent {
    let incarnation = Incarnation(77);
    Agent::new(config, Start { incarnation, boot: BootId(1), now, page: None, last_good: None })
}

impl Farm {
    /// A farm that was just made, with content 1, and no agents.
    pub(super) fn new() -> Farm {
        let farm = Name::new("f").unwrap();
        let now = ServerTime::from_nanos(START);
        let line = TimelineId { counter: 1, random: 1 };
        let limits = Limits::default();
        let table = SyncTable::new_farm(farm, line, digest(1), settings(), limits, None, now).unwrap();
        let mut farm = Farm {
            now: START,
            shift: 0,
            table,
            production: digest(1),
            due: Vec::new(),
            objects: BTreeMap::new(),
            hosts: Vec::new(),
            loss_percent: 0,
            random: 0x9e37_79b9_7f4a_7c15,
            queue: BTreeMap::new(),
            number: 0,
            delivered: 0,
            live: BTreeMap::new(),
        };
        farm.note_table();
        farm
    }

    /// The same with one fresh agent of the mode, connected.
    pub(super) fn with(mode: Mode) -> Farm {
        let mut farm = Farm::new();
        farm.add(config(mode));
        farm
    }

    /// The same, a few cycles later, 3 s into an interval: the agent holds k and waits for T.
    pub(super) fn armed(mode: Mode) -> Farm {
        let mut farm = Farm::with(mode);
        farm.drive(33 * SEC);
        assert_eq!(farm.host().agent.phase(), Phase::Armed);
        farm
    }

    /// Another agent, with an id of its own, connected at once.
    pub(super) fn add(&mut self, config: Config) -> usize {
        let index = self.hosts.len();
        let config = Config { agent: AgentId([index as u8 + 1; 16]), ..config };
        let offset = -(index as i64 + 1) * 17 * SEC;
        let now = LocalTime::from_nanos(self.now + offset);
        let agent = fresh(config, now);
        self.hosts.push(Host {
            page: *agent.plan(),
            agent,
            offset,
            rate_ppb: 0,
            latency: (5 * MS, 5 * MS),
            connection: 0,
            may_lock: true,
            lose: Vec::new(),
            lose_replies: Vec::new(),
            repeat_after: None,
            findings: Vec::new(),
            copy_takes: 0,
            sent: Vec::new(),
            events: Vec::new(),
            seen: Vec::new(),
            begun: Vec::new(),
            kept: 0,
            highest: 0,
            inputs: 0,
            honest: true,
        });
        self.connect(index);
        index
    }

    pub(super) fn host(&mut self) -> &mut Host {
        &mut self.hosts[0]
    }
    pub(super) fn plan(&self) -> SwitchPlan {
        *self.hosts[0].agent.plan()
    }
    pub(super) fn looks(&self, index: usize) -> Serving {
        serving(&self.hosts[index].page, self.hosts[index].local(self.now))
    }
    /// What every agent that is current serves: looked at when no switch is under way.
    pub(super) fn assert_current(&mut self, what: &str) {
        let near = self.activation() - self.now;
        if (-1_000 * MS..100 * MS).contains(&near) {
            self.drive(near + 1_100 * MS);
        }
        let passed = self.activation() <= self.now;
        let live = if passed { Some(self.table.staged) } else { self.table.active };
        for index in 0..self.hosts.len() {
            assert_eq!(self.looks(index).current(), live, "{what}: agent {index} at {}", self.now);
        }
    }
    /// An instant of the first agent's clock, as true time.
    pub(super) fn as_true(&self, instant: LocalTime) -> i64 {
        self.hosts[0].true_time(instant)
    }
    pub(super) fn activation(&self) -> i64 {
        self.table.activation.as_nanos() - self.shift
    }
    pub(super) fn server_now(&self) -> ServerTime {
        ServerTime::from_nanos(self.now + self.shift)
    }

    pub(super) fn connect(&mut self, index: usize) {
        self.hosts[index].connection += 1;
        self.input(index, Agent::connected);
    }
    pub(super) fn disconnect(&mut self, index: usize) {
        self.hosts[index].connection += 1;
        self.input(index, Agent::disconnected);
    }
    /// The agent's process dies and another takes its place, with or without the page.
    pub(super) fn restart(&mut self, index: usize, page: bool, boot: BootId, last_good: Option<Generation>) {
        let host = &mut self.hosts[index];
        let old = &host.agent;
        let now = host.offset + self.now;
        let start = Start {
            incarnation: Incarnation(old.incarnation.0 + 1),
            boot,
            now: LocalTime::from_nanos(now),
            page: page.then_some(old.published),
            last_good,
        };
        host.agent = Agent::new(old.config, start);
        host.page = *host.agent.plan();
        host.connection += 1;
    }

    /// A new line of the server's clock, `shift` away from the one before.
    pub(super) fn new_line(&mut self, old: crate::timeline::OldLine, shift: i64) {
        self.shift += shift;
        let line = self.table.timeline;
        let timeline = TimelineId { counter: line.counter + 1, random: line.random + 1 };
        let rate = Rate::from_ppm(100);
        self.table =
            crate::timeline::begin_line(&self.table, timeline, old, self.server_now(), rate, Guards::ALL);
    }

    /// One input to one agent, its effects carried out.
    pub(super) fn input(&mut self, index: usize, input: impl FnOnce(&mut Agent, LocalTime) -> Effects) {
        let host = &mut self.hosts[index];
        let now = host.local(self.now);
        host.inputs += 1;
        let effects = input(&mut host.agent, now);
        for effect in effects {
            self.carry_out(index, effect);
        }
        assert_eq!(self.hosts[index].page, *self.hosts[index].agent.plan(), "published as it is");
        self.look(index);
    }

    fn carry_out(&mut self, index: usize, effect: Effect) {
        let (now, host) = (self.now, &mut self.hosts[index]);
        let there = now + host.latency.0;
        match effect {
            Effect::Hello => self.post(index, there, Message::Hello),
            Effect::Send(request) => {
                let name = kind(&request.body);
                host.sent.push((now, name));
                if let Some(at) = host.lose.iter().position(|lost| *lost == name) {
                    host.lose.remove(at);
                } else if !self.unlucky() {
                    self.post(index, there, Message::Request(request));
                }
            }
            Effect::Publish(plan) => {
                assert!(plan.serial > host.page.serial);
                host.page = plan;
                self.look(index);
            }
            Effect::Begin { target, cache } => host.begun.push((target, cache)),
            Effect::Keep { len, .. } => host.kept += len as u64,
            Effect::Verify { target } => {
                let found = if host.findings.is_empty() { Verified::Whole } else { host.findings.remove(0) };
                self.post(index, now, Message::Verified(target, found));
            }
            Effect::Copy { .. } => {
                let done = now + host.copy_takes;
                self.post(index, done, Message::Copied);
            }
            Effect::Event(event) => host.events.push((now, event)),
        }
    }

    fn post(&mut self, index: usize, at: i64, message: Message) {
        self.number += 1;
        self.queue.insert((at, self.number), (index, self.hosts[index].connection, message));
    }

    fn unlucky(&mut self) -> bool {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % 100 < self.loss_percent
    }

    /// Until `span` nanoseconds from now.
    pub(super) fn drive(&mut self, span: i64) {
        let end = self.now + span;
        while self.step(end) {}
        self.now = end;
    }

    /// Until the condition holds, for a minute at most.
    pub(super) fn drive_until(&mut self, condition: impl Fn(&Farm) -> bool) {
        let end = self.now + 60 * SEC;
        while !condition(self) {
            assert!(self.step(end), "it didn't come to that within a minute");
        }
    }

    /// Until the first agent has sent so many requests of a kind.
    pub(super) fn drive_until_sent(&mut self, name: &'static str) {
        let before = self.hosts[0].count(name);
        self.drive_until(|farm| farm.hosts[0].count(name) > before);
    }

    /// The next event before `end`; false where there is none.
    pub(super) fn step(&mut self, end: i64) -> bool {
        let message = self.queue.first_key_value().map(|((at, _), _)| *at);
        let wakes = (0..self.hosts.len()).filter_map(|index| match self.hosts[index].agent.poll_at() {
            PollAt::At(at) => Some((self.hosts[index].true_time(at).max(self.now), index)),
            PollAt::Input => None,
        });
        let wake = wakes.min();
        let next = message.into_iter().chain(wake.map(|(at, _)| at)).min();
        let Some(next) = next.filter(|next| *next <= end) else { return false };
        self.look_until(next);
        self.now = next;
        if message == Some(next) {
            let (_, (index, connection, message)) = self.queue.pop_first().expect("there is one");
            self.deliver(index, connection, message);
        } else if let Some((_, index)) = wake {
            self.wake(index);
        }
        let inputs: u32 = self.hosts.iter().map(|host| host.inputs).sum();
        let seconds = (self.now - START) / SEC + 5;
        let most = 100 * seconds as u64 * self.hosts.len() as u64 + 4 * self.delivered;
        assert!((inputs as u64) < most, "{inputs} inputs in {seconds} s: somebody turns in a loop");
        true
    }

    fn wake(&mut self, index: usize) {
        let before = self.hosts[index].agent.clone();
        self.input(index, Agent::wake);
        let host = &self.hosts[index];
        let overdue = matches!(host.agent.poll_at(), PollAt::At(at) if at.passed(host.local(self.now)));
        assert!(!overdue || host.agent != before, "woken for nothing, and wants it again: {before:?}");
    }

    fn deliver(&mut self, index: usize, connection: u32, message: Message) {
        let of_the_host = matches!(message, Message::Verified(..) | Message::Copied);
        if connection != self.hosts[index].connection && !of_the_host {
            return;
        }
        self.delivered += 1;
        match message {
            Message::Hello => {
                let host = &self.hosts[index];
                let (at, may_lock) = (self.now + host.latency.1, host.may_lock);
                let welcome = Welcome {
                    incarnation: host.agent.incarnation,
                    version: 1,
                    timeline: self.table.timeline,
                    server_rate: Rate::from_ppm(100),
                    limits: self.table.limits,
                    may_lock,
                };
                self.post(index, at, Message::ToAgent(ToAgent::Welcome(welcome)));
            }
            Message::Request(request) => self.answer(index, request),
            Message::ToAgent(message) => self.input(index, |agent, now| agent.receive(now, &message)),
            Message::Verified(target, found) => {
                self.input(index, |agent, now| agent.verified(now, target, found));
            }
            Message::Copied => self.input(index, Agent::copied),
        }
    }

    fn answer(&mut self, index: usize, request: Request) {
        let host = &self.hosts[index];
        let id = RequestId {
            agent: host.agent.config.agent,
            incarnation: request.incarnation,
            number: request.number,
        };
        let now = self.server_now();
        let done = transition(&self.table, id, &request.body, now, &Content(self), Guards::ALL);
        let body = match done {
            Some(done) => {
                self.table = done.table;
                self.note_table();
                done.reply
            }
            None => self.content(&request.body),
        };
        let stamp = Stamp { timeline: self.table.timeline, echo: request.sent, received: now, answered: now };
        let reply = Reply { incarnation: request.incarnation, number: request.number, stamp, body };
        let (name, host) = (kind(&request.body), &mut self.hosts[index]);
        let back = self.now + host.latency.1;
        let lost = host.lose_replies.iter().position(|lost| *lost == name);
        if let Some(at) = lost {
            host.lose_replies.remove(at);
        } else if !self.unlucky() {
            if let Some(later) = self.hosts[index].repeat_after {
                self.post(index, back + later, Message::ToAgent(ToAgent::Reply(reply.clone())));
            }
            self.post(index, back, Message::ToAgent(ToAgent::Reply(reply)));
        }
    }

    fn content(&self, body: &RequestBody) -> ReplyBody {
        let held = [Some(self.table.staged), self.table.active].into_iter().flatten();
        let lens = |of: Digest| self.objects.get(&of).cloned().unwrap_or(std::vec![100]);
        match body {
            RequestBody::Route { target, .. } if held.clone().any(|held| held == *target) => {
                let refs = lens(target.digest).into_iter().enumerate();
                let objects =
                    refs.map(|(index, len)| ObjectRef { name: object(target.digest, index), len }).collect();
                ReplyBody::Route(Route { objects })
            }
            RequestBody::Fetch { object: name, offset, len } => {
                let found = held
                    .flat_map(|held| {
                        lens(held.digest).into_iter().enumerate().map(move |(i, len)| (held.digest, i, len))
                    })
                    .find(|(digest, index, _)| object(*digest, *index) == *name);
                let Some((_, _, total)) = found else { return ReplyBody::Gone };
                assert!(*len > 0 && offset + *len as u64 <= total, "asked for what isn't there");
                ReplyBody::Bytes { offset: *offset, total, bytes: *len }
            }
            RequestBody::Report(_) => ReplyBody::Noted,
            RequestBody::Time => ReplyBody::Time,
            _ => ReplyBody::Gone,
        }
    }

    /// A cycle that somebody else begins now.
    pub(super) fn advance_by_another(&mut self) {
        let id = RequestId { agent: AgentId([99; 16]), incarnation: Incarnation(1), number: self.number + 1 };
        let facts = Content(self);
        let now = self.server_now();
        let granted =
            transition::<u16>(&self.table, id, &RequestBody::Lock, now, &facts, Guards::ALL).unwrap().table;
        let lock = granted.lock.expect("nobody else holds it");
        let advance = RequestBody::Advance { token: lock.token, activation: lock.next };
        let done = transition::<u16>(&granted, id, &advance, now, &facts, Guards::ALL).unwrap();
        assert_ne!(done.table.epoch(), self.table.epoch());
        self.table = done.table;
        self.number += 1;
        self.note_table();
    }
    /// The lock, taken by somebody else who then dies.
    pub(super) fn lock_by_another(&mut self) {
        let id = RequestId { agent: AgentId([98; 16]), incarnation: Incarnation(1), number: self.number + 1 };
        let facts = Content(self);
        let lock = RequestBody::Lock;
        let done = transition::<u16>(&self.table, id, &lock, self.server_now(), &facts, Guards::ALL).unwrap();
        assert_eq!(done.table.lock.map(|lock| lock.holder), Some(id));
        self.table = done.table;
        self.number += 1;
    }

    fn note_table(&mut self) {
        let live = (self.table.staged, self.table.activation.as_nanos() - self.shift);
        // A new line names a later T for the same generation; what was published by the old one stays.
        let known = self.live.get(&self.table.epoch()).is_some_and(|(known, _)| *known == live.0);
        if !known {
            self.live.insert(self.table.epoch(), live);
        }
    }

    /// Looks where the plan of somebody says that something else is to be seen from there on.
    fn look_until(&mut self, next: i64) {
        for index in 0..self.hosts.len() {
            let plan = self.hosts[index].page;
            let borders = [plan.active_until, plan.staged_from, plan.staged_until];
            let mut instants: Vec<i64> = borders
                .iter()
                .map(|border| self.hosts[index].true_time(*border))
                .flat_map(|at| [at.saturating_sub(1), at])
                .filter(|at| (self.now..next).contains(at))
                .collect();
            instants.sort_unstable();
            for at in instants {
                let now = core::mem::replace(&mut self.now, at);
                self.look(index);
                self.now = now;
            }
        }
    }

    /// A read now, and what has to hold of it.
    fn look(&mut self, index: usize) {
        let (now, got) = (self.now, self.looks(index));
        let host = &mut self.hosts[index];
        if host.seen.last().is_none_or(|(_, last)| *last != got) {
            host.seen.push((now, got));
        }
        let Some(current) = got.current().filter(|_| host.honest) else { return };
        assert!(current.epoch >= host.highest, "S9: {current:?} after {}", host.highest);
        host.highest = current.epoch;
        if host.agent.config.mode == Mode::Strict {
            let (generation, from) = self.live[&current.epoch];
            let until = self.live.get(&(current.epoch + 1)).map_or(i64::MAX, |(_, until)| *until);
            assert_eq!(generation, current, "S6");
            assert!(from <= now && now < until, "S7: {current:?} at {now}, live in {from}..{until}");
        }
    }
}

impl Host {
    pub(super) fn local(&self, true_time: i64) -> LocalTime {
        let drift = true_time as i128 * self.rate_ppb as i128 / 1_000_000_000;
        LocalTime::from_nanos(true_time + self.offset + drift as i64)
    }
    /// The first true time at which the clock shows the instant.
    pub(super) fn true_time(&self, local: LocalTime) -> i64 {
        if local == LocalTime::MAX || local == LocalTime::MIN {
            return local.as_nanos();
        }
        let shown = local.as_nanos() as i128 - self.offset as i128;
        let mut at = (shown * 1_000_000_000 / (1_000_000_000 + self.rate_ppb as i128)) as i64;
        while !local.passed(self.local(at)) {
            at += 1;
        }
        at
    }
    pub(super) fn count(&self, name: &str) -> usize {
        self.sent.iter().filter(|(_, sent)| *sent == name).count()
    }
    /// Requests since an instant, reports left out.
    pub(super) fn sent_since(&self, from: i64) -> Vec<&'static str> {
        self.sent
            .iter()
            .filter(|(at, name)| *at >= from && *name != "report")
            .map(|(_, name)| *name)
            .collect()
    }
    pub(super) fn had(&self, wanted: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|(_, event)| wanted(event)).count()
    }
    pub(super) fn epochs_seen(&self) -> Vec<Epoch> {
        let mut epochs: Vec<Epoch> =
            self.seen.iter().filter_map(|(_, seen)| seen.current()).map(|seen| seen.epoch).collect();
        epochs.dedup();
        epochs
    }
    pub(super) fn error(&mut self, now: i64, code: ErrorCode) -> Effects {
        let at = self.local(now);
        let message = ToAgent::Error { incarnation: self.agent.incarnation, code };
        self.agent.receive(at, &message)
    }
}
