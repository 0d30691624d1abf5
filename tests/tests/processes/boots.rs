//! The server comes back on another boot of its host: a new timeline.

use downbeat_tests::farm::{FOUR, Farm};
use downbeat_tests::random::{Random, longer, seed};
use std::time::Duration;

#[test]
fn another_boot_is_a_new_timeline_and_readers_notice_no_more_than_a_pause() {
    let seed = seed("another boot", 33);
    let mut random = Random::new(seed);
    let mut farm = Farm::start_with("another boot", seed, &FOUR, true);
    farm.wait_epochs(2);
    let boots = 2 * longer();
    for _ in 0..boots {
        // A restart within the boot stores a mark, so that the new line need not wait for long.
        farm.kill_server();
        assert!(farm.start_server());
        std::thread::sleep(Duration::from_millis(random.below(1_700)));
        farm.kill_server();
        farm.reboot();
        let agent = random.below(farm.agents() as u64) as usize;
        if random.below(2) == 0 {
            farm.kill_agent(agent);
        }
        assert!(!farm.start_server(), "another boot begins another line");
        if !farm.agent_runs(agent) {
            farm.start_agent(agent);
        }
        farm.wait_epochs(2);
    }
    let history = farm.finish();
    let mut lines: Vec<_> = history.tables.iter().map(|look| &look.timeline).collect();
    lines.dedup();
    assert_eq!(lines.len() as u64, boots + 1, "each boot has its line: {lines:?}");
}
