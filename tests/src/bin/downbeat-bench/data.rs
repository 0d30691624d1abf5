//! The records that are measured with: made again whenever they are needed, so that what is measured
//! is all that the process holds of them.

use downbeat_core::content::{DatasetSum, generation_digest, record_digest};
use downbeat_core::ids::{Digest, Name};
use downbeat_core::object::ManifestEntry;
use downbeat_image::{Image, Place, SnapshotWriter, Stager};
use std::io;

/// The dataset's name.
pub(crate) const DATASET: &str = "prices";
/// Bytes of a value; keys have 12.
pub(crate) const VALUE: usize = 100;

/// A history of generations of so many records: each cycle changes some of the values, drawn at
/// random.
pub(crate) struct Data {
    pub(crate) name: Name,
    pub(crate) records: u64,
    /// The cycle in which each record was changed last.
    changed: Vec<u32>,
    cycle: u32,
    sum: DatasetSum,
}

/// A number that looks random.
pub(crate) fn mixed(seed: u64) -> u64 {
    let mut x = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

pub(crate) fn key(record: u64) -> [u8; 12] {
    let mut key = *b"sku-00000000";
    let mut rest = record;
    for digit in key[4..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    key
}

pub(crate) fn value(record: u64, cycle: u32) -> [u8; VALUE] {
    let mut value = [0; VALUE];
    for (at, bytes) in value.chunks_mut(8).enumerate() {
        let word = mixed(record << 24 ^ (cycle as u64) << 8 ^ at as u64).to_le_bytes();
        bytes.copy_from_slice(&word[..bytes.len()]);
    }
    value
}

impl Data {
    pub(crate) fn new(records: u64) -> Data {
        let name = Name::new(DATASET).expect("a name");
        let mut sum = DatasetSum::EMPTY;
        (0..records).for_each(|at| sum.add(record_digest(&name, &key(at), &value(at, 0))));
        Data { name, records, changed: vec![0; records as usize], cycle: 0, sum }
    }

    pub(crate) fn value(&self, record: u64) -> [u8; VALUE] {
        value(record, self.changed[record as usize])
    }

    pub(crate) fn manifest(&self) -> (Vec<ManifestEntry>, Digest) {
        let manifest = vec![ManifestEntry { dataset: self.name.clone(), sum: self.sum }];
        let digest = generation_digest([(&self.name, &self.sum)]).expect("one dataset");
        (manifest, digest)
    }

    /// Changes so many records, drawn at random; gives them ascending.
    pub(crate) fn change(&mut self, number: u64) -> Vec<u64> {
        self.cycle += 1;
        let cycle = self.cycle;
        let mut drawn = std::collections::BTreeSet::new();
        let mut seed = (cycle as u64) << 40;
        while (drawn.len() as u64) < number {
            drawn.insert(mixed(seed) % self.records);
            seed += 1;
        }
        for &record in &drawn {
            let old = value(record, self.changed[record as usize]);
            self.sum.remove(record_digest(&self.name, &key(record), &old));
            self.sum.add(record_digest(&self.name, &key(record), &value(record, cycle)));
            self.changed[record as usize] = cycle;
        }
        drawn.into_iter().collect()
    }

    pub(crate) fn snapshot(&self, place: &Place) -> io::Result<Image> {
        let (manifest, digest) = self.manifest();
        let write = || {
            let mut writer = SnapshotWriter::new(place, digest, &[])?;
            (0..self.records).try_for_each(|at| writer.push(&self.name, &key(at), &self.value(at)))?;
            writer.finish(&manifest)
        };
        write().map_err(io::Error::other)
    }

    /// Stages what `change` gave, with the values of now.
    pub(crate) fn stage(&self, place: &Place, image: &Image, changes: &[u64]) -> io::Result<Image> {
        let (manifest, digest) = self.manifest();
        let write = || {
            let mut stager = Stager::new(place, image, changes.len() as u64 * (12 + VALUE as u64 + 7))?;
            changes.iter().try_for_each(|&at| stager.push(&self.name, &key(at), Some(&self.value(at))))?;
            stager.finish(digest, &manifest)
        };
        write().map_err(io::Error::other)
    }
}
