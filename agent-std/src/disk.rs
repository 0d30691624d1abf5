//! What an agent keeps in its state directory: its id, and the last good generation with which it
//! starts while no server can be reached (PROTOCOL §5, `start_wait`).
//!
//! ```text
//! lock              held while an agent runs on the directory
//! agent-id          32 hexadecimal digits, drawn at the first start
//! last-good         "<epoch> <digest> <layer id>": the generation that was served last, and its image
//! <layer id>.image  the layers of images (downbeat-image), mapped while they are read
//! ```
//! Every file is written aside, synchronized, and renamed over the old one. Whatever is found
//! damaged is left out with a warning and retrieved again. A start proves an image's tables and
//! reads nothing else of it; the rest is proven as it is read, or by the worker in the background.

use downbeat_core::ids::{AgentId, Digest, Generation, Name};
use downbeat_image::{Image, LayerId, Place};
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const LOCK: &str = "lock";
const AGENT_ID: &str = "agent-id";
const LAST_GOOD: &str = "last-good";
const ASIDE: &str = "part";
/// The extension of what earlier versions kept: objects, from which nothing is read any more.
const OLD_OBJECT: &str = "object";

/// An agent's state directory, which no other agent uses at the same time.
#[derive(Debug)]
pub(crate) struct Disk {
    path: PathBuf,
    /// Released by the system when it is closed, however the process ends.
    _lock: File,
}

/// Why a state directory can't be used.
#[derive(Debug)]
pub(crate) enum OpenError {
    InUse,
    Io(io::Error),
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> OpenError {
        OpenError::Io(error)
    }
}

/// The last good generation, as it was found.
pub(crate) struct LastGood {
    pub(crate) generation: Generation,
    pub(crate) image: Image,
}

impl Disk {
    /// Opens the directory, which is made where there is none.
    pub(crate) fn open(path: &Path) -> Result<Disk, OpenError> {
        fs::create_dir_all(path)?;
        let lock = File::options().create(true).append(true).open(path.join(LOCK))?;
        match lock.try_lock() {
            Ok(()) => {
                let disk = Disk { path: path.to_path_buf(), _lock: lock };
                // Nobody else writes here: what is unfinished was left by a process that ended.
                disk.place().clear_unfinished()?;
                Ok(disk)
            }
            Err(TryLockError::WouldBlock) => Err(OpenError::InUse),
            Err(TryLockError::Error(error)) => Err(error.into()),
        }
    }

    /// The agent's id, and a warning where the one that was kept is damaged and replaced by `fresh`.
    pub(crate) fn agent_id(&self, fresh: AgentId) -> io::Result<(AgentId, Option<String>)> {
        let path = self.path.join(AGENT_ID);
        let warning = match fs::read(&path) {
            Ok(bytes) => match std::str::from_utf8(&bytes).ok().and_then(|text| unhex(text.trim())) {
                Some(id) => return Ok((AgentId(id), None)),
                None => Some(format!(
                    "{} is damaged; the agent has a new id from now on, its old one is no longer shown",
                    path.display()
                )),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        self.write(&path, format!("{}\n", hex(&fresh.0)).as_bytes())?;
        Ok((fresh, warning))
    }

    /// Where images are kept.
    pub(crate) fn place(&self) -> Place {
        Place::Directory(self.path.clone())
    }

    /// The last good generation, if it is of these datasets (ascending; none: all of the farm). A
    /// warning says why it is left out.
    pub(crate) fn last_good(&self, selection: &[Name]) -> (Option<LastGood>, Option<String>) {
        let path = self.path.join(LAST_GOOD);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return (None, None),
            Err(error) => return (None, Some(unusable(&path, &error.to_string()))),
        };
        let Some((generation, id)) = parse_last_good(&text) else {
            return (None, Some(unusable(&path, "it names no image")));
        };
        match Image::open(&self.path, id) {
            Ok(image) if image.digest() != generation.digest => {
                (None, Some(unusable(&path, "its image is another generation's")))
            }
            Ok(image) if image.selection() != selection => {
                (None, Some(unusable(&path, "the agent subscribes to other datasets now")))
            }
            Ok(image) => (Some(LastGood { generation, image }), None),
            Err(error) => (None, Some(format!("the last good generation is left out: {error}"))),
        }
    }

    /// Deletes the objects that earlier versions kept. A warning says that there were some.
    pub(crate) fn remove_old_objects(&self) -> Option<String> {
        let removed = self.remove_with(OLD_OBJECT);
        match removed {
            Ok(0) => None,
            Ok(count) => Some(format!(
                "{count} objects of an earlier version were deleted from {}; the agent keeps images now, and \
                 retrieves the generation again",
                self.path.display()
            )),
            Err(error) => Some(format!(
                "what an earlier version kept in {} can't be deleted: {error}; delete *.{OLD_OBJECT} there",
                self.path.display()
            )),
        }
    }

    fn remove_with(&self, extension: &str) -> io::Result<usize> {
        let mut count = 0;
        for entry in fs::read_dir(&self.path)? {
            let path = entry?.path();
            if path.extension().is_some_and(|of| of == extension) {
                fs::remove_file(&path)?;
                count += 1;
            }
        }
        Ok(count)
    }

    /// Notes that a generation is being served, and which image it is.
    pub(crate) fn note_good(&self, generation: Generation, id: LayerId) -> io::Result<()> {
        let text = format!("{} {} {id}\n", generation.epoch, hex(&generation.digest.0));
        self.write(&self.path.join(LAST_GOOD), text.as_bytes())
    }

    /// Forgets the last good generation, which is damaged.
    pub(crate) fn forget_good(&self) -> io::Result<()> {
        match fs::remove_file(self.path.join(LAST_GOOD)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Writes a file so that after a crash it is the old one or the new one, whole.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let aside = path.with_extension(ASIDE);
        let written = (|| {
            let mut file = File::create(&aside)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&aside, path)?;
            // The rename itself is in the directory.
            File::open(&self.path)?.sync_all()
        })();
        if written.is_err() {
            // What was there before stands; the rest of a full disk's file makes room again.
            let _ = fs::remove_file(&aside);
        }
        written
    }
}

fn unusable(path: &Path, cause: &str) -> String {
    format!("{} is left out, the generation is retrieved again: {cause}", path.display())
}

fn parse_last_good(text: &str) -> Option<(Generation, LayerId)> {
    let mut words = text.split_whitespace();
    let generation = Generation { epoch: words.next()?.parse().ok()?, digest: Digest(unhex(words.next()?)?) };
    Some((generation, LayerId::parse(words.next()?)?))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    let mut bytes = [0; N];
    if digits.len() != 2 * N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
        let digit = |digit: u8| (digit as char).to_digit(16);
        *byte = (digit(pair[0])? << 4 | digit(pair[1])?) as u8;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_kept_and_a_damaged_one_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::open(directory.path()).unwrap();
        let id = |number| AgentId([number; 16]);
        assert_eq!(disk.agent_id(id(1)).unwrap(), (id(1), None));
        assert_eq!(disk.agent_id(id(2)).unwrap(), (id(1), None));
        fs::write(directory.path().join(AGENT_ID), b"\xff\xff").unwrap();
        let (replaced, warning) = disk.agent_id(id(3)).unwrap();
        assert_eq!(replaced, id(3));
        assert!(warning.unwrap().contains("new id"));
    }

    #[test]
    fn a_directory_has_one_agent() {
        let directory = tempfile::tempdir().unwrap();
        let first = Disk::open(directory.path()).unwrap();
        assert!(matches!(Disk::open(directory.path()), Err(OpenError::InUse)));
        drop(first);
        assert!(Disk::open(directory.path()).is_ok());
    }

    #[test]
    fn a_pointer_that_names_nothing_is_a_warning() {
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::open(directory.path()).unwrap();
        assert!(matches!(disk.last_good(&[]), (None, None)));
        let digest = "00".repeat(32);
        // The last but one is what earlier versions wrote.
        for text in ["", "7", "7 zz", "x 00", &format!("7 {digest}"), &format!("7 {digest} 00")] {
            fs::write(directory.path().join(LAST_GOOD), text).unwrap();
            let (found, warning) = disk.last_good(&[]);
            assert!(found.is_none() && warning.is_some(), "{text:?}");
        }
    }

    #[test]
    fn what_an_earlier_version_kept_is_deleted_with_a_word() {
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::open(directory.path()).unwrap();
        assert_eq!(disk.remove_old_objects(), None);
        let object = directory.path().join("00").with_extension(OLD_OBJECT);
        fs::write(&object, "old").unwrap();
        assert!(disk.remove_old_objects().unwrap().contains("1 objects of an earlier version"));
        assert!(!object.exists());
        assert_eq!(disk.remove_old_objects(), None);
    }

    #[test]
    fn hexadecimal_both_ways() {
        assert_eq!(unhex::<2>(&hex(&[0x0f, 0xa0])), Some([0x0f, 0xa0]));
        assert_eq!([unhex::<1>("0"), unhex::<1>("0g"), unhex::<1>("000")], [None; 3]);
    }
}
