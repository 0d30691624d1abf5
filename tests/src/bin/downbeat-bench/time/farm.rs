//! A farm of agents in processes of their own, beside a server in this one: its cycles, each with one
//! changed record, and what they were like.

use super::agents::{DATASET, FARM, KEY};
use super::fleet::Fleet;
use super::run::Run;
use super::summary::{median, micros, spread};
use super::told::Told;
use super::watcher::REPORT;
use crate::import::begin;
use downbeat_server::Handle;
use downbeat_tests::manage;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io;
use std::thread::sleep;
use std::time::Duration;

/// What cycles were like; spans are microseconds.
#[derive(Default)]
pub(crate) struct Cycles {
    pub(crate) run: Run,
    /// `staged_from` less `active_until`, of each agent and activation.
    pub(crate) holds: Vec<f64>,
    /// By how much that is more than 2ε at the switch.
    pub(crate) over: Vec<f64>,
    /// ε at the switch.
    pub(crate) epsilons: Vec<f64>,
    /// What a read that was held waited beyond the hold.
    pub(crate) beyond: Vec<f64>,
    /// Requests of each agent in each cycle, content aside.
    pub(crate) requests: Vec<f64>,
    /// What a read costs, by process, in nanoseconds.
    pub(crate) costs: Vec<f64>,
    /// Boundaries that a plan decided which was published later than its own instant.
    pub(crate) late: i64,
    /// Reads that got an error.
    pub(crate) failed: i64,
}

impl Cycles {
    pub(crate) fn add(&mut self, other: Cycles) {
        self.run.add(other.run);
        let pairs = [
            (&mut self.holds, other.holds),
            (&mut self.over, other.over),
            (&mut self.epsilons, other.epsilons),
            (&mut self.beyond, other.beyond),
            (&mut self.requests, other.requests),
            (&mut self.costs, other.costs),
        ];
        pairs.into_iter().for_each(|(all, more)| all.extend(more));
        self.late += other.late;
        self.failed += other.failed;
    }

    /// Adds what one process told of an epoch that counts.
    fn take(&mut self, told: &Told, epoch: u64) {
        let boundary: Option<[i64; 4]> = told.numbers("boundary", epoch);
        let switched: Option<[i64; 2]> = told.numbers("switched", epoch);
        let (Some([from, until, _, late]), Some([epsilon, requests])) = (boundary, switched) else { return };
        self.late += late;
        let hold = micros(from - until);
        self.holds.push(hold);
        self.over.push(hold - 2.0 * micros(epsilon));
        self.epsilons.push(micros(epsilon));
        if let Some([_, before]) = told.numbers("switched", epoch - 1) {
            self.requests.push((requests - before) as f64);
        }
        if let Some([began, first, ..]) = told.numbers::<4>("reads", epoch)
            && (until..from).contains(&began)
        {
            self.beyond.push(micros(first - from));
        }
    }
}

/// The settings of a farm of so many agents, and its interval. On two processors that many agents are armed in
/// time by it, and their samples before T are so far apart that they don't wait for each other.
pub(crate) fn settings(processes: usize) -> (Value, Duration) {
    let (interval, window) = match processes {
        ..=16 => (2_000, 40),
        17..=64 => (2_500, 80),
        _ => (3_500, 500),
    };
    let settings = json!({
        "interval": format!("{interval}ms"), "lead": format!("{}ms", interval / 2), "lease": "300ms",
        "round_trip": "250ms", "stagger": "200ms", "retrieve": "250ms",
        "sample_window": format!("{window}ms"),
    });
    (settings, Duration::from_millis(interval))
}

/// Runs a farm in a mode until so many activations were made by agents that had come before.
pub(crate) fn cycles(mode: &str, processes: usize, wanted: u64) -> io::Result<Cycles> {
    let folder = tempfile::tempdir()?;
    let (settings, interval) = settings(processes);
    let server = begin(folder.path(), &settings)?;
    put(&server, 1)?;
    let mut fleet = Fleet::begin(mode, &server.control().to_string(), processes)?;
    // What is staged now may be the first that an agent found.
    let first = status(&server)?.epoch + 1;
    let mut value = 1;
    loop {
        let status = status(&server)?;
        // The last that counts has gone live.
        if status.epoch > first + wanted {
            break;
        }
        sleep(status.left + interval / 3);
        value += 1;
        put(&server, value)?;
    }
    sleep(interval / 3);
    let told = fleet.ask(REPORT)?;
    if told.iter().any(|told| told.of("missed").next().is_some()) {
        return Err(io::Error::other("a process was too slow to take down what its agent did"));
    }
    let mut events = Vec::new();
    for epoch in first + 1..=first + wanted {
        events.extend(event(&told, epoch).filter(|_| is_new(&told, epoch)));
        agrees(&told, epoch)?;
    }
    let run = Run { events: wanted as usize, ..Run::of(&mut fleet, &told, &events)? };
    let mut cycles = Cycles { run, ..Cycles::default() };
    for told in &told {
        events.iter().for_each(|(epoch, ..)| cycles.take(told, *epoch));
        cycles.costs.extend(told.numbers("cost", 0).map(|[cost]: [i64; 1]| cost as f64));
        cycles.failed += told.numbers("failed", 0).map_or(0, |[failed]: [i64; 1]| failed);
    }
    fleet.end()?;
    server.stop();
    Ok(cycles)
}

/// An activation in which every process was armed before T: its epoch, from the first boundary to the
/// last, and T as the agents together have it, the boundary in the middle.
fn event(told: &[Told], epoch: u64) -> Option<(u64, f64, i64)> {
    let boundaries: Vec<Option<[i64; 4]>> = told.iter().map(|told| told.numbers("boundary", epoch)).collect();
    let spread = spread(boundaries.iter().map(|boundary| boundary.map(|[from, ..]| from)))?;
    let at = median(boundaries.iter().flatten().map(|[from, ..]| *from).collect())?;
    let armed = boundaries.iter().flatten().all(|[_, _, armed, _]| *armed < at);
    armed.then_some((epoch, spread, at))
}

/// What an epoch was read as, by all processes together.
fn values(told: &[Told], epoch: u64) -> BTreeSet<i64> {
    told.iter().filter_map(|told| Some(told.numbers::<4>("reads", epoch)?[3])).collect()
}

/// Whether an epoch has another content than the one before. On a busy host a change may come late for it.
fn is_new(told: &[Told], epoch: u64) -> bool {
    values(told, epoch).is_disjoint(&values(told, epoch - 1))
}

/// Whatever process reads an epoch has to get the same value from it.
fn agrees(told: &[Told], epoch: u64) -> io::Result<()> {
    let values = values(told, epoch);
    if values.len() <= 1 {
        return Ok(());
    }
    Err(io::Error::other(format!("epoch {epoch} was read as {values:?} (S6)")))
}

/// Where a farm stands.
struct Status {
    epoch: u64,
    /// Until its activation.
    left: Duration,
}

fn status(server: &Handle) -> io::Result<Status> {
    let answer = manage::ask(server.http(), "GET", &format!("/v1/farms/{FARM}"), b"");
    let (_, status) = answer.ok_or(io::ErrorKind::UnexpectedEof)?;
    let nanos = |instant: &str| status[instant]["ns"].as_i64();
    let (Some(epoch), Some(now), Some(activation)) =
        (status["epoch"].as_u64(), nanos("now"), nanos("activation"))
    else {
        return Err(io::Error::other(format!("the farm's status is {status}")));
    };
    Ok(Status { epoch, left: Duration::from_nanos(activation.saturating_sub(now).max(0).unsigned_abs()) })
}

fn put(server: &Handle, value: u64) -> io::Result<()> {
    let path = format!("/v1/farms/{FARM}/records/{DATASET}/{KEY}");
    match manage::ask(server.http(), "PUT", &path, value.to_string().as_bytes()) {
        Some((200, _)) => Ok(()),
        answer => Err(io::Error::other(format!("a put is answered {answer:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(lines: &[&str]) -> Told {
        let mut told = Told::default();
        assert!(lines.iter().all(|line| told.read(line)));
        told
    }

    #[test]
    fn an_activation_counts_if_all_were_armed_before_it() {
        // from, until, armed, late
        let [first, second] = [told(&["boundary 7 5000 3000 100 0"]), told(&["boundary 7 6500 4000 4999 1"])];
        assert_eq!(event(&[first.clone(), second.clone()], 7), Some((7, 1.5, 6_500)));
        let too_late = told(&["boundary 7 9000 3000 9000 1"]);
        assert_eq!(event(&[first.clone(), second.clone(), too_late], 7), None);
        assert_eq!(event(&[first, second, told(&[])], 7), None, "it went over to nothing");
    }

    #[test]
    fn an_epoch_is_one_value_and_another_than_the_one_before() {
        // began, first, last, value
        let all = [told(&["reads 6 1 2 3 20", "reads 7 4 5 6 21", "reads 8 7 8 9 21"]), told(&[])];
        assert_eq!([7, 8].map(|epoch| is_new(&all, epoch)), [true, false]);
        assert!(agrees(&all, 7).is_ok());
        let other = [all[0].clone(), told(&["reads 7 4 5 6 20"])];
        assert!(agrees(&other, 7).is_err() && !is_new(&other, 7));
    }

    #[test]
    fn what_a_process_tells_is_taken_in_its_units() {
        let told = told(&[
            "boundary 7 50000 20000 100 0",
            "switched 6 15100 40",
            "switched 7 15100 52",
            // It began in the hold, and got the new 1.5 µs after it.
            "reads 7 30000 51500 90000 3",
        ]);
        let mut cycles = Cycles::default();
        cycles.take(&told, 7);
        assert_eq!((cycles.holds, cycles.epsilons, cycles.requests), (vec![30.0], vec![15.1], vec![12.0]));
        assert!((cycles.over[0] + 0.2).abs() < 1e-9);
        assert_eq!(cycles.beyond, [1.5]);
    }
}
