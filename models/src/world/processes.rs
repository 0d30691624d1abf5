//! Several server processes over one table (PROTOCOL §8, last paragraph). The database's clock is the
//! timeline; each process has a clock of its own and an enclosure of the database's, kept by core as an
//! agent's is. Every request takes one reading of that clock inside its transaction; a reading outside
//! of the enclosure changes nothing and begins a new timeline. What a process stamps comes from its
//! enclosure: r is the upper end at receipt, s the lower end at sending.

use super::{Packet, World};
use crate::actions::Action;
use crate::configuration::{Configuration, Kind};
use crate::record::Happened;
use downbeat_core::clock::{Enclosure, Sample, Sampled};
use downbeat_core::ids::TimelineId;
use downbeat_core::time::{LocalTime, ServerTime, Span};
use downbeat_core::timeline::OldLine;

/// One of several server processes.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Process {
    /// Whether it runs.
    pub up: bool,
    /// Its local clock less real time.
    pub offset: i64,
    /// The line that it last found in the table.
    pub line: TimelineId,
    /// What it knows of the database's clock: instants of `line` and of its local clock.
    pub clock: Enclosure,
}

impl World {
    /// The processes of a farm that has several; none where there is one.
    pub(super) fn begin_processes(&mut self, config: &Configuration) {
        if config.servers < 2 {
            return;
        }
        for place in 0..config.servers as usize {
            let process = self.fresh_process(config, -50 * (place as i64 + 1));
            self.processes.push(process);
            self.reads_clock(config, place);
        }
    }

    fn fresh_process(&self, config: &Configuration, offset: i64) -> Process {
        let granularity = Configuration::granularity(config.server_rate);
        let clock = Enclosure::new(config.server_rate, config.server_rate, granularity, config.guards);
        Process { up: true, offset, line: self.line().id, clock }
    }

    fn process_now(&self, place: usize) -> LocalTime {
        LocalTime::from_nanos(self.now + self.processes[place].offset)
    }

    /// What the database's clock shows.
    fn database_now(&self) -> ServerTime {
        self.server_now() + Span::from_nanos(self.server.astray)
    }

    /// A process reads the database's clock in a transaction; whether the reading is one to go by.
    pub(crate) fn reads_clock(&mut self, config: &Configuration, place: usize) -> bool {
        let (now, local, line) = (self.database_now(), self.process_now(place), self.line().id);
        let outside = self.reads_outside(place);
        let process = &mut self.processes[place];
        if process.line != line {
            process.line = line;
            process.clock.clear();
        }
        if outside {
            // A transaction under way holds the row: the new line has to wait for it.
            if self.server.committing.is_none() {
                self.begin_line_by_reading(config);
            }
            return false;
        }
        // The reading took some time: one process made it at the end of that time, the next one at its
        // beginning, so that the truth is at either end of an enclosure.
        let width = Span::from_nanos(config.server_epsilon);
        let (sent, arrived) =
            if place.is_multiple_of(2) { (local - width, local) } else { (local, local + width) };
        let sampled = process.clock.sample(Sample { sent, received: now, answered: now, arrived });
        debug_assert!(!matches!(sampled, Sampled::Broken | Sampled::Impossible));
        true
    }

    /// Whether a reading of the database's clock would be outside of what a process knows of it.
    pub(crate) fn reads_outside(&self, place: usize) -> bool {
        let (now, local) = (self.database_now(), self.process_now(place));
        let Process { up, line, clock, .. } = &self.processes[place];
        let below = clock.earliest(local).is_some_and(|earliest| now < earliest);
        let above = clock.latest(local).is_some_and(|latest| now > latest);
        *up && *line == self.line().id && (below || above)
    }

    fn begin_line_by_reading(&mut self, config: &Configuration) {
        self.record.note(Happened::ReadingOutside);
        let shift = std::mem::take(&mut self.server.astray);
        let old = OldLine::MarkStored(self.mark_found(config));
        self.server_begins_line(config, shift, old);
    }

    /// r of a transmission, at receipt: the upper end of what the process knows.
    pub(super) fn upper_end(&self, config: &Configuration, via: u8) -> ServerTime {
        let Some(process) = self.processes.get(via as usize) else {
            return self.server_now() + self.stamp_epsilon(config);
        };
        process.clock.latest(self.process_now(via as usize)).unwrap_or(ServerTime::MAX)
    }

    /// s of a transmission, at sending: the lower end.
    pub(super) fn lower_end(&self, config: &Configuration, via: u8) -> ServerTime {
        let Some(process) = self.processes.get(via as usize) else {
            return self.server_now() - self.stamp_epsilon(config);
        };
        process.clock.earliest(self.process_now(via as usize)).unwrap_or(ServerTime::MIN)
    }

    /// The line that a process knows; the server's, where there is one.
    pub(super) fn line_known(&self, via: u8) -> TimelineId {
        self.processes.get(via as usize).map_or(self.line().id, |process| process.line)
    }

    /// Whether anybody is there for what an agent sends.
    pub(super) fn listens(&self, via: u8) -> bool {
        self.processes.get(via as usize).map_or(self.server.up, |process| process.up)
    }

    /// Another process that runs.
    pub(crate) fn other_process(&self, via: u8) -> Option<u8> {
        let others = self.processes.iter().enumerate().filter(|(place, _)| *place != via as usize);
        others.filter(|(_, process)| process.up).map(|(place, _)| place as u8).next()
    }

    /// An agent's connection goes over to another process.
    pub(crate) fn go_over(&mut self, config: &Configuration, index: usize) {
        if let Some(other) = self.other_process(self.hosts[index].via) {
            self.hosts[index].via = other;
            self.connect(config, index);
        }
    }

    fn commits_through(&self, place: usize) -> bool {
        self.server.committing.as_ref().is_some_and(|under_way| under_way.request.via as usize == place)
    }

    /// Faults that concern one of several servers, or their database.
    pub(crate) fn process_fault_actions(&self, config: &Configuration, actions: &mut Vec<Action>) {
        for (place, process) in self.processes.iter().enumerate().filter(|(_, process)| process.up) {
            let commits = self.commits_through(place);
            let mut offer = |kind, choice| {
                if config.kinds.has(kind) {
                    actions.push(Action::Process(kind, place as u8, choice));
                }
            };
            offer(Kind::ProcessEnds, false);
            if commits {
                offer(Kind::ProcessEnds, true);
            } else if process.clock.is_known() {
                // A clock that jumps between r and s of one transmission isn't found out before s.
                offer(Kind::ProcessClock, false);
                offer(Kind::ProcessClock, true);
            }
        }
        let known = self.processes.iter().all(|process| process.up && process.line == self.line().id);
        if config.kinds.has(Kind::DatabaseClock) && !self.processes.is_empty() && known {
            let moves = [false, true].map(|ahead| Action::Process(Kind::DatabaseClock, 0, ahead));
            actions.extend(moves.into_iter().filter(|_| self.server.astray == 0));
        }
    }

    /// One of these faults.
    pub(crate) fn process_fault(&mut self, config: &Configuration, kind: Kind, place: usize, choice: bool) {
        let jump = if choice { config.jump } else { -config.jump };
        match kind {
            Kind::ProcessClock => {
                // Two clocks that jump alike look right to each other; that is left out.
                self.processes[place].offset += 2 * jump;
                self.record.note(Happened::ClockStepped);
            }
            Kind::DatabaseClock => {
                self.server.astray = jump;
                self.record.note(Happened::ClockStepped);
            }
            _ => self.process_ends(config, place, choice),
        }
    }

    /// A process ends: what was on its way to and from it is lost, its agents go over to another one.
    fn process_ends(&mut self, config: &Configuration, place: usize, committed: bool) {
        if self.commits_through(place) {
            if committed {
                self.commit(config, false);
            }
            self.server.committing = None;
        }
        self.processes[place].up = false;
        self.network.retain(|packet: &Packet| packet.via as usize != place);
        for index in 0..self.hosts.len() {
            if self.hosts[index].via as usize == place && !self.hosts[index].cut {
                self.go_over(config, index);
            }
        }
    }

    /// It is started again. Its first reading is compared with what a process that runs knows; where
    /// none runs, nobody can tell whether the database's clock went on as it was: a new line.
    pub(crate) fn process_starts(&mut self, config: &Configuration, place: usize) {
        let alone = self.processes.iter().all(|process| !process.up);
        if alone || self.server.astray != 0 {
            self.begin_line_by_reading(config);
        }
        self.processes[place] = self.fresh_process(config, self.processes[place].offset);
        self.reads_clock(config, place);
        for index in 0..self.hosts.len() {
            if !self.listens(self.hosts[index].via) && !self.hosts[index].cut {
                self.hosts[index].via = place as u8;
                self.connect(config, index);
            } else if self.hosts[index].agent.table().is_none() && !self.hosts[index].cut {
                self.connect(config, index);
            }
        }
    }
}
