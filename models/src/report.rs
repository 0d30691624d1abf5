//! What the commands print, and their verdicts.

use crate::actions::Action;
use crate::chart;
use crate::checks::{Check, checks, larger};
use crate::configuration::Configuration;
use crate::properties::{ALWAYS, SOMETIMES};
use crate::recover::tried;
use crate::redundant::{self, Redundant};
use crate::search::{Outcome, everything, shortest};
use crate::twins::twins;
use crate::world::World;
use downbeat_core::serving::Serving;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::num::NonZero;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

fn verdict(good: bool) -> ExitCode {
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Searches the configurations named (where none is, those of every run, or with `full` all) to their ends.
pub fn check(names: &[&str], full: bool) -> ExitCode {
    let mut good = true;
    let mut reached = BTreeSet::new();
    println!("{:22} {:>10} {:>6} {:>8}  verdict", "configuration", "states", "depth", "seconds");
    let usual = checks().into_iter().filter(|check| names.is_empty() || names.contains(&check.config.name));
    let larger = larger().into_iter().filter(|check| full || names.contains(&check.config.name));
    // The largest first, so that the cores end at about the same time.
    let mut chosen: Vec<Check> = usual.chain(larger).collect();
    chosen.sort_by_key(|check| Reverse(check.states));
    for_each_outcome(&chosen, |check, outcome| {
        good &= tell_outcome(check, &outcome);
        reached.extend(outcome.reached);
    });
    if names.is_empty() {
        good &= crate::coverage::print();
        for sometimes in SOMETIMES.iter().filter(|sometimes| !reached.contains(sometimes.name)) {
            good = false;
            println!("never reached, so {} was not put to the test: {}", sometimes.beside, sometimes.name);
        }
    }
    println!(
        "{} properties in every state: {}",
        ALWAYS.len(),
        ALWAYS.iter().map(|always| always.name).collect::<Vec<_>>().join(", ")
    );
    println!("{}", if good { "check: everything held" } else { "check: NOT everything held" });
    verdict(good)
}

/// Searches configurations, one on each core at a time; what is found is told as each ends.
fn for_each_outcome(chosen: &[Check], mut tell: impl FnMut(&Check, Outcome)) {
    let next = AtomicUsize::new(0);
    let (sender, outcomes) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, NonZero::get) {
            let (next, sender) = (&next, sender.clone());
            scope.spawn(move || {
                while let Some(check) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if sender.send((check, everything(&check.config))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        outcomes.iter().for_each(|(check, outcome)| tell(check, outcome));
    });
}

/// Prints what the search of a configuration found; whether it is what was expected.
fn tell_outcome(check: &Check, outcome: &Outcome) -> bool {
    let mut remarks = Vec::new();
    if outcome.states != check.states {
        remarks.push(format!("the pinned number of states is {}", check.states));
    }
    remarks
        .extend(outcome.broken.iter().map(|(name, path)| format!("{name} broken in {} steps", path.len())));
    println!(
        "{:22} {:>10} {:>6} {:>8.1}  {}",
        check.config.name,
        outcome.states,
        outcome.depth,
        outcome.took.as_secs_f64(),
        if remarks.is_empty() { "holds".to_string() } else { remarks.join("; ") }
    );
    for (name, path) in &outcome.broken {
        println!("{name}:");
        tell(&check.config, name, path);
    }
    remarks.is_empty()
}

/// Refutes the twins named (all, where none is), and searches the same configurations with the guard
/// on.
pub fn mutants(names: &[&str]) -> ExitCode {
    let mut good = true;
    let mut whole: BTreeMap<String, Result<usize, String>> = BTreeMap::new();
    println!("{:30} {:26} {:>5} {:>5}  verdict", "twin", "property", "steps", "most");
    for twin in twins().filter(|twin| names.is_empty() || names.contains(&twin.name)) {
        for (property, given) in twin.falls {
            let (path, _, _) = shortest(&twin.broken(), property);
            let most = given.map(|steps| 2 * steps);
            let steps = path.as_ref().map(Vec::len);
            let refuted = steps.is_some_and(|steps| most.is_none_or(|most| steps <= most));
            good &= refuted;
            println!(
                "{:30} {property:26} {:>5} {:>5}  {}",
                twin.name,
                steps.map_or("-".to_string(), |steps| steps.to_string()),
                most.map_or("-".to_string(), |most| most.to_string()),
                if refuted { "refuted" } else { "NOT refuted" }
            );
        }
        let config = twin.whole();
        let key = format!("{:?}", Configuration { name: "", ..config.clone() });
        let outcome = whole.entry(key).or_insert_with(|| {
            let outcome = everything(&config);
            match outcome.broken.first() {
                None => Ok(outcome.states),
                Some((property, _)) => {
                    let path = shortest(&config, property).0.unwrap_or_default();
                    println!("{property}:");
                    tell(&config, property, &path);
                    Err(format!("{property} broken in {} steps", path.len()))
                }
            }
        });
        good &= outcome.is_ok();
        match outcome {
            Ok(states) => println!("{:30} with its guard: {states} states, everything holds", ""),
            Err(why) => println!("{:30} with its guard: {why}", ""),
        }
    }
    println!("{}", if good { "mutants: every twin refuted" } else { "mutants: NOT every twin refuted" });
    verdict(good)
}

/// Takes each guard away that is said to be redundant (those named, or all), and demands that nothing
/// breaks.
pub fn redundant(names: &[&str]) -> ExitCode {
    let known = |name: &&str| redundant::REDUNDANT.iter().any(|known| format!("{:?}", known.guard) == **name);
    if let Some(unknown) = names.iter().find(|name| !known(name)) {
        let all: Vec<String> =
            redundant::REDUNDANT.iter().map(|known| format!("{:?}", known.guard)).collect();
        eprintln!("{unknown} is not said to be redundant; these are: {}", all.join(" "));
        return ExitCode::from(2);
    }
    let mut good = true;
    let configurations = redundant::configurations(60_000);
    for Redundant { guard, behind } in redundant::REDUNDANT {
        if !(names.is_empty() || names.contains(&format!("{guard:?}").as_str())) {
            continue;
        }
        let mut states = 0;
        for config in &configurations {
            let search = redundant::without(*guard, config);
            states += search.states;
            good &= search.broken.is_empty();
            if !search.broken.is_empty() {
                println!("{guard:?} is NOT redundant: {} fall in {}", search.broken.join(", "), search.name);
            }
        }
        println!("{guard:?}: {} configurations, {states} states; behind {behind}", configurations.len());
    }
    println!("{}", if good { "redundant: nothing broke" } else { "redundant: something broke" });
    verdict(good)
}

/// Random runs by seed, to the first that breaks a property.
pub fn simulate(first: u64, last: u64, events: u64) -> ExitCode {
    let (mut steps, mut cycles) = (0, 0);
    for seed in first..=last {
        let run = crate::simulate::run(seed, events);
        steps += run.steps;
        cycles += run.cycles;
        if let Some((property, trail)) = run.broken {
            println!("seed {seed}: {property} broken at step {}; the last steps:", run.steps);
            for (now, what) in trail {
                println!("  t={now:<4} {what}");
            }
            println!("again with: downbeat-models simulate --seed {seed} --events {events}");
            return ExitCode::FAILURE;
        }
    }
    println!("seeds {first} to {last}: {steps} steps, {cycles} generations, no property was broken");
    ExitCode::SUCCESS
}

/// Draws the shortest counterexample of a twin, one chart for each property that falls; as SVG too,
/// where a file is named. Further properties' pictures get their ids before the file's ending.
pub fn explain(name: &str, file: Option<&str>) -> ExitCode {
    let Some(twin) = twins().find(|twin| twin.name == name) else { return ExitCode::from(2) };
    let mut good = true;
    for (place, (property, _)) in twin.falls.iter().enumerate() {
        let Some(chart) = chart::of_twin(twin, property) else {
            println!("{property} is not broken");
            good = false;
            continue;
        };
        // Whoever reads this may close the pipe before the end.
        let _ = writeln!(std::io::stdout(), "{}", chart::text::text(&chart));
        let Some(file) = file.map(|file| numbered(file, place, property)) else { continue };
        match std::fs::write(&file, chart::svg::svg(&chart)) {
            Ok(()) => println!("written: {file}"),
            Err(why) => {
                eprintln!("{file} can't be written ({why}); name a file in a folder that is there");
                good = false;
            }
        }
    }
    verdict(good)
}

/// The file for a twin's property: the one that was named for the first.
fn numbered(file: &str, place: usize, property: &str) -> String {
    let id = property.split(' ').next().unwrap_or_default();
    match (place, file.rsplit_once('.')) {
        (0, _) => file.to_string(),
        (_, Some((stem, ending))) => format!("{stem}-{id}.{ending}"),
        (_, None) => format!("{file}-{id}"),
    }
}

/// Tells a path step by step: real time, what was done, and what each agent's readers then get; and
/// after it, where R1 fell, the schedule without faults that did not lead back in time.
fn tell(config: &Configuration, property: &str, path: &[Action]) {
    let mut world = World::new(config);
    for (number, action) in path.iter().enumerate() {
        let what = world.describe(*action);
        world.step(config, *action);
        println!("  {:>3}. t={:<3} {what:44} readers: {}", number + 1, world.now, readers(&world));
    }
    if property.starts_with("R1") {
        println!("  from here on without faults:");
        tried(config, &world, &mut |world, action| {
            println!("       t={:<3} {:44} readers: {}", world.now, world.describe(action), readers(world));
        });
    }
}

fn readers(world: &World) -> String {
    let read = |index| {
        let serving = world.read(index);
        let name = match serving {
            Serving::Active(_) => "active",
            Serving::Staged(_) => "staged",
            Serving::Stale(_) => "stale",
            Serving::Hold => "held",
            Serving::Fenced => "fenced",
        };
        serving.generation().map_or(name.to_string(), |generation| format!("{name} {}", generation.epoch))
    };
    (0..world.hosts.len()).map(read).collect::<Vec<_>>().join(" | ")
}
