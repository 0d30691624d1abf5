//! The properties of PROTOCOL §10 that can be seen from outside, judged over a run's [`History`] at the
//! real instants: one file for each. A check returns what is wrong, one text a fault; none where all
//! is well. Each has tests that show it a doctored history, which it must reject.
//!
//! S1 to S4 over a server's own steps, S11 and S12 need more than what is seen from outside: they are
//! judged by the replay.

mod acknowledged_edits;
mod agreement;
mod epochs_rise;
pub mod history;
mod join_is_current;
mod one_line;
mod prompt_skew_bound;
pub mod server_time;
mod single_initiator;
mod strict_serves_live;
mod whole_generation;

use history::History;

/// A check: the faults that it finds.
pub type Check = fn(&History) -> Vec<String>;

/// All checks, by the names of PROTOCOL §10.
pub const ALL: [(&str, Check); 9] = [
    ("S1 single_initiator", single_initiator::check),
    ("one_line", one_line::check),
    ("S5 whole_generation", whole_generation::check),
    ("S6 agreement", agreement::check),
    ("S7 strict_serves_live", strict_serves_live::check),
    ("S8 prompt_skew_bound", prompt_skew_bound::check),
    ("S9 epochs_rise", epochs_rise::check),
    ("S10 join_is_current", join_is_current::check),
    ("acknowledged_edits", acknowledged_edits::check),
];

/// What two processes' readings of the host's clock may disagree by, in nanoseconds: each knows the
/// time suspended to half a microsecond.
const TWO_READINGS: i64 = 1_000;

/// The faults that all checks find, each after its property's name; at most ten a property.
pub fn all(history: &History) -> Vec<(&'static str, String)> {
    let mut faults = Vec::new();
    for (name, check) in ALL {
        faults.extend(check(history).into_iter().take(10).map(|fault| (name, fault)));
    }
    faults
}

#[cfg(test)]
mod sample;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sound_history_passes_every_check() {
        assert_eq!(all(&sample::sound()), []);
    }

    #[test]
    fn each_check_has_a_history_that_it_alone_or_first_rejects() {
        // What each file's own tests show one by one: here only that none of them is vacuous.
        for (name, check) in ALL {
            let rejected = sample::doctored().into_iter().any(|doctored| !check(&doctored).is_empty());
            assert!(rejected, "{name} rejects nothing");
        }
    }
}
