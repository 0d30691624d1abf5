//! Random histories against an independent model: plain maps, replayed from the log of what was done.
//! The model computes each generation from all of production (PROTOCOL §7, read literally), the
//! store from what changed.

use crate::Harness;
use crate::support::*;
use downbeat_core::ids::Name;
use downbeat_core::server::Facts;
use downbeat_core::time::ServerTime;
use downbeat_server::store::{Edit, Rest, Scheduled, Store};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// One thing that happens.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Edits(Vec<Edit>),
    Import {
        dataset: Name,
        pairs: BTreeMap<Vec<u8>, Vec<u8>>,
        rest: Rest,
    },
    RawReplace {
        dataset: Name,
        key: Vec<u8>,
        value: Vec<u8>,
        text: bool,
    },
    RawDelete {
        dataset: Name,
        key: Vec<u8>,
    },
    /// A cycle this long after T.
    Promote {
        late: i64,
    },
    Maintain,
    Reopen,
    MarkAllChanged,
}

/// Of a scheduled record: `expires_at` and value.
type Shown = (Option<ServerTime>, Option<Vec<u8>>);

/// What the log of a history comes to.
#[derive(Default)]
struct Model {
    production: Content,
    /// By dataset, key and `effective_at`: `expires_at` and value.
    scheduled: BTreeMap<(Name, Vec<u8>, ServerTime), Shown>,
    /// The generations from epoch 1 on.
    generations: Vec<Content>,
}

impl Model {
    fn edit(&mut self, edit: &Edit) {
        match edit.clone() {
            Edit::Put { dataset, key, value } => drop(self.production.insert((dataset, key), value)),
            Edit::Delete { dataset, key } => drop(self.production.remove(&(dataset, key))),
            Edit::Schedule(record) => {
                let place = (record.dataset, record.key, record.effective_at);
                self.scheduled.insert(place, (record.expires_at, record.value));
            }
            Edit::Unschedule { dataset, key, effective_at } => {
                self.scheduled.remove(&(dataset, key, effective_at));
            }
        }
    }

    /// One entry of the log; a promotion with the activation that it was for.
    fn replay(&mut self, op: &Op, activation: Option<ServerTime>) {
        match op {
            Op::Edits(edits) => edits.iter().for_each(|edit| self.edit(edit)),
            Op::Import { dataset, pairs, rest } => {
                if *rest == Rest::Delete {
                    self.production.retain(|(of, key), _| of != dataset || pairs.contains_key(key));
                }
                for (key, value) in pairs {
                    self.production.insert((dataset.clone(), key.clone()), value.clone());
                }
            }
            Op::RawReplace { dataset, key, value, .. } => {
                self.production.insert((dataset.clone(), key.clone()), value.clone());
            }
            Op::RawDelete { dataset, key } => drop(self.production.remove(&(dataset.clone(), key.clone()))),
            Op::Promote { .. } => self.generations.push(self.visible(activation.unwrap())),
            Op::Maintain | Op::Reopen | Op::MarkAllChanged => {}
        }
    }

    /// What counts at an instant.
    fn visible(&self, at: ServerTime) -> Content {
        let mut content = self.production.clone();
        let keys: BTreeSet<_> = self.scheduled.keys().map(|(dataset, key, _)| (dataset, key)).collect();
        for (dataset, key) in keys {
            let in_force = self
                .scheduled
                .iter()
                .filter(|((of, k, effective), (expires, _))| {
                    (of, k) == (dataset, key)
                        && effective.passed(at)
                        && !expires.is_some_and(|e| e.passed(at))
                })
                .max_by_key(|((_, _, effective), _)| *effective);
            match in_force {
                Some((_, (_, Some(value)))) => {
                    drop(content.insert((dataset.clone(), key.clone()), value.clone()))
                }
                Some((_, (_, None))) => drop(content.remove(&(dataset.clone(), key.clone()))),
                None => {}
            }
        }
        content
    }

    fn first_due(&self, at_or_after: ServerTime) -> Option<ServerTime> {
        let instants = self
            .scheduled
            .iter()
            .flat_map(|((_, _, effective), (expires, _))| [Some(*effective), *expires].into_iter().flatten());
        instants.filter(|instant| *instant >= at_or_after).min()
    }
}

fn places() -> impl Strategy<Value = (Name, Vec<u8>)> {
    let key = prop::sample::select(vec![b"".to_vec(), b"a".to_vec(), "ü".into(), vec![0xff, 0]]);
    (prop::sample::select(vec![name("d"), name("e"), name("f-2")]), key)
}

fn values() -> impl Strategy<Value = Vec<u8>> {
    prop::sample::select(vec![b"".to_vec(), b"x".to_vec(), b"1.5".to_vec(), vec![0xfe]])
}

fn edits() -> impl Strategy<Value = Edit> {
    // Instants around the activations that the histories reach.
    let instant = || (100i64..190).prop_map(secs);
    prop_oneof![
        3 => (places(), values()).prop_map(|((dataset, key), value)| Edit::Put { dataset, key, value }),
        1 => places().prop_map(|(dataset, key)| Edit::Delete { dataset, key }),
        3 => (places(), instant(), prop::option::of(1i64..40), prop::option::of(values())).prop_map(
            |((dataset, key), effective_at, lasts, value)| {
                let expires_at = lasts.map(|lasts| effective_at + downbeat_core::time::Span::from_secs(lasts));
                Edit::Schedule(Scheduled { dataset, key, effective_at, expires_at, value })
            }
        ),
        1 => (places(), instant()).prop_map(|((dataset, key), effective_at)| {
            Edit::Unschedule { dataset, key, effective_at }
        }),
    ]
}

fn ops() -> impl Strategy<Value = Op> {
    let pairs = prop::collection::btree_map(places().prop_map(|(_, key)| key), values(), 0..3);
    prop_oneof![
        4 => prop::collection::vec(edits(), 1..5).prop_map(Op::Edits),
        1 => (places(), pairs, any::<bool>()).prop_map(|((dataset, _), pairs, delete)| Op::Import {
            dataset,
            pairs,
            rest: if delete { Rest::Delete } else { Rest::Keep },
        }),
        2 => (places(), values(), any::<bool>()).prop_map(|((dataset, key), value, text)| Op::RawReplace {
            dataset,
            key,
            value,
            text
        }),
        1 => places().prop_map(|(dataset, key)| Op::RawDelete { dataset, key }),
        5 => prop_oneof![Just(0i64), 0i64..25].prop_map(|late| Op::Promote { late }),
        2 => Just(Op::Maintain),
        1 => Just(Op::Reopen),
        1 => Just(Op::MarkAllChanged),
    ]
}

/// Compares all that can be read with the model.
fn compare(store: &mut impl Store, farm: &Name, model: &Model) -> Result<(), TestCaseError> {
    let table = store.table(farm).unwrap();
    prop_assert_eq!(table.epoch(), model.generations.len() as u64);
    let kept = store.generations(farm).unwrap();
    prop_assert!(kept.last().unwrap().generation == table.staged && kept.len() <= model.generations.len());
    for generation in &kept {
        let epoch = generation.generation.epoch;
        let expected = &model.generations[epoch as usize - 1];
        prop_assert_eq!(&content_at(store, farm, epoch), expected, "epoch {}", epoch);
        prop_assert_eq!(generation.generation.digest, digest_of(expected), "epoch {}", epoch);
        let name = store.snapshot(farm, epoch, &[], &mut |_| Ok(())).unwrap();
        prop_assert!(name.len > 0);
    }
    let (first, last) = (kept[0].generation.epoch, table.epoch());
    let (from, to) = (&model.generations[first as usize - 1], &model.generations[last as usize - 1]);
    prop_assert_eq!(store.diff(farm, first, last, 99).unwrap(), differences(from, to));
    for instant in [100, 133, 170, 230].map(secs) {
        let due = store.read(farm, |_, facts| facts.first_due(instant)).unwrap();
        prop_assert_eq!(due, model.first_due(instant));
        let pending = store.pending(farm, instant, 99).unwrap();
        prop_assert_eq!(pending, differences(to, &model.visible(instant)), "pending as of {:?}", instant);
    }
    Ok(())
}

fn differences(from: &Content, to: &Content) -> Vec<downbeat_server::store::Change> {
    let places: BTreeSet<_> = from.keys().chain(to.keys()).collect();
    let changes = places.into_iter().map(|place| downbeat_server::store::Change {
        dataset: place.0.clone(),
        key: place.1.clone(),
        before: from.get(place).cloned(),
        after: to.get(place).cloned(),
    });
    changes.filter(|change| change.before != change.after).collect()
}

/// Runs a history on the store and, from its log, on the model.
pub(crate) fn check<H: Harness>(initial: &[Edit], kept: u64, history: &[Op]) -> Result<(), TestCaseError> {
    let harness = H::new();
    let (mut store, farm) = (harness.open(), name("farm"));
    create(&mut store, &farm, initial, secs(100)).unwrap();
    store.set_generations_kept(&farm, kept).unwrap();
    let mut model = Model::default();
    model.replay(&Op::Edits(initial.to_vec()), None);
    model.replay(&Op::Promote { late: 0 }, Some(secs(100)));
    for op in history {
        let mut activation = None;
        match op {
            Op::Edits(edits) => {
                store.apply(&farm, edits).unwrap();
            }
            Op::Import { dataset, pairs, rest } => {
                store.import(&farm, dataset, pairs.clone().into_iter(), *rest).unwrap();
            }
            Op::RawReplace { dataset, key, value, text } => {
                harness.raw_replace(&farm, dataset, key, value, *text)
            }
            Op::RawDelete { dataset, key } => harness.raw_delete(&farm, dataset, key),
            Op::Promote { late } => {
                let table = store.table(&farm).unwrap();
                let now = table.activation + downbeat_core::time::Span::from_secs(*late);
                let view = cycle(&mut store, &farm, 1, table.epoch() * 2, || now).unwrap();
                activation = Some(view.activation);
            }
            Op::Maintain => {
                store.maintain(&farm).unwrap();
            }
            Op::Reopen => store = harness.open(),
            Op::MarkAllChanged => {
                store.mark_all_changed(&farm).unwrap();
            }
        }
        model.replay(op, activation);
        compare(&mut store, &farm, &model)?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sqlite_is_what_the_model_says(
        initial in prop::collection::vec(edits(), 0..6),
        kept in 2u64..5,
        history in prop::collection::vec(ops(), 1..30),
    ) {
        check::<crate::sqlite::Sqlite>(&initial, kept, &history)?;
    }
}
