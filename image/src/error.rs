//! Why an image can't be opened, read or written.

use crate::format::LayerId;
use downbeat_core::content::LimitError;
use downbeat_core::ids::Name;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// A part of an image isn't what was written. Nothing of that part was given out, and nothing of it
/// ever will be; the image is thrown away and its generation retrieved again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Damaged {
    /// The file.
    pub layer: LayerId,
    /// The first byte of the damaged part, counted from the file's start.
    pub at: u64,
}

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the image file {} is damaged at byte {}; its generation has to be retrieved again",
            self.layer, self.at
        )
    }
}
impl std::error::Error for Damaged {}

/// Why an image was not opened. The files are as they were; the generation has to be retrieved
/// again, unless the disk can be repaired.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// The file can't be read.
    Io(PathBuf, io::Error),
    /// The file is of a version that is not read here.
    Version(PathBuf, u32),
    /// The file is damaged or cut off, or is no image.
    Damaged(PathBuf, &'static str),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Io(path, error) => {
                write!(f, "the image {} can't be read: {error}; repair it or retrieve again", path.display())
            }
            OpenError::Version(path, found) => write!(
                f,
                "the image {} has version {found}, which is not read here; retrieve its generation again",
                path.display()
            ),
            OpenError::Damaged(path, cause) => {
                write!(f, "the image {} is damaged: {cause}; retrieve its generation again", path.display())
            }
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            OpenError::Io(_, error) => Some(error),
            OpenError::Version(..) | OpenError::Damaged(..) => None,
        }
    }
}

/// Why an image was not written. Nothing of it is left, and what was there before is as it was.
#[derive(Debug)]
#[non_exhaustive]
pub enum WriteError {
    /// The disk takes no more, or the directory is gone.
    Io(io::Error),
    /// Datasets or keys didn't come in ascending order, each once.
    Order,
    /// A record is over a limit.
    Limit(LimitError),
    /// What came out isn't what the generation's manifest says of this dataset.
    Disagrees(Name),
    /// The manifest doesn't have the generation's digest.
    Digest,
    /// The image that is built upon is damaged.
    Damaged(Damaged),
    /// What was written can't be opened.
    Open(OpenError),
    /// The caller stopped it.
    Stopped,
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WriteError::Io(error) => write!(f, "the image can't be written: {error}; make room or repair"),
            WriteError::Order => {
                f.write_str("the records of an image must come in ascending order, each once")
            }
            WriteError::Limit(error) => error.fmt(f),
            WriteError::Disagrees(dataset) => write!(
                f,
                "the records of dataset {dataset} don't have the sum that the generation's manifest lists; \
                 retrieve a snapshot"
            ),
            WriteError::Digest => f.write_str("the manifest doesn't have the generation's digest"),
            WriteError::Damaged(damaged) => damaged.fmt(f),
            WriteError::Open(error) => error.fmt(f),
            WriteError::Stopped => f.write_str("the writing of the image was stopped; begin again"),
        }
    }
}

impl std::error::Error for WriteError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            WriteError::Io(error) => Some(error),
            WriteError::Limit(error) => Some(error),
            WriteError::Damaged(error) => Some(error),
            WriteError::Open(error) => Some(error),
            WriteError::Order | WriteError::Disagrees(_) | WriteError::Digest | WriteError::Stopped => None,
        }
    }
}

impl From<io::Error> for WriteError {
    fn from(error: io::Error) -> WriteError {
        WriteError::Io(error)
    }
}
impl From<Damaged> for WriteError {
    fn from(damaged: Damaged) -> WriteError {
        WriteError::Damaged(damaged)
    }
}
