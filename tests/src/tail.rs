//! A trace, read while its process writes it: what has certainly happened so far.

use downbeat_core::serving::Serving;
use downbeat_core::time::{LocalTime, Span};
use downbeat_trace::Line;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

/// What was read of a trace. Instants are of the host's clock as it is, whatever the process sees.
#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
    /// How many bytes were taken in: whole lines only.
    taken: u64,
    ahead: Span,
    lines: Vec<Line>,
}

impl Tail {
    /// Of a file that may be still to come.
    pub(crate) fn new(path: PathBuf) -> Tail {
        Tail { path, taken: 0, ahead: Span::ZERO, lines: Vec::new() }
    }

    /// All lines so far.
    ///
    /// # Panics
    /// A whole line isn't understood.
    pub fn lines(&mut self) -> &[Line] {
        let mut text = Vec::new();
        let read = File::open(&self.path).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.taken))?;
            file.read_to_end(&mut text)
        });
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        if read.is_ok() {
            self.taken += whole as u64;
            for line in text[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                let line = serde_json::from_slice::<Line>(line).expect("a line of a trace");
                if let Line::Begin { ahead, .. } = line {
                    self.ahead = ahead;
                }
                self.lines.push(line.without(self.ahead));
            }
        }
        &self.lines
    }

    /// The first read of a reader at or after an instant of the host's clock.
    pub fn first_read(&mut self, from: LocalTime) -> Option<(LocalTime, Serving)> {
        self.reads().find(|(at, _)| *at >= from)
    }

    /// The last read so far.
    pub fn last_read(&mut self) -> Option<(LocalTime, Serving)> {
        self.reads().last()
    }

    /// All reads so far, in their order.
    pub fn reads(&mut self) -> impl Iterator<Item = (LocalTime, Serving)> {
        self.lines().iter().filter_map(|line| match line {
            Line::Read { at, got, .. } => Some((*at, *got)),
            _ => None,
        })
    }
}
