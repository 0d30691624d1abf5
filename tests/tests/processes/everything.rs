//! All faults at once, by a seed.

use downbeat_tests::farm::{FOUR, Farm};
use downbeat_tests::random::{Random, longer, seed};
use std::time::{Duration, Instant};

#[test]
fn everything_at_once() {
    let seed = seed("everything at once", 55);
    let mut random = Random::new(seed);
    let mut farm = Farm::start_with("everything at once", seed, &FOUR, random.below(2) == 0);
    let until = Instant::now() + Duration::from_secs(20 * longer());
    let mut boots = 0;
    while Instant::now() < until {
        let agent = random.below(farm.agents() as u64) as usize;
        match random.below(14) {
            0 | 1 => farm.kill_agent(agent),
            2..=4 if !farm.agent_runs(agent) => farm.start_agent(agent),
            5 if farm.server_runs() => farm.kill_server(),
            6 if boots == 0 && farm.server_runs() && random.below(3) == 0 => {
                farm.kill_server();
                farm.reboot();
                boots += 1;
            }
            5..=8 if !farm.server_runs() => {
                farm.start_server();
            }
            9 => farm.relay(agent).cut(),
            10 => farm.relay(agent).stall(true),
            11 => farm.relay(agent).delay(Duration::from_millis(random.below(40))),
            _ => farm.relay(agent).heal(),
        }
        std::thread::sleep(Duration::from_millis(random.below(350)));
    }
    farm.finish();
}
