//! Who writes a trace: hosts tell a [`Recorder`] what core was given and what it answered, before they
//! carry it out. Each line is one write to the file, so that a killed process leaves every line but
//! perhaps a part of its last one.
//!
//! A recorder never gets in a host's way: one that is off costs a comparison, and one that can't write
//! says so in the file, if it can, and writes nothing more. What a trace has to say is judged in
//! `replay`.

use crate::line::{Input, Line, VERSION};
use downbeat_core::agent::{Agent, Config, Start};
use downbeat_core::effect::Effects;
use downbeat_core::ids::Name;
use downbeat_core::time::{LocalTime, Span};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::Deref;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Writes a trace, or nothing. Clones write to the same file.
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    sink: Option<Arc<Mutex<Sink>>>,
}

#[derive(Debug)]
struct Sink {
    file: File,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Open,
    /// A line could not be written, nor that this is so.
    Failed,
    /// Nothing follows.
    Closed,
}

impl Recorder {
    /// A recorder that writes nothing.
    pub fn off() -> Recorder {
        Recorder::default()
    }

    /// Appends to a file, which is made where there is none. A trace grows for as long as its process
    /// runs.
    ///
    /// # Errors
    /// The file can't be opened or written.
    pub fn append(path: &Path) -> std::io::Result<Recorder> {
        let mut file = File::options().create(true).append(true).read(true).open(path)?;
        // A process that was killed may have left a part of a line.
        if file.metadata()?.len() > 0 {
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                file.write_all(b"\n")?;
            }
        }
        let mut sink = Sink { file, state: State::Open };
        sink.write(&Line::Begin { version: VERSION, host: host(), ahead: ahead() })?;
        Ok(Recorder { sink: Some(Arc::new(Mutex::new(sink))) })
    }

    /// Whether lines are written.
    pub fn is_on(&self) -> bool {
        self.sink.is_some()
    }

    /// Whether everything that was told so far was written.
    pub fn is_whole(&self) -> bool {
        self.sink().is_none_or(|sink| sink.state != State::Failed)
    }

    /// Writes a line, which is made only where it is wanted.
    pub fn tell(&self, line: impl FnOnce() -> Line) {
        let Some(mut sink) = self.sink() else { return };
        match sink.state {
            State::Closed => {}
            State::Open => {
                let line = line();
                if sink.write(&line).is_err() {
                    sink.state = State::Failed;
                }
            }
            State::Failed => sink.give_up(line().at()),
        }
    }

    /// Writes that the process ends in order.
    pub fn end(&self, at: LocalTime) {
        self.tell(|| Line::End { at });
        if let Some(mut sink) = self.sink() {
            sink.state = if sink.state == State::Open { State::Closed } else { sink.state };
        }
    }

    fn sink(&self) -> Option<MutexGuard<'_, Sink>> {
        self.sink.as_ref().map(|sink| sink.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Sink {
    fn write(&mut self, line: &Line) -> std::io::Result<()> {
        let mut text = serde_json::to_vec(line).map_err(std::io::Error::other)?;
        text.push(b'\n');
        self.file.write_all(&text)
    }

    /// Says that lines are missing; after that nothing is written.
    fn give_up(&mut self, at: Option<LocalTime>) {
        let at = at.unwrap_or(LocalTime::MIN);
        // What could not be written may have left a part of a line.
        if self.file.write_all(b"\n").and_then(|()| self.write(&Line::Incomplete { at })).is_ok() {
            self.state = State::Closed;
        }
    }
}

impl Line {
    /// When it happened, by the host's clock.
    pub fn at(&self) -> Option<LocalTime> {
        match self {
            Line::Begin { .. } => None,
            Line::Agent { at, .. }
            | Line::In { at, .. }
            | Line::Server { at, .. }
            | Line::Clock { at, .. }
            | Line::Found { at, .. }
            | Line::Over { at, .. }
            | Line::Made { at, .. }
            | Line::Transaction { at, .. }
            | Line::Answer { at, .. }
            | Line::Operated { at, .. }
            | Line::Committed { at, .. }
            | Line::Undone { at, .. }
            | Line::Read { at, .. }
            | Line::Look { to: at, .. }
            | Line::Scheduled { at, .. }
            | Line::Shown { at, .. }
            | Line::Fed { at, .. }
            | Line::Held { at, .. }
            | Line::End { at }
            | Line::Incomplete { at } => Some(*at),
        }
    }
}

/// The host's boot, so that traces of different ones aren't taken for traces of one. Zero where the
/// host names none.
fn host() -> u64 {
    let named = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = named.trim().chars().filter(|digit| *digit != '-').collect();
    u128::from_str_radix(&digits, 16).map_or(0, |number| (number >> 64) as u64 ^ number as u64)
}

/// How far this process sees the host's clock ahead of what it is: the time namespace's offset of the
/// clock that counts suspension, which is the one that agents and servers go by.
fn ahead() -> Span {
    let offsets = std::fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default();
    boottime_offset(&offsets).unwrap_or(Span::ZERO)
}

fn boottime_offset(offsets: &str) -> Option<Span> {
    let fields = offsets.lines().find_map(|line| line.trim().strip_prefix("boottime"))?;
    let mut fields = fields.split_whitespace().map(|field| field.parse::<i64>().ok());
    let (secs, nanos) = (fields.next()??, fields.next()??);
    Some(Span::from_secs(secs) + Span::from_nanos(nanos))
}

/// An agent's machine whose inputs and outputs are told to a recorder. Queries are the machine's own.
#[derive(Debug)]
pub struct Traced {
    agent: Agent,
    recorder: Recorder,
}

impl Traced {
    /// Makes the machine; `at` is the host's clock at `start.now`.
    pub fn new(recorder: Recorder, at: LocalTime, farm: &Name, config: Config, start: Start) -> Traced {
        recorder.tell(|| Line::Agent { at, farm: farm.clone(), config, start });
        Traced { agent: Agent::new(config, start), recorder }
    }

    /// Gives the machine an input. It is written down before the caller can carry its effects out.
    #[must_use]
    pub fn give(&mut self, at: LocalTime, now: LocalTime, input: &Input) -> Effects {
        let out = input.give(&mut self.agent, now);
        let life = self.agent.incarnation();
        self.recorder.tell(|| Line::In { at, life, now, input: input.clone(), out: out.clone() });
        out
    }

    /// Where it is told to.
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }
}

impl Deref for Traced {
    type Target = Agent;
    fn deref(&self) -> &Agent {
        &self.agent
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use downbeat_core::ids::{AgentId, Digest};

    fn end(at: i64) -> Line {
        Line::End { at: LocalTime::from_nanos(at) }
    }
    fn file(name: &str) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("downbeat-trace-{}-{name}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        path
    }

    #[test]
    fn a_torn_line_of_a_killed_process_gets_an_end_and_the_next_one_follows() {
        let path = file("torn");
        Recorder::append(&path).unwrap().tell(|| Line::Server {
            at: LocalTime::from_nanos(1),
            guards: Default::default(),
            rate: Default::default(),
            boot: Default::default(),
        });
        File::options().append(true).open(&path).unwrap().write_all(b"{\"committ").unwrap();
        Recorder::append(&path).unwrap().end(LocalTime::from_nanos(2));
        let replayed = crate::files(&[&path]).unwrap();
        assert_eq!(replayed.faults, []);
        assert_eq!((replayed.killed, replayed.torn, replayed.lines), (1, 1, 4));
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn the_offset_of_a_time_namespace_is_read() {
        let offsets = "monotonic        -250         0\nboottime         -300 500000000\n";
        assert_eq!(boottime_offset(offsets), Some(Span::from_millis(-299_500)));
        assert_eq!(boottime_offset(""), None);
        assert_eq!(boottime_offset("boottime 1"), None);
    }

    #[test]
    fn what_can_t_be_written_is_said_and_ends_the_trace() {
        let path = file("full");
        drop(Recorder::append(&path).unwrap());
        let sink = |file| Recorder { sink: Some(Arc::new(Mutex::new(Sink { file, state: State::Open }))) };
        // Nothing can be written to what is open for reading only.
        let recorder = sink(File::open(&path).unwrap());
        assert!(recorder.is_whole());
        recorder.tell(|| end(1));
        assert!(!recorder.is_whole());
        // Then it can again: it is said, and nothing follows.
        recorder.sink().unwrap().file = File::options().append(true).open(&path).unwrap();
        recorder.tell(|| end(2));
        recorder.tell(|| end(3));
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.ends_with("{\"incomplete\":{\"at\":2}}\n"), "{text}");
        let faults = crate::files(&[&path]).unwrap().faults;
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].detail.contains("could not write"));
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn ids_are_written_as_digits_and_read_as_numbers_too() {
        let digest = Digest([0xa7; 32]);
        let text = serde_json::to_string(&digest).unwrap();
        assert_eq!(text, format!("\"{}\"", "a7".repeat(32)));
        assert_eq!(serde_json::from_str::<Digest>(&text).unwrap(), digest);
        let numbers = serde_json::to_string(&vec![167; 32]).unwrap();
        assert_eq!(serde_json::from_str::<Digest>(&numbers).unwrap(), digest);
        let id: AgentId = serde_json::from_str(&format!("\"{}\"", "0f".repeat(16))).unwrap();
        assert_eq!(id, AgentId([15; 16]));
        for bad in
            ["\"a7\"", "[1,2]", "7", &format!("\"{}\"", "A7".repeat(32)), &format!("\"{}\"", "é".repeat(32))]
        {
            assert!(serde_json::from_str::<Digest>(bad).is_err(), "{bad}");
        }
    }
}
