//! From objects as they travel to images: what core's reader gives out goes straight into a writer,
//! for all datasets of a farm or for those that were selected.

mod common;

use common::{Change, Model, change, check, name, sums};
use downbeat_core::content::{KEY_MAX, VALUE_MAX};
use downbeat_core::ids::{Generation, Name};
use downbeat_core::message::ObjectRef;
use downbeat_core::object::{Expected, ManifestEntry, Reader, Writer};
use downbeat_image::{Image, Place, SnapshotWriter, Stager, WriteError, compact};

fn generation(epoch: u64, model: &Model) -> Generation {
    Generation { epoch, digest: sums(model).1 }
}

/// An object from nothing or from a base to the model; the changes of a snapshot are all records.
fn object(base: Option<Generation>, model: &Model, changes: &[Change]) -> (Vec<u8>, ObjectRef) {
    let (manifest, _) = sums(model);
    let mut bytes = Vec::new();
    let keep = |piece: &[u8]| bytes.extend_from_slice(piece);
    let mut writer = Writer::new(base, generation(2, model), &manifest, keep).unwrap();
    let mut last = None;
    for (dataset, key, value) in changes {
        if last.replace(dataset) != Some(dataset) {
            writer.dataset(dataset).unwrap();
        }
        match value {
            Some(value) => writer.put(key, value).unwrap(),
            None => writer.delete(key).unwrap(),
        }
    }
    let object = writer.finish().unwrap();
    (bytes, object)
}

fn all_of(model: &Model) -> Vec<Change> {
    let of = |dataset: &Name, (key, value): (&Vec<u8>, &Vec<u8>)| {
        (dataset.clone(), key.clone(), Some(value.clone()))
    };
    model.iter().flat_map(|(dataset, records)| records.iter().map(|record| of(dataset, record))).collect()
}

/// Reads an object in pieces, and hands each record on; gives the manifest of what was selected.
fn read(
    bytes: &[u8],
    object: ObjectRef,
    base: Option<Generation>,
    target: Generation,
    selection: &[Name],
    mut take: impl FnMut(&Name, &[u8], Option<&[u8]>) -> Result<(), WriteError>,
) -> Result<Vec<ManifestEntry>, WriteError> {
    let datasets = selection.iter().cloned().collect();
    let expected = Expected { name: object.name, base, target, datasets };
    let mut reader: Reader<_> = Reader::new(expected, vec![0; KEY_MAX + VALUE_MAX]);
    for mut piece in bytes.chunks(700) {
        while let Some(record) = reader.next(&mut piece).unwrap() {
            take(record.dataset, record.key, record.value)?;
        }
    }
    reader.finish().unwrap();
    Ok(reader.manifest().to_vec())
}

fn from_snapshot(place: &Place, model: &Model, selection: &[Name]) -> Image {
    let (bytes, object) = object(None, model, &all_of(model));
    let target = generation(2, model);
    let mut writer = SnapshotWriter::new(place, target.digest, selection).unwrap();
    let manifest = read(&bytes, object, None, target, selection, |dataset, key, value| {
        writer.push(dataset, key, value.unwrap_or_default())
    });
    writer.finish(&manifest.unwrap()).unwrap()
}

fn from_delta(
    place: &Place,
    image: &Image,
    before: &Model,
    model: &Model,
    changes: &[Change],
) -> Result<Image, WriteError> {
    let base = generation(1, before);
    let (bytes, object) = object(Some(base), model, changes);
    let target = generation(2, model);
    let mut stager = Stager::new(place, image, object.len)?;
    let selection = image.selection();
    let manifest = read(&bytes, object, Some(base), target, selection, |dataset, key, value| {
        stager.push(dataset, key, value)
    })?;
    stager.finish(target.digest, &manifest)
}

fn selected(model: &Model, selection: &[Name]) -> Model {
    let wanted = |dataset: &Name| selection.is_empty() || selection.contains(dataset);
    model
        .iter()
        .filter(|(dataset, _)| wanted(dataset))
        .map(|(of, records)| (of.clone(), records.clone()))
        .collect()
}

/// As `check`, but the digest is that of the whole generation.
fn check_selected(image: &Image, model: &Model, selection: &[Name]) {
    assert_eq!(image.digest(), sums(model).1);
    assert_eq!(image.selection(), selection);
    let part = selected(model, selection);
    assert_eq!(image.manifest(), sums(&part).0);
    for (dataset, records) in &part {
        let found = image.dataset(dataset.as_str()).unwrap();
        let found: Vec<_> = found.iter().map(Result::unwrap).collect();
        assert!(found.into_iter().eq(records.iter().map(|(key, value)| (&key[..], &value[..]))));
    }
}

#[test]
fn objects_become_images_of_all_datasets_or_of_some() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::Directory(directory.path().to_path_buf());
    for selection in [vec![], vec![name("d1")], vec![name("d0"), name("d2"), name("d7")]] {
        let mut model = Model::new();
        change(&mut model, (0..30).map(|key| (key % 3, key, Some((key, 90)))));
        let mut image = from_snapshot(&place, &model, &selection);
        check_selected(&image, &model, &selection);
        for turn in 0..6u8 {
            let before = model.clone();
            // Dataset 2 loses all its records in one turn, and gets new ones in another.
            let lost = (0..30).filter(|key| key % 3 == 2 && turn == 2).map(|key| (2, key, None));
            let drawn =
                [(turn % 2, turn, None), (1, 40 + turn, Some((turn, 9))), (turn % 3, 3, Some((turn, 7)))];
            let drawn = drawn.into_iter().filter(|(dataset, ..)| turn != 2 || *dataset != 2);
            let changes = change(&mut model, drawn.chain(lost));
            image = from_delta(&place, &image, &before, &model, &changes).unwrap();
            check_selected(&image, &model, &selection);
        }
        let again = Image::open(directory.path(), image.id()).unwrap();
        check_selected(&again, &model, &selection);
        check_selected(&compact(&place, &again).unwrap(), &model, &selection);
        if selection.is_empty() {
            check(&again, &model);
        }
    }
}

/// A server whose delta starts from other content than the agent's, though its numbers say the
/// same: the sums show it, and nothing is staged.
#[test]
fn an_image_that_diverged_is_found_by_the_next_delta() {
    let mut model = Model::new();
    change(&mut model, (0..30).map(|key| (key % 3, key, Some((key, 90)))));
    let mut diverged = model.clone();
    change(&mut diverged, [(1, 4, Some((99, 90)))]);
    let image = from_snapshot(&Place::Memory, &diverged, &[]);
    let before = model.clone();
    let changes = change(&mut model, [(0, 3, Some((1, 1))), (1, 7, None)]);
    let refused = from_delta(&Place::Memory, &image, &before, &model, &changes);
    assert!(matches!(&refused, Err(WriteError::Disagrees(of)) if *of == name("d1")), "{refused:?}");
}
