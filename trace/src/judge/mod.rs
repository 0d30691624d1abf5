//! The properties of PROTOCOL §10 that can be seen from outside, judged over a run's [`History`] at the
//! real instants: one file for each. A check returns what is wrong, one text a fault (none where all
//! is well), and how often it looked. Each has tests that show it a doctored history, which it must
//! reject.
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

/// What a check comes to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Verdict {
    /// How often it looked: where that is 0, it says nothing.
    pub looked: u64,
    /// What is wrong.
    pub faults: Vec<String>,
}

impl Verdict {
    fn judge(&mut self, holds: bool, detail: impl FnOnce() -> String) {
        self.looked += 1;
        if !holds {
            self.faults.push(detail());
        }
    }
}

/// A check of a history.
pub type Check = fn(&History) -> Verdict;

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

/// What all checks come to, each after its property's name.
pub fn all(history: &History) -> impl Iterator<Item = (&'static str, Verdict)> {
    ALL.iter().map(move |(name, check)| (*name, check(history)))
}

#[cfg(test)]
mod sample;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sound_history_passes_every_check() {
        for (name, verdict) in all(&sample::sound()) {
            assert_eq!(verdict.faults, [""; 0], "{name}");
            assert!(verdict.looked > 0, "{name} never looked");
        }
    }

    #[test]
    fn each_check_has_a_history_that_it_alone_or_first_rejects() {
        // What each file's own tests show one by one: here only that none of them is vacuous.
        for (name, check) in ALL {
            let rejected = sample::doctored().into_iter().any(|doctored| !check(&doctored).faults.is_empty());
            assert!(rejected, "{name} rejects nothing");
        }
    }
}
