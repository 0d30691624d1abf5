//! `replay`: traces of real runs. What is fed to core, and what is judged, is in `downbeat-trace`; here
//! it is told.

use std::path::Path;
use std::process::ExitCode;

/// Replays and judges the traces in some files together, and tells what came of it: 0 where core
/// answered as recorded and every property held, 1 otherwise, 2 where a file can't be read.
pub fn replay(files: &[&str]) -> ExitCode {
    let paths: Vec<&Path> = files.iter().map(Path::new).collect();
    let replayed = match downbeat_trace::files(&paths) {
        Ok(replayed) => replayed,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    println!(
        "{} lines: {} inputs of {} lives and {} steps of servers, answered by core as recorded",
        replayed.lines, replayed.inputs, replayed.lives, replayed.steps
    );
    println!(
        "judged: {} reads, {} enclosures of the true time, {} activations",
        replayed.reads,
        replayed.enclosed,
        replayed.histories.values().map(|history| history.live.len()).sum::<usize>()
    );
    if replayed.killed > 0 {
        println!(
            "{} processes ended without their end, {} of them in a line",
            replayed.killed, replayed.torn
        );
    }
    replayed.notes.iter().for_each(|note| println!("note: {note}"));
    for fault in &replayed.faults {
        match fault.line {
            Some((file, line)) => println!("{}:{line}: {fault}", files.get(file).unwrap_or(&"?")),
            None => println!("{fault}"),
        }
    }
    if replayed.faults.is_empty() {
        println!("nothing is wrong");
        return ExitCode::SUCCESS;
    }
    ExitCode::FAILURE
}
