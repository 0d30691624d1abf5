//! Random runs of the model's world by numbers that proptest draws, so that a failing run is made shorter:
//! farms of any spans and of clocks that begin anywhere in 64 bits, with every kind of fault. What a run is
//! and what it must keep is in `simulate`.
//!
//! The runs are always the same, so that this test says something of the change at hand. Others are looked at
//! by a command of their own, as many as there is time for:
//! `PROPTEST_CASES=100000 PROPTEST_RNG_SEED=7 cargo test --release -p downbeat-models --test walks`.

use downbeat_models::simulate::run_by;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1_000,
        rng_seed: RngSeed::Fixed(1),
        max_shrink_iters: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_run_breaks_a_property(choices in prop::collection::vec(any::<u64>(), 40..3_000)) {
        let run = run_by(choices);
        let told = run.broken.map(|(property, trail)| {
            let trail: Vec<String> = trail.iter().map(|(now, what)| format!("t={now} {what}")).collect();
            format!("{property} is broken after {} steps\n{}", run.steps, trail.join("\n"))
        });
        prop_assert!(told.is_none(), "{}", told.unwrap_or_default());
    }
}
