//! What a machine asks of its host, as the header declares it.

use crate::layout::{Layout, numbers, structure};
use crate::types::{Bytes, Found, Generation, Plan};
use downbeat_core::effect::{self, Cache};
use downbeat_core::message::{self, ErrorCode, ObjectRef};

numbers! {
    /// What is to be done.
    EffectKind = "downbeat_effect_kind" {
        /// Encode, and write.
        Send = 1 "DOWNBEAT_SEND",
        /// Publish the plan.
        Publish = 2 "DOWNBEAT_PUBLISH",
        /// Prepare to take in a generation.
        Begin = 3 "DOWNBEAT_BEGIN",
        /// Keep the bytes.
        Keep = 4 "DOWNBEAT_KEEP",
        /// Look at what was kept.
        Verify = 5 "DOWNBEAT_VERIFY",
        /// Copy staged to active.
        CopyStaged = 6 "DOWNBEAT_COPY_STAGED",
        /// For logs.
        Event = 7 "DOWNBEAT_EVENT",
    }
}

numbers! {
    /// Which of the agent's two buffers.
    Buffer = "downbeat_buffer" {
        /// The one that readers are on.
        OfActive = 0 "DOWNBEAT_BUFFER_ACTIVE",
        /// The other one.
        OfStaged = 1 "DOWNBEAT_BUFFER_STAGED",
    }
}

structure! {
    /// A generation on its way.
    Incoming = "downbeat_incoming" {
        /// What it must be.
        target: Generation,
        /// The name of the object that it comes as.
        object_name: [u8; 32],
        /// Bytes of that object.
        object_len: u64,
        /// How many objects.
        objects: u32,
        /// [`Buffer`].
        buffer: u32,
    }
}

impl Incoming {
    /// Before any route.
    pub(crate) const NONE: Incoming =
        Incoming { target: Generation::NONE, object_name: [0; 32], object_len: 0, objects: 0, buffer: 0 };

    pub(crate) fn of(
        target: downbeat_core::ids::Generation,
        cache: Cache,
        objects: &[ObjectRef],
    ) -> Incoming {
        let buffer = match cache {
            Cache::Active => Buffer::OfActive,
            Cache::Staged => Buffer::OfStaged,
        };
        let first = objects.first();
        Incoming {
            target: target.into(),
            object_name: first.map_or([0; 32], |object| object.name.0),
            object_len: first.map_or(0, |object| object.len),
            // A route has eight at most.
            objects: objects.len() as u32,
            buffer: buffer as u32,
        }
    }
}

structure! {
    /// Content that has come.
    Keep = "downbeat_keep" {
        /// Where it goes.
        offset: u64,
        /// What.
        bytes: Bytes,
        /// The object's number in the route.
        object: u32,
        /// Zero.
        reserved: u32,
    }
}

numbers! {
    /// What happened.
    EventKind = "downbeat_event_kind" {
        /// The server is on another timeline.
        NewTimeline = 1 "DOWNBEAT_NEW_TIMELINE",
        /// An assumption about clocks broke.
        ClockBroken = 2 "DOWNBEAT_CLOCK_BROKEN",
        /// The connection was refused.
        Refused = 3 "DOWNBEAT_REFUSED",
        /// A reply that was not waited for.
        Unmatched = 4 "DOWNBEAT_UNMATCHED",
        /// A reply that doesn't answer what was asked.
        Unexpected = 5 "DOWNBEAT_UNEXPECTED",
        /// What came is not what was announced.
        Mismatched = 6 "DOWNBEAT_MISMATCHED",
        /// The host won't take it.
        Vetoed = 7 "DOWNBEAT_VETOED",
        /// What was being retrieved is superseded.
        Gone = 8 "DOWNBEAT_GONE",
        /// Staged became active.
        Switched = 9 "DOWNBEAT_SWITCHED",
        /// The last good generation is served, marked stale.
        ServingLastGood = 10 "DOWNBEAT_SERVING_LAST_GOOD",
    }
}

numbers! {
    /// Why a connection is refused.
    Refusal = "downbeat_refusal" {
        /// A request came before a hello.
        HelloFirst = 0 "DOWNBEAT_HELLO_FIRST",
        /// The version is not spoken there.
        Version = 1 "DOWNBEAT_VERSION_NOT_SPOKEN",
        /// The token is not good.
        Unauthorized = 2 "DOWNBEAT_UNAUTHORIZED",
        /// There is no such farm.
        NoFarm = 3 "DOWNBEAT_NO_FARM",
        /// Something is over a limit.
        TooLarge = 4 "DOWNBEAT_OVER_A_LIMIT",
        /// Try again later.
        Busy = 5 "DOWNBEAT_BUSY",
    }
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Refusal {
        match code {
            ErrorCode::HelloFirst => Refusal::HelloFirst,
            ErrorCode::Version => Refusal::Version,
            ErrorCode::Unauthorized => Refusal::Unauthorized,
            ErrorCode::NoFarm => Refusal::NoFarm,
            ErrorCode::TooLarge => Refusal::TooLarge,
            ErrorCode::Busy => Refusal::Busy,
        }
    }
}

structure! {
    /// A switch as the agent's plan had it.
    Switched = "downbeat_switched" {
        /// To which epoch.
        epoch: u64,
        /// When, by the estimate of the server's clock.
        at_server_ns: i64,
        /// ε of that estimate.
        epsilon_ns: i64,
        /// How long reads were held for it.
        held_ns: i64,
    }
}

impl Switched {
    const NONE: Switched = Switched { epoch: 0, at_server_ns: 0, epsilon_ns: 0, held_ns: 0 };
}

impl From<message::Switched> for Switched {
    fn from(switched: message::Switched) -> Switched {
        Switched {
            epoch: switched.epoch,
            at_server_ns: switched.at.as_nanos(),
            epsilon_ns: switched.epsilon.as_nanos(),
            held_ns: switched.held.as_nanos(),
        }
    }
}

structure! {
    /// Something that people may want to know.
    Event = "downbeat_event" {
        /// [`EventKind`].
        kind: u32,
        /// [`Refusal`] or [`Found`].
        why: u32,
        /// What it is about.
        generation: Generation,
        /// Of a switch.
        switched: Switched,
    }
}

impl From<&effect::Event> for Event {
    fn from(event: &effect::Event) -> Event {
        use effect::Event as Core;
        let (kind, why, generation) = match event {
            Core::NewTimeline => (EventKind::NewTimeline, 0, None),
            Core::ClockBroken => (EventKind::ClockBroken, 0, None),
            Core::Refused(code) => (EventKind::Refused, Refusal::from(*code) as u32, None),
            Core::Unmatched => (EventKind::Unmatched, 0, None),
            Core::Unexpected => (EventKind::Unexpected, 0, None),
            Core::Mismatch(generation) => (EventKind::Mismatched, 0, Some(*generation)),
            Core::Vetoed(generation, why) => (EventKind::Vetoed, Found::from(*why) as u32, Some(*generation)),
            Core::Gone => (EventKind::Gone, 0, None),
            Core::Switched(_) => (EventKind::Switched, 0, None),
            Core::ServingLastGood(generation) => (EventKind::ServingLastGood, 0, Some(*generation)),
        };
        let switched = match event {
            Core::Switched(switched) => (*switched).into(),
            _ => Switched::NONE,
        };
        let generation = generation.map_or(Generation::NONE, Generation::from);
        Event { kind: kind as u32, why, generation, switched }
    }
}

/// What an effect is about; which of them, its kind says.
#[repr(C)]
#[derive(Clone, Copy)]
pub union About {
    /// Of [`EffectKind::Publish`].
    pub plan: Plan,
    /// Of [`EffectKind::Begin`] and [`EffectKind::Verify`].
    pub incoming: Incoming,
    /// Of [`EffectKind::Keep`].
    pub keep: Keep,
    /// Of [`EffectKind::CopyStaged`].
    pub generation: Generation,
    /// Of [`EffectKind::Event`].
    pub event: Event,
}

structure! {
    /// One thing that the host has to do.
    Effect = "downbeat_effect" {
        /// [`EffectKind`].
        kind: u32,
        /// Which effect of its agent.
        number: u32,
        /// What it is about.
        about: About,
    }
}

/// All structures of the header.
pub const STRUCTURES: &[Layout] = &[
    Bytes::LAYOUT,
    Generation::LAYOUT,
    Plan::LAYOUT,
    crate::types::Serving::LAYOUT,
    crate::types::Status::LAYOUT,
    crate::types::Dropped::LAYOUT,
    Incoming::LAYOUT,
    Keep::LAYOUT,
    Switched::LAYOUT,
    Event::LAYOUT,
    Effect::LAYOUT,
    crate::config::Config::LAYOUT,
    crate::config::Start::LAYOUT,
    crate::object::Expected::LAYOUT,
    crate::object::Record::LAYOUT,
    crate::object::Summary::LAYOUT,
];
