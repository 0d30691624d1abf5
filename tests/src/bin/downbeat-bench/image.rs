//! The image: memory, staging, cold start, and what is done in the background.

use crate::Options;
use crate::data::{DATASET, Data, key, mixed};
use crate::machine;
use crate::report::{Report, Row, Unit};
use downbeat_image::{Image, Place, compact};
use std::hint::black_box;
use std::io;
use std::path::Path;
use std::time::Instant;

/// Records that are measured with.
pub(crate) fn records(options: Options) -> u64 {
    if options.quick { 100_000 } else { 1_000_000 }
}

fn repetitions(options: Options, number: usize) -> usize {
    if options.quick { 3 } else { number }
}

/// Milliseconds that something takes, and what it gives.
fn timed<T>(work: impl FnOnce() -> io::Result<T>) -> io::Result<(f64, T)> {
    let began = Instant::now();
    let made = work()?;
    Ok((began.elapsed().as_secs_f64() * 1e3, made))
}

fn place(directory: &Path) -> Place {
    Place::Directory(directory.to_path_buf())
}

fn open(directory: &Path, image: &Image) -> io::Result<Image> {
    Image::open(directory, image.id()).map_err(io::Error::other)
}

/// Reads every record, so that every page is in use.
fn read_all(image: &Image) -> io::Result<u64> {
    let mut sum = 0;
    for dataset in image.datasets() {
        for record in dataset.iter() {
            let (key, value) = record.map_err(io::Error::other)?;
            sum += key.iter().chain(value).map(|byte| *byte as u64).sum::<u64>();
            // By its hash too, so that the index is in use.
            black_box(dataset.get(key).map_err(io::Error::other)?);
        }
    }
    Ok(black_box(sum))
}

/// Memory while two generations are held, against one.
pub(crate) fn memory(options: Options, report: &mut Report) -> io::Result<()> {
    let directory = tempfile::tempdir()?;
    let place = place(directory.path());
    let mut data = Data::new(records(options));
    let written = data.snapshot(&place)?;
    let image = open(directory.path(), &written)?;
    drop(written);
    let before = machine::resident()?;
    read_all(&image)?;
    let one = machine::resident()? - before;
    let changes = data.change(data.records / 100);
    // What the data needs is not the image's.
    let own = machine::resident()? - before - one;
    machine::forget_peak()?;
    let staged = data.stage(&place, &image, &changes)?;
    read_all(&staged)?;
    read_all(&image)?;
    let both = machine::peak()? - before - own;
    let mebibytes = |bytes: f64| vec![bytes / f64::from(1 << 20)];
    let files = staged.bytes();
    report.push(
        Row::new("memory, one generation, all of it read", Unit::Mebibytes, mebibytes(one)).note(format!(
            "resident, files of {} and {} MiB",
            files.0 >> 20,
            files.1 >> 20
        )),
    );
    report.push(
        Row::new("memory, the next one staged (1 %), both read", Unit::Mebibytes, mebibytes(both))
            .note("peak while staging and after it"),
    );
    report.push(Row::new("  against one generation", Unit::Ratio, vec![both / one]).bar(1.3));
    Ok(())
}

/// Staging deltas of 1 %: above a base, and in a row of cycles.
pub(crate) fn staging(options: Options, report: &mut Report) -> io::Result<()> {
    let directory = tempfile::tempdir()?;
    let place = place(directory.path());
    let mut data = Data::new(records(options));
    let (took, base) = timed(|| data.snapshot(&place))?;
    report.push(
        Row::new("writing a snapshot's image", Unit::Millis, vec![took])
            .note("records sorted, sums known; synchronized with the disk"),
    );
    let changes = data.change(data.records / 100);
    let (mut proven, mut unproven) = (Vec::new(), Vec::new());
    base.verify().map_err(io::Error::other)?;
    for _ in 0..repetitions(options, 100) {
        proven.push(timed(|| data.stage(&place, &base, &changes))?.0);
        let fresh = open(directory.path(), &base)?;
        unproven.push(timed(|| data.stage(&place, &fresh, &changes))?.0);
    }
    let note = "1 % of the records, drawn at random; old values looked up, sums compared, synchronized";
    report.push(Row::new("staging 1 %, above a base", Unit::Millis, proven).bar(100.0).note(note));
    report.push(
        Row::new("staging 1 %, base not read before", Unit::Millis, unproven)
            .bar(100.0)
            .note("just opened: the checksums of all blocks that are touched are compared too"),
    );
    let (mut image, mut cycles) = (data.stage(&place, &base, &changes)?, Vec::new());
    drop(base);
    let most = if options.quick { 6 } else { 60 };
    for _ in 0..most {
        let changes = data.change(data.records / 100);
        let (took, staged) = timed(|| data.stage(&place, &image, &changes))?;
        cycles.push(took);
        image = if staged.wants_compaction() {
            compact(&place, &staged).map_err(io::Error::other)?
        } else {
            staged
        };
        place.keep_only(image.layers())?;
    }
    report.push(
        Row::new("staging 1 %, cycle after cycle", Unit::Millis, cycles)
            .bar(100.0)
            .note("overlays merged as they grow, the base rewritten in between and not counted"),
    );
    Ok(())
}

/// From a closed file that is on the disk only to the first record read.
pub(crate) fn cold_start(options: Options, report: &mut Report) -> io::Result<()> {
    let directory = tempfile::tempdir()?;
    let place = place(directory.path());
    let mut data = Data::new(records(options));
    let base = data.snapshot(&place)?;
    let changes = data.change(data.records / 100);
    let staged = data.stage(&place, &base, &changes)?;
    let id = staged.id();
    drop((base, staged));
    let (mut cold, mut warm, mut read) = (Vec::new(), Vec::new(), Vec::new());
    for turn in 0..repetitions(options, 100) {
        let wanted = mixed(turn as u64) % data.records;
        let first_read = || {
            let image = Image::open(directory.path(), id).map_err(io::Error::other)?;
            let value = image.get(DATASET, &key(wanted)).map_err(io::Error::other)?;
            assert_eq!(value, Some(&data.value(wanted)[..]));
            Ok(())
        };
        machine::forget_files(directory.path())?;
        let before = machine::read_from_disk()?;
        cold.push(timed(first_read)?.0);
        read.push((machine::read_from_disk()? - before) as f64 / 1024.0);
        warm.push(timed(first_read)?.0);
    }
    let kib = Row::new("", Unit::Count, read).median();
    let note = match kib {
        0.0 => "NOT COLD: nothing was read from the disk".to_string(),
        kib => format!("base and overlay opened, one key; {kib:.0} KiB read from the disk (median)"),
    };
    report.push(Row::new("cold start to the first read", Unit::Millis, cold).bar(50.0).note(note));
    report.push(Row::new("  with the files in the system's cache", Unit::Millis, warm).bar(50.0));
    Ok(())
}

/// What nobody waits for.
pub(crate) fn background(options: Options, report: &mut Report) -> io::Result<()> {
    let directory = tempfile::tempdir()?;
    let place = place(directory.path());
    let mut data = Data::new(records(options));
    let base = data.snapshot(&place)?;
    let (mut verified, mut hashed) = (Vec::new(), Vec::new());
    let path = std::fs::read_dir(directory.path())?.next().ok_or(io::ErrorKind::NotFound)??.path();
    for _ in 0..repetitions(options, 15) {
        let fresh = open(directory.path(), &base)?;
        verified.push(timed(|| fresh.verify().map_err(io::Error::other))?.0);
        let bytes = std::fs::read(&path)?;
        hashed.push(timed(|| Ok(black_box(blake3::hash(&bytes))))?.0);
    }
    let row = Row::new("comparing all checksums (XXH3-64)", Unit::Millis, verified);
    report.push(row.note("page faults of a fresh mapping included"));
    report.push(
        Row::new("  BLAKE3 over the same bytes", Unit::Millis, hashed).note("in memory already, one thread"),
    );
    let mut compacted = Vec::new();
    let changes = data.change(data.records / 8);
    let staged = data.stage(&place, &base, &changes)?;
    for _ in 0..repetitions(options, 5) {
        compacted.push(timed(|| compact(&place, &staged).map_err(io::Error::other))?.0);
    }
    report.push(
        Row::new("rewriting the base, an eighth changed", Unit::Millis, compacted)
            .note("all sums computed anew; synchronized"),
    );
    Ok(())
}
