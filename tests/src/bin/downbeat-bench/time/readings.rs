//! The control: the same loop of reads in every process of every system, 100 a second with phases
//! spread over the processes, and what is kept of them: of each version its first and its last read,
//! and when there were reads at all.

use super::told::Told;
use super::watcher::lock;
use downbeat_agent::core::time::LocalTime;
use rustix::thread::clock_nanosleep_absolute;
use rustix::time::{ClockId, Timespec, clock_gettime};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Mutex;
use std::time::Instant;

/// Between two reads, in nanoseconds.
const EVERY: i64 = 10_000_000;
/// Reads are near an instant within so much of it, in nanoseconds.
const NEAR: i64 = 5_000_000;
/// Reads whose mean is what one costs, and how often that is measured: the median counts, since others run
/// meanwhile.
const COSTED: i64 = 100;
const COSTED_TIMES: usize = 15;

/// What a read saw.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Seen {
    /// Rises with each change: an epoch, or the number that was published.
    pub(crate) version: u64,
    /// What the record said.
    pub(crate) value: u64,
    /// When the read began.
    pub(crate) began: LocalTime,
    /// The instant inside of it at which this was what the process served.
    pub(crate) at: LocalTime,
}

/// One read of what the process serves now; `None` where it serves nothing.
pub(crate) type Source = Box<dyn FnMut() -> Option<Seen> + Send>;

/// What is kept of the reads of a version.
struct Version {
    first: Seen,
    last: LocalTime,
}

/// What is kept of a process's reads.
#[derive(Default)]
pub(crate) struct Readings {
    versions: BTreeMap<u64, Version>,
    /// Ascending.
    instants: Vec<i64>,
    /// Reads that got nothing after one that got something.
    failed: i64,
    /// What one read costs, in nanoseconds.
    cost: i64,
}

impl Readings {
    fn take(&mut self, seen: Option<Seen>) {
        let Some(seen) = seen else {
            self.failed += i64::from(!self.instants.is_empty());
            return;
        };
        self.instants.push(seen.at.as_nanos());
        self.versions.entry(seen.version).or_insert(Version { first: seen, last: seen.at }).last = seen.at;
    }

    /// Reads within 5 ms of an instant.
    pub(crate) fn near(&self, at: i64) -> i64 {
        let before = |limit: i64| self.instants.partition_point(|read| *read < limit);
        (before(at.saturating_add(NEAR).saturating_add(1)) - before(at.saturating_sub(NEAR))) as i64
    }

    /// Tells all of it.
    pub(crate) fn tell(&self, told: &mut Told) {
        for (version, Version { first, last }) in &self.versions {
            let value = i64::try_from(first.value).unwrap_or(i64::MAX);
            let numbers = [first.began.as_nanos(), first.at.as_nanos(), last.as_nanos(), value];
            told.note("reads", *version, &numbers);
        }
        told.note("failed", 0, &[self.failed]);
        told.note("cost", 0, &[self.cost]);
    }
}

/// By how much a process's reads are later than those of the first one, in nanoseconds.
pub(crate) fn phase(index: usize, of: usize) -> i64 {
    EVERY * index as i64 / of.max(1) as i64
}

fn monotonic() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.saturating_mul(1_000_000_000).saturating_add(now.tv_nsec)
}

/// Sleeps until CLOCK_MONOTONIC shows so many nanoseconds.
pub(crate) fn sleep_until(nanos: i64) {
    let until = Timespec { tv_sec: nanos / 1_000_000_000, tv_nsec: nanos % 1_000_000_000 };
    // Interrupted by a signal: it is slept on.
    while clock_nanosleep_absolute(ClockId::Monotonic, &until) == Err(rustix::io::Errno::INTR) {}
}

/// Reads for as long as the process lives.
pub(crate) fn read_on(mut source: Source, phase: i64, readings: &Mutex<Readings>) {
    let mut costs = [(); COSTED_TIMES].map(|()| {
        let since = Instant::now();
        (0..COSTED).for_each(|_| {
            black_box(source());
        });
        since.elapsed().as_nanos() as i64 / COSTED
    });
    costs.sort_unstable();
    // Nothing is reserved while reads are measured: half an hour fits.
    lock(readings).instants.reserve(180_000);
    lock(readings).cost = costs[COSTED_TIMES / 2];
    let mut next = monotonic() / EVERY * EVERY + phase;
    loop {
        next += EVERY;
        // What was slept through is left out.
        next += ((monotonic() - next).max(0) / EVERY) * EVERY;
        sleep_until(next);
        let seen = source();
        lock(readings).take(seen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_the_last_read_of_each_version_are_kept() {
        let mut readings = Readings::default();
        readings.take(None);
        for (version, began, at) in [(1, 0, 10), (1, 0, 20), (2, 25, 31), (2, 0, 5_000_031)] {
            let [began, at] = [began, at].map(LocalTime::from_nanos);
            readings.take(Some(Seen { version, value: version + 7, began, at }));
        }
        readings.take(None);
        let mut told = Told::default();
        readings.tell(&mut told);
        assert_eq!(told.numbers("reads", 1), Some([0, 10, 20, 8]));
        assert_eq!(told.numbers("reads", 2), Some([25, 31, 5_000_031, 9]));
        assert_eq!(
            told.numbers("failed", 0),
            Some([1]),
            "the first got nothing because there was nothing yet"
        );
        assert_eq!([31, 30, -4_999_990, -4_999_991].map(|at| readings.near(at)), [4, 3, 1, 0]);
        assert_eq!(readings.near(i64::MAX), 0);
    }

    #[test]
    fn phases_are_spread_over_the_time_between_two_reads() {
        assert_eq!([phase(0, 256), phase(128, 256), phase(3, 4)], [0, EVERY / 2, EVERY / 4 * 3]);
        assert!(phase(255, 256) < EVERY);
    }
}
