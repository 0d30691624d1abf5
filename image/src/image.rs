//! An image: a base and the overlays above it, read as one generation.

use crate::error::{Damaged, OpenError};
use crate::format::{LAYERS_MAX, LayerId, hash};
use crate::layer::Layer;
use crate::place::layer_path;
use crate::scan::Scan;
use crate::section::Section;
use downbeat_core::content::{DatasetSum, record_digest};
use downbeat_core::ids::{Digest, Name};
use downbeat_core::object::ManifestEntry;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

/// One generation (or the datasets of it that were selected): immutable, shared by all threads,
/// read where it is mapped.
///
/// **Opening**: [`Image::open`] proves the files' tables and reads nothing else. **Reading**:
/// [`Image::get`], or a [`Dataset`] of it for many reads; each block's checksum is compared before
/// anything of it is given out for the first time. **Proving**: [`Image::verify`] compares the
/// blocks that nobody has touched yet, [`Image::prove`] the records with the sums.
///
/// The default is an image of no generation: it lies in no file and has no records.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// Newest first; the last one is the base.
    layers: Vec<Arc<Layer>>,
    /// Ascending by name. Also those without records of which a layer has entries.
    datasets: Vec<Dataset>,
}

/// The records of one dataset of an image.
#[derive(Clone, Debug)]
pub struct Dataset {
    name: Name,
    sum: DatasetSum,
    bytes: u64,
    seed: u64,
    /// Newest first, and only where the layer has entries of this dataset.
    sections: Vec<Section>,
}

impl Image {
    /// Opens the image whose newest layer has this id, and the layers below it.
    ///
    /// # Errors
    /// [`OpenError`]: one of the files is missing, can't be read, or is not what was written.
    pub fn open(directory: &Path, id: LayerId) -> Result<Image, OpenError> {
        let mut layers = Vec::new();
        let mut next = id;
        while next != LayerId::NONE {
            let path = layer_path(directory, next);
            if layers.len() == LAYERS_MAX {
                return Err(OpenError::Damaged(path, "more layers lie on each other than are read"));
            }
            let layer = Layer::open(&path, next)?;
            next = layer.tail().below;
            layers.push(Arc::new(layer));
        }
        Image::of(layers).map_err(|cause| OpenError::Damaged(layer_path(directory, id), cause))
    }

    /// An image of these layers, newest first.
    pub(crate) fn of(layers: Vec<Arc<Layer>>) -> Result<Image, &'static str> {
        let newest = layers.first().ok_or("there is no layer")?;
        let (seed, selection) = (newest.tail().seed, &newest.tail().selection);
        if layers.iter().any(|layer| layer.tail().seed != seed || layer.tail().selection != *selection) {
            return Err("its layers don't belong to each other");
        }
        let section = |layer: &Arc<Layer>, name: &Name| {
            let table = layer.tail().tables.iter().find(|table| table.name == *name)?;
            (table.part.entries > 0).then(|| Section::new(layer.clone(), table.part))
        };
        let names = layers.iter().flat_map(|layer| layer.tail().tables.iter().map(|table| &table.name));
        let names: BTreeSet<&Name> = names.collect();
        let datasets = names.into_iter().map(|name| {
            let table = newest.tail().tables.iter().find(|table| table.name == *name);
            Dataset {
                name: name.clone(),
                sum: table.map(|table| table.sum).unwrap_or_default(),
                bytes: table.map_or(0, |table| table.bytes),
                seed,
                sections: layers.iter().filter_map(|layer| section(layer, name)).collect(),
            }
        });
        let datasets = datasets.collect();
        Ok(Image { layers, datasets })
    }

    /// The value of a key; `None` where the generation has no such record. Allocates nothing.
    ///
    /// # Errors
    /// [`Damaged`]: a block that had to be read isn't what was written.
    #[inline]
    pub fn get(&self, dataset: &str, key: &[u8]) -> Result<Option<&[u8]>, Damaged> {
        self.dataset(dataset).map_or(Ok(None), |dataset| dataset.get(key))
    }

    /// A dataset; `None` where it has no records.
    #[inline]
    pub fn dataset(&self, name: &str) -> Option<&Dataset> {
        let at = self.datasets.binary_search_by(|dataset| dataset.name.as_str().cmp(name)).ok()?;
        self.datasets.get(at).filter(|dataset| !dataset.is_empty())
    }

    /// All datasets that have records, ascending by name.
    pub fn datasets(&self) -> impl Iterator<Item = &Dataset> {
        self.datasets.iter().filter(|dataset| !dataset.is_empty())
    }

    /// The number of records.
    pub fn len(&self) -> u64 {
        self.datasets.iter().map(|dataset| dataset.sum.count).sum()
    }

    /// Bytes of the keys and values of all records.
    pub fn content_bytes(&self) -> u64 {
        self.datasets.iter().fold(0, |all, dataset| all.saturating_add(dataset.bytes))
    }

    /// Whether there are no records at all: an ordinary generation.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The digest of the generation.
    pub fn digest(&self) -> Digest {
        self.newest().map_or_else(Digest::default, |layer| layer.tail().digest)
    }

    /// The datasets that were selected of the generation; none: all.
    pub fn selection(&self) -> &[Name] {
        self.newest().map_or(&[], |layer| &layer.tail().selection)
    }

    /// Names and sums of the datasets that have records.
    pub fn manifest(&self) -> Vec<ManifestEntry> {
        let entry = |dataset: &Dataset| ManifestEntry { dataset: dataset.name.clone(), sum: dataset.sum };
        self.datasets().map(entry).collect()
    }

    /// The id of the newest layer, by which the image is opened again.
    pub fn id(&self) -> LayerId {
        self.newest().map_or(LayerId::NONE, |layer| layer.id())
    }

    /// The ids of all layers, newest first: the files that must stay as long as this image is to be
    /// opened again.
    pub fn layers(&self) -> impl Iterator<Item = LayerId> {
        self.layers.iter().map(|layer| layer.id())
    }

    /// Bytes of the files: of the base, and of the overlays above it.
    pub fn bytes(&self) -> (u64, u64) {
        let mut lens = self.layers.iter().map(|layer| layer.len() as u64);
        let all: u64 = lens.clone().sum();
        let base = lens.next_back().unwrap_or(0);
        (base, all - base)
    }

    /// Whether anything in it was found damaged so far: it has to be retrieved again.
    pub fn is_damaged(&self) -> bool {
        self.layers.iter().any(|layer| layer.is_damaged())
    }

    /// Compares every block with its checksum, whether it was touched yet or not, but for layers
    /// that were all compared before. Reads are shorter afterwards. For a thread that isn't a
    /// reader's; readers go on meanwhile.
    ///
    /// # Errors
    /// [`Damaged`] for the first block that isn't what was written.
    pub fn verify(&self) -> Result<(), Damaged> {
        self.layers.iter().try_for_each(|layer| layer.prove_all())
    }

    /// Computes the sums of all records anew and compares them with those in the tables, so with
    /// the generation's digest; their bytes as well. `Ok(false)`: they disagree, which is a bug of
    /// whoever wrote them.
    ///
    /// # Errors
    /// [`Damaged`] where a record can't be read.
    pub fn prove(&self) -> Result<bool, Damaged> {
        for dataset in self.datasets() {
            let (mut sum, mut bytes) = (DatasetSum::EMPTY, 0);
            for record in dataset.iter() {
                let (key, value) = record?;
                sum.add(record_digest(&dataset.name, key, value));
                bytes += (key.len() + value.len()) as u64;
            }
            if (sum, bytes) != (dataset.sum, dataset.bytes) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn newest(&self) -> Option<&Arc<Layer>> {
        self.layers.first()
    }

    pub(crate) fn shared_layers(&self) -> &[Arc<Layer>] {
        &self.layers
    }

    /// All datasets of which a layer has entries, those without records too.
    pub(crate) fn all_datasets(&self) -> &[Dataset] {
        &self.datasets
    }
}

impl Dataset {
    /// Its name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The value of a key. Allocates nothing.
    ///
    /// # Errors
    /// [`Damaged`]: a block that had to be read isn't what was written.
    #[inline]
    pub fn get(&self, key: &[u8]) -> Result<Option<&[u8]>, Damaged> {
        let hash = hash(self.seed, key);
        for section in &self.sections {
            if let Some(value) = section.find(hash, key)? {
                return Ok(value);
            }
        }
        Ok(None)
    }

    /// All records, ascending by key.
    pub fn iter(&self) -> Scan<'_> {
        Scan::new(self, &[])
    }

    /// The records whose keys begin with `prefix`, ascending by key.
    pub fn prefix<'a>(&'a self, prefix: &'a [u8]) -> Scan<'a> {
        Scan::new(self, prefix)
    }

    /// The number of records.
    pub fn len(&self) -> u64 {
        self.sum.count
    }

    /// Bytes of the keys and values of its records.
    pub fn content_bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether there are no records; never of a dataset that an image gives out.
    pub fn is_empty(&self) -> bool {
        self.sum.is_empty()
    }

    /// Sum and number of its records.
    pub fn sum(&self) -> DatasetSum {
        self.sum
    }

    pub(crate) fn sections(&self) -> impl Iterator<Item = &Section> {
        self.sections.iter()
    }
}
