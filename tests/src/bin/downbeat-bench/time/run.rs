//! One run of one system with so many processes: what each event was like, from what the processes told.

use super::fleet::Fleet;
use super::summary::{overlap, spread};
use super::told::Told;
use super::watcher::{NEAR, REPORT};
use std::io;

/// Reads of 256 processes that must be near an event for its control to count.
const READS_NEAR: usize = 100;

/// What events were like; microseconds. Runs of the same kind are added up.
#[derive(Default)]
pub(crate) struct Run {
    /// How many events there were.
    pub(crate) events: usize,
    /// From the first process to the last, of each event that all of them saw.
    pub(crate) spreads: Vec<f64>,
    /// Of each event with enough reads near it: the latest read of the old less the earliest of the new.
    pub(crate) controls: Vec<f64>,
    /// Of those events: by how much that is more than the spread.
    pub(crate) excesses: Vec<f64>,
}

impl Run {
    pub(crate) fn add(&mut self, other: Run) {
        self.events += other.events;
        self.spreads.extend(other.spreads);
        self.controls.extend(other.controls);
        self.excesses.extend(other.excesses);
    }

    /// Of events, each with its version, its spread and its instant (nanoseconds of the host's clock).
    pub(crate) fn of(fleet: &mut Fleet, told: &[Told], events: &[(u64, f64, i64)]) -> io::Result<Run> {
        let instants: Vec<String> = events.iter().map(|(.., at)| at.to_string()).collect();
        let near = fleet.ask(&format!("{NEAR} {}", instants.join(" ")))?;
        let mut run = Run::default();
        for (at, (version, spread, _)) in events.iter().enumerate() {
            run.spreads.push(*spread);
            let one = |told: &Told| told.of(NEAR).next().and_then(|(_, counts)| counts.get(at).copied());
            let reads: i64 = near.iter().filter_map(one).sum();
            let enough = (READS_NEAR * told.len()).div_ceil(256).min(READS_NEAR);
            if let Some(overlap) = overlap(told, *version).filter(|_| reads >= enough as i64) {
                run.controls.push(overlap);
                run.excesses.push(overlap - spread);
            }
        }
        Ok(run)
    }

    /// Of processes that are woken: an event's instant is when the first of them was.
    pub(crate) fn of_wakes(mut fleet: Fleet, versions: u64) -> io::Result<Run> {
        let told = fleet.ask(REPORT)?;
        let wakes = |version| {
            let one = move |told: &Told| told.numbers("wake", version).map(|[at]: [i64; 1]| at);
            told.iter().map(one)
        };
        let event = |version| Some((version, spread(wakes(version))?, wakes(version).flatten().min()?));
        let events: Vec<_> = (1..=versions).filter_map(event).collect();
        let run = Run { events: versions as usize, ..Run::of(&mut fleet, &told, &events)? };
        fleet.end()?;
        Ok(run)
    }
}
