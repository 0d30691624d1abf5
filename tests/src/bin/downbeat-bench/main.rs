#![forbid(unsafe_code)]
//! The benchmarks, one command for all: each prints a table with its peers beside it in the same
//! run, medians and p99, the bars and whether they are met.
//!
//! A suite is a function that gives the report its rows; to add rows to a suite, add a function to
//! its list in [`SUITES`]. Measurements of one row and its peers alternate, so that whatever else
//! the machine does meets both.

mod data;
mod image;
mod lookup;
mod machine;
mod report;

use report::Report;
use std::process::ExitCode;

/// How a run is to be made.
#[derive(Clone, Copy)]
struct Options {
    /// A tenth of the records and few repetitions: whether it works, not how fast.
    quick: bool,
    json: bool,
}

type Measure = fn(Options, &mut Report) -> std::io::Result<()>;

/// The suites by name, and what measures their rows. Memory comes first, while the process has
/// little of its own.
const SUITES: &[(&str, &str, &[Measure])] = &[(
    "content",
    "a million records: the image that an agent reads",
    &[image::memory, image::staging, image::cold_start, image::background, lookup::lookup],
)];

fn usage() -> String {
    let mut text = "usage: downbeat-bench SUITE [--quick] [--json]\n\n".to_string();
    for (name, about, _) in SUITES {
        text += &format!("  {name:10} {about}\n");
    }
    text + "\n  --quick    a tenth of the records, few repetitions: no bar is judged\n  \
            --json     for programs\n\nThe exit status is 1 where a bar is missed."
}

fn main() -> ExitCode {
    let (flags, suites): (Vec<_>, Vec<_>) = std::env::args().skip(1).partition(|word| word.starts_with('-'));
    let has = |flag: &str| flags.iter().any(|given| given == flag);
    let known = flags.iter().all(|flag| ["--quick", "--json"].contains(&flag.as_str()));
    let suite = SUITES.iter().find(|(name, ..)| suites == [*name]);
    let (Some((name, _, measures)), true) = (suite, known) else {
        let asked = has("--help") || has("-h");
        if asked {
            println!("{}", usage())
        } else {
            eprintln!("{}", usage())
        }
        return if asked { ExitCode::SUCCESS } else { ExitCode::from(2) };
    };
    let options = Options { quick: has("--quick"), json: has("--json") };
    let mut report = Report::new(name, options.quick);
    for measure in *measures {
        if let Err(error) = measure(options, &mut report) {
            eprintln!("a measurement failed: {error}; make room for 1 GiB in the folder for temporary files");
            return ExitCode::from(2);
        }
    }
    println!("{}", if options.json { report.json() } else { report.table() });
    if report.missed() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
