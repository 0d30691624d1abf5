//! Objects: immutable files of records, named by their digest, by which generations travel
//! (FORMATS "object"; PROTOCOL §4 `Route`, steps 234 to 238).
//!
//! Here are the format and its errors; [`Writer`] and [`Reader`] have a file each, and so have the head
//! of the form in which objects travel compressed ([`packed`]) and the pieces in which a file is checked
//! as it arrives ([`chunks`]), and the reading of a snapshot that lies in memory as a whole ([`in_place`]).
//! Which object an agent needs is a route's matter, storing and compressing objects the hosts'. Applying
//! a delta to a base is not here either: the reader checks a delta's form, and whoever applies it compares
//! the sums that come out with [`Reader::manifest`].
//!
//! The bytes, all integers little endian:
//! ```text
//! "downbeat"  u8 version = 1
//! u8 base: 0 for a snapshot, or 1 and  u64 epoch, 32 bytes digest   of the generation it starts from
//! u64 epoch, 32 bytes digest                                        of the generation it leads to
//! u8 number of datasets in the manifest, and for each, ascending by name:
//!     u8 length of the name, its bytes, 32 bytes sum, u64 number of records
//! sections, ascending by name:
//!     u8 1, u8 length of the dataset's name, its bytes
//!     records, ascending by key:
//!         u8 2, u16 length of the key, u32 length of the value, key, value      put
//!         u8 3, u16 length of the key, key                                      delete (no snapshot has one)
//! u8 0
//! ```
//! The manifest is that of the whole target generation, so that its digest proves it; the sections
//! may be those of some datasets only (an agent that subscribed to some). A section of a snapshot
//! is whole: its records have the sum that the manifest names. An object has one form only: no
//! section is empty, nothing follows the end mark.
//!
//! The name of an object is BLAKE3-256 of these bytes. A packed object is a file with a name of its own.

use crate::content::{DatasetSum, LimitError};
use crate::ids::{Digest, Generation, Name};
use core::fmt;

pub mod chunks;
pub mod in_place;
pub mod packed;
mod reader;
mod writer;

pub use packed::{Form, HeadReader, PackedError, PackedHead};
pub use reader::{Expected, Reader, Record, Summary};
pub use writer::Writer;

/// The version of the format that is written and read.
pub const OBJECT_VERSION: u8 = 1;

const MAGIC: &[u8; 8] = b"downbeat";
const SNAPSHOT: u8 = 0;
const DELTA: u8 = 1;
const END: u8 = 0;
const SECTION: u8 = 1;
const PUT: u8 = 2;
const DELETE: u8 = 3;

/// One dataset of a generation, as a manifest lists it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ManifestEntry {
    /// Its name.
    pub dataset: Name,
    /// Its records' sum and number; never empty.
    pub sum: DatasetSum,
}

/// Why an object is not taken, or not written. A reader's error is final: the object is thrown away
/// and fetched again, and what it gave out before is worth nothing. A writer's is a bug or damage
/// in the store that it writes from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ObjectError {
    /// It doesn't begin like an object.
    Magic,
    /// Its version is not read here.
    Version {
        /// The version found.
        found: u8,
    },
    /// Neither a snapshot nor a delta.
    BaseMark {
        /// The byte found.
        found: u8,
    },
    /// It starts from another generation than expected (or from one, or from none).
    WrongBase,
    /// It leads to another generation than expected.
    WrongTarget,
    /// More datasets than this reader was made for, or than a farm may have.
    TooManyDatasets,
    /// A dataset's name breaks the rule for names.
    BadName,
    /// The manifest is not ascending by name, or lists a dataset without records.
    ManifestOrder,
    /// The manifest doesn't have the target's digest.
    ManifestDigest,
    /// A byte that marks nothing.
    UnknownMark {
        /// The byte found.
        found: u8,
    },
    /// A record outside of any section.
    NoSection,
    /// Sections are not ascending by name.
    SectionOrder,
    /// A section without records.
    EmptySection,
    /// A section puts records into a dataset that the manifest doesn't list.
    UnknownDataset,
    /// Keys of a section are not ascending.
    KeyOrder,
    /// A record is over a limit.
    Limit(LimitError),
    /// A record is within the limits, and the reader's buffer is too small for it.
    BufferTooSmall {
        /// Bytes that would do for this record.
        needed: usize,
    },
    /// A snapshot deletes something.
    DeleteInSnapshot,
    /// A section's records don't have the sum that the manifest names.
    WrongSum,
    /// A dataset that was asked for has no section in the snapshot.
    MissingDataset,
    /// Something follows the end mark.
    TrailingBytes,
    /// The bytes ended before the end mark.
    Truncated,
    /// The bytes don't have the object's name.
    WrongName,
}

impl fmt::Display for ObjectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cause = match self {
            ObjectError::Version { found } => {
                return write!(
                    f,
                    "the object has version {found}, and {OBJECT_VERSION} is what is read here"
                );
            }
            ObjectError::BaseMark { found } => {
                return write!(
                    f,
                    "the object is damaged: {found} is neither a snapshot's mark nor a delta's"
                );
            }
            ObjectError::UnknownMark { found } => {
                return write!(f, "the object is damaged: {found} marks nothing");
            }
            ObjectError::Limit(limit) => return write!(f, "a record of the object is over a limit: {limit}"),
            ObjectError::BufferTooSmall { needed } => {
                return write!(f, "a record doesn't fit here; a buffer of {needed} bytes would do");
            }
            ObjectError::Magic => "these bytes are no object",
            ObjectError::WrongBase => "the object starts from another generation than expected",
            ObjectError::WrongTarget => "the object leads to another generation than expected",
            ObjectError::TooManyDatasets => "the object lists more datasets than are taken here",
            ObjectError::BadName => "the object is damaged: a dataset's name breaks the rule for names",
            ObjectError::ManifestOrder => {
                "the object is damaged: its manifest is out of order or lists an empty dataset"
            }
            ObjectError::ManifestDigest => {
                "the object is damaged: its manifest doesn't have the generation's digest"
            }
            ObjectError::NoSection => "the object is damaged: a record stands outside of any dataset",
            ObjectError::SectionOrder => "the object is damaged: its datasets are out of order",
            ObjectError::EmptySection => "the object is damaged: a dataset's section is empty",
            ObjectError::UnknownDataset => {
                "the object is damaged: it has a dataset that its manifest doesn't list"
            }
            ObjectError::KeyOrder => "the object is damaged: its keys are out of order",
            ObjectError::DeleteInSnapshot => "the object is damaged: a snapshot deletes a record",
            ObjectError::WrongSum => "the object is damaged: a dataset's records don't have its sum",
            ObjectError::MissingDataset => "the object lacks a dataset that was asked for",
            ObjectError::TrailingBytes => "the object is damaged: bytes follow its end",
            ObjectError::Truncated => "the object ends too early",
            ObjectError::WrongName => "the object is damaged: its bytes don't have its name; fetch it again",
        };
        f.write_str(cause)
    }
}
impl core::error::Error for ObjectError {}

/// The section that is being read or written: order and sum of its records.
#[derive(Clone, Debug)]
struct Section {
    dataset: Name,
    /// What the manifest says of it; `None` where it isn't listed (or isn't looked at).
    listed: Option<DatasetSum>,
    /// The sum of the puts so far; kept up for snapshots only.
    sum: DatasetSum,
    records: u64,
}

impl Section {
    /// Checks a section that ends.
    fn end(&self, snapshot: bool) -> Result<(), ObjectError> {
        if self.records == 0 {
            return Err(ObjectError::EmptySection);
        }
        if snapshot && self.listed.is_some_and(|listed| listed != self.sum) {
            return Err(ObjectError::WrongSum);
        }
        Ok(())
    }
}

/// The key before, for the order of keys.
#[derive(Clone, Default, Debug)]
struct LastKey(Option<heapless::Vec<u8, { crate::content::KEY_MAX }>>);

impl LastKey {
    /// Takes the next key of a section.
    fn follow(&mut self, key: &[u8]) -> Result<(), ObjectError> {
        if self.0.as_ref().is_some_and(|last| last.as_slice() >= key) {
            return Err(ObjectError::KeyOrder);
        }
        let kept = heapless::Vec::from_slice(key);
        self.0 = Some(kept.map_err(|_| ObjectError::Limit(LimitError::Key { len: key.len() }))?);
        Ok(())
    }
}

/// Bytes from which [`ends_of`] can always tell.
pub const ENDS_MAX: usize = 90;

/// What an object that begins with these bytes says that it leads from (nothing, where it is a
/// snapshot) and to. Unproven: for telling files apart.
///
/// # Errors
/// It doesn't begin like an object, or [`ObjectError::Truncated`].
pub fn ends_of(beginning: &[u8]) -> Result<(Option<Generation>, Generation), ObjectError> {
    let (head, rest) = beginning.split_at_checked(MAGIC.len() + 2).ok_or(ObjectError::Truncated)?;
    let (magic, marks) = head.split_at(MAGIC.len());
    if magic != MAGIC {
        return Err(ObjectError::Magic);
    }
    let (base, rest) = match *marks {
        [OBJECT_VERSION, SNAPSHOT] => (None, rest),
        [OBJECT_VERSION, DELTA] => {
            let (base, rest) = rest.split_at_checked(40).ok_or(ObjectError::Truncated)?;
            (Some(generation_of(base)), rest)
        }
        [OBJECT_VERSION, found] => return Err(ObjectError::BaseMark { found }),
        _ => return Err(ObjectError::Version { found: marks.first().copied().unwrap_or(0) }),
    };
    Ok((base, generation_of(rest.get(..40).ok_or(ObjectError::Truncated)?)))
}

/// A generation as it stands in an object.
fn generation_bytes(generation: &Generation) -> [u8; 40] {
    let mut bytes = [0; 40];
    bytes[..8].copy_from_slice(&generation.epoch.to_le_bytes());
    bytes[8..].copy_from_slice(&generation.digest.0);
    bytes
}

/// The inverse of [`generation_bytes`]; missing bytes are zero.
fn generation_of(bytes: &[u8]) -> Generation {
    let mut epoch = [0; 8];
    let mut digest = Digest::default();
    for (to, from) in epoch.iter_mut().chain(digest.0.iter_mut()).zip(bytes) {
        *to = *from;
    }
    Generation { epoch: u64::from_le_bytes(epoch), digest }
}

#[cfg(test)]
mod tests;
