//! Bytes on the wire for a change, beside those of what else moves files, and how long it takes from an
//! edit until the object that agents fetch is there.

use crate::Options;
use crate::data::mixed;
use crate::peers;
use crate::promotion::{Farm, value};
use crate::report::{Report, Row, Unit};
use downbeat_agent::measure;
use downbeat_core::ids::{Digest, Generation};
use downbeat_core::message::{ObjectRef, Route};
use downbeat_core::object::chunks::chunks_of;
use downbeat_image::{Image, Place};
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
    let mut farm = Farm::make(&database, records, value).map_err(io::Error::other)?;
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
    stage(&mut farm, folder.path(), &database, (records / 100, times), report)?;
    for (share, part, bar) in [("1 %", 100, 1.1), ("0.01 %", 10_000, 1.2)] {
        compare(&mut farm, folder.path(), &database, (share, records / part, bar), report)?;
    }
    texts(options, report)
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

/// What an agent's worker does with the objects that lead to a generation, all of whose bytes are there.
fn stage(
    farm: &mut Farm,
    folder: &Path,
    database: &Path,
    (changes, times): (u64, usize),
    report: &mut Report,
) -> io::Result<()> {
    let images = tempfile::tempdir_in(folder)?;
    let place = Place::Directory(images.path().to_path_buf());
    let timed = |target, from: Option<&Image>, (route, bytes): &(Route, Vec<u8>)| {
        let since = Instant::now();
        let image = measure::stage(&place, target, route, from, &mut bytes.as_slice());
        let took = since.elapsed().as_secs_f64() * 1e3;
        image.map(|image| (took, image)).map_err(io::Error::other)
    };
    let base = staged(farm).map_err(io::Error::other)?;
    let (took, image) = timed(base, None, &packed(farm, database, None, base)?)?;
    report.push(
        Row::new("agent: a packed snapshot to its image", Unit::Millis, vec![took])
            .note("unpacked, proven, written, synchronized; without the network"),
    );
    // Looked at as a whole, as an agent does while it has nothing else to do.
    image.verify().map_err(io::Error::other)?;
    farm.cycle(changes).map_err(io::Error::other)?;
    let target = staged(farm).map_err(io::Error::other)?;
    let (delta, mut samples) = (packed(farm, database, Some(base), target)?, Vec::new());
    for _ in 0..times * 3 {
        samples.push(timed(target, Some(&image), &delta)?.0);
    }
    report.push(
        Row::new("agent: staging a packed delta of 1 %", Unit::Millis, samples)
            .bar(100.0)
            .note("unpacked, old values looked up, the generation proven, synchronized; without the network"),
    );
    Ok(())
}

/// The object that leads to a generation, as the server packs it: the route of it alone, and its bytes.
fn packed(
    farm: &Farm,
    database: &Path,
    base: Option<Generation>,
    target: Generation,
) -> io::Result<(Route, Vec<u8>)> {
    let path = build_packed(database, &farm.name, base, target).map_err(io::Error::other)?;
    let bytes = std::fs::read(path)?;
    let name = Digest(*blake3::hash(&bytes).as_bytes());
    let objects = [ObjectRef { name, len: bytes.len() as u64 }].into_iter().collect();
    Ok((Route { objects }, bytes))
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
    let Sizes { ours, list, alone, raw } = sizes(farm, database, changes)?;
    let after = staged(farm).map_err(io::Error::other)?;
    write_all(farm, after, &new)?;
    let bytes = |what: &str, number: u64| {
        Row::new(&format!("{share} changed: {what}"), Unit::Count, vec![number as f64])
    };
    report.push(
        bytes("bytes on the wire", ours).note(format!("the packed delta, {list} bytes of them chunk values")),
    );
    report.push(bytes("the changed records alone, zstd -19", alone).note(format!("{raw} bytes raw")));
    let ratio = |of: u64| vec![ours as f64 / of as f64];
    report.push(Row::new("… ours / zstd -19 of the records alone", Unit::Ratio, ratio(alone)).bar(bar));
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

/// What one change needs, in bytes.
struct Sizes {
    /// The packed delta and its list of chunks.
    ours: u64,
    /// That list.
    list: u64,
    /// The changed records alone, compressed by `zstd -19`.
    alone: u64,
    /// The same, not compressed.
    raw: usize,
}

/// Changes so many records, and packs the delta.
fn sizes(farm: &mut Farm, database: &Path, changes: u64) -> io::Result<Sizes> {
    let before = staged(farm).map_err(io::Error::other)?;
    farm.cycle(changes).map_err(io::Error::other)?;
    let after = staged(farm).map_err(io::Error::other)?;
    let changed = farm.store.diff(&farm.name, before.epoch, after.epoch, changes as usize);
    let mut records = Vec::new();
    for change in changed.map_err(io::Error::other)? {
        records.extend_from_slice(&change.key);
        records.extend_from_slice(&change.after.unwrap_or_default());
    }
    let (_, bytes) = packed(farm, database, Some(before), after)?;
    let chunks = chunks_of(bytes.len() as u64);
    // A file of one chunk is its own list.
    let list = if chunks > 1 { chunks * 32 } else { 0 };
    let alone = zstd::bulk::compress(&records, 19)?.len() as u64;
    Ok(Sizes { ours: bytes.len() as u64 + list, list, alone, raw: records.len() })
}

/// The same bars for values that are short JSON texts, of which little is random.
fn texts(options: Options, report: &mut Report) -> io::Result<()> {
    let folder = tempfile::tempdir()?;
    let database = folder.path().join("downbeat.db");
    // What a change needs doesn't depend on how many records there are.
    let records = if options.quick { 20_000 } else { 100_000 };
    let mut farm = Farm::make(&database, records, text).map_err(io::Error::other)?;
    for (changes, bar) in [(10_000, 1.1), (100, 1.2)] {
        let Sizes { ours, alone, raw, .. } = sizes(&mut farm, &database, changes)?;
        let what = format!("JSON values, {changes} changed: ours / zstd -19 of the records alone");
        report.push(
            Row::new(&what, Unit::Ratio, vec![ours as f64 / alone as f64])
                .bar(bar)
                .note(format!("{ours} and {alone} bytes, {raw} raw")),
        );
    }
    Ok(())
}

/// About 100 bytes of JSON.
fn text(n: u64) -> Vec<u8> {
    const WORDS: [&str; 16] = [
        "alpha", "brand", "cotton", "delta", "fresh", "green", "house", "joint", "large", "metal", "orange",
        "plastic", "round", "small", "violet", "white",
    ];
    let random = mixed(n);
    let word = |at: u32| WORDS[(random >> at) as usize % WORDS.len()];
    format!(
        "{{\"price\":\"{}.{:02}\",\"currency\":\"EUR\",\"stock\":{},\"name\":\"{} {}\",\"active\":{},\"rank\":{}}}",
        random % 1_000,
        (random >> 10) % 100,
        (random >> 20) % 5_000,
        word(40),
        word(44),
        random >> 48 & 1 == 1,
        (random >> 50) % 10_000,
    )
    .into_bytes()
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
