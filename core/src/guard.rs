//! The guards of the protocol, by name, so that a checker can take one away.
//!
//! A *broken twin* is this same core with one guard off. The checkers demand that each twin is
//! refuted, and `downbeat demo --break` shows a person what a guard is for. Nothing else ever
//! holds anything but [`Guards::ALL`]. Guards that live outside core (the order in which a reader
//! looks, who may write a page) have their twins in models/.

use serde::{Deserialize, Serialize};

/// One rule that can be switched off. The doc of each says which trap of PROTOCOL §11 it closes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Guard {
    /// The server checks at the grant that T has passed, by its own clock (§4 `Lock`).
    DueCheck,
    /// A hold clears the lock before it raises the promise (§3 hold).
    HoldClearsLock,
    /// The agent takes `a` from the reply's echo, not from its last send (§2).
    EchoedSendInstant,
    /// The upper end ages from `a`, not from the receipt (§2).
    UpperAgesFromSend,
    /// The enclosure widens with age (§2).
    Aging,
    /// ρ' includes the product of the rates (§2).
    DriftProduct,
    /// A new timeline moves T and the promise until the old ones have certainly passed (§8).
    NewLineWaits,
    /// "Certainly passed" counts from when the mark was stored (§8).
    MarkStoredInstant,
    /// A new timeline names no active generation (§8).
    NewLineNamesNoActive,
    /// A restore moves the activation too, not only the promise (§8).
    RestoreMovesActivation,
    /// A restore waits for the intervals after a hold as well (§8).
    RestoreWaitsIntervals,
    /// A restore promises nothing until its T has passed (§8).
    RestorePromisesNothing,
    /// A new timeline promises no more than a restore allows for (§8).
    NewLinePromiseBounded,
    /// A promise is not carried over a gap in which a generation that was lost with a restore may be
    /// live (§8).
    RestoreGap,
    /// A plan of a new line keeps what is published where k is the same (§8).
    NewLineKeepsPlan,
    /// An agent compares the digest, not only the epoch's number (§8).
    DigestCompared,
    /// A sample is taken only under the timeline of its own transmission (§2, §8).
    TimelineOfSample,
    /// A prompt agent doesn't switch earlier than T − early_limit (§5).
    EarlyLimit,
    /// The early limit of an incarnation's first epoch is part of the plan (§5).
    EarlyLimitInPlan,
    /// A joiner begins by the strict proof, in prompt too (§5).
    JoinerStrict,
    /// A joiner takes active generation, epoch and end from one reply (§5).
    JoinerOneReply,
    /// A promise is at least the lead (§3).
    PromiseCoversLead,
    /// A strict agent stops at the promise (§6).
    Promise,
    /// A reply is used only where its id is outstanding (§4).
    OutstandingOnly,
    /// The server compares the token (§3).
    TokenCheck,
    /// The server compares the activation with the grant's (§3).
    ActivationCheck,
    /// The server checks that the lease is alive (§3).
    LeaseCheck,
    /// `Gone` where an object is superseded, instead of other bytes (§4).
    Gone,
    /// Nothing is staged before its digest agrees (§5).
    WholeGeneration,
    /// A published switch instant never moves later (§6).
    SwitchOnlyEarlier,
    /// Every input begins with housekeeping, so that what readers see already is the active cache
    /// before anything can move its plan (§6): a second net behind `SwitchOnlyEarlier`.
    HouseKeptFirst,
    /// A plan from another boot is void (§6).
    BootCompared,
    /// `last_advance` makes an Advance idempotent (§4).
    AdvanceIdempotent,
    /// Whether T has passed is decided by the server's time, not by an agent's estimate (§4).
    ServerTimeDecides,
    /// An echo lies between the first sending of its request and now (§4): a second net behind the
    /// matching of ids.
    EchoInRange,
    /// A strict switch is made when T has certainly passed: by the lower end of the enclosure (§6).
    SwitchWhenCertain,
    /// Active ends when T can have passed: by the upper end of the enclosure (§6).
    ActiveUntilPossible,
    /// What is live ends when its promise can be over: by the upper end of the enclosure (§6).
    PromiseUntilPossible,
    /// A hold's H never lowers the promise (§3 hold).
    HoldOnlyRaises,
    /// A prompt agent's estimate is the middle of the two bounds, not one of them (§5, §6).
    MiddleOfBounds,
    /// The first epoch's limit is where T − early_limit can have passed (§5).
    FirstLimitPossible,
    /// A page that is taken over counts as joined only if it serves something current (§5, §12 c).
    PageServesCurrent,
    /// A generation in the active cache has gone live on this line only if readers are served it as live
    /// (§8).
    WentLive,
    /// The local instant before which T can't have passed is rounded toward the past (§2).
    RoundsOutward,
    /// An advance begins a cycle only if T has passed by the server's time as it is now: its clock may
    /// have gone back since the grant (§4, §12 w).
    DueAtAdvance,
}

impl Guard {
    /// All of them.
    pub const EVERY: &[Guard] = &[
        Guard::DueCheck,
        Guard::HoldClearsLock,
        Guard::EchoedSendInstant,
        Guard::UpperAgesFromSend,
        Guard::Aging,
        Guard::DriftProduct,
        Guard::NewLineWaits,
        Guard::MarkStoredInstant,
        Guard::NewLineNamesNoActive,
        Guard::RestoreMovesActivation,
        Guard::RestoreWaitsIntervals,
        Guard::RestorePromisesNothing,
        Guard::NewLinePromiseBounded,
        Guard::RestoreGap,
        Guard::NewLineKeepsPlan,
        Guard::DigestCompared,
        Guard::TimelineOfSample,
        Guard::EarlyLimit,
        Guard::EarlyLimitInPlan,
        Guard::JoinerStrict,
        Guard::JoinerOneReply,
        Guard::PromiseCoversLead,
        Guard::Promise,
        Guard::OutstandingOnly,
        Guard::TokenCheck,
        Guard::ActivationCheck,
        Guard::LeaseCheck,
        Guard::Gone,
        Guard::WholeGeneration,
        Guard::SwitchOnlyEarlier,
        Guard::HouseKeptFirst,
        Guard::BootCompared,
        Guard::AdvanceIdempotent,
        Guard::ServerTimeDecides,
        Guard::EchoInRange,
        Guard::SwitchWhenCertain,
        Guard::ActiveUntilPossible,
        Guard::PromiseUntilPossible,
        Guard::HoldOnlyRaises,
        Guard::MiddleOfBounds,
        Guard::FirstLimitPossible,
        Guard::PageServesCurrent,
        Guard::WentLive,
        Guard::RoundsOutward,
        Guard::DueAtAdvance,
    ];
}

/// The set of guards that are on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Guards(u64);

impl Guards {
    /// Every guard: what everything but a checker runs with.
    pub const ALL: Guards = Guards(u64::MAX);

    /// All of these but one: a broken twin.
    #[must_use]
    pub const fn without(self, guard: Guard) -> Guards {
        Guards(self.0 & !(1 << guard as u8))
    }
    /// Whether the guard is on.
    pub const fn on(self, guard: Guard) -> bool {
        self.0 & (1 << guard as u8) != 0
    }
}

impl Default for Guards {
    fn default() -> Guards {
        Guards::ALL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_guard_has_a_bit_of_its_own() {
        for (place, guard) in Guard::EVERY.iter().enumerate() {
            assert_eq!(*guard as usize, place);
            let without = Guards::ALL.without(*guard);
            assert!(Guard::EVERY.iter().all(|other| without.on(*other) == (other != guard)));
        }
    }
}
