//! Agents killed in the middle of every step, and restarted on the same state directory.

use downbeat_tests::farm::{CATCHING, FOUR, Farm};
use downbeat_tests::random::{Random, longer, seed};
use downbeat_tests::relay::Kind;
use std::time::Duration;

/// The messages of a cycle in their order: a process is killed while each is on its way.
const STEPS: [Kind; 11] = [
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
    Kind::Report,
];

#[test]
fn agents_killed_in_every_step_never_mislead_a_reader() {
    let mut farm = Farm::start("agents killed in every step", 0, &FOUR[..3]);
    farm.wait_epochs(2);
    for kind in STEPS {
        // Well into a retrieval, and not at its first piece.
        let pass = if matches!(kind, Kind::Fetch | Kind::Bytes) { 9 } else { 0 };
        let caught = farm.traps().set_after(pass, kind, None);
        let caught = caught.recv_timeout(CATCHING).unwrap_or_else(|_| panic!("no {kind:?} was sent"));
        let agent = caught.agent;
        farm.kill_agent(agent);
        caught.lose();
        // Killed again while it greets, after two of them.
        for greeting in [Kind::Hello, Kind::Welcome] {
            if kind == Kind::Granted || kind == Kind::Bytes {
                let caught = farm.traps().set(greeting, Some(agent));
                farm.start_agent(agent);
                let caught = caught.recv_timeout(CATCHING).expect("an agent greets");
                farm.kill_agent(agent);
                caught.lose();
            }
        }
        farm.start_agent(agent);
    }
    let history = farm.finish();
    assert!(history.lives.len() >= 3 + STEPS.len() + 4, "only {} lives", history.lives.len());
}

#[test]
fn agents_killed_at_random_never_mislead_a_reader() {
    let seed = seed("agents killed at random", 11);
    let mut random = Random::new(seed);
    let mut farm = Farm::start("agents killed at random", seed, &FOUR);
    farm.wait_epochs(1);
    for _ in 0..10 * longer() {
        // Over a whole cycle, and half of them close to a switch.
        let wait = random.below(1_000);
        std::thread::sleep(Duration::from_millis(wait));
        if random.below(2) == 0 {
            sleep_until_near_a_switch(&farm, &mut random);
        }
        let agent = random.below(farm.agents() as u64) as usize;
        farm.kill_agent(agent);
        std::thread::sleep(Duration::from_millis(random.below(300)));
        farm.start_agent(agent);
    }
    let history = farm.finish();
    let served = history.lives.iter().filter(|life| life.readers.iter().flatten().any(|span| !span.stale));
    assert!(served.count() > 4, "hardly any life came to serve anything");
}

/// Sleeps until up to 40 ms before or after the next T, if that is close.
fn sleep_until_near_a_switch(farm: &Farm, random: &mut Random) {
    let Some(look) = farm.newest() else { return };
    let left = look.activation - look.now - 40_000_000;
    if let Ok(left @ 1..1_700_000_000) = u64::try_from(left) {
        std::thread::sleep(Duration::from_nanos(left + random.below(80_000_000)));
    }
}
