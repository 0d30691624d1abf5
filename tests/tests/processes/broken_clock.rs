//! The checks find what they are for in a real run: an agent whose clock is far beyond the bound that
//! it states, and that is cut off just before a switch, must be found out.

use downbeat_tests::farm::{FOUR, Farm, Setup};
use std::time::Duration;

#[test]
fn an_agent_whose_clock_breaks_its_bound_is_found_out() {
    // 2,000 ppm slow, and it vouches for 250.
    let slow = Setup { rate: -2_000, ..FOUR[1] };
    let farm = Farm::start("broken clock", 0, &[FOUR[0], slow]);
    for _ in 0..2 {
        farm.wait_epochs(1);
        // Armed by now; from here to T it gets no sample, and falls milliseconds behind.
        std::thread::sleep(Duration::from_millis(400));
        farm.relay(1).stall(true);
        std::thread::sleep(Duration::from_millis(1_400));
        farm.relay(1).heal();
    }
    // S7 falls too where somebody reads in just those milliseconds, which a busy host may miss.
    let faults = farm.end().1;
    for check in ["S12", "clocks"] {
        assert!(faults.iter().any(|fault| fault.starts_with(check)), "{check} found nothing: {faults:?}");
    }
}
