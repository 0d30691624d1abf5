//! Digests of content (FORMATS "record digest", "dataset digest", "generation digest") and the
//! limits of a record.
//!
//! What a record is is decided here; how records travel is in `object`, where they are kept is the
//! hosts' matter. The protocol's machines compare digests and never look in here: content never
//! enters them.
//!
//! All integers are little endian. A *record digest* is BLAKE3-256 over
//! ```text
//! "downbeat record 1"                        17 bytes, no end mark
//! u32 length of the dataset's name, its bytes
//! u32 length of the key,            its bytes
//! u32 length of the value,          its bytes
//! ```
//! A *dataset sum* is the sum of the digests of its records, each read as a 256-bit number, modulo
//! 2²⁵⁶, with the number of records. The order of the records doesn't matter, so it is kept up with
//! each change instead of being computed again. A *generation digest* is BLAKE3-256 over
//! ```text
//! "downbeat generation 1"                    21 bytes, no end mark
//! for each dataset that has records, in ascending order of the bytes of its name:
//!     u32 length of the name, its bytes
//!     32 bytes sum
//!     u64 number of records
//! ```
//! A dataset without records is left out, so the same content always has the same digest.
//!
//! Sums find divergence. They are no defence against somebody who may choose records; objects are,
//! by their names.

use crate::ids::{Digest, Name};
use core::fmt;
use serde::{Deserialize, Serialize};

/// Bytes in the longest key.
pub const KEY_MAX: usize = 512;
/// Bytes in the longest value.
pub const VALUE_MAX: usize = 65_536;
/// Datasets in the largest generation.
pub const FARM_DATASETS_MAX: usize = 64;

const RECORD_TEXT: &[u8] = b"downbeat record 1";
const GENERATION_TEXT: &[u8] = b"downbeat generation 1";

/// A record is over a limit. Nothing was changed; whoever wrote the record has to shorten it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum LimitError {
    /// The key is longer than [`KEY_MAX`].
    Key {
        /// Its length in bytes.
        len: usize,
    },
    /// The value is longer than [`VALUE_MAX`].
    Value {
        /// Its length in bytes.
        len: usize,
    },
}

impl fmt::Display for LimitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LimitError::Key { len } => {
                write!(f, "the key is {len} bytes long and the limit is {KEY_MAX}; shorten it")
            }
            LimitError::Value { len } => write!(
                f,
                "the value is {len} bytes long and the limit is {VALUE_MAX}; shorten it, or split it over \
                 several keys"
            ),
        }
    }
}
impl core::error::Error for LimitError {}

/// Checks the lengths of a record. An empty key and an empty value are allowed.
///
/// # Errors
/// [`LimitError`] for the first of key and value that is too long.
pub fn check_record(key: &[u8], value: &[u8]) -> Result<(), LimitError> {
    if key.len() > KEY_MAX {
        return Err(LimitError::Key { len: key.len() });
    }
    if value.len() > VALUE_MAX {
        return Err(LimitError::Value { len: value.len() });
    }
    Ok(())
}

/// The digest of one record; the layout is in the module's doc.
pub fn record_digest(dataset: &Name, key: &[u8], value: &[u8]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(RECORD_TEXT);
    for field in [dataset.as_str().as_bytes(), key, value] {
        // Lengths are bounded by the limits; a longer field would only be cut in its length.
        hasher.update(&(field.len() as u32).to_le_bytes());
        hasher.update(field);
    }
    Digest(*hasher.finalize().as_bytes())
}

/// Bytes of the longest text that is put together on the stack to be hashed at once.
const SHORT: usize = 384;

/// A text that is put together on the stack.
struct Short {
    text: [u8; SHORT],
    len: usize,
}

impl Short {
    fn new() -> Short {
        Short { text: [0; SHORT], len: 0 }
    }
    /// `None` where it becomes too long.
    fn add(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.len.checked_add(bytes.len())?;
        self.text.get_mut(self.len..end)?.copy_from_slice(bytes);
        self.len = end;
        Some(())
    }
    fn add_field(&mut self, bytes: &[u8]) -> Option<()> {
        self.add(&(bytes.len() as u32).to_le_bytes())?;
        self.add(bytes)
    }
    fn digest(&self) -> Option<Digest> {
        Some(Digest(*blake3::hash(self.text.get(..self.len)?).as_bytes()))
    }
}

/// As [`record_digest`], for hosts with a small stack: without a hash's whole state, which has almost
/// 2 KiB. `None` where the record is too long for that.
#[inline(never)]
pub(crate) fn short_record_digest(dataset: &str, key: &[u8], value: &[u8]) -> Option<Digest> {
    let mut text = Short::new();
    text.add(RECORD_TEXT)?;
    [dataset.as_bytes(), key, value].into_iter().try_for_each(|field| text.add_field(field))?;
    text.digest()
}

/// As [`generation_digest`] of datasets that are in order, in the same way. `None` where they are too many
/// for that.
#[inline(never)]
pub(crate) fn short_generation_digest<'a>(
    datasets: impl IntoIterator<Item = (&'a str, DatasetSum)>,
) -> Option<Digest> {
    let mut text = Short::new();
    text.add(GENERATION_TEXT)?;
    for (name, DatasetSum { sum, count }) in datasets {
        text.add_field(name.as_bytes())?;
        text.add(&sum)?;
        text.add(&count.to_le_bytes())?;
    }
    text.digest()
}

/// The same of any number of datasets that are in order.
#[inline(never)]
pub(crate) fn long_generation_digest<'a>(
    datasets: impl IntoIterator<Item = (&'a str, DatasetSum)>,
) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(GENERATION_TEXT);
    for (name, DatasetSum { sum, count }) in datasets {
        hasher.update(&(name.len() as u32).to_le_bytes());
        hasher.update(name.as_bytes());
        hasher.update(&sum);
        hasher.update(&count.to_le_bytes());
    }
    Digest(*hasher.finalize().as_bytes())
}

/// The sum of the digests of a dataset's records, and how many they are. `add` and `remove`
/// commute, and each undoes the other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct DatasetSum {
    /// The sum modulo 2²⁵⁶, little endian.
    pub sum: [u8; 32],
    /// The number of records.
    pub count: u64,
}

impl DatasetSum {
    /// Of a dataset without records.
    pub const EMPTY: DatasetSum = DatasetSum { sum: [0; 32], count: 0 };

    /// Takes a record in. The caller knows that it isn't in yet.
    pub fn add(&mut self, record: Digest) {
        let mut carry = 0u16;
        for (byte, other) in self.sum.iter_mut().zip(record.0) {
            let total = *byte as u16 + other as u16 + carry;
            *byte = total as u8;
            carry = total >> 8;
        }
        self.count = self.count.wrapping_add(1);
    }

    /// Takes a record out. The caller knows that it is in.
    pub fn remove(&mut self, record: Digest) {
        let mut borrow = 0u16;
        for (byte, other) in self.sum.iter_mut().zip(record.0) {
            let total = 0x100 + *byte as u16 - other as u16 - borrow;
            *byte = total as u8;
            borrow = 1 - (total >> 8);
        }
        self.count = self.count.wrapping_sub(1);
    }

    /// Whether there are no records.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// The datasets of a generation are not in the one order that a digest is defined for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutOfOrder;

impl fmt::Display for OutOfOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "the datasets of a generation must come in ascending order, each once, none without records",
        )
    }
}
impl core::error::Error for OutOfOrder {}

/// Computes a generation's digest from its datasets, one after the other.
#[derive(Clone, Debug)]
pub struct GenerationHasher {
    hasher: blake3::Hasher,
    last: Option<Name>,
}

impl GenerationHasher {
    /// Of a generation without datasets.
    pub fn new() -> GenerationHasher {
        let mut new = GenerationHasher { hasher: blake3::Hasher::new(), last: None };
        new.hasher.update(GENERATION_TEXT);
        new
    }

    /// Takes the next dataset in.
    ///
    /// # Errors
    /// [`OutOfOrder`] where the name isn't greater than the one before or the dataset has no
    /// records; the hasher is unchanged.
    pub fn push(&mut self, dataset: &Name, sum: &DatasetSum) -> Result<(), OutOfOrder> {
        if sum.is_empty() || self.last.as_ref().is_some_and(|last| last >= dataset) {
            return Err(OutOfOrder);
        }
        let name = dataset.as_str().as_bytes();
        self.hasher.update(&(name.len() as u32).to_le_bytes());
        self.hasher.update(name);
        self.hasher.update(&sum.sum);
        self.hasher.update(&sum.count.to_le_bytes());
        self.last = Some(dataset.clone());
        Ok(())
    }

    /// The digest of what was taken in.
    pub fn finish(&self) -> Digest {
        Digest(*self.hasher.finalize().as_bytes())
    }
}

impl Default for GenerationHasher {
    fn default() -> GenerationHasher {
        GenerationHasher::new()
    }
}

/// The digest of a generation whose datasets come in ascending order. Those without records are
/// left out.
///
/// # Errors
/// [`OutOfOrder`] where a name isn't greater than the one before.
pub fn generation_digest<'a>(
    datasets: impl IntoIterator<Item = (&'a Name, &'a DatasetSum)>,
) -> Result<Digest, OutOfOrder> {
    let mut hasher = GenerationHasher::new();
    datasets
        .into_iter()
        .filter(|(_, sum)| !sum.is_empty())
        .try_for_each(|(name, sum)| hasher.push(name, sum))?;
    Ok(hasher.finish())
}

#[cfg(test)]
mod tests;
