//! A command on an agent's host judges each generation before it is staged there.

use downbeat_tests::farm::{FOUR, Farm};
use downbeat_tests::processes::eventually;

#[test]
fn a_refused_generation_is_not_staged_and_the_modes_rule_applies() {
    let mut farm = Farm::start("checked", 0, &[FOUR[0], FOUR[2], FOUR[3]]);
    farm.wait_epochs(1);
    let refuse = farm.folder().join("refuse");
    // It wants all of the farm's bulk (the first generation has none), and then looks whether today is
    // the day.
    let command = format!(
        "n=$(grep -c '\"dataset\":\"bulk\"'); case $n in 0|60) ;; *) echo $n >&2; exit 1;; esac; \
         test ! -e {} || {{ echo not today >&2; false; }}",
        refuse.display()
    );
    for agent in 0..2 {
        farm.kill_agent(agent);
        farm.check(agent, &command);
        farm.start_agent(agent);
    }
    farm.wait_epochs(3);
    assert!((0..2).all(|agent| !farm.logged(agent).contains("refused")), "{}", farm.logged(0));
    std::fs::write(&refuse, "").unwrap();
    for agent in 0..2 {
        let refused = || farm.logged(agent).contains("not today").then_some(());
        eventually(&format!("a refusal by agent {agent}"), refused);
    }
    let since = farm.epoch();
    farm.wait_epochs(3);
    let until = farm.epoch() - 1;
    std::fs::remove_file(&refuse).unwrap();
    let history = farm.finish();
    let spans = |agent: &str| -> Vec<_> {
        let lives = history.lives.iter().filter(|life| life.agent == agent);
        lives.flat_map(|life| life.readers.iter().flatten().cloned()).collect()
    };
    let agents: std::collections::BTreeSet<_> = history.lives.iter().map(|life| &life.agent).collect();
    let mut refused = 0;
    for agent in agents {
        let spans = spans(agent);
        let served = |epoch| spans.iter().any(|span| span.epoch == epoch && !span.stale);
        if !(since..until).any(served) {
            refused += 1;
            // The prompt one went on with what it had; strict served nothing, which finish has judged.
            let stale = spans.iter().any(|span| span.stale);
            let mode = history.lives.iter().find(|life| life.agent == *agent).map(|life| life.mode);
            assert_eq!(stale, mode == Some(downbeat_tests::history::Mode::Prompt), "{agent}: {spans:?}");
        }
    }
    assert_eq!(refused, 2, "two agents refused the epochs {since} to {until}");
}
