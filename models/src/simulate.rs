//! Random runs by seed, longer and with more faults than a search can hold: a phase in which faults
//! and operations come at any time, then a healed one that must lead back to a current farm (R1).
//! The same steps, machines and properties as in the searches; only the choice of steps is random.

use crate::actions::Action;
use crate::checks::{ALL, OPERATIONS, SETTINGS};
use crate::configuration::{Configuration, FOR_EVER, Kind, Kinds, ticks};
use crate::properties::ALWAYS;
use crate::recover::recovers;
use crate::world::World;
use downbeat_core::serving::{Activation, Mode};
use downbeat_core::settings::Limits;

/// What a run came to.
pub struct Run {
    /// Steps taken.
    pub steps: u64,
    /// Cycles begun.
    pub cycles: usize,
    /// The property that fell, and the last steps before.
    pub broken: Option<(&'static str, Vec<(i64, String)>)>,
}

/// A generator of random numbers that a seed determines (SplitMix64).
struct Random(u64);
impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

const MODES: &[&[Mode]] = &[
    &[Mode::Strict, Mode::Strict, Mode::Prompt],
    &[Mode::Prompt, Mode::Prompt],
    &[Mode::Strict, Mode::Prompt, Mode::Prompt, Mode::Strict],
    &[Mode::Strict],
];

/// The farm of a seed: agents, spans and kinds of faults differ from seed to seed.
fn configuration(random: &mut Random) -> Configuration {
    let slow = random.below(2) == 0;
    let base = Configuration::new("simulation", MODES[random.below(MODES.len())]);
    let settings = if slow { crate::configuration::patient() } else { base.settings };
    Configuration {
        settings,
        limits: Limits { max_interval: ticks(1_000), max_lead: ticks(8), max_hold: ticks(9) },
        activation: if random.below(4) == 0 { Activation::Copy } else { Activation::Switch },
        samples: random.below(3) as u8,
        two_parts: random.below(2) == 0,
        slow_network: slow,
        kinds: ALL.and(Kinds::of(&[Kind::SpuriousWake, Kind::Pin, Kind::MarkOld])),
        kept: 2,
        operation_kinds: OPERATIONS.and(SETTINGS),
        horizon: FOR_EVER,
        // Never what a step has left, so that no step counts as one of a perfect run (A1).
        faults: 1,
        operations: 1,
        ..base
    }
}

/// One run of a seed: `events` steps with faults, then the healed phase.
pub fn run(seed: u64, events: u64) -> Run {
    let mut random = Random(seed);
    let config = configuration(&mut random);
    let mut world = World::new(&config);
    let mut trail = std::collections::VecDeque::new();
    // One step in so many is a fault or an operation.
    let rarity = 4 + random.below(60);
    for step in 0..events {
        let action = choose(&config, &mut world, &mut random, rarity);
        if trail.len() == 60 {
            trail.pop_front();
        }
        trail.push_back((world.now, world.describe(action)));
        world.step(&config, action);
        world.record.restarted.fill(true);
        let fell = ALWAYS.iter().filter(|always| !always.name.starts_with("R1"));
        let fell =
            fell.map(|always| (always.name, (always.holds)(&config, &world))).find(|(_, holds)| !holds);
        let fell = fell.map(|(name, _)| name);
        let last = step + 1 == events || step % 256 == 255;
        let fell = fell.or_else(|| (last && !recovers(&config, &world)).then_some("R1 recovers"));
        if let Some(name) = fell {
            let cycles = world.record.goes_live.len();
            trail.extend((0..world.hosts.len()).map(|index| {
                let host = &world.hosts[index];
                let table = host.agent.table().map(|table| (table.staged.epoch, table.activation));
                let text = format!(
                    "agent {index}: {:?}, table {table:?}, page {:?}",
                    world.local_now(index),
                    host.page
                );
                (world.now, text)
            }));
            let live = world.record.goes_live.iter().rev().take(3);
            trail.extend(live.map(|live| (world.real(live), format!("goes live: {live:?}"))));
            return Run { steps: step + 1, cycles, broken: Some((name, trail.into())) };
        }
    }
    Run { steps: events, cycles: world.record.goes_live.len(), broken: None }
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
    // Where nothing else can happen, time goes on.
    if actions.is_empty() { Action::Tick } else { actions[random.below(actions.len())] }
}
