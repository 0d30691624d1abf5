//! Every interleaving (and every order of memory that loom knows) of the read path, one claim a
//! test. Run by `.ci/loom`, which also seeds ordering bugs and demands that each makes this file
//! fail. Bounds: two readers, one writer or two, two publishes (three, two of which are cut short);
//! preemptions as written at each test. A value is two words, and a plan too (core/src/cell/compact.rs),
//! since each word multiplies the executions. A plan has 31 words where it ships; the cell takes any number
//! of them one after the other, in loops that know nothing else of it.
#![cfg(downbeat_loom)]

use downbeat_core::cell::words::WordCell;
use downbeat_core::cell::{PlanCell, PlanReader, PlanWriter};
use downbeat_core::ids::{BootId, Digest, Generation};
use downbeat_core::serving::{Activation, Mode, Serving, SwitchPlan};
use downbeat_core::time::LocalTime;
use loom::model::Builder;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread;
use std::mem::ManuallyDrop;

/// Words of a small cell.
const N: usize = 2;
/// Stores of a whole publish of a small cell.
const STORES: usize = N + 3;

/// `preemptions` is the most that an execution has; `None` means all of them are tried.
fn model(preemptions: Option<usize>, claim: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = preemptions;
    builder.max_branches = 5_000;
    builder.check(claim);
}

/// The value of a version: all words differ from those of every other version.
fn value(version: u32) -> [u32; N] {
    [10 + version, 20 + version]
}

/// Whole values only, and never an older one than before.
struct Witness(u32);
impl Witness {
    fn saw(&mut self, loaded: Option<(u32, [u32; N])>) {
        if let Some((version, words)) = loaded {
            assert_eq!(words, value(version), "half a value");
            assert!(version >= self.0, "version {version} after {}", self.0);
            self.0 = version;
        }
    }
}

fn read_against_two_publishes(readers: usize, reads: usize, preemptions: Option<usize>) {
    model(preemptions, move || {
        let cell = Arc::new(WordCell::new(&value(0)));
        let threads: Vec<_> = (0..readers)
            .map(|_| {
                let cell = Arc::clone(&cell);
                thread::spawn(move || {
                    let mut witness = Witness(0);
                    (0..reads).for_each(|_| witness.saw(cell.try_load()));
                })
            })
            .collect();
        assert_eq!(cell.publish(&value(1)), 1);
        assert_eq!(cell.publish(&value(2)), 2);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(cell.try_load(), Some((2, value(2))));
    });
}

/// S5, S9 for readers: one reader, one read, every execution without a bound.
#[test]
fn no_reader_sees_half_a_value() {
    read_against_two_publishes(1, 1, None);
}

/// S9: what one reader sees never goes back; every execution without a bound.
#[test]
fn no_reader_goes_back() {
    read_against_two_publishes(1, 2, None);
}

/// Two readers at once; at most three preemptions.
#[test]
fn two_readers_see_whole_values() {
    read_against_two_publishes(2, 1, Some(3));
}

/// Readers never wait: one publish, however it interleaves, never makes a load fail.
#[test]
fn a_load_succeeds_beside_one_publish() {
    model(None, || {
        let cell = Arc::new(WordCell::new(&value(0)));
        let reader = {
            let cell = Arc::clone(&cell);
            thread::spawn(move || {
                let (version, words) = cell.try_load().expect("one publish disturbed a reader");
                assert_eq!(words, value(version));
            })
        };
        cell.publish(&value(1));
        reader.join().unwrap();
    });
}

/// Even two publishes make `load` only read again: it always comes back; at most three preemptions.
#[test]
fn a_load_comes_back_beside_two_publishes() {
    model(Some(3), || {
        let cell = Arc::new(WordCell::new(&value(0)));
        let reader = {
            let cell = Arc::clone(&cell);
            thread::spawn(move || Witness(0).saw(Some(cell.load())))
        };
        cell.publish(&value(1));
        cell.publish(&value(2));
        reader.join().unwrap();
    });
}

/// A writer that dies between two stores leaves readers with the value before, then and later, and
/// the writer that comes after it isn't disturbed.
#[test]
fn a_writer_that_dies_leaves_the_value_before() {
    for stores in 0..STORES {
        model(None, move || {
            let cell = Arc::new(WordCell::new(&value(0)));
            let writer = {
                let cell = Arc::clone(&cell);
                thread::spawn(move || cell.publish_and_die(&value(9), stores))
            };
            assert_eq!(cell.try_load(), Some((0, value(0))), "dead after {stores} stores");
            writer.join().unwrap();
            assert_eq!(cell.try_load(), Some((0, value(0))), "dead after {stores} stores");

            let next = {
                let cell = Arc::clone(&cell);
                thread::spawn(move || cell.publish(&value(1)))
            };
            let (version, words) = cell.try_load().expect("one publish disturbed a reader");
            assert_eq!(words, value(version));
            assert_eq!(next.join().unwrap(), 1);
            assert_eq!(cell.try_load(), Some((1, value(1))));
        });
    }
}

/// The page that processes share is these words and a lock of the host's, which one process has at a
/// time and which the host takes away from one that dies. Writers die one after the other, each at any
/// store of its publish (after the last one it is published); the next one takes the page as it finds
/// it, whole, and goes on from there. A reader beside them gets whole values only, one for each
/// version, and its first try succeeds unless two publishes were finished or begun in its block; at
/// most three preemptions.
#[test]
fn a_page_outlives_the_writers_that_die() {
    for (first, second) in (0..=STORES).flat_map(|first| (0..=STORES).map(move |second| (first, second))) {
        model(Some(3), move || {
            let page = std::sync::Arc::new(WordCell::new(&value(0)));
            let reader = {
                let page = page.clone();
                thread::spawn(move || page.try_load())
            };
            // One after the other: what the lock's order means. All is judged at the end, since a thread
            // that loom unwinds may not drop what is the checker's.
            let found = [first, second].map(|stores| {
                let found = page.try_load();
                let version = found.map_or(0, |(version, _)| version);
                // What a dead one leaves unfinished is no value of anybody.
                let words = if stores == STORES { value(version + 1) } else { [7; N] };
                page.publish_and_die(&words, stores);
                found
            });
            let last = page.publish(&value(page.version() + 1));
            let seen = reader.join().unwrap();

            let dead = format!("after {first} and {second} stores");
            let whole = |published| Some((published, value(published)));
            let published = [0, u32::from(first == STORES)];
            assert_eq!(found, published.map(whole), "the page isn't as it was published, {dead}");
            let published = published[1] + u32::from(second == STORES);
            assert_eq!(last, published + 1, "{dead}");
            assert_eq!(page.try_load(), whole(last), "{dead}");
            assert!(seen.is_some() || published > 0, "one publish disturbed a reader, {dead}");
            Witness(0).saw(seen);
        });
    }
}

/// Two processes want to publish, each what follows what it finds. While only the one that has the
/// host's lock does, no version has two values, and none is lost; at most three preemptions.
#[test]
fn a_page_has_one_writer_at_a_time() {
    model(Some(3), || {
        let page = Arc::new(WordCell::new(&value(0)));
        let lock = Arc::new(Mutex::new(()));
        let writer = |page: &WordCell<N>, lock: &Mutex<()>| {
            // Seeded: a paused process that goes on after another one has taken over.
            let _held = (!cfg!(downbeat_bug = "no_lock")).then(|| lock.lock().unwrap());
            page.try_load().map(|(version, _)| page.publish(&value(version + 1)))
        };
        let other = {
            let (page, lock) = (Arc::clone(&page), Arc::clone(&lock));
            thread::spawn(move || writer(&page, &lock))
        };
        let reader = {
            let page = Arc::clone(&page);
            thread::spawn(move || page.try_load())
        };
        let mine = writer(&page, &lock);
        let mut versions = [mine, other.join().unwrap()];
        versions.sort();
        Witness(0).saw(reader.join().unwrap());
        assert_eq!(versions, [Some(1), Some(2)], "two writers wrote one version");
        assert_eq!(page.try_load(), Some((2, value(2))));
    });
}

/// The same within a process, where the claim of the cell takes the lock's place: of two writers one
/// at a time gets it, and the second goes on from what the first has published, or is turned away.
#[test]
fn a_cell_s_claim_is_exclusive_and_passes_the_version_on() {
    model(Some(3), || {
        let cell = Arc::new(PlanCell::new(&numbered(0)));
        let publish = |cell: &PlanCell| {
            let writer = PlanWriter::new(cell)?;
            let mut writer = ManuallyDrop::new(writer);
            let version = writer.publish(&numbered(cell.version() + 1));
            drop(ManuallyDrop::into_inner(writer));
            Some(version)
        };
        let other = {
            let cell = Arc::clone(&cell);
            thread::spawn(move || publish(&cell))
        };
        let reader = {
            let cell = Arc::clone(&cell);
            thread::spawn(move || cell.try_load())
        };
        let mine = publish(&cell);
        let mut versions: Vec<u32> = [mine, other.join().unwrap()].into_iter().flatten().collect();
        versions.sort();
        assert!(versions == [1] || versions == [1, 2], "the writers published versions {versions:?}");
        if let Some((version, plan)) = reader.join().unwrap() {
            assert_eq!(plan, numbered(version), "half a plan");
        }
    });
}

/// A plan that tells its version.
fn numbered(version: u32) -> SwitchPlan {
    SwitchPlan {
        serial: version.into(),
        active: Some(if version == 0 { OLD } else { NEW }),
        active_until: at(version),
        ..before_the_switch()
    }
}

const OLD: Generation = Generation { epoch: 4, digest: Digest([4; 32]) };
const NEW: Generation = Generation { epoch: 5, digest: Digest([5; 32]) };
/// T, by the reader's clock.
const SWITCH: i64 = 10;

fn at(nanos: u32) -> LocalTime {
    LocalTime::from_nanos(nanos.into())
}

/// Before T the old generation, from T on the new one.
fn before_the_switch() -> SwitchPlan {
    SwitchPlan {
        active: Some(OLD),
        active_until: LocalTime::from_nanos(SWITCH),
        staged: Some(NEW),
        staged_from: LocalTime::from_nanos(SWITCH),
        staged_until: at(30),
        ..SwitchPlan::nothing(BootId(1), Mode::Strict, Activation::Switch)
    }
}

/// The plan that follows, published after T: the new generation is the active one.
fn after_the_switch() -> SwitchPlan {
    SwitchPlan {
        serial: 1,
        active: Some(NEW),
        active_until: at(30),
        staged: None,
        staged_from: LocalTime::MAX,
        ..before_the_switch()
    }
}

/// The writer is left as it is: where a claim falls, loom unwinds the other threads, and a drop that
/// touches an atomic there never ends.
fn publish(cell: &PlanCell) {
    ManuallyDrop::new(PlanWriter::new(cell).unwrap()).publish(&after_the_switch());
}

/// S7: a reader loads the plan and *then* looks at the clock. The other way round the plan that
/// follows T would justify the new generation at an instant before it.
#[test]
fn a_look_is_true_at_its_instant() {
    model(None, || {
        let cell = Arc::new(PlanCell::new(&before_the_switch()));
        let clock = Arc::new(AtomicU32::new(5));
        let reader = {
            let (cell, clock) = (Arc::clone(&cell), Arc::clone(&clock));
            thread::spawn(move || {
                let mut now = LocalTime::MIN;
                let serving = PlanReader::new(&*cell).look(|| {
                    now = at(clock.load(Ordering::Relaxed));
                    now
                });
                let live = if LocalTime::from_nanos(SWITCH).passed(now) { NEW } else { OLD };
                assert_eq!(serving.current(), Some(live), "{serving:?} at {now:?}");
            })
        };
        // A clock is one value for all: what a thread has seen, a later one sees too.
        clock.store(20, Ordering::Release);
        publish(&cell);
        reader.join().unwrap();
    });
}

/// S9 across the readers of an agent: what one has seen, another that hears of it sees too. `prepares`
/// makes of the other one, which is there before the publish, how it sees then. At most three preemptions.
fn what_one_has_seen_another_sees<Sees: FnOnce() -> Serving>(
    prepares: impl Fn(PlanReader<Arc<PlanCell>>) -> Sees + Send + Sync + 'static,
) {
    model(Some(3), move || {
        let first_plan = SwitchPlan { staged: None, ..before_the_switch() };
        let cell = Arc::new(PlanCell::new(&first_plan));
        let told = Arc::new(AtomicU32::new(0));
        let sees = prepares(PlanReader::new(cell.clone()));
        let first = {
            let (cell, told) = (cell.clone(), Arc::clone(&told));
            thread::spawn(move || {
                if PlanReader::new(&*cell).look(|| at(5)) == Serving::Active(NEW) {
                    told.store(1, Ordering::Release);
                }
            })
        };
        let writer = {
            let cell = cell.clone();
            thread::spawn(move || {
                publish(&cell);
            })
        };
        let heard = told.load(Ordering::Acquire) == 1;
        let seen = sees();
        assert!(!heard || seen == Serving::Active(NEW), "went back behind another reader");
        first.join().unwrap();
        writer.join().unwrap();
    });
}

#[test]
fn no_reader_goes_back_behind_another() {
    what_one_has_seen_another_sees(|mut second| move || second.look(|| at(5)));
}

/// The same of a reader that asks whether what it got, and kept, still stands.
#[test]
fn what_is_unchanged_doesn_t_go_back_behind_another() {
    what_one_has_seen_another_sees(|mut second| {
        let got = second.look(|| at(5));
        second.keep();
        move || if second.is_unchanged(|| None, || at(5)) { got } else { second.look(|| at(5)) }
    });
}
