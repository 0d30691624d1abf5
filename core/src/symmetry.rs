//! For checkers: a machine seen with other names. Instants, epochs, tokens, request numbers, contents,
//! boots and timelines are names to the protocol: it compares them, and goes on from them, but it
//! doesn't matter where they begin. Two machines that differ in such names only behave alike. A host
//! has no use for this file.
//!
//! [`Agent::renamed`] takes every name that a machine holds through a [`Renaming`], and clears what no
//! later step can look at. That stepping commutes with it is tested in `models/tests/renaming.rs`.

use crate::agent::{Agent, First};
use crate::ids::{BootId, Digest, Epoch, Generation, Incarnation, TimelineId, Token};
use crate::message::{RequestBody, Route};
use crate::serving::SwitchPlan;
use crate::step::Step;
use crate::table::TableView;
use crate::time::{LocalTime, ServerTime, Span};

/// New names for old ones: a renaming must tell apart what the machine still can, and keep the order
/// of instants and epochs. `MIN` and `MAX` of the clocks' times are no instants and aren't asked for.
pub trait Renaming {
    /// An instant of the agent's own clock.
    fn local(&mut self, instant: LocalTime) -> LocalTime;
    /// An instant of a timeline.
    fn server(&mut self, line: Option<TimelineId>, instant: ServerTime) -> ServerTime;
    /// A reading of a line's clock that goes with one of the agent's own.
    fn reading(&mut self, line: TimelineId, reading: ServerTime) -> ServerTime;
    /// A timeline.
    fn timeline(&mut self, line: TimelineId) -> TimelineId;
    /// An epoch.
    fn epoch(&mut self, epoch: Epoch) -> Epoch;
    /// A token of a lock.
    fn token(&mut self, token: Token) -> Token;
    /// A content, or an object that is one.
    fn digest(&mut self, digest: Digest) -> Digest;
    /// A boot of the agent's host.
    fn boot(&mut self, boot: BootId) -> BootId;

    /// Both halves of a generation.
    fn generation(&mut self, generation: Generation) -> Generation {
        Generation { epoch: self.epoch(generation.epoch), digest: self.digest(generation.digest) }
    }
}

/// An instant of the local clock, unless it is none.
fn local(names: &mut impl Renaming, instant: LocalTime) -> LocalTime {
    if instant == LocalTime::MIN || instant == LocalTime::MAX { instant } else { names.local(instant) }
}

/// An instant of a timeline, unless it is none.
pub fn server(names: &mut impl Renaming, line: Option<TimelineId>, instant: ServerTime) -> ServerTime {
    if instant == ServerTime::MIN || instant == ServerTime::MAX {
        instant
    } else {
        names.server(line, instant)
    }
}

/// A plan under other names; its serial, which only rises, is cleared.
pub fn plan(names: &mut impl Renaming, plan: &SwitchPlan) -> SwitchPlan {
    SwitchPlan {
        serial: 0,
        boot: names.boot(plan.boot),
        active: plan.active.map(|active| names.generation(active)),
        active_until: local(names, plan.active_until),
        staged: plan.staged.map(|staged| names.generation(staged)),
        staged_from: local(names, plan.staged_from),
        staged_until: local(names, plan.staged_until),
        ..*plan
    }
}

/// A table of a line under other names. The grid only counts modulo the interval: it becomes the first
/// regular instant at or after `now` of that line.
pub fn view(names: &mut impl Renaming, line: TimelineId, now: ServerTime, view: &TableView) -> TableView {
    let grid = names.reading(line, first_regular(view.grid, view.settings.interval, now));
    let line = Some(line);
    TableView {
        staged: names.generation(view.staged),
        active: view.active.map(|active| names.generation(active)),
        activation: server(names, line, view.activation),
        next_earliest: server(names, line, view.next_earliest),
        grid,
        landing: view.landing.map(|landing| server(names, line, landing)),
        ..view.clone()
    }
}

/// The first instant at or after `now` that is a multiple of the interval from the grid.
pub fn first_regular(grid: ServerTime, interval: Span, now: ServerTime) -> ServerTime {
    let behind = (now - grid).as_nanos().rem_euclid(interval.as_nanos().max(1));
    let ahead = if behind == 0 { 0 } else { interval.as_nanos() - behind };
    now + Span::from_nanos(ahead)
}

/// A request under other names, sent under a line.
pub fn request_body(names: &mut impl Renaming, line: Option<TimelineId>, body: &RequestBody) -> RequestBody {
    match body {
        RequestBody::Advance { token, activation } => {
            RequestBody::Advance { token: names.token(*token), activation: server(names, line, *activation) }
        }
        RequestBody::Unlock { token } => RequestBody::Unlock { token: names.token(*token) },
        RequestBody::Route { target, have, snapshots_only } => RequestBody::Route {
            target: names.generation(*target),
            have: have.map(|have| names.generation(have)),
            snapshots_only: *snapshots_only,
        },
        RequestBody::Fetch { object, offset, len } => {
            RequestBody::Fetch { object: names.digest(*object), offset: *offset, len: *len }
        }
        RequestBody::Read | RequestBody::Lock | RequestBody::Report(_) | RequestBody::Time => body.clone(),
    }
}

/// A route under other names.
pub fn route(names: &mut impl Renaming, route: &Route) -> Route {
    let mut route = route.clone();
    for object in &mut route.objects {
        object.name = names.digest(object.name);
    }
    route
}

impl Agent {
    /// The same machine in a form with fewer distinctions, and by how much its request numbers were
    /// shifted: packets in flight are to be shifted alike. Names of instants, epochs and contents stay.
    pub fn canonical(&self, incarnation: Incarnation) -> (Agent, u64) {
        let mut agent = self.clone();
        let shift = agent.last_number;
        agent.last_number = 0;
        if let Some(request) = &mut agent.outstanding {
            request.number = request.number.wrapping_sub(shift);
        }
        agent.incarnation = incarnation;
        agent.published.serial = 0;
        agent.switched = None;
        if agent.config.samples == 0 {
            agent.last_trip = Span::ZERO;
        }
        (agent, shift)
    }

    /// The same machine under other names at local time `now`, in its canonical form.
    pub fn renamed(
        &self,
        now: LocalTime,
        incarnation: Incarnation,
        names: &mut impl Renaming,
    ) -> (Agent, u64) {
        let (mut agent, shift) = self.canonical(incarnation);
        agent.forget_what_is_over();
        let line = agent.timeline;
        agent.timeline = line.map(|line| names.timeline(line));
        agent.boot = names.boot(agent.boot);
        agent.clock = agent.clock.renamed(line, now, names);
        agent.table = agent.table.map(|table| TableView {
            grid: ServerTime::MIN,
            landing: None,
            staged: names.generation(table.staged),
            active: table.active.map(|active| names.generation(active)),
            activation: server(names, line, table.activation),
            next_earliest: server(names, line, table.next_earliest),
            ..table
        });
        if let Some(request) = &mut agent.outstanding {
            request.body = request_body(names, line, &request.body);
            request.sent = local(names, request.sent);
            request.last_sent = local(names, request.last_sent);
            request.deadline = local(names, request.deadline);
        }
        agent.link = agent.link.renamed(|instant| local(names, instant));
        agent.step = agent.step.renamed(line, names);
        agent.route = route(names, &agent.route);
        for slot in [&mut agent.active, &mut agent.staged, &mut agent.spare] {
            *slot = slot.map(|held| names.generation(held));
        }
        for slot in [&mut agent.refused, &mut agent.refused_active] {
            *slot = slot.map(|(refused, why)| (names.generation(refused), why));
        }
        agent.published = plan(names, &agent.published);
        if let First::Is(line, epoch) = agent.first {
            agent.first = First::Is(names.timeline(line), names.epoch(epoch));
        }
        agent.start_wait = agent.start_wait.map(|until| local(names, until));
        (agent, shift)
    }

    /// Clears what no later step looks at.
    fn forget_what_is_over(&mut self) {
        // A back-off that is as long as it gets stays so; whether there was a failure is looked at too (a
        // second one in a row counts like a third).
        let (first, most) = self.config.back_off;
        let enough = (0..30).find(|attempt| first.times(1 << attempt) >= most).unwrap_or(30);
        self.attempt = self.attempt.min(enough.max(1));
        // Lines don't come back and epochs of a line rise: what was first can't be found staged again.
        if let First::Is(line, epoch) = self.first {
            let elsewhere = self.timeline.is_some_and(|now| now != line);
            let passed = self.table.as_ref().is_some_and(|table| table.staged.epoch > epoch);
            if elsewhere || passed {
                self.first = First::TookOver;
            }
        }
        if let Step::Armed(armed) = &mut self.step {
            armed.forget_samples();
        }
        if let Some(request) = &mut self.outstanding
            && let RequestBody::Route { have, .. } = &mut request.body
        {
            *have = None;
        }
    }
}

impl Step {
    /// A step under other names.
    fn renamed(&self, line: Option<TimelineId>, names: &mut impl Renaming) -> Step {
        match self {
            Step::Waiting { until } => Step::Waiting { until: local(names, *until) },
            Step::Reading => Step::Reading,
            Step::Locking { since } => Step::Locking { since: local(names, *since) },
            Step::Advancing { token, activation, lease_over } => Step::Advancing {
                token: names.token(*token),
                activation: server(names, line, *activation),
                lease_over: local(names, *lease_over),
            },
            Step::Retrieving(retrieving) => {
                let target = names.generation(retrieving.target);
                Step::Retrieving(retrieving.renamed(target, |instant| local(names, instant)))
            }
            Step::Armed(armed) => Step::Armed(armed.renamed(|instant| local(names, instant))),
        }
    }
}

#[cfg(test)]
mod tests;
