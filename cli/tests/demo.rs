//! The demo through the real binary: both modes, and each guard that it can switch off. The scene of each
//! break is played with its guard on, too: so what falls, falls for want of the guard.

use serde_json::Value;
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One demo at a time: several would take each other's cores.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn demo(arguments: &[&str]) -> Output {
    let _alone = alone();
    let mut command = Command::new(env!("CARGO_BIN_EXE_downbeat"));
    command.arg("demo").args(arguments).output().expect("the binary runs")
}

fn played(mode: &str) -> Value {
    let output = demo(&["--json", "--cycles", "3", "--mode", mode]);
    let text = String::from_utf8(output.stdout).expect("text");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}\n{text}");
    assert_eq!(text.lines().count(), 1, "one JSON object and nothing else: {text}");
    let told: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(told["mode"], mode);
    assert_eq!(told["violations"], Value::Array(Vec::new()));
    let of_mode = if mode == "strict" { "S7" } else { "S8" };
    for property in ["S1", "S2", "S3", "S4", "S5", "S6", of_mode, "S9", "S10", "S11", "S12"] {
        assert!(told["replay"]["judged"][property].as_u64() > Some(0), "{property} was not judged: {told}");
    }
    let cycles = told["cycles"].as_array().expect("cycles");
    assert_eq!(cycles.len(), 3);
    let epochs: Vec<u64> = cycles.iter().map(|cycle| cycle["epoch"].as_u64().expect("an epoch")).collect();
    assert!(epochs.windows(2).all(|pair| pair[1] == pair[0] + 1), "{epochs:?}");
    for cycle in cycles {
        assert!(cycle["activation"].is_i64() && cycle["spread_us"].is_number(), "{cycle}");
        let agents = cycle["agents"].as_array().expect("agents");
        assert_eq!(agents.len(), 5, "{cycle}");
        for agent in agents {
            assert!(agent["switched"].is_i64(), "{agent}");
            assert!(agent["epsilon_us"].as_f64().expect("an ε") > 0.0, "{agent}");
        }
    }
    told
}

fn number(value: &Value, name: &str) -> f64 {
    value[name].as_f64().unwrap_or(0.0)
}

#[test]
fn prompt_agents_switch_within_their_bounds() {
    let told = played("prompt");
    for cycle in told["cycles"].as_array().expect("cycles") {
        let agents = cycle["agents"].as_array().expect("agents");
        let gap = agents.iter().map(|agent| number(agent, "read_gap_us")).fold(0.0, f64::max);
        // Twice: where the upper end stands, a switch is up to 2ε late (S8).
        let bound = 2.0 * number(cycle, "two_largest_epsilon_us") + gap;
        assert!(number(cycle, "spread_us") <= bound, "{cycle}");
    }
}

#[test]
fn strict_agents_never_differ() {
    let told = played("strict");
    let held = |cycle: &Value| {
        cycle["agents"].as_array().expect("agents").iter().any(|agent| agent["held_us"].is_number())
    };
    let cycles = told["cycles"].as_array().expect("cycles");
    assert!(cycles.iter().any(held), "the far agent's reads were held for its ε: {told}");
}

/// The scene without its guard names this property on its last line; with it, none is broken.
fn falls(guard: &str, property: &str) {
    let output = demo(&["--break", guard]);
    let text = String::from_utf8(output.stdout).expect("text");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}\n{text}");
    let last = text.lines().last().unwrap_or_default();
    assert!(last.starts_with(&format!("broken: {property}: ")), "{last:?} doesn't name {property}\n{text}");

    let output = demo(&["--break", guard, "--guarded", "--cycles", "3"]);
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "with the guard on: {errors}\n{text}");
}

#[test]
fn without_the_promise_a_cut_off_agent_serves_what_is_over() {
    falls("no-promise", "S7 strict_serves_live");
}

#[test]
fn without_aging_the_enclosure_loses_the_server_s_time() {
    falls("no-aging", "S12 clock_enclosure");
}

#[test]
fn without_a_second_clock_a_step_is_not_seen() {
    falls("clock-step", "S12 clock_enclosure");
}

#[test]
fn without_the_due_check_the_table_runs_ahead() {
    falls("no-due-check", "S1 single_initiator");
}

#[test]
fn what_cannot_be_played_says_why() {
    for (arguments, cause) in [
        (["--interval", "1s"], "an interval of"),
        (["--interval", "soon"], "no span of time"),
        (["--day", "2024-12-25"], "there are no rates of"),
    ] {
        let output = demo(&arguments);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{errors}");
        assert!(errors.contains(cause), "{errors}");
    }
}
