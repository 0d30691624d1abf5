//! What an agent's machine asks of its host, and what a host tells it besides messages.
//!
//! A host carries effects out in the order in which they come.

use crate::ids::Generation;
use crate::message::{ErrorCode, Request, Switched, Veto};
use crate::serving::SwitchPlan;
use crate::time::LocalTime;
use heapless::Vec;
use serde::{Deserialize, Serialize};

/// The most effects of one input.
pub const EFFECTS_MAX: usize = 12;

/// What one input brings about, to be carried out in order.
pub type Effects = Vec<Effect, EFFECTS_MAX>;

/// Which of the agent's two buffers (Fig. 4, items 200 and 202).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Cache {
    /// The one that readers are on: filled directly only by a joining agent.
    Active,
    /// The other one.
    Staged,
}

/// One thing that the host has to do.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Effect {
    /// Send the host's `Hello`, with the machine's incarnation.
    Hello,
    /// Send a request; `sent` is to be set again as late as the host can.
    Send(Request),
    /// Publish the plan: readers go by it from now on. What it names is where they look before they do: a
    /// host that copies first brings what it names as active there, with its readers kept out, where no
    /// [`Effect::Copy`] did (an agent that joins, and one whose clock broke after staged was whole).
    Publish(SwitchPlan),
    /// Prepare to take in a generation: what was taken in and not verified is dropped.
    Begin {
        /// What comes.
        target: Generation,
        /// For which buffer.
        cache: Cache,
    },
    /// Keep the bytes of the reply that was just handed in: they follow those kept before.
    Keep {
        /// The object's number in the route, from 0.
        object: u8,
        /// First byte.
        offset: u64,
        /// How many bytes.
        len: u16,
    },
    /// Everything has come: check the digests, let the host's validation look at it, and answer
    /// with [`Agent::verified`](crate::agent::Agent::verified).
    Verify {
        /// What it must be.
        target: Generation,
    },
    /// Copy staged to active, and answer with [`Agent::copied`](crate::agent::Agent::copied)
    /// (Fig. 6, step 252, where caches aren't switched).
    Copy {
        /// What is copied.
        generation: Generation,
    },
    /// Something that people may want to know.
    Event(Event),
}

/// What happened, for logs and counters; nothing needs to be done.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Event {
    /// The server is on another timeline.
    NewTimeline,
    /// The enclosure's ends crossed: an assumption about clocks broke (S12's other side).
    ClockBroken,
    /// The connection was refused.
    Refused(ErrorCode),
    /// A reply that was not waited for, used for nothing.
    Unmatched,
    /// A reply that doesn't answer what was asked, used for nothing.
    Unexpected,
    /// What was retrieved is not what was announced; it is dropped and retrieved again.
    Mismatch(Generation),
    /// The host won't take the generation.
    Vetoed(Generation, Veto),
    /// What was being retrieved is superseded.
    Gone,
    /// Staged became active.
    Switched(Switched),
    /// A last good generation is served, marked stale, because no server was reached.
    ServingLastGood(Generation),
}

/// What the host found when it was asked to verify.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Verified {
    /// It is whole, its digests agree, and it can be served.
    Whole,
    /// Digests disagree: it is retrieved again.
    Mismatch,
    /// It is whole, and the host won't take it.
    Vetoed(Veto),
}

/// When a machine wants to be woken.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum PollAt {
    /// At this instant of the local clock (which may have passed).
    At(LocalTime),
    /// Only an input can change anything.
    Input,
}
