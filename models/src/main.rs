//! `downbeat-models`: the checkers as a command.

use downbeat_models::search::Search;
use downbeat_models::{checks, coverage, replay, report, second_opinion, twins};
use stateright::Model;
use std::process::ExitCode;
use std::sync::Arc;

const USAGE: &str = "usage: downbeat-models COMMAND

  check [--full | NAME...]    searches every state of the configurations named, or of all; with --full
                              also of larger ones
  mutants [NAME...]           refutes the broken twins named, or all
  explain TWIN [--svg FILE]   the shortest counterexample of a twin as a sequence chart, with clocks;
                              also as a picture, where a file is named
  redundant [GUARD...]        takes each guard away that stands behind another: nothing may break
  simulate [--seeds N] [--events N] [--seed S]
                              random runs with the seeds 1 to N (100) or with S alone, of so many steps
                              each (10000)
  replay FILE...              traces of servers, agents and readers of one host: fed to the core again, which
                              must answer as it did, and judged together at the real instants
  explore NAME [ADDRESS]      the states of a configuration or a twin in a browser
                              (default address: localhost:3000)
  coverage                    which fault is searched in which configuration
  second-opinion [NAME...]    compares the core with the specification in spec/murphi (needs rumur and cc)
  list                        the names

Exit code: 0 if everything held, 1 if anything did not, 2 if the command was not understood.";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["check", "--full"] => report::check(&[], true),
        ["check", names @ ..] => known(names, &check_names()).unwrap_or_else(|| report::check(names, false)),
        ["mutants", names @ ..] => known(names, &twin_names()).unwrap_or_else(|| report::mutants(names)),
        ["explain", name] => known(&[name], &twin_names()).unwrap_or_else(|| report::explain(name, None)),
        ["explain", name, "--svg", file] => {
            known(&[name], &twin_names()).unwrap_or_else(|| report::explain(name, Some(file)))
        }
        ["redundant", names @ ..] => report::redundant(names),
        ["simulate", options @ ..] => simulate(options),
        ["replay", first, rest @ ..] => replay::replay(&[&[*first], rest].concat()),
        ["explore", name] => explore(name, "localhost:3000"),
        ["explore", name, address] => explore(name, address),
        ["coverage"] => {
            if coverage::print() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        ["second-opinion", names @ ..] => {
            known(names, &comparison_names()).unwrap_or_else(|| second_opinion::run(names))
        }
        ["list"] => {
            println!("configurations: {}", check_names().join(" "));
            println!("comparisons: {}", comparison_names().join(" "));
            println!("twins: {}", twin_names().join(" "));
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn check_names() -> Vec<&'static str> {
    checks::checks().iter().chain(&checks::larger()).map(|check| check.config.name).collect()
}

fn comparison_names() -> Vec<&'static str> {
    second_opinion::configurations::comparisons().iter().map(|known| known.config.name).collect()
}

fn twin_names() -> Vec<&'static str> {
    twins::twins().map(|twin| twin.name).collect()
}

/// An exit code where a name is not known.
fn known(names: &[&str], all: &[&'static str]) -> Option<ExitCode> {
    let unknown = names.iter().find(|name| !all.contains(name))?;
    eprintln!("{unknown} is not a name here; the names are: {}", all.join(" "));
    Some(ExitCode::from(2))
}

fn simulate(options: &[&str]) -> ExitCode {
    let (mut seeds, mut events, mut one) = (100, 10_000, None);
    for option in options.chunks(2) {
        let number = option.get(1).and_then(|number| number.parse::<u64>().ok());
        match (option[0], number) {
            ("--seeds", Some(number)) => seeds = number,
            ("--events", Some(number)) => events = number,
            ("--seed", Some(number)) => one = Some(number),
            _ => {
                eprintln!("simulate takes --seeds, --events and --seed, each with a whole number");
                return ExitCode::from(2);
            }
        }
    }
    report::simulate(one.unwrap_or(1), one.unwrap_or(seeds), events)
}

fn explore(name: &str, address: &str) -> ExitCode {
    let checks = [checks::checks(), checks::larger()].concat();
    let check = checks.iter().find(|check| check.config.name == name).map(|check| check.config.clone());
    let twin = twins::twins().find(|twin| twin.name == name).map(twins::Twin::broken);
    let Some(config) = check.or(twin) else {
        return known(&[name], &[check_names(), twin_names()].concat()).unwrap_or(ExitCode::FAILURE);
    };
    println!("exploring {name} at http://{address}/ until interrupted");
    Search { config: Arc::new(config), only: None }.checker().serve(address);
    ExitCode::SUCCESS
}
