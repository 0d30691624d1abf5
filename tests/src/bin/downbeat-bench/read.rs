//! The read path of the reference agent beside the ways in which programs share a value that is replaced
//! now and then, while a writer replaces all of them every 10 ms.

use crate::Options;
use crate::data::Data;
use crate::report::{Report, Row, Unit};
use arc_swap::{ArcSwap, Cache};
use downbeat_agent::Clock;
use downbeat_agent::core::ids::{BootId, Generation};
use downbeat_agent::core::serving::{Activation, Mode, SwitchPlan};
use downbeat_agent::core::time::{LocalTime, Span};
use downbeat_agent::image::{Image, Place};
use downbeat_agent::measure::ReadPath;
use std::hint::black_box;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::sync::{Arc, Barrier, Mutex, RwLock};
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Reads in one sample.
const BATCH: u32 = 5_000;
/// How often each value is replaced.
const EVERY: Duration = Duration::from_millis(10);

/// So many reads, one after the other.
type Reads = Box<dyn FnMut(u32) -> u64 + Send>;

/// A way to share a value.
struct Peer {
    name: &'static str,
    /// The reads of one more thread.
    reads: Box<dyn Fn() -> Reads + Sync>,
    replace: Box<dyn FnMut() + Send>,
}

/// Generic, so that each peer's reads are compiled into the loop.
fn times(mut read: impl FnMut() -> u64 + Send + 'static) -> Reads {
    Box::new(move |times| (0..times).fold(0, |sum, _| sum.wrapping_add(black_box(read()))))
}

/// When the switch is, as seen from each publish.
#[derive(Clone, Copy)]
enum Switch {
    /// No instant is ahead.
    None,
    /// Far ahead.
    Far,
    /// So near that it has to be known whether it has passed.
    Near,
}

/// A plan that says so.
fn plan(generations: &[Generation; 2], mode: Mode, switch: Switch, clock: &Clock) -> SwitchPlan {
    let nothing = SwitchPlan::nothing(BootId(1), mode, Activation::Switch);
    let active = Some(generations[0]);
    let ahead = match switch {
        Switch::None => return SwitchPlan { active, active_until: LocalTime::MAX, ..nothing },
        Switch::Far => Span::from_secs(3_600),
        Switch::Near => Span::from_millis(500),
    };
    let at = clock.now() + ahead;
    let staged_until = at + Span::from_secs(60);
    SwitchPlan {
        active,
        active_until: at,
        staged: Some(generations[1]),
        staged_from: at,
        staged_until,
        ..nothing
    }
}

/// Two small generations.
fn generations() -> io::Result<([Generation; 2], [Image; 2])> {
    let mut data = Data::new(1_000);
    let first = data.snapshot(&Place::Memory)?;
    data.change(10);
    let second = data.snapshot(&Place::Memory)?;
    let named = |epoch, image: &Image| Generation { epoch, digest: image.digest() };
    Ok(([named(1, &first), named(2, &second)], [first, second]))
}

fn ours(name: &'static str, mode: Mode, switch: Switch, owned: bool) -> io::Result<Peer> {
    let (generations, images) = generations()?;
    let clock = Clock::host();
    let first = plan(&generations, mode, switch, &clock);
    let path = Arc::new(Mutex::new(ReadPath::new(&first, generations.into_iter().zip(images))));
    let for_readers = path.clone();
    let reads = move || {
        let mut reader = for_readers.lock().expect("nobody panics with it").reader(Clock::host());
        match owned {
            true => times(move || reader.read().map_or(0, |guard| guard.epoch())),
            false => times(move || reader.peek().map_or(0, |guard| guard.epoch())),
        }
    };
    let replace = move || {
        let plan = plan(&generations, mode, switch, &clock);
        path.lock().expect("nobody panics with it").publish(&plan);
    };
    Ok(Peer { name, reads: Box::new(reads), replace: Box::new(replace) })
}

fn clock() -> Peer {
    let reads = || {
        let clock = Clock::host();
        times(move || clock.now().as_nanos() as u64)
    };
    Peer { name: "the precise look alone", reads: Box::new(reads), replace: Box::new(|| ()) }
}

fn bare() -> Peer {
    let pointer: &'static AtomicPtr<u64> = Box::leak(Box::new(AtomicPtr::new(Box::leak(Box::new(1)))));
    Peer {
        name: "a bare acquire load of a pointer",
        reads: Box::new(|| times(|| pointer.load(Ordering::Acquire).addr() as u64)),
        replace: Box::new(|| pointer.store(Box::leak(Box::new(2)), Ordering::Release)),
    }
}

fn swaps() -> [Peer; 3] {
    let peer = |name, of: fn(Arc<ArcSwap<u64>>) -> Reads| {
        let value = Arc::new(ArcSwap::from_pointee(1));
        let writer = value.clone();
        Peer {
            name,
            reads: Box::new(move || of(value.clone())),
            replace: Box::new(move || writer.store(Arc::new(2))),
        }
    };
    [
        peer("arc_swap::Cache::load", |value| {
            let mut cache = Cache::new(value);
            times(move || **cache.load())
        }),
        peer("ArcSwap::load", |value| times(move || **value.load())),
        peer("ArcSwap::load_full", |value| times(move || *value.load_full())),
    ]
}

fn lock() -> Peer {
    let value = Arc::new(RwLock::new(Arc::new(1u64)));
    let writer = value.clone();
    let reads = move || {
        let value = value.clone();
        times(move || value.read().map_or(0, |value| **value))
    };
    let replace = move || drop(writer.write().map(|mut value| *value = Arc::new(2)));
    Peer { name: "RwLock::read", reads: Box::new(reads), replace: Box::new(replace) }
}

fn watched() -> Peer {
    let (sender, receiver) = watch::channel(1u64);
    let reads = move || {
        let receiver = receiver.clone();
        times(move || *receiver.borrow())
    };
    Peer {
        name: "tokio::sync::watch, borrow",
        reads: Box::new(reads),
        replace: Box::new(move || sender.send_modify(|value| *value += 1)),
    }
}

/// Nanoseconds for each read of each peer, by so many threads at once. The peers take turns.
fn measure(peers: &mut [Peer], threads: usize, rounds: usize) -> Vec<Vec<f64>> {
    let ended = AtomicBool::new(false);
    let mut replaces: Vec<_> =
        peers.iter_mut().map(|peer| std::mem::replace(&mut peer.replace, Box::new(|| ()))).collect();
    let turn = Barrier::new(threads);
    let samples = thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                replaces.iter_mut().for_each(|replace| replace());
                thread::sleep(EVERY);
            }
        });
        let readers: Vec<_> = (0..threads)
            .map(|_| {
                let mut reads: Vec<Reads> = peers.iter().map(|peer| (peer.reads)()).collect();
                let turn = &turn;
                scope.spawn(move || {
                    let mut samples = vec![Vec::new(); reads.len()];
                    for _ in 0..rounds {
                        for (reads, samples) in reads.iter_mut().zip(&mut samples) {
                            turn.wait();
                            let began = Instant::now();
                            black_box(reads(BATCH));
                            samples.push(began.elapsed().as_nanos() as f64 / BATCH as f64);
                        }
                    }
                    samples
                })
            })
            .collect();
        let mut samples = vec![Vec::new(); peers.len()];
        for reader in readers {
            let own = reader.join().expect("a reader doesn't panic");
            samples.iter_mut().zip(own).for_each(|(all, own)| all.extend(own));
        }
        ended.store(true, Ordering::Relaxed);
        samples
    });
    peers.iter_mut().zip(replaces).for_each(|(peer, replace)| peer.replace = replace);
    samples
}

const BARE: usize = 0;
const SWAP: usize = 2;
const LOOK: usize = 6;
const NONE: usize = 7;
const PROMPT: usize = 8;
const NEAR: usize = 9;
const STRICT: usize = 10;

/// Reads of one and of two threads.
pub(crate) fn reads(options: Options, report: &mut Report) -> io::Result<()> {
    let [cache, load, full] = swaps();
    let mut peers = vec![
        bare(),
        cache,
        load,
        full,
        lock(),
        watched(),
        clock(),
        ours("ours, no instant ahead", Mode::Prompt, Switch::None, false)?,
        ours("ours, prompt, T an hour ahead", Mode::Prompt, Switch::Far, false)?,
        ours("ours, prompt, T near", Mode::Prompt, Switch::Near, false)?,
        ours("ours, strict", Mode::Strict, Switch::Far, false)?,
        ours("ours, strict, an owned guard, for comparison", Mode::Strict, Switch::Far, true)?,
    ];
    for (threads, about) in [(1, "one thread"), (2, "two threads")] {
        let samples = measure(&mut peers, threads, if options.quick { 40 } else { 800 });
        let medians: Vec<f64> =
            samples.iter().map(|own| Row::new("", Unit::Nanos, own.clone()).median()).collect();
        for (at, (peer, samples)) in peers.iter().zip(samples).enumerate() {
            let note = if at == BARE { format!("means of {BATCH} reads") } else { String::new() };
            report.push(Row::new(&format!("{about}: {}", peer.name), Unit::Nanos, samples).note(note));
            let against =
                |what: &str, other: usize| Row::new(what, Unit::Ratio, vec![medians[at] / medians[other]]);
            match at {
                NONE => report.push(against("  against the bare load", BARE).bar(2.0)),
                PROMPT => report.push(against("  against ArcSwap::load", SWAP).bar(0.5)),
                NEAR | STRICT => {
                    let more = vec![medians[at] - medians[LOOK]];
                    report.push(Row::new("  more than the precise look", Unit::Nanos, more).bar(5.0));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// What a publish takes while two threads read all the time.
pub(crate) fn publishes(options: Options, report: &mut Report) -> io::Result<()> {
    let (generations, images) = generations()?;
    let clock = Clock::host();
    let plan = |switch| plan(&generations, Mode::Strict, switch, &clock);
    let mut path = ReadPath::new(&plan(Switch::Far), generations.into_iter().zip(images));
    let (ended, mut samples) = (AtomicBool::new(false), Vec::new());
    thread::scope(|scope| {
        for _ in 0..2 {
            let (mut reader, ended) = (path.reader(Clock::host()), &ended);
            scope.spawn(move || {
                while !ended.load(Ordering::Relaxed) {
                    black_box(reader.peek().map_or(0, |guard| guard.epoch()));
                }
            });
        }
        for _ in 0..if options.quick { 200 } else { 5_000 } {
            thread::sleep(Duration::from_millis(1));
            let plan = plan(Switch::Far);
            let began = Instant::now();
            path.publish(&plan);
            samples.push(began.elapsed().as_nanos() as f64);
        }
        ended.store(true, Ordering::Relaxed);
    });
    let row = Row::new("publishing a plan, two threads reading", Unit::Nanos, samples);
    let p99 = row.quantile(0.99);
    report.push(row);
    report.push(Row::new("  its p99", Unit::Nanos, vec![p99]).bar(10_000.0));
    Ok(())
}
