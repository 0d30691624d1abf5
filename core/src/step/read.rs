//! Steps 222 and 224: the table is read and compared with the server's own time, and the agent goes
//! on to lock, to retrieve, or to wait.

use super::activate::Sampling;
use super::{Armed, Retrieving, Seen, Step};
use crate::agent::Out;
use crate::agent::{Agent, First};
use crate::effect::Cache;
use crate::guard::Guard;
use crate::ids::Generation;
use crate::plan::same;
use crate::serving::SwitchPlan;
use crate::spread::{Purpose, spread};
use crate::table::TableView;
use crate::time::{LocalTime, ServerTime, Span};

impl Agent {
    /// The answer to a `Read`.
    #[inline(never)]
    pub(super) fn on_read(
        &mut self,
        now: LocalTime,
        table: &TableView,
        (received, answered): (ServerTime, ServerTime),
        effects: &mut Out<'_>,
    ) {
        // The server's own reading decides, never an estimate of it.
        let due = if self.config.guards.on(Guard::ServerTimeDecides) {
            table.activation.passed(answered)
        } else {
            self.clock.midpoint(now).is_some_and(|estimate| table.activation.passed(estimate))
        };
        let held = table.held;
        self.adopt(now, table, due, effects);
        if due && !held && self.link.may_lock() {
            return self.go(now, Step::Locking { since: now }, effects);
        }
        // A server that only estimates its clock (r > s) may say that T is to come where the agent knows
        // better. It is not asked in a loop: once its estimate's width is over it says so no longer.
        self.proceed(now, due, now + (received - answered).or_zero(), effects);
    }

    /// Takes a table in: what it says of the caches, and the plan that follows.
    pub(super) fn adopt(&mut self, now: LocalTime, table: &TableView, due: bool, effects: &mut Out<'_>) {
        let guards = self.config.guards;
        if let (Some(line), First::Unknown) = (self.timeline, self.first) {
            self.first = First::Is(line, table.staged.epoch);
        }
        // k is the server's active generation now, so T_k has passed: staged goes live.
        if self.staged.is_some() && table.active.is_some_and(|active| same(guards, self.staged, active)) {
            self.go_live_now(now, effects);
        }
        // Only if changed: content that is held under another number needs no transfer.
        if let Some(active) = table.active
            && !same(guards, self.active, active)
            && !same(guards, self.active, table.staged)
            && !due
            && self.content_of(active.digest)
        {
            self.active = Some(active);
        }
        let staged = table.staged;
        self.stage_if_held(staged);
        if self.refused.is_some_and(|(refused, _)| refused != staged) {
            self.refused = None;
        }
        if self.refused_active.is_some_and(|(refused, _)| Some(refused) != table.active) {
            self.refused_active = None;
        }
        self.table = Some(table.clone());
        self.refresh_plan(now, self.has_decided(), effects);
        // Where T_k has passed for good, staged needs no timer any more.
        self.keep_house(now, Seen::Now, effects);
    }

    /// Only if changed, from server to agent: what is held under another number needs no transfer.
    pub(super) fn stage_if_held(&mut self, staged: Generation) {
        let guards = self.config.guards;
        let waits = self.published.staged.is_some_and(|pending| !same(guards, Some(pending), staged));
        let held = same(guards, self.active, staged) || same(guards, self.staged, staged);
        if !held && !waits && !self.copying && self.content_of(staged.digest) {
            self.staged = Some(staged);
        }
    }

    fn content_of(&self, digest: crate::ids::Digest) -> bool {
        [&self.active, &self.staged, &self.spare].into_iter().flatten().any(|held| held.digest == digest)
    }

    /// Goes on with the table at hand: fills the caches, or waits for T, or rests. Where T has certainly
    /// passed, the table is read again from `again` on.
    #[inline(never)]
    pub(super) fn proceed(&mut self, now: LocalTime, due: bool, again: LocalTime, effects: &mut Out<'_>) {
        let guards = self.config.guards;
        let Some(table) = self.table.clone() else {
            return self.go(now, Step::Reading, effects);
        };
        // A switch of an old line that is still to come keeps both buffers until it is made.
        if let Some(pending) = self.published.staged
            && !same(guards, Some(pending), table.staged)
        {
            // A copy's end is an input; until then the table is only looked at now and then.
            let least = if self.copying { self.config.back_off.1 } else { Span::from_nanos(1) };
            let until = self.published.staged_from.max(now + least);
            return self.go(now, Step::Waiting { until }, effects);
        }
        let current = same(guards, self.active, table.staged);
        let staged = same(guards, self.staged, table.staged);
        let refused = self.refused.is_some_and(|(refused, _)| refused == table.staged);
        if !due
            && !current
            && let Some(active) = table.active
            && !same(guards, self.active, active)
            && self.refused_active.is_none_or(|(refused, _)| refused != active)
            && self.may_fill_active()
        {
            // A joining agent: k − 1, named by the same reply that named k.
            return self.retrieve(now, active, Cache::Active, now, effects);
        }
        if !current && !staged && !refused {
            let from = now + if due { Span::ZERO } else { self.stagger(now, &table) };
            return self.retrieve(now, table.staged, Cache::Staged, from, effects);
        }
        if due {
            self.attempt = 0;
            let until = self.next_look(now, &table);
            return self.go(now, Step::Waiting { until }, effects);
        }
        let armed = self.arm(now, again, &table);
        self.attempt = 0;
        self.report_due = self.config.reports;
        self.go(now, Step::Armed(armed), effects);
        self.step_timers(now, effects);
    }

    #[inline(never)]
    fn retrieve(
        &mut self,
        now: LocalTime,
        target: Generation,
        cache: Cache,
        from: LocalTime,
        effects: &mut Out<'_>,
    ) {
        self.go(now, Step::Retrieving(Retrieving::begin(target, cache, from)), effects);
    }

    /// Whether there is a buffer that readers may not be on.
    fn may_fill_active(&self) -> bool {
        let SwitchPlan { active, staged, .. } = self.published;
        // Two generations with one content share a buffer.
        active.is_none()
            || staged.is_none()
            || active.map(|held| held.digest) == staged.map(|held| held.digest)
    }

    /// An agent's own delay before it retrieves: a hash of agent and epoch over the stagger, at most
    /// a quarter of what is left until T.
    fn stagger(&self, now: LocalTime, table: &TableView) -> Span {
        let left = self.clock.possibly_reached(table.activation).map_or(Span::ZERO, |until| until - now);
        let over = table.settings.stagger.min(left.part(4)).or_zero();
        spread(self.config.agent, Purpose::Retrieve, table.staged.epoch, over)
    }

    /// When an agent at rest reads again: at half of what is left of the promise, at the latest
    /// after one back-off. While a grant is live the promise is not renewed: a part of the lead that
    /// is less than half of any renewed promise keeps readers from turning in a loop then.
    fn next_look(&self, now: LocalTime, table: &TableView) -> LocalTime {
        let promise = self.clock.possibly_reached(table.next_earliest).unwrap_or(now);
        let latest = now + self.config.back_off.1;
        let least = self.config.back_off.0.min(table.settings.lead.part(4)).max(Span::from_nanos(1));
        latest.min(now + (promise - now).part(2)).max(now + least)
    }

    /// The first read after T: delayed by hash, so that a farm does not arrive at once.
    pub(super) fn first_read(&self, table: &TableView) -> LocalTime {
        let over = table.settings.interval.part(100).min(Span::from_secs(1));
        let delay = spread(self.config.agent, Purpose::FirstRead, table.staged.epoch, over);
        self.clock.certainly_reached(table.activation).map_or(LocalTime::MAX, |from| from + delay)
    }

    fn arm(&self, now: LocalTime, again: LocalTime, table: &TableView) -> Armed {
        let until = self.clock.possibly_reached(table.activation).unwrap_or(now);
        let window = table.settings.sample_window.max(self.last_trip.times(4)).or_zero();
        let sampling = Sampling::over(window, self.config.samples, self.last_trip);
        let delay = spread(self.config.agent, Purpose::Sample, table.staged.epoch, sampling.spread);
        Armed::new(
            self.config.samples,
            until,
            sampling,
            delay,
            (self.first_read(table), if now < again { again } else { LocalTime::MIN }),
        )
    }
}
