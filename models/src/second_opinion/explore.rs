//! Every world of a configuration, and the distinct states and steps of their projections.
//!
//! Unlike `check`, no step is put before another: answers, timers and requests come in every order.
//! Two worlds count as one only if their canonical forms and their projections agree.

use super::projection::{message, project};
use crate::actions::Action;
use crate::configuration::{Configuration, Kind};
use crate::world::World;
use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

/// What a run over all worlds found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Distinct worlds.
    pub worlds: usize,
    /// Distinct projections.
    pub states: usize,
    /// Distinct steps between projections: from where, what, and to where.
    pub steps: usize,
}

/// What a step is called in the specification: what is done, to whom, and to which message. Two steps
/// of one state with one name are one step.
#[derive(PartialEq, Eq, Hash)]
struct Step {
    what: u8,
    agent: u8,
    message: Vec<u8>,
}

/// Explores every world of a configuration.
///
/// # Errors
/// Where the projection is not a state of its own: it stays the same in a step, two worlds with one
/// projection can take different steps, or one step of theirs leads to different projections.
pub fn explore(config: &Configuration) -> Result<Counts, String> {
    let mut seen = HashSet::new();
    let mut steps: HashMap<u64, u64> = HashMap::new();
    let mut possible: HashMap<u64, u64> = HashMap::new();
    let first = World::new(config);
    let blank = first.record.clone();
    let mut open = vec![first];
    seen.insert(fingerprint(config, &open[0]));
    while let Some(world) = open.pop() {
        let from = project(&world);
        let state = hash(&from);
        let mut names = HashSet::new();
        for action in all_steps(&world, config) {
            let name = hash(&(state, name(&world, action)));
            let mut next = world.clone();
            next.step(config, action);
            // What has happened influences nothing, and would only keep worlds apart.
            next.record = blank.clone();
            let to = project(&next);
            if to == from {
                return Err(format!("{} leaves the projection as it is", world.describe(action)));
            }
            if *steps.entry(name).or_insert(hash(&to)) != hash(&to) {
                return Err(format!("the projection doesn't determine what {} does", world.describe(action)));
            }
            names.insert(name);
            if seen.insert(fingerprint(config, &next)) {
                open.push(next);
            }
        }
        let all = names.into_iter().fold(0u64, u64::wrapping_add);
        if possible.insert(state, all).is_some_and(|before| before != all) {
            return Err("the projection doesn't determine which steps there are".into());
        }
    }
    Ok(Counts { worlds: seen.len(), states: possible.len(), steps: steps.len() })
}

/// The steps of the model, with those that `check` postpones because they commute.
fn all_steps(world: &World, config: &Configuration) -> Vec<Action> {
    let mut steps = world.actions(config);
    let arrivals = world.network.iter().enumerate().filter(|(_, packet)| world.can_arrive(packet));
    let postponed = arrivals
        .map(|(place, _)| Action::Deliver(place as u8))
        .chain((0..world.hosts.len()).filter(|index| world.wants_wake(*index)).map(|i| Action::Wake(i as u8)))
        .chain(world.server.committing.is_some().then_some(Action::Commit))
        .chain((0..world.hosts.len()).filter(|index| world.hosts[*index].cut).map(|i| Action::Reach(i as u8)))
        .chain((!world.server.up && config.kinds.has(Kind::ServerCrash)).then_some(Action::Continue));
    for step in postponed {
        if !steps.contains(&step) {
            steps.push(step);
        }
    }
    steps
}

fn name(world: &World, action: Action) -> Step {
    let packet = |what: u8, place: u8| {
        let packet = &world.network[place as usize];
        Step { what, agent: packet.agent, message: message(world, packet) }
    };
    let plain = |what: u8, agent: u8| Step { what, agent, message: Vec::new() };
    match action {
        Action::Tick => plain(0, 0),
        Action::Commit => plain(1, 0),
        Action::Continue => plain(2, 0),
        Action::Wake(agent) => plain(3, agent),
        Action::Reach(agent) => plain(6, agent),
        Action::Server(_, committed) => plain(4, committed as u8),
        Action::Deliver(place) => packet(5, place),
        Action::Packet(kind, place) => packet(100 + kind as u8, place),
        Action::Agent(kind, agent) => plain(100 + kind as u8, agent),
        Action::Operate(kind) => plain(100 + kind as u8, 0),
        other => unreachable!("the configurations compared have no {other:?}"),
    }
}

fn fingerprint(config: &Configuration, world: &World) -> u64 {
    hash(&(project(world), world.canonical(config)))
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
