//! What is measured on, and what the system says of this process.

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Processor, cores, compiler's profile.
pub(crate) fn describe() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or("unknown processor", |(_, model)| model.trim());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    let profile =
        if cfg!(debug_assertions) { "debug build: the figures say nothing" } else { "release build" };
    format!("{model}, {cores} cores, load {load}, {profile}")
}

/// A line of /proc/self/status, in bytes.
fn status(name: &str) -> io::Result<f64> {
    let text = fs::read_to_string("/proc/self/status")?;
    let kib =
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.trim().strip_suffix(" kB"));
    let kib: f64 = kib.and_then(|kib| kib.parse().ok()).ok_or(io::ErrorKind::Unsupported)?;
    Ok(kib * 1024.0)
}

/// Memory that this process has in use, mapped files included.
pub(crate) fn resident() -> io::Result<f64> {
    status("VmRSS")
}

/// The most that it had since [`forget_peak`].
pub(crate) fn peak() -> io::Result<f64> {
    status("VmHWM")
}

pub(crate) fn forget_peak() -> io::Result<()> {
    fs::write("/proc/self/clear_refs", "5")
}

/// Bytes that this process had read from disks so far.
pub(crate) fn read_from_disk() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/self/io")?;
    let bytes = text.lines().find_map(|line| line.strip_prefix("read_bytes: ")?.trim().parse().ok());
    bytes.ok_or(io::ErrorKind::Unsupported.into())
}

/// Asks the system to forget the files of a directory, which nobody has mapped, so that they are
/// read from the disk the next time.
pub(crate) fn forget_files(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let file = File::open(entry?.path())?;
        file.sync_all()?;
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    }
    Ok(())
}
