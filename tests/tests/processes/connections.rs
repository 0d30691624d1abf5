//! Connections that are cut, stalled, slow and refused.

use downbeat_tests::farm::{FOUR, Farm};
use downbeat_tests::random::{Random, longer, seed};
use std::time::Duration;

#[test]
fn connections_that_fail_cost_at_most_service_and_never_agreement() {
    let seed = seed("connections", 44);
    let mut random = Random::new(seed);
    let farm = Farm::start("connections", seed, &FOUR);
    farm.wait_epochs(1);
    for _ in 0..18 * longer() {
        let relay = farm.relay(random.below(farm.agents() as u64) as usize);
        match random.below(6) {
            0 => relay.cut(),
            1 => relay.stall(true),
            2 => relay.delay(Duration::from_millis(random.below(60))),
            3 => {
                relay.refuse(true);
                relay.cut();
            }
            _ => relay.heal(),
        }
        std::thread::sleep(Duration::from_millis(random.below(900)));
    }
    farm.finish();
}
