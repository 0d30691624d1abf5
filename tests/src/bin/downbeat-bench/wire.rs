//! Bytes on the wire for a change, beside those of what else moves files, and how long it takes from an
//! edit until the object that agents fetch is there.

use crate::Options;
use crate::peers;
use crate::promotion::Farm;
use crate::report::{Report, Row, Unit};
use downbeat_core::ids::Generation;
use downbeat_core::object::chunks::chunks_of;
use downbeat_server::build_packed;
use downbeat_server::store::{Store, StoreError};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::Instant;

/// Times that an edit is followed until its object is there.
const EDITS: usize = 9;

pub(crate) fn wire(options: Options, report: &mut Report) -> io::Result<()> {
    let records: u64 = if options.quick { 100_000 } else { 1_000_000 };
    let folder = tempfile::tempdir()?;
    let database = folder.path().join("downbeat.db");
    let mut farm = Farm::make(&database, records).map_err(io::Error::other)?;
    let times = if options.quick { 2 } else { EDITS };
    let mut ready = Vec::new();
    for _ in 0..times {
        ready.push(edit_until_ready(&mut farm, &database, records / 100).map_err(io::Error::other)?);
    }
    let all = |of: fn(&[f64; 4]) -> f64| ready.iter().map(of).collect::<Vec<_>>();
    report.push(
        Row::new(
            &format!("edit to object ready, {} changes", records / 100),
            Unit::Millis,
            all(|t| t.iter().sum()),
        )
        .bar(500.0)
        .note("stored, gathered, promoted, packed, named; without the wait for T"),
    );
    let parts = [("stored", all(|t| t[0])), ("gathered", all(|t| t[1])), ("promoted", all(|t| t[2]))];
    for (what, samples) in parts.into_iter().chain([("delta packed", all(|t| t[3]))]) {
        report.push(Row::new(&format!("… {what}"), Unit::Millis, samples));
    }
    for (share, part, bar) in [("1 %", 100, 1.1), ("0.01 %", 10_000, 1.2)] {
        compare(&mut farm, folder.path(), &database, (share, records / part, bar), report)?;
    }
    Ok(())
}

fn staged(farm: &mut Farm) -> Result<Generation, StoreError> {
    Ok(farm.store.table(&farm.name)?.staged)
}

/// The milliseconds of: writing the edits, gathering, promotion, and building the delta.
fn edit_until_ready(farm: &mut Farm, database: &Path, changes: u64) -> Result<[f64; 4], StoreError> {
    let millis = |since: Instant| since.elapsed().as_secs_f64() * 1e3;
    let before = staged(farm)?;
    let since = Instant::now();
    farm.change(changes)?;
    let stored = millis(since);
    let gathered = farm.gather()?.iter().sum();
    let promoted = farm.promote(changes)?;
    let after = staged(farm)?;
    let since = Instant::now();
    build_packed(database, &farm.name, Some(before), after)?;
    Ok([stored, gathered, promoted, millis(since)])
}

/// One change, moved in every way that there is.
fn compare(
    farm: &mut Farm,
    folder: &Path,
    database: &Path,
    (share, changes, bar): (&str, u64, f64),
    report: &mut Report,
) -> io::Result<()> {
    let (old, new) = (folder.join("old"), folder.join("new"));
    let before = staged(farm).map_err(io::Error::other)?;
    write_all(farm, before, &old)?;
    farm.change(changes)
        .and_then(|()| farm.gather())
        .and_then(|_| farm.promote(changes))
        .map_err(io::Error::other)?;
    let after = staged(farm).map_err(io::Error::other)?;
    write_all(farm, after, &new)?;
    let changed = farm.store.diff(&farm.name, before.epoch, after.epoch, changes as usize);
    let mut alone = Vec::new();
    for change in changed.map_err(io::Error::other)? {
        alone.extend_from_slice(&change.key);
        alone.extend_from_slice(&change.after.unwrap_or_default());
    }
    let packed = build_packed(database, &farm.name, Some(before), after).map_err(io::Error::other)?;
    let len = packed.metadata()?.len();
    // A file of one chunk is its own list.
    let list = if chunks_of(len) > 1 { chunks_of(len) * 32 } else { 0 };
    let bytes = |what: &str, number: u64| {
        Row::new(&format!("{share} changed: {what}"), Unit::Count, vec![number as f64])
    };
    let compressed = zstd::bulk::compress(&alone, 19)?.len() as u64;
    let raw = alone.len();
    report.push(
        bytes("bytes on the wire", len + list)
            .note(format!("the packed delta and {list} bytes of chunk values")),
    );
    report.push(bytes("the changed records alone, zstd -19", compressed).note(format!("{raw} bytes raw")));
    let ratio = |of: u64| vec![(len + list) as f64 / of as f64];
    report.push(Row::new("… ours / zstd -19 of the records alone", Unit::Ratio, ratio(compressed)).bar(bar));
    let mut least = None;
    for (peer, moved, note) in peers::move_all(folder, &old, &new)? {
        match moved {
            Some(moved) => {
                report.push(bytes(peer, moved).note(note));
                least = Some(least.map_or(moved, |least: u64| least.min(moved)));
            }
            None => report.push(bytes(peer, 0).note("MISSING: it is not installed, or failed")),
        }
    }
    if let Some(least) = least {
        report.push(Row::new("… ours / the fewest of these peers", Unit::Ratio, ratio(least)).bar(1.0));
    }
    Ok(())
}

/// A generation as a file: keys and values, one after the other.
fn write_all(farm: &mut Farm, generation: Generation, path: &Path) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    let written = farm.store.records_at(&farm.name, generation.epoch, &[], &mut |_, key, value| {
        file.write_all(key).and_then(|()| file.write_all(value)).map_err(StoreError::Sink)
    });
    written.map_err(io::Error::other)?;
    file.flush()
}
