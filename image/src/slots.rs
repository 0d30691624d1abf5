//! Building a hash index in bounded memory: pairs of hash and offset are parted by their hash as
//! they come, laid aside in a scratch file where they are many, and come out in the order of their
//! lines.

use crate::format::{LINE, LINE_BYTES, filter_mask, filter_words, home, homes, set_slot};
use crate::output::Output;
use crate::place::{Aside, Place};
use std::io::{self, Read, Seek, SeekFrom, Write};

/// Parts by the hash's highest bits; each is sorted by itself.
const PARTS: usize = 256;
/// Pairs that are held in memory at most, 16 bytes each, before they are laid aside.
const HELD_MAX: usize = 65_536;
const PAIR: usize = 16;

/// Hash of a key, offset of its entry.
type Pair = (u64, u64);

pub(crate) struct Pairs {
    parts: Vec<Part>,
    held: usize,
    most: usize,
    scratch: Option<Aside>,
    place: Place,
    number: u64,
}

#[derive(Default)]
struct Part {
    held: Vec<Pair>,
    /// Position and bytes of what was laid aside.
    aside: Vec<(u64, usize)>,
}

impl Pairs {
    pub(crate) fn new(place: &Place) -> Pairs {
        Pairs::with_most(place, HELD_MAX)
    }

    fn with_most(place: &Place, most: usize) -> Pairs {
        let parts = (0..PARTS).map(|_| Part::default()).collect();
        Pairs { parts, held: 0, most, scratch: None, place: place.clone(), number: 0 }
    }

    pub(crate) fn push(&mut self, hash: u64, offset: u64) -> io::Result<()> {
        if let Some(part) = self.parts.get_mut((hash >> 56) as usize) {
            part.held.push((hash, offset));
        }
        self.number += 1;
        self.held += 1;
        if self.held >= self.most { self.lay_aside() } else { Ok(()) }
    }

    fn lay_aside(&mut self) -> io::Result<()> {
        if self.scratch.is_none() {
            self.scratch = self.place.scratch()?;
        }
        let Some(scratch) = &mut self.scratch else {
            // There is no file to lay anything aside in: all of it stays in memory.
            self.most = usize::MAX;
            return Ok(());
        };
        let mut at = scratch.file.stream_position()?;
        let mut bytes = Vec::with_capacity(self.held * PAIR);
        for part in self.parts.iter_mut().filter(|part| !part.held.is_empty()) {
            let before = bytes.len();
            for (hash, offset) in part.held.drain(..) {
                bytes.extend(hash.to_le_bytes());
                bytes.extend(offset.to_le_bytes());
            }
            let len = bytes.len() - before;
            part.aside.push((at, len));
            at += len as u64;
        }
        self.held = 0;
        scratch.file.write_all(&bytes)
    }

    /// Writes the lines, then the filter if one is wanted.
    pub(crate) fn write(self, output: &mut Output, with_filter: bool) -> io::Result<Index> {
        let homes = homes(self.number);
        let words = if with_filter { filter_words(self.number) } else { 0 };
        let mut filter = vec![0; words as usize];
        let mut scratch = self.scratch;
        let mut lines = Lines { line: [0; LINE_BYTES], next: 0 };
        for part in self.parts {
            let mut pairs = part.held;
            if let Some(scratch) = &mut scratch {
                fetch(scratch, &part.aside, &mut pairs)?;
            }
            pairs.sort_unstable();
            for (hash, offset) in pairs {
                // Homes rise with the hash, so what is taken of this one already is an unbroken run.
                lines.fill_to((home(hash, homes) * LINE).max(lines.next), output)?;
                set_slot(&mut lines.line, (lines.next % LINE) as usize, hash, offset);
                lines.fill_to(lines.next + 1, output)?;
                if let Some(word) = filter.get_mut(home(hash, words) as usize) {
                    *word |= filter_mask(hash);
                }
            }
        }
        // At least one empty slot at the end, at which every search ends.
        let slots = (homes * LINE).max((lines.next + 1).next_multiple_of(LINE));
        lines.fill_to(slots, output)?;
        filter.iter().try_for_each(|word: &u64| output.put(&word.to_le_bytes()))?;
        Ok(Index { lines: slots / LINE, homes, filter_words: words })
    }
}

/// What was written.
pub(crate) struct Index {
    pub(crate) lines: u64,
    /// How many of the lines are homes.
    pub(crate) homes: u64,
    /// 0 where there is no filter.
    pub(crate) filter_words: u64,
}

/// The line that is being written, and the next slot of all.
struct Lines {
    line: [u8; LINE_BYTES],
    next: u64,
}

impl Lines {
    /// Goes on to a slot; lines that are passed are written.
    fn fill_to(&mut self, slot: u64, output: &mut Output) -> io::Result<()> {
        while self.next / LINE < slot / LINE {
            output.put(&self.line)?;
            self.line = [0; LINE_BYTES];
            self.next = (self.next / LINE + 1) * LINE;
        }
        self.next = slot;
        Ok(())
    }
}

fn fetch(scratch: &mut Aside, chunks: &[(u64, usize)], pairs: &mut Vec<Pair>) -> io::Result<()> {
    for (at, len) in chunks {
        let mut bytes = vec![0; *len];
        scratch.file.seek(SeekFrom::Start(*at))?;
        scratch.file.read_exact(&mut bytes)?;
        for pair in bytes.as_chunks::<PAIR>().0 {
            let pair = u128::from_le_bytes(*pair);
            pairs.push((pair as u64, (pair >> 64) as u64));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn written(place: &Place, most: usize, number: u64) -> (Vec<u8>, u64, u64) {
        let mut pairs = Pairs::with_most(place, most);
        for at in 0..number {
            pairs.push(at.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ at << 60, at).unwrap();
        }
        let mut output = Output::new(Place::Memory.begin().unwrap());
        let Index { lines, homes, filter_words } = pairs.write(&mut output, most > 10).unwrap();
        assert_eq!(filter_words, if most > 10 { number.div_ceil(4) } else { 0 });
        output.end_blocks().unwrap();
        match output.end(&[], &[]).unwrap() {
            crate::place::Sink::Memory(bytes) => (bytes, lines, homes),
            crate::place::Sink::File(_) => panic!("not in memory"),
        }
    }

    #[test]
    fn what_is_laid_aside_comes_out_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::Directory(directory.path().to_path_buf());
        let all = written(&Place::Memory, 10, 1_000);
        assert_eq!(all.0.len() as u64, all.1 * 64);
        assert!(all == written(&place, 10, 1_000));
        let filtered = written(&Place::Memory, 99, 1_000);
        assert!(filtered == written(&place, 999, 1_000) && filtered.0.starts_with(&all.0));
        let set: u32 = filtered.0[all.0.len()..].iter().map(|byte| byte.count_ones()).sum();
        assert!((2_400..=3_000).contains(&set), "{set} bits for 1,000 entries");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "nothing is left behind");
        let (_, lines, homes) = written(&place, 10, 0);
        assert_eq!((lines, homes), (1, 1));
    }
}
