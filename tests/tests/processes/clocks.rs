//! Clocks that are confident and wrong (PROTOCOL §2, §8): processes stopped and continued, wall clocks
//! that step, servers and agents that come back with other clocks. Whether readers were misled is
//! judged by the replay, as everywhere; here is seen to it that each fault really came about.

mod other;
mod stopped;
mod wall;

use downbeat_core::effect::Effect;
use downbeat_core::serving::{Serving, SwitchPlan};
use downbeat_core::time::{LocalTime, Span};
use downbeat_core::timeline::Line as Slope;
use downbeat_tests::farm::{FOUR, Farm, Setup};
use downbeat_tests::history::{History, Mode, TableSeen};
use downbeat_tests::host_view::{WallClock, left_out};
use downbeat_tests::processes::eventually;
use downbeat_tests::tail::Tail;
use downbeat_trace::{How, Line};
use std::time::Duration;

/// Strict, prompt, and a strict one to which less is done: it begins the cycles, and shows what is live.
const THREE: [Setup; 3] = [FOUR[0], FOUR[2], FOUR[1]];
/// Those of the three to which something is done.
const TOUCHED: [usize; 2] = [0, 1];
/// How long it may take until all agents are armed at the same time: several of the longest cycles.
const TOO_LONG: Span = Span::from_secs(45);
/// In seconds.
const HOUR: i64 = 3_600;

/// The most that a server's line is slewed, in parts per billion: nearly half of 100 ppm.
const MOST_SLEW: i32 = 49_997;

/// The host's clock.
fn now() -> LocalTime {
    downbeat_agent::Clock::host().now()
}

fn sleep_until(at: LocalTime) {
    std::thread::sleep(Duration::from_nanos((at - now()).or_zero().as_nanos().unsigned_abs()));
}

/// Runs a scene on farms with longer and longer cycles until what it is about came about: a busy host may
/// be too slow for the shorter ones. Each farm is judged, whether it did or not.
fn at_some_pace(name: &str, scene: impl Fn(u32) -> bool) {
    let came_about = [1, 3, 9].into_iter().any(|pace| {
        let came_about = scene(pace);
        if !came_about {
            eprintln!("{name}: it did not come about with cycles {pace} times as long");
        }
        came_about
    });
    assert!(came_about, "{name}: it did not come about at any pace");
}

/// A look at the table from after an instant.
fn look_after(farm: &Farm, from: LocalTime) -> TableSeen {
    eventually("a look", || farm.newest().filter(|look| look.host.0 >= from.as_nanos()))
}

/// Ends a scene that its host is too slow for; what was seen of it is judged all the same.
fn give_up(farm: Farm) -> bool {
    let (_, faults) = farm.end();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    false
}

/// Waits until all of these agents are ready to go over to the same generation by themselves, and serve the
/// one before it. Returns its epoch; `None` where that takes so long that longer cycles are called for.
fn armed(farm: &Farm, agents: impl Iterator<Item = usize>) -> Option<u64> {
    let mut tails: Vec<_> = agents.map(|agent| farm.agent_tail(agent)).collect();
    let until = now() + TOO_LONG;
    eventually("agents armed", || {
        if until.passed(now()) {
            return Some(None);
        }
        let epoch = farm.epoch();
        let is_armed = |tail: &mut Tail| {
            let staged = last_plan(tail)?.staged?;
            let serves = tail.last_read()?.1.current()?;
            (staged.epoch == epoch && serves.epoch < epoch).then_some(())
        };
        tails.iter_mut().all(|tail| is_armed(tail).is_some()).then_some(Some(epoch))
    })
}

fn published(line: &Line) -> impl Iterator<Item = &SwitchPlan> {
    let out = match line {
        Line::In { out, .. } => out.as_slice(),
        _ => &[],
    };
    out.iter().filter_map(|effect| match effect {
        Effect::Publish(plan) => Some(plan),
        _ => None,
    })
}

fn last_plan(tail: &mut Tail) -> Option<SwitchPlan> {
    tail.lines().iter().flat_map(published).last().copied()
}

/// What an agent serves that knows its knowledge to be out of date: nothing, or something marked stale.
fn admits(mode: Mode, got: Serving) -> bool {
    match mode {
        Mode::Strict => got == Serving::Fenced,
        Mode::Prompt => matches!(got, Serving::Stale(_)),
    }
}

/// Waits for the first read after an instant, of a kind; returns when it was.
fn read_after(tail: &mut Tail, from: LocalTime, what: &str, wanted: impl Fn(Serving) -> bool) -> LocalTime {
    eventually(what, || tail.reads().find(|(at, got)| *at >= from && wanted(*got)).map(|(at, _)| at))
}

/// Whether T of an epoch lies between the two, by the server's own line.
fn went_live_between(history: &History, epoch: u64, (from, to): (LocalTime, LocalTime)) -> bool {
    let activations = history.activations(epoch);
    activations.is_some_and(|(earliest, latest)| from.as_nanos() < earliest && latest < to.as_nanos())
}

/// How a server's clock came to be in force, and the line.
fn clocks(lines: &[Line]) -> impl Iterator<Item = (How, Slope)> {
    lines.iter().filter_map(|line| match line {
        Line::Clock { how, line, .. } => Some((*how, *line)),
        _ => None,
    })
}

fn timelines(history: &History) -> Vec<&String> {
    let mut lines: Vec<_> = history.tables.iter().map(|look| &look.timeline).collect();
    lines.dedup();
    lines
}

/// A wall clock for a test, or a word that there is none.
fn wall_clock(farm: &Farm, test: &str) -> Option<WallClock> {
    WallClock::new(&farm.folder().join("wall")).map_err(|why| left_out(test, &why)).ok()
}
