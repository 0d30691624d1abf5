//! The agent's machine (Fig. 5 and Fig. 6; PROTOCOL §5): its state, its inputs, and what is common
//! to all of its steps. Each step of the figures is a file of `step/`; how plans are made is in
//! `plan`; what a connection needs is in `link`.

mod line;
mod link;
#[cfg(test)]
mod tests;

use crate::clock::{Enclosure, Sample, Sampled};
use crate::effect::{Effect, Effects, Event, PollAt, Verified};
use crate::guard::{Guard, Guards};
use crate::ids::{AgentId, BootId, Epoch, Generation, Incarnation, TimelineId};
use crate::message::{Phase, Reply, Report, Request, RequestBody, Switched, ToAgent, Veto};
use crate::plan::{self, Basis};
use crate::serving::{Activation, Mode, SwitchPlan, serving};
use crate::spread::{Purpose, spread};
use crate::step::Step;
use crate::table::TableView;
use crate::time::{LocalTime, Rate, Span};
pub(crate) use link::Link;

/// What an agent is set to. Spans are of the local clock.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Config {
    /// Who it is.
    pub agent: AgentId,
    /// How it treats what it can't prove.
    pub mode: Mode,
    /// How it goes over from staged to active.
    pub activation: Activation,
    /// ρ: the largest rate error of its clock (default 250 ppm). Too low and the bounds lie.
    pub rate: Rate,
    /// The step in which its clock is read.
    pub granularity: Span,
    /// First and longest back-off (default 0.1 s and 10 s).
    pub back_off: (Span, Span),
    /// How long a request is waited for while the farm's `round_trip` is not known (default 1 s).
    pub patience: Span,
    /// A prompt agent that reached no server for this long, or was named no active generation, serves
    /// its last good generation, marked stale (default 5 s).
    pub start_wait: Span,
    /// Time samples taken shortly before T (default 8); 0 for none.
    pub samples: u8,
    /// Whether it reports what it does.
    pub reports: bool,
    /// All of them, outside of checkers.
    pub guards: Guards,
}

impl Config {
    /// The defaults of FORMATS for an agent.
    pub fn new(agent: AgentId, mode: Mode) -> Config {
        Config {
            agent,
            mode,
            activation: Activation::Switch,
            rate: Rate::from_ppm(250),
            granularity: Span::ZERO,
            back_off: (Span::from_millis(100), Span::from_secs(10)),
            patience: Span::from_secs(1),
            start_wait: Span::from_secs(5),
            samples: 8,
            reports: true,
            guards: Guards::ALL,
        }
    }
}

/// What an agent starts with.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Start {
    /// The number of this life: random, never a counter.
    pub incarnation: Incarnation,
    /// The host's boot.
    pub boot: BootId,
    /// The local clock.
    pub now: LocalTime,
    /// The page that a process before this one left; void where it is of another boot.
    pub page: Option<SwitchPlan>,
    /// The generation last served, where its content was kept.
    pub last_good: Option<Generation>,
}

/// A request that is waited for.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Outstanding {
    pub(crate) number: u64,
    pub(crate) body: RequestBody,
    pub(crate) timeline: Option<TimelineId>,
    /// When it was first sent, and last.
    pub(crate) sent: LocalTime,
    pub(crate) last_sent: LocalTime,
    pub(crate) deadline: LocalTime,
}

/// The agent's side of the protocol: the cycle of PROTOCOL §5.
///
/// **Inputs**, each of which gives back [`Effects`] to be carried out in order: [`connected`],
/// [`disconnected`], [`receive`], [`verified`], [`copied`], [`wake`], [`clock_broke`], [`shut_down`].
/// **Queries**: [`poll_at`], [`plan`], [`phase`], [`keeps`], [`report`], [`clock`].
///
/// Time is an argument of every input and never goes back. After each input the host asks
/// [`poll_at`] and calls [`wake`] then; an early or late or doubled wake-up does no harm.
///
/// [`connected`]: Agent::connected
/// [`disconnected`]: Agent::disconnected
/// [`receive`]: Agent::receive
/// [`verified`]: Agent::verified
/// [`copied`]: Agent::copied
/// [`wake`]: Agent::wake
/// [`clock_broke`]: Agent::clock_broke
/// [`shut_down`]: Agent::shut_down
/// [`poll_at`]: Agent::poll_at
/// [`plan`]: Agent::plan
/// [`phase`]: Agent::phase
/// [`keeps`]: Agent::keeps
/// [`report`]: Agent::report
/// [`clock`]: Agent::clock
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Agent {
    pub(crate) config: Config,
    pub(crate) incarnation: Incarnation,
    pub(crate) boot: BootId,
    pub(crate) link: Link,
    pub(crate) timeline: Option<TimelineId>,
    pub(crate) clock: Enclosure,
    /// The newest table of `timeline`.
    pub(crate) table: Option<TableView>,
    pub(crate) last_number: u64,
    pub(crate) outstanding: Option<Outstanding>,
    pub(crate) attempt: u8,
    pub(crate) last_trip: Span,
    pub(crate) step: Step,
    pub(crate) active: Option<Generation>,
    pub(crate) staged: Option<Generation>,
    /// Content that is held, of a generation whose standing is not known.
    pub(crate) spare: Option<Generation>,
    pub(crate) refused: Option<(Generation, Veto)>,
    /// A generation named as active that the host won't take.
    pub(crate) refused_active: Option<(Generation, Veto)>,
    pub(crate) published: SwitchPlan,
    /// What is published comes from the timeline before `timeline`.
    pub(crate) carried: bool,
    pub(crate) first: First,
    /// Until when the last good generation is not yet served.
    pub(crate) start_wait: Option<LocalTime>,
    pub(crate) copying: bool,
    pub(crate) switched: Option<Switched>,
    pub(crate) report_due: bool,
}

/// The first epoch that an incarnation finds staged (PROTOCOL §5).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum First {
    /// No table was read yet.
    Unknown,
    /// This one.
    Is(TimelineId, Epoch),
    /// It took over a page, and with it all that earlier incarnations published.
    TookOver,
}

impl Agent {
    /// An agent at its start. It wants to be [`connected`](Agent::connected) next.
    pub fn new(config: Config, start: Start) -> Agent {
        let of_this_boot = |page: &SwitchPlan| {
            (page.boot == start.boot || !config.guards.on(Guard::BootCompared)) && page.mode == config.mode
        };
        let page = start.page.filter(of_this_boot);
        Agent {
            config,
            incarnation: start.incarnation,
            boot: start.boot,
            link: Link::Down,
            timeline: None,
            clock: Enclosure::new(config.rate, Rate::ZERO, config.granularity, config.guards),
            table: None,
            last_number: 0,
            outstanding: None,
            attempt: 0,
            last_trip: Span::ZERO,
            step: Step::Waiting { until: start.now },
            active: page.and_then(|page| page.active),
            staged: page.and_then(|page| page.staged),
            spare: start.last_good,
            refused: None,
            refused_active: None,
            published: page
                .unwrap_or_else(|| SwitchPlan::nothing(start.boot, config.mode, config.activation)),
            carried: page.is_some(),
            // A page from which nothing is served as current was not joined yet either.
            first: if page.is_some_and(|page| serving(&page, start.now).current().is_some()) {
                First::TookOver
            } else {
                First::Unknown
            },
            start_wait: Some(start.now + config.start_wait)
                .filter(|_| config.mode == Mode::Prompt && page.is_none() && start.last_good.is_some()),
            copying: false,
            switched: None,
            report_due: false,
        }
    }

    /// A message from the server. The content of a `Bytes` reply stays with the host; the machine is
    /// told its length, and answers with [`Effect::Keep`] where it is to be kept.
    pub fn receive(&mut self, now: LocalTime, message: &ToAgent<u16>) -> Effects {
        let mut effects = self.tick(now);
        match message {
            ToAgent::Welcome(welcome) => self.on_welcome(now, welcome, &mut effects),
            ToAgent::Error { incarnation, code } => self.on_error(now, *incarnation, *code, &mut effects),
            ToAgent::Reply(reply) => self.on_reply(now, reply, &mut effects),
        }
        self.settle(now, effects)
    }

    /// What the host found when it was asked to verify `target` (steps 234, 228). An answer that comes
    /// when something else is retrieved already is used for nothing.
    pub fn verified(&mut self, now: LocalTime, target: Generation, found: Verified) -> Effects {
        let mut effects = self.tick(now);
        self.on_verified(now, target, found, &mut effects);
        self.settle(now, effects)
    }

    /// The host has copied staged to active (Fig. 6, step 252).
    pub fn copied(&mut self, now: LocalTime) -> Effects {
        let mut effects = self.tick(now);
        if core::mem::take(&mut self.copying) {
            self.promote(now, &mut effects);
            self.refresh_plan(now, false, &mut effects);
            if let Step::Waiting { .. } = self.step {
                // Something newer may have waited for the buffer.
                self.go(now, Step::Reading, &mut effects);
            }
        }
        self.settle(now, effects)
    }

    /// The time that was asked for with [`poll_at`](Agent::poll_at) has come, or some other time.
    pub fn wake(&mut self, now: LocalTime) -> Effects {
        let mut effects = self.tick(now);
        self.keep_house(now, &mut effects);
        self.settle(now, effects)
    }

    /// The host found, by whatever second source it has, that its clock can't be trusted as it was:
    /// a restored virtual machine, a stepped wall clock (PROTOCOL §2).
    pub fn clock_broke(&mut self, now: LocalTime) -> Effects {
        let mut effects = Effects::new();
        self.clock.clear();
        self.on_clock_broken(now, &mut effects);
        self.settle(now, effects)
    }

    /// The host is about to end: a grant that is held is given back (step 232).
    pub fn shut_down(&mut self, now: LocalTime) -> Effects {
        let mut effects = Effects::new();
        if let Step::Advancing { token, .. } = self.step {
            self.outstanding = None;
            self.step = Step::Waiting { until: LocalTime::MAX };
            self.ask(now, RequestBody::Unlock { token }, &mut effects);
        }
        effects
    }

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
            self.active,
            self.staged,
            self.spare,
            self.published.active,
            self.published.staged,
            self.step.target(),
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
        Report {
            phase: self.phase(),
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

    /// What every input begins with: whatever its time has come for.
    fn tick(&mut self, now: LocalTime) -> Effects {
        let mut effects = Effects::new();
        if self.config.guards.on(Guard::HouseKeptFirst) {
            self.keep_house(now, &mut effects);
        }
        self.link_timers(now, &mut effects);
        if self.link.is_up() {
            self.request_timers(now, &mut effects);
        }
        self.step_timers(now, &mut effects);
        effects
    }

    /// What every input ends with.
    fn settle(&mut self, now: LocalTime, mut effects: Effects) -> Effects {
        if self.link.is_up() && self.outstanding.is_none() {
            if self.report_due && self.step.is_resting() {
                self.report_due = false;
                let report = self.report(now);
                self.ask(now, RequestBody::Report(report), &mut effects);
            } else {
                self.continue_step(now, &mut effects);
            }
        }
        self.invariants();
        effects
    }

    /// A reply: only one to an outstanding request is used, once, and only under the timeline that
    /// the request was sent under (PROTOCOL §4, §8).
    fn on_reply(&mut self, now: LocalTime, reply: &Reply<u16>, effects: &mut Effects) {
        let matched = self.outstanding.as_ref().is_some_and(|request| request.number == reply.number)
            && reply.incarnation == self.incarnation;
        if !(matched || (!self.config.guards.on(Guard::OutstandingOnly) && self.outstanding.is_some())) {
            return self.event(Event::Unmatched, effects);
        }
        let Some(request) = self.outstanding.clone() else { return };
        let guards = self.config.guards;
        if Some(reply.stamp.timeline) != self.timeline && guards.on(Guard::TimelineOfSample) {
            self.outstanding = None;
            return self.on_new_line(now, reply.stamp.timeline, effects);
        }
        let sent = if guards.on(Guard::EchoedSendInstant) { reply.stamp.echo } else { request.last_sent };
        if (sent < request.sent || sent > now) && guards.on(Guard::EchoInRange) {
            return self.event(Event::Unmatched, effects);
        }
        self.outstanding = None;
        self.last_trip = now - sent;
        let sampled = self.clock.sample(Sample {
            sent,
            received: reply.stamp.received,
            answered: reply.stamp.answered,
            arrived: now,
        });
        match sampled {
            Sampled::Broken => return self.on_clock_broken(now, effects),
            Sampled::First | Sampled::Narrowed => self.refresh_plan(now, self.has_decided(), effects),
            Sampled::Kept | Sampled::Impossible => {}
        }
        self.on_answer(now, reply, effects);
    }

    /// An assumption about clocks broke. A strict agent is fenced until a table was read under new
    /// samples (PROTOCOL §6).
    fn on_clock_broken(&mut self, now: LocalTime, effects: &mut Effects) {
        self.event(Event::ClockBroken, effects);
        self.table = None;
        self.outstanding = None;
        self.carried = false;
        if self.config.mode == Mode::Strict {
            let fenced = SwitchPlan::nothing(self.boot, self.config.mode, self.config.activation);
            self.copying = false;
            self.publish(fenced, effects);
        }
        // The first time at once; a clock or a server that stays wrong is not asked at network speed.
        let again = self.attempt > 0;
        let until = self.backed_off(now);
        self.go(now, if again { Step::Waiting { until } } else { Step::Reading }, effects);
    }

    /// Whether the last samples before T are in.
    pub(crate) fn has_decided(&self) -> bool {
        matches!(&self.step, Step::Armed(armed) if armed.decided)
    }

    /// Makes the plan anew and publishes it where it differs.
    pub(crate) fn refresh_plan(&mut self, now: LocalTime, decided: bool, effects: &mut Effects) {
        let Some(table) = self.table.as_ref().filter(|_| !self.copying) else { return };
        let basis = Basis {
            guards: self.config.guards,
            boot: self.boot,
            mode: self.config.mode,
            activation: self.config.activation,
            clock: &self.clock,
            table,
            active: self.active,
            staged: self.staged,
            published: &self.published,
            carried: self.carried,
            first: self.timeline.is_some_and(|line| self.first == First::Is(line, table.staged.epoch)),
            decided,
            now,
        };
        if let Some(plan) = plan::make(&basis) {
            self.carried = false;
            if plan.active.is_some() {
                self.start_wait = None;
            }
            self.publish(plan, effects);
        }
    }

    pub(crate) fn publish(&mut self, plan: SwitchPlan, effects: &mut Effects) {
        if plan.same_but_serial(&self.published) {
            return;
        }
        self.published = SwitchPlan { serial: self.published.serial + 1, ..plan };
        self.push(Effect::Publish(self.published), effects);
    }

    /// Sends a request under a new number.
    pub(crate) fn ask(&mut self, now: LocalTime, body: RequestBody, effects: &mut Effects) {
        self.last_number += 1;
        let number = self.last_number;
        self.outstanding = Some(Outstanding {
            number,
            body: body.clone(),
            timeline: self.timeline,
            sent: now,
            last_sent: now,
            deadline: now + self.round_trip(),
        });
        let request = Request { incarnation: self.incarnation, number, sent: now, body };
        self.push(Effect::Send(request), effects);
    }

    /// How long an answer is waited for.
    pub(crate) fn round_trip(&self) -> Span {
        self.table
            .as_ref()
            .map_or(self.config.patience, |table| table.settings.round_trip)
            .max(Span::from_nanos(1))
    }

    /// When to try again after a failure: bounded, exponential, ±20 % by hash.
    pub(crate) fn backed_off(&mut self, now: LocalTime) -> LocalTime {
        let (first, most) = self.config.back_off;
        let span = first.times(1i64 << self.attempt.min(30)).min(most);
        self.attempt = self.attempt.saturating_add(1);
        let fifth = span.part(5);
        let salt = self.last_number ^ self.incarnation.0;
        now + span - fifth + spread(self.config.agent, Purpose::BackOff, salt, fifth.times(2))
    }

    pub(crate) fn push(&self, effect: Effect, effects: &mut Effects) {
        let pushed = effects.push(effect);
        debug_assert!(pushed.is_ok(), "more effects than an input can have");
    }

    pub(crate) fn event(&self, event: Event, effects: &mut Effects) {
        self.push(Effect::Event(event), effects);
    }

    /// What holds after every input.
    fn invariants(&self) {
        debug_assert!(self.outstanding.as_ref().is_none_or(|request| request.number <= self.last_number));
        debug_assert!(self.table.is_none() || self.timeline.is_some());
        debug_assert!(!self.copying || self.published.staged.is_some());
    }
}
