//! A generation as a plain map, and the same as an image.

#![allow(dead_code, reason = "each test file uses some of it")]

use downbeat_core::content::{DatasetSum, generation_digest, record_digest};
use downbeat_core::ids::{Digest, Name};
use downbeat_core::object::ManifestEntry;
use downbeat_image::{Image, Place, SnapshotWriter, Stager, WriteError};
use std::collections::BTreeMap;

/// Dataset, key, value.
pub(crate) type Model = BTreeMap<Name, BTreeMap<Vec<u8>, Vec<u8>>>;
/// Dataset, key, and the new value; `None` deletes.
pub(crate) type Change = (Name, Vec<u8>, Option<Vec<u8>>);

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// Numbers of a dataset and a key; a byte and a length of the value.
pub(crate) type Drawn = (u8, u8, Option<(u8, u16)>);

/// Changes a model, and gives the delta, ascending and each key once.
pub(crate) fn change(model: &mut Model, changes: impl IntoIterator<Item = Drawn>) -> Vec<Change> {
    let mut last = BTreeMap::new();
    for (dataset, key, value) in changes {
        let key = (name(&format!("d{dataset}")), format!("k{key:02}").into_bytes());
        last.insert(key, value.map(|(byte, len)| vec![byte; len as usize]));
    }
    let changes: Vec<Change> =
        last.into_iter().map(|((dataset, key), value)| (dataset, key, value)).collect();
    apply(model, &changes);
    changes
}

pub(crate) fn apply(model: &mut Model, changes: &[Change]) {
    for (dataset, key, value) in changes {
        let records = model.entry(dataset.clone()).or_default();
        match value {
            Some(value) => drop(records.insert(key.clone(), value.clone())),
            None => drop(records.remove(key)),
        }
    }
    model.retain(|_, records| !records.is_empty());
}

/// The manifest and the digest, from the records.
pub(crate) fn sums(model: &Model) -> (Vec<ManifestEntry>, Digest) {
    let sum = |(dataset, records): (&Name, &BTreeMap<Vec<u8>, Vec<u8>>)| {
        let mut sum = DatasetSum::EMPTY;
        records.iter().for_each(|(key, value)| sum.add(record_digest(dataset, key, value)));
        ManifestEntry { dataset: dataset.clone(), sum }
    };
    let manifest: Vec<ManifestEntry> = model.iter().map(sum).collect();
    let digest = generation_digest(manifest.iter().map(|entry| (&entry.dataset, &entry.sum))).unwrap();
    (manifest, digest)
}

pub(crate) fn snapshot(place: &Place, model: &Model) -> Image {
    let (manifest, digest) = sums(model);
    let mut writer = SnapshotWriter::new(place, digest, &[]).unwrap();
    for (dataset, records) in model {
        records.iter().for_each(|(key, value)| writer.push(dataset, key, value).unwrap());
    }
    writer.finish(&manifest).unwrap()
}

/// Stages changes that are said to lead to the model.
pub(crate) fn stage(
    place: &Place,
    image: &Image,
    changes: &[Change],
    model: &Model,
) -> Result<Image, WriteError> {
    let bytes: usize =
        changes.iter().map(|(_, key, value)| key.len() + value.as_ref().map_or(0, Vec::len)).sum();
    let mut stager = Stager::new(place, image, bytes as u64)?;
    for (dataset, key, value) in changes {
        stager.push(dataset, key, value.as_deref())?;
    }
    let (manifest, digest) = sums(model);
    stager.finish(digest, &manifest)
}

/// Compares everything that can be asked of an image with the model.
pub(crate) fn check(image: &Image, model: &Model) {
    let (manifest, digest) = sums(model);
    assert_eq!((image.manifest(), image.digest()), (manifest, digest));
    assert_eq!(image.len(), model.values().map(|records| records.len() as u64).sum::<u64>());
    let bytes = |records: &BTreeMap<Vec<u8>, Vec<u8>>| -> u64 {
        records.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum()
    };
    assert_eq!(image.content_bytes(), model.values().map(bytes).sum());
    let names: Vec<&str> = image.datasets().map(|dataset| dataset.name().as_str()).collect();
    assert_eq!(names, model.keys().map(Name::as_str).collect::<Vec<_>>());
    for (dataset, records) in model {
        let found = image.dataset(dataset.as_str()).unwrap();
        assert_eq!(found.content_bytes(), bytes(records), "{dataset}");
        let owned =
            |record: Result<(&[u8], &[u8]), _>| record.map(|(key, value)| (key.to_vec(), value.to_vec()));
        let all: Vec<_> = found.iter().map(|record| owned(record).unwrap()).collect();
        assert!(all.iter().map(|(key, value)| (key, value)).eq(records.iter()), "{dataset} in order");
        for (key, value) in records {
            assert_eq!(found.get(key).unwrap(), Some(value.as_slice()), "{dataset} {key:?}");
        }
        for prefix in [&b""[..], b"k", b"k0", b"k01", b"k3", b"j", b"l", b"\xff\xff"] {
            let scanned: Vec<_> = found.prefix(prefix).map(|record| owned(record).unwrap().0).collect();
            let expected = records.keys().filter(|key| key.starts_with(prefix));
            assert!(scanned.iter().eq(expected), "{dataset} {prefix:?}");
        }
    }
    for dataset in ["d0", "d1", "d2", "d3", "large"] {
        for key in (0..40).map(|key| format!("k{key:02}")).chain(["".to_string(), "k".to_string()]) {
            let expected = model.get(&name(dataset)).and_then(|records| records.get(key.as_bytes()));
            assert_eq!(image.get(dataset, key.as_bytes()).unwrap(), expected.map(Vec::as_slice));
        }
    }
}
