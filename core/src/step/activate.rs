//! Steps 236, 250 and 252: an agent that holds the staged generation samples the server's clock
//! shortly before T, fixes its switch, and afterwards keeps house. The switch itself is a
//! comparison made by every read (`serving`); nothing here has to be on time.

use super::Step;
use crate::agent::Agent;
use crate::agent::Out;
use crate::effect::{Effect, Event};
use crate::message::{RequestBody, Switched};
use crate::serving::{Activation, SwitchPlan};
use crate::time::{LocalTime, ServerTime, Span};

/// Waits for T: for the samples before it, and for the first read after it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Armed {
    /// Samples still to be taken.
    left: u8,
    /// When the next one is taken.
    next: LocalTime,
    /// How long one may take before the next is asked for.
    patience: Span,
    /// Until when samples can help: T has certainly not passed.
    until: LocalTime,
    /// When the table is read again: when T has certainly passed, and not before `least`.
    read_again: LocalTime,
    /// Until when a server that only estimates its clock may say that T is to come; the earliest instant
    /// where it doesn't.
    least: LocalTime,
    /// The samples are in (or too late): a prompt agent's switch is the midpoint from here on.
    pub(crate) decided: bool,
}

/// When a readers' boundary is that a plan named.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Where the plan says: it was published before.
    AsPlanned,
    /// Not before now: the plan that has it in the past was published by this input, or the copy is whole
    /// only now.
    Now,
}

/// The samples before T: each is asked for when the one before is answered. What wakes an agent is paid once so,
/// and from the second one on nothing has to be fetched anew on either side, so that they are the narrowest
/// that the way allows. Agents begin at instants of their own within the window.
#[derive(Clone, Copy)]
pub(crate) struct Sampling {
    /// How long before the earliest T the first one may begin, and
    pub(crate) window: Span,
    /// over how much of that agents are spread: what is left then is enough for the trips of all of them, and
    /// for a host whose timers are late by milliseconds.
    pub(crate) spread: Span,
    /// How long one may take before the next is asked for.
    pub(crate) patience: Span,
}

impl Sampling {
    /// So many, of which each takes a trip.
    pub(crate) fn over(window: Span, samples: u8, trip: Span) -> Sampling {
        let left = trip.times(i64::from(samples)).max(window.part(4));
        let patience = window.part(i64::from(samples) + 1).max(trip.times(2));
        Sampling { window, spread: (window - left).or_zero(), patience }
    }
}

impl Armed {
    pub(crate) fn new(
        samples: u8,
        until: LocalTime,
        Sampling { window, patience, .. }: Sampling,
        delay: Span,
        (read_again, least): (LocalTime, LocalTime),
    ) -> Armed {
        let next = until - window + delay;
        let read_again = read_again.max(least);
        Armed { left: samples, next, patience, until, read_again, least, decided: false }
    }

    /// `idle`: another sample could be asked for.
    pub(crate) fn wake(&self, idle: bool) -> LocalTime {
        if self.decided {
            self.read_again
        } else if self.left == 0 || !idle {
            self.until.min(self.read_again)
        } else {
            self.next.min(self.until)
        }
    }
}

/// For checkers (`symmetry`).
impl Armed {
    /// Clears what is not looked at once the last sample was asked for, or the switch is decided.
    pub(crate) fn forget_samples(&mut self) {
        if self.left == 0 || self.decided {
            (self.left, self.next, self.patience) = (0, LocalTime::MIN, Span::ZERO);
        }
        if self.decided {
            self.until = LocalTime::MIN;
        }
    }

    /// The same with other names for instants.
    pub(crate) fn renamed(&self, mut local: impl FnMut(LocalTime) -> LocalTime) -> Armed {
        Armed {
            next: local(self.next),
            until: local(self.until),
            read_again: local(self.read_again),
            least: local(self.least),
            ..self.clone()
        }
    }
}

impl Agent {
    pub(super) fn armed_timers(&mut self, now: LocalTime, mut armed: Armed, effects: &mut Out<'_>) {
        if armed.read_again.passed(now) {
            self.outstanding = None;
            return self.go(now, Step::Reading, effects);
        }
        let idle = self.outstanding.is_none();
        if self.link.is_up() && armed.left > 0 && armed.next.passed(now) && !armed.until.passed(now) && idle {
            armed.left -= 1;
            // One that is lost must not cost those after it.
            let soon = armed.patience.max(self.last_trip.times(2)).min(self.round_trip());
            let patience = if armed.left > 0 { soon } else { self.round_trip() };
            self.step = Step::Armed(armed);
            return self.ask_within(now, patience, RequestBody::Time, effects);
        }
        // A connection that is down may be up again before T: only the last sample or T itself decides.
        let sampled = armed.left == 0 && idle;
        if !armed.decided && (sampled || armed.until.passed(now)) {
            armed.decided = true;
            self.step = Step::Armed(armed);
            self.read_again_sooner();
            self.refresh_plan(now, true, effects);
        }
    }

    /// What was known when the wait began is as old as the wait; the samples tell when T has passed, and the
    /// last of them may be answered only after T could have.
    pub(crate) fn read_again_sooner(&mut self) {
        let Some(first_read) = self.table.as_ref().map(|table| self.first_read(table)) else { return };
        if let Step::Armed(armed) = &mut self.step
            && armed.decided
        {
            armed.read_again = armed.read_again.min(first_read).max(armed.least);
        }
    }

    /// Fig. 6, step 252, as housekeeping: what readers already see becomes the active cache.
    pub(crate) fn keep_house(&mut self, now: LocalTime, seen: Seen, effects: &mut Out<'_>) {
        if self.start_wait.is_some_and(|until| until.passed(now)) {
            self.serve_last_good(effects);
        }
        if self.old_plan_ends().is_some_and(|end| end.passed(now)) {
            self.refresh_plan(now, self.has_decided(), effects);
        }
        let Some(staged) = self.published.staged else { return };
        if !self.published.staged_from.passed(now) || self.copying {
            return;
        }
        let changed = self.published.active.is_none_or(|active| active.digest != staged.digest);
        if self.config.activation == Activation::Copy && changed {
            self.copying = true;
            return self.push(Effect::Copy { generation: staged }, effects);
        }
        self.promote(now, seen, effects);
    }

    /// The server says that T has passed, whatever the local bounds still leave open. Where caches
    /// are copied, readers are held from now until the copy is whole.
    pub(crate) fn go_live_now(&mut self, now: LocalTime, effects: &mut Out<'_>) {
        let pending = self.published.staged.is_some() && self.published.staged == self.staged;
        if !pending {
            self.active = self.staged.take();
            return;
        }
        let now_or_before = |instant: LocalTime| instant.min(now);
        let plan = SwitchPlan {
            active_until: now_or_before(self.published.active_until),
            staged_from: now_or_before(self.published.staged_from),
            ..self.published
        };
        self.publish(plan, effects);
        self.keep_house(now, Seen::Now, effects);
    }

    /// The published switch is over: staged is the active cache from here on.
    pub(crate) fn promote(&mut self, now: LocalTime, seen: Seen, effects: &mut Out<'_>) {
        let switched = self.published;
        let Some(staged) = switched.staged else { return };
        self.active = Some(staged);
        if self.staged == Some(staged) {
            self.staged = None;
        }
        let at = if seen == Seen::Now { now } else { switched.staged_from };
        let held = at - switched.active_until;
        let record = Switched {
            epoch: staged.epoch,
            at: self.clock.midpoint(at).unwrap_or(ServerTime::MIN),
            epsilon: self.clock.epsilon(at).unwrap_or(Span::MAX),
            held: if switched.active.is_some() { held.or_zero() } else { Span::ZERO },
        };
        self.switched = Some(record);
        self.report_due = self.config.reports;
        self.event(Event::Switched(record), effects);
        let plan = SwitchPlan {
            active: Some(staged),
            active_until: switched.staged_until,
            ..SwitchPlan::nothing(self.boot, self.config.mode, self.config.activation)
        };
        self.publish(plan, effects);
    }

    /// No server was reached in time, or none that names an active generation: a prompt agent serves
    /// what it served last, marked stale.
    fn serve_last_good(&mut self, effects: &mut Out<'_>) {
        self.start_wait = None;
        let Some(last_good) = self.spare else { return };
        if self.published.active.is_some() {
            return;
        }
        if self.staged.is_none() {
            self.active = Some(last_good);
        }
        self.event(Event::ServingLastGood(last_good), effects);
        // Where no active generation is named, the switch that is planned stays as it is.
        self.publish(SwitchPlan { active: Some(last_good), stale: true, ..self.published }, effects);
    }
}
