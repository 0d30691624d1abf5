//! What callers and stores tell each other of content: edits, scheduled records, changes,
//! generations. Plain data; what a store does with it is in the trait's doc.

use downbeat_core::ids::{Epoch, Generation, Name, TimelineId};
use downbeat_core::time::{ServerTime, Span};
use std::io;

/// One edit of production. All edits of one call are staged together or not at all.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Edit {
    /// Sets the value of a key.
    Put {
        /// The dataset; made by its first record.
        dataset: Name,
        /// At most `KEY_MAX` bytes.
        key: Vec<u8>,
        /// At most `VALUE_MAX` bytes.
        value: Vec<u8>,
    },
    /// Takes a key away. Nothing happens where it isn't there.
    Delete {
        /// The dataset.
        dataset: Name,
        /// The key.
        key: Vec<u8>,
    },
    /// Enters a scheduled record, in place of one with the same key and `effective_at`.
    Schedule(Scheduled),
    /// Takes a scheduled record away. Nothing happens where it isn't there.
    Unschedule {
        /// The dataset.
        dataset: Name,
        /// The key.
        key: Vec<u8>,
        /// From when on it would have counted.
        effective_at: ServerTime,
    },
}

/// A scheduled record (PROTOCOL §7): at T its key shows it where it has the greatest
/// `effective_at` ≤ T of those that are not expired at T.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Scheduled {
    /// The dataset.
    pub dataset: Name,
    /// The key.
    pub key: Vec<u8>,
    /// From when on it counts, by the farm's timeline.
    pub effective_at: ServerTime,
    /// From when on it counts no longer.
    pub expires_at: Option<ServerTime>,
    /// The value; `None` hides the key.
    pub value: Option<Vec<u8>>,
}

/// What became of the records of one call.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Applied {
    /// New or with another value than before.
    pub written: u64,
    /// Those of them that were not there, of records that count at once.
    pub added: u64,
    /// Taken away.
    pub deleted: u64,
    /// As they were already (or not there to be deleted): nothing will be staged for them.
    pub unchanged: u64,
}

/// What an import does with the records of its dataset that it doesn't name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rest {
    /// They stay.
    Keep,
    /// They are deleted: the dataset becomes exactly what is imported.
    Delete,
}

/// A record on its way in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Incoming {
    /// Where it came from: told where it is refused.
    pub line: u64,
    /// The dataset.
    pub dataset: Name,
    /// The key.
    pub key: Vec<u8>,
    /// The value.
    pub value: Vec<u8>,
}

/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// A key whose value differs between two states.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// The dataset.
    pub dataset: Name,
    /// The key.
    pub key: Vec<u8>,
    /// Its value before; `None` where it wasn't there.
    pub before: Option<Vec<u8>>,
    /// Its value after; `None` where it isn't there any more.
    pub after: Option<Vec<u8>>,
}

/// A generation that can be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kept {
    /// Its epoch and digest.
    pub generation: Generation,
    /// The instant at which its scheduled records were looked at.
    pub as_of: ServerTime,
    /// When it goes or went live, on the timeline that was in force then.
    pub activation: ServerTime,
    /// Records in which it differs from the one before it.
    pub changes: u64,
    /// Records that it has.
    pub records: u64,
}

/// What agents told of an activation that is over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Past {
    /// Of which generation.
    pub epoch: Epoch,
    /// On which line.
    pub timeline: TimelineId,
    /// T.
    pub activation: ServerTime,
    /// Agents that told of their switch.
    pub switched: u64,
    /// All that was told, as JSON.
    pub body: String,
}

/// Which generations can be read: the newest ones by number, and beyond that those that were live not
/// longer ago than `age`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retention {
    /// At least 2: the staged one and the active one.
    pub generations: u64,
    /// Positive; `None`: the number alone decides.
    pub age: Option<Span>,
}

/// In how many records two generations differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Differences {
    /// Records that only the second one has.
    pub added: u64,
    /// Records whose values differ.
    pub changed: u64,
    /// Records that only the first one has.
    pub removed: u64,
}

/// A value that a key had from an epoch on, up to the next one of its history.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Version {
    /// The first epoch that had it. It may be older than those that are kept.
    pub epoch: Epoch,
    /// When that epoch went live; `None` where it is no longer kept.
    pub activation: Option<ServerTime>,
    /// The value; `None`: from then on there was no such record.
    pub value: Option<Vec<u8>>,
}

/// Is told of each edit that takes back what a rollback does, in an order in which they can be
/// applied, then of nothing: from there on they must be kept, whatever happens.
pub type Undo<'u> = &'u mut dyn FnMut(Option<&Edit>) -> io::Result<()>;

/// What a rollback did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RolledBack {
    /// Records of production that were written or deleted, and scheduled ones that were taken away.
    pub applied: Applied,
    /// Those scheduled ones among them: they were in force and hid what the generation has.
    pub unscheduled: u64,
    /// Scheduled records that begin after the activation that was asked for: they still count then.
    pub to_come: u64,
}

/// What a round of upkeep did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Upkeep {
    /// Log rows that were taken into the index.
    pub indexed: u64,
    /// Log rows that no kept generation shows, deleted.
    pub folded: u64,
    /// The oldest generation that can be read from now on.
    pub oldest: Epoch,
}
