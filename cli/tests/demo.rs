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

/// What is checked is what agents do, and not how fast the host is: one that gives the demo too little
/// processor time for its cycles gets longer ones, as the demo's own words advise.
const INTERVALS: [&str; 4] = ["2s", "4s", "8s", "16s"];

/// Plays with longer and longer intervals until `done` has seen what it is for.
fn play(arguments: &[&str], mut done: impl FnMut(&Output, &str, &str) -> bool) {
    for interval in INTERVALS {
        let output = demo(&[arguments, &["--interval", interval]].concat());
        let text = String::from_utf8(output.stdout.clone()).expect("text");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        if done(&output, &text, &errors) {
            return;
        }
        println!("nothing to see with {interval}: {errors}{text}");
    }
    panic!("{arguments:?}: not even with an interval of {}", INTERVALS[INTERVALS.len() - 1]);
}

fn is_too_busy(errors: &str) -> bool {
    errors.contains("the host is too busy")
}

/// Plays a mode until it is seen in a cycle in which all agents were armed before T, and went over.
fn played(mode: &str, mut seen: impl FnMut(&Value) -> bool) {
    play(&["--json", "--cycles", "3", "--mode", mode], |output, text, errors| {
        assert_eq!(text.lines().count(), 1, "one JSON object and nothing else: {text}\n{errors}");
        let told: Value = serde_json::from_str(text).expect("JSON");
        assert_eq!(told["mode"], mode);
        assert_eq!(told["violations"], Value::Array(Vec::new()));
        if is_too_busy(errors) {
            return false;
        }
        assert!(output.status.success(), "{errors}\n{text}");
        let of_mode = if mode == "strict" { "S7" } else { "S8" };
        for property in ["S1", "S2", "S3", "S4", "S5", "S6", of_mode, "S9", "S10", "S11", "S12"] {
            assert!(
                told["replay"]["judged"][property].as_u64() > Some(0),
                "{property} was not judged: {told}"
            );
        }
        let cycles = told["cycles"].as_array().expect("cycles");
        assert_eq!(cycles.len(), 3);
        let epochs: Vec<u64> =
            cycles.iter().map(|cycle| cycle["epoch"].as_u64().expect("an epoch")).collect();
        assert!(epochs.windows(2).all(|pair| pair[1] > pair[0]), "{epochs:?}");
        for cycle in cycles {
            assert!(cycle["activation"].is_i64() && cycle["spread_us"].is_number(), "{cycle}");
            assert_eq!(agents(cycle).len(), 5, "{cycle}");
            for agent in agents(cycle).iter().filter(|agent| !agent["switched"].is_null()) {
                assert!(agent["switched"].is_i64(), "{agent}");
                assert!(agent["epsilon_us"].as_f64().expect("an ε") > 0.0, "{agent}");
            }
        }
        let in_time = |agent: &Value| {
            agent["switched"].is_i64() && agent["armed_from_t_us"].as_f64().is_some_and(|from_t| from_t < 0.0)
        };
        // Each is looked at: what is seen in one must not be wrong in another.
        let whole = cycles.iter().filter(|cycle| agents(cycle).iter().all(in_time));
        whole.filter(|cycle| seen(cycle)).count() > 0
    });
}

fn agents(cycle: &Value) -> &[Value] {
    cycle["agents"].as_array().expect("agents")
}

fn number(value: &Value, name: &str) -> f64 {
    value[name].as_f64().unwrap_or(0.0)
}

#[test]
fn prompt_agents_switch_within_their_bounds() {
    played("prompt", |cycle| {
        let gap = agents(cycle).iter().map(|agent| number(agent, "read_gap_us")).fold(0.0, f64::max);
        // Twice: where the upper end stands, a switch is up to 2ε late (S8).
        let bound = 2.0 * number(cycle, "two_largest_epsilon_us") + gap;
        assert!(number(cycle, "spread_us") <= bound, "{cycle}");
        // Where the reader's thread was stopped for longer than they take, the bounds were not put to it.
        gap < bound / 2.0
    });
}

#[test]
fn strict_agents_never_differ() {
    // The far agent's reads were held for its ε.
    played("strict", |cycle| agents(cycle).iter().any(|agent| agent["held_us"].is_number()));
}

/// The scene without its guard names this property on its last line; with it, none is broken.
fn falls(guard: &str, property: &str) {
    play(&["--break", guard], |output, text, errors| {
        if is_too_busy(errors) || errors.contains("no property was seen broken") {
            return false;
        }
        assert_eq!(output.status.code(), Some(1), "{errors}\n{text}");
        let last = text.lines().last().unwrap_or_default();
        assert!(
            last.starts_with(&format!("broken: {property}: ")),
            "{last:?} doesn't name {property}\n{text}"
        );
        true
    });
    play(&["--break", guard, "--guarded", "--cycles", "3"], |output, text, errors| {
        assert!(output.status.success() || is_too_busy(errors), "with the guard on: {errors}\n{text}");
        output.status.success()
    });
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
