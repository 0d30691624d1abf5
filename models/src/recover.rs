//! R1 `recovers`: from any state, once faults stop, every agent is current within a bound. Not
//! hoped for with `eventually`, but tried: one fault-free schedule, from every state visited.

use crate::actions::Action;
use crate::configuration::{Configuration, Kind};
use crate::world::World;
use downbeat_core::serving::Serving;

/// Whether every agent of a farm that is not held becomes current in time (R1).
pub fn recovers(config: &Configuration, from: &World) -> bool {
    tried(config, from, &mut |_, _| {})
}

/// The same, with each step of the schedule shown before it is taken.
pub fn tried(config: &Configuration, from: &World, show: &mut dyn FnMut(&World, Action)) -> bool {
    if from.server.store.table.held.is_some() || all_current(from) {
        return true;
    }
    let mut world = from.clone();
    (world.faults, world.operations) = (0, 0);
    settle(config, &mut world, show);
    let deadline = begin(&world) + bound(config, &world);
    let unlimited = Configuration { horizon: i64::MAX, ..config.clone() };
    while !all_current(&world) {
        if world.now >= deadline {
            return false;
        }
        show(&world, Action::Tick);
        world.step(&unlimited, Action::Tick);
        settle(&unlimited, &mut world, show);
    }
    true
}

/// Two leases, one back-off, the stagger and a retrieval; and the hold of reads that an enclosure's
/// width makes, which isn't a failure to recover.
fn bound(config: &Configuration, world: &World) -> i64 {
    let settings = world.server.store.table.settings;
    let widest = (0..world.hosts.len())
        .filter_map(|index| world.hosts[index].agent.clock().epsilon(world.local_now(index)))
        .map(|epsilon| 2 * epsilon.as_nanos())
        .max()
        .unwrap_or(0);
    2 * settings.lease.as_nanos()
        + settings.stagger.as_nanos()
        + settings.retrieve.as_nanos()
        + 1
        + widest.min(settings.interval.as_nanos())
        + if config.rate.as_ppb() > 0 || config.server_rate.as_ppb() > 0 { 2 } else { 0 }
}

/// From when the bound counts: where the table names no active generation, from its activation.
fn begin(world: &World) -> i64 {
    let table = &world.server.store.table;
    if table.active.is_some() {
        return world.now;
    }
    world.now.max(table.activation.as_nanos() - world.line().offset)
}

/// A farm that has run without a fault for some time.
pub(crate) fn run_up(config: &Configuration, world: &mut World, ticks: i64) {
    settle(config, world, &mut |_, _| {});
    for action in config.prelude {
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
    panic!("a schedule without faults never comes to rest: {:?}", world.hosts);
}

fn all_current(world: &World) -> bool {
    (0..world.hosts.len()).all(|index| {
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
    })
}
