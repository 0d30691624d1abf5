//! Twins of single comparisons: the wrong end of an interval, `>` for `≥`, the smaller for the larger
//! of two bounds, an instant counted from somewhere else. No trap of the protocol's history is behind
//! them; each shows that a property would notice if somebody wrote it so.

use super::farms::{
    ONE_PROMPT, before_activation, drifting, early, farm, faults, operations, restores, short, slow,
};
use super::{ONE_STRICT, R2, S2, S3, S4, S7, S8, S9, S11, S12, TWO_STRICT, Twin};
use crate::configuration::{Configuration, Kind, Twist, ticks};
use downbeat_core::guard::Guard;
use downbeat_core::settings::{Limits, Settings};

/// A twin of a guard in core.
const fn guard(
    name: &'static str,
    trap: &'static str,
    off: &'static [Guard],
    falls: &'static [(&'static str, Option<usize>)],
    config: fn() -> Configuration,
) -> Twin {
    Twin { name, trap, off, twist: None, falls, config }
}

/// A twin of a rule outside of core.
const fn twist(
    name: &'static str,
    trap: &'static str,
    twist: Twist,
    falls: &'static [(&'static str, Option<usize>)],
    config: fn() -> Configuration,
) -> Twin {
    Twin { name, trap, off: &[], twist: Some(twist), falls, config }
}

/// The plan: which end of the enclosure an instant is taken from, and what is kept of it.
pub(super) const PLANS: &[Twin] = &[
    guard(
        "switch-when-possible",
        "staged begins when T can have passed, by the upper end of the enclosure",
        &[Guard::SwitchWhenCertain],
        &[(S7, None)],
        || slow(ONE_STRICT, 1, &[Kind::CrashKeepsDisk]),
    ),
    guard(
        "active-until-certain",
        "active ends when T has certainly passed, by the lower end of the enclosure",
        &[Guard::ActiveUntilPossible],
        &[(S7, None)],
        || slow(ONE_STRICT, 1, &[Kind::CrashKeepsDisk]),
    ),
    guard(
        "promise-until-certain",
        "what is live is served until the promise is certainly over, by the lower end of the enclosure",
        &[Guard::PromiseUntilPossible],
        &[(S7, None)],
        || drifting(faults(TWO_STRICT, 1, &[Kind::CutOff])),
    ),
    guard(
        "prompt-without-promise",
        "no promise check in prompt: a late agent serves what is old and doesn't mark it",
        &[Guard::Promise],
        &[(S8, None)],
        || {
            use downbeat_core::serving::Mode::{Prompt, Strict};
            before_activation(faults(&[Prompt, Strict], 1, &[Kind::CutOff]))
        },
    ),
    guard(
        "lower-bound-for-middle",
        "a prompt agent switches at one of the bounds instead of between them",
        &[Guard::MiddleOfBounds],
        &[(S8, None)],
        || {
            let config = drifting(faults(ONE_PROMPT, 2, &[Kind::Slow, Kind::Fast]));
            let settings = Settings { early_limit: ticks(10), ..config.settings };
            Configuration { settings, ..config }
        },
    ),
    guard(
        "first-limit-certainly-reached",
        "the first epoch's limit is where T − early_limit has certainly passed, not where it can have",
        &[Guard::FirstLimitPossible],
        &[(S9, None)],
        || early(1),
    ),
    guard(
        "any-page-counts-as-joined",
        "a page that serves nothing current counts as joined",
        &[Guard::PageServesCurrent],
        &[(S9, None)],
        || Configuration { faults: 3, ..early(1) },
    ),
    guard(
        "held-taken-for-live",
        "a restored generation in the active cache is taken for live before its new T",
        &[Guard::WentLive],
        &[(S7, None)],
        || restores(TWO_STRICT, 18),
    ),
    twist(
        "passed-is-after",
        "an instant counts as passed only after it: > for ≥",
        Twist::PassedIsAfter,
        &[(S7, None)],
        || before_activation(farm(ONE_STRICT)),
    ),
    twist("prompt-passed-is-after", "the same in prompt", Twist::PassedIsAfter, &[(S8, None)], || {
        before_activation(farm(ONE_PROMPT))
    }),
    twist(
        "look-rounded-up",
        "a reader's look at the clock is rounded up",
        Twist::ReadsAhead,
        &[(S7, None)],
        || Configuration { run_up: Some(3), ..before_activation(farm(ONE_STRICT)) },
    ),
    twist(
        "granularity-ignored",
        "a clock that is read in steps is taken for a fine one",
        Twist::GranularityIgnored,
        &[(S12, None)],
        || drifting(faults(ONE_STRICT, 2, &[Kind::Slow, Kind::Fast])),
    ),
];

/// The server: leases, tokens, the promise, the first slot, scheduled records.
pub(super) const SERVERS: &[Twin] = &[
    twist(
        "lease-alive-at-its-end",
        "a write at the instant at which the lease ends is taken",
        Twist::LeaseAliveAtEnd,
        &[(S3, None)],
        || before_activation(faults(ONE_STRICT, 2, &[Kind::Delay])),
    ),
    twist(
        "lock-busy-at-lease-end",
        "a lock keeps others out at the instant at which its lease ends",
        Twist::LockBusyAtEnd,
        &[(R2, None)],
        || before_activation(faults(ONE_STRICT, 1, &[Kind::CutOff])),
    ),
    twist(
        "lease-ends-a-tick-early",
        "a lock is granted a tick before the lease of another ends",
        Twist::LeaseEndsEarly,
        &[(S2, None)],
        || before_activation(faults(TWO_STRICT, 1, &[Kind::Delay])),
    ),
    twist(
        "grants-in-a-hold",
        "a request for the lock that meets a hold is granted",
        Twist::GrantsInHold,
        &[(S2, None)],
        || operations(before_activation(farm(ONE_STRICT)), 1, &[Kind::Hold]),
    ),
    guard(
        "advance-ahead-of-t",
        "whether T has passed is compared at the grant only: the server's clock went back before the advance",
        &[Guard::DueAtAdvance],
        &[(S7, None)],
        || faults(TWO_STRICT, 2, &[Kind::LineBack, Kind::RebootLosesDisk]),
    ),
    twist("token-again", "a grant has the token of the one before", Twist::TokenAgain, &[(S2, None)], || {
        before_activation(farm(ONE_STRICT))
    }),
    twist(
        "smaller-bound",
        "T is fixed by the lead alone: the smaller of promise and lead, not the larger",
        Twist::PromiseForgotten,
        &[(S4, None)],
        || operations(before_activation(farm(ONE_STRICT)), 1, &[Kind::Schedule]),
    ),
    twist(
        "slot-after-the-bound",
        "T is the first slot after the bound, not the first from it on",
        Twist::SlotAfterBound,
        &[(S4, None)],
        || Configuration { run_up: None, ..farm(ONE_STRICT) },
    ),
    twist(
        "lead-from-activation",
        "the lead counts from the T before, not from the grant",
        Twist::LeadFromActivation,
        &[(S4, None)],
        || {
            operations(
                before_activation(faults(ONE_STRICT, 1, &[Kind::Delay])),
                2,
                &[Kind::Hold, Kind::Unhold],
            )
        },
    ),
    twist(
        "renewal-over-grant",
        "a read renews the promise while a grant is live",
        Twist::RenewalOverGrant,
        &[(S4, None)],
        || {
            operations(
                before_activation(faults(TWO_STRICT, 1, &[Kind::Delay])),
                2,
                &[Kind::Hold, Kind::Unhold],
            )
        },
    ),
    twist(
        "due-a-tick-early",
        "the server takes T for passed a tick early",
        Twist::DueATickEarly,
        &[(super::S1, None)],
        || short(before_activation(faults(TWO_STRICT, 2, &[Kind::Delay, Kind::CutOff]))),
    ),
    guard(
        "hold-lowers-promise",
        "a hold sets the promise to its H, also where that is earlier",
        &[Guard::HoldOnlyRaises],
        &[(S4, None)],
        || {
            let limits = Limits { max_hold: ticks(3), ..Configuration::new("", ONE_STRICT).limits };
            let config = Configuration { limits, ..before_activation(farm(ONE_STRICT)) };
            operations(config, 3, &[Kind::HoldUntil, Kind::Unhold, Kind::Schedule])
        },
    ),
    twist(
        "due-at-t-excluded",
        "a scheduled record shows only after its instant: < for ≤",
        Twist::DueExcluded,
        &[(S11, None)],
        || operations(before_activation(faults(ONE_STRICT, 1, &[Kind::CutOff])), 1, &[Kind::Schedule]),
    ),
    twist(
        "expiry-at-t-included",
        "a scheduled record still shows at its end: ≤ for <",
        Twist::ExpiryIncluded,
        &[(S11, None)],
        || operations(before_activation(faults(ONE_STRICT, 1, &[Kind::CutOff])), 1, &[Kind::ScheduleWithEnd]),
    ),
    twist(
        "content-as-of-now",
        "k + 1 is production as of the advance, not as of its T",
        Twist::ContentAsOfNow,
        &[(S11, None)],
        || operations(before_activation(farm(ONE_STRICT)), 1, &[Kind::Schedule]),
    ),
    twist(
        "due-at-bound-excluded",
        "a scheduled instant at the bound is not landed on",
        Twist::DueAfterBound,
        &[(S4, None)],
        || operations(before_activation(faults(ONE_STRICT, 1, &[Kind::CutOff])), 1, &[Kind::Schedule]),
    ),
];
