//! Writing a layer from sorted entries, in one pass and in memory that hardly grows with it: about
//! a fifth of a byte for each record, and a 256th of the hash index at a time.

use crate::error::WriteError;
use crate::format::{
    DELETED, END_MAGIC, FENCE_STEP, FENCES_ALIGN, LINE_BYTES, LayerId, MAGIC, OFFSET_MAX, PREAMBLE, VERSION,
    hash,
};
use crate::image::Image;
use crate::layer::Layer;
use crate::output::Output;
use crate::place::Place;
use crate::slots::{Index, Pairs};
use crate::tail::{Part, Table, Tail};
use downbeat_core::content::{DatasetSum, check_record};
use downbeat_core::ids::{Digest, Name};
use downbeat_core::object::ManifestEntry;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a layer leads to.
pub(crate) struct Target<'a> {
    pub(crate) digest: Digest,
    pub(crate) selection: Vec<Name>,
    pub(crate) manifest: &'a [ManifestEntry],
    /// Bytes of keys and values in each dataset; `None`: those of the layer, which is all there is.
    pub(crate) bytes: Option<BTreeMap<Name, u64>>,
}

/// Writes one layer. After an error it is to be dropped; nothing of it is left then.
pub(crate) struct LayerWriter {
    place: Place,
    output: Output,
    seed: u64,
    below: LayerId,
    open: Option<Open>,
    parts: BTreeMap<Name, Part>,
}

/// The dataset that is being written.
struct Open {
    name: Name,
    records_at: u64,
    entries: u64,
    fences: Vec<u64>,
    pairs: Pairs,
    last_key: Vec<u8>,
}

impl LayerWriter {
    /// Begins a base.
    pub(crate) fn base(place: &Place, digest: Digest) -> Result<LayerWriter, WriteError> {
        LayerWriter::new(place, seed_of(digest), LayerId::NONE)
    }

    /// Begins an overlay.
    pub(crate) fn overlay(place: &Place, below: &Layer) -> Result<LayerWriter, WriteError> {
        LayerWriter::new(place, below.tail().seed, below.id())
    }

    fn new(place: &Place, seed: u64, below: LayerId) -> Result<LayerWriter, WriteError> {
        let mut output = Output::new(place.begin()?);
        output.put(MAGIC)?;
        output.put(&VERSION.to_le_bytes())?;
        output.put(&[0; 4])?;
        Ok(LayerWriter { place: place.clone(), output, seed, below, open: None, parts: BTreeMap::new() })
    }

    /// Writes an entry: datasets and keys ascend. `None` deletes the key.
    pub(crate) fn push(
        &mut self,
        dataset: &Name,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<(), WriteError> {
        check_record(key, value.unwrap_or_default()).map_err(WriteError::Limit)?;
        if self.open.as_ref().is_none_or(|open| open.name != *dataset) {
            self.begin_dataset(dataset)?;
        }
        let Some(open) = &mut self.open else { return Err(WriteError::Order) };
        if open.entries > 0 && open.last_key.as_slice() >= key {
            return Err(WriteError::Order);
        }
        let offset = self.output.at() - open.records_at;
        if offset > OFFSET_MAX {
            return Err(WriteError::Io(std::io::ErrorKind::FileTooLarge.into()));
        }
        if open.entries.is_multiple_of(FENCE_STEP) {
            open.fences.push(offset);
        }
        open.pairs.push(hash(self.seed, key), offset)?;
        open.entries += 1;
        open.last_key.clear();
        open.last_key.extend_from_slice(key);
        // Both lengths are within the limits.
        self.output.put(&(key.len() as u16).to_le_bytes())?;
        self.output.put(&value.map_or(DELETED, |value| value.len() as u32).to_le_bytes())?;
        self.output.put(key)?;
        self.output.put(value.unwrap_or_default())?;
        Ok(())
    }

    fn begin_dataset(&mut self, name: &Name) -> Result<(), WriteError> {
        self.end_dataset()?;
        if self.parts.last_key_value().is_some_and(|(last, _)| last >= name) {
            return Err(WriteError::Order);
        }
        self.open = Some(Open {
            name: name.clone(),
            records_at: self.output.at(),
            entries: 0,
            fences: Vec::new(),
            pairs: Pairs::new(&self.place),
            last_key: Vec::new(),
        });
        Ok(())
    }

    fn end_dataset(&mut self) -> Result<(), WriteError> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let output = &mut self.output;
        let records_len = output.at() - open.records_at;
        output.align(FENCES_ALIGN)?;
        let fences_at = output.at();
        open.fences.iter().try_for_each(|fence| output.put(&fence.to_le_bytes()))?;
        output.align(LINE_BYTES)?;
        let lines_at = output.at();
        let with_filter = self.below != LayerId::NONE;
        let Index { lines, homes, filter_words } = open.pairs.write(output, with_filter)?;
        let part = Part {
            entries: open.entries,
            records_at: open.records_at as usize,
            records_len: records_len as usize,
            fences_at: fences_at as usize,
            lines_at: lines_at as usize,
            lines: lines as usize,
            homes,
            filter_words,
        };
        self.parts.insert(open.name, part);
        Ok(())
    }

    /// Ends the layer, and opens it. The caller has proven that the generation has the manifest's
    /// sums once the layer lies on the one below.
    pub(crate) fn finish(mut self, target: Target<'_>) -> Result<Layer, WriteError> {
        self.end_dataset()?;
        let sums = target.manifest.iter().map(|entry| (entry.dataset.clone(), entry.sum));
        let mut sums: BTreeMap<Name, DatasetSum> = sums.collect();
        for name in self.parts.keys() {
            sums.entry(name.clone()).or_default();
        }
        let none = Part { records_at: PREAMBLE, ..Part::default() };
        let part = |name: &Name| self.parts.get(name).copied().unwrap_or(none);
        let Target { digest, selection, bytes, .. } = target;
        let bytes = |name: &Name, part: &Part| match &bytes {
            Some(bytes) => bytes.get(name).copied().unwrap_or(0),
            None => part.content_bytes(),
        };
        let table = |(name, sum)| {
            let part = part(&name);
            Table { bytes: bytes(&name, &part), part, name, sum }
        };
        let tables = sums.into_iter().map(table).collect();
        let tail = Tail { digest, seed: self.seed, below: self.below, selection, tables };
        if !tail.proves_digest() {
            return Err(WriteError::Digest);
        }
        let (checksums, tail_at) = self.output.end_blocks()?;
        let tail = tail.encode(&checksums);
        let id = LayerId::of_tail(&tail);
        let mut trailer = tail_at.to_le_bytes().to_vec();
        trailer.extend(id.0);
        trailer.extend(END_MAGIC);
        self.output.end(&tail, &trailer)?.finish(id)
    }
}

/// The seed of a base's hash: part of a digest of all its content.
fn seed_of(digest: Digest) -> u64 {
    digest.0.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// Writes a generation as a base, as its records arrive. Dropped, it leaves nothing behind.
///
/// Input in order: [`SnapshotWriter::push`] for each record, ascending; [`SnapshotWriter::finish`].
pub struct SnapshotWriter {
    writer: LayerWriter,
    digest: Digest,
    selection: Vec<Name>,
    counts: BTreeMap<Name, u64>,
    bytes: u64,
}

impl SnapshotWriter {
    /// Begins the image of the generation with this digest: of all its datasets (an empty
    /// selection), or of some, ascending by name.
    ///
    /// # Errors
    /// The disk takes nothing.
    pub fn new(place: &Place, digest: Digest, selection: &[Name]) -> Result<SnapshotWriter, WriteError> {
        let writer = LayerWriter::base(place, digest)?;
        let (selection, counts) = (selection.to_vec(), BTreeMap::new());
        Ok(SnapshotWriter { writer, digest, selection, counts, bytes: 0 })
    }

    /// Takes a record.
    ///
    /// # Errors
    /// It is over a limit or out of order, or the disk takes no more. The writer is to be dropped.
    pub fn push(&mut self, dataset: &Name, key: &[u8], value: &[u8]) -> Result<(), WriteError> {
        self.writer.push(dataset, key, Some(value))?;
        self.bytes += (key.len() + value.len()) as u64;
        match self.counts.get_mut(dataset) {
            Some(count) => *count += 1,
            None => drop(self.counts.insert(dataset.clone(), 1)),
        }
        Ok(())
    }

    /// Bytes of the keys and values so far.
    pub fn content_bytes(&self) -> u64 {
        self.bytes
    }

    /// Ends the image, synchronizes it with the disk and opens it. Call it only once the records
    /// are proven to have the sums of the manifest, which lists the selected datasets: core's
    /// reader of objects has done so when it has finished. Here only their numbers are compared.
    ///
    /// # Errors
    /// The numbers disagree, the manifest hasn't the generation's digest, or the disk takes no
    /// more. Nothing is left of it.
    pub fn finish(self, manifest: &[ManifestEntry]) -> Result<Image, WriteError> {
        for entry in manifest {
            if self.counts.get(&entry.dataset) != Some(&entry.sum.count) {
                return Err(WriteError::Disagrees(entry.dataset.clone()));
            }
        }
        if let Some(name) =
            self.counts.keys().find(|name| manifest.iter().all(|entry| entry.dataset != **name))
        {
            return Err(WriteError::Disagrees(name.clone()));
        }
        let target = Target { digest: self.digest, selection: self.selection, manifest, bytes: None };
        let layer = self.writer.finish(target)?;
        image_of(vec![Arc::new(layer)])
    }
}

/// An image of layers that were just written, or read before.
pub(crate) fn image_of(layers: Vec<Arc<Layer>>) -> Result<Image, WriteError> {
    let damaged = |cause| crate::error::OpenError::Damaged("just written".into(), cause);
    Image::of(layers).map_err(|cause| WriteError::Open(damaged(cause)))
}
