//! The broken twins: for every trap of PROTOCOL §11 the same machines with one guard off, a
//! configuration small enough to search whole, and the property that must fall.
//!
//! A twin counts as refuted if the property named here is broken within twice the steps that the
//! trap's own search took, and if the same configuration with the guard on is searched to its end
//! without a violation.

mod comparisons;
mod farms;
mod lines;

use crate::actions::Action;
use crate::configuration::{Configuration, Kind, Twist, ticks};
use downbeat_core::guard::{Guard, Guards};
use downbeat_core::serving::Mode::{self, Strict};
use downbeat_core::settings::Limits;
use farms::{ONE_PROMPT, before_activation, drifting, early, farm, faults, operations, short, slow};

/// One broken twin.
pub struct Twin {
    /// Its name on the command line.
    pub name: &'static str,
    /// The trap, as PROTOCOL §11 tells it.
    pub trap: &'static str,
    /// Guards that are off.
    pub off: &'static [Guard],
    /// A rule broken outside of core.
    pub twist: Option<Twist>,
    /// The properties that must fall, each with the steps that the trap's own search took (none
    /// where it was found otherwise).
    pub falls: &'static [(&'static str, Option<usize>)],
    /// Where.
    pub config: fn() -> Configuration,
}

impl Twin {
    /// The configuration with the guard off.
    pub fn broken(&self) -> Configuration {
        let mut config = (self.config)();
        config.guards = self.off.iter().fold(Guards::ALL, |guards, guard| guards.without(*guard));
        config.twist = self.twist;
        config.name = self.name;
        config
    }
    /// The same configuration with the guard on.
    pub fn whole(&self) -> Configuration {
        Configuration { name: self.name, ..(self.config)() }
    }
}

const TWO_STRICT: &[Mode] = &[Strict, Strict];
const ONE_STRICT: &[Mode] = &[Strict];

const S1: &str = "S1 single_initiator";
const S2: &str = "S2 lock_exclusive";
const S3: &str = "S3 fenced_writes";
const S4: &str = "S4 activation_arithmetic";
const S5: &str = "S5 whole_generation";
const S6: &str = "S6 agreement";
const S7: &str = "S7 strict_serves_live";
const S8: &str = "S8 prompt_skew_bound";
const S9: &str = "S9 epochs_rise";
const S10: &str = "S10 join_is_current";
const S11: &str = "S11 schedule_respected";
const S12: &str = "S12 clock_enclosure";
const R1: &str = "R1 recovers";
const R2: &str = "R2 lock_freed";
const A1: &str = "A1 available";

/// All of them: the traps, those of new lines after the others, then the comparisons.
pub fn twins() -> impl Iterator<Item = &'static Twin> {
    TRAPS.iter().chain(lines::TRAPS).chain(comparisons::PLANS).chain(comparisons::SERVERS)
}

/// In the order of PROTOCOL §11; after them those of guards that have no trap there.
const TRAPS: &[Twin] = &[
    Twin {
        name: "no-due-check",
        trap: "nobody checks at the grant that T has passed",
        off: &[Guard::DueCheck],
        twist: None,
        falls: &[(S7, Some(18))],
        config: || before_activation(farm(TWO_STRICT)),
    },
    Twin {
        name: "estimate-decides",
        trap: "the agent re-checks with its estimate instead of the server's time",
        off: &[Guard::ServerTimeDecides],
        twist: None,
        falls: &[(S1, Some(10)), (S7, Some(26))],
        config: || slow(ONE_STRICT, 2, &[Kind::RebootLosesDisk, Kind::Delay]),
    },
    Twin {
        name: "hold-over-grant",
        trap: "hold raises the promise while a grant is live",
        off: &[Guard::HoldClearsLock],
        twist: None,
        falls: &[(S4, Some(8)), (S7, Some(21))],
        config: || {
            let limits = Limits { max_hold: ticks(8), ..Configuration::new("", TWO_STRICT).limits };
            let config = before_activation(faults(TWO_STRICT, 1, &[Kind::CutOff]));
            operations(Configuration { limits, ..config }, 1, &[Kind::HoldUntil])
        },
    },
    Twin {
        name: "last-send",
        trap: "a repeated answer is paired with the last send instant",
        off: &[Guard::EchoedSendInstant],
        twist: None,
        falls: &[(S12, Some(11))],
        config: || slow(ONE_STRICT, 1, &[Kind::Lose]),
    },
    Twin {
        name: "remembered-times",
        trap: "an echoed a is paired with remembered (r, s)",
        off: &[],
        twist: Some(Twist::RememberedTimes),
        falls: &[(S12, Some(11))],
        config: || Configuration { horizon: 15, ..slow(ONE_STRICT, 1, &[Kind::Lose]) },
    },
    Twin {
        name: "ages-from-receipt",
        trap: "the upper end ages from receipt instead of from a",
        off: &[Guard::UpperAgesFromSend],
        twist: None,
        falls: &[(S12, Some(20))],
        config: || slow(ONE_STRICT, 0, &[]),
    },
    Twin {
        name: "no-aging",
        trap: "no aging",
        off: &[Guard::Aging],
        twist: None,
        falls: &[(S12, Some(7)), (S7, Some(19))],
        config: || drifting(faults(ONE_STRICT, 2, &[Kind::Slow, Kind::Fast])),
    },
    Twin {
        name: "inner-ends",
        trap: "r as lower or s as upper end of a server's own enclosure",
        off: &[],
        twist: Some(Twist::InnerEnds),
        falls: &[(S12, None)],
        config: || Configuration { server_epsilon: 1, run_up: None, ..farm(ONE_STRICT) },
    },
    Twin {
        name: "no-early-limit",
        trap: "a prompt agent switches early without limit, then restarts",
        off: &[Guard::EarlyLimit],
        twist: None,
        falls: &[(S9, Some(9))],
        config: || early(0),
    },
    Twin {
        name: "limit-looked-at-once",
        trap: "early_limit looked at once at the start instead of being part of the plan",
        off: &[Guard::EarlyLimitInPlan],
        twist: None,
        falls: &[(S9, Some(18))],
        config: || early(1),
    },
    Twin {
        name: "joiner-estimates",
        trap: "a joiner begins by its estimate (prompt)",
        off: &[Guard::JoinerStrict],
        twist: None,
        falls: &[(S10, Some(20))],
        config: || slow(ONE_PROMPT, 1, &[Kind::CrashKeepsDisk]),
    },
    Twin {
        name: "joiner-mixes-replies",
        trap: "a joiner takes \"whatever is active\" without the epoch and the end from one reply",
        off: &[Guard::JoinerOneReply],
        twist: None,
        falls: &[(S7, Some(10))],
        config: || {
            let prelude = &[Action::Operate(Kind::Edit), Action::Agent(Kind::Veto, 0)];
            let config = operations(faults(ONE_STRICT, 1, &[Kind::Veto]), 1, &[Kind::Edit]);
            Configuration { run_up: Some(11), prelude, horizon: 18, ..config }
        },
    },
    Twin {
        name: "short-promise",
        trap: "a promise shorter than the lead (needless fence in a perfect run)",
        off: &[Guard::PromiseCoversLead],
        twist: None,
        falls: &[(A1, None)],
        config: || slow(ONE_STRICT, 0, &[]),
    },
    Twin {
        name: "no-promise",
        trap: "no promise check in strict",
        off: &[Guard::Promise],
        twist: None,
        falls: &[(S7, Some(18))],
        config: || before_activation(faults(TWO_STRICT, 1, &[Kind::CutOff])),
    },
    Twin {
        name: "numbers-begin-again",
        trap: "request ids that begin again at a restart; a counter as incarnation when the disk is lost",
        off: &[Guard::EchoInRange],
        twist: Some(Twist::SameIncarnation),
        falls: &[(S12, Some(12))],
        config: || slow(ONE_STRICT, 2, &[Kind::Delay, Kind::RebootLosesDisk]),
    },
    Twin {
        name: "any-reply",
        trap: "a reply not matched to an outstanding id",
        off: &[Guard::OutstandingOnly],
        twist: None,
        falls: &[(S12, Some(9))],
        config: || slow(ONE_STRICT, 2, &[Kind::Delay, Kind::RebootLosesDisk]),
    },
    Twin {
        name: "no-token-no-activation",
        trap: "token and activation equality both missing",
        off: &[Guard::TokenCheck, Guard::ActivationCheck],
        twist: None,
        falls: &[(S4, Some(24)), (S7, Some(36))],
        config: || before_activation(faults(TWO_STRICT, 2, &[Kind::Delay])),
    },
    Twin {
        name: "no-lease-check",
        trap: "the lease check missing",
        off: &[Guard::LeaseCheck],
        twist: None,
        falls: &[(S3, Some(11))],
        config: || before_activation(faults(TWO_STRICT, 2, &[Kind::Delay])),
    },
    Twin {
        name: "no-token-check",
        trap: "the token check missing",
        off: &[Guard::TokenCheck],
        twist: None,
        falls: &[(S3, Some(15))],
        config: || before_activation(faults(TWO_STRICT, 2, &[Kind::Delay])),
    },
    Twin {
        name: "no-gone-no-check",
        trap: "Gone and the whole-generation check both missing",
        off: &[Guard::Gone, Guard::WholeGeneration],
        twist: None,
        falls: &[(S5, Some(18))],
        config: || {
            let kinds = &[Kind::RebootLosesDisk, Kind::CutOff];
            let config = Configuration { two_parts: true, ..faults(TWO_STRICT, 2, kinds) };
            let config = operations(short(config), 1, &[Kind::Edit]);
            Configuration { run_up: Some(7), prelude: &[Action::Operate(Kind::Edit)], horizon: 10, ..config }
        },
    },
    Twin {
        name: "look-then-load",
        trap: "a reader looks at the clock, then loads the plan",
        off: &[],
        twist: Some(Twist::LookThenLoad),
        falls: &[(S7, Some(9))],
        config: || before_activation(faults(ONE_STRICT, 1, &[Kind::Suspend])),
    },
    Twin {
        name: "mixed-plan",
        trap: "instants from one plan, generations from the next",
        off: &[],
        twist: Some(Twist::MixedPlan),
        falls: &[(S7, Some(10)), (S9, Some(16))],
        config: || before_activation(faults(ONE_STRICT, 1, &[Kind::Suspend])),
    },
    Twin {
        name: "kept-plan",
        trap: "a prompt reader keeps a plan from an earlier read without looking at its version",
        off: &[],
        twist: Some(Twist::KeptPlan),
        falls: &[(S9, Some(12))],
        config: || slow(ONE_PROMPT, 2, &[Kind::CrashTakesOver, Kind::Suspend]),
    },
    Twin {
        name: "switch-moves-later",
        trap: "a published switch instant moves later (prompt)",
        off: &[Guard::SwitchOnlyEarlier, Guard::HouseKeptFirst],
        twist: None,
        falls: &[(S9, Some(15))],
        config: || Configuration { samples: 1, ..slow(ONE_PROMPT, 2, &[Kind::CrashTakesOver, Kind::Delay]) },
    },
    Twin {
        name: "two-writers",
        trap: "two writers of one page (a paused old process)",
        off: &[],
        twist: Some(Twist::TwoWriters),
        falls: &[(S9, Some(19))],
        config: || slow(ONE_PROMPT, 1, &[Kind::CrashTakesOver]),
    },
    Twin {
        name: "page-of-another-boot",
        trap: "a page from another boot is believed",
        off: &[Guard::BootCompared],
        twist: None,
        falls: &[(S7, Some(4))],
        config: || before_activation(faults(ONE_STRICT, 1, &[Kind::Reboot])),
    },
    Twin {
        name: "second-grant",
        trap: "the lock is granted while another grant is live",
        off: &[],
        twist: Some(Twist::SecondGrant),
        falls: &[(S2, None)],
        config: || Configuration { run_up: None, ..farm(TWO_STRICT) },
    },
    Twin {
        name: "eternal-lock",
        trap: "a lock outlives its lease",
        off: &[],
        twist: Some(Twist::EternalLock),
        falls: &[(R2, None), (R1, None)],
        config: || Configuration { recovery: true, ..faults(TWO_STRICT, 1, &[Kind::RebootLosesDisk]) },
    },
    Twin {
        name: "samples-of-any-line",
        trap: "a sample is taken without looking at its timeline",
        off: &[Guard::TimelineOfSample],
        twist: None,
        falls: &[(S12, None)],
        config: || faults(ONE_STRICT, 1, &[Kind::NewLineAhead, Kind::NewLineBehind]),
    },
];

/// Guards that no twin of this model takes away, and why.
pub const ELSEWHERE: &[(Guard, &str)] = &[
    (Guard::DriftProduct, "too small for ticks: refuted at extreme rates by core/tests/enclosure.rs (S12)"),
    (
        Guard::RoundsOutward,
        "less than a nanosecond, which a tick of granularity covers in the model: refuted by the inverses of \
         core/tests/enclosure.rs (S12)",
    ),
    (
        Guard::AdvanceIdempotent,
        "redundant for S1 to S4: after an advance the lock is gone, so that a repeat is refused; the guard \
         only gives it the answer that was lost",
    ),
];
