//! What an agent is set to, and what it starts with.

use crate::guard::Guards;
use crate::ids::{AgentId, BootId, Generation, Incarnation};
use crate::serving::{Activation, Mode, SwitchPlan};
use crate::time::{LocalTime, Rate, Span};
use serde::{Deserialize, Serialize};

/// What a host can make a generation of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub enum Accepts {
    /// One uncompressed snapshot: what a device takes, which has no room to unpack in.
    #[default]
    Snapshots,
    /// Any route of packed objects. The host keeps the image of what it serves, applies deltas to
    /// it, and can still take an uncompressed snapshot.
    Packed,
}

/// What an agent is set to. Spans are of the local clock.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Config {
    /// Who it is.
    pub agent: AgentId,
    /// How it treats what it can't prove.
    pub mode: Mode,
    /// How it goes over from staged to active.
    pub activation: Activation,
    /// ρ: the largest rate error of its clock (default 250 ppm). Too low and the bounds lie.
    pub rate: Rate,
    /// The step in which its clock is read, and the one in which the server's is read where that is
    /// more than a nanosecond: nothing else makes up for an `r` that was read too early.
    pub granularity: Span,
    /// First and longest back-off (default 0.1 s and 10 s).
    pub back_off: (Span, Span),
    /// How long a request is waited for while the farm's `round_trip` is not known (default 1 s).
    pub patience: Span,
    /// A prompt agent that reached no server for this long, or was named no active generation, serves
    /// its last good generation, marked stale (default 5 s).
    pub start_wait: Span,
    /// Time samples taken shortly before T (default 8); 0 for none.
    pub samples: u8,
    /// Whether it reports what it does.
    pub reports: bool,
    /// What it asks servers for (default snapshots; so it is in traces that don't say).
    #[serde(default)]
    pub accepts: Accepts,
    /// All of them, outside of checkers.
    pub guards: Guards,
}

impl Config {
    /// The defaults of FORMATS for an agent.
    pub fn new(agent: AgentId, mode: Mode) -> Config {
        Config {
            agent,
            mode,
            activation: Activation::Switch,
            rate: Rate::from_ppm(250),
            granularity: Span::ZERO,
            back_off: (Span::from_millis(100), Span::from_secs(10)),
            patience: Span::from_secs(1),
            start_wait: Span::from_secs(5),
            samples: 8,
            reports: true,
            accepts: Accepts::Snapshots,
            guards: Guards::ALL,
        }
    }
}

/// What an agent starts with.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Start {
    /// The number of this life: random, never a counter.
    pub incarnation: Incarnation,
    /// The host's boot.
    pub boot: BootId,
    /// The local clock.
    pub now: LocalTime,
    /// The page that a process before this one left; void where it is of another boot.
    pub page: Option<SwitchPlan>,
    /// The generation last served, where its content was kept.
    pub last_good: Option<Generation>,
}
