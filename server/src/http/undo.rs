//! What rollbacks undid, as files that `apply` takes: a folder beside the database with one for each farm.
//! A file is whole and on the disk before its rollback is committed, and stays until a person deletes it.

use super::edit_lines;
use crate::store::Edit;
use downbeat_core::ids::{Epoch, Name};
use downbeat_core::time::ServerTime;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{BufWriter, ErrorKind, Result, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The folder of a farm's files. (A farm may be called "..".)
pub(super) fn folder(undo: &Path, farm: &Name) -> PathBuf {
    undo.join(format!("farm-{farm}"))
}

/// A farm's files by name, the newest last, with their lengths.
pub(super) fn list(folder: &Path) -> Result<Vec<(String, u64)>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry?;
        if let Some(name) = entry.file_name().to_str().filter(|name| is_name(name)) {
            files.push((entry.metadata()?.modified()?, name.to_owned(), entry.metadata()?.len()));
        }
    }
    files.sort();
    Ok(files.into_iter().map(|(_, name, len)| (name, len)).collect())
}

/// Whether a file may be called so: nothing that leads elsewhere.
pub(super) fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    name.strip_suffix(".jsonl").is_some_and(|stem| !stem.is_empty() && stem.bytes().all(plain))
}

/// A file that is being written. It is made with its first edit: a rollback that changes nothing has
/// none.
pub(super) struct Writing {
    folder: PathBuf,
    name: String,
    file: Option<BufWriter<File>>,
    edits: u64,
}

impl Writing {
    pub(super) fn new(folder: PathBuf, (from, to): (Epoch, Epoch), now: ServerTime) -> Writing {
        let name = format!("{from}-to-{to}-{}.jsonl", now.as_nanos());
        Writing { folder, name, file: None, edits: 0 }
    }

    /// An edit, or that these were all: then they are on the disk when this returns.
    pub(super) fn take(&mut self, edit: Option<&Edit>) -> Result<()> {
        let Some(edit) = edit else {
            let Some(file) = &mut self.file else { return Ok(()) };
            file.flush()?;
            file.get_ref().sync_all()?;
            return File::open(&self.folder)?.sync_all();
        };
        if self.file.is_none() {
            DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
            let mut options = OpenOptions::new();
            let file = options.write(true).create_new(true).mode(0o600).open(self.path())?;
            self.file = Some(BufWriter::new(file));
        }
        self.edits += 1;
        match &mut self.file {
            Some(file) => writeln!(file, "{}", edit_lines::line(edit)),
            None => Ok(()),
        }
    }

    /// Name and number of edits, where there is a file.
    pub(super) fn kept(&self) -> Option<(&str, u64)> {
        self.file.as_ref().map(|_| (self.name.as_str(), self.edits))
    }

    /// The rollback was not committed.
    pub(super) fn discard(self) {
        if self.file.is_some() && std::fs::remove_file(self.path()).is_err() {
            tracing::warn!(file = %self.path().display(), "the file of a rollback that failed could not be removed");
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.join(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_nowhere_else() {
        assert!(is_name("7-to-3-1800000000000000000.jsonl"));
        for bad in ["", ".jsonl", "..", "../x.jsonl", "a/b.jsonl", "a.jsonl.jsonl", "x.db"] {
            assert!(!is_name(bad), "{bad:?}");
        }
    }
}
