//! Chunks: the pieces of an object's file that can each be checked as they arrive, so that only what
//! is damaged or missing is fetched again (FORMATS "chunks").
//!
//! The name of a file is the root of BLAKE3's tree over its bytes. A *chunk* is 64 KiB of the file
//! (the last one may be shorter), and its *value* that of its subtree, 32 bytes. The list of the values
//! proves itself: [`ListCheck`] computes the name from it, so it may come from anywhere. Then
//! [`is_chunk`] checks each chunk against its value. A file of at most 64 KiB is one chunk, and its
//! value is the name itself, so nobody has to ask for that list.
//!
//! Here is arithmetic only; where the list and the chunks come from is the hosts' matter.

use crate::ids::Digest;
use blake3::Hasher;
use blake3::hazmat::{HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};
use core::fmt;
use heapless::Vec;

/// Bytes in a chunk; only the last one of a file may have fewer.
pub const CHUNK: u64 = 65_536;

/// Subtrees that wait for their right neighbour: one for each bit of a number of chunks.
const WAITING: usize = 49;

/// How many chunks a file of this length has. An empty file has one, which is empty.
pub fn chunks_of(len: u64) -> u64 {
    len.div_ceil(CHUNK).max(1)
}

/// Bytes in a chunk of a file of `len` bytes; `None` where the file has no such chunk.
pub fn chunk_len(len: u64, index: u64) -> Option<u64> {
    (index < chunks_of(len)).then(|| (len - index * CHUNK).min(CHUNK))
}

/// The value of a chunk of a file of `len` bytes. `bytes` are the whole chunk; `None` where they
/// aren't as many as that.
pub fn chunk_value(len: u64, index: u64, bytes: &[u8]) -> Option<Digest> {
    if chunk_len(len, index) != Some(bytes.len() as u64) {
        return None;
    }
    if len <= CHUNK {
        return Some(Digest(*blake3::hash(bytes).as_bytes()));
    }
    let mut hasher = Hasher::new();
    hasher.set_input_offset(index * CHUNK);
    hasher.update(bytes);
    Some(Digest(hasher.finalize_non_root()))
}

/// Whether these bytes are the chunk with this value, of a file of `len` bytes. `value` is from a list
/// that was checked.
pub fn is_chunk(len: u64, index: u64, value: Digest, bytes: &[u8]) -> bool {
    chunk_value(len, index, bytes) == Some(value)
}

/// A list of chunk values isn't that of the file. It is thrown away; the file itself may be whole.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ListError {
    /// It hasn't a value for each chunk.
    Length {
        /// Values that a file of this length has.
        needed: u64,
        /// Values that came; one that is too many ends the list.
        found: u64,
    },
    /// The values don't lead to the file's name.
    Name,
}

impl fmt::Display for ListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListError::Length { needed, found } => {
                write!(f, "the list has {found} chunk values, and an object of this length has {needed}")
            }
            ListError::Name => f.write_str("the chunk values don't lead to the object's name"),
        }
    }
}
impl core::error::Error for ListError {}

/// Checks a list of chunk values against a file's name, value by value, in memory that doesn't grow
/// with the list. In order: [`ListCheck::push`] for each value, [`ListCheck::finish`].
#[derive(Clone, Debug)]
pub struct ListCheck {
    len: u64,
    pushed: u64,
    /// Whole subtrees, the largest first: one for each bit of `pushed`, the last two not yet merged.
    waiting: Vec<[u8; 32], WAITING>,
}

impl ListCheck {
    /// For a file of this length.
    pub fn new(len: u64) -> ListCheck {
        ListCheck { len, pushed: 0, waiting: Vec::new() }
    }

    /// Takes the next value.
    ///
    /// # Errors
    /// [`ListError::Length`] for one too many.
    pub fn push(&mut self, value: Digest) -> Result<(), ListError> {
        let needed = chunks_of(self.len);
        let too_many = ListError::Length { needed, found: self.pushed.saturating_add(1) };
        if self.pushed >= needed {
            return Err(too_many);
        }
        // Only now is it known that what is merged here is not the root.
        while self.waiting.len() > self.pushed.count_ones() as usize {
            self.merge();
        }
        self.pushed += 1;
        self.waiting.push(value.0).map_err(|_| too_many)
    }

    /// Merges the two smallest subtrees, of which there are two.
    fn merge(&mut self) {
        if let (Some(right), Some(left)) = (self.waiting.pop(), self.waiting.pop()) {
            // There is room: two were taken.
            let _ = self.waiting.push(merge_subtrees_non_root(&left, &right, Mode::Hash));
        }
    }

    /// Ends the list: it is that of the file with this name, and every value in it is right.
    ///
    /// # Errors
    /// [`ListError`]; no value of the list is to be believed.
    pub fn finish(self, name: Digest) -> Result<(), ListError> {
        if self.root()? == name { Ok(()) } else { Err(ListError::Name) }
    }

    /// Ends the list and gives the name of the file that has these chunks: for whoever reads the file.
    ///
    /// # Errors
    /// [`ListError::Length`]: there are fewer values than chunks.
    pub fn root(mut self) -> Result<Digest, ListError> {
        let needed = chunks_of(self.len);
        if self.pushed != needed {
            return Err(ListError::Length { needed, found: self.pushed });
        }
        while self.waiting.len() > 2 {
            self.merge();
        }
        match self.waiting.as_slice() {
            [only] => Ok(Digest(*only)),
            [left, right] => Ok(Digest(*merge_subtrees_root(left, right, Mode::Hash).as_bytes())),
            _ => Err(ListError::Name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn file(len: u64) -> Vec<u8> {
        (0..len).map(|at| (at % 251) as u8 ^ (at >> 16) as u8).collect()
    }

    fn list(bytes: &[u8]) -> Vec<Digest> {
        let len = bytes.len() as u64;
        let chunk = |index: u64| {
            let from = (index * CHUNK) as usize;
            chunk_value(len, index, &bytes[from..bytes.len().min(from + CHUNK as usize)]).unwrap()
        };
        (0..chunks_of(len)).map(chunk).collect()
    }

    fn check(len: u64, name: Digest, list: &[Digest]) -> Result<(), ListError> {
        let mut check = ListCheck::new(len);
        list.iter().try_for_each(|value| check.push(*value))?;
        check.finish(name)
    }

    fn name(bytes: &[u8]) -> Digest {
        Digest(*blake3::hash(bytes).as_bytes())
    }

    #[test]
    fn the_list_of_a_file_of_any_number_of_chunks_leads_to_its_name() {
        for chunks in 0..=17 {
            for more in [0, 1, 1_023, 1_024, 1_025, CHUNK - 1] {
                let bytes = file(chunks * CHUNK + more);
                assert_eq!(
                    check(bytes.len() as u64, name(&bytes), &list(&bytes)),
                    Ok(()),
                    "{chunks} and {more}"
                );
            }
        }
    }

    #[test]
    fn a_small_file_is_its_own_list() {
        for len in [0, 1, CHUNK - 1, CHUNK] {
            let bytes = file(len);
            assert_eq!(list(&bytes), [name(&bytes)]);
        }
        assert_eq!(chunks_of(CHUNK + 1), 2);
        assert_eq!((chunk_len(CHUNK + 1, 1), chunk_len(CHUNK + 1, 2)), (Some(1), None));
    }

    #[test]
    fn a_list_that_is_not_the_files_is_refused() {
        let bytes = file(5 * CHUNK + 9);
        let (len, good) = (bytes.len() as u64, list(&bytes));
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at].0[at] ^= 1;
            assert_eq!(check(len, name(&bytes), &bad), Err(ListError::Name));
        }
        let mut swapped = good.clone();
        swapped.swap(1, 2);
        assert_eq!(check(len, name(&bytes), &swapped), Err(ListError::Name));
        assert_eq!(check(len, name(&bytes), &good[..5]), Err(ListError::Length { needed: 6, found: 5 }));
        let more: Vec<_> = good.iter().chain(&good[..1]).copied().collect();
        assert_eq!(check(len, name(&bytes), &more), Err(ListError::Length { needed: 6, found: 7 }));
        assert_eq!(check(len + CHUNK, name(&bytes), &more), Err(ListError::Name));
    }

    /// The longest files that there can be: nothing overflows.
    #[test]
    fn the_ends_of_a_length() {
        assert_eq!(chunks_of(u64::MAX), 1 << 48);
        assert_eq!(chunk_len(u64::MAX, (1 << 48) - 1), Some(CHUNK - 1));
        assert_eq!(chunk_value(u64::MAX, 0, &[]), None);
        let last = file(CHUNK - 1);
        assert!(chunk_value(u64::MAX, (1 << 48) - 1, &last).is_some());
    }

    proptest! {
        #[test]
        fn a_damaged_chunk_is_found_at_its_place(
            chunks in 0u64..5,
            more in 1u64..2_000,
            at in any::<prop::sample::Index>(),
            by in 1u8..,
        ) {
            let good = file(chunks * CHUNK + more);
            let (len, list) = (good.len() as u64, list(&good));
            let mut bad = good.clone();
            let at = at.index(bad.len());
            bad[at] ^= by;
            for (index, value) in list.iter().enumerate() {
                let from = index * CHUNK as usize;
                let to = bad.len().min(from + CHUNK as usize);
                let whole = is_chunk(len, index as u64, *value, &bad[from..to]);
                prop_assert_eq!(whole, !(from..to).contains(&at));
            }
        }
    }
}
