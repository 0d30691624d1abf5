//! The server killed in the middle of every step and restarted at once, in the same boot.

use downbeat_tests::farm::{CATCHING, FOUR, Farm};
use downbeat_tests::random::{Random, longer, seed};
use downbeat_tests::relay::Kind;
use std::time::Duration;

/// Before the server gets each request, and after it has answered but before anybody heard of it.
const STEPS: [Kind; 12] = [
    Kind::Hello,
    Kind::Welcome,
    Kind::Read,
    Kind::Table,
    Kind::Lock,
    Kind::Granted,
    Kind::Advance,
    Kind::Advanced,
    Kind::Route,
    Kind::RouteReply,
    Kind::Fetch,
    Kind::Bytes,
];

#[test]
fn a_server_killed_in_every_step_loses_nothing_and_continues_its_line() {
    let mut farm = Farm::start("server killed in every step", 0, &FOUR[..3]);
    farm.wait_epochs(2);
    for kind in STEPS {
        // Well into a retrieval, and not at its first piece.
        let pass = if matches!(kind, Kind::Fetch | Kind::Bytes) { 9 } else { 0 };
        let caught = farm.traps().set_after(pass, kind, None);
        if matches!(kind, Kind::Hello | Kind::Welcome) {
            farm.relay(0).cut();
        }
        let caught = caught.recv_timeout(CATCHING).unwrap_or_else(|_| panic!("no {kind:?} was sent"));
        farm.kill_server();
        caught.lose();
        assert!(farm.start_server(), "the line is continued within a boot");
    }
    let history = farm.finish();
    let first = &history.tables[0].timeline;
    assert!(history.tables.iter().all(|look| look.timeline == *first), "it is one line throughout");
}

#[test]
fn a_server_killed_at_random_loses_nothing_that_was_acknowledged() {
    let seed = seed("server killed at random", 22);
    let mut random = Random::new(seed);
    let mut farm = Farm::start("server killed at random", seed, &FOUR);
    farm.wait_epochs(1);
    for _ in 0..10 * longer() {
        std::thread::sleep(Duration::from_millis(random.below(1_500)));
        farm.kill_server();
        // Mostly at once; sometimes so late that promises run out.
        if random.below(4) == 0 {
            std::thread::sleep(Duration::from_millis(random.below(2_500)));
        }
        assert!(farm.start_server(), "the line is continued within a boot");
    }
    let acknowledged = farm.acknowledged();
    let history = farm.finish();
    assert!(acknowledged > 20, "only {acknowledged} edits were acknowledged");
    assert!(history.edits.len() as u64 >= acknowledged);
}
