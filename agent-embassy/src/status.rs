//! What an agent tells about itself, for displays and logs. Nothing here decides anything.

use downbeat_core::clock::Enclosure;
use downbeat_core::frame::Dropped;
use downbeat_core::ids::{Generation, Incarnation};
use downbeat_core::message::{Phase, Switched, Veto};
use downbeat_core::serving::SwitchPlan;
use downbeat_core::time::{LocalTime, Span};

/// How often things happened since the start. The counts stay at their largest value.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Frames that were dropped: noise on the line, and what was cut.
    pub bad_frames: Dropped,
    /// Requests handed to the stream.
    pub requests: u32,
    /// Replies that nobody waited for.
    pub unmatched: u32,
    /// Replies that don't answer what was asked.
    pub unexpected: u32,
    /// Retrieved generations that were not what was announced.
    pub mismatches: u32,
    /// Generations that were not taken: larger than a buffer, above all.
    pub vetoes: u32,
    /// Connections begun.
    pub connections: u32,
    /// `Error` answers of the server.
    pub refused: u32,
    /// Times that an assumption about clocks broke.
    pub clock_breaks: u32,
    /// Switches to a new generation.
    pub switches: u32,
    /// Generations stored as the last good one.
    pub stored: u32,
    /// Writes and erasures that the flash refused.
    pub storage_faults: u32,
}

pub(crate) fn count(counter: &mut u32) {
    *counter = counter.saturating_add(1);
}

/// How a copy from staged to active went. Readers were held meanwhile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Copied {
    /// How long after the instant of the plan it was begun.
    pub late: Span,
    /// How long it took.
    pub took: Span,
}

/// A snapshot of an agent.
#[derive(Clone, Copy, Debug)]
pub struct Status {
    /// When it was taken, by the agent's clock.
    pub at: LocalTime,
    /// In which life it is.
    pub incarnation: Incarnation,
    /// Whether there is a connection, as far as the stream tells.
    pub connected: bool,
    /// Where it is in its cycle.
    pub phase: Phase,
    /// Its estimate of server time less local time, in nanoseconds; `None` without a sample.
    pub offset: Option<i64>,
    /// ε now; `None` without a sample.
    pub epsilon: Option<Span>,
    /// The published plan: what reads are decided by.
    pub plan: SwitchPlan,
    /// Its last switch.
    pub switched: Option<Switched>,
    /// Its last copy (copy activation only): what S8 adds to ε.
    pub copied: Option<Copied>,
    /// What it refused last, and why; `None` once something was taken again.
    pub veto: Option<(Generation, Veto)>,
    /// How often things happened.
    pub counters: Counters,
}

/// What the agent's task keeps up for [`Status`].
#[derive(Clone, Copy)]
pub(crate) struct Board {
    pub(crate) incarnation: Incarnation,
    pub(crate) connected: bool,
    pub(crate) phase: Phase,
    pub(crate) clock: Option<Enclosure>,
    pub(crate) switched: Option<Switched>,
    pub(crate) copied: Option<Copied>,
    pub(crate) veto: Option<(Generation, Veto)>,
    pub(crate) counters: Counters,
}

impl Board {
    pub(crate) fn new() -> Board {
        Board {
            incarnation: Incarnation(0),
            connected: false,
            phase: Phase::Greeting,
            clock: None,
            switched: None,
            copied: None,
            veto: None,
            counters: Counters::default(),
        }
    }

    pub(crate) fn status(&self, at: LocalTime, plan: &SwitchPlan) -> Status {
        let clock = self.clock.as_ref();
        let middle = clock.and_then(|clock| clock.midpoint(at));
        Status {
            at,
            incarnation: self.incarnation,
            connected: self.connected,
            phase: self.phase,
            offset: middle.map(|server| server.as_nanos().saturating_sub(at.as_nanos())),
            epsilon: clock.and_then(|clock| clock.epsilon(at)),
            plan: *plan,
            switched: self.switched,
            copied: self.copied,
            veto: self.veto,
            counters: self.counters,
        }
    }
}
