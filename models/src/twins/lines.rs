//! The twins of new timelines and restores (PROTOCOL §8), in the order of PROTOCOL §11.

use super::farms::{before_activation, faults, restored_after_lines, restored_twice, restores};
use super::{A1, ONE_STRICT, S6, S7, S12, TWO_STRICT, Twin};
use crate::actions::Action;
use crate::configuration::{Configuration, Kind, Kinds, Twist};
use downbeat_core::guard::Guard;

pub(super) const TRAPS: &[Twin] = &[
    Twin {
        name: "line-keeps-instants",
        trap: "a new timeline keeps T_k and P_k as they stand",
        off: &[Guard::NewLineWaits],
        twist: None,
        falls: &[(S7, Some(17))],
        config: || {
            before_activation(faults(
                TWO_STRICT,
                2,
                &[Kind::NewLineAhead, Kind::NewLineBehind, Kind::RebootLosesDisk],
            ))
        },
    },
    Twin {
        name: "counted-from-mark",
        trap: "\"certainly passed\" counted from the mark instead of from when it was stored",
        off: &[Guard::MarkStoredInstant],
        twist: None,
        falls: &[(S7, Some(11))],
        config: || {
            before_activation(faults(
                TWO_STRICT,
                2,
                &[Kind::NewLineAhead, Kind::NewLineBehind, Kind::RebootLosesDisk],
            ))
        },
    },
    Twin {
        name: "line-names-active",
        trap: "a new timeline names an active generation",
        off: &[Guard::NewLineNamesNoActive],
        twist: None,
        falls: &[(S7, Some(6))],
        config: || {
            before_activation(faults(
                TWO_STRICT,
                2,
                &[Kind::NewLineAhead, Kind::NewLineBehind, Kind::RebootLosesDisk],
            ))
        },
    },
    Twin {
        name: "restore-lengthens-promise-only",
        trap: "a restore lengthens only the promise, so that the restored k goes live while an armed agent serves k + 1",
        off: &[Guard::RestoreMovesActivation],
        twist: None,
        falls: &[(S7, Some(29))],
        config: || restores(TWO_STRICT, 18),
    },
    Twin {
        name: "restore-waits-for-hold-only",
        trap: "a restore waits for a hold's H, and not for the intervals after it",
        off: &[Guard::RestoreWaitsIntervals],
        twist: None,
        falls: &[(S7, Some(35))],
        config: || restores(TWO_STRICT, 18),
    },
    Twin {
        name: "restore-promises",
        trap: "a restore promises its k beyond T, which the next restore knows nothing of (a hole in PROTOCOL §8)",
        off: &[Guard::RestorePromisesNothing],
        twist: None,
        falls: &[(S7, None)],
        config: || restored_twice(ONE_STRICT),
    },
    Twin {
        name: "stretched-beyond-a-restore",
        trap: "a new timeline promises what it has stretched, and a restore doesn't wait for that (a hole in PROTOCOL §8)",
        off: &[Guard::NewLinePromiseBounded],
        twist: None,
        falls: &[(S7, None)],
        config: || restored_after_lines(ONE_STRICT),
    },
    Twin {
        name: "promise-over-the-gap",
        trap: "after a restore, an agent that holds the restored k moves its promise later (a hole in PROTOCOL §8)",
        off: &[Guard::RestoreGap],
        twist: None,
        falls: &[(S7, None)],
        config: || restores(TWO_STRICT, 18),
    },
    Twin {
        name: "line-id-again",
        trap: "a restore uses a timeline id again",
        off: &[],
        twist: Some(Twist::LineIdAgain),
        falls: &[(S12, Some(1))],
        config: || restores(ONE_STRICT, 12),
    },
    Twin {
        name: "line-replaces-plan",
        trap: "the first plan of a new line replaces the published one and names no active",
        off: &[Guard::NewLineKeepsPlan],
        twist: None,
        falls: &[(A1, None)],
        config: || before_activation(faults(TWO_STRICT, 1, &[Kind::NewLineAhead, Kind::NewLineBehind])),
    },
    Twin {
        name: "number-taken-for-content",
        trap: "the same epoch number is taken for the same content after a restore",
        off: &[Guard::DigestCompared],
        twist: None,
        falls: &[(S6, None)],
        config: || {
            let kinds = Kinds::of(&[Kind::Restore, Kind::CutOff]);
            let prelude = &[Action::Operate(Kind::Backup), Action::Operate(Kind::Edit)];
            Configuration { faults: 2, kinds, run_up: Some(3), prelude, ..restores(TWO_STRICT, 18) }
        },
    },
    Twin {
        name: "remembered-timeline",
        trap: "a timeline id that travels with the remembered answer",
        off: &[],
        twist: Some(Twist::RememberedTimeline),
        falls: &[(S12, Some(18))],
        config: || faults(ONE_STRICT, 2, &[Kind::NewLineAhead, Kind::NewLineBehind, Kind::Lose, Kind::Delay]),
    },
];
