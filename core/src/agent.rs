//! The agent's machine (Fig. 5 and Fig. 6; PROTOCOL §5): its state, its inputs, and what is common
//! to all of its steps. Each step of the figures is a file of `step/`; how plans are made is in
//! `plan`; what a connection needs is in `link`.

mod config;
mod input;
mod line;
mod link;
mod query;
mod request;
#[cfg(test)]
mod tests;

use crate::clock::Enclosure;
use crate::effect::{Effect, Event};
use crate::guard::Guard;
use crate::ids::{BootId, Epoch, Generation, Incarnation, TimelineId};
use crate::message::{RequestBody, Route, Switched, Veto};
use crate::plan::{self, Basis};
use crate::serving::{Mode, SwitchPlan, serving};
use crate::step::{Seen, Step};
use crate::table::TableView;
use crate::time::{LocalTime, Rate, Span};
pub use config::{Accepts, Config, Start};
pub use input::Input;
pub(crate) use input::Out;
pub(crate) use link::Link;
pub(crate) use request::Outstanding;

/// The agent's side of the protocol: the cycle of PROTOCOL §5.
///
/// **Inputs**, each of which gives back [`Effects`] to be carried out in order: [`connected`],
/// [`disconnected`], [`receive`], [`verified`], [`copied`], [`wake`], [`clock_broke`], [`shut_down`];
/// or [`input`], which takes any of them and hands each effect over as it comes.
/// **Queries**: [`poll_at`], [`plan`], [`phase`], [`keeps`], [`report`], [`clock`].
///
/// Time is an argument of every input and never goes back. After each input the host asks
/// [`poll_at`] and calls [`wake`] then; an early or late or doubled wake-up does no harm.
///
/// [`Effects`]: crate::effect::Effects
/// [`input`]: Agent::input
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
    /// What is being fetched, in a step that fetches; empty in any other. Beside the step, so that steps
    /// are small to hand around on a device's stack.
    pub(crate) route: Route,
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
    /// Readers got something current in this life, as far as the machine can know: between two of
    /// its inputs the published plan served it.
    pub(crate) joined: bool,
    pub(crate) copying: bool,
    pub(crate) switched: Option<Switched>,
    pub(crate) report_due: bool,
    /// Readers got something current in this life, and at its last input got it no more. Only where it
    /// reports.
    pub(crate) lapsed: bool,
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
            route: Route::default(),
            active: page.and_then(|page| page.active),
            staged: page.and_then(|page| page.staged),
            spare: start.last_good,
            refused: None,
            refused_active: None,
            published: page
                .unwrap_or_else(|| SwitchPlan::nothing(start.boot, config.mode, config.activation)),
            carried: page.is_some(),
            // A page from which nothing is served as current was not joined yet either.
            first: if page.is_some_and(|page| {
                serving(&page, start.now).current().is_some() || !config.guards.on(Guard::PageServesCurrent)
            }) {
                First::TookOver
            } else {
                First::Unknown
            },
            start_wait: Some(start.now + config.start_wait)
                .filter(|_| config.mode == Mode::Prompt && page.is_none() && start.last_good.is_some()),
            joined: false,
            copying: false,
            switched: None,
            report_due: false,
            lapsed: false,
        }
    }

    /// What every input begins with: whatever its time has come for.
    fn tick(&mut self, now: LocalTime, effects: &mut Out<'_>) {
        self.note_what_readers_get(now);
        if self.config.guards.on(Guard::HouseKeptFirst) {
            self.keep_house(now, Seen::AsPlanned, effects);
        }
        self.link_timers(now, effects);
        if self.link.is_up() {
            self.request_timers(now, effects);
        }
        self.step_timers(now, effects);
    }

    /// Whether readers get what is live, as far as it is known here. That they no longer do is told to
    /// operators at once, not when the step rests.
    fn note_what_readers_get(&mut self, now: LocalTime) {
        let served = serving(&self.published, now);
        self.joined |= served.current().is_some();
        let lapsed = self.config.reports && self.joined && query::lapse(served).is_some();
        self.report_due |= lapsed && !self.lapsed;
        self.lapsed = lapsed;
    }

    /// What every input ends with.
    fn settle(&mut self, now: LocalTime, effects: &mut Out<'_>) {
        // What this input published may lie in the past already, by a sample that came late.
        if effects.has_published() && self.config.guards.on(Guard::HouseKeptFirst) {
            self.keep_house(now, Seen::Now, effects);
        }
        if self.link.is_up() && self.outstanding.is_none() {
            if self.report_due && (self.step.is_resting() || self.lapsed) {
                self.ask_report(now, effects);
            } else {
                self.continue_step(now, effects);
            }
        }
        self.invariants();
    }

    #[inline(never)]
    fn ask_report(&mut self, now: LocalTime, effects: &mut Out<'_>) {
        self.report_due = false;
        let report = self.report(now);
        self.ask(now, RequestBody::Report(report), effects);
    }

    /// Whether the last samples before T are in.
    pub(crate) fn has_decided(&self) -> bool {
        matches!(&self.step, Step::Armed(armed) if armed.decided)
    }

    /// Makes the plan anew and publishes it where it differs.
    pub(crate) fn refresh_plan(&mut self, now: LocalTime, decided: bool, effects: &mut Out<'_>) {
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
            joined: self.joined,
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

    pub(crate) fn publish(&mut self, plan: SwitchPlan, effects: &mut Out<'_>) {
        if plan.same_but_serial(&self.published) {
            return;
        }
        self.published = SwitchPlan { serial: self.published.serial + 1, ..plan };
        self.push(Effect::Publish(self.published), effects);
    }

    // An effect is large: it is made in the frame that hands it over.
    #[inline(always)]
    pub(crate) fn push(&self, effect: Effect, effects: &mut Out<'_>) {
        effects.push(effect);
    }

    #[inline(never)]
    pub(crate) fn event(&self, event: Event, effects: &mut Out<'_>) {
        self.push(Effect::Event(event), effects);
    }

    /// What holds after every input.
    fn invariants(&self) {
        debug_assert!(self.outstanding.as_ref().is_none_or(|request| request.number <= self.last_number));
        debug_assert!(self.table.is_none() || self.timeline.is_some());
        debug_assert!(!self.copying || self.published.staged.is_some());
        debug_assert!(
            self.route.objects.is_empty()
                != matches!(&self.step, Step::Retrieving(retrieving) if retrieving.is_fetching())
        );
    }
}
