//! Random runs by seed, longer and with more faults than a search can hold: a phase in which faults
//! and operations come at any time, then a healed one that must lead back to a current farm (R1).
//! The same steps, machines and properties as in the searches; only the choice of steps is random.

mod farms;
mod random;

use crate::actions::Action;
use crate::configuration::{Configuration, Kind};
use crate::properties::ALWAYS;
use crate::recover::{deadline, healed, recovers, tried};
use crate::world::World;
use random::Random;
use std::collections::VecDeque;

/// What a run came to.
pub struct Run {
    /// Steps taken.
    pub steps: u64,
    /// Cycles begun.
    pub cycles: usize,
    /// The property that fell, and the last steps before.
    pub broken: Option<(&'static str, Vec<(i64, String)>)>,
}

/// How often R1 is tried while there are faults: once in so many steps.
const TRIED: u64 = 256;
/// How many steps before its end a broken run tells.
const TOLD: usize = 60;

/// One run of a seed: `events` steps with faults, then the healed phase.
pub fn run(seed: u64, events: u64) -> Run {
    walk(Random::Seed(seed), events)
}

/// One run by numbers that were drawn elsewhere: as many steps as they decide, then the healed phase.
pub fn run_by(choices: Vec<u64>) -> Run {
    let most = choices.len() as u64;
    walk(Random::Given(choices.into_iter()), most)
}

fn walk(mut random: Random, events: u64) -> Run {
    let config = farms::farm(&mut random);
    let mut world = World::new(&config);
    let mut trail = VecDeque::from([(0, format!("{config:?}"))]);
    // One step in so many is a fault or an operation.
    let rarity = 4 + random.below(60);
    let mut steps = 0;
    while steps < events && !random.is_over() {
        let action = choose(&config, &mut world, &mut random, rarity);
        tell(&mut trail, world.now, world.describe(action));
        world.step(&config, action);
        world.record.restarted.fill(true);
        steps += 1;
        let tried = steps % TRIED == 0;
        let fell = fallen(&config, &world)
            .or_else(|| (tried && !recovers(&config, &world)).then_some("R1 recovers"));
        if let Some(name) = fell {
            return broken(&config, world, steps, name, trail);
        }
    }
    tell(&mut trail, world.now, "from here on without faults".to_string());
    match heals(&config, &mut world, &mut trail) {
        Err(name) => broken(&config, world, steps, name, trail),
        Ok(()) => Run { steps, cycles: world.record.goes_live.len(), broken: None },
    }
}

/// The last steps are kept, after the farm.
fn tell(trail: &mut VecDeque<(i64, String)>, now: i64, what: String) {
    if trail.len() == TOLD {
        trail.remove(1);
    }
    trail.push_back((now, what));
}

/// A property that doesn't hold in a state. R1 is tried apart.
fn fallen(config: &Configuration, world: &World) -> Option<&'static str> {
    let judged = ALWAYS.iter().filter(|always| !always.name.starts_with("R1"));
    judged.filter(|always| !(always.holds)(config, world)).map(|always| always.name).next()
}

/// The phase after the faults: everybody is current in time (R1), and still so two cycles later.
fn heals(
    config: &Configuration,
    world: &mut World,
    trail: &mut VecDeque<(i64, String)>,
) -> Result<(), &'static str> {
    let mut show = |world: &World, action| tell(trail, world.now, world.describe(action));
    healed(config, world, world.now, &mut show);
    if world.server.store.table.held.is_some() {
        world.operations = 1;
        world.step(config, Action::Operate(Kind::Unhold));
    }
    if !recovers(config, world) {
        return Err("R1 recovers");
    }
    let begun = world.record.goes_live.len();
    for _ in 0..2 {
        let table = &world.server.store.table;
        let longest = table.pending.unwrap_or(table.settings).interval.max(table.settings.interval);
        // The promise may reach as far as a hold was announced.
        let promised = world.now + (table.next_earliest - world.server_now()).as_nanos();
        let until = deadline(config, world).max(promised) + longest.times(2).as_nanos();
        healed(config, world, until, &mut show);
        if let Some(name) = fallen(config, world) {
            return Err(name);
        }
        if !recovers(config, world) {
            return Err("R1 recovers");
        }
    }
    if world.record.goes_live.len() < begun + 2 { Err("R1 recovers: no cycle begins") } else { Ok(()) }
}

/// What a broken run tells: its farm, its last steps, and where everybody stands.
fn broken(
    config: &Configuration,
    world: World,
    steps: u64,
    name: &'static str,
    mut trail: VecDeque<(i64, String)>,
) -> Run {
    trail.extend((0..world.hosts.len()).map(|index| {
        let host = &world.hosts[index];
        let table = host.agent.table().map(|table| (table.staged.epoch, table.activation));
        let text =
            format!("agent {index}: {:?}, table {table:?}, page {:?}", world.local_now(index), host.page);
        (world.now, text)
    }));
    if name.starts_with("R1") {
        trail.push_back((world.now, "the schedule that should have led back:".to_string()));
        let mut tells = |world: &World, action| trail.push_back((world.now, world.describe(action)));
        tried(config, &world, &mut tells);
    }
    let live = world.record.goes_live.iter().rev().take(3);
    trail.extend(live.map(|live| (world.real(live), format!("goes live: {live:?}"))));
    Run { steps, cycles: world.record.goes_live.len(), broken: Some((name, trail.into())) }
}

/// A step: mostly one of those that happen by themselves, now and then a fault or an operation.
fn choose(config: &Configuration, world: &mut World, random: &mut Random, rarity: usize) -> Action {
    let disturbed = random.below(rarity) == 0;
    (world.faults, world.operations) = if disturbed { (u8::MAX, u8::MAX) } else { (0, 0) };
    let mut actions = world.actions(config);
    if disturbed {
        let disturbance = |action: &Action| {
            matches!(action, Action::Packet(..) | Action::Agent(..) | Action::Server(..) | Action::Operate(_))
        };
        if actions.iter().any(disturbance) {
            actions.retain(disturbance);
        }
    }
    let chosen = match actions.len() {
        // Where nothing else can happen, time goes on.
        0 => Action::Tick,
        some => actions[random.below(some)],
    };
    if chosen == Action::Tick && config.fine.is_some() { passes(config, world, random) } else { chosen }
}

/// Time goes on to the next timer, to about an instant at which readers get something else, or by any span
/// before.
fn passes(config: &Configuration, world: &World, random: &mut Random) -> Action {
    let timer = world.until_timer().unwrap_or(10 * config.unit());
    let span = match random.below(3) {
        0 => timer,
        1 => random.magnitude(timer),
        _ => world.until_switch().unwrap_or(timer) + random.between(-1, 1),
    };
    Action::Pass(span.clamp(1, timer))
}
