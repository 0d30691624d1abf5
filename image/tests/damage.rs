//! Files that aren't what was written: damaged, cut off, half written, made up. They are found, and
//! nothing wrong is ever given out.

mod common;

use common::{Model, change, check, name, snapshot, stage};
use downbeat_image::{BLOCK, Damaged, EXTENSION, Image, LayerId, OpenError, Place, SnapshotWriter};
use proptest::prelude::*;
use std::fs;
use std::path::{Path, PathBuf};

fn path(directory: &Path, id: LayerId) -> PathBuf {
    directory.join(id.to_string()).with_extension(EXTENSION)
}

/// Everything that the image gives out is right; `Err` at the first damage.
fn right_or_damaged(image: &Image, model: &Model) -> Result<(), Damaged> {
    let value = |dataset: &str, key: &[u8]| model.get(&name(dataset)).and_then(|records| records.get(key));
    let mut damage = Ok(());
    for (dataset, records) in model {
        let found = image.dataset(dataset.as_str()).expect("tables are proven at opening");
        for key in records.keys().map(Vec::as_slice).chain([&b"k"[..], b"k99"]) {
            match found.get(key) {
                Ok(got) => assert_eq!(got, value(dataset.as_str(), key).map(Vec::as_slice)),
                Err(damaged) => damage = Err(damaged),
            }
        }
        for prefix in [&b""[..], b"k1"] {
            let mut expected = records.iter().filter(|(key, _)| key.starts_with(prefix));
            let mut whole = true;
            for record in found.prefix(prefix) {
                match record {
                    Ok((key, value)) => {
                        assert_eq!(expected.next(), Some((&key.to_vec(), &value.to_vec())));
                    }
                    Err(damaged) => (damage, whole) = (Err(damaged), false),
                }
            }
            assert!(!whole || expected.next().is_none(), "a scan that isn't an error has all");
        }
    }
    damage
}

/// A base and an overlay above it, in a directory; and what they are together.
fn two_layers(directory: &Path, value: u16) -> (Image, Model) {
    let place = Place::Directory(directory.to_path_buf());
    let mut model = Model::new();
    change(&mut model, (0..20).map(|key| (key % 2, key, Some((key, value)))));
    let base = snapshot(&place, &model);
    let changes = change(&mut model, [(0, 2, Some((9, value))), (0, 4, None), (1, 99, Some((7, 3)))]);
    (stage(&place, &base, &changes, &model).unwrap(), model)
}

#[test]
fn every_changed_byte_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let (image, model) = two_layers(directory.path(), 30);
    let (mut at_opening, mut later) = (0, 0);
    for layer in image.layers() {
        let path = path(directory.path(), layer);
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            for by in [1, 0x80, 0xff] {
                let mut bad = good.clone();
                bad[at] ^= by;
                // Another file of this name, as what was mapped must not change.
                fs::remove_file(&path).unwrap();
                fs::write(&path, &bad).unwrap();
                let Ok(image) = Image::open(directory.path(), image.id()) else {
                    at_opening += 1;
                    continue;
                };
                let read = right_or_damaged(&image, &model);
                assert_eq!(image.is_damaged(), read.is_err());
                let damaged = image.verify().expect_err("every byte is covered");
                assert_eq!((damaged.layer, image.is_damaged()), (layer, true));
                later += 1;
            }
        }
        fs::remove_file(&path).unwrap();
        fs::write(&path, &good).unwrap();
    }
    assert!(at_opening > 1_000 && later > 1_000, "{at_opening} found at opening, {later} later");
    check(&Image::open(directory.path(), image.id()).unwrap(), &model);
}

#[test]
fn every_truncation_and_every_addition_is_found_at_opening() {
    let directory = tempfile::tempdir().unwrap();
    let (image, model) = two_layers(directory.path(), 30);
    for layer in image.layers() {
        let path = path(directory.path(), layer);
        let good = fs::read(&path).unwrap();
        let cut = (0..good.len()).map(|len| good[..len].to_vec());
        // As a crash may leave a file whose length reached the disk before its bytes.
        let zeroed = (0..good.len()).step_by(7).map(|len| {
            let mut bytes = good[..len].to_vec();
            bytes.resize(good.len(), 0);
            bytes
        });
        let longer = [vec![0], good.clone()].map(|more| [good.clone(), more].concat());
        for bad in cut.chain(zeroed).chain([[&good[1..], &[0]].concat()]).chain([longer[0].clone()]) {
            fs::remove_file(&path).unwrap();
            fs::write(&path, &bad).unwrap();
            let opened = Image::open(directory.path(), image.id());
            assert!(matches!(opened, Err(OpenError::Damaged(..))), "{} bytes: {opened:?}", bad.len());
        }
        fs::remove_file(&path).unwrap();
        assert!(matches!(Image::open(directory.path(), image.id()), Err(OpenError::Io(..))));
        fs::write(&path, [&good[..8], &[1], &good[9..]].concat()).unwrap();
        assert!(matches!(Image::open(directory.path(), image.id()), Err(OpenError::Version(_, 1))));
        fs::write(&path, &good).unwrap();
    }
    check(&Image::open(directory.path(), image.id()).unwrap(), &model);
}

#[test]
fn a_file_in_the_place_of_another_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let (image, _) = two_layers(directory.path(), 30);
    let layers: Vec<LayerId> = image.layers().collect();
    fs::copy(path(directory.path(), layers[0]), path(directory.path(), layers[1])).unwrap();
    assert!(matches!(Image::open(directory.path(), image.id()), Err(OpenError::Damaged(..))));
}

/// In an image of many blocks, what lies in the good ones is still read.
#[test]
fn a_damaged_block_spoils_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::Directory(directory.path().to_path_buf());
    let mut model = Model::new();
    let records = model.entry(name("d0")).or_default();
    for at in 0..2_000u32 {
        records.insert(format!("k{at:05}").into_bytes(), at.to_le_bytes().repeat(50));
    }
    let id = snapshot(&place, &model).id();
    let path = path(directory.path(), id);
    let mut bytes = fs::read(&path).unwrap();
    bytes[3 * BLOCK + 17] ^= 4;
    fs::remove_file(&path).unwrap();
    fs::write(&path, bytes).unwrap();
    let image = Image::open(directory.path(), id).unwrap();
    let damaged = right_or_damaged(&image, &model).unwrap_err();
    assert_eq!(damaged, Damaged { layer: id, at: 3 * BLOCK as u64 });
    let dataset = image.dataset("d0").unwrap();
    let lost = model[&name("d0")].keys().filter(|key| dataset.get(key).is_err()).count();
    assert!((19..=21).contains(&lost), "{lost} records of 206 bytes in {BLOCK}");
    assert_eq!(dataset.iter().last(), Some(Err(damaged)), "a scan ends with the damage");
}

#[test]
fn a_writer_that_ends_in_the_middle_leaves_what_was_there() {
    let directory = tempfile::tempdir().unwrap();
    let (image, model) = two_layers(directory.path(), 30);
    let place = Place::Directory(directory.path().to_path_buf());
    let files = || fs::read_dir(directory.path()).unwrap().count();
    let (manifest, digest) = common::sums(&model);
    let mut dropped = SnapshotWriter::new(&place, digest, &[]).unwrap();
    dropped.push(&name("d0"), b"k", b"v").unwrap();
    assert_eq!(files(), 3);
    assert!(dropped.finish(&manifest).is_err());
    assert_eq!(files(), 2, "what is given up is deleted");
    let mut crashed = SnapshotWriter::new(&place, digest, &[]).unwrap();
    crashed.push(&name("d0"), b"k", &[1; 60_000]).unwrap();
    crashed.push(&name("d0"), b"l", &[1; 60_000]).unwrap();
    std::mem::forget(crashed);
    assert_eq!(files(), 3);
    check(&Image::open(directory.path(), image.id()).unwrap(), &model);
    place.clear_unfinished().unwrap();
    assert_eq!(files(), 2);
    place.keep_only(image.layers()).unwrap();
    assert_eq!(files(), 2);
    check(&Image::open(directory.path(), image.id()).unwrap(), &model);
    place.keep_only([]).unwrap();
    assert_eq!(files(), 0);
    check(&image, &model);
}

/// Gives changed bytes the checksums and the id that fit them, as somebody may who means it.
fn forge(bytes: &mut [u8]) -> Option<LayerId> {
    let trailer = bytes.len() - 32;
    let tail = u64::from_le_bytes(bytes[trailer..trailer + 8].try_into().ok()?) as usize;
    let sums = bytes.get(..tail)?.chunks(BLOCK).map(xxhash_rust::xxh3::xxh3_64).collect::<Vec<_>>();
    let at = trailer - sums.len() * 8;
    for (number, sum) in sums.into_iter().enumerate() {
        bytes[at + number * 8..][..8].copy_from_slice(&sum.to_le_bytes());
    }
    let id = *blake3::hash(&bytes[tail..trailer]).as_bytes().first_chunk::<16>()?;
    bytes[trailer + 8..trailer + 24].copy_from_slice(&id);
    Some(LayerId(id))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// What is forged may have any content, but it never panics and always ends.
    #[test]
    fn forged_bytes_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        in_tail in any::<bool>(),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::Directory(directory.path().to_path_buf());
        let mut model = Model::new();
        change(&mut model, (0..20).map(|key| (key % 2, key, Some((key, 30)))));
        let id = snapshot(&place, &model).id();
        let mut bytes = fs::read(path(directory.path(), id)).unwrap();
        let tail = u64::from_le_bytes(bytes[bytes.len() - 32..][..8].try_into().unwrap()) as usize;
        let range = if in_tail { tail..bytes.len() - 40 } else { 16..tail };
        for (at, by) in changes {
            bytes[range.start + at.index(range.len())] = by;
        }
        let id = forge(&mut bytes).unwrap();
        fs::write(path(directory.path(), id), bytes).unwrap();
        if let Ok(image) = Image::open(directory.path(), id) {
            for dataset in image.datasets() {
                prop_assert!(dataset.iter().take(10_000).count() < 10_000);
                for key in 0..40 {
                    let _ = dataset.get(format!("k{key:02}").as_bytes());
                    let _ = dataset.prefix(format!("k{key:02}").as_bytes()).count();
                }
            }
            let _ = (image.verify(), image.prove());
        }
    }
}
