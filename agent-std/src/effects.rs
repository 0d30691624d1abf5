//! Carries out what core's machine asks for, in its order: messages, plans, content, copies, events.

use crate::clock::Reading;
use crate::content::Content;
use crate::driver::Driver;
use crate::filling::Filling;
use crate::line::Link;
use crate::shelf;
use crate::status::What;
use crate::worker::Job;
use downbeat_core::effect::{Effect, Effects, Verified};
use downbeat_core::ids::Generation;
use downbeat_core::message::{Request, Route, ToServer};
use downbeat_core::serving::SwitchPlan;
use downbeat_core::time::LocalTime;
use downbeat_trace::Input;
use std::sync::Arc;

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
                Effect::Hello => self.send(&ToServer::Hello(self.hello.clone())),
                Effect::Send(request) => self.send_request(request),
                Effect::Publish(plan) => self.publish(now, &plan),
                Effect::Begin { target, .. } => self.begin(target, cause.route),
                Effect::Keep { .. } => {
                    if let Some(filling) = &mut self.filling {
                        filling.keep(cause.bytes);
                    }
                }
                Effect::Verify { target } => self.verify(reading, target),
                // Both buffers are memory: the copy is done as soon as it is asked for.
                Effect::Copy { .. } => self.copied = true,
                Effect::Event(event) => self.board.tell(now, What::Protocol(event)),
            }
        }
    }

    fn send_request(&mut self, request: Request) {
        // As late as can be, so that the enclosure's upper end ages as little as can be.
        self.send(&ToServer::Request(Request { sent: self.clock.now(), ..request }));
    }

    fn send(&mut self, message: &ToServer) {
        let sent = match &mut self.link {
            Link::Up(line) => line.send(message),
            Link::Down { .. } | Link::Dialing(_) => false,
        };
        if !sent {
            self.board.count(|counters| counters.unsent += 1);
        }
    }

    /// The content of both generations stands on the shelf before a plan names them.
    fn publish(&mut self, now: LocalTime, plan: &SwitchPlan) {
        let agent = &self.agent;
        let needed = |digest| agent.keeps(Generation { epoch: 0, digest });
        shelf::publish(&mut self.plan, &self.shelf, plan, needed);
        self.board.tell(now, What::Published(*plan));
        let served = plan.active.filter(|_| !plan.stale);
        if served.is_some() && served != self.last_good {
            self.last_good = served;
            // Also what is verified, or was, and isn't named by a plan yet.
            let needed = self.shelf.digests().chain(self.verifying).collect();
            self.ask_worker(now, served.map(|generation| Job::Good { generation, needed }));
        }
    }

    fn begin(&mut self, target: Generation, route: Option<&Route>) {
        let nothing = Route::default();
        let route = route.unwrap_or(&nothing);
        let datasets = &self.hello.datasets;
        self.filling = Some(Filling::begin(target, route, datasets, self.content_limit, self.keeps_raw));
    }

    fn verify(&mut self, reading: Reading, target: Generation) {
        self.verification += 1;
        let number = self.verification;
        match self.filling.take().filter(|filling| filling.target == target) {
            Some(filling) => {
                self.verifying = Some(target.digest);
                self.ask_worker(reading.local, Some(Job::Verify { number, filling: Box::new(filling) }));
            }
            // Nothing of it is here: it is asked for again.
            None => self.on_verified(reading, target, Verified::Mismatch, None, None),
        }
    }

    fn ask_worker(&mut self, now: LocalTime, job: Option<Job>) {
        if job.is_some_and(|job| self.jobs.send(job).is_err()) {
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
        content: Option<Arc<Content>>,
        cause: Option<String>,
    ) {
        self.verifying = None;
        let now = reading.local;
        match (found, cause) {
            (Verified::Vetoed(why), Some(cause)) => self.board.tell(now, What::Refused(target, why, cause)),
            (_, Some(cause)) => self.board.tell(now, What::Warning(cause)),
            (_, None) => {}
        }
        if let Some(content) = content {
            self.shelf.put(target.digest, content);
        }
        self.give(reading, &Input::Verified { target, found }, &Cause::default());
    }
}
