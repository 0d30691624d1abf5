//! The part `together`: Downbeat in both modes and what people would use instead, one after the other,
//! with the same number of processes and the same reads in each; and the rows that are made of it.

use super::farm::{self, Cycles};
use super::fleet::Fleet;
use super::plot::{self, Strip};
use super::run::Run;
use super::watcher::SLEEP;
use super::{etcd, program, redis};
use crate::Options;
use crate::report::{Report, Row, Unit};
use rustix::time::{ClockId, clock_gettime};
use std::io;
use std::thread::sleep;
use std::time::Duration;

/// Fewer counted events than this at most processes, and a bar is not met.
const LEAST: usize = 30;
/// Said of a peer that can't be measured; a bar against it is not met.
const MISSING: &str = "MISSING: it is not installed";
/// Between two events of systems that wake their processes.
const APART: Duration = Duration::from_millis(300);
/// The same where each process looks once a second.
const APART_POLLED: Duration = Duration::from_millis(2_200);

/// What a system without agents is measured with.
type Peer = (&'static str, fn(usize, u64) -> io::Result<Option<Run>>, Option<f64>);

/// The peers, and the bar where there is one: what share of their p99 ours may be.
const PEERS: [Peer; 4] = [
    ("clock_nanosleep", sleeping, Some(1.0 / 100.0)),
    ("Redis publish/subscribe", subscribed, Some(1.0 / 200.0)),
    ("etcd watch", watched, Some(1.0 / 200.0)),
    ("polling each second", polled, None),
];

/// How many processes there are, and how often each thing happens to them in one of the rounds.
struct Plan {
    processes: usize,
    rounds: usize,
    activations: u64,
    events: u64,
}

/// All systems, with a few processes and with many.
pub(crate) fn together(options: Options, report: &mut Report) -> io::Result<()> {
    let plan = |processes, rounds, activations, events| Plan { processes, rounds, activations, events };
    let plans = if options.quick {
        vec![plan(16, 1, 3, 3)]
    } else {
        vec![plan(8, 2, 8, 8), plan(64, 2, 8, 8), plan(256, 2, 18, 18)]
    };
    let most = plans.iter().map(|plan| plan.processes).max().unwrap_or_default();
    let mut strips = Vec::new();
    for plan in plans {
        let (mut prompt, mut strict) = (Cycles::default(), Cycles::default());
        let mut peers: [Option<Run>; 4] = Default::default();
        // Systems take turns, so that whatever else the machine does meets all of them.
        for _ in 0..plan.rounds {
            prompt.add(farm::cycles("prompt", plan.processes, plan.activations)?);
            for (run, (_, measure, _)) in peers.iter_mut().zip(PEERS) {
                if let Some(more) = measure(plan.processes, plan.events)? {
                    run.get_or_insert_default().add(more);
                }
            }
            strict.add(farm::cycles("strict", plan.processes, plan.activations)?);
        }
        let all = Measured { processes: plan.processes, most: plan.processes == most, prompt, strict, peers };
        all.report(report);
        strips.extend(all.strips());
    }
    let Some(folder) = options.svg else { return Ok(()) };
    let head = "From the first process to the last that goes over to the new data";
    plot::write(&folder.join("together.svg"), &plot::strips(head, &strips))
}

/// What was measured with so many processes.
struct Measured {
    processes: usize,
    /// There are no more processes in any other: bars are of these.
    most: bool,
    prompt: Cycles,
    strict: Cycles,
    peers: [Option<Run>; 4],
}

impl Measured {
    fn modes(&self) -> [(&'static str, &Cycles); 2] {
        [("prompt", &self.prompt), ("strict", &self.strict)]
    }

    fn report(&self, report: &mut Report) {
        self.spreads(report);
        self.agents(report);
        if self.most {
            self.controls(report);
        }
    }

    fn row(&self, what: &str, samples: &[f64]) -> Row {
        Row::new(&format!("{} processes: {what}", self.processes), Unit::Micros, samples.to_vec())
    }

    fn spreads(&self, report: &mut Report) {
        let (settings, interval) = farm::settings(self.processes);
        let window = settings["sample_window"].as_str().unwrap_or_default();
        let counted = |run: &Run| format!("{} of {} counted", run.spreads.len(), run.events);
        let mut ours = Vec::new();
        for (mode, cycles) in self.modes() {
            let row = self.row(&format!("boundary spread, {mode}"), &cycles.run.spreads);
            ours.push((mode, row.median(), row.quantile(0.99), row.samples()));
            report.push(row.note(format!(
                "{}; interval {} s, sample_window {window}; {} plans came after their own instant",
                counted(&cycles.run),
                interval.as_secs_f64(),
                cycles.late
            )));
        }
        for ((name, _, share), run) in PEERS.iter().zip(&self.peers) {
            let row = self.row(name, run.as_ref().map_or(&[], |run| &run.spreads));
            let (median, p99, events) = (row.median(), row.quantile(0.99), row.samples());
            report.push(row.note(run.as_ref().map_or(MISSING.into(), counted)));
            let Some(share) = share.filter(|_| self.most) else { continue };
            for (mode, own_median, own, own_events) in &ours {
                let what = format!("  p99 of the boundary spread, {mode} / that of {name}");
                let enough = *own_events >= LEAST && events >= LEAST;
                let note = match (run, enough) {
                    (None, _) => MISSING.into(),
                    (_, false) => format!("fewer than {LEAST} were counted"),
                    // On a busy host a peer's p99 says more of the host than of the peer.
                    (_, true) => format!("of the medians: {:.4}", own_median / median),
                };
                let ratio = if enough { vec![own / p99] } else { vec![] };
                report.push(Row::new(&what, Unit::Ratio, ratio).bar(share).note(note));
            }
        }
    }

    fn agents(&self, report: &mut Report) {
        for (mode, cycles) in self.modes() {
            report.push(self.row(&format!("ε at the switch, {mode}"), &cycles.epsilons));
        }
        let least = LEAST * self.processes;
        let barred = |row: Row, bar| if self.most { row.bar_p99(bar).needs(least) } else { row };
        let hold = self.row("strict hold", &self.strict.holds);
        report.push(barred(hold, 60.0).note("staged_from − active_until, of each agent and activation"));
        report.push(barred(self.row("strict hold less 2ε", &self.strict.over), 0.0));
        let beyond = self.row("what a held read waited beyond its hold", &self.strict.beyond);
        report.push(beyond.note("scheduling; of the reads of the control that were held"));
        for (mode, cycles) in self.modes() {
            let what = format!("{} processes: requests per agent and cycle, {mode}", self.processes);
            let row = Row::new(&what, Unit::Count, cycles.requests.clone());
            report.push(barred(row, 14.0).note("content aside, time samples included"));
        }
    }

    fn controls(&self, report: &mut Report) {
        let counted =
            |run: &Run| format!("{} of {} had reads enough within 5 ms of T", run.controls.len(), run.events);
        let control = |name: &str, run: &Run| self.row(&format!("control, {name}"), &run.controls);
        let read = Row::new("  what a read costs, prompt", Unit::Nanos, self.prompt.costs.clone());
        let cost = read.median();
        let Cycles { run, failed, .. } = &self.prompt;
        let note = format!("{}; {failed} reads got an error", counted(run));
        report.push(control("prompt: latest read of the old − earliest of the new", run).note(note));
        report.push(read.note("of each process: means of 100, their median"));
        let excess = Row::new("  control less boundary spread, prompt", Unit::Micros, run.excesses.clone());
        report.push(excess.bar_most(cost / 1e3).needs(LEAST).note("the bar is what a read costs"));
        let Cycles { run, failed, .. } = &self.strict;
        let note = format!("{}; {failed} reads got an error", counted(run));
        report.push(control("strict", run).bar_most(0.0).needs(LEAST).note(note));
        for ((name, ..), run) in PEERS.iter().zip(&self.peers) {
            match run {
                Some(run) => report.push(control(name, run).note(counted(run))),
                None => report.push(self.row(&format!("control, {name}"), &[]).note(MISSING)),
            }
        }
    }

    fn strips(&self) -> Vec<Strip> {
        let group = format!("{} processes", self.processes);
        let ours = self.modes().map(|(mode, cycles)| (format!("Downbeat, {mode}"), true, Some(&cycles.run)));
        let peers =
            PEERS.iter().zip(&self.peers).map(|((name, ..), run)| (name.to_string(), false, run.as_ref()));
        let strip = |(name, ours, run): (String, bool, Option<&Run>)| Strip {
            group: group.clone(),
            name,
            ours,
            micros: run.map(|run| run.spreads.clone()).unwrap_or_default(),
        };
        ours.into_iter().chain(peers).map(strip).collect()
    }
}

fn sleeping(processes: usize, events: u64) -> io::Result<Option<Run>> {
    let mut fleet = Fleet::begin("sleeping", "", processes)?;
    let now = clock_gettime(ClockId::Monotonic);
    let now = Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or_default());
    // Time for all of them to be told, and to fall asleep.
    let first = now + Duration::from_secs(1);
    let instants = (0..events).map(|event| (first + APART * event as u32).as_nanos().to_string());
    fleet.tell(&format!("{SLEEP} {}", instants.collect::<Vec<_>>().join(" ")))?;
    sleep(Duration::from_secs(1) + APART * (events as u32 + 1));
    Run::of_wakes(fleet, events).map(Some)
}

/// Publishes versions from 1 on, each some time after the one before.
fn publish(events: u64, apart: Duration, mut one: impl FnMut(u64) -> io::Result<()>) -> io::Result<()> {
    sleep(apart);
    (1..=events).try_for_each(|version| {
        one(version)?;
        sleep(apart);
        Ok(())
    })
}

fn subscribed(processes: usize, events: u64) -> io::Result<Option<Run>> {
    by_redis("redis", APART, redis::Line::publish, processes, events)
}

fn polled(processes: usize, events: u64) -> io::Result<Option<Run>> {
    by_redis("polling", APART_POLLED, redis::Line::set, processes, events)
}

fn by_redis(
    system: &str,
    apart: Duration,
    one: fn(&mut redis::Line, u64) -> io::Result<()>,
    processes: usize,
    events: u64,
) -> io::Result<Option<Run>> {
    if !program::is_installed(redis::PROGRAM) {
        return Ok(None);
    }
    let folder = tempfile::tempdir()?;
    let (_server, address) = redis::begin(folder.path())?;
    let mut line = redis::Line::connect(&address.to_string())?;
    let fleet = Fleet::begin(system, &address.to_string(), processes)?;
    publish(events, apart, |version| one(&mut line, version))?;
    Run::of_wakes(fleet, events).map(Some)
}

fn watched(processes: usize, events: u64) -> io::Result<Option<Run>> {
    if !program::is_installed(etcd::PROGRAM) {
        return Ok(None);
    }
    let folder = tempfile::tempdir()?;
    let (_server, mut putter, address) = etcd::begin(folder.path())?;
    let fleet = Fleet::begin("etcd", &address.to_string(), processes)?;
    publish(events, APART, |version| putter.put(version))?;
    Run::of_wakes(fleet, events).map(Some)
}
