//! What a run of the checker explores: how many agents, which settings, which faults, how far.

use crate::actions::Action;
use downbeat_core::guard::Guards;
use downbeat_core::serving::{Activation, Mode};
use downbeat_core::settings::{Limits, Settings};
use downbeat_core::time::{Rate, Span};

/// Kinds of faults, operations and other choices that a run may make.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Kind {
    /// A message is lost.
    Lose,
    /// A message is repeated: the copy may arrive at any later time.
    Repeat,
    /// A message takes longer than no time at all, without bound.
    Delay,
    /// An agent's timers are late by a tick.
    LateTimer,
    /// An agent's process ends and is started again; it takes over its page.
    CrashTakesOver,
    /// An agent's process ends and is started again without its page, but with its disk.
    CrashKeepsDisk,
    /// A second process of an agent is started beside the first, whose page readers use until it ends.
    Overlap,
    /// The host of an agent is started again: another boot, its clock begins anew; the disk stays.
    Reboot,
    /// The same without its disk.
    RebootLosesDisk,
    /// A transaction lasts: others that would write wait.
    SlowCommit,
    /// The server's process ends, within the same boot of its host.
    ServerCrash,
    /// The server comes back on a new line that is behind the old one.
    NewLineBehind,
    /// The server comes back on a new line that is ahead of the old one.
    NewLineAhead,
    /// The server's store is replaced by a backup.
    Restore,
    /// An agent is cut off from the server, for any time.
    CutOff,
    /// A local clock misses a tick.
    Slow,
    /// A local clock gains a tick.
    Fast,
    /// An agent's host won't take a generation.
    Veto,
    /// A reader loads the plan and is suspended before it looks at the clock.
    Suspend,
    /// Production is edited.
    Edit,
    /// The farm is held without an end.
    Hold,
    /// The farm is held until some time.
    HoldUntil,
    /// A hold is ended.
    Unhold,
    /// Settings are changed.
    Settings,
    /// A scheduled record is entered.
    Schedule,
    /// A scheduled record with an end is entered.
    ScheduleWithEnd,
    /// A backup of the store is made.
    Backup,
    /// An old process of an agent writes the page once more.
    OldWriter,
    /// The server's line misses a tick.
    ServerSlow,
    /// The server's line gains a tick.
    ServerFast,
    /// A local clock jumps ahead, beyond its bound.
    ClockAhead,
    /// A local clock jumps back.
    ClockBack,
    /// The server's line jumps ahead, beyond its bound.
    LineAhead,
    /// The server's line jumps back.
    LineBack,
    /// A local clock misses a tick and gains it back in the next.
    Stutter,
    /// An agent is woken though nobody asked for it.
    SpuriousWake,
    /// A reader pins what it gets, and reads it again later.
    Pin,
    /// The server comes back without its mark.
    MarkLost,
    /// The server comes back with a mark from before the last one.
    MarkOld,
    /// A shorter interval is set.
    SettingsShorter,
    /// Another lead is set.
    SettingsLead,
    /// Another lease is set.
    SettingsLease,
    /// Another limit to early switches is set.
    SettingsEarly,
    /// One of several servers ends, and is started again later.
    ProcessEnds,
    /// The local clock of one of several servers jumps, ahead or back.
    ProcessClock,
    /// The clock of the database of several servers jumps, ahead or back.
    DatabaseClock,
    /// An agent's connection goes over to another server; what was on its way stays so.
    GoesOver,
}

impl Kind {
    /// All of them.
    pub const EVERY: &[Kind] = &[
        Kind::Lose,
        Kind::Repeat,
        Kind::Delay,
        Kind::LateTimer,
        Kind::CrashTakesOver,
        Kind::CrashKeepsDisk,
        Kind::Overlap,
        Kind::Reboot,
        Kind::RebootLosesDisk,
        Kind::SlowCommit,
        Kind::ServerCrash,
        Kind::NewLineBehind,
        Kind::NewLineAhead,
        Kind::Restore,
        Kind::CutOff,
        Kind::Slow,
        Kind::Fast,
        Kind::Veto,
        Kind::Suspend,
        Kind::Edit,
        Kind::Hold,
        Kind::HoldUntil,
        Kind::Unhold,
        Kind::Settings,
        Kind::Schedule,
        Kind::ScheduleWithEnd,
        Kind::Backup,
        Kind::OldWriter,
        Kind::ServerSlow,
        Kind::ServerFast,
        Kind::ClockAhead,
        Kind::ClockBack,
        Kind::LineAhead,
        Kind::LineBack,
        Kind::Stutter,
        Kind::SpuriousWake,
        Kind::Pin,
        Kind::MarkLost,
        Kind::MarkOld,
        Kind::SettingsShorter,
        Kind::SettingsLead,
        Kind::SettingsLease,
        Kind::SettingsEarly,
        Kind::ProcessEnds,
        Kind::ProcessClock,
        Kind::DatabaseClock,
        Kind::GoesOver,
    ];
}

/// A set of kinds.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Kinds(u64);

impl Kinds {
    /// These kinds.
    pub const fn of(kinds: &[Kind]) -> Kinds {
        let mut bits = 0;
        let mut index = 0;
        while index < kinds.len() {
            bits |= 1u64 << kinds[index] as u8;
            index += 1;
        }
        Kinds(bits)
    }
    /// Whether a kind is in the set.
    pub const fn has(self, kind: Kind) -> bool {
        self.0 & (1u64 << kind as u8) != 0
    }
    /// This set without the other.
    pub const fn without(self, other: Kinds) -> Kinds {
        Kinds(self.0 & !other.0)
    }
    /// Both sets.
    pub const fn and(self, other: Kinds) -> Kinds {
        Kinds(self.0 | other.0)
    }
}

/// A rule broken outside of core: in a host, a reader, or a server's network side.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Twist {
    /// A server remembers r and s with an answer, and sends them again with the new echo.
    RememberedTimes,
    /// A server remembers the timeline id with an answer.
    RememberedTimeline,
    /// A server grants the lock while another grant is live.
    SecondGrant,
    /// A server forgets that a lease ends.
    EternalLock,
    /// A reader looks at the clock, then loads the plan.
    LookThenLoad,
    /// Instants from one plan, generations from the next.
    MixedPlan,
    /// A reader keeps a plan from an earlier read without looking at its version.
    KeptPlan,
    /// An old, paused process writes the page after a new one took over.
    TwoWriters,
    /// The incarnation is a counter that a lost disk sets back; numbers begin again.
    SameIncarnation,
    /// A restore uses the timeline's id again.
    LineIdAgain,
    /// A server with a clock that it only estimates stamps the wrong ends of its enclosure.
    InnerEnds,
    /// A reader takes an instant for passed only after it: `>` for `≥`.
    PassedIsAfter,
    /// A reader's look at the clock is rounded up by a tick.
    ReadsAhead,
    /// A host says that its clock is finer than it is.
    GranularityIgnored,
    /// A server takes a lease for alive at its end when it is asked for the lock.
    LockBusyAtEnd,
    /// A server takes a lease for alive at its end when it is written under it.
    LeaseAliveAtEnd,
    /// A server takes a lease for over a tick before its end.
    LeaseEndsEarly,
    /// A server grants the lock of a farm that is held.
    GrantsInHold,
    /// A server gives a token out again.
    TokenAgain,
    /// A server looks only at the lead when it fixes T: the smaller of the two bounds.
    PromiseForgotten,
    /// A server fixes T strictly after the bound.
    SlotAfterBound,
    /// A server counts the lead from T before, not from the grant.
    LeadFromActivation,
    /// A server renews the promise while a grant is live.
    RenewalOverGrant,
    /// A server takes T for passed a tick early.
    DueATickEarly,
    /// A server shows a scheduled record only after its instant.
    DueExcluded,
    /// A server still shows a scheduled record at its end.
    ExpiryIncluded,
    /// A server stages production as of the advance, not as of T.
    ContentAsOfNow,
    /// A server looks for scheduled instants strictly after the bound.
    DueAfterBound,
}

/// How time goes in a run that isn't counted in ticks of one nanosecond: it passes in spans of any length,
/// a message may take any time, and clocks err by fractions of what passes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fine {
    /// What stands for a tick, in nanoseconds, where the model adds something of its own to settings: how
    /// far a mark is stored ahead, a new line is off the old one, a scheduled record is to come.
    pub unit: i64,
    /// The step in which local clocks are read, in nanoseconds; at least 1. Between two steps they stand.
    pub step: i64,
    /// What the server's clock shows at first, in nanoseconds.
    pub server_begin: i64,
    /// What the first readings of the hosts' clocks have in common, in nanoseconds.
    pub local_begin: i64,
}

/// One run.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// For people.
    pub name: &'static str,
    /// The mode of each agent.
    pub modes: &'static [Mode],
    /// How the agents switch.
    pub activation: Activation,
    /// All, or all but one.
    pub guards: Guards,
    /// A rule broken outside of core.
    pub twist: Option<Twist>,
    /// The farm's settings, in ticks.
    pub settings: Settings,
    /// The farm's limits, in ticks.
    pub limits: Limits,
    /// The last tick; [`FOR_EVER`] for a run without an end.
    pub horizon: i64,
    /// How many faults there may be; [`UNLIMITED`] for any number.
    pub faults: u8,
    /// Which faults.
    pub kinds: Kinds,
    /// How many operations there may be; [`UNLIMITED`] for any number.
    pub operations: u8,
    /// Which operations.
    pub operation_kinds: Kinds,
    /// How many messages may be delayed or repeated at a time.
    pub most_delayed: u8,
    /// Every message may take one tick without its being a fault.
    pub slow_network: bool,
    /// Objects have two parts.
    pub two_parts: bool,
    /// Samples before T.
    pub samples: u8,
    /// ρ; an agent's clock gains or misses at most one tick in 1/ρ.
    pub rate: Rate,
    /// ρ_s; the server's line gains or misses at most one tick in 1/ρ_s.
    pub server_rate: Rate,
    /// By how many ticks a clock jumps that breaks its bound.
    pub jump: i64,
    /// How time goes, where it isn't counted in ticks.
    pub fine: Option<Fine>,
    /// How many backups of the store are made at most.
    pub backups: u8,
    /// How many server processes share the table.
    pub servers: u8,
    /// How many generations that were served a host keeps for pinned reads; 0 where nobody pins.
    pub kept: u8,
    /// The server's own uncertainty about its clock, in ticks (several servers over one database).
    pub server_epsilon: i64,
    /// For how many ticks the farm has run without a fault before the search begins; from the very
    /// start of its agents where it has not.
    pub run_up: Option<i64>,
    /// Steps that are taken at the start of that run.
    pub prelude: &'static [Action],
    /// Whether recovery (R1) is tried from every state.
    pub recovery: bool,
}

/// Any number of faults or operations.
pub const UNLIMITED: u8 = u8::MAX;
/// No last tick.
pub const FOR_EVER: i64 = i64::MAX;

/// One tick of the model.
pub const fn ticks(ticks: i64) -> Span {
    Span::from_nanos(ticks)
}

/// The usual settings of a model: a lease and a lead of two ticks, a cycle of `interval`.
pub const fn settings(interval: i64) -> Settings {
    Settings {
        interval: ticks(interval),
        lead: ticks(2),
        lease: ticks(2),
        round_trip: ticks(0),
        retrieve: ticks(0),
        stagger: ticks(0),
        early_limit: ticks(1),
        sample_window: ticks(0),
    }
}

/// Settings of a farm whose messages may take a tick each way: a cycle of fourteen ticks.
pub const fn patient() -> Settings {
    Settings {
        interval: ticks(14),
        lead: ticks(5),
        lease: ticks(3),
        round_trip: ticks(2),
        retrieve: ticks(0),
        stagger: ticks(0),
        early_limit: ticks(1),
        sample_window: ticks(0),
    }
}

impl Configuration {
    /// A farm of these agents without faults.
    pub const fn new(name: &'static str, modes: &'static [Mode]) -> Configuration {
        Configuration {
            name,
            modes,
            activation: Activation::Switch,
            guards: Guards::ALL,
            twist: None,
            settings: settings(7),
            limits: Limits { max_interval: ticks(9), max_lead: ticks(2), max_hold: ticks(3) },
            horizon: 16,
            faults: 0,
            kinds: Kinds::of(&[]),
            operations: 0,
            operation_kinds: Kinds::of(&[]),
            most_delayed: u8::MAX,
            slow_network: false,
            two_parts: false,
            samples: 0,
            rate: Rate::ZERO,
            server_rate: Rate::ZERO,
            jump: 3,
            fine: None,
            backups: 1,
            servers: 1,
            kept: 0,
            server_epsilon: 0,
            run_up: None,
            prelude: &[],
            recovery: true,
        }
    }

    /// Whether its runs have no last tick, so that its states are searched under names that are counted
    /// from where each stands (`renaming`).
    pub fn is_unbounded(&self) -> bool {
        self.horizon == FOR_EVER
    }

    /// A tick, or what stands for it, in nanoseconds.
    pub fn unit(&self) -> i64 {
        self.fine.map_or(1, |fine| fine.unit)
    }

    /// The step in which local clocks are read.
    pub fn step(&self) -> Span {
        self.fine.map_or(Configuration::granularity(self.rate), |fine| Span::from_nanos(fine.step))
    }

    /// Ticks in which a clock of this rate error gains or misses at most one.
    pub fn ticks_per_error(rate: Rate) -> i64 {
        1_000_000_000 / (rate.as_ppb() as i64).max(1)
    }

    /// The step in which a clock of this rate error is read: one that may miss a tick, a tick.
    pub fn granularity(rate: Rate) -> Span {
        if rate == Rate::ZERO { Span::ZERO } else { ticks(1) }
    }
}
