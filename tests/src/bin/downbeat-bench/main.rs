#![forbid(unsafe_code)]
//! The benchmarks, one command for all: each prints a table with its peers beside it in the same
//! run, medians and p99, the bars and whether they are met.
//!
//! A suite is a function that gives the report its rows; to add rows to a suite, add a function to
//! its list in [`SUITES`]. Measurements of one row and its peers alternate, so that whatever else
//! the machine does meets both.

mod agent;
mod data;
mod follower;
mod image;
mod import;
mod lookup;
mod machine;
mod peers;
mod promotion;
mod read;
mod report;
mod time;
mod wire;

use report::Report;
use std::path::Path;
use std::process::ExitCode;

/// How a run is to be made.
#[derive(Clone, Copy)]
struct Options {
    /// Fewer records and repetitions: whether it works, not how fast.
    quick: bool,
    json: bool,
    /// Where plots are written, as SVG.
    svg: Option<&'static Path>,
}

/// A part of a suite: its name, and what measures its rows.
type Measure = (&'static str, fn(Options, &mut Report) -> std::io::Result<()>);

/// The suites by name, and their parts. Memory comes first, while the process has little of its own.
const SUITES: &[(&str, &str, &[Measure])] = &[
    (
        "content",
        "a million records: the image, an agent, imports, promotions, bytes on the wire",
        &[
            ("memory", image::memory),
            ("staging", image::staging),
            ("start", image::cold_start),
            ("background", image::background),
            ("lookup", lookup::lookup),
            ("agent", agent::agent),
            ("import", import::import),
            ("promotion", promotion::promotion),
            ("wire", wire::wire),
        ],
    ),
    (
        "read",
        "what a read and a publish cost, beside other ways to share a value that is replaced",
        &[("reads", read::reads), ("publishes", read::publishes)],
    ),
    (
        "time",
        "many processes that go over to new data, beside etcd, Redis, polling and sleeping",
        &[("together", time::together), ("exchange", time::exchange)],
    ),
];

fn usage() -> String {
    let mut text = "usage: downbeat-bench SUITE [PART]... [--quick] [--json] [--svg FOLDER]\n\n".to_string();
    for (name, about, parts) in SUITES {
        let parts: Vec<&str> = parts.iter().map(|(part, _)| *part).collect();
        text += &format!(
            "  {name:10} {about}\n             parts: {}; all of them where none is named\n",
            parts.join(", ")
        );
    }
    text + "\n  --quick    less of everything: no bar is judged\n  \
            --json     for programs\n  --svg      writes plots there, where a part has some\n\nThe exit status is 1 where a bar is missed."
}

fn main() -> ExitCode {
    if let Some(done) = follower::run_if_asked().or_else(time::run_if_asked) {
        return done;
    }
    let mut given: Vec<String> = std::env::args().skip(1).collect();
    let svg = given.iter().position(|word| word == "--svg").filter(|at| at + 1 < given.len()).map(|at| {
        let folder = given.drain(at..at + 2).next_back().unwrap_or_default();
        // Known for as long as the program runs.
        &*Box::leak(std::path::PathBuf::from(folder).into_boxed_path())
    });
    let (flags, words): (Vec<_>, Vec<_>) = given.into_iter().partition(|word| word.starts_with('-'));
    let has = |flag: &str| flags.iter().any(|given| given == flag);
    let mut known = flags.iter().all(|flag| ["--quick", "--json"].contains(&flag.as_str()));
    let suite = words.split_first().and_then(|(suite, wanted)| {
        let (name, _, parts) = SUITES.iter().find(|(name, ..)| suite == name)?;
        known &= wanted.iter().all(|part| parts.iter().any(|(name, _)| part == name));
        Some((
            name,
            parts.iter().filter(move |(name, _)| wanted.is_empty() || wanted.iter().any(|of| of == name)),
        ))
    });
    let (Some((name, parts)), true) = (suite, known) else {
        let asked = has("--help") || has("-h");
        if asked {
            println!("{}", usage())
        } else {
            eprintln!("{}", usage())
        }
        return if asked { ExitCode::SUCCESS } else { ExitCode::from(2) };
    };
    let options = Options { quick: has("--quick"), json: has("--json"), svg };
    let mut report = Report::new(name, options.quick);
    for (_, measure) in parts {
        if let Err(error) = measure(options, &mut report) {
            eprintln!(
                "a measurement failed: {error}; the suite content needs 4 GiB in the folder for temporary files"
            );
            return ExitCode::from(2);
        }
    }
    println!("{}", if options.json { report.json().to_string() } else { report.table() });
    if report.missed() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
