//! A snapshot that lies in memory as a whole: proven where it lies, and read where it lies.
//!
//! For hosts that have no room for a second copy of a record: [`prove`] needs no buffer, and little
//! stack as long as records are short (some 300 bytes of key and value). What it takes is what [`Reader`](super::Reader) takes. [`records`] goes
//! over what was proven; nothing of it is copied.

use super::{END, MAGIC, OBJECT_VERSION, ObjectError, PUT, SECTION, SNAPSHOT};
use crate::content::{
    DatasetSum, FARM_DATASETS_MAX, check_record, long_generation_digest, record_digest,
    short_generation_digest, short_record_digest,
};
use crate::ids::{Digest, Generation, Name};

/// One record of a snapshot, borrowed from its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry<'a> {
    /// The dataset that it is in.
    pub dataset: &'a str,
    /// Its key.
    pub key: &'a [u8],
    /// Its value.
    pub value: &'a [u8],
}

/// Proves that these bytes are the object `name`: an uncompressed snapshot of `target` in which the
/// datasets that are `expected` are whole.
///
/// # Errors
/// [`ObjectError`]; nothing that was read of the bytes is worth anything then.
pub fn prove(
    bytes: &[u8],
    name: Digest,
    target: Generation,
    expected: &dyn Fn(&str) -> bool,
) -> Result<(), ObjectError> {
    let mut rest = Rest(bytes);
    head(&mut rest, target)?;
    let manifest = prove_manifest(&mut rest, target.digest)?;
    prove_sections(&mut rest, &manifest, expected)?;
    if !rest.0.is_empty() {
        return Err(ObjectError::TrailingBytes);
    }
    if name_of(bytes) == name { Ok(()) } else { Err(ObjectError::WrongName) }
}

#[inline(never)]
fn name_of(bytes: &[u8]) -> Digest {
    Digest(*blake3::hash(bytes).as_bytes())
}

/// The records of a snapshot that was proven, ascending by dataset and key. Of other bytes: some
/// records or none.
pub fn records(bytes: &[u8]) -> Records<'_> {
    let mut rest = Rest(bytes);
    let begun = rest.take(MAGIC.len() + 2 + 40).and_then(|_| Manifest::take(&mut rest));
    Records { rest: if begun.is_ok() { rest } else { Rest(&[]) }, dataset: "" }
}

/// Goes over the records of a snapshot; see [`records`].
#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: Rest<'a>,
    dataset: &'a str,
}

impl<'a> Iterator for Records<'a> {
    type Item = Entry<'a>;
    fn next(&mut self) -> Option<Entry<'a>> {
        loop {
            match self.rest.byte().ok()? {
                SECTION => self.dataset = self.rest.name().ok()?,
                PUT => {
                    let (key, value) = self.rest.record().ok()?;
                    return Some(Entry { dataset: self.dataset, key, value });
                }
                _ => {
                    self.rest = Rest(&[]);
                    return None;
                }
            }
        }
    }
}

/// What is still to be read.
#[derive(Clone, Debug)]
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], ObjectError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(ObjectError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }
    fn array<const LEN: usize>(&mut self) -> Result<[u8; LEN], ObjectError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(ObjectError::Truncated)?;
        self.0 = rest;
        Ok(*taken)
    }
    fn byte(&mut self) -> Result<u8, ObjectError> {
        self.array().map(|[byte]| byte)
    }
    fn name(&mut self) -> Result<&'a str, ObjectError> {
        let len = self.byte()?;
        core::str::from_utf8(self.take(len as usize)?).map_err(|_| ObjectError::BadName)
    }
    /// Key and value, after the mark of a put.
    fn record(&mut self) -> Result<(&'a [u8], &'a [u8]), ObjectError> {
        let (key, value) = (u16::from_le_bytes(self.array()?), u32::from_le_bytes(self.array()?));
        let value = usize::try_from(value).map_err(|_| ObjectError::Truncated)?;
        Ok((self.take(key as usize)?, self.take(value)?))
    }
}

/// The list of a generation's datasets.
#[derive(Clone)]
struct Manifest<'a> {
    rest: Rest<'a>,
    left: u8,
}

impl<'a> Manifest<'a> {
    /// Takes the manifest off the front.
    fn take(rest: &mut Rest<'a>) -> Result<Manifest<'a>, ObjectError> {
        let left = rest.byte()?;
        if left as usize > FARM_DATASETS_MAX {
            return Err(ObjectError::TooManyDatasets);
        }
        let manifest = Manifest { rest: rest.clone(), left };
        for _ in 0..left {
            rest.name()?;
            rest.take(40)?;
        }
        Ok(manifest)
    }
    fn sum_of(&self, dataset: &str) -> Option<DatasetSum> {
        self.clone().find(|(name, _)| *name == dataset).map(|(_, sum)| sum)
    }
}

impl<'a> Iterator for Manifest<'a> {
    type Item = (&'a str, DatasetSum);
    fn next(&mut self) -> Option<(&'a str, DatasetSum)> {
        self.left = self.left.checked_sub(1)?;
        let name = self.rest.name().ok()?;
        let sum = self.rest.array().ok()?;
        Some((name, DatasetSum { sum, count: u64::from_le_bytes(self.rest.array().ok()?) }))
    }
}

fn head(rest: &mut Rest<'_>, target: Generation) -> Result<(), ObjectError> {
    if rest.take(MAGIC.len())? != MAGIC {
        return Err(ObjectError::Magic);
    }
    let [version, mark] = rest.array()?;
    if version != OBJECT_VERSION {
        return Err(ObjectError::Version { found: version });
    }
    if mark != SNAPSHOT {
        return Err(ObjectError::WrongBase);
    }
    if super::generation_of(rest.take(40)?) != target {
        return Err(ObjectError::WrongTarget);
    }
    Ok(())
}

fn prove_manifest<'a>(rest: &mut Rest<'a>, digest: Digest) -> Result<Manifest<'a>, ObjectError> {
    let manifest = Manifest::take(rest)?;
    let mut last = "";
    for (text, sum) in manifest.clone() {
        Name::new(text).map_err(|_| ObjectError::BadName)?;
        if text <= last || sum.is_empty() {
            return Err(ObjectError::ManifestOrder);
        }
        last = text;
    }
    let short = short_generation_digest(manifest.clone());
    let found = short.unwrap_or_else(|| long_generation_digest(manifest.clone()));
    if found == digest { Ok(manifest) } else { Err(ObjectError::ManifestDigest) }
}

fn prove_sections(
    rest: &mut Rest<'_>,
    manifest: &Manifest<'_>,
    expected: &dyn Fn(&str) -> bool,
) -> Result<(), ObjectError> {
    let (mut covered, mut last) = (0, "");
    loop {
        match rest.byte()? {
            SECTION => {}
            END => break,
            PUT => return Err(ObjectError::NoSection),
            super::DELETE => return Err(ObjectError::DeleteInSnapshot),
            found => return Err(ObjectError::UnknownMark { found }),
        }
        let text = rest.name()?;
        let dataset = Name::new(text).map_err(|_| ObjectError::BadName)?;
        if text <= last {
            return Err(ObjectError::SectionOrder);
        }
        last = text;
        let listed = manifest.sum_of(text).filter(|_| expected(text));
        if listed.is_none() && expected(text) {
            return Err(ObjectError::UnknownDataset);
        }
        covered += listed.is_some() as usize;
        let sum = prove_records(rest, &dataset)?;
        if listed.is_some_and(|listed| listed != sum) {
            return Err(ObjectError::WrongSum);
        }
    }
    if covered != manifest.clone().filter(|(name, _)| expected(name)).count() {
        return Err(ObjectError::MissingDataset);
    }
    Ok(())
}

/// The sum of a section's records.
fn prove_records(rest: &mut Rest<'_>, dataset: &Name) -> Result<DatasetSum, ObjectError> {
    let (mut sum, mut last) = (DatasetSum::EMPTY, None);
    while rest.0.first() == Some(&PUT) {
        rest.byte()?;
        let (key, value) = rest.record()?;
        check_record(key, value).map_err(ObjectError::Limit)?;
        if last.is_some_and(|last| last >= key) {
            return Err(ObjectError::KeyOrder);
        }
        last = Some(key);
        let digest = short_record_digest(dataset.as_str(), key, value);
        sum.add(digest.unwrap_or_else(|| long_record_digest(dataset, key, value)));
    }
    if sum.is_empty() { Err(ObjectError::EmptySection) } else { Ok(sum) }
}

// A hash's whole state has almost 2 KiB: only where it must be, and kept out of the frames around it.
#[inline(never)]
fn long_record_digest(dataset: &Name, key: &[u8], value: &[u8]) -> Digest {
    record_digest(dataset, key, value)
}
