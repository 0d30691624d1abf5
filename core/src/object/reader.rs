//! Reading an object from pieces of any size, in bounded memory (PROTOCOL §5: nothing that arrives
//! is visible before it is whole and its digest agrees).
//!
//! The manifest is proven before the first record is given out. Everything else is proven by
//! [`Reader::finish`] only, so the host keeps the records aside until then.

use super::{
    DELETE, DELTA, END, LastKey, MAGIC, ManifestEntry, OBJECT_VERSION, ObjectError, PUT, SECTION, SNAPSHOT,
    Section,
};
use crate::content::{
    DatasetSum, FARM_DATASETS_MAX, GenerationHasher, KEY_MAX, LimitError, VALUE_MAX, record_digest,
};
use crate::ids::{Digest, Generation, Name};
use crate::message::DATASETS_MAX;
use heapless::Vec;

/// Bytes in the longest fixed part: a manifest's entry without its length.
const SCRATCH: usize = crate::ids::NAME_MAX + 40;

/// What an object must be to be taken.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Expected {
    /// Its name, from the route.
    pub name: Digest,
    /// The generation that it starts from; `None` for a snapshot.
    pub base: Option<Generation>,
    /// The generation that it leads to.
    pub target: Generation,
    /// Datasets that must be whole and are given out; empty means all of the farm.
    pub datasets: Vec<Name, DATASETS_MAX>,
}

/// One record of an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record<'a> {
    /// The dataset that it is in.
    pub dataset: &'a Name,
    /// Its key.
    pub key: &'a [u8],
    /// Its value; `None` where a delta deletes the key.
    pub value: Option<&'a [u8]>,
}

/// What a whole, proven object was.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Summary {
    /// The generation that it leads to.
    pub target: Generation,
    /// Its length in bytes.
    pub len: u64,
    /// Records and deletes that were given out.
    pub records: u64,
}

/// What the reader waits for; the name of each is what comes next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Head,
    Base,
    Target,
    ManifestLength,
    EntryLength { left: u8 },
    Entry { left: u8, name: u8 },
    Mark,
    SectionLength,
    SectionName { name: u8 },
    PutLengths,
    DeleteLength,
    Body { key: usize, value: Option<usize> },
    Nothing,
    Failed(ObjectError),
}

impl Step {
    /// Bytes that it takes.
    fn needs(self) -> usize {
        match self {
            Step::Head => MAGIC.len() + 2,
            Step::Base | Step::Target => 40,
            Step::ManifestLength | Step::EntryLength { .. } | Step::Mark | Step::SectionLength => 1,
            Step::Entry { name, .. } => name as usize + 40,
            Step::SectionName { name } => name as usize,
            Step::PutLengths => 6,
            Step::DeleteLength => 2,
            Step::Body { key, value } => key + value.unwrap_or(0),
            Step::Nothing | Step::Failed(_) => 0,
        }
    }
}

/// Reads one object. `B` is the buffer for one record (an array, a slice, a `Vec`; `KEY_MAX +
/// VALUE_MAX` bytes are always enough), `DATASETS` the number of datasets that can be kept track
/// of, which need not be more than are expected.
///
/// Input: [`Reader::next`] until it gives `None`, for each piece; then [`Reader::finish`]. An
/// error is final and comes again.
#[derive(Clone, Debug)]
pub struct Reader<B, const DATASETS: usize = FARM_DATASETS_MAX> {
    expected: Expected,
    step: Step,
    scratch: Vec<u8, SCRATCH>,
    buffer: B,
    filled: usize,
    name: blake3::Hasher,
    len: u64,
    digest: GenerationHasher,
    /// Of the datasets that are expected.
    manifest: Vec<ManifestEntry, DATASETS>,
    /// Sections of the manifest's datasets so far.
    covered: usize,
    section: Option<Section>,
    last_key: LastKey,
    records: u64,
}

impl<B: AsRef<[u8]> + AsMut<[u8]>, const DATASETS: usize> Reader<B, DATASETS> {
    /// A reader for the object that is expected.
    pub fn new(expected: Expected, buffer: B) -> Reader<B, DATASETS> {
        Reader {
            expected,
            step: Step::Head,
            scratch: Vec::new(),
            buffer,
            filled: 0,
            name: blake3::Hasher::new(),
            len: 0,
            digest: GenerationHasher::new(),
            manifest: Vec::new(),
            covered: 0,
            section: None,
            last_key: LastKey::default(),
            records: 0,
        }
    }

    /// Takes bytes off the front of `input` up to the end of the next record, and gives it.
    /// `None`: the input is used up.
    ///
    /// # Errors
    /// [`ObjectError`] at the first byte from which on no continuation would be the expected object
    /// (sums and the name at the end of what they cover).
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<Record<'_>>, ObjectError> {
        loop {
            match self.advance(input) {
                Ok(Advance::Hungry) => return Ok(None),
                Ok(Advance::On) => {}
                Ok(Advance::Record { key, value }) => {
                    let Some(section) = &self.section else { return Err(ObjectError::NoSection) };
                    let bytes = self.buffer.as_ref();
                    return Ok(Some(Record {
                        dataset: &section.dataset,
                        key: bytes.get(..key).unwrap_or_default(),
                        value: value.map(|len| bytes.get(key..key + len).unwrap_or_default()),
                    }));
                }
                Err(error) => return Err(self.fail(error)),
            }
        }
    }

    /// Ends the reading: everything that was given out is proven to be the expected object.
    ///
    /// # Errors
    /// The error that came before, or [`ObjectError::Truncated`].
    pub fn finish(&self) -> Result<Summary, ObjectError> {
        match self.step {
            Step::Nothing => {
                Ok(Summary { target: self.expected.target, len: self.len, records: self.records })
            }
            Step::Failed(error) => Err(error),
            _ => Err(ObjectError::Truncated),
        }
    }

    /// The manifest, less the datasets that are not expected; proven, and whole once the first
    /// record was given out or the reading has ended.
    pub fn manifest(&self) -> &[ManifestEntry] {
        &self.manifest
    }

    fn fail(&mut self, error: ObjectError) -> ObjectError {
        self.step = Step::Failed(error);
        error
    }

    /// Fills what the step needs, then does it.
    fn advance(&mut self, input: &mut &[u8]) -> Result<Advance, ObjectError> {
        if let Step::Failed(error) = self.step {
            return Err(error);
        }
        if self.step == Step::Nothing {
            return if input.is_empty() { Ok(Advance::Hungry) } else { Err(ObjectError::TrailingBytes) };
        }
        let missing = self.step.needs() - self.filled;
        let (taken, rest) = input.split_at(missing.min(input.len()));
        if let Step::Body { .. } = self.step {
            // The step was only taken on because the buffer is large enough.
            let room = self.buffer.as_mut().get_mut(self.filled..self.filled + taken.len());
            room.ok_or(ObjectError::BufferTooSmall { needed: self.step.needs() })?.copy_from_slice(taken);
        } else {
            // No fixed part is longer than the scratch.
            self.scratch.extend_from_slice(taken).map_err(|_| ObjectError::BadName)?;
        }
        *input = rest;
        self.name.update(taken);
        self.len += taken.len() as u64;
        self.filled += taken.len();
        if taken.len() < missing {
            return Ok(Advance::Hungry);
        }
        self.filled = 0;
        let scratch = core::mem::take(&mut self.scratch);
        self.do_step(&scratch)
    }

    fn do_step(&mut self, bytes: &[u8]) -> Result<Advance, ObjectError> {
        self.step = match self.step {
            Step::Head => self.on_head(bytes)?,
            Step::Base if Some(super::generation_of(bytes)) != self.expected.base => {
                return Err(ObjectError::WrongBase);
            }
            Step::Base => Step::Target,
            Step::Target if super::generation_of(bytes) != self.expected.target => {
                return Err(ObjectError::WrongTarget);
            }
            Step::Target => Step::ManifestLength,
            Step::ManifestLength => self.on_entries_left(first(bytes))?,
            Step::EntryLength { left } => Step::Entry { left, name: name_length(bytes)? },
            Step::Entry { left, name } => self.on_entry(bytes, left, name as usize)?,
            Step::Mark => self.on_mark(first(bytes))?,
            Step::SectionLength => Step::SectionName { name: name_length(bytes)? },
            Step::SectionName { .. } => self.on_section(bytes)?,
            Step::PutLengths => self.on_lengths(number(bytes, 0, 2), Some(number(bytes, 2, 4)))?,
            Step::DeleteLength => self.on_lengths(number(bytes, 0, 2), None)?,
            Step::Body { key, value } => return self.on_record(key, value),
            Step::Nothing | Step::Failed(_) => self.step,
        };
        Ok(Advance::On)
    }

    fn on_head(&self, bytes: &[u8]) -> Result<Step, ObjectError> {
        let (magic, rest) = bytes.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(ObjectError::Magic);
        }
        match *rest {
            [OBJECT_VERSION, SNAPSHOT] if self.expected.base.is_some() => Err(ObjectError::WrongBase),
            [OBJECT_VERSION, SNAPSHOT] => Ok(Step::Target),
            [OBJECT_VERSION, DELTA] => Ok(Step::Base),
            [OBJECT_VERSION, found] => Err(ObjectError::BaseMark { found }),
            _ => Err(ObjectError::Version { found: first(rest) }),
        }
    }

    fn on_entries_left(&self, left: u8) -> Result<Step, ObjectError> {
        if left as usize > FARM_DATASETS_MAX {
            return Err(ObjectError::TooManyDatasets);
        }
        if left > 0 {
            return Ok(Step::EntryLength { left });
        }
        if self.digest.finish() != self.expected.target.digest {
            return Err(ObjectError::ManifestDigest);
        }
        Ok(Step::Mark)
    }

    fn on_entry(&mut self, bytes: &[u8], left: u8, name: usize) -> Result<Step, ObjectError> {
        let (name, rest) = bytes.split_at(name.min(bytes.len()));
        let dataset = name_of(name)?;
        let mut sum = DatasetSum::EMPTY;
        let (total, count) = rest.split_at(rest.len().min(sum.sum.len()));
        sum.sum.iter_mut().zip(total).for_each(|(to, from)| *to = *from);
        sum.count = count.iter().rev().fold(0, |number, byte| number << 8 | *byte as u64);
        self.digest.push(&dataset, &sum).map_err(|_| ObjectError::ManifestOrder)?;
        if self.expects(&dataset) {
            let entry = ManifestEntry { dataset, sum };
            self.manifest.push(entry).map_err(|_| ObjectError::TooManyDatasets)?;
        }
        self.on_entries_left(left - 1)
    }

    fn expects(&self, dataset: &Name) -> bool {
        self.expected.datasets.is_empty() || self.expected.datasets.contains(dataset)
    }

    fn snapshot(&self) -> bool {
        self.expected.base.is_none()
    }

    fn on_mark(&mut self, mark: u8) -> Result<Step, ObjectError> {
        match mark {
            PUT | DELETE if self.section.is_none() => Err(ObjectError::NoSection),
            PUT => Ok(Step::PutLengths),
            DELETE if self.snapshot() => Err(ObjectError::DeleteInSnapshot),
            DELETE => Ok(Step::DeleteLength),
            SECTION => self.end_section().map(|()| Step::SectionLength),
            END => self.on_end(),
            found => Err(ObjectError::UnknownMark { found }),
        }
    }

    fn end_section(&self) -> Result<(), ObjectError> {
        self.section.as_ref().map_or(Ok(()), |section| section.end(self.snapshot()))
    }

    fn on_section(&mut self, bytes: &[u8]) -> Result<Step, ObjectError> {
        let dataset = name_of(bytes)?;
        if self.section.as_ref().is_some_and(|section| section.dataset >= dataset) {
            return Err(ObjectError::SectionOrder);
        }
        let listed = self.manifest.iter().find(|entry| entry.dataset == dataset).map(|entry| entry.sum);
        // Of a dataset that isn't expected nobody knows here whether it is listed.
        if self.snapshot() && listed.is_none() && self.expects(&dataset) {
            return Err(ObjectError::UnknownDataset);
        }
        self.covered += listed.is_some() as usize;
        self.section = Some(Section { dataset, listed, sum: DatasetSum::EMPTY, records: 0 });
        self.last_key = LastKey::default();
        Ok(Step::Mark)
    }

    fn on_lengths(&mut self, key: usize, value: Option<usize>) -> Result<Step, ObjectError> {
        if key > KEY_MAX {
            return Err(ObjectError::Limit(LimitError::Key { len: key }));
        }
        if let Some(len) = value.filter(|len| *len > VALUE_MAX) {
            return Err(ObjectError::Limit(LimitError::Value { len }));
        }
        let step = Step::Body { key, value };
        if step.needs() > self.buffer.as_ref().len() {
            return Err(ObjectError::BufferTooSmall { needed: step.needs() });
        }
        Ok(step)
    }

    fn on_record(&mut self, key: usize, value: Option<usize>) -> Result<Advance, ObjectError> {
        let snapshot = self.snapshot();
        let bytes = self.buffer.as_ref().get(..key + value.unwrap_or(0)).unwrap_or_default();
        let (key_bytes, value_bytes) = bytes.split_at(key.min(bytes.len()));
        self.last_key.follow(key_bytes)?;
        let Some(section) = &mut self.section else { return Err(ObjectError::NoSection) };
        section.records += 1;
        let expected = self.expected.datasets.is_empty() || self.expected.datasets.contains(&section.dataset);
        if value.is_some() && section.listed.is_none() && expected {
            return Err(ObjectError::UnknownDataset);
        }
        if snapshot && section.listed.is_some() {
            section.sum.add(record_digest(&section.dataset, key_bytes, value_bytes));
        }
        self.step = Step::Mark;
        if !expected {
            return Ok(Advance::On);
        }
        self.records += 1;
        Ok(Advance::Record { key, value })
    }

    fn on_end(&mut self) -> Result<Step, ObjectError> {
        self.end_section()?;
        if self.snapshot() && self.covered != self.manifest.len() {
            return Err(ObjectError::MissingDataset);
        }
        if self.name.finalize() != self.expected.name.0 {
            return Err(ObjectError::WrongName);
        }
        Ok(Step::Nothing)
    }
}

/// What one step came to.
enum Advance {
    /// It needs more input.
    Hungry,
    /// It is done; on to the next.
    On,
    /// A record is in the buffer.
    Record { key: usize, value: Option<usize> },
}

fn first(bytes: &[u8]) -> u8 {
    bytes.first().copied().unwrap_or(0)
}

fn number(bytes: &[u8], from: usize, len: usize) -> usize {
    let bytes = bytes.get(from..from + len).unwrap_or_default();
    bytes.iter().rev().fold(0, |number, byte| number << 8 | *byte as usize)
}

/// A name's length. Checked at once, so that the scratch is always long enough.
fn name_length(bytes: &[u8]) -> Result<u8, ObjectError> {
    match first(bytes) {
        len if len >= 1 && len as usize <= crate::ids::NAME_MAX => Ok(len),
        _ => Err(ObjectError::BadName),
    }
}

fn name_of(bytes: &[u8]) -> Result<Name, ObjectError> {
    let text = core::str::from_utf8(bytes).map_err(|_| ObjectError::BadName)?;
    Name::new(text).map_err(|_| ObjectError::BadName)
}
