//! Carries out what core's machine asks for, in its order: messages, plans, content, copies, events.

use crate::clock::Reading;
use crate::driver::Driver;
use crate::held::Held;
use crate::line::Link;
use crate::shelf;
use crate::status::What;
use crate::worker::Job;
use downbeat_core::effect::{Effect, Effects, Verified};
use downbeat_core::ids::{Digest, Generation};
use downbeat_core::message::{Request, RequestBody, Route, ToServer};
use downbeat_core::serving::SwitchPlan;
use downbeat_core::time::LocalTime;
use downbeat_trace::Input;
use std::sync::Arc;

/// Bytes that the worker is given at once.
const PIECE: usize = 64 << 10;

/// What an input brought that is the host's and never enters the machine.
#[derive(Default)]
pub(crate) struct Cause<'a> {
    /// The content of a `Bytes` reply.
    pub(crate) bytes: &'a [u8],
    /// The route of a `Route` reply.
    pub(crate) route: Option<&'a Route>,
}

impl Driver {
    pub(crate) fn carry_out(&mut self, reading: Reading, effects: Effects, cause: &Cause<'_>) {
        let now = reading.local;
        for effect in effects {
            match effect {
                Effect::Hello => drop(self.send(&ToServer::Hello(self.hello.clone()))),
                Effect::Send(request) => self.send_request(request),
                Effect::Publish(plan) => self.publish(now, &plan),
                Effect::Begin { target, .. } => self.begin(now, target, cause.route),
                Effect::Keep { .. } => self.keep(now, cause.bytes),
                Effect::Verify { target } => self.verify(now, target),
                // Both buffers are memory: the copy is done as soon as it is asked for.
                Effect::Copy { .. } => self.copied = true,
                Effect::Event(event) => self.board.tell(now, What::Protocol(event)),
            }
        }
    }

    fn send_request(&mut self, request: Request) {
        if let RequestBody::Route { have, .. } = &request.body {
            self.have = *have;
        }
        let for_content = matches!(request.body, RequestBody::Route { .. } | RequestBody::Fetch { .. });
        let sent = self.in_datagram(&request) || {
            // As late as can be, so that the enclosure's upper end ages as little as can be.
            self.send(&ToServer::Request(Request { sent: self.clock.now(), ..request }))
        };
        if sent {
            self.board.count(|counters| {
                counters.requests += 1;
                counters.content_requests += u64::from(for_content);
            });
        }
    }

    /// Sends a time sample past the connection, where that can be.
    fn in_datagram(&mut self, request: &Request) -> bool {
        let Link::Up(line) = &mut self.link else { return false };
        let Some(path) = line.time_path.as_mut().filter(|_| request.body == RequestBody::Time) else {
            return false;
        };
        self.awaits_datagram = path.ask(request.incarnation, request.number, || self.clock.now());
        self.awaits_datagram
    }

    /// False where the message is dropped.
    fn send(&mut self, message: &ToServer) -> bool {
        let sent = match &mut self.link {
            Link::Up(line) => line.send(message),
            Link::Down { .. } | Link::Dialing(_) => false,
        };
        if !sent {
            self.board.count(|counters| counters.unsent += 1);
        }
        sent
    }

    /// The content of both generations stands on the shelf before a plan names them.
    fn publish(&mut self, now: LocalTime, plan: &SwitchPlan) {
        let agent = &self.agent;
        let needed = |digest| agent.keeps(Generation { epoch: 0, digest });
        shelf::publish(&mut self.plan, &self.shelf, plan, needed);
        self.board.tell(now, What::Published(*plan));
        let served = plan.active.filter(|_| !plan.stale);
        self.last_good = served.or(self.last_good);
        // Also what is verified, or was, and isn't named by a plan yet.
        let held: Vec<_> = self.shelf.digests().chain(self.verifying).collect();
        // Most plans before T only have other instants, and the worker needn't wake for them.
        if self.settled.as_ref().is_none_or(|settled| (settled.0, &settled.1) != (served, &held)) {
            self.settled = Some((served, held.clone()));
            self.ask_worker(now, Job::Settle { good: served, held });
        }
    }

    fn begin(&mut self, now: LocalTime, target: Generation, route: Option<&Route>) {
        self.arrived.clear();
        let route = Box::new(route.cloned().unwrap_or_default());
        let base = self.have.map(|have| have.digest);
        self.ask_worker(now, Job::Begin { target, route, base });
    }

    fn keep(&mut self, now: LocalTime, bytes: &[u8]) {
        self.arrived.extend_from_slice(bytes);
        if self.arrived.len() >= PIECE {
            let piece = std::mem::take(&mut self.arrived);
            self.ask_worker(now, Job::Bytes(piece));
        }
    }

    fn verify(&mut self, now: LocalTime, target: Generation) {
        let piece = std::mem::take(&mut self.arrived);
        self.ask_worker(now, Job::Bytes(piece));
        self.verification += 1;
        self.verifying = Some(target.digest);
        self.ask_worker(now, Job::Verify { number: self.verification, target });
    }

    pub(crate) fn ask_worker(&mut self, now: LocalTime, job: Job) {
        if !self.jobs.ask(job) {
            let text = "the agent's worker thread has ended; restart the agent".to_string();
            self.board.tell(now, What::Warning(text));
        }
    }

    /// What the worker found.
    pub(crate) fn on_verified(
        &mut self,
        reading: Reading,
        target: Generation,
        found: Verified,
        held: Option<Arc<Held>>,
        cause: Option<String>,
    ) {
        self.verifying = None;
        let now = reading.local;
        match (found, cause) {
            (Verified::Vetoed(why), Some(cause)) => self.board.tell(now, What::Refused(target, why, cause)),
            (_, Some(cause)) => self.board.tell(now, What::Warning(cause)),
            (_, None) => {}
        }
        if let Some(held) = held {
            self.put(target.digest, held);
        }
        self.give(reading, &Input::Verified { target, found }, &Cause::default());
    }

    /// Puts a generation on the shelf. Readers that keep another one of the same digest go over.
    fn put(&mut self, digest: Digest, held: Arc<Held>) {
        let before = self.shelf.get(digest);
        self.shelf.put(digest, held);
        if let Some(before) = before {
            before.supersede();
            self.plan.publish_again();
        }
    }

    /// The worker has made one file of an image's layers.
    pub(crate) fn on_compacted(&mut self, now: LocalTime, of: &Arc<Held>, held: Arc<Held>) {
        let digest = held.image.digest();
        if self.shelf.get(digest).is_some_and(|held| Arc::ptr_eq(&held, of)) {
            self.put(digest, held);
            self.board.tell(now, What::Compacted(digest));
        }
    }
}
