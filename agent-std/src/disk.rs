//! What an agent keeps in its state directory: its id, and the last good generation with which it
//! starts while no server can be reached (PROTOCOL §5, `start_wait`).
//!
//! ```text
//! lock             held while an agent runs on the directory
//! agent-id         32 hexadecimal digits, drawn at the first start
//! last-good        "<epoch> <digest>": the generation that was served last
//! <digest>.object  epoch and name of the object, then the object itself (core, `object`)
//! ```
//! Every file is written aside, synchronized, and renamed over the old one. Whatever is found
//! damaged is left out with a warning and retrieved again; an object proves itself by its name.

use crate::content::Content;
use crate::filling::Filling;
use downbeat_core::ids::{AgentId, Digest, Generation, Name};
use downbeat_core::message::{DATASETS_MAX, ObjectRef, Route};
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const LOCK: &str = "lock";
const AGENT_ID: &str = "agent-id";
const LAST_GOOD: &str = "last-good";
const OBJECT: &str = "object";
const ASIDE: &str = "part";
/// Bytes before the object in its file: epoch (little endian) and name.
const HEAD: usize = 8 + 32;

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
    pub(crate) content: Content,
}

impl Disk {
    /// Opens the directory, which is made where there is none.
    pub(crate) fn open(path: &Path) -> Result<Disk, OpenError> {
        fs::create_dir_all(path)?;
        let lock = File::options().create(true).append(true).open(path.join(LOCK))?;
        match lock.try_lock() {
            Ok(()) => Ok(Disk { path: path.to_path_buf(), _lock: lock }),
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
        self.write(&path, &[format!("{}\n", hex(&fresh.0)).as_bytes()])?;
        Ok((fresh, warning))
    }

    /// The last good generation. A warning says what was found damaged; that is left out.
    pub(crate) fn last_good(
        &self,
        datasets: &heapless::Vec<Name, DATASETS_MAX>,
    ) -> (Option<LastGood>, Option<String>) {
        let path = self.path.join(LAST_GOOD);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return (None, None),
            Err(error) => return (None, Some(unusable(&path, &error.to_string()))),
        };
        let named = text.trim().split_once(' ').and_then(|(epoch, digest)| {
            Some(Generation { epoch: epoch.parse().ok()?, digest: Digest(unhex(digest)?) })
        });
        let Some(generation) = named else {
            return (None, Some(unusable(&path, "it names no generation")));
        };
        let path = self.object_path(generation.digest);
        match read_object(&path, generation.digest, datasets) {
            Ok(content) => (Some(LastGood { generation, content }), None),
            Err(cause) => (None, Some(unusable(&path, &cause))),
        }
    }

    /// Keeps a generation's object.
    pub(crate) fn keep(&self, target: Generation, name: Digest, object: &[u8]) -> io::Result<()> {
        self.write(&self.object_path(target.digest), &[&target.epoch.to_le_bytes(), &name.0, object])
    }

    /// Notes that a generation is being served, and drops the objects that aren't `needed`.
    pub(crate) fn note_good(&self, generation: Generation, needed: &[Digest]) -> io::Result<()> {
        let text = format!("{} {}\n", generation.epoch, hex(&generation.digest.0));
        self.write(&self.path.join(LAST_GOOD), &[text.as_bytes()])?;
        for entry in fs::read_dir(&self.path)? {
            let path = entry?.path();
            let digest = path.file_stem().and_then(|stem| stem.to_str()).and_then(unhex).map(Digest);
            let is_object = path.extension().is_some_and(|extension| extension == OBJECT);
            let kept = digest.is_some_and(|digest| digest == generation.digest || needed.contains(&digest));
            if is_object && !kept {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }

    fn object_path(&self, digest: Digest) -> PathBuf {
        self.path.join(hex(&digest.0)).with_extension(OBJECT)
    }

    /// Writes a file so that after a crash it is the old one or the new one, whole.
    fn write(&self, path: &Path, parts: &[&[u8]]) -> io::Result<()> {
        let aside = path.with_extension(ASIDE);
        let written = (|| {
            let mut file = File::create(&aside)?;
            parts.iter().try_for_each(|part| file.write_all(part))?;
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

fn read_object(
    path: &Path,
    digest: Digest,
    datasets: &heapless::Vec<Name, DATASETS_MAX>,
) -> Result<Content, String> {
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    let (head, object) = bytes.split_at_checked(HEAD).ok_or("it is cut off")?;
    let (epoch, name) = head.split_first_chunk::<8>().ok_or("it is cut off")?;
    let name = Digest(name.try_into().map_err(|_| "it is cut off")?);
    let mut route = Route::default();
    // A route has room for one.
    let _ = route.objects.push(ObjectRef { name, len: object.len() as u64 });
    let target = Generation { epoch: u64::from_le_bytes(*epoch), digest };
    let mut filling = Filling::begin(target, &route, datasets, u64::MAX, false);
    filling.keep(object);
    filling.finish().map(|filled| filled.content).map_err(|fault| fault.to_string())
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
        assert!(matches!(disk.last_good(&heapless::Vec::new()), (None, None)));
        for text in ["", "7", "7 zz", "x 00"] {
            fs::write(directory.path().join(LAST_GOOD), text).unwrap();
            let (found, warning) = disk.last_good(&heapless::Vec::new());
            assert!(found.is_none() && warning.is_some(), "{text:?}");
        }
    }

    #[test]
    fn hexadecimal_both_ways() {
        assert_eq!(unhex::<2>(&hex(&[0x0f, 0xa0])), Some([0x0f, 0xa0]));
        assert_eq!([unhex::<1>("0"), unhex::<1>("0g"), unhex::<1>("000")], [None; 3]);
    }
}
