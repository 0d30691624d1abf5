//! What an agent's host sees, through the agent's library, in a process of its own beside a server: a
//! snapshot, deltas, the memory that they take, and starts with what is on the disk. The agent's
//! process is in `follower`; the staging alone, without a network, is in `wire`.

use crate::Options;
use crate::data::mixed;
use crate::follower::Follower;
use crate::image::records;
use crate::import::{begin, csv, send};
use crate::machine;
use crate::promotion::{key, value};
use crate::report::{Report, Row, Unit};
use downbeat_server::Handle;
use serde_json::json;
use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::time::Instant;

/// Cycles in which 1 % changes.
const CYCLES: u64 = 9;
/// Starts.
const STARTS: u64 = 25;

/// An agent that follows a server.
pub(crate) fn agent(options: Options, report: &mut Report) -> io::Result<()> {
    let records = records(options);
    let (cycles, starts) = if options.quick { (2, 3) } else { (CYCLES, STARTS) };
    let (folder, state) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let settings = json!({
        "interval": "5s", "lead": "2500ms", "lease": "1s", "round_trip": "200ms", "retrieve": "500ms",
        "stagger": "50ms", "sample_window": "100ms",
    });
    let server = begin(folder.path(), &settings)?;
    let (file, len) = csv(folder.path(), (0..records).map(|n| (n, value(n))))?;
    let since = Instant::now();
    let answer = send(&server, file, len)?;
    if !answer.contains("\"added\":") {
        return Err(io::Error::other(answer));
    }
    let mut follower = Follower::spawn(server.control(), state.path(), &key(0), true)?;
    follower.first()?;
    let row = Row::new(
        &format!("from a file of {records} rows to an agent's first read"),
        Unit::Millis,
        vec![since.elapsed().as_secs_f64() * 1e3],
    );
    report.push(row.note("imported, gathered, promoted, packed, fetched, written, live; cycles of 5 s"));
    follow(&mut follower, &server, folder.path(), (records, cycles), report)?;
    follower.end()?;
    start(&server, state.path(), (records, starts), report)
}

/// Deltas, and the memory in which they and what they start from are held.
fn follow(
    follower: &mut Follower,
    server: &Handle,
    folder: &Path,
    (records, cycles): (u64, u64),
    report: &mut Report,
) -> io::Result<()> {
    let one = follower.number("one")?;
    let (mut staged, mut both) = (Vec::new(), Vec::new());
    for cycle in 0..cycles {
        follower.go_on()?;
        let mut drawn = BTreeSet::new();
        for seed in cycle << 40.. {
            if drawn.len() as u64 == records / 100 {
                break;
            }
            drawn.insert(mixed(seed) % records);
        }
        let (file, len) = csv(folder, drawn.into_iter().map(|n| (n, value(!(n << 8 | cycle)))))?;
        send(server, file, len)?;
        staged.push(follower.number("staged")?);
        both.push(follower.number("both")? / one);
    }
    let mebibytes = vec![one / f64::from(1 << 20)];
    report.push(
        Row::new("agent: memory, one generation, all of it read", Unit::Mebibytes, mebibytes)
            .note("resident, more than the process had before it"),
    );
    report.push(
        Row::new("agent: the most while the next one (1 %) is staged, both read", Unit::Ratio, both)
            .bar(1.3)
            .note("of that; the median of cycles, of which some have a compaction"),
    );
    report.push(
        Row::new("agent: a delta of 1 %, from asking for its route to staged", Unit::Millis, staged)
            .note("fetched in frames from a server that shares the processors"),
    );
    Ok(())
}

/// From the start of a process to its first read.
fn start(
    server: &Handle,
    state: &Path,
    (records, starts): (u64, u64),
    report: &mut Report,
) -> io::Result<()> {
    let (mut cold, mut warm, mut read) = (Vec::new(), Vec::new(), Vec::new());
    for turn in 0..starts {
        let wanted = key(mixed(turn) % records);
        machine::forget_files(state)?;
        for taken in [&mut cold, &mut warm] {
            let since = Instant::now();
            let mut started = Follower::spawn(server.control(), state, &wanted, false)?;
            let kibibytes = started.first()?;
            taken.push(since.elapsed().as_secs_f64() * 1e3);
            read.push(kibibytes);
            started.end()?;
        }
    }
    let kibibytes = read.iter().step_by(2).copied().collect();
    let note = match Row::new("", Unit::Count, kibibytes).median() {
        0.0 => "NOT COLD: nothing was read from the disk".to_string(),
        kib => format!("process begun, state opened, server asked, one key; {kib:.0} KiB from the disk"),
    };
    report.push(Row::new("agent: cold start to the first read", Unit::Millis, cold).bar(50.0).note(note));
    report.push(Row::new("  with the files in the system's cache", Unit::Millis, warm).bar(50.0));
    Ok(())
}
