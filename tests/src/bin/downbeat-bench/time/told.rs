//! What a process tells of its measurements: lines of a word, what it is about (a version, an epoch) and
//! whole numbers. Written by the child, read by the parent.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

/// What one process told.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Told(BTreeMap<String, BTreeMap<u64, Vec<i64>>>);

impl Told {
    /// Notes numbers under a word, about something; what was noted of it before is replaced.
    pub(crate) fn note(&mut self, word: &str, about: u64, numbers: &[i64]) {
        self.0.entry(word.to_string()).or_default().insert(about, numbers.to_vec());
    }

    /// Takes a line in. False where it isn't one.
    pub(crate) fn read(&mut self, line: &str) -> bool {
        let mut words = line.split_ascii_whitespace();
        let (Some(word), Some(Ok(about))) = (words.next(), words.next().map(str::parse)) else {
            return false;
        };
        let numbers: Result<Vec<i64>, _> = words.map(str::parse).collect();
        numbers.map(|numbers| self.note(word, about, &numbers)).is_ok()
    }

    /// Everything that was told under a word.
    pub(crate) fn of(&self, word: &str) -> impl Iterator<Item = (u64, &[i64])> {
        self.0.get(word).into_iter().flatten().map(|(about, numbers)| (*about, numbers.as_slice()))
    }

    /// The numbers that were told under a word, about something, if there are so many.
    pub(crate) fn numbers<const N: usize>(&self, word: &str, about: u64) -> Option<[i64; N]> {
        self.0.get(word)?.get(&about)?.as_slice().try_into().ok()
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (word, all) in &self.0 {
            for (about, numbers) in all {
                write!(f, "{word} {about}")?;
                numbers.iter().try_for_each(|number| write!(f, " {number}"))?;
                f.write_char('\n')?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let mut told = Told::default();
        told.note("wake", 3, &[17]);
        told.note("wake", 4, &[-5]);
        told.note("reads", 3, &[1, 2, 3]);
        let mut read = Told::default();
        assert!(told.to_string().lines().all(|line| read.read(line)));
        assert_eq!(read, told);
        assert_eq!(read.numbers("wake", 4), Some([-5]));
        assert_eq!(read.numbers::<2>("wake", 4), None);
        assert_eq!(read.of("reads").count(), 1);
        for not in ["", "wake", "wake x 1", "wake 1 x", "wake -1 2", "wake 1 9223372036854775808"] {
            assert!(!read.read(not), "{not:?}");
        }
        assert_eq!(read, told);
    }
}
