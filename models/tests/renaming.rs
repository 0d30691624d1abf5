//! Renaming a state (`renaming`) and taking a step commute: from a state under its own names and from
//! the same state under names counted from where it stands, the same steps lead to the same states.
//! Searches without a horizon stand on this. Walks are random, in the configurations that have no horizon; and a
//! search with a horizon that is far enough meets, under those names, exactly the states of the one
//! without.

use downbeat_core::serving::Mode;
use downbeat_models::actions::Action;
use downbeat_models::checks::{checks, larger};
use downbeat_models::configuration::{Configuration, FOR_EVER, Kind, Kinds};
use downbeat_models::search::everything;
use downbeat_models::world::World;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use std::collections::{BTreeSet, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

/// Where each step leads, under the new names, in an order that doesn't depend on that of the steps.
fn successors(config: &Configuration, world: &World) -> Vec<String> {
    let mut led: Vec<String> = world
        .actions(config)
        .into_iter()
        .map(|action| {
            let mut next = world.clone();
            next.step(config, action);
            let next = next.normal(config);
            let kind = format!("{action:?}").split('(').next().unwrap_or_default().to_string();
            format!("{kind}: {next:#?}")
        })
        .collect();
    led.sort();
    led
}

fn commutes(config: &Configuration, world: &World) -> Result<(), TestCaseError> {
    let (plain, named) = (successors(config, world), successors(config, &world.normal(config)));
    prop_assert_eq!(plain.len(), named.len());
    for (left, right) in plain.iter().zip(&named) {
        if left != right {
            let differs = left.lines().zip(right.lines()).filter(|(left, right)| left != right);
            let differs: Vec<String> = differs.map(|(left, right)| format!("{left}  |  {right}")).collect();
            return Err(TestCaseError::fail(format!(
                "{} from\n{world:#?}\ndiffers in\n{}",
                left.lines().next().unwrap_or_default(),
                differs.join("\n")
            )));
        }
    }
    Ok(())
}

fn walk(config: &Configuration, choices: &[u16]) -> Result<(), TestCaseError> {
    let mut world = World::new(config);
    for (step, choice) in choices.iter().enumerate() {
        let actions = world.actions(config);
        // Time passes often enough for a walk to see several cycles.
        let tick = actions.iter().find(|action| **action == Action::Tick).filter(|_| choice % 3 > 0);
        let action = tick.unwrap_or(&actions[*choice as usize % actions.len()]);
        world.step(config, *action);
        if step % 7 == 0 {
            commutes(config, &world)?;
        }
    }
    Ok(())
}

fn unbounded(name: &str) -> Configuration {
    let check = checks()
        .into_iter()
        .chain(larger())
        .find(|check| check.config.name == name)
        .expect("it is in the list");
    check.config
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 42, max_shrink_iters: 300, rng_seed: RngSeed::Fixed(2026), ..ProptestConfig::default() })]

    #[test]
    fn renaming_commutes_with_every_step(
        name in prop::sample::select(vec!["forever-loss", "forever-crashes", "forever-holds", "forever-edits", "forever-any-1", "forever-any-2", "forever-server"]),
        choices in prop::collection::vec(any::<u16>(), 0..220),
    ) {
        walk(&unbounded(name), &choices)?;
    }
}

/// The states within a horizon, each under its own names, as they are called without one.
fn within(config: &Configuration) -> BTreeSet<u64> {
    let first = World::new(config);
    let mut seen = HashSet::from([first.clone()]);
    let mut waiting = vec![first];
    let mut named = BTreeSet::new();
    while let Some(world) = waiting.pop() {
        named.insert(fingerprint(&world.normal(config)));
        for action in world.actions(config) {
            let mut next = world.clone();
            next.step(config, action);
            next.record.happened = 0;
            if seen.insert(next.clone()) {
                waiting.push(next);
            }
        }
    }
    named
}

fn fingerprint(world: &World) -> u64 {
    let mut hasher = DefaultHasher::new();
    world.hash(&mut hasher);
    hasher.finish()
}

#[test]
fn a_far_horizon_meets_the_states_that_none_meets() {
    const PAIR: &[Mode] = &[Mode::Strict, Mode::Prompt];
    let lose = Kinds::of(&[Kind::Lose]);
    for (modes, faults, kinds) in [(PAIR, 0, Kinds::of(&[])), (&[Mode::Strict], 1, lose)] {
        let config =
            |horizon| Configuration { horizon, faults, kinds, ..Configuration::new("compared", modes) };
        let (near, far) = (within(&config(40)), within(&config(48)));
        assert!(near == far, "{} and {} states: the far horizon is not far enough", near.len(), far.len());
        assert_eq!(far.len(), everything(&config(FOR_EVER)).states);
        assert!(within(&config(8)).len() < far.len(), "and a near one is not");
    }
}
