//! One process that watches a system, as it is itself: who it is told to be, its two threads (one that
//! watches, one that reads), and what it answers. What watching means is in each system's own file.

use super::readings::{self, Readings, Seen};
use super::told::Told;
use super::{agents, etcd, redis, sleeping};
use downbeat_agent::Clock;
use downbeat_agent::core::time::LocalTime;
use std::io::{self, BufRead, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// The first word that makes this program one.
pub(crate) const WORD: &str = "as-watcher";
/// What it says once it watches.
pub(crate) const READY: &str = "ready";
/// What ends each of its answers.
pub(crate) const END: &str = "end";
/// Asks for what was measured.
pub(crate) const REPORT: &str = "report";
/// Asks how many reads were near the instants that follow.
pub(crate) const NEAR: &str = "near";
/// Tells instants of CLOCK_MONOTONIC, in nanoseconds, for which a process is to sleep.
pub(crate) const SLEEP: &str = "sleep";

/// How long it may take until it watches.
const PATIENCE: Duration = Duration::from_secs(90);

/// What a watching thread has.
pub(crate) struct Watcher {
    /// Which of the processes it is, from 0 on.
    pub(crate) index: usize,
    /// How many there are.
    pub(crate) of: usize,
    /// Where the system is.
    pub(crate) address: String,
    /// The host's clock: the same in all processes.
    pub(crate) clock: Clock,
    /// What is told of the measurements.
    pub(crate) told: Arc<Mutex<Told>>,
    /// The instants that come with [`SLEEP`].
    pub(crate) instants: Receiver<Vec<i64>>,
    served: Arc<AtomicU64>,
    ready: Sender<readings::Source>,
}

impl Watcher {
    /// It has been told of a version, which its process serves from now on.
    pub(crate) fn saw(&self, version: u64, at: LocalTime) {
        self.served.store(version, Ordering::Release);
        lock(&self.told).note("wake", version, &[at.as_nanos()]);
    }

    /// It watches: what its process serves is what it saw last.
    pub(crate) fn ready(&self) {
        let (served, clock) = (self.served.clone(), self.clock.clone());
        self.ready_with(Box::new(move || {
            loop {
                let version = served.load(Ordering::Acquire);
                let at = clock.now();
                // Served before and after the instant, so at it: this thread may be stopped in between.
                if served.load(Ordering::Acquire) == version {
                    return Some(Seen { version, value: version, began: at, at });
                }
            }
        }));
    }

    /// It watches, and this is how its process is read.
    pub(crate) fn ready_with(&self, source: readings::Source) {
        // The process is ending.
        let _ = self.ready.send(source);
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs as a watcher, where the first word says so.
pub(crate) fn run_if_asked() -> Option<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [word, system, index, of, address] = words.as_slice() else { return None };
    if word != WORD {
        return None;
    }
    let ran = match (index.parse(), of.parse()) {
        (Ok(index), Ok(of)) => run(system, index, of, address),
        _ => Err(io::Error::other("a process is one of so many")),
    };
    Some(ran.map_or_else(
        |error| {
            eprintln!("a watcher of {system}: {error}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    ))
}

fn run(system: &str, index: usize, of: usize, address: &str) -> io::Result<()> {
    let watch: fn(Watcher) -> io::Result<()> = match system {
        "prompt" => agents::prompt,
        "strict" => agents::strict,
        "redis" => redis::watch,
        "polling" => redis::poll,
        "etcd" => etcd::watch,
        "sleeping" => sleeping::watch,
        _ => return Err(io::Error::other("there is no such system")),
    };
    let ((ready, watches), (instants, for_sleeping)) = (channel(), channel());
    let (told, served) = (Arc::<Mutex<Told>>::default(), Arc::default());
    let watcher = Watcher {
        index,
        of,
        address: address.to_string(),
        clock: Clock::host(),
        told: told.clone(),
        instants: for_sleeping,
        served,
        ready,
    };
    let name = system.to_string();
    thread::spawn(move || {
        let Err(error) = watch(watcher) else { return };
        eprintln!("a watcher of {name}: {error}");
        // What watches has ended: the process has nothing more to tell.
        std::process::exit(1)
    });
    let source = watches.recv_timeout(PATIENCE).map_err(|_| io::Error::other("nothing came in time"))?;
    let readings = Arc::<Mutex<Readings>>::default();
    let (read, phase) = (readings.clone(), readings::phase(index, of));
    thread::spawn(move || readings::read_on(source, phase, &read));
    answer(READY, &Told::default(), false)?;
    for line in io::stdin().lock().lines() {
        let line = line?;
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let numbers = || rest.split_ascii_whitespace().filter_map(|number| number.parse().ok());
        match word {
            REPORT => {
                let mut told = lock(&told).clone();
                lock(&readings).tell(&mut told);
                answer("", &told, true)?;
            }
            NEAR => {
                let mut told = Told::default();
                let near: Vec<i64> = numbers().map(|at| lock(&readings).near(at)).collect();
                told.note(NEAR, 0, &near);
                answer("", &told, true)?;
            }
            // Where nobody sleeps, nobody is to be woken.
            SLEEP => drop(instants.send(numbers().collect())),
            _ => return Err(io::Error::other(format!("nothing is known of {line:?}"))),
        }
    }
    Ok(())
}

fn answer(first: &str, told: &Told, ends: bool) -> io::Result<()> {
    let mut text = told.to_string();
    if !first.is_empty() {
        text = format!("{first}\n{text}");
    }
    if ends {
        text += END;
        text.push('\n');
    }
    let mut output = io::stdout().lock();
    output.write_all(text.as_bytes())?;
    output.flush()
}
