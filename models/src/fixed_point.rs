//! The search without a horizon: breadth first over states under names counted from where each stands
//! (`renaming`), until no new one is found. stateright's depth first search keeps a path with every
//! state that waits, and paths of such a search are long; this one keeps one parent for each state.
//!
//! Level by level: two threads take the steps of a level and judge them, then what is new is sorted
//! in, in the order of the level, so that counts and counterexamples don't depend on the threads.

use crate::actions::Action;
use crate::configuration::Configuration;
use crate::properties::{ALWAYS, SOMETIMES};
use crate::search::Outcome;
use crate::world::World;
use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, DefaultHasher, Hash, Hasher};
use std::time::Instant;

/// A fingerprint is a hash already.
#[derive(Default)]
struct AsItIs(u64);
impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {
        unreachable!("fingerprints are whole words")
    }
    fn write_u64(&mut self, word: u64) {
        self.0 = word;
    }
}

/// How each state was first reached; the first one from itself.
type Parents = HashMap<u64, (u64, Option<Action>), BuildHasherDefault<AsItIs>>;

/// A step, judged.
struct Step {
    from: u64,
    action: Action,
    to: u64,
    /// The state, where it wasn't known before the level.
    world: Option<World>,
    /// Properties that don't hold in it, as bits of their places in [`ALWAYS`].
    broken: u32,
    /// What was reached with it, as bits of their places in [`SOMETIMES`].
    reached: u64,
}

fn fingerprint(world: &World) -> u64 {
    let mut hasher = DefaultHasher::new();
    world.hash(&mut hasher);
    hasher.finish()
}

/// Searches every state of a configuration without a horizon.
pub(crate) fn everything(config: &Configuration) -> Outcome {
    let begun = Instant::now();
    let first = World::new(config).normal(config);
    let mut parents = Parents::default();
    let mut found = Found { broken: Vec::new(), reached: 0, transitions: 0 };
    let key = fingerprint(&first);
    parents.insert(key, (key, None));
    let mut level = vec![first];
    let mut depth = 0;
    while !level.is_empty() && found.broken.is_empty() {
        depth += 1;
        level = next_level(config, &level, &mut parents, &mut found);
    }
    let broken = found.broken.iter().map(|(name, at)| (*name, path(&parents, *at))).collect();
    Outcome {
        states: parents.len(),
        transitions: found.transitions,
        depth,
        broken,
        reached: SOMETIMES
            .iter()
            .enumerate()
            .filter(|(place, _)| found.reached & (1 << place) != 0)
            .map(|(_, sometimes)| sometimes.name)
            .collect::<BTreeSet<_>>(),
        took: begun.elapsed(),
    }
}

struct Found {
    broken: Vec<(&'static str, u64)>,
    reached: u64,
    transitions: usize,
}

fn next_level(
    config: &Configuration,
    level: &[World],
    parents: &mut Parents,
    found: &mut Found,
) -> Vec<World> {
    let mut next = Vec::new();
    // In parts, so that what two threads hand over stays small.
    for part in level.chunks(20_000) {
        let known = &*parents;
        let halves = part.split_at(part.len() / 2);
        let (left, right) = std::thread::scope(|scope| {
            let right = scope.spawn(|| steps(config, halves.1, known));
            let left = steps(config, halves.0, known);
            (left, right.join())
        });
        let right = right.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        for step in left.into_iter().chain(right) {
            found.transitions += 1;
            found.reached |= step.reached;
            let Some(world) = step.world else { continue };
            if let Entry::Vacant(entry) = parents.entry(step.to) {
                entry.insert((step.from, Some(step.action)));
                let fallen = (0..ALWAYS.len()).filter(|place| step.broken & (1 << place) != 0);
                found.broken.extend(fallen.map(|place| (ALWAYS[place].name, step.to)));
                next.push(world);
            }
        }
    }
    next
}

/// All steps from some states.
fn steps(config: &Configuration, from: &[World], known: &Parents) -> Vec<Step> {
    let mut steps = Vec::new();
    for world in from {
        let key = fingerprint(world);
        for action in world.actions(config) {
            let mut next = world.clone();
            next.step(config, action);
            let reached = (0..SOMETIMES.len()).filter(|place| (SOMETIMES[*place].reached)(&next));
            let reached = reached.fold(0, |bits, place| bits | 1 << place);
            let next = next.normal(config);
            let to = fingerprint(&next);
            let (mut broken, mut new) = (0, None);
            if !known.contains_key(&to) {
                let fallen = (0..ALWAYS.len()).filter(|place| !(ALWAYS[*place].holds)(config, &next));
                broken = fallen.fold(0, |bits, place| bits | 1 << place);
                new = Some(next);
            }
            steps.push(Step { from: key, action, to, world: new, broken, reached });
        }
    }
    steps
}

/// The steps that first led to a state.
fn path(parents: &Parents, mut at: u64) -> Vec<Action> {
    let mut actions = Vec::new();
    while let Some((from, Some(action))) = parents.get(&at) {
        actions.push(*action);
        at = *from;
    }
    actions.reverse();
    actions
}
