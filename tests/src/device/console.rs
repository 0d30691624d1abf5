//! The console of a board: a request is a line, its answer is a line with the same number; what begins
//! with a star the board says by itself. Each answer is bracketed by the host's clock.

use crate::processes::PATIENCE;
use downbeat_agent::Clock;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long an answer may take; a board that is reset never answers.
const ANSWERED: Duration = Duration::from_secs(3);
/// With which word a life of a board begins.
const BOOT: &str = "boot";

/// A console; clones are the same one, and ask one after the other.
#[derive(Clone, Debug, Default)]
pub struct Console(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    stream: Option<UnixStream>,
    number: u64,
    /// What came and is no whole line yet.
    begun: Vec<u8>,
    /// What the board said by itself, without the stars.
    said: Vec<String>,
}

/// An answer and when it was given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asked {
    /// The host's clock before the request was sent, in nanoseconds.
    pub before: i64,
    /// The host's clock after the answer had come.
    pub after: i64,
    /// The answer's words.
    pub words: Vec<String>,
    /// In which life of the board it was given, from 1.
    pub life: usize,
}

/// An answer to a read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// A generation is served.
    Served {
        /// Its number.
        epoch: u64,
        /// Whether it is marked stale.
        stale: bool,
        /// The look at the board's clock that justified it, in nanoseconds of that clock.
        looked: i64,
        /// What was asked for: a value, or the digest of all records.
        value: String,
        /// The generation's digest, where that of the records was asked for.
        generation: Option<String>,
    },
    /// Nothing is served; the board's word for why.
    Not(String),
}

impl Console {
    /// Sends a request and waits for its answer; `None` where none comes: the board is off, or was reset.
    pub fn ask(&self, request: &str) -> Option<Asked> {
        let mut state = self.lock();
        state.number += 1;
        let (number, line) = (state.number.to_string(), format!("{} {request}\n", state.number));
        let clock = Clock::host();
        let before = clock.now().as_nanos();
        state.stream.as_ref()?.write_all(line.as_bytes()).ok()?;
        let until = Instant::now() + ANSWERED;
        loop {
            let (line, after) = state.line(until)?;
            let mut words = line.split(' ').map(str::to_owned);
            if words.next() == Some(number.clone()) {
                let life = state.said.iter().filter(|said| said.starts_with(BOOT)).count();
                return Some(Asked { before, after, words: words.collect(), life });
            }
        }
    }

    /// Asks for a record's value, or with `digest` for the digest of all records that one read gets.
    pub fn read(&self, request: &str) -> Option<(Asked, Answer)> {
        let asked = self.ask(request)?;
        let words: Vec<&str> = asked.words.iter().map(String::as_str).collect();
        let answer = match words.as_slice() {
            [freshness @ ("current" | "stale"), epoch, looked, value, generation @ ..] => Answer::Served {
                epoch: epoch.parse().ok()?,
                stale: *freshness == "stale",
                looked: looked.parse().ok()?,
                value: (*value).to_owned(),
                generation: generation.first().map(|digest| (*digest).to_owned()),
            },
            [why @ ("held" | "fenced" | "nothing"), ..] => Answer::Not((*why).to_owned()),
            _ => panic!("the board answers {request:?} with {words:?}"),
        };
        Some((asked, answer))
    }

    /// A value of its status.
    ///
    /// # Panics
    /// Its status has no such value.
    pub fn status(&self, name: &str) -> Option<String> {
        let asked = self.ask("status")?;
        let value =
            asked.words.iter().find_map(|word| Some(word.strip_prefix(name)?.strip_prefix('=')?.to_owned()));
        Some(value.unwrap_or_else(|| panic!("no {name} in {asked:?}")))
    }

    /// What it said by itself so far, as far as it was heard while somebody asked.
    pub fn said(&self) -> Vec<String> {
        self.lock().said.clone()
    }

    /// What it said by itself in each of its lives so far.
    pub fn said_by_life(&self) -> Vec<Vec<String>> {
        let mut lives: Vec<Vec<String>> = Vec::new();
        for said in self.said() {
            if said.starts_with(BOOT) {
                lives.push(Vec::new());
            }
            lives.last_mut().into_iter().for_each(|life| life.push(said.clone()));
        }
        lives
    }

    /// Nothing went wrong on the board so far.
    pub(super) fn assert_sound(&self) {
        let panicked = self.said().into_iter().find(|said| said.starts_with("panic"));
        assert_eq!(panicked, None, "the firmware fell over");
    }

    /// Returns how much it had said before.
    pub(super) fn connect(&self, stream: UnixStream) -> usize {
        let mut state = self.lock();
        state.begun.clear();
        state.stream = Some(stream);
        state.said.len()
    }

    pub(super) fn disconnect(&self) {
        self.lock().stream = None;
    }

    /// Waits for the word with which a board begins, after all that was heard before.
    pub(super) fn wait_for_boot(&self, heard: usize) {
        let mut state = self.lock();
        let until = Instant::now() + PATIENCE;
        while !state.said[heard..].iter().any(|said| said.starts_with(BOOT)) {
            assert!(Instant::now() < until, "the board doesn't say that it started: {:?}", state.said);
            state.line(Instant::now() + Duration::from_millis(100));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The next line that is an answer, and when it had come.
    fn line(&mut self, until: Instant) -> Option<(String, i64)> {
        loop {
            let after = Clock::host().now().as_nanos();
            while let Some(end) = self.begun.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.begun.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line).trim().to_owned();
                match line.strip_prefix("* ") {
                    Some(said) => self.said.push(said.to_owned()),
                    None if line.is_empty() => {}
                    None => return Some((line, after)),
                }
            }
            let left = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
            let stream = self.stream.as_mut()?;
            stream.set_read_timeout(Some(left)).ok()?;
            let mut chunk = [0; 1024];
            let len = stream.read(&mut chunk).ok().filter(|len| *len > 0)?;
            self.begun.extend_from_slice(&chunk[..len]);
        }
    }
}
