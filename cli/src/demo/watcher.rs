//! The demo's readers: one reader of each agent, all polled in turn by one thread, in a tight loop
//! while a switch is near. One thread and not one for each agent, because on a host with two cores five
//! spinning threads take the agents' own time, and each would be stopped for milliseconds at a time;
//! so the gap between two reads of an agent stays below a microsecond or so. How wide it was is told.
//!
//! An instant here is that of the look at the clock that justified the read, on the host's undistorted
//! clock, which the agents can't see.

use super::rates::{KEY, NOTICE, Records, digest_of};
use super::stage::FARM;
use downbeat_agent::{Clock, Look, Reader};
use downbeat_core::ids::{Epoch, Generation, Incarnation, Name};
use downbeat_core::serving::Serving;
use downbeat_core::time::LocalTime;
use downbeat_trace::{Line, Recorder};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long the thread sleeps where no switch is near.
const IDLE: Duration = Duration::from_micros(500);

/// A generation as the readers of one agent saw it, served as current.
#[derive(Clone, Debug)]
pub(crate) struct Served {
    pub(crate) generation: Generation,
    /// The first read that got it.
    pub(crate) first: LocalTime,
    /// The first read that was held for it.
    pub(crate) held: Option<LocalTime>,
    /// The last read of any outcome before the first: how exactly `first` is known.
    pub(crate) looked_before: Option<LocalTime>,
    /// What was in it; read shortly after the switch.
    pub(crate) content: Option<Arc<Records>>,
}

/// What the readers of one agent saw.
#[derive(Clone, Debug, Default)]
pub(crate) struct Track {
    /// In the order in which they were seen.
    pub(crate) served: Vec<Served>,
    pub(crate) newest: Epoch,
    /// What the last read got.
    pub(crate) now: Option<Serving>,
    pub(crate) reads: u64,
    held: Option<LocalTime>,
    looked: Option<LocalTime>,
    /// The last look, and whether the trace has it.
    told: Option<(Look, bool)>,
}

impl Track {
    fn note(&mut self, serving: Serving, host: LocalTime) {
        self.reads += 1;
        self.now = Some(serving);
        if let Some(generation) = serving.generation() {
            self.newest = self.newest.max(generation.epoch);
        }
        match serving {
            Serving::Hold => {
                self.held.get_or_insert(host);
            }
            Serving::Active(generation) | Serving::Staged(generation) => self.current(generation, host),
            Serving::Stale(_) | Serving::Fenced => self.held = None,
        }
        self.looked = Some(host);
    }

    fn current(&mut self, generation: Generation, host: LocalTime) {
        let held = self.held.take();
        if !self.served.iter().rev().any(|served| served.generation == generation) {
            let looked_before = self.looked;
            self.served.push(Served { generation, first: host, held, looked_before, content: None });
        }
    }

    /// Tells the trace where a look differs from the one before it, both of them, so that both ends of an
    /// interval are known.
    fn tell(&mut self, look: Look, life: Incarnation, recorder: &Recorder) {
        let differs = self.told.is_none_or(|(last, _)| last.serving != look.serving);
        if differs {
            self.tell_last(life, recorder);
            tell(look, life, recorder);
        }
        self.told = Some((look, differs));
    }

    /// Tells the trace the last look.
    fn tell_last(&mut self, life: Incarnation, recorder: &Recorder) {
        if let Some((last, false)) = self.told.take() {
            tell(last, life, recorder);
        }
    }

    /// An epoch, as it was served here.
    pub(crate) fn of(&self, epoch: Epoch) -> Option<&Served> {
        self.served.iter().find(|served| served.generation.epoch == epoch)
    }
}

fn tell(look: Look, life: Incarnation, recorder: &Recorder) {
    let Look { serving: got, at: now, host: at } = look;
    recorder.tell(|| Line::Read { at, life, reader: 0, now, got, records: None });
}

/// The thread that reads.
pub(crate) struct Watcher {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    tracks: Mutex<Vec<Track>>,
    /// Between the two, by the host's clock, it reads in a tight loop.
    tight_from: AtomicI64,
    tight_until: AtomicI64,
    stop: AtomicBool,
}

impl Shared {
    fn tracks(&self) -> MutexGuard<'_, Vec<Track>> {
        self.tracks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watcher {
    /// Begins to read.
    pub(crate) fn start(readers: Vec<(Reader, Incarnation)>, recorder: Recorder) -> std::io::Result<Watcher> {
        let shared = Arc::new(Shared {
            tracks: Mutex::new(vec![Track::default(); readers.len()]),
            tight_from: AtomicI64::new(i64::MAX),
            tight_until: AtomicI64::new(i64::MIN),
            stop: AtomicBool::new(false),
        });
        let watching = shared.clone();
        let thread = std::thread::Builder::new()
            .name("readers".into())
            .spawn(move || watch(readers, &watching, &recorder))?;
        Ok(Watcher { shared, thread: Some(thread) })
    }

    /// Ends the reading; what was seen.
    pub(crate) fn end(mut self) -> Vec<Track> {
        self.stop();
        self.tracks()
    }

    fn stop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It only reads; a panic of it was printed.
            let _ = thread.join();
        }
    }

    /// What was seen so far.
    pub(crate) fn tracks(&self) -> Vec<Track> {
        self.shared.tracks().clone()
    }

    /// Reads in a tight loop between the two instants of the host's clock.
    pub(crate) fn tight(&self, from: LocalTime, until: LocalTime) {
        self.shared.tight_from.store(from.as_nanos(), Ordering::Relaxed);
        self.shared.tight_until.store(until.as_nanos(), Ordering::Relaxed);
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.stop();
    }
}

fn watch(mut readers: Vec<(Reader, Incarnation)>, shared: &Shared, recorder: &Recorder) {
    while !shared.stop.load(Ordering::Relaxed) {
        let mut now = i64::MIN;
        {
            let mut tracks = shared.tracks();
            for ((reader, life), track) in readers.iter_mut().zip(tracks.iter_mut()) {
                let look = reader.read_now();
                track.note(look.serving, look.host);
                track.tell(look, *life, recorder);
                now = look.host.as_nanos();
            }
        }
        let tight = now >= shared.tight_from.load(Ordering::Relaxed)
            && now < shared.tight_until.load(Ordering::Relaxed);
        if tight {
            std::thread::yield_now();
            continue;
        }
        read_contents(&mut readers, shared, recorder);
        std::thread::sleep(IDLE);
    }
    for ((_, life), track) in readers.iter().zip(shared.tracks().iter_mut()) {
        track.tell_last(*life, recorder);
    }
    recorder.end(Clock::host().now());
}

/// What is in the generations that were seen and not looked into yet.
fn read_contents(readers: &mut [(Reader, Incarnation)], shared: &Shared, recorder: &Recorder) {
    let mut tracks = shared.tracks();
    for ((reader, life), track) in readers.iter_mut().zip(tracks.iter_mut()) {
        for served in track.served.iter_mut().filter(|served| served.content.is_none()) {
            let Some(guard) = reader.pinned(served.generation) else { continue };
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let mut records = Records::new();
            for dataset in guard.image().datasets() {
                let name = dataset.name().as_str();
                // The demo's generations are in memory, where nothing damages them.
                let whole = dataset.iter().flatten();
                records.extend(whole.map(|(key, value)| ((name.to_owned(), text(key)), text(value))));
            }
            tell_content(*life, served.generation, &records, recorder);
            served.content = Some(Arc::new(records));
        }
    }
}

/// Tells the trace what was in a generation.
fn tell_content(life: Incarnation, generation: Generation, records: &Records, recorder: &Recorder) {
    let at = Clock::host().now();
    let mut rest = records.clone();
    let shown = rest.remove(&(NOTICE.to_owned(), KEY.to_owned())).is_some();
    if let Ok(farm) = Name::new(FARM) {
        recorder.tell(|| Line::Shown { at, farm, record: NOTICE.to_owned(), generation, shown });
    }
    if let (Some(records), Some(unscheduled)) = (digest_of(records), digest_of(&rest)) {
        recorder.tell(|| Line::Held { at, life, generation, records, unscheduled });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use downbeat_core::ids::Digest;

    fn generation(epoch: Epoch) -> Generation {
        Generation { epoch, digest: Digest([epoch as u8; 32]) }
    }
    fn at(nanos: i64) -> LocalTime {
        LocalTime::from_nanos(nanos)
    }

    #[test]
    fn a_switch_is_known_from_the_reads_around_it() {
        let mut track = Track::default();
        track.note(Serving::Fenced, at(1));
        track.note(Serving::Active(generation(1)), at(2));
        track.note(Serving::Active(generation(1)), at(5));
        track.note(Serving::Hold, at(6));
        track.note(Serving::Hold, at(8));
        track.note(Serving::Staged(generation(2)), at(9));
        let served = track.of(2).unwrap();
        assert_eq!((served.first, served.held), (at(9), Some(at(6))));
        assert_eq!(served.looked_before, Some(at(8)));
        assert_eq!(track.of(1).unwrap().first, at(2));
    }
}
