//! Why a store refuses or fails. Each error names its cause and its cure, and in each case nothing
//! of the call was kept: what was there before is there still.

use downbeat_core::content::LimitError;
use downbeat_core::ids::{Digest, Epoch, Name, TimelineId};
use downbeat_core::object::ObjectError;
use downbeat_core::settings::SettingsError;
use std::fmt;

/// Why a store's call changed nothing.
#[derive(Debug)]
#[non_exhaustive]
pub enum StoreError {
    /// The database was made by a newer version of Downbeat.
    NewerSchema {
        /// Its schema's version.
        found: i64,
        /// The newest one that is known here.
        known: i64,
    },
    /// The file is a database of something else.
    NotOurs,
    /// The file is no database, or a damaged one.
    Damaged(String),
    /// The disk is full.
    Full,
    /// Another connection held the database longer than the busy timeout.
    Busy,
    /// The database can't be written to.
    ReadOnly,
    /// The operating system failed to read or write.
    Io(String),
    /// There is no such farm.
    NoFarm(Name),
    /// There is a farm of that name.
    FarmExists(Name),
    /// A farm's first table would break PROTOCOL §3.
    Settings(SettingsError),
    /// A record is over a limit.
    Record {
        /// Which one of the call's records, from 1.
        number: u64,
        /// Which limit.
        limit: LimitError,
    },
    /// A key comes twice in one import.
    DuplicateKey {
        /// Which one of the call's records, from 1.
        number: u64,
    },
    /// A scheduled record would end before it begins.
    NeverVisible {
        /// Which one of the call's records, from 1.
        number: u64,
    },
    /// The database's own checks refuse what was written (too many datasets, for example).
    Refused(String),
    /// The generation can't be read: not staged yet, or no longer kept.
    NotKept {
        /// The epoch asked for.
        epoch: Epoch,
        /// The oldest one that is kept.
        oldest: Epoch,
        /// The newest one.
        newest: Epoch,
    },
    /// A generation must be kept as long as agents may need it.
    TooFewKept,
    /// The rows name another timeline than the one that was left: another server began a new line.
    OtherLine {
        /// The line that the caller knew.
        left: Option<TimelineId>,
    },
    /// What the caller made of the table doesn't fit the content that was judged: a bug.
    Inconsistent(&'static str),
    /// An object could not be made from what is stored.
    Object(ObjectError),
    /// Where an object or what a rollback undoes was to be written failed.
    Sink(std::io::Error),
    /// A guard that can't be, or isn't there; why.
    NoGuard(String),
    /// A verdict on something that is not the frozen candidate.
    NotCandidate {
        /// What the verdict was on.
        said: Digest,
        /// The candidate that is frozen, if one is.
        current: Option<Digest>,
    },
    /// A verdict of somebody who isn't asked for one.
    NoJudge(String),
    /// Anything else that the database says.
    Database(String),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use StoreError::*;
        match self {
            NewerSchema { found, known } => write!(
                f,
                "the database has schema version {found} and this program knows {known} at most: it was made \
                 by a newer version of Downbeat; run that version, or restore a backup made by this one"
            ),
            NotOurs => f.write_str("the file is a database of another program; name another file"),
            Damaged(what) => write!(f, "the database is damaged or none at all ({what}); restore a backup"),
            Full => f.write_str(
                "the disk of the database is full, nothing was written; free some space and try again",
            ),
            Busy => f.write_str(
                "another program holds the database (an open transaction in an SQL tool?), nothing was \
                 written; end that and try again",
            ),
            ReadOnly => f.write_str(
                "the database can't be written to; give the server write access to the file and its folder",
            ),
            Io(what) => write!(f, "reading or writing the database failed ({what}); check the disk"),
            NoFarm(farm) => {
                write!(
                    f,
                    "there is no farm {farm} here; make it (downbeat serve --farm {farm}), or correct the name"
                )
            }
            FarmExists(farm) => write!(f, "there is a farm {farm} already; take another name"),
            Settings(error) => error.fmt(f),
            Record { number, limit } => write!(f, "record {number}: {limit}; nothing was written"),
            DuplicateKey { number } => {
                write!(f, "record {number}: its key came before; give each key once; nothing was written")
            }
            NeverVisible { number } => write!(
                f,
                "record {number}: it expires before it is effective; correct one of the instants; nothing was \
                 written"
            ),
            Refused(what) => write!(f, "the database refuses this: {what}; nothing was written"),
            NotKept { epoch, oldest, newest } => write!(
                f,
                "generation {epoch} is not kept, {oldest} to {newest} are; ask for one of those, or keep more \
                 from now on (downbeat retention)"
            ),
            TooFewKept => f.write_str("at least 2 generations must be kept, the staged and the active one"),
            OtherLine { left: Some(left) } => write!(
                f,
                "the database no longer names timeline {}: another server took it over; stop one of the two",
                left.counter
            ),
            OtherLine { left: None } => {
                f.write_str("another server began a timeline in this database just now; stop one of the two")
            }
            Inconsistent(what) => {
                write!(f, "a bug in Downbeat: {what}; nothing was written, please report it")
            }
            Object(error) => {
                write!(f, "the stored generation makes no valid object: {error}; restore a backup")
            }
            Sink(error) => write!(
                f,
                "what was read could not be written to its file ({error}), nothing was changed; give the \
                 server room and the right to write there"
            ),
            NoGuard(why) => write!(f, "{why}; list the guards with 'downbeat guard', and correct this one"),
            NotCandidate { said, current: Some(current) } => write!(
                f,
                "{said} is not the candidate, that is {current} now; look at that one (downbeat gate) and say \
                 what you think of it"
            ),
            NotCandidate { said, current: None } => write!(
                f,
                "{said} is not the candidate, none is frozen; wait until one is (downbeat gate says when)"
            ),
            NoJudge(name) => write!(
                f,
                "{name} is not asked for a verdict in this farm; correct the name, or add it (downbeat gate set)"
            ),
            Database(what) => write!(f, "the database says: {what}"),
        }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StoreError::Settings(error) => Some(error),
            StoreError::Record { limit, .. } => Some(limit),
            StoreError::Object(error) => Some(error),
            StoreError::Sink(error) => Some(error),
            _ => None,
        }
    }
}

impl From<ObjectError> for StoreError {
    fn from(error: ObjectError) -> StoreError {
        StoreError::Object(error)
    }
}
