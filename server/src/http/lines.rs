//! Lines of a file, one at a time, none of them without end.

use std::io::{BufRead, BufReader, Read};

/// Bytes in the longest line: the largest record, every byte of it escaped, and some room.
const LINE_MAX: usize = 1 << 20;

/// The lines that are not blank, with their numbers from 1. What can't be read is told once, and ends
/// it.
pub(super) struct Lines<R> {
    reader: BufReader<R>,
    line: u64,
    ended: bool,
}

impl<R: Read> Lines<R> {
    pub(super) fn new(file: R) -> Lines<R> {
        Lines { reader: BufReader::new(file), line: 0, ended: false }
    }

    /// The next line up to its end, or as much of it as is taken; whether that was all of it.
    fn read(&mut self) -> std::io::Result<(Vec<u8>, bool)> {
        let mut text = Vec::new();
        self.reader.by_ref().take(LINE_MAX as u64 + 1).read_until(b'\n', &mut text)?;
        if text.len() <= LINE_MAX {
            return Ok((text, true));
        }
        let mut ends = text.ends_with(b"\n");
        while !ends {
            let rest = self.reader.fill_buf()?;
            let end = rest.iter().position(|byte| *byte == b'\n');
            let len = end.map_or(rest.len(), |at| at + 1);
            ends = end.is_some() || rest.is_empty();
            self.reader.consume(len);
        }
        Ok((text, false))
    }
}

impl<R: Read> Iterator for Lines<R> {
    type Item = (u64, Result<Vec<u8>, String>);

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            self.line += 1;
            match self.read() {
                Ok((text, _)) if text.is_empty() => self.ended = true,
                Ok((text, true)) if text.trim_ascii().is_empty() => {}
                Ok((text, true)) => return Some((self.line, Ok(text))),
                Ok((_, false)) => {
                    let error = format!("the line has more than {LINE_MAX} bytes; a value has at most 65536");
                    return Some((self.line, Err(error)));
                }
                Err(error) => {
                    self.ended = true;
                    return Some((self.line, Err(format!("the file can't be read on ({error})"))));
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_numbered_and_a_long_one_is_passed_over() {
        let long = "x".repeat(LINE_MAX + 9);
        for (text, expected) in [
            ("a\n\n b\r\nc".to_owned(), vec![(1, true), (3, true), (4, true)]),
            (format!("a\n{long}\nb\n"), vec![(1, true), (2, false), (3, true)]),
            (long, vec![(1, false)]),
            (String::new(), vec![]),
        ] {
            let found: Vec<_> =
                Lines::new(text.as_bytes()).map(|(line, text)| (line, text.is_ok())).collect();
            assert_eq!(found, expected);
        }
    }
}
