//! Clocks that are wrong: rate errors within the stated bounds, of the hosts' clocks and of the
//! server's line; and steps that break those bounds, with the two ways in which they are found out:
//! by samples that contradict each other, and by a second source that the host has (PROTOCOL §2).
//!
//! What is promised after a broken assumption (PROTOCOL §6): from its detection on a host breaks
//! nothing. Until then its reads are excused, and counted as such.

use super::World;
use crate::configuration::{Configuration, Kind};
use crate::record::{Broken, Happened};
use downbeat_core::message::{Reply, Stamp};
use downbeat_core::time::{ServerTime, Span};

impl World {
    /// The rate errors of a tick that has just gone by.
    pub(super) fn err_in_rate(&mut self) {
        for host in &mut self.hosts {
            if host.error != 0 {
                // A stutter is a tick missed that the next one brings back.
                let stutters = host.error < -1;
                host.offset += host.error.signum() as i64;
                host.last_error = Some(self.now);
                host.error = if stutters { 1 } else { 0 };
            }
        }
        if self.server.error != 0 {
            let line = self.lines.last_mut().expect("there is always a line");
            line.offset += self.server.error as i64;
            self.server.last_error = Some(self.now);
            self.server.error = 0;
        }
    }

    /// Whether the server's line may gain or miss the tick that is next.
    pub(crate) fn line_may_err(&self, config: &Configuration, kind: Kind) -> bool {
        if config.fine.is_some() {
            return self.server.error != if kind == Kind::ServerSlow { -1 } else { 1 };
        }
        let rest = Configuration::ticks_per_error(config.server_rate);
        self.server.error == 0 && self.server.last_error.is_none_or(|last| self.now + 1 - last >= rest)
    }

    /// A host's clock jumps. What its suspended reader loaded is of the clock before.
    pub(crate) fn step_clock(&mut self, index: usize, by: i64) {
        let host = &mut self.hosts[index];
        host.offset += by;
        host.astray = true;
        if let Some(reader) = &mut host.reader {
            reader.excused = true;
        }
        if by < 0 {
            // What was seen before doesn't bound what is seen after a time that went back.
            self.record.seen[index] = 0;
        }
        self.record.note(Happened::ClockStepped);
    }

    /// The server's line jumps; nobody is told. What was seen before doesn't bound what is seen after
    /// a time that went back.
    pub(crate) fn step_line(&mut self, config: &Configuration, by: i64) {
        let (now, line) = (self.server_now(), self.lines.len() as u16 - 1);
        self.lines.last_mut().expect("there is always a line").offset += by;
        // What the table names as active was live, and stays so on a line that went back.
        let staged = self.server.store.table.epoch();
        for live in self.record.goes_live.iter_mut().filter(|live| live.line == line) {
            if live.generation.epoch < staged && live.at.passed(now) {
                live.at = live.at.min(now + Span::from_nanos(by));
            }
        }
        self.forget_older_lines(now + Span::from_nanos(by), line);
        // The mark is as wrong as the line until it is stored again; that is done at once, so that
        // the break is one of the agents' assumptions alone.
        self.store_mark(config);
        for host in &mut self.hosts {
            host.astray = true;
            if let Some(reader) = &mut host.reader {
                reader.excused = true;
            }
        }
        if by < 0 {
            self.record.seen.fill(0);
            self.record.seen_strict = 0;
        }
        self.record.note(Happened::ClockStepped);
    }

    /// Where a line went ahead, what had gone live on it did so earlier, by real time: maybe earlier than
    /// what an older line had live, which doesn't go live once more for that.
    fn forget_older_lines(&mut self, now: ServerTime, line: u16) {
        let of_line = self.record.goes_live.iter().filter(|live| live.line == line && live.at.passed(now));
        let Some(first) = of_line.map(|live| self.real(live)).min() else { return };
        for place in 0..self.record.goes_live.len() {
            let live = self.record.goes_live[place];
            let real = self.real(&live);
            if live.line < line && first < real && real <= self.now {
                self.record.goes_live[place].at = live.at - Span::from_nanos(real - first);
            }
        }
    }

    /// The second source of an agent's host finds that the clock can't be trusted as it was.
    pub fn clock_found(&mut self, config: &Configuration, index: usize) {
        let now = self.local_now(index);
        let effects = self.hosts[index].agent.clock_broke(now);
        self.carry_out(config, index, effects, None);
    }

    /// The agent says that an assumption about clocks broke. If none did, S12 is broken.
    pub(super) fn clock_break_detected(&mut self, index: usize) {
        if !self.hosts[index].astray {
            self.record.clock_broken = true;
        }
        self.hosts[index].astray = false;
        self.record.note(Happened::Detected);
    }

    /// An exchange that took no time at all shows any enclosure that is wrong for what it is: after it
    /// a broken clock is found, or the enclosure is right. By a clock that is read in steps no exchange can
    /// be seen to take no time.
    pub(super) fn demand_detection(&mut self, config: &Configuration, index: usize, reply: &Reply<u16>) {
        if config.step() > Span::ZERO {
            return;
        }
        let Stamp { echo, received, answered, .. } = reply.stamp;
        let exact = echo == self.local_now(index) && received == answered && answered == self.server_now();
        if exact && self.hosts[index].astray && !self.is_enclosed(index) {
            self.record.break_(Broken::BreakDetected);
        }
    }

    /// Whether the server's time is inside what an agent knows of it (S12).
    pub fn is_enclosed(&self, index: usize) -> bool {
        let host = &self.hosts[index];
        let local = self.local_now(index);
        let clock = host.agent.clock();
        let (Some(earliest), Some(latest), Some(line)) =
            (clock.earliest(local), clock.latest(local), host.agent.timeline())
        else {
            return true;
        };
        self.line_time(line, self.now).is_some_and(|time| earliest <= time && time <= latest)
    }

    /// Whether a clock of an agent's host may go wrong now.
    pub(crate) fn clock_may_fail(&self, config: &Configuration, kind: Kind, index: usize) -> bool {
        let host = &self.hosts[index];
        match kind {
            Kind::ClockAhead | Kind::ClockBack => !host.astray && host.overlap.is_none(),
            Kind::Slow if config.fine.is_some() => host.error > -1,
            Kind::Fast if config.fine.is_some() => host.error < 1,
            _ => {
                let rest = Configuration::ticks_per_error(config.rate);
                host.error == 0 && host.last_error.is_none_or(|last| self.now + 1 - last >= rest)
            }
        }
    }
}
