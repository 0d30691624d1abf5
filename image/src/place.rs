//! Where layers are kept: in a directory, or in memory where there is none. A file is written
//! aside, synchronized, and renamed to its id; so a name that is there is whole, after a crash too.

use crate::error::{OpenError, WriteError};
use crate::format::LayerId;
use crate::layer::Layer;
use crate::map::Bytes;
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// The extension of a layer's file; its stem is the layer's id.
pub const EXTENSION: &str = "image";
/// The extension of what is being written.
const ASIDE: &str = "image-part";

/// Where an image is written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// A directory in which nobody else writes or deletes images.
    Directory(PathBuf),
    /// This process's memory; the image ends with it.
    Memory,
}

impl Place {
    /// Deletes what was left half written by a process that ended in the middle. Only while nobody
    /// writes here.
    ///
    /// # Errors
    /// The directory can't be read, or a file not deleted.
    pub fn clear_unfinished(&self) -> io::Result<()> {
        self.remove(|path| path.extension().is_some_and(|of| of == ASIDE))
    }

    /// Deletes the files of all layers but these. Mappings of deleted files stay good.
    ///
    /// # Errors
    /// The directory can't be read, or a file not deleted.
    pub fn keep_only(&self, layers: impl IntoIterator<Item = LayerId>) -> io::Result<()> {
        let kept: HashSet<LayerId> = layers.into_iter().collect();
        self.remove(|path| {
            let id = path.file_stem().and_then(|stem| stem.to_str()).and_then(LayerId::parse);
            let is_layer = path.extension().is_some_and(|of| of == EXTENSION);
            is_layer && id.is_some_and(|id| !kept.contains(&id))
        })
    }

    fn remove(&self, unwanted: impl Fn(&Path) -> bool) -> io::Result<()> {
        let Place::Directory(directory) = self else { return Ok(()) };
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if unwanted(&path) {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }

    /// Begins a file without a name.
    pub(crate) fn begin(&self) -> io::Result<Sink> {
        match self {
            Place::Directory(directory) => Ok(Sink::File(Aside::new(directory, true)?)),
            Place::Memory => Ok(Sink::Memory(Vec::new())),
        }
    }

    /// A file to lay things aside in, read and written; `None` in memory.
    pub(crate) fn scratch(&self) -> io::Result<Option<Aside>> {
        match self {
            Place::Directory(directory) => Aside::new(directory, false).map(Some),
            Place::Memory => Ok(None),
        }
    }
}

/// The file of a layer.
pub(crate) fn layer_path(directory: &Path, id: LayerId) -> PathBuf {
    directory.join(id.to_string()).with_extension(EXTENSION)
}

/// A file that is deleted when it is dropped, unless it was renamed.
pub(crate) struct Aside {
    directory: PathBuf,
    path: PathBuf,
    pub(crate) file: File,
    renamed: bool,
}

impl Aside {
    fn new(directory: &Path, only_written: bool) -> io::Result<Aside> {
        /// Two files that are written at one time in one process have names of their own.
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = directory.join(format!("{}-{number}", std::process::id())).with_extension(ASIDE);
        let file = File::options().read(!only_written).write(true).create(true).truncate(true).open(&path)?;
        Ok(Aside { directory: directory.to_path_buf(), path, file, renamed: false })
    }

    fn rename(mut self, id: LayerId) -> io::Result<PathBuf> {
        let to = layer_path(&self.directory, id);
        self.file.sync_all()?;
        fs::rename(&self.path, &to)?;
        self.renamed = true;
        // The rename itself is in the directory.
        File::open(&self.directory)?.sync_all()?;
        Ok(to)
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if !self.renamed {
            // What can't be deleted now is at the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A layer on its way to its place.
pub(crate) enum Sink {
    File(Aside),
    Memory(Vec<u8>),
}

impl Sink {
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Sink::File(aside) => aside.file.write_all(bytes),
            Sink::Memory(memory) => memory.write_all(bytes),
        }
    }

    /// Gives it its name, and opens it.
    pub(crate) fn finish(self, id: LayerId) -> Result<Layer, WriteError> {
        let opened: Result<Layer, OpenError> = match self {
            Sink::File(aside) => Layer::open(&aside.rename(id)?, id),
            Sink::Memory(memory) => Layer::of(Bytes::Held(memory), id, Path::new("in memory")),
        };
        opened.map_err(WriteError::Open)
    }
}
