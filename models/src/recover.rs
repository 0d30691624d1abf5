//! R1 `recovers`: from any state, once faults stop, every agent is current within a bound. Not
//! hoped for with `eventually`, but tried: one fault-free schedule, from every state visited.

use crate::actions::Action;
use crate::configuration::{Configuration, Kind};
use crate::world::World;
use downbeat_core::serving::Serving;
use downbeat_core::time::{LocalTime, Span};

/// Whether every agent of a farm that is not held becomes current in time (R1).
pub fn recovers(config: &Configuration, from: &World) -> bool {
    tried(config, from, &mut |_, _| {})
}

/// The same, with each step of the schedule shown before it is taken.
pub fn tried(config: &Configuration, from: &World, show: &mut dyn FnMut(&World, Action)) -> bool {
    let mut waiting: Vec<usize> = (0..from.hosts.len()).collect();
    waiting.retain(|index| !is_current(from, *index));
    if from.server.store.table.held.is_some() || waiting.is_empty() {
        return true;
    }
    let mut world = from.clone();
    (world.faults, world.operations) = (0, 0);
    settle(config, &mut world, show);
    let first = begin(&world);
    let mut deadline = first + bound(config, &world, first);
    // Who knows nothing yet is told a T later; and the width around a T that comes is known then.
    let (mut begin_at, mut untold) = (first, untold(&world));
    let unlimited = Configuration { horizon: i64::MAX, ..config.clone() };
    loop {
        // Each in its time: where clocks err, one may hold its reads around a T while another is current.
        waiting.retain(|index| !is_current(&world, *index));
        if waiting.is_empty() {
            return true;
        }
        if world.now >= deadline {
            return false;
        }
        let action = goes_on(config, &world, deadline);
        show(&world, action);
        world.step(&unlimited, action);
        settle(&unlimited, &mut world, show);
        let still = self::untold(&world);
        if still < untold && world.server.store.table.active.is_none() {
            begin_at = begin(&world);
        }
        deadline = deadline.max(begin_at + bound(config, &world, begin_at));
        untold = still;
    }
}

/// How many agents know no table.
fn untold(world: &World) -> usize {
    world.hosts.iter().filter(|host| host.agent.table().is_none()).count()
}

/// Time goes on: by a tick; where it isn't counted in ticks, to what is next.
fn goes_on(config: &Configuration, world: &World, until: i64) -> Action {
    if config.fine.is_none() {
        return Action::Tick;
    }
    let next = [world.until_timer(), world.until_switch()].into_iter().flatten().min();
    Action::Pass(next.unwrap_or(i64::MAX).min(until - world.now).max(1))
}

/// A schedule without faults up to some real time, or to the first state that is broken. Each step is shown
/// before it is taken.
pub(crate) fn healed(
    config: &Configuration,
    world: &mut World,
    until: i64,
    show: &mut dyn FnMut(&World, Action),
) {
    (world.faults, world.operations) = (0, 0);
    settle(config, world, show);
    while world.now < until && world.record.broken == 0 {
        let action = goes_on(config, world, until);
        show(world, action);
        world.step(config, action);
        settle(config, world, show);
    }
}

/// Until when everybody has to be current, by real time.
pub(crate) fn deadline(config: &Configuration, world: &World) -> i64 {
    let begin = begin(world);
    begin + bound(config, world, begin)
}

/// Two leases, one back-off, the stagger and a retrieval; and the hold of reads that an enclosure's
/// width makes, which isn't a failure to recover. What was known when an activation was learned is as old
/// by then, so its width counts where that activation has certainly passed.
fn bound(config: &Configuration, world: &World, begin: i64) -> i64 {
    let settings = world.server.store.table.settings;
    let ahead = Span::from_nanos((begin - world.now).max(0));
    let widest = (0..world.hosts.len())
        .filter_map(|index| {
            let agent = &world.hosts[index].agent;
            let clock = agent.clock();
            let passed = agent.table().and_then(|table| clock.certainly_reached(table.activation));
            let at = (world.local_now(index) + ahead).max(passed.unwrap_or(LocalTime::MIN));
            let epsilon = clock.epsilon(at)?;
            Some(clock.surely_reached(epsilon.times(2)).as_nanos())
        })
        .max()
        .unwrap_or(0);
    2 * settings.lease.as_nanos()
        + settings.stagger.as_nanos()
        + settings.retrieve.as_nanos()
        + config.unit()
        + widest
        + if config.rate.as_ppb() > 0 || config.server_rate.as_ppb() > 0 { 2 * config.unit() } else { 0 }
}

/// From when the bound counts: where the table names no active generation, from its activation. So does
/// an agent that was told such a table of a line before: until that line's T it has nothing to ask for, and
/// its connection may have broken without its knowing. And so does who went over to k before the line went
/// back behind T: it has nothing else to serve until T comes once more.
fn begin(world: &World) -> i64 {
    let table = &world.server.store.table;
    let went_over = world.hosts.iter().any(|host| host.agent.abstracted().active == Some(table.staged));
    if table.active.is_some() && !went_over {
        return world.now;
    }
    let told = |index: usize| {
        let agent = &world.hosts[index].agent;
        let known = agent.table().filter(|known| known.active.is_none())?;
        let line = world.line_time(agent.timeline()?, world.now)?;
        Some(world.now.saturating_add((known.activation - line).as_nanos()))
    };
    let begin = table.activation.as_nanos().saturating_sub(world.line().offset);
    if table.active.is_some() {
        return world.now.max(begin);
    }
    (0..world.hosts.len()).filter_map(told).fold(world.now.max(begin), i64::max)
}

/// A farm that has run without a fault for some time.
pub(crate) fn run_up(config: &Configuration, world: &mut World, ticks: i64) {
    settle(config, world, &mut |_, _| {});
    for action in config.prelude {
        if *action == Action::Tick && world.server.up {
            settle(config, world, &mut |_, _| {});
        }
        world.step(config, *action);
    }
    for _ in 0..ticks {
        world.step(config, Action::Tick);
        settle(config, world, &mut |_, _| {});
    }
}

/// Everything that takes no time is done, faithfully and in order.
fn settle(config: &Configuration, world: &mut World, show: &mut dyn FnMut(&World, Action)) {
    for _ in 0..10_000 {
        let action = if world.server.committing.is_some() {
            Action::Commit
        } else if !world.server.up {
            if config.kinds.has(Kind::NewLineAhead) {
                Action::NewLine(2)
            } else if config.kinds.has(Kind::MarkLost) {
                Action::Moves(Kind::MarkLost, 2)
            } else {
                Action::Continue
            }
        } else if let Some(index) = (0..world.hosts.len()).find(|index| world.hosts[*index].overlap.is_some())
        {
            Action::HandOver(index as u8)
        } else if let Some(index) = (0..world.hosts.len()).find(|index| world.hosts[*index].cut) {
            Action::Reach(index as u8)
        } else if let Some(place) = world.processes.iter().position(|process| !process.up) {
            Action::ProcessStarts(place as u8)
        } else if let Some(place) = (0..world.processes.len()).find(|place| world.reads_outside(*place)) {
            Action::ReadsClock(place as u8)
        } else if let Some(index) = (0..world.hosts.len()).find(|index| world.hosts[*index].astray) {
            Action::ClockFound(index as u8)
        } else if let Some(place) = (0..world.network.len()).find(|at| world.can_arrive(&world.network[*at]))
        {
            Action::Deliver(place as u8)
        } else if let Some(index) = (0..world.hosts.len()).find(|index| world.wants_wake(*index)) {
            Action::Wake(index as u8)
        } else {
            return;
        };
        show(world, action);
        world.step(config, action);
    }
    panic!("a schedule without faults never comes to rest: {world:?}");
}

/// Whether readers of an agent get what is live. One whose host refuses the generation is excused.
fn is_current(world: &World, index: usize) -> bool {
    let host = &world.hosts[index];
    if host.agent.report(world.local_now(index)).veto.is_some() || host.vetoes {
        return true;
    }
    match world.read(index) {
        Serving::Active(generation) | Serving::Staged(generation) => {
            let live = world.live_at(world.now);
            live.is_some_and(|rank| world.record.goes_live[rank].generation == generation)
        }
        _ => false,
    }
}
