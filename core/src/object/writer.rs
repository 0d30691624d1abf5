//! Writing an object, record by record, in the one order there is. What is written is checked as a
//! reader would check it, so that an object which no agent takes never leaves the server.

use super::{
    DELETE, DELTA, END, LastKey, MAGIC, ManifestEntry, OBJECT_VERSION, ObjectError, PUT, SECTION, SNAPSHOT,
    Section,
};
use crate::content::{FARM_DATASETS_MAX, GenerationHasher, LimitError, check_record, record_digest};
use crate::ids::{Digest, Generation, Name};
use crate::message::ObjectRef;

/// Writes one object into a sink. In order: [`Writer::new`]; for each dataset [`Writer::dataset`]
/// and its records by [`Writer::put`] and [`Writer::delete`]; [`Writer::finish`]. After an error the
/// object is unfinished and what the sink got is to be thrown away.
#[derive(Debug)]
pub struct Writer<'m, S> {
    sink: S,
    name: blake3::Hasher,
    len: u64,
    manifest: &'m [ManifestEntry],
    snapshot: bool,
    section: Option<Section>,
    last_key: LastKey,
}

impl<'m, S: FnMut(&[u8])> Writer<'m, S> {
    /// Begins an object that leads to `target`: from nothing (a snapshot) or from `base` (a delta).
    /// `manifest` lists *all* datasets of the target, whichever are written.
    ///
    /// # Errors
    /// The manifest is out of order, too long, or doesn't have the target's digest; the sink got
    /// nothing.
    pub fn new(
        base: Option<Generation>,
        target: Generation,
        manifest: &'m [ManifestEntry],
        sink: S,
    ) -> Result<Writer<'m, S>, ObjectError> {
        let mut digest = GenerationHasher::new();
        for entry in manifest {
            digest.push(&entry.dataset, &entry.sum).map_err(|_| ObjectError::ManifestOrder)?;
        }
        if manifest.len() > FARM_DATASETS_MAX {
            return Err(ObjectError::TooManyDatasets);
        }
        if digest.finish() != target.digest {
            return Err(ObjectError::ManifestDigest);
        }
        let mut writer = Writer {
            sink,
            name: blake3::Hasher::new(),
            len: 0,
            manifest,
            snapshot: base.is_none(),
            section: None,
            last_key: LastKey::default(),
        };
        writer.write(MAGIC);
        match base {
            None => writer.write(&[OBJECT_VERSION, SNAPSHOT]),
            Some(base) => {
                writer.write(&[OBJECT_VERSION, DELTA]);
                writer.write(&super::generation_bytes(&base));
            }
        }
        writer.write(&super::generation_bytes(&target));
        writer.write(&[manifest.len() as u8]);
        for entry in manifest {
            writer.write_name(&entry.dataset);
            writer.write(&entry.sum.sum);
            writer.write(&entry.sum.count.to_le_bytes());
        }
        Ok(writer)
    }

    /// Begins the section of a dataset.
    ///
    /// # Errors
    /// The section before it isn't right, or this one doesn't follow it.
    pub fn dataset(&mut self, dataset: &Name) -> Result<(), ObjectError> {
        self.end_section()?;
        if self.section.as_ref().is_some_and(|section| section.dataset >= *dataset) {
            return Err(ObjectError::SectionOrder);
        }
        let listed = self.manifest.iter().find(|entry| entry.dataset == *dataset).map(|entry| entry.sum);
        if self.snapshot && listed.is_none() {
            return Err(ObjectError::UnknownDataset);
        }
        self.section =
            Some(Section { dataset: dataset.clone(), listed, sum: Default::default(), records: 0 });
        self.last_key = LastKey::default();
        self.write(&[SECTION]);
        self.write_name(dataset);
        Ok(())
    }

    /// Writes a record that the target has.
    ///
    /// # Errors
    /// It is over a limit, out of order, or stands outside of a section.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), ObjectError> {
        check_record(key, value).map_err(ObjectError::Limit)?;
        let section = self.section.as_mut().ok_or(ObjectError::NoSection)?;
        if section.listed.is_none() {
            return Err(ObjectError::UnknownDataset);
        }
        self.last_key.follow(key)?;
        section.records += 1;
        if self.snapshot {
            section.sum.add(record_digest(&section.dataset, key, value));
        }
        self.write(&[PUT]);
        self.write(&(key.len() as u16).to_le_bytes());
        self.write(&(value.len() as u32).to_le_bytes());
        self.write(key);
        self.write(value);
        Ok(())
    }

    /// Writes a key that the base has and the target hasn't.
    ///
    /// # Errors
    /// As for [`Writer::put`]; and in a snapshot.
    pub fn delete(&mut self, key: &[u8]) -> Result<(), ObjectError> {
        if self.snapshot {
            return Err(ObjectError::DeleteInSnapshot);
        }
        check_record(key, &[]).map_err(|_| ObjectError::Limit(LimitError::Key { len: key.len() }))?;
        let section = self.section.as_mut().ok_or(ObjectError::NoSection)?;
        self.last_key.follow(key)?;
        section.records += 1;
        self.write(&[DELETE]);
        self.write(&(key.len() as u16).to_le_bytes());
        self.write(key);
        Ok(())
    }

    /// Ends the object and gives its name and length.
    ///
    /// # Errors
    /// The last section isn't right.
    pub fn finish(mut self) -> Result<ObjectRef, ObjectError> {
        self.end_section()?;
        self.write(&[END]);
        Ok(ObjectRef { name: Digest(*self.name.finalize().as_bytes()), len: self.len })
    }

    fn end_section(&self) -> Result<(), ObjectError> {
        self.section.as_ref().map_or(Ok(()), |section| section.end(self.snapshot))
    }

    fn write_name(&mut self, name: &Name) {
        let bytes = name.as_str().as_bytes();
        self.write(&[bytes.len() as u8]);
        self.write(bytes);
    }

    fn write(&mut self, bytes: &[u8]) {
        self.name.update(bytes);
        self.len += bytes.len() as u64;
        (self.sink)(bytes);
    }
}
