//! A second opinion: the protocol was written again in `spec/murphi/`, in PROTOCOL's terms and in another
//! language. Here the core's states and steps, projected to those terms, are counted and compared with
//! the specification's own; and the specification is shown to notice mistakes.

pub mod configurations;
pub mod explore;
pub mod murphi;
pub mod projection;

use configurations::{Comparison, Guards, MISTAKES, Mistake, comparisons};
use explore::Counts;
use murphi::Found;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Instant;

/// One thing to be done, and its result when it is.
enum Job<'a> {
    Core(&'a Comparison),
    Specification(&'a Comparison),
    Mistaken(&'a Mistake, &'a Comparison),
}

enum Done {
    Core(Counts),
    Found(Found),
}

/// Compares the configurations named, or all; says what differs.
pub fn run(names: &[&str]) -> ExitCode {
    let begun = Instant::now();
    let all = comparisons();
    let chosen: Vec<_> =
        all.iter().filter(|known| names.is_empty() || names.contains(&known.config.name)).collect();
    let named = |name| chosen.iter().find(|known| known.config.name == name);
    let mistakes: Vec<_> =
        MISTAKES.iter().filter_map(|mistake| named(mistake.config).map(|at| (mistake, *at))).collect();
    let mut jobs: Vec<_> = chosen.iter().map(|comparison| Job::Specification(comparison)).collect();
    jobs.extend(mistakes.iter().map(|(mistake, at)| Job::Mistaken(mistake, at)));
    jobs.extend(chosen.iter().map(|comparison| Job::Core(comparison)));
    let done = do_all(&jobs);
    let (specified, rest) = done.split_at(chosen.len());
    let (mistaken, explored) = rest.split_at(mistakes.len());
    println!("{:<12} {:>8} {:>20} {:>20}", "", "worlds", "states", "steps");
    println!("{:<12} {:>8} {:>10}{:>10} {:>10}{:>10}", "", "core", "core", "spec", "core", "spec");
    let mut good = true;
    for ((comparison, core), specification) in chosen.iter().zip(explored).zip(specified) {
        good &= compare(comparison, core, specification);
    }
    for ((mistake, _), found) in mistakes.iter().zip(mistaken) {
        good &= is_found(mistake, found);
    }
    println!("{} in {:.0} s", if good { "agreed" } else { "DISAGREED" }, begun.elapsed().as_secs_f32());
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Does the jobs on as many threads as there are cores; results in their order.
fn do_all(jobs: &[Job<'_>]) -> Vec<Result<Done, String>> {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let next = Mutex::new(jobs.iter().enumerate());
    let results = Mutex::new(Vec::new());
    let worker = || {
        loop {
            let taken = next.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).next();
            let Some((place, job)) = taken else { return };
            let result = job.run();
            results.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push((place, result));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..cores.min(jobs.len()) {
            scope.spawn(worker);
        }
    });
    let mut results = results.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    results.sort_by_key(|(place, _)| *place);
    results.into_iter().map(|(_, result)| result).collect()
}

impl Job<'_> {
    fn run(&self) -> Result<Done, String> {
        match self {
            Job::Core(comparison) => explore::explore(&comparison.config).map(Done::Core),
            Job::Specification(comparison) => {
                murphi::run(&comparison.constants(), &Guards::ALL).map(Done::Found)
            }
            Job::Mistaken(mistake, at) => murphi::run(&at.constants(), &mistake.guards).map(Done::Found),
        }
    }
}

fn compare(comparison: &Comparison, core: &Result<Done, String>, spec: &Result<Done, String>) -> bool {
    let name = comparison.config.name;
    let (core, spec) = match (core, spec) {
        (Ok(Done::Core(core)), Ok(Done::Found(spec))) => (core, spec),
        (Err(error), _) | (_, Err(error)) => {
            println!("{name:<12} {error}");
            return false;
        }
        _ => unreachable!("results come in the order of their jobs"),
    };
    match spec {
        Found::Broken(property) => {
            println!("{name:<12} the specification breaks {property}");
            false
        }
        Found::Counts { states, steps } => {
            let agree = (*states, *steps) == (core.states, core.steps);
            println!(
                "{name:<12} {:>8} {:>10}{:>10} {:>10}{:>10}  {}: {}",
                core.worlds,
                core.states,
                states,
                core.steps,
                steps,
                if agree { "equal" } else { "DIFFERENT" },
                comparison.about
            );
            agree
        }
    }
}

fn is_found(mistake: &Mistake, found: &Result<Done, String>) -> bool {
    let (good, words) = match found {
        Ok(Done::Found(Found::Broken(property))) if property.contains(mistake.falls) => {
            (true, format!("breaks {property}"))
        }
        Ok(Done::Found(Found::Broken(property))) => {
            (false, format!("should break {}, and breaks {property}", mistake.falls))
        }
        Ok(_) => (false, format!("should break {}, and breaks nothing", mistake.falls)),
        Err(error) => (false, error.clone()),
    };
    println!("spec, {}, with the mistake that {}: {words}", mistake.config, mistake.about);
    good
}
