//! The server's time: the farm's timeline over the host's clock, continued or begun anew at the
//! start, and its mark renewed ahead (PROTOCOL §8). The arithmetic, and what a new line does to a
//! table, are core's `timeline`; here is the order in which things are read, stored and used.

use crate::clock::HostClock;
use crate::config::StartAs;
use crate::store::{Store, StoreError};
use crate::witness::Witness;
use downbeat_core::guard::Guards;
use downbeat_core::ids::TimelineId;
use downbeat_core::time::{LocalTime, Rate, ServerTime};
use downbeat_core::timeline::{Line, OldLine, begin_line};
use downbeat_trace::{How, Line as Trace, Recorder};
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// The clock's row as this shell stores it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct StoredClock {
    pub(crate) line: Line,
    /// Which file it was stored in. A copy of the database is another file.
    pub(crate) file: String,
}

/// How the line came to be in force.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TakenUp {
    /// The database had none.
    First,
    /// The same line as before, exactly.
    Continued,
    /// A new line after another one.
    Begun,
}

/// Why the line was not taken up.
#[derive(Debug)]
pub(crate) enum LineError {
    /// The database is not the file that was served last.
    Copied,
    Store(StoreError),
    Random(std::io::Error),
}

impl From<StoreError> for LineError {
    fn from(error: StoreError) -> LineError {
        LineError::Store(error)
    }
}

/// One reading of the server's time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Reading {
    pub(crate) timeline: TimelineId,
    pub(crate) time: ServerTime,
    /// The host's clock, of which the time was made.
    pub(crate) local: LocalTime,
    /// Whether it may be given out: it is not beyond the mark.
    pub(crate) allowed: bool,
}

/// What tells a database from a copy or an older state of it.
pub(crate) struct Place {
    /// Which file it is.
    pub(crate) file: String,
    pub(crate) witness: Witness,
}

impl Place {
    /// Whether what is stored is what was served here last.
    fn is_of(&self, timeline: TimelineId, stored: &StoredClock) -> bool {
        self.file == stored.file && !self.witness.contradicts(timeline, stored.line.mark.until)
    }
}

/// The line in force. Cheap to read, from any thread.
pub(crate) struct Time {
    clock: Arc<dyn HostClock>,
    timeline: TimelineId,
    line: RwLock<Line>,
    place: Place,
    rate: Rate,
    recorder: Recorder,
    /// Another server took the database over: this one's time is worth nothing any more.
    lost: AtomicBool,
}

impl Time {
    /// Continues the stored line, or begins a new one in one transaction with every farm's table.
    /// Nothing is answered before this.
    pub(crate) fn take_up(
        store: &mut impl Store,
        clock: Arc<dyn HostClock>,
        place: Place,
        start_as: StartAs,
        rate: Rate,
        guards: Guards,
        recorder: Recorder,
    ) -> Result<(Time, TakenUp), LineError> {
        let stored = store.clock::<StoredClock>()?;
        recorder.tell(|| Trace::Server { at: clock.local(), guards, rate, boot: clock.boot() });
        let make = |timeline, line, place| {
            let (lost, recorder) = (AtomicBool::new(false), recorder.clone());
            Time { clock: clock.clone(), timeline, line: RwLock::new(line), place, rate, recorder, lost }
        };
        let old = match (&stored, start_as) {
            (_, StartAs::Vouched) => OldLine::Vouched,
            (None, _) | (Some(_), StartAs::Restored) => OldLine::Unknown,
            (Some((_, stored)), StartAs::Moved) => OldLine::MarkStored(stored.line.mark),
            (Some((timeline, stored)), StartAs::Ordinary) => {
                if !place.is_of(*timeline, stored) {
                    return Err(LineError::Copied);
                }
                if continues(&stored.line, &*clock) {
                    let time = make(*timeline, stored.line, place);
                    time.tell(clock.local(), How::Continued, stored.line);
                    time.renew(store)?;
                    return Ok((time, TakenUp::Continued));
                }
                OldLine::MarkStored(stored.line.mark)
            }
        };
        let left = stored.as_ref().map(|(timeline, _)| *timeline);
        let timeline = TimelineId {
            counter: left.map_or(1, |left| left.counter.saturating_add(1)),
            random: getrandom::u64().map_err(|error| LineError::Random(std::io::Error::other(error)))?,
        };
        let now = clock.local();
        let wall = clock.wall();
        let line = Line::begin(clock.boot(), now, wall);
        let time = make(timeline, line, place);
        time.tell(now, How::Begun { wall }, line);
        let place = &time.place;
        let stored_clock = StoredClock { line, file: place.file.clone() };
        let mut gone_over = Vec::new();
        store.begin_line(left, timeline, &stored_clock, |table| {
            let over = begin_line(table, timeline, old, line.at(now), rate, guards);
            let (at, now) = (now, line.at(now));
            recorder.tell(|| Trace::Over { at, old, now, before: table.clone(), table: over.clone() });
            gone_over.push(table.farm.clone());
            over
        })?;
        for farm in gone_over {
            recorder.tell(|| Trace::Committed { at: clock.local(), farm });
        }
        place.witness.note(timeline, line.mark.until);
        let taken = if left.is_none() { TakenUp::First } else { TakenUp::Begun };
        Ok((time, taken))
    }

    /// A line comes into force. Told before a time of it is given out.
    fn tell(&self, at: LocalTime, how: How, line: Line) {
        self.recorder.tell(|| Trace::Clock { at, timeline: self.timeline, how, line });
    }

    /// Where core's inputs and outputs are told to.
    pub(crate) fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// The host's local time: what stamps are taken in.
    pub(crate) fn local(&self) -> LocalTime {
        self.clock.local()
    }

    /// Which boot local instants belong to.
    pub(crate) fn boot(&self) -> downbeat_core::ids::BootId {
        self.clock.boot()
    }

    /// The timeline of every farm here.
    pub(crate) fn timeline(&self) -> TimelineId {
        self.timeline
    }

    /// ρ_s.
    pub(crate) fn rate(&self) -> Rate {
        self.rate
    }

    /// The time now.
    pub(crate) fn reading(&self) -> Reading {
        let line = self.line();
        let now = self.clock.local();
        let allowed = line.may_give_out(now) && !self.lost.load(Ordering::Relaxed);
        Reading { timeline: self.timeline, time: line.at(now), local: now, allowed }
    }

    /// The time at an instant that was looked at a moment ago.
    pub(crate) fn at(&self, local: LocalTime) -> ServerTime {
        self.line().at(local)
    }

    /// Whether another server took the database over.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// Whether the mark is to be renewed now.
    pub(crate) fn wants_renewal(&self) -> bool {
        self.line().wants_renewal(self.clock.local())
    }

    /// Stores a new mark, then adopts it. Until it is stored the old one stays in force.
    pub(crate) fn renew(&self, store: &mut impl Store) -> Result<(), StoreError> {
        loop {
            let in_force = self.line();
            let (now, wall) = (self.clock.local(), self.clock.wall());
            let line = in_force.renewed(now, wall, self.rate);
            let stored = StoredClock { line, file: self.place.file.clone() };
            match store.put_clock(self.timeline, &stored) {
                Ok(()) => self.place.witness.note(self.timeline, line.mark.until),
                Err(StoreError::OtherLine { left }) => {
                    self.lost.store(true, Ordering::Relaxed);
                    return Err(StoreError::OtherLine { left });
                }
                Err(error) => return Err(error),
            }
            if !line.outlived(&in_force, self.clock.local()) {
                self.tell(now, How::Renewed { wall }, line);
                *self.line.write().unwrap_or_else(PoisonError::into_inner) = line;
                return Ok(());
            }
        }
    }

    fn line(&self) -> Line {
        *self.line.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the host's clock is the one that the line was stored over: the same boot, and not before
/// the instant at which the mark was stored (a clock that went back is not that clock).
fn continues(line: &Line, clock: &dyn HostClock) -> bool {
    line.boot == clock.boot() && line.mark.stored_at.passed(line.at(clock.local()))
}
