//! What else moves a file to where an older one is: how many bytes each needs. Commands that are not
//! installed are told as missing.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A peer's name, its bytes (`None` where it is missing or failed), and what is to be known of them.
type Moved = (&'static str, Option<u64>, &'static str);

/// From `old` to `new`, by every peer. Files are made in `folder` and deleted again.
pub(crate) fn move_all(folder: &Path, old: &Path, new: &Path) -> io::Result<Vec<Moved>> {
    Ok(vec![
        ("rsync -z -B512", rsync(folder, old, new)?, "sent and received, as it tells itself"),
        ("zsync -b 512", zsync(folder, new)?, "its list of block sums alone; what it fetches comes on top"),
        ("casync", casync(folder, old, new)?, "chunks of 16 KiB that the older file hasn't, and the index"),
        ("xdelta3 -9", xdelta3(folder, old, new)?, ""),
        ("zstd -3 --patch-from", zstd(folder, old, new)?, "window of 128 MiB"),
    ])
}

/// Runs a command; its output where it went well.
fn run(program: &str, words: &[&OsStr]) -> Option<String> {
    let output = Command::new(program).args(words).stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn len_of(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|metadata| metadata.len())
}

fn rsync(folder: &Path, old: &Path, new: &Path) -> io::Result<Option<u64>> {
    let copy = folder.join("copy");
    fs::copy(old, &copy)?;
    let words = ["-z", "-B512", "--no-whole-file", "--ignore-times", "--stats", "--no-human-readable"];
    let words: Vec<&OsStr> =
        words.iter().map(OsStr::new).chain([new.as_os_str(), copy.as_os_str()]).collect();
    let told = run("rsync", &words);
    fs::remove_file(copy)?;
    let number =
        |line: &str| line.chars().filter(char::is_ascii_digit).collect::<String>().parse::<u64>().ok();
    let count = |text: &str| -> u64 {
        let lines = text.lines();
        let told = lines
            .filter(|line| line.starts_with("Total bytes sent") || line.starts_with("Total bytes received"));
        told.filter_map(number).sum()
    };
    Ok(told.map(|text| count(&text)).filter(|bytes| *bytes > 0))
}

fn zsync(folder: &Path, new: &Path) -> io::Result<Option<u64>> {
    let list = folder.join("new.zsync");
    let words = [OsStr::new("-b"), OsStr::new("512"), OsStr::new("-u"), OsStr::new("new"), OsStr::new("-o")];
    let words: Vec<&OsStr> = words.into_iter().chain([list.as_os_str(), new.as_os_str()]).collect();
    Ok(run("zsyncmake", &words).and_then(|_| len_of(&list)))
}

fn casync(folder: &Path, old: &Path, new: &Path) -> io::Result<Option<u64>> {
    let make = |of: &Path, name: &str| -> Option<(PathBuf, PathBuf)> {
        let (index, store) = (folder.join(format!("{name}.caibx")), folder.join(format!("{name}.castr")));
        let stored = format!("--store={}", store.display());
        let words = [OsStr::new("make"), OsStr::new(&stored), OsStr::new("--chunk-size=16384")];
        let words: Vec<&OsStr> = words.into_iter().chain([index.as_os_str(), of.as_os_str()]).collect();
        run("casync", &words).map(|_| (index, store))
    };
    let (Some((_, had)), Some((index, has))) = (make(old, "old"), make(new, "new")) else { return Ok(None) };
    let known: BTreeSet<_> = chunks(&had)?.into_iter().map(|(name, _)| name).collect();
    let missing = chunks(&has)?.into_iter().filter(|(name, _)| !known.contains(name));
    let bytes: u64 = missing.map(|(_, len)| len).sum();
    let all = len_of(&index).map(|index| index + bytes);
    fs::remove_dir_all(had)?;
    fs::remove_dir_all(has)?;
    Ok(all)
}

/// The files of a store of chunks, and their lengths.
fn chunks(store: &Path) -> io::Result<Vec<(std::ffi::OsString, u64)>> {
    let mut found = Vec::new();
    for folder in fs::read_dir(store)? {
        for file in fs::read_dir(folder?.path())? {
            let file = file?;
            found.push((file.file_name(), file.metadata()?.len()));
        }
    }
    Ok(found)
}

fn xdelta3(folder: &Path, old: &Path, new: &Path) -> io::Result<Option<u64>> {
    let delta = folder.join("new.xdelta");
    let words = [OsStr::new("-9"), OsStr::new("-e"), OsStr::new("-f"), OsStr::new("-s"), old.as_os_str()];
    let words: Vec<&OsStr> = words.into_iter().chain([new.as_os_str(), delta.as_os_str()]).collect();
    Ok(run("xdelta3", &words).and_then(|_| len_of(&delta)))
}

fn zstd(folder: &Path, old: &Path, new: &Path) -> io::Result<Option<u64>> {
    let delta = folder.join("new.zst");
    let from = format!("--patch-from={}", old.display());
    let words =
        [OsStr::new("-3"), OsStr::new("-q"), OsStr::new("-f"), OsStr::new("--long=27"), OsStr::new(&from)];
    let words: Vec<&OsStr> =
        words.into_iter().chain([new.as_os_str(), OsStr::new("-o"), delta.as_os_str()]).collect();
    Ok(run("zstd", &words).and_then(|_| len_of(&delta)))
}
