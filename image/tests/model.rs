//! Random histories, and a plain map that says what has to be read.

mod common;

use common::{Model, change, check, name, snapshot, stage};
use downbeat_image::{Image, Place, WriteError, compact, compact_unless};
use proptest::prelude::*;
use std::sync::atomic::AtomicBool;

/// What is done with an image.
#[derive(Clone, Debug)]
enum Step {
    Delta(Vec<common::Drawn>),
    Compact,
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let value = prop::option::weighted(0.7, (any::<u8>(), prop_oneof![0u16..40, 0u16..3_000]));
    let changes = prop::collection::vec((0u8..3, 0u8..40, value), 0..25);
    let step =
        prop_oneof![6 => changes.prop_map(Step::Delta), 1 => Just(Step::Compact), 2 => Just(Step::Reopen)];
    prop::collection::vec(step, 1..14)
}

fn run(place: &Place, steps: Vec<Step>) {
    let mut model = Model::new();
    change(&mut model, [(0, 0, Some((1, 5))), (0, 7, Some((2, 0))), (1, 3, Some((3, 9)))]);
    let mut image = snapshot(place, &model);
    let mut before = (model.clone(), image.clone());
    for step in steps {
        match step {
            Step::Delta(changes) => {
                before = (model.clone(), image.clone());
                let changes = change(&mut model, changes);
                image = stage(place, &image, &changes, &model).unwrap();
            }
            Step::Compact => {
                image = compact(place, &image).unwrap();
                assert_eq!(image.layers().count(), 1);
            }
            Step::Reopen => {
                let Place::Directory(directory) = place else { continue };
                place.keep_only(image.layers().chain(before.1.layers())).unwrap();
                image = Image::open(directory, image.id()).unwrap();
            }
        }
        check(&image, &model);
        // The generation before is still there, whatever became of its files.
        check(&before.1, &before.0);
    }
    image.verify().unwrap();
    assert!(image.prove().unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn an_image_has_what_a_plain_map_has(steps in steps()) {
        let directory = tempfile::tempdir().unwrap();
        run(&Place::Directory(directory.path().to_path_buf()), steps.clone());
        run(&Place::Memory, steps);
    }
}

/// Enough to fill many blocks and parts of an index that is laid aside, with keys and values as
/// long as they may be among them.
#[test]
fn an_image_of_no_generation_has_nothing() {
    let nothing = Image::default();
    assert_eq!((nothing.len(), nothing.bytes(), nothing.layers().count()), (0, (0, 0), 0));
    assert!(nothing.get("a", b"k").unwrap().is_none() && nothing.datasets().next().is_none());
}

#[test]
fn a_large_generation_is_written_in_pieces() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::Directory(directory.path().to_path_buf());
    let mut model = Model::new();
    let records = model.entry(name("large")).or_default();
    for at in 0..70_000u32 {
        records
            .insert(format!("{:08x}", at.wrapping_mul(0x9e37_79b1)).into_bytes(), at.to_le_bytes().repeat(3));
    }
    records.insert(vec![0xff; 512], vec![1; 65_536]);
    records.insert(Vec::new(), vec![2; 65_536]);
    let image = snapshot(&place, &model);
    check(&image, &model);
    let changes: Vec<_> = (0..700u32)
        .map(|at| (format!("{:08x}", (at * 100).wrapping_mul(0x9e37_79b1)).into_bytes(), at % 3))
        .map(|(key, kind)| (name("large"), key, (kind > 0).then(|| vec![kind as u8; 9])))
        .collect();
    let mut changes = changes;
    changes.sort();
    common::apply(&mut model, &changes);
    let staged = stage(&place, &image, &changes, &model).unwrap();
    check(&staged, &model);
    let (base, overlay) = staged.bytes();
    assert!(overlay < base / 50, "{overlay} bytes above {base}");
    check(&compact(&place, &staged).unwrap(), &model);
    let files = || std::fs::read_dir(directory.path()).unwrap().count();
    let before = files();
    let stopped = compact_unless(&place, &staged, &AtomicBool::new(true));
    assert!(matches!(stopped, Err(WriteError::Stopped)));
    assert_eq!(files(), before, "nothing is left of what was stopped");
}

#[test]
fn a_delta_that_leads_elsewhere_is_refused_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::Directory(directory.path().to_path_buf());
    let mut model = Model::new();
    change(&mut model, [(0, 1, Some((1, 5)))]);
    let image = snapshot(&place, &model);
    let changes = change(&mut model, [(0, 2, Some((1, 5))), (1, 2, Some((1, 5)))]);
    let others = [
        &changes[..1],
        &[(name("d0"), b"k02".to_vec(), Some(b"other".to_vec())), changes[1].clone()],
        &[changes.clone(), vec![(name("d2"), b"k".to_vec(), Some(b"more".to_vec()))]].concat(),
    ];
    for wrong in others {
        let refused = stage(&place, &image, wrong, &model);
        assert!(matches!(refused, Err(WriteError::Disagrees(_))), "{refused:?}");
    }
    let turned: Vec<_> = changes.iter().rev().cloned().collect();
    assert!(matches!(stage(&place, &image, &turned, &model), Err(WriteError::Order)));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "only the base is there");
    check(&stage(&place, &image, &changes, &model).unwrap(), &model);
}

#[test]
fn readers_of_one_image_prove_its_blocks_together() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::Directory(directory.path().to_path_buf());
    let mut model = Model::new();
    let records = model.entry(name("d0")).or_default();
    for at in 0..3_000u32 {
        records.insert(at.to_be_bytes().to_vec(), vec![at as u8; 100]);
    }
    let id = snapshot(&place, &model).id();
    let image = Image::open(directory.path(), id).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| check(&image, &model));
        }
    });
}
