//! The bytes of a layer (FORMATS "image"): its numbers, and how a key leads to its record. The tail
//! with its tables is in `tail`.
//!
//! All integers are little endian. A *layer* is one file, either a whole generation (a *base*) or
//! what changed against the layer below it (an *overlay*):
//! ```text
//! "dwnimage"  u32 version = 1  u32 0
//! for each dataset with entries in this layer, ascending by name:
//!     entries, ascending by key:
//!         u16 length of the key, u32 length of the value, key, value     put
//!         u16 length of the key, u32 0xffffffff, key                     deleted (overlays only)
//!     zeros up to a multiple of 8
//!     fences: u64 offset of every 64th entry, counted from the dataset's first
//!     zeros up to a multiple of 64
//!     slots: the hash index, u64 each: 16 bits of the hash above 48 bits of (offset + 1); 0 is empty
//! tail (see `tail`), which has a checksum for each 64 KiB block of everything before it
//! u64 position of the tail, 16 bytes layer id, "dwnimend"
//! ```
//! **The hash index.** The hash of a key is XXH3-64 with the layer's seed. It is looked for from
//! slot `hash × capacity / 2⁶⁴` on, until a slot is empty; the 16 bits in a slot are the hash's
//! lowest, so nearly every slot that isn't the key's is passed without a look at its record. The
//! seed comes from the digest of the base, which nobody can choose along with the keys; overlays
//! have the seed of their base, so that a lookup hashes once.

use std::fmt;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Bytes in a block, the unit in which damage is looked for. Larger ones cost a first read more,
/// smaller ones need a longer table, which is read whole at opening.
pub const BLOCK: usize = 65_536;

/// Layers in the longest chain: a base and three overlays.
pub const LAYERS_MAX: usize = 4;

pub(crate) const MAGIC: &[u8; 8] = b"dwnimage";
pub(crate) const END_MAGIC: &[u8; 8] = b"dwnimend";
pub(crate) const VERSION: u32 = 1;
/// Magic, version, zero.
pub(crate) const PREAMBLE: usize = 16;
/// Position of the tail, layer id, magic.
pub(crate) const TRAILER: usize = 8 + 16 + 8;
/// Lengths of key and value, before an entry.
pub(crate) const ENTRY_HEAD: usize = 2 + 4;
/// The length of a value that isn't there: the key is deleted.
pub(crate) const DELETED: u32 = u32::MAX;
/// Entries between two fences.
pub(crate) const FENCE_STEP: u64 = 64;
/// Slots start where a line of the processor's cache does, so that no slot lies in two.
pub(crate) const SLOTS_ALIGN: usize = 64;
pub(crate) const FENCES_ALIGN: usize = 8;
/// Bits of a slot that hold the offset.
const OFFSET_BITS: u32 = 48;
/// The largest offset of an entry within its dataset, in bytes.
pub(crate) const OFFSET_MAX: u64 = (1 << OFFSET_BITS) - 2;

/// The identity of a layer: the first 16 bytes of BLAKE3 over its tail, which has the checksums of
/// everything else, and the identity of the layer below.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct LayerId(pub [u8; 16]);

impl fmt::Display for LayerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl LayerId {
    /// What a base names as the layer below.
    pub(crate) const NONE: LayerId = LayerId([0; 16]);

    pub(crate) fn of_tail(tail: &[u8]) -> LayerId {
        LayerId(*blake3::hash(tail).as_bytes().first_chunk().unwrap_or(&[0; 16]))
    }

    /// Reads what `Display` writes.
    pub fn parse(text: &str) -> Option<LayerId> {
        let mut id = [0; 16];
        let digits = text.as_bytes();
        if digits.len() != 2 * id.len() {
            return None;
        }
        let digit = |digit: u8| match digit {
            b'0'..=b'9' => Some(digit - b'0'),
            b'a'..=b'f' => Some(digit - b'a' + 10),
            _ => None,
        };
        for (byte, pair) in id.iter_mut().zip(digits.as_chunks::<2>().0) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(LayerId(id))
    }
}

/// The checksum of a block.
pub(crate) fn checksum(block: &[u8]) -> u64 {
    xxh3_64(block)
}

/// The hash of a key.
#[inline]
pub(crate) fn hash(seed: u64, key: &[u8]) -> u64 {
    xxh3_64_with_seed(key, seed)
}

/// Slots for so many entries: two thirds are taken. Fuller ones make longer runs to walk along,
/// emptier ones a larger file.
pub(crate) fn capacity(entries: u64) -> u64 {
    (entries + entries / 2).max(1)
}

/// The slot from which on a hash is looked for; rises with the hash.
#[inline]
pub(crate) fn position(hash: u64, capacity: u64) -> u64 {
    ((hash as u128 * capacity as u128) >> 64) as u64
}

/// A slot's value.
pub(crate) fn slot(hash: u64, offset: u64) -> u64 {
    hash << OFFSET_BITS | (offset + 1)
}

/// The offset in a slot that may be the hash's. The slot isn't empty.
#[inline]
pub(crate) fn offset_if(slot: u64, hash: u64) -> Option<u64> {
    (slot >> OFFSET_BITS == hash & 0xffff).then(|| (slot & ((1 << OFFSET_BITS) - 1)).wrapping_sub(1))
}

/// Bytes missing up to a multiple of `align`.
pub(crate) fn padding(at: u64, align: usize) -> usize {
    (at.next_multiple_of(align as u64) - at) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_gives_its_offset_to_its_hash_only() {
        for offset in [0, 1, OFFSET_MAX] {
            let of = slot(0xabcd_0000_0000_1234, offset);
            assert_eq!(offset_if(of, 0x1234), Some(offset));
            assert_eq!(offset_if(of, 0x1235), None);
            assert_ne!(of, 0, "an empty slot is no entry's");
        }
    }

    #[test]
    fn positions_rise_with_the_hash_and_stay_inside() {
        let positions: Vec<u64> = (0..=64).map(|at| position((u64::MAX / 64) * at, 10)).collect();
        assert!(positions.is_sorted() && positions[0] == 0 && positions[64] == 9);
        assert_eq!(position(u64::MAX, u64::MAX), u64::MAX - 1);
    }

    #[test]
    fn an_id_is_read_as_it_is_written() {
        let id = LayerId([0x0f; 16]);
        assert_eq!(LayerId::parse(&id.to_string()), Some(id));
        for bad in ["", "0f", &"0F".repeat(16), &"0g".repeat(16), &"0f".repeat(17)] {
            assert_eq!(LayerId::parse(bad), None, "{bad}");
        }
    }
}
