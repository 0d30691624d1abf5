//! The file beside the database that keeps other servers out while one serves it, and that bears
//! witness afterwards: it says how far the line had come, so that a backup copied over the database is
//! seen to be older than what was promised (PROTOCOL §8).
//!
//! It is written after the database, never before. So a database that is newer than its witness is
//! ordinary (the process ended between the two), and one that is older has been replaced.

use crate::error::StartError;
use downbeat_core::ids::TimelineId;
use downbeat_core::time::ServerTime;
use std::fs::{File, TryLockError};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The file, held.
#[derive(Debug)]
pub(crate) struct Witness {
    file: File,
}

impl Witness {
    /// Makes the database's folder, and sees to it that no other server serves the same database. It
    /// is held until every clone of the file is closed.
    pub(crate) fn hold(database: &Path) -> Result<Witness, StartError> {
        let folder = match database.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        let failed = |cause| StartError::Folder { folder: folder.clone(), cause };
        std::fs::create_dir_all(&folder).map_err(failed)?;
        let mut name = database.file_name().unwrap_or_default().to_owned();
        name.push(".lock");
        let mut options = File::options();
        let file = options.create(true).truncate(false).read(true).write(true).open(folder.join(name));
        let file = file.map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Witness { file }),
            Err(TryLockError::WouldBlock) => Err(StartError::InUse { database: database.to_owned() }),
            Err(TryLockError::Error(cause)) => Err(failed(cause)),
        }
    }

    /// Another hold on the same file.
    pub(crate) fn clone_hold(&self) -> std::io::Result<File> {
        self.file.try_clone()
    }

    /// A mark was stored in the database.
    pub(crate) fn note(&self, timeline: TimelineId, until: ServerTime) {
        // Of one width, so that it is overwritten whole.
        let text = format!("{:020} {:020} {:020}\n", timeline.counter, timeline.random, until.as_nanos());
        if let Err(error) = self.file.write_all_at(text.as_bytes(), 0) {
            tracing::warn!(%error, "the file beside the database can't be written: a restored backup would not be noticed");
        }
    }

    /// Whether the database's line, with this mark, is older than what was seen here, or another than
    /// the one that was. A file that says nothing proves nothing.
    pub(crate) fn contradicts(&self, timeline: TimelineId, until: ServerTime) -> bool {
        let mut text = [0; 63];
        let read = self.file.read_at(&mut text, 0);
        let Some((seen, seen_until)) = read.ok().and_then(|_| parse(std::str::from_utf8(&text).ok()?)) else {
            return false;
        };
        if seen.counter == timeline.counter {
            seen.random != timeline.random || seen_until > until
        } else {
            seen.counter > timeline.counter
        }
    }
}

fn parse(text: &str) -> Option<(TimelineId, ServerTime)> {
    let mut parts = text.trim_end().split(' ');
    let counter = parts.next()?.parse().ok()?;
    let random = parts.next()?.parse().ok()?;
    let until = parts.next()?.parse().ok()?;
    Some((TimelineId { counter, random }, ServerTime::from_nanos(until)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_or_another_line_is_contradicted_and_a_newer_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let witness = Witness::hold(&folder.path().join("d")).unwrap();
        let line = |counter, random| TimelineId { counter, random };
        let at = ServerTime::from_nanos;
        assert!(!witness.contradicts(line(1, 1), at(0)), "nothing was seen yet");
        witness.note(line(2, u64::MAX), at(i64::MAX));
        witness.note(line(2, 7), at(500));
        assert!(!witness.contradicts(line(2, 7), at(500)));
        assert!(!witness.contradicts(line(2, 7), at(501)));
        assert!(!witness.contradicts(line(3, 9), at(0)));
        assert!(witness.contradicts(line(2, 7), at(499)));
        assert!(witness.contradicts(line(2, 8), at(501)));
        assert!(witness.contradicts(line(1, 7), at(501)));
        witness.file.write_all_at(b"x", 3).unwrap();
        assert!(!witness.contradicts(line(1, 7), at(0)), "it says nothing any more");
        assert!(matches!(Witness::hold(&folder.path().join("d")), Err(StartError::InUse { .. })));
    }
}
