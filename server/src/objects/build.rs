//! Building an object: from the store into a file, with a connection to the database of its own, so that
//! it holds up nobody. To be run where blocking is allowed.

use super::file::Object;
use super::folder::{Folder, Wanted};
use super::pack::Packer;
use crate::store::{SqliteStore, Store, StoreError};
use downbeat_core::ids::Name;
use downbeat_core::message::ObjectRef;
use downbeat_core::object::packed::{Form, PACKED_HEAD, PackedHead};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::Path;
use tokio::sync::watch;

/// Builds what is wanted and gives it its name. Memory doesn't grow with it.
///
/// # Errors
/// What the store or the disk says; there is no such file then.
pub(super) fn build(
    database: &Path,
    farm: &Name,
    wanted: &Wanted,
    folder: &Folder,
    stop: &watch::Receiver<bool>,
) -> Result<Object, StoreError> {
    let mut store = SqliteStore::open(database)?;
    let mut part = folder.begin(&wanted.selection).map_err(StoreError::Sink)?;
    let mut out = BufWriter::new(part.as_file_mut());
    let going_on = || match *stop.borrow() {
        true => Err(io::Error::new(io::ErrorKind::Interrupted, "the server ends")),
        false => Ok(()),
    };
    let expected = if wanted.form == Form::Plain {
        let mut sink = |bytes: &[u8]| going_on().and_then(|()| out.write_all(bytes));
        Some(write(&mut store, farm, wanted, &mut sink)?)
    } else {
        out.write_all(&[0; PACKED_HEAD]).map_err(StoreError::Sink)?;
        let mut packer = Packer::new(&mut out);
        let mut sink = |bytes: &[u8]| going_on().and_then(|()| packer.push(bytes));
        let object = write(&mut store, farm, wanted, &mut sink)?;
        packer.finish().map_err(StoreError::Sink)?;
        // What is inside is known only now.
        out.seek(SeekFrom::Start(0)).map_err(StoreError::Sink)?;
        out.write_all(&PackedHead { object }.to_bytes()).map_err(StoreError::Sink)?;
        None
    };
    out.flush().map_err(StoreError::Sink)?;
    drop(out);
    let object = part.reopen().and_then(Object::of).map_err(StoreError::Sink)?;
    if expected.is_some_and(|expected| expected != object.reference) {
        return Err(StoreError::Sink(io::Error::other("the file doesn't read as it was written")));
    }
    folder.keep(part, &wanted.selection, object.reference.name).map_err(StoreError::Sink)?;
    Ok(object)
}

fn write(
    store: &mut SqliteStore,
    farm: &Name,
    wanted: &Wanted,
    sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> Result<ObjectRef, StoreError> {
    let datasets = wanted.selection.names();
    match wanted.base {
        Some(base) => store.delta(farm, (base, wanted.target), datasets, sink),
        None => store.snapshot(farm, wanted.target.epoch, datasets, sink),
    }
}
