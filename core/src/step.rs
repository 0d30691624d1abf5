//! The steps of the agent's cycle (PROTOCOL §5). Each is a small struct named for what it waits
//! for, in the file of the figure's step; here is their sum, and what they have in common.

mod activate;
mod advance;
mod lock;
mod read;
mod retrieve;

use crate::agent::Agent;
use crate::agent::Out;
use crate::effect::Event;
use crate::ids::{Generation, Token};
use crate::message::{Phase, Piece, Reply, ReplyBody, RequestBody};
use crate::time::{LocalTime, ServerTime};
#[cfg(test)]
pub(crate) use activate::Sampling;
pub(crate) use activate::{Armed, Seen};
pub(crate) use retrieve::Retrieving;

/// Where an agent is.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Step {
    /// Waits until then, and reads the table.
    Waiting { until: LocalTime },
    /// Waits for the table (steps 222, 224).
    Reading,
    /// Waits for the lock (step 220); when it was first asked for.
    Locking { since: LocalTime },
    /// Waits for the new cycle (steps 226 to 232); when its own lease is over.
    Advancing { token: Token, activation: ServerTime, lease_over: LocalTime },
    /// Waits for content (step 234).
    Retrieving(Retrieving),
    /// Waits for T (step 236).
    Armed(Armed),
}

impl Step {
    /// When time alone moves the step on; `idle` says that nothing is outstanding, `up` that
    /// something could be asked.
    pub(crate) fn wake(&self, idle: bool, up: bool) -> Option<LocalTime> {
        match self {
            Step::Waiting { until } => Some(*until),
            Step::Retrieving(retrieving) if idle && up => retrieving.wake(),
            Step::Retrieving(_) => None,
            Step::Armed(armed) => Some(armed.wake(idle && up)),
            Step::Reading | Step::Locking { .. } | Step::Advancing { .. } => None,
        }
    }

    pub(crate) fn phase(&self, current: bool) -> Phase {
        match self {
            Step::Waiting { .. } if current => Phase::Current,
            Step::Waiting { .. } => Phase::Waiting,
            Step::Reading => Phase::Reading,
            Step::Locking { .. } => Phase::Locking,
            Step::Advancing { .. } => Phase::Advancing,
            Step::Retrieving(_) => Phase::Retrieving,
            Step::Armed(_) => Phase::Armed,
        }
    }

    /// A step in which nothing of the cycle is waited for, so that a report costs no time.
    pub(crate) fn is_resting(&self) -> bool {
        matches!(self, Step::Waiting { .. } | Step::Armed(_))
    }

    pub(crate) fn target(&self) -> Option<Generation> {
        match self {
            Step::Retrieving(retrieving) => Some(retrieving.target),
            _ => None,
        }
    }
}

impl Agent {
    /// The one place where the step changes.
    pub(crate) fn go(&mut self, now: LocalTime, step: Step, effects: &mut Out<'_>) {
        self.step = step;
        self.route.objects.clear();
        if self.link.is_up() && self.outstanding.is_none() {
            self.continue_step(now, effects);
        }
    }

    /// Sends what the step waits for, where nothing is outstanding.
    pub(crate) fn continue_step(&mut self, now: LocalTime, effects: &mut Out<'_>) {
        debug_assert!(self.outstanding.is_none());
        let body = match &self.step {
            Step::Reading => Some(RequestBody::Read),
            Step::Locking { .. } => Some(RequestBody::Lock),
            Step::Advancing { token, activation, .. } => {
                Some(RequestBody::Advance { token: *token, activation: *activation })
            }
            Step::Retrieving(retrieving) => {
                // What readers are on, or were before a restart: the host keeps that until the route is
                // known, while what is staged makes room for the target. Should it be replaced
                // meanwhile, the host finds no base for a delta, which is a mismatch.
                let have = self.active.or(self.spare);
                retrieving.request(now, have, &self.route, self.config.accepts)
            }
            Step::Waiting { .. } | Step::Armed(_) => None,
        };
        if let Some(body) = body {
            self.ask(now, body, effects);
        }
    }

    /// What a step's own time brings.
    pub(crate) fn step_timers(&mut self, now: LocalTime, effects: &mut Out<'_>) {
        match &self.step {
            Step::Waiting { until } if until.passed(now) => self.go(now, Step::Reading, effects),
            Step::Retrieving(_) if self.outstanding.is_none() && self.link.is_up() => {
                self.continue_step(now, effects);
            }
            Step::Armed(armed) => {
                let armed = armed.clone();
                self.armed_timers(now, armed, effects);
            }
            _ => {}
        }
    }

    /// What becomes of a request that was not answered in time.
    pub(crate) fn request_timers(&mut self, now: LocalTime, effects: &mut Out<'_>) {
        if self.outstanding.as_ref().is_none_or(|request| !request.deadline.passed(now)) {
            return;
        }
        if let Some(RequestBody::Report(_) | RequestBody::Unlock { .. }) =
            self.outstanding.as_ref().map(|request| &request.body)
        {
            // Nothing waits for it.
            self.outstanding = None;
            return;
        }
        match &self.step {
            Step::Locking { .. } => self.lock_unanswered(now, effects),
            Step::Advancing { .. } => self.advance_unanswered(now, effects),
            Step::Retrieving(_) => {
                let again = self.backed_off(now);
                self.outstanding = None;
                self.retrieve_again(again);
            }
            Step::Reading => {
                let until = self.backed_off(now);
                self.outstanding = None;
                self.go(now, Step::Waiting { until }, effects);
            }
            // A sample: nothing waits for it, and the next may do better.
            Step::Waiting { .. } | Step::Armed(_) => self.outstanding = None,
        }
    }

    /// Sends the outstanding request again under its own number (`Lock` and `Advance` are
    /// idempotent by it).
    pub(crate) fn send_again(&mut self, now: LocalTime, effects: &mut Out<'_>) {
        let deadline = self.backed_off(now).max(now + self.round_trip());
        let Some(request) = &mut self.outstanding else { return };
        request.deadline = deadline;
        request.last_sent = now;
        let again = crate::message::Request {
            incarnation: self.incarnation,
            number: request.number,
            sent: now,
            body: request.body.clone(),
        };
        self.push(crate::effect::Effect::Send(again), effects);
    }

    /// A new connection: what was outstanding is asked again.
    pub(crate) fn ask_again(&mut self, now: LocalTime, effects: &mut Out<'_>) {
        match self.outstanding.as_ref().map(|request| &request.body) {
            Some(RequestBody::Lock | RequestBody::Advance { .. }) => self.send_again(now, effects),
            Some(_) => {
                self.outstanding = None;
                self.continue_step(now, effects);
            }
            None => self.continue_step(now, effects),
        }
    }

    /// An answer to the outstanding request, whose times were taken in already.
    #[inline(never)]
    pub(crate) fn on_answer<B: Piece>(&mut self, now: LocalTime, reply: &Reply<B>, effects: &mut Out<'_>) {
        let (received, answered) = (reply.stamp.received, reply.stamp.answered);
        match (&self.step, &reply.body) {
            (_, ReplyBody::Noted | ReplyBody::Unlocked) => self.attempt = 0,
            (Step::Armed(_), ReplyBody::Time) => self.step_timers(now, effects),
            (Step::Reading | Step::Waiting { .. }, ReplyBody::Table(table)) => {
                self.on_read(now, table, (received, answered), effects);
            }
            (Step::Locking { since }, body) => {
                let since = *since;
                self.on_lock_answer(now, since, body, effects);
            }
            (Step::Advancing { .. }, body) => self.on_advance_answer(now, body, effects),
            (Step::Retrieving(_), ReplyBody::Gone) => {
                let again = self.backed_off(now);
                self.event(Event::Gone, effects);
                self.go(
                    now,
                    if self.attempt > 1 { Step::Waiting { until: again } } else { Step::Reading },
                    effects,
                );
            }
            (Step::Retrieving(_), ReplyBody::Route(route)) => self.on_route(now, route, effects),
            (Step::Retrieving(_), ReplyBody::Bytes { offset, total, bytes }) => {
                self.on_bytes(now, *offset, *total, bytes.length(), effects);
            }
            _ => {
                self.event(Event::Unexpected, effects);
                let until = self.backed_off(now);
                if !matches!(self.step, Step::Armed(_)) {
                    self.go(now, Step::Waiting { until }, effects);
                }
            }
        }
    }
}
