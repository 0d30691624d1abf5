//! The values that cross the boundary, as the header declares them, and what they are in core. Their
//! documentation for C is the header's.

use crate::code::Code;
use crate::layout::{numbers, structure};
use downbeat_core::effect::Verified;
use downbeat_core::ids::{BootId, Digest};
use downbeat_core::message::{self, Veto};
use downbeat_core::serving::{self, Serving as Got, SwitchPlan};
use downbeat_core::time::LocalTime;

structure! {
    /// Bytes of somebody else's.
    Bytes = "downbeat_bytes" {
        /// The first of them.
        at: *const u8,
        /// How many.
        len: usize,
    }
}

impl Bytes {
    pub(crate) const NONE: Bytes = Bytes { at: core::ptr::null(), len: 0 };

    pub(crate) fn of(bytes: &[u8]) -> Bytes {
        Bytes { at: bytes.as_ptr(), len: bytes.len() }
    }
}

structure! {
    /// A generation.
    Generation = "downbeat_generation" {
        /// Its number on its timeline.
        epoch: u64,
        /// Its content.
        digest: [u8; 32],
    }
}

impl Generation {
    pub(crate) const NONE: Generation = Generation { epoch: 0, digest: [0; 32] };
}

impl From<downbeat_core::ids::Generation> for Generation {
    fn from(generation: downbeat_core::ids::Generation) -> Generation {
        Generation { epoch: generation.epoch, digest: generation.digest.0 }
    }
}

impl From<Generation> for downbeat_core::ids::Generation {
    fn from(generation: Generation) -> downbeat_core::ids::Generation {
        downbeat_core::ids::Generation { epoch: generation.epoch, digest: Digest(generation.digest) }
    }
}

numbers! {
    /// How an agent treats what it can't prove.
    Mode = "downbeat_mode" {
        /// Serves always; marks what may be out of date.
        Prompt = 0 "DOWNBEAT_PROMPT",
        /// Serves only what is provably live.
        Strict = 1 "DOWNBEAT_STRICT",
    }
}

impl From<Mode> for serving::Mode {
    fn from(mode: Mode) -> serving::Mode {
        match mode {
            Mode::Prompt => serving::Mode::Prompt,
            Mode::Strict => serving::Mode::Strict,
        }
    }
}

numbers! {
    /// How staged becomes active.
    Activation = "downbeat_activation" {
        /// Two buffers change their roles.
        Switch = 0 "DOWNBEAT_SWITCH",
        /// Staged is copied; reads are held meanwhile.
        Copy = 1 "DOWNBEAT_COPY",
    }
}

impl From<Activation> for serving::Activation {
    fn from(activation: Activation) -> serving::Activation {
        match activation {
            Activation::Switch => serving::Activation::Switch,
            Activation::Copy => serving::Activation::Copy,
        }
    }
}

structure! {
    /// What decides every read.
    Plan = "downbeat_plan" {
        /// Rises with each plan published.
        serial: u64,
        /// The boot that the instants belong to.
        boot: u64,
        /// [`Mode`].
        mode: u32,
        /// [`Activation`].
        activation: u32,
        /// 1 where `active` is one.
        has_active: u8,
        /// 1 where `staged` is one.
        has_staged: u8,
        /// 1 where reads of `active` are marked stale whatever the time.
        stale: u8,
        /// Zero.
        reserved: [u8; 5],
        /// What is served before the switch.
        active: Generation,
        /// Until when.
        active_until_ns: i64,
        /// What is served after it.
        staged: Generation,
        /// From when.
        staged_from_ns: i64,
        /// Until when.
        staged_until_ns: i64,
    }
}

impl From<&SwitchPlan> for Plan {
    fn from(plan: &SwitchPlan) -> Plan {
        let mode = match plan.mode {
            serving::Mode::Prompt => Mode::Prompt,
            serving::Mode::Strict => Mode::Strict,
        };
        let activation = match plan.activation {
            serving::Activation::Switch => Activation::Switch,
            serving::Activation::Copy => Activation::Copy,
        };
        Plan {
            serial: plan.serial,
            boot: plan.boot.0,
            mode: mode as u32,
            activation: activation as u32,
            has_active: plan.active.is_some().into(),
            has_staged: plan.staged.is_some().into(),
            stale: plan.stale.into(),
            reserved: [0; 5],
            active: plan.active.map_or(Generation::NONE, Generation::from),
            active_until_ns: plan.active_until.as_nanos(),
            staged: plan.staged.map_or(Generation::NONE, Generation::from),
            staged_from_ns: plan.staged_from.as_nanos(),
            staged_until_ns: plan.staged_until.as_nanos(),
        }
    }
}

impl TryFrom<&Plan> for SwitchPlan {
    type Error = Code;
    fn try_from(plan: &Plan) -> Result<SwitchPlan, Code> {
        let flag = |byte: u8| match byte {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Code::BadPlan),
        };
        let mode = Mode::of_number(plan.mode).ok_or(Code::BadPlan)?;
        let activation = Activation::of_number(plan.activation).ok_or(Code::BadPlan)?;
        let (has_active, has_staged) = (flag(plan.has_active)?, flag(plan.has_staged)?);
        Ok(SwitchPlan {
            serial: plan.serial,
            boot: BootId(plan.boot),
            mode: mode.into(),
            activation: activation.into(),
            active: has_active.then(|| plan.active.into()),
            stale: flag(plan.stale)?,
            active_until: LocalTime::from_nanos(plan.active_until_ns),
            staged: has_staged.then(|| plan.staged.into()),
            staged_from: LocalTime::from_nanos(plan.staged_from_ns),
            staged_until: LocalTime::from_nanos(plan.staged_until_ns),
        })
    }
}

numbers! {
    /// What a read gets.
    State = "downbeat_state" {
        /// No agent has published anything.
        Nothing = 0 "DOWNBEAT_NOTHING",
        /// The active generation.
        Active = 1 "DOWNBEAT_ACTIVE",
        /// The staged generation, which has gone live.
        Staged = 2 "DOWNBEAT_STAGED",
        /// A generation that may be out of date.
        Stale = 3 "DOWNBEAT_STALE",
        /// Nothing yet: the switch is being made.
        Hold = 4 "DOWNBEAT_HOLD",
        /// Nothing: what is live can't be proved.
        Fenced = 5 "DOWNBEAT_FENCED",
    }
}

structure! {
    /// What a read gets, and for how long.
    Serving = "downbeat_serving" {
        /// [`State`].
        state: u32,
        /// Version of the page.
        version: u32,
        /// Where one is served.
        generation: Generation,
        /// The instant of the look.
        at_ns: i64,
        /// Until when the same plan gives the same.
        until_ns: i64,
    }
}

impl Serving {
    /// What a read at `at` gets by this plan, where this is the boot.
    pub(crate) fn of(plan: &SwitchPlan, boot: BootId, at: LocalTime, version: u32) -> Serving {
        let got = serving::serving(plan, at);
        let state = match got {
            _ if plan.boot != boot => State::Fenced,
            Got::Fenced if plan.serial == 0 => State::Nothing,
            Got::Active(_) => State::Active,
            Got::Staged(_) => State::Staged,
            Got::Stale(_) => State::Stale,
            Got::Hold => State::Hold,
            Got::Fenced => State::Fenced,
        };
        let (generation, until) = match plan.boot == boot {
            true => (got.generation(), serving::unchanged_until(plan, at)),
            false => (None, LocalTime::MAX),
        };
        Serving {
            state: state as u32,
            version,
            generation: generation.map_or(Generation::NONE, Generation::from),
            at_ns: at.as_nanos(),
            until_ns: until.as_nanos(),
        }
    }
}

numbers! {
    /// What the host found when it was asked to verify.
    Found = "downbeat_found" {
        /// Whole, and it can be served.
        Whole = 0 "DOWNBEAT_WHOLE",
        /// Digests disagree.
        Mismatch = 1 "DOWNBEAT_MISMATCH",
        /// It doesn't fit.
        TooLarge = 2 "DOWNBEAT_TOO_LARGE",
        /// The host's own validation refuses it.
        Invalid = 3 "DOWNBEAT_INVALID",
        /// The host can't keep it.
        Storage = 4 "DOWNBEAT_STORAGE",
    }
}

impl From<Found> for Verified {
    fn from(found: Found) -> Verified {
        match found {
            Found::Whole => Verified::Whole,
            Found::Mismatch => Verified::Mismatch,
            Found::TooLarge => Verified::Vetoed(Veto::TooLarge),
            Found::Invalid => Verified::Vetoed(Veto::Invalid),
            Found::Storage => Verified::Vetoed(Veto::Storage),
        }
    }
}

impl From<Veto> for Found {
    fn from(veto: Veto) -> Found {
        match veto {
            Veto::TooLarge => Found::TooLarge,
            Veto::Invalid => Found::Invalid,
            Veto::Storage => Found::Storage,
        }
    }
}

numbers! {
    /// Where an agent is in its cycle.
    Phase = "downbeat_phase" {
        /// Not yet welcomed.
        Greeting = 0 "DOWNBEAT_GREETING",
        /// Reads the table.
        Reading = 1 "DOWNBEAT_READING",
        /// Asks for the lock.
        Locking = 2 "DOWNBEAT_LOCKING",
        /// Begins the next cycle.
        Advancing = 3 "DOWNBEAT_ADVANCING",
        /// Retrieves a generation.
        Retrieving = 4 "DOWNBEAT_RETRIEVING",
        /// Waits for T.
        Armed = 5 "DOWNBEAT_ARMED",
        /// Copies staged to active.
        Activating = 6 "DOWNBEAT_ACTIVATING",
        /// Nothing newer is staged.
        Current = 7 "DOWNBEAT_CURRENT",
        /// Waits before it tries again.
        Waiting = 8 "DOWNBEAT_WAITING",
        /// What readers get is marked stale.
        PhaseStale = 9 "DOWNBEAT_PHASE_STALE",
        /// Readers get an error.
        PhaseFenced = 10 "DOWNBEAT_PHASE_FENCED",
    }
}

impl From<message::Phase> for Phase {
    fn from(phase: message::Phase) -> Phase {
        match phase {
            message::Phase::Greeting => Phase::Greeting,
            message::Phase::Reading => Phase::Reading,
            message::Phase::Locking => Phase::Locking,
            message::Phase::Advancing => Phase::Advancing,
            message::Phase::Retrieving => Phase::Retrieving,
            message::Phase::Armed => Phase::Armed,
            message::Phase::Activating => Phase::Activating,
            message::Phase::Current => Phase::Current,
            message::Phase::Waiting => Phase::Waiting,
            message::Phase::Stale => Phase::PhaseStale,
            message::Phase::Fenced => Phase::PhaseFenced,
        }
    }
}

structure! {
    /// What an agent knows, for people.
    Status = "downbeat_status" {
        /// [`Phase`].
        phase: u32,
        /// 1 where the clock's fields are known.
        clock_known: u8,
        /// 1 where the table's fields are known.
        table_known: u8,
        /// Zero.
        reserved: [u8; 2],
        /// Half the width of the enclosure.
        epsilon_ns: i64,
        /// Server time less local time, estimated.
        offset_ns: i64,
        /// The earliest that the server's clock can show.
        earliest_server_ns: i64,
        /// The latest.
        latest_server_ns: i64,
        /// The timeline's counter.
        timeline_counter: u64,
        /// Its random part.
        timeline_random: u64,
        /// The staged generation of the newest table.
        table_staged: Generation,
        /// T of it.
        activation_server_ns: i64,
        /// Frames dropped.
        dropped: Dropped,
    }
}

structure! {
    /// Frames that were dropped.
    Dropped = "downbeat_dropped" {
        /// Longer than any can be.
        oversized: u32,
        /// Cut or changed on the way.
        garbled: u32,
        /// Of another version.
        version: u32,
        /// Whole, and no message.
        malformed: u32,
    }
}

impl From<downbeat_core::frame::Dropped> for Dropped {
    fn from(dropped: downbeat_core::frame::Dropped) -> Dropped {
        let downbeat_core::frame::Dropped { oversized, garbled, version, malformed } = dropped;
        Dropped { oversized, garbled, version, malformed }
    }
}
