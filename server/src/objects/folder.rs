//! The folder of a farm's objects, `objects/…` beside the database: what is in it, and how a file comes
//! to be there or goes.
//!
//! ```text
//! objects/DATABASE/farm-NAME/all/                   of all datasets
//! objects/DATABASE/farm-NAME/some-HASH/             of some: their names are in the file `datasets`
//!     64 hexadecimal digits                         an object: its name
//!     part-…                                        one that is being written; thrown away at a start
//! ```
//! There is no other index: what an object leads from and to stands in its first bytes. Nothing here is
//! waited for to reach the disk. After a crash of the host a file may be torn; then it doesn't have its
//! name, and is built again.

use downbeat_core::ids::{Digest, Generation, Name};
use downbeat_core::object::packed::{Form, HeadReader, PACKED_HEAD};
use downbeat_core::object::{ENDS_MAX, ends_of};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// Datasets that objects are made of: sorted, each once; none for all.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct Selection(Vec<Name>);

impl Selection {
    pub(crate) fn new(names: &[Name]) -> Selection {
        let mut names = names.to_vec();
        names.sort();
        names.dedup();
        Selection(names)
    }

    pub(super) fn names(&self) -> &[Name] {
        &self.0
    }

    fn text(&self) -> String {
        self.0.iter().map(|name| format!("{name}\n")).collect()
    }

    fn folder(&self) -> String {
        match self.0.as_slice() {
            [] => "all".to_owned(),
            _ => format!("some-{}", &blake3::hash(self.text().as_bytes()).to_hex()[..32]),
        }
    }
}

/// What an object is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Wanted {
    /// `None`: a snapshot.
    pub(super) base: Option<Generation>,
    pub(super) target: Generation,
    pub(super) selection: Selection,
    pub(super) form: Form,
}

/// An object's file that was found, and what it says of itself.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) wanted: Wanted,
    pub(super) name: Digest,
    pub(super) bytes: u64,
}

/// The folder of a farm.
#[derive(Clone, Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new(database: &Path, farm: &Name) -> Folder {
        let database_name = database.file_name().unwrap_or_default();
        let beside = database.parent().unwrap_or(Path::new("")).join("objects").join(database_name);
        // With something before it, because ".." is a farm's name, too.
        Folder(beside.join(format!("farm-{farm}")))
    }

    fn of(&self, selection: &Selection) -> PathBuf {
        self.0.join(selection.folder())
    }

    pub(super) fn path(&self, selection: &Selection, name: Digest) -> PathBuf {
        self.of(selection).join(name.to_string())
    }

    /// A file to be written, which is gone again unless it is kept.
    pub(super) fn begin(&self, selection: &Selection) -> io::Result<NamedTempFile> {
        let folder = self.of(selection);
        fs::create_dir_all(&folder)?;
        if !selection.names().is_empty() {
            fs::write(folder.join("datasets"), selection.text())?;
        }
        tempfile::Builder::new().prefix("part-").tempfile_in(folder)
    }

    /// What was written gets its name.
    pub(super) fn keep(&self, file: NamedTempFile, selection: &Selection, name: Digest) -> io::Result<()> {
        file.persist(self.path(selection, name)).map(drop).map_err(|error| error.error)
    }

    pub(super) fn open(&self, selection: &Selection, name: Digest) -> io::Result<File> {
        File::open(self.path(selection, name))
    }

    /// Whoever has the file open can still read it.
    pub(super) fn remove(&self, selection: &Selection, name: Digest) {
        let path = self.path(selection, name);
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "an object that nobody needs could not be deleted");
        }
        // Only where it is empty.
        let _ = fs::remove_dir(self.of(selection));
    }

    /// All objects of the folder. What is none is deleted.
    pub(super) fn found(&self) -> Vec<Found> {
        let mut found = Vec::new();
        for folder in entries(&self.0) {
            let Some(selection) = selection_of(&folder) else {
                delete(&folder);
                continue;
            };
            for path in entries(&folder) {
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                if name == "datasets" {
                    continue;
                }
                match name_of(name).and_then(|name| look(&path, name, &selection).ok()) {
                    Some(object) => found.push(object),
                    None => delete(&path),
                }
            }
        }
        found
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect()
}

fn delete(path: &Path) {
    let deleted = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    if let Err(error) = deleted {
        tracing::warn!(path = %path.display(), %error, "what is no object could not be deleted");
    }
}

/// The datasets that a folder is of.
fn selection_of(folder: &Path) -> Option<Selection> {
    let text = match folder.file_name()?.to_str()? {
        "all" => String::new(),
        _ => fs::read_to_string(folder.join("datasets")).ok()?,
    };
    let names: Option<Vec<Name>> = text.lines().map(|line| Name::new(line).ok()).collect();
    let selection = Selection::new(&names?);
    (folder.file_name()?.to_str()? == selection.folder()).then_some(selection)
}

fn name_of(text: &str) -> Option<Digest> {
    let name = blake3::Hash::from_hex(text).ok()?;
    // One spelling only.
    (name.to_hex().as_str() == text).then_some(Digest(*name.as_bytes()))
}

/// What a file says that it is.
fn look(path: &Path, name: Digest, selection: &Selection) -> io::Result<Found> {
    let damaged = || io::Error::from(io::ErrorKind::InvalidData);
    let mut file = File::open(path)?;
    let bytes = file.metadata()?.len();
    let mut beginning = Vec::new();
    (&file).take(PACKED_HEAD as u64).read_to_end(&mut beginning)?;
    let form = Form::of(&beginning).ok_or(io::ErrorKind::InvalidData)?;
    let mut head = Vec::new();
    if form == Form::Packed {
        HeadReader::new(u64::MAX).next(&mut beginning.as_slice()).map_err(|_| damaged())?;
        zstd::stream::read::Decoder::new(&file)?.take(ENDS_MAX as u64).read_to_end(&mut head)?;
    } else {
        file.seek(SeekFrom::Start(0))?;
        (&file).take(ENDS_MAX as u64).read_to_end(&mut head)?;
    }
    let (base, target) = ends_of(&head).map_err(|_| damaged())?;
    let wanted = Wanted { base, target, selection: selection.clone(), form };
    Ok(Found { wanted, name, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    #[test]
    fn a_selection_is_told_by_its_folder_whatever_its_names_are() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::new(&place.path().join("downbeat.db"), &name(".."));
        assert!(folder.0.starts_with(place.path().join("objects/downbeat.db")));
        assert_eq!(folder.0.file_name().unwrap(), "farm-..");
        let long: Vec<_> = (b'a'..=b'h').map(|byte| name(&(byte as char).to_string().repeat(64))).collect();
        for names in [vec![], vec![name("all")], vec![name(".."), name("b")], long] {
            let selection = Selection::new(&names);
            drop(folder.begin(&selection).unwrap());
            assert_eq!(selection_of(&folder.of(&selection)), Some(selection));
        }
        let same = Selection::new(&[name("b"), name("a"), name("b")]);
        assert_eq!(same, Selection::new(&[name("a"), name("b")]));
    }

    #[test]
    fn what_is_no_object_is_deleted_at_a_start() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::new(&place.path().join("d"), &name("eu"));
        let all = Selection::default();
        let (part, _) = folder.begin(&all).unwrap().keep().map(|(file, path)| (path, file)).unwrap();
        let wrong = folder.path(&all, Digest([7; 32]));
        fs::write(&wrong, b"downbeat and then nothing that it could be").unwrap();
        let stray = folder.of(&all).join("notes.txt");
        fs::write(&stray, b"?").unwrap();
        let foreign = folder.0.join("some-0000");
        fs::create_dir_all(&foreign).unwrap();
        assert!(folder.found().is_empty());
        for path in [part, wrong, stray, foreign] {
            assert!(!path.exists(), "{}", path.display());
        }
    }
}
