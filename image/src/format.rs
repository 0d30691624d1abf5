//! The bytes of a layer (FORMATS "image"): its numbers, and how a key leads to its record. The tail
//! with its tables is in `tail`.
//!
//! All integers are little endian. A *layer* is one file, either a whole generation (a *base*) or
//! what changed against the layer below it (an *overlay*):
//! ```text
//! "dwnimage"  u32 version = 3  u32 0
//! for each dataset with entries in this layer, ascending by name:
//!     entries, ascending by key:
//!         u16 length of the key, u32 length of the value, key, value     put
//!         u16 length of the key, u32 0xffffffff, key                     deleted (overlays only)
//!     zeros up to a multiple of 8
//!     fences: u64 offset of every 64th entry, counted from the dataset's first
//!     zeros up to a multiple of 64
//!     lines of 64 bytes, the hash index: of 8 slots each u16 tag, then of each 6 bytes (offset + 1), 0 if empty
//!     in an overlay, its filter: a word of 64 bits for every four entries
//! tail (see `tail`), which has a checksum for each 4 KiB block of everything before it
//! u64 position of the tail, 16 bytes layer id, "dwnimend"
//! ```
//! **The hash index.** The hash of a key is XXH3-64 with the layer's seed. A key is looked for from
//! line `hash × homes / 2⁶⁴` on, until a slot is empty; lines are filled from their front. The tag is
//! the hash's lowest 16 bits, so nearly every slot that isn't the key's is passed without a look at
//! its record. A line is one of the processor's cache too, so most lookups wait for memory twice, for
//! a line and for the record. The seed comes from the digest of the base, which nobody can choose
//! along with the keys; overlays have the seed of their base, so that a lookup hashes once.
//!
//! **The filter.** Most keys have no entry in an overlay, and shall cost one look there: at one word, in
//! which three bits are set for each key with an entry. One in a hundred of the others finds its three
//! bits set all the same; with one bit it would be one in sixteen, and each is a guess of the processor
//! that goes wrong, so that it waits for memory that it would else have asked for ahead.

use std::fmt;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Bytes in a block, the unit in which damage is looked for: a page of most systems, so that a first
/// read fetches and proves no more than it needs. Smaller ones would need a longer table, which is
/// read whole at opening.
pub const BLOCK: usize = 4_096;

/// Layers in the longest chain: a base and two overlays. A longer one would make staging cheaper
/// where little changes, and each lookup dearer.
pub const LAYERS_MAX: usize = 3;

pub(crate) const MAGIC: &[u8; 8] = b"dwnimage";
pub(crate) const END_MAGIC: &[u8; 8] = b"dwnimend";
pub(crate) const VERSION: u32 = 3;
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
/// Slots in a line.
pub(crate) const LINE: u64 = 8;
/// Bytes of a line's tags, before its offsets.
const TAGS: usize = 2 * LINE as usize;
/// Bytes of a line; the first starts at a multiple of it, and a block is one, so no line lies in two.
pub(crate) const LINE_BYTES: usize = 64;
pub(crate) const FENCES_ALIGN: usize = 8;
/// The largest offset of an entry within its dataset, in bytes.
pub(crate) const OFFSET_MAX: u64 = (1 << 48) - 2;

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

/// Homes, the lines that are some key's first, for so many entries: two thirds of the slots are
/// taken. Fuller ones overflow more often, emptier ones make a larger file.
pub(crate) fn homes(entries: u64) -> u64 {
    (entries + entries / 2).div_ceil(LINE).max(1)
}

/// The line from which on a hash is looked for; rises with the hash.
#[inline]
pub(crate) fn home(hash: u64, homes: u64) -> u64 {
    ((hash as u128 * homes as u128) >> 64) as u64
}

/// Words of an overlay's filter for so many entries: 16 bits for each.
pub(crate) fn filter_words(entries: u64) -> u64 {
    entries.div_ceil(4)
}

/// The bits that a key sets in its word of the filter: three, by parts of its hash that neither the
/// word's place nor the tag comes from.
#[inline]
pub(crate) fn filter_mask(hash: u64) -> u64 {
    1 << (hash >> 16 & 63) | 1 << (hash >> 22 & 63) | 1 << (hash >> 28 & 63)
}

/// Writes a slot of a line.
pub(crate) fn set_slot(line: &mut [u8; LINE_BYTES], at: usize, hash: u64, offset: u64) {
    line[2 * at..][..2].copy_from_slice(&(hash as u16).to_le_bytes());
    line[TAGS + 6 * at..][..6].copy_from_slice(&(offset + 1).to_le_bytes()[..6]);
}

/// The slots of a line that may be the hash's.
///
/// All at once and without a branch for each, because which one it is can't be foreseen: a processor
/// that guessed wrong would wait for the line before it could go on to anything else.
#[inline]
pub(crate) fn tagged(line: &[u8; LINE_BYTES], hash: u64) -> Slots {
    const ONES: u128 = 0x0001_0001_0001_0001_0001_0001_0001_0001;
    let (tags, _) = line.split_first_chunk().unwrap_or((&[0; TAGS], &[]));
    let other = u128::from_le_bytes(*tags) ^ (ONES * (hash & 0xffff) as u128);
    // The highest bit of each tag that is zero, and at times of one above it, which does no harm.
    Slots(other.wrapping_sub(ONES) & !other & (ONES << 15))
}

/// Slots of one line.
pub(crate) struct Slots(u128);

impl Iterator for Slots {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        let at = self.0.trailing_zeros() as usize / 16;
        self.0 &= self.0.wrapping_sub(1);
        (at < LINE as usize).then_some(at)
    }
}

/// The offset in a slot; `None` in an empty one.
#[inline]
pub(crate) fn offset_in(line: &[u8; LINE_BYTES], slot: usize) -> Option<u64> {
    // Six bytes of a slot, and two before them that are shifted out.
    let bytes = line.get(TAGS - 2 + 6 * slot..)?.first_chunk()?;
    (u64::from_le_bytes(*bytes) >> 16).checked_sub(1)
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
        let hash = 0xabcd_0000_0000_1234;
        for (at, offset) in [(0, 0), (3, 1), (7, OFFSET_MAX)] {
            let mut line = [0; LINE_BYTES];
            set_slot(&mut line, at, hash, offset);
            assert!(tagged(&line, hash).eq([at]));
            assert_eq!(offset_in(&line, at), Some(offset));
            assert_eq!(tagged(&line, hash + 1).count(), 0);
            assert_eq!((0..8).filter_map(|slot| offset_in(&line, slot)).count(), 1, "the others are empty");
        }
        let mut full = [0; LINE_BYTES];
        (0..8).for_each(|at| set_slot(&mut full, at, 0xffff_ffff, 7));
        assert!(tagged(&full, 0xffff).eq(0..8));
    }

    #[test]
    fn the_filter_lets_few_others_through() {
        let entries = 10_000u64;
        let mut words = vec![0; filter_words(entries) as usize];
        let place = |hash| home(hash, entries.div_ceil(4)) as usize;
        let hashes = |from: u64| (from..from + entries).map(|at: u64| hash(7, &at.to_le_bytes()));
        hashes(0).for_each(|hash| words[place(hash)] |= filter_mask(hash));
        let passes = |hash: &u64| words[place(*hash)] & filter_mask(*hash) == filter_mask(*hash);
        assert!(hashes(0).all(|hash| passes(&hash)));
        let others = hashes(entries).filter(passes).count();
        assert!((50..150).contains(&others), "{others} of 10,000");
    }

    #[test]
    fn homes_rise_with_the_hash_and_stay_inside() {
        let homes: Vec<u64> = (0..=64).map(|at| home((u64::MAX / 64) * at, 10)).collect();
        assert!(homes.is_sorted() && homes[0] == 0 && homes[64] == 9);
        assert_eq!(home(u64::MAX, u64::MAX), u64::MAX - 1);
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
