//! The properties of PROTOCOL §10 by name, each with what must be reachable for it to mean anything.

use crate::configuration::Configuration;
use crate::record::{Broken, Happened};
use crate::recover::recovers;
use crate::world::{Content, World};
use downbeat_core::ids::{AgentId, Digest, Incarnation, RequestId};
use downbeat_core::message::{ReplyBody, RequestBody};
use downbeat_core::server::transition;

/// A property that holds in every state.
pub struct Always {
    /// Its id and name in PROTOCOL §10.
    pub name: &'static str,
    /// Whether it holds.
    pub holds: fn(&Configuration, &World) -> bool,
}

/// A state that must be reached by at least one of the configurations of a check.
pub struct Sometimes {
    /// The property beside which it stands.
    pub beside: &'static str,
    /// What is reached.
    pub name: &'static str,
    /// Whether this is such a state.
    pub reached: fn(&World) -> bool,
}

macro_rules! unbroken {
    ($name:literal, $broken:ident) => {
        Always { name: $name, holds: |_, world| !world.record.is_broken(Broken::$broken) }
    };
}

/// All properties, in the order of PROTOCOL §10.
pub const ALWAYS: &[Always] = &[
    unbroken!("S1 single_initiator", SingleInitiator),
    unbroken!("S2 lock_exclusive", LockExclusive),
    unbroken!("S3 fenced_writes", FencedWrites),
    unbroken!("S4 activation_arithmetic", ActivationArithmetic),
    Always { name: "S5 whole_generation", holds: whole_generation },
    unbroken!("S6 agreement", Agreement),
    unbroken!("S7 strict_serves_live", StrictServesLive),
    unbroken!("S8 prompt_skew_bound", PromptSkewBound),
    unbroken!("S9 epochs_rise", EpochsRise),
    unbroken!("S10 join_is_current", JoinIsCurrent),
    unbroken!("S11 schedule_respected", ScheduleRespected),
    Always { name: "S12 clock_enclosure", holds: clock_enclosure },
    Always { name: "R1 recovers", holds: |config, world| !config.recovery || recovers(config, world) },
    Always { name: "R2 lock_freed", holds: lock_freed },
    unbroken!("A1 available", Available),
];

/// What each property needs to have seen.
pub const SOMETIMES: &[Sometimes] = &[
    Sometimes {
        beside: "S1 single_initiator",
        name: "two cycles were begun",
        reached: |world| world.record.goes_live.len() > 2,
    },
    happened("S2 lock_exclusive", "the lock was busy", |world| world.record.has_happened(Happened::Busy)),
    happened("S3 fenced_writes", "a lease was over while its write was on the way", |world| {
        world.record.has_happened(Happened::LeaseOver)
    }),
    happened("S3 fenced_writes", "a write came with an old token", |world| {
        world.record.has_happened(Happened::NotHolder)
    }),
    happened("S4 activation_arithmetic", "a promise was renewed", |world| {
        world.record.has_happened(Happened::Renewed)
    }),
    happened("S5 whole_generation", "an agent holds a generation of two different contents' farm", |world| {
        world.hosts.iter().any(|host| host.held.len() > 1)
    }),
    happened("S6 agreement", "two agents serve the same changed content", |world| {
        let shown = |index| world.read(index).current().map(|generation| generation.digest);
        world.hosts.len() > 1
            && shown(0).is_some_and(|digest| Content::of(digest).version > 0)
            && shown(0) == shown(1)
    }),
    happened("S7 strict_serves_live", "a read was held", |world| world.record.has_happened(Happened::Held)),
    happened("S7 strict_serves_live", "a read was fenced", |world| {
        world.record.has_happened(Happened::Fenced)
    }),
    happened("S8 prompt_skew_bound", "an agent was early", |world| {
        world.record.has_happened(Happened::Early)
    }),
    happened("S8 prompt_skew_bound", "an agent was late", |world| world.record.has_happened(Happened::Late)),
    happened("S8 prompt_skew_bound", "a read was marked stale", |world| {
        world.record.has_happened(Happened::Stale)
    }),
    happened("S9 epochs_rise", "a reader suspended over a switch answered", |world| {
        world.record.has_happened(Happened::Resumed)
    }),
    happened("S10 join_is_current", "an agent served again after its start", |world| {
        world.record.has_happened(Happened::Rejoined)
    }),
    happened("S11 schedule_respected", "an activation landed on a scheduled record", |world| {
        world.record.has_happened(Happened::Landed)
    }),
    happened("S11 schedule_respected", "a scheduled record was shown and ended", |world| {
        let shown = world.record.goes_live.iter().any(|live| Content::of(live.generation.digest).scheduled);
        let last = world.record.goes_live.last().map(|live| Content::of(live.generation.digest));
        shown && last.is_some_and(|content| !content.scheduled)
    }),
    happened("S12 clock_enclosure", "an enclosure is wider than a point", |world| {
        (0..world.hosts.len()).any(|index| {
            let width = world.hosts[index].agent.clock().epsilon(world.local_now(index));
            width.is_some_and(|epsilon| epsilon.as_nanos() > 0)
        })
    }),
    happened("R1 recovers", "an agent is fenced or stale that was current", |world| {
        world.record.has_happened(Happened::Fenced) || world.record.has_happened(Happened::Stale)
    }),
    happened("R2 lock_freed", "a lease is over and the lock still there", |world| {
        let lock = world.server.store.table.lock;
        lock.is_some_and(|lock| lock.expires.passed(world.server_now()))
    }),
    happened("S6 agreement", "a cycle began without a change", |world| {
        world.record.has_happened(Happened::Unchanged)
    }),
    happened(
        "S12 clock_enclosure",
        "an erring line of the server left the middle of an enclosure",
        |world| {
            world.server.last_error.is_some()
                && (0..world.hosts.len()).any(|index| off_the_middle(world, index))
        },
    ),
    happened("S12 clock_enclosure", "a clock that broke its bound was found out", |world| {
        world.record.has_happened(Happened::Detected)
    }),
    happened(
        "S7 strict_serves_live",
        "a read was wrong by a broken clock that nobody had found out",
        |world| world.record.has_happened(Happened::Excused),
    ),
    happened("S4 activation_arithmetic", "a cycle left out regular activations", |world| {
        world.record.has_happened(Happened::SkippedSlots)
    }),
    happened("R1 recovers", "an agent came back after more than two epochs", |world| {
        world.record.has_happened(Happened::LongAway)
    }),
    happened("A1 available", "an agent was woken though nobody asked", |world| {
        world.record.has_happened(Happened::Spurious)
    }),
    happened("S4 activation_arithmetic", "pending settings were replaced", |world| {
        world.record.has_happened(Happened::PendingReplaced)
    }),
    happened(
        "S4 activation_arithmetic",
        "a cycle took up a shorter interval, or another lead or lease",
        |world| world.record.has_happened(Happened::TookUp),
    ),
    happened("S7 strict_serves_live", "a line was begun without a mark", |world| {
        world.record.has_happened(Happened::MarkLost)
    }),
    happened(
        "S7 strict_serves_live",
        "one of several servers read the database's clock outside of its enclosure",
        |world| world.record.has_happened(Happened::ReadingOutside),
    ),
    happened(
        "S9 epochs_rise",
        "a reader answered by a plan that was replaced after it was loaded",
        |world| world.record.has_happened(Happened::Republished),
    ),
    happened("S6 agreement", "a pinned generation was read after a switch", |world| {
        world.record.has_happened(Happened::PinRead)
    }),
    happened("S6 agreement", "a pinned generation was no longer kept", |world| {
        world.record.has_happened(Happened::PinDropped)
    }),
];

/// Whether the server's time is not in the middle of what an agent knows of it.
fn off_the_middle(world: &World, index: usize) -> bool {
    let agent = &world.hosts[index].agent;
    let middle = agent.clock().midpoint(world.local_now(index));
    let time = agent.timeline().and_then(|line| world.line_time(line, world.now));
    matches!((middle, time), (Some(middle), Some(time)) if middle != time)
}

const fn happened(beside: &'static str, name: &'static str, reached: fn(&World) -> bool) -> Sometimes {
    Sometimes { beside, name, reached }
}

/// S5: every cache is exactly some generation.
fn whole_generation(_: &Configuration, world: &World) -> bool {
    let whole = |(digest, parts): &(Digest, [Content; 2])| parts.iter().all(|part| part.digest() == *digest);
    world.hosts.iter().all(|host| host.held.iter().all(whole))
}

/// S12: the server's time is inside every enclosure, and no enclosure was ever found empty, except by
/// those whose clock broke its bound; and they find that out with their first exact sample.
fn clock_enclosure(_: &Configuration, world: &World) -> bool {
    let inside = |index: usize| world.hosts[index].astray || world.is_enclosed(index);
    !world.record.clock_broken
        && !world.record.is_broken(Broken::BreakDetected)
        && (0..world.hosts.len()).all(inside)
}

/// R2: once its lease is over, a lock keeps nobody out.
fn lock_freed(config: &Configuration, world: &World) -> bool {
    let table = &world.server.store.table;
    let now = world.server_now();
    let granted = world.record.grant.is_some_and(|(_, expires)| expires.passed(now));
    if !granted || table.held.is_some() {
        return true;
    }
    let probe = RequestId { agent: AgentId([0xff; 16]), incarnation: Incarnation(u64::MAX), number: 1 };
    let seen = world.twisted_table(config, &RequestBody::Lock, now);
    let answer = transition::<u16>(&seen, probe, &RequestBody::Lock, now, &world.server.store, config.guards);
    answer.is_some_and(|answer| !matches!(answer.reply, ReplyBody::Busy { .. }))
}
