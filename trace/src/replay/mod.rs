//! The replay: every line of the given traces is fed to core or compared with what core says, and what
//! readers saw is put together for the judge. Nothing is left over: a line that can't be accounted for
//! is a fault.

mod agent;
mod clocks;
mod ledger;
mod readers;
mod script;
mod server;

use crate::fault::{CONFORMS, FORMAT, Fault, Verdicts};
use crate::file::{self, Place, Process};
use crate::judge;
use crate::judge::history::History;
use crate::line::Line;
use agent::Life;
use clocks::Moment;
use downbeat_core::ids::{Incarnation, Name};
use readers::Readers;
use server::Servers;
use std::collections::BTreeMap;
use std::path::Path;

/// What a replay came to.
#[derive(Debug, Default)]
pub struct Replayed {
    /// Lines that were consumed.
    pub lines: usize,
    /// Lives of agents, those of servers' own ones included.
    pub lives: usize,
    /// Inputs of agents that core answered as recorded.
    pub inputs: u64,
    /// Transactions, answers and operators' changes that core made again.
    pub steps: u64,
    /// Comparisons of the true time with an agent's enclosure.
    pub enclosed: u64,
    /// Reads of readers.
    pub reads: u64,
    /// Processes that were killed, and how many of them while they wrote a line.
    pub killed: usize,
    /// See there.
    pub torn: usize,
    /// What could not be judged, and why.
    pub notes: Vec<String>,
    /// What readers saw and when generations went live, as the judge had it: farm by farm.
    pub histories: BTreeMap<Name, History>,
    /// How often each property was looked at, by its id and name; those that never were are left out.
    pub judged: BTreeMap<&'static str, u64>,
    /// What is wrong, at most ten of a kind; nothing where all is well.
    pub faults: Vec<Fault>,
}

/// Replays and judges traces of one host, together.
///
/// # Errors
/// A file can't be read.
pub fn files(paths: &[impl AsRef<Path>]) -> std::io::Result<Replayed> {
    let read = |path: &Path| {
        let named = |error: std::io::Error| {
            std::io::Error::new(
                error.kind(),
                format!("{}: {error}; name a trace that can be read", path.display()),
            )
        };
        // A torn end may end within a character.
        std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).map_err(named)
    };
    let texts = paths.iter().map(|path| read(path.as_ref())).collect::<std::io::Result<Vec<_>>>()?;
    Ok(texts_of(&texts.iter().map(String::as_str).collect::<Vec<_>>()))
}

/// Replays and judges traces as they stand in files.
pub fn texts_of(texts: &[&str]) -> Replayed {
    let mut verdicts = Verdicts::default();
    let mut host = None;
    let mut processes: Vec<Process> = Vec::new();
    for (number, text) in texts.iter().enumerate() {
        processes.extend(file::read(number, text, &mut host, &mut verdicts.faults));
    }
    // Servers first, one after the other: agents are compared with them.
    processes.sort_by_key(|process| (!process.serves(), process.begin()));
    let mut replay = Replay { verdicts, ..Replay::default() };
    replay.told.killed = processes.iter().filter(|process| !process.ended).count();
    replay.told.torn = processes.iter().filter(|process| process.torn).count();
    for process in &processes {
        process.lines.iter().for_each(|(place, line)| replay.server_line(*place, line));
        replay.servers.process_ends();
    }
    for process in &processes {
        process.lines.iter().for_each(|(place, line)| replay.agent_line(*place, line));
    }
    replay.compare_answers();
    for process in &processes {
        process.lines.iter().for_each(|(place, line)| replay.reader_line(*place, line));
    }
    replay.told.lines = processes.iter().map(|process| process.lines.len() + 1).sum();
    replay.finish()
}

/// A replay under way.
#[derive(Default)]
struct Replay {
    servers: Servers,
    lives: BTreeMap<Incarnation, Life>,
    readers: Readers,
    told: Replayed,
    verdicts: Verdicts,
}

impl Replay {
    fn server_line(&mut self, place: Place, line: &Line) {
        self.servers.line(place, line, &mut self.verdicts);
    }

    fn agent_line(&mut self, place: Place, line: &Line) {
        match line {
            Line::Agent { at, farm, config, start } => {
                let life = Life::begin(*at, farm.clone(), *config, *start);
                if self.lives.insert(start.incarnation, life).is_some() {
                    let text = format!("the life {:016x} begins twice", start.incarnation.0);
                    self.verdicts.push(Fault::at(FORMAT, place, text));
                }
            }
            Line::In { at, life, now, input, out } => {
                let Some(of) = self.lives.get_mut(life) else {
                    let text = format!("an input of the life {:016x}, which never began", life.0);
                    return self.verdicts.push(Fault::at(FORMAT, place, text));
                };
                let moment = Moment { host: *at, local: *now };
                of.input(place, moment, input, out, &self.servers.clocks, &mut self.verdicts);
                self.told.inputs += u64::from(!of.lost);
            }
            // Before any sight of it, whichever file that is in.
            Line::Scheduled { farm, record, from, until, after, .. } => {
                self.readers.scheduled(farm, record, (*from, *until, *after));
            }
            Line::Fed { at, farm, from, records } => self.readers.fed(farm, *from, *at, *records),
            _ => {}
        }
    }

    /// What agents were answered is what servers answered.
    fn compare_answers(&mut self) {
        for life in self.lives.values_mut() {
            life.end(&mut self.verdicts);
            for (place, got, reply) in &life.replies {
                if let Err(text) = self.servers.gave(&life.farm, life.config.agent, reply, *got) {
                    self.verdicts.push(Fault::at(CONFORMS, *place, format!("{}: {text}", life.who())));
                }
            }
        }
    }

    fn reader_line(&mut self, place: Place, line: &Line) {
        match line {
            Line::Read { at, life, reader, now, got, records } => {
                let moment = Moment { host: *at, local: *now };
                let of = self.lives.get(life);
                self.told.reads += 1;
                self.readers.read(place, (*life, *reader), of, moment, (*got, *records), &mut self.verdicts);
            }
            Line::Look { .. } => self.readers.look(line),
            Line::Shown { farm, record, generation, shown, .. } => {
                let Replay { readers, servers, verdicts, .. } = self;
                readers.shown(place, farm, record, *generation, *shown, servers, verdicts);
            }
            Line::Held { life, generation, records, unscheduled, .. } => {
                let Some(of) = self.lives.get(life) else {
                    let text = format!("content of the life {:016x}, which never began", life.0);
                    return self.verdicts.push(Fault::at(FORMAT, place, text));
                };
                let (found, restored) = ((*records, *unscheduled), self.servers.restored);
                self.readers.held(place, of, *generation, found, restored, &mut self.verdicts);
            }
            _ => {}
        }
    }

    fn finish(mut self) -> Replayed {
        self.told.lives = self.lives.len();
        self.told.steps = self.servers.steps;
        self.told.enclosed = self.lives.values().map(|life| life.enclosed).sum();
        self.told.histories = self.readers.histories(&self.lives, &self.servers);
        if self.servers.restored {
            let note = "a restore or a start that was vouched for: epochs' numbers may be used again, so reads are \
                        compared with plans only";
            self.told.notes.push(note.to_owned());
        } else {
            for (farm, history) in &self.told.histories {
                for (check, verdict) in judge::all(history) {
                    self.verdicts.looked(check, verdict.looked);
                    let wrong = verdict.faults.into_iter();
                    let faults = wrong.map(|text| Fault::of(check, format!("farm {farm}: {text}")));
                    self.verdicts.faults.extend(faults);
                }
            }
        }
        self.told.judged = self.verdicts.judged;
        self.told.judged.retain(|_, times| *times > 0);
        self.told.faults = few(self.verdicts.faults);
        self.told
    }
}

/// At most ten of a kind.
fn few(faults: Vec<Fault>) -> Vec<Fault> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let few = faults.into_iter().filter(|fault| {
        let count = counts.entry(fault.check).or_default();
        *count += 1;
        *count <= 10
    });
    few.collect()
}
