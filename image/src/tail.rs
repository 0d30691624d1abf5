//! The tail of a layer: what generation it leads to, where each dataset's parts are, and the
//! checksums of its blocks. It is read and proven whole at opening; everything else only when it is
//! touched.
//!
//! ```text
//! 32 digest of the generation
//! u64 seed of the hash of keys
//! 16 id of the layer below, zeros in a base
//! u8 n, n × (u8 length, name)          the datasets that were selected, ascending; none: all of the farm
//! u8 n, n × of a dataset, ascending by name:
//!     u8 length, name
//!     32 sum, u64 count                 of its records in the whole generation (FORMATS "dataset digest")
//!     u64 bytes                         of their keys and values
//!     u64 entries in this layer
//!     u64 position and u64 length of its entries
//!     u64 position of its fences
//!     u64 position and u64 number of its lines, u64 number of homes, u64 words of the filter behind them
//! u64 checksum (XXH3-64) of each block of 4 KiB before the tail, the last one shorter
//! ```

use crate::format::{BLOCK, ENTRY_HEAD, FENCE_STEP, LINE_BYTES, LayerId, PREAMBLE};
use downbeat_core::content::{DatasetSum, FARM_DATASETS_MAX, generation_digest};
use downbeat_core::ids::{Digest, Name};

/// What the tail says, but for the checksums, which stay where they are.
#[derive(Clone, Debug)]
pub(crate) struct Tail {
    pub(crate) digest: Digest,
    pub(crate) seed: u64,
    pub(crate) below: LayerId,
    pub(crate) selection: Vec<Name>,
    pub(crate) tables: Vec<Table>,
}

/// One dataset, as a layer has it.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) name: Name,
    pub(crate) sum: DatasetSum,
    /// Of keys and values of its records in the whole generation.
    pub(crate) bytes: u64,
    pub(crate) part: Part,
}

/// Where a dataset's entries and its two indexes are; positions from the file's start, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Part {
    pub(crate) entries: u64,
    pub(crate) records_at: usize,
    pub(crate) records_len: usize,
    pub(crate) fences_at: usize,
    pub(crate) lines_at: usize,
    pub(crate) lines: usize,
    pub(crate) homes: u64,
    pub(crate) filter_words: u64,
}

impl Part {
    /// Bytes of keys and values, where nothing in it is deleted.
    pub(crate) fn content_bytes(&self) -> u64 {
        (self.records_len as u64).saturating_sub(self.entries.saturating_mul(ENTRY_HEAD as u64))
    }

    pub(crate) fn fences(&self) -> usize {
        self.entries.div_ceil(FENCE_STEP) as usize
    }

    /// The filter stands behind the lines.
    pub(crate) fn filter_at(&self) -> usize {
        self.lines_at.saturating_add(self.lines.saturating_mul(LINE_BYTES))
    }

    /// Whether all of it lies before the tail, and its numbers can be of one writing.
    fn fits(&self, tail_at: usize) -> bool {
        let end = |at: usize, number: usize, size: usize| number.checked_mul(size)?.checked_add(at);
        let inside = |end: Option<usize>| end.is_some_and(|end| end <= tail_at);
        self.records_at >= PREAMBLE
            && inside(end(self.records_at, self.records_len, 1))
            && inside(end(self.fences_at, self.fences(), 8))
            && inside(end(self.lines_at, self.lines, LINE_BYTES))
            && self
                .entries
                .checked_mul(ENTRY_HEAD as u64)
                .is_some_and(|least| least <= self.records_len as u64)
            && inside(end(self.filter_at(), usize::try_from(self.filter_words).unwrap_or(usize::MAX), 8))
            && self.lines_at.is_multiple_of(LINE_BYTES)
            && self.homes <= self.lines as u64
            && (self.entries == 0) == (self.homes == 0)
    }
}

impl Tail {
    /// Writes it, and the checksums after it.
    pub(crate) fn encode(&self, checksums: &[u64]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(self.digest.0);
        bytes.extend(self.seed.to_le_bytes());
        bytes.extend(self.below.0);
        bytes.push(self.selection.len() as u8);
        self.selection.iter().for_each(|name| push_name(&mut bytes, name));
        bytes.push(self.tables.len() as u8);
        for Table { name, sum, bytes: content, part } in &self.tables {
            push_name(&mut bytes, name);
            bytes.extend(sum.sum);
            let Part { entries, records_at, records_len, fences_at, lines_at, lines, homes, filter_words } =
                *part;
            for number in [
                sum.count,
                *content,
                entries,
                records_at as u64,
                records_len as u64,
                fences_at as u64,
                lines_at as u64,
                lines as u64,
                homes,
                filter_words,
            ] {
                bytes.extend(number.to_le_bytes());
            }
        }
        checksums.iter().for_each(|sum| bytes.extend(sum.to_le_bytes()));
        bytes
    }

    /// Reads it from the bytes between the blocks and the trailer, and gives with it where in them
    /// the checksums begin. `Err` says what is wrong.
    pub(crate) fn decode(bytes: &[u8], tail_at: usize) -> Result<(Tail, usize), &'static str> {
        let mut from = bytes;
        let tail = Tail::read(&mut from, tail_at).ok_or("its tables are cut off or out of bounds")?;
        if from.len() as u64 != tail_at.div_ceil(BLOCK) as u64 * 8 {
            return Err("its checksums don't match its length");
        }
        let names =
            |names: &mut dyn Iterator<Item = &Name>| names.collect::<Vec<_>>().is_sorted_by(|a, b| a < b);
        if !names(&mut tail.selection.iter()) || !names(&mut tail.tables.iter().map(|table| &table.name)) {
            return Err("its datasets are out of order");
        }
        if !tail.proves_digest() {
            return Err("its sums don't have the generation's digest");
        }
        Ok((tail, bytes.len() - from.len()))
    }

    /// Whether the sums have the generation's digest, as far as that can be told: of a selection it
    /// can't.
    pub(crate) fn proves_digest(&self) -> bool {
        let sums = self.tables.iter().map(|table| (&table.name, &table.sum));
        !self.selection.is_empty() || generation_digest(sums) == Ok(self.digest)
    }

    fn read(from: &mut &[u8], tail_at: usize) -> Option<Tail> {
        let digest = Digest(take(from)?);
        let seed = take_u64(from)?;
        let below = LayerId(take(from)?);
        let selection = (0..take_count(from)?).map(|_| take_name(from)).collect::<Option<_>>()?;
        let tables = (0..take_count(from)?).map(|_| take_table(from, tail_at)).collect::<Option<_>>()?;
        Some(Tail { digest, seed, below, selection, tables })
    }
}

fn take_table(from: &mut &[u8], tail_at: usize) -> Option<Table> {
    let name = take_name(from)?;
    let sum = DatasetSum { sum: take(from)?, count: take_u64(from)? };
    let bytes = take_u64(from)?;
    let entries = take_u64(from)?;
    let part = Part {
        entries,
        records_at: take_usize(from)?,
        records_len: take_usize(from)?,
        fences_at: take_usize(from)?,
        lines_at: take_usize(from)?,
        lines: take_usize(from)?,
        homes: take_u64(from)?,
        filter_words: take_u64(from)?,
    };
    part.fits(tail_at).then_some(Table { name, sum, bytes, part })
}

fn push_name(bytes: &mut Vec<u8>, name: &Name) {
    bytes.push(name.as_str().len() as u8);
    bytes.extend(name.as_str().as_bytes());
}

fn take<const N: usize>(from: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = from.split_first_chunk()?;
    *from = rest;
    Some(*taken)
}

fn take_u64(from: &mut &[u8]) -> Option<u64> {
    take(from).map(u64::from_le_bytes)
}

fn take_usize(from: &mut &[u8]) -> Option<usize> {
    take_u64(from)?.try_into().ok()
}

fn take_count(from: &mut &[u8]) -> Option<u8> {
    let [count] = take(from)?;
    (count as usize <= FARM_DATASETS_MAX).then_some(count)
}

fn take_name(from: &mut &[u8]) -> Option<Name> {
    let [len] = take(from)?;
    let (name, rest) = from.split_at_checked(len as usize)?;
    *from = rest;
    Name::new(std::str::from_utf8(name).ok()?).ok()
}
