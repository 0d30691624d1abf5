//! What a host may ask a machine. Nothing here changes it.

use super::Agent;
use crate::clock::Enclosure;
use crate::effect::PollAt;
use crate::ids::{Generation, Incarnation, TimelineId};
use crate::message::{Phase, Report};
use crate::plan;
use crate::serving::{Mode, Serving, SwitchPlan, serving};
use crate::table::TableView;
use crate::time::{LocalTime, Span};

impl Agent {
    /// When the machine wants to be woken next.
    pub fn poll_at(&self) -> PollAt {
        let wakes = [
            self.link.wake(),
            self.outstanding.as_ref().filter(|_| self.link.is_up()).map(|request| request.deadline),
            self.step.wake(self.outstanding.is_none(), self.link.is_up()),
            self.published.staged.filter(|_| !self.copying).map(|_| self.published.staged_from),
            self.old_plan_ends(),
            self.start_wait,
        ];
        wakes.into_iter().flatten().min().filter(|at| *at != LocalTime::MAX).map_or(PollAt::Input, PollAt::At)
    }

    /// The published plan: what readers go by.
    pub fn plan(&self) -> &SwitchPlan {
        &self.published
    }

    /// Which life of the agent this is.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// What the agent knows of the server's clock.
    pub fn clock(&self) -> &Enclosure {
        &self.clock
    }

    /// The number of its last request (for checkers).
    pub fn last_number(&self) -> u64 {
        self.last_number
    }

    /// The number of the request that it waits for an answer to.
    pub fn asks(&self) -> Option<u64> {
        self.outstanding.as_ref().map(|request| request.number)
    }

    /// Whether a reply with this id would be used.
    pub fn waits_for(&self, incarnation: Incarnation, number: u64) -> bool {
        incarnation == self.incarnation
            && self.outstanding.as_ref().is_some_and(|request| request.number == number)
    }

    /// The timeline that its samples and its table are of.
    pub fn timeline(&self) -> Option<TimelineId> {
        self.timeline
    }

    /// The newest table that it was told.
    pub fn table(&self) -> Option<&TableView> {
        self.table.as_ref()
    }

    /// Whether it still needs the content of a generation (by its digest).
    pub fn keeps(&self, generation: Generation) -> bool {
        [
            &self.active,
            &self.staged,
            &self.spare,
            &self.published.active,
            &self.published.staged,
            &self.step.target(),
        ]
        .into_iter()
        .flatten()
        .any(|kept| kept.digest == generation.digest)
    }

    /// Where it is in its cycle.
    pub fn phase(&self) -> Phase {
        match (self.link.is_up(), self.copying) {
            (false, _) if self.table.is_none() => Phase::Greeting,
            (_, true) => Phase::Activating,
            _ => self.step.phase(self.is_current()),
        }
    }

    /// What it would report at `now`.
    pub fn report(&self, now: LocalTime) -> Report {
        let lapse = lapse(serving(&self.published, now)).filter(|_| self.joined);
        Report {
            phase: lapse.unwrap_or_else(|| self.phase()),
            active: self.published.active,
            staged: self.published.staged,
            offset: self
                .clock
                .midpoint(now)
                .map_or(0, |server| server.as_nanos().saturating_sub(now.as_nanos())),
            epsilon: self.clock.epsilon(now).unwrap_or(Span::MAX),
            switched: self.switched,
            veto: self.refused.or(self.refused_active).map(|(_, why)| why),
        }
    }

    /// Whether it serves the table's staged generation already.
    pub(crate) fn is_current(&self) -> bool {
        self.table.as_ref().is_some_and(|table| plan::same(self.config.guards, self.active, table.staged))
    }

    /// When a plan of an old line makes room for one of the new: at the end of its promise.
    pub(crate) fn old_plan_ends(&self) -> Option<LocalTime> {
        let waits = self.carried && self.config.mode == Mode::Prompt && self.published.staged.is_none();
        let table = self.table.as_ref().filter(|_| waits && !self.published.stale)?;
        let held = |slot| plan::same(self.config.guards, slot, table.staged);
        (held(self.staged) || held(self.active)).then_some(self.published.active_until)
    }
}

/// How people are told that readers don't get what is live.
pub(super) fn lapse(served: Serving) -> Option<Phase> {
    match served {
        Serving::Stale(_) => Some(Phase::Stale),
        Serving::Fenced => Some(Phase::Fenced),
        _ => None,
    }
}
