//! Random histories against an independent model: plain maps, replayed from the log of what was done.
//! The model computes each generation from all of production (PROTOCOL §7, read literally), the
//! store from what changed.

use crate::Harness;
use crate::support::*;
use downbeat_core::ids::{Generation, Name};
use downbeat_core::server::Facts;
use downbeat_core::time::{ServerTime, Span};
use downbeat_server::store::{Change, Differences, Edit, Rest, Retention, Scheduled, Store, Version};
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
    /// Upkeep this long after T.
    Maintain {
        late: i64,
    },
    /// A batch ahead of a promotion, or as many as there are.
    Gather {
        all: bool,
    },
    Retain(Retention),
    /// To one of the generations that are kept; and maybe what that undid, applied.
    Rollback {
        to: prop::sample::Index,
        taken_back: bool,
    },
    Reopen,
    MarkAllChanged,
    /// Some of the generations that a delta can start from, and no others, are pinned.
    Pin(Vec<prop::sample::Index>),
}

/// Of a scheduled record: `expires_at` and value.
pub(crate) type Shown = (Option<ServerTime>, Option<Vec<u8>>);

/// What the log of a history comes to.
pub(crate) struct Model {
    pub(crate) production: Content,
    /// By dataset, key and `effective_at`: `expires_at` and value.
    pub(crate) scheduled: BTreeMap<(Name, Vec<u8>, ServerTime), Shown>,
    /// The generations from epoch 1 on, each with its activation.
    pub(crate) generations: Vec<(Content, ServerTime)>,
    pub(crate) retention: Retention,
    /// The oldest epoch that is kept.
    pub(crate) oldest: usize,
}

impl Model {
    pub(crate) fn edit(&mut self, edit: &Edit) {
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

    /// One entry of the log, with the instant that it was for.
    fn replay(&mut self, op: &Op, at: ServerTime) {
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
            Op::Promote { .. } => self.generations.push((self.visible(at), at)),
            Op::Maintain { .. } => self.forget(at),
            Op::Retain(retention) => self.retention = *retention,
            Op::Rollback { taken_back: true, .. } => {}
            Op::Gather { .. } | Op::Reopen | Op::MarkAllChanged | Op::Pin(_) => {}
            Op::Rollback { to, .. } => self.roll_back(self.pick(to), at),
        }
    }

    /// An epoch that is kept.
    fn pick(&self, index: &prop::sample::Index) -> usize {
        self.oldest + index.index(self.generations.len() + 1 - self.oldest)
    }

    fn at(&self, epoch: usize) -> &Content {
        &self.generations[epoch - 1].0
    }

    /// The newest by number stay, and those that were live not longer ago than the age; what is gone does
    /// not come back.
    fn forget(&mut self, now: ServerTime) {
        let newest = self.generations.len();
        let stays = |epoch: usize| {
            let by_number = epoch + self.retention.generations as usize > newest;
            let live_until = self.generations.get(epoch).map(|(_, activation)| *activation);
            by_number || live_until.zip(self.retention.age).is_some_and(|(until, age)| until + age > now)
        };
        self.oldest = (self.oldest..=newest).find(|epoch| stays(*epoch)).unwrap();
    }

    /// All of production is what the generation was, where the instant doesn't show that already.
    fn roll_back(&mut self, epoch: usize, at: ServerTime) {
        let (wanted, shown) = (self.at(epoch).clone(), self.visible(at));
        let places: BTreeSet<_> = wanted.keys().chain(shown.keys()).cloned().collect();
        for place in places.into_iter().filter(|place| wanted.get(place) != shown.get(place)) {
            self.scheduled.retain(|(dataset, key, effective), (expires, _)| {
                (dataset, key) != (&place.0, &place.1)
                    || !effective.passed(at)
                    || expires.is_some_and(|e| e.passed(at))
            });
            match wanted.get(&place) {
                Some(value) => drop(self.production.insert(place, value.clone())),
                None => drop(self.production.remove(&place)),
            }
        }
        assert_eq!(self.visible(at), wanted);
    }

    /// The values that a place had, the newest first.
    fn versions(&self, place: &(Name, Vec<u8>)) -> Vec<Version> {
        let value = |epoch: usize| self.at(epoch).get(place).cloned();
        let went_live = |epoch: usize| Some(self.generations[epoch - 1].1).filter(|_| epoch >= self.oldest);
        let changed = |epoch: &usize| *epoch == 1 || value(*epoch) != value(*epoch - 1);
        let newer = (self.oldest + 1..=self.generations.len()).rev().filter(changed);
        let first = (1..=self.oldest).rev().find(changed).filter(|epoch| value(*epoch).is_some());
        let epochs = newer.chain(first);
        epochs.map(|e| Version { epoch: e as u64, activation: went_live(e), value: value(e) }).collect()
    }

    /// What counts at an instant.
    pub(crate) fn visible(&self, at: ServerTime) -> Content {
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
                let expires_at = lasts.map(|lasts| effective_at + Span::from_secs(lasts));
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
        2 => (0i64..60).prop_map(|late| Op::Maintain { late }),
        3 => any::<bool>().prop_map(|all| Op::Gather { all }),
        1 => (2u64..5, prop::option::of(1i64..60)).prop_map(|(generations, age)| {
            Op::Retain(Retention { generations, age: age.map(Span::from_secs) })
        }),
        2 => any::<(prop::sample::Index, bool)>()
            .prop_map(|(to, taken_back)| Op::Rollback { to, taken_back }),
        1 => Just(Op::Reopen),
        1 => Just(Op::MarkAllChanged),
        2 => prop::collection::vec(any::<prop::sample::Index>(), 0..3).prop_map(Op::Pin),
    ]
}

/// Compares all that can be read with the model.
fn compare(store: &mut impl Store, farm: &Name, model: &Model) -> Result<(), TestCaseError> {
    let table = store.table(farm).unwrap();
    prop_assert_eq!(table.epoch(), model.generations.len() as u64);
    let kept = store.generations(farm).unwrap();
    prop_assert_eq!(kept.last().unwrap().generation, table.staged);
    prop_assert_eq!(kept[0].generation.epoch as usize, model.oldest);
    for generation in &kept {
        let epoch = generation.generation.epoch;
        let (expected, activation) = &model.generations[epoch as usize - 1];
        prop_assert_eq!(generation.activation, *activation);
        prop_assert_eq!(&content_at(store, farm, epoch), expected, "epoch {}", epoch);
        prop_assert_eq!(generation.generation.digest, digest_of(expected), "epoch {}", epoch);
        let name = store.snapshot(farm, epoch, &[], &mut |_| Ok(())).unwrap();
        prop_assert!(name.len > 0);
    }
    for from in starts(store, farm) {
        for to in kept.iter().map(|kept| kept.generation) {
            compare_delta(store, farm, model, (from, to))?;
        }
    }
    let (first, last) = (kept[0].generation.epoch, table.epoch());
    let (from, to) = (model.at(first as usize), model.at(last as usize));
    let changes = differences(from, to);
    let count = |of: fn(&Change) -> (bool, bool), is| changes.iter().filter(|c| of(c) == is).count() as u64;
    let sides = |change: &Change| (change.before.is_some(), change.after.is_some());
    let counts = Differences {
        added: count(sides, (false, true)),
        changed: count(sides, (true, true)),
        removed: count(sides, (true, false)),
    };
    prop_assert_eq!(store.count_differences(farm, first, last).unwrap(), counts);
    prop_assert_eq!(store.diff(farm, first, last, 99).unwrap(), changes);
    let all = model.generations.iter().flat_map(|(content, _)| content.keys());
    for place in all.collect::<BTreeSet<_>>() {
        let versions = store.history(farm, &place.0, &place.1, 99).unwrap();
        prop_assert_eq!(versions, model.versions(place), "history of {:?}", place);
    }
    for instant in [100, 133, 170, 230].map(secs) {
        let due = store.read(farm, |_, facts| facts.first_due(instant)).unwrap();
        prop_assert_eq!(due, model.first_due(instant));
        let pending = store.pending(farm, instant, 99).unwrap();
        prop_assert_eq!(pending, differences(to, &model.visible(instant)), "pending as of {:?}", instant);
    }
    Ok(())
}

/// The generations from which a delta can start.
fn starts(store: &mut impl Store, farm: &Name) -> Vec<Generation> {
    let kept = store.generations(farm).unwrap();
    let all: BTreeSet<_> =
        kept.iter().map(|kept| kept.generation).chain(store.pinned(farm).unwrap()).collect();
    all.into_iter().collect()
}

/// A delta has what differs, and nothing else; of some datasets, too.
fn compare_delta(
    store: &mut impl Store,
    farm: &Name,
    model: &Model,
    (from, to): (Generation, Generation),
) -> Result<(), TestCaseError> {
    let changes = differences(model.at(from.epoch as usize), model.at(to.epoch as usize));
    for datasets in [vec![], vec![name("e")]] {
        let read = delta(store, farm, (from, to), &datasets);
        let wanted = |change: &&Change| datasets.is_empty() || datasets.contains(&change.dataset);
        let expected: Vec<_> = changes
            .iter()
            .filter(wanted)
            .map(|change| (change.dataset.clone(), change.key.clone(), change.after.clone()))
            .collect();
        prop_assert_eq!(read, expected, "from {} to {}", from.epoch, to.epoch);
    }
    let (low, high) = (from.epoch.min(to.epoch), from.epoch.max(to.epoch));
    prop_assert!(changes.len() as u64 <= store.log_rows(farm, low, high).unwrap());
    let other = Generation { epoch: from.epoch, digest: downbeat_core::ids::Digest([1; 32]) };
    prop_assert!(store.delta(farm, (other, to), &[], &mut |_| Ok(())).is_err(), "another of its number");
    Ok(())
}

pub(crate) fn differences(from: &Content, to: &Content) -> Vec<Change> {
    let places: BTreeSet<_> = from.keys().chain(to.keys()).collect();
    let changes = places.into_iter().map(|place| Change {
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
    let retention = Retention { generations: kept, age: None };
    store.set_retention(&farm, retention).unwrap();
    let mut model = Model {
        production: Content::new(),
        scheduled: BTreeMap::new(),
        generations: Vec::new(),
        retention,
        oldest: 1,
    };
    model.replay(&Op::Edits(initial.to_vec()), secs(100));
    model.replay(&Op::Promote { late: 0 }, secs(100));
    for op in history {
        let table = store.table(&farm).unwrap();
        let mut at = table.activation;
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
                let now = at + Span::from_secs(*late);
                at = cycle(&mut store, &farm, 1, table.epoch() * 2, || now).unwrap().activation;
            }
            Op::Maintain { late } => {
                at = at + Span::from_secs(*late);
                store.maintain(&farm, at).unwrap();
            }
            Op::Gather { all } => while store.gather(&farm).unwrap() > 0 && *all {},
            Op::Retain(retention) => store.set_retention(&farm, *retention).unwrap(),
            Op::Rollback { to, taken_back } => {
                at = table.next_earliest;
                let (epoch, mut undo) = (model.pick(to) as u64, Vec::new());
                store.rollback(&farm, epoch, at, &mut keep(&mut undo)).unwrap();
                if *taken_back {
                    store.apply(&farm, &undo).unwrap();
                }
            }
            Op::Reopen => store = harness.open(),
            Op::MarkAllChanged => {
                store.mark_all_changed(&farm).unwrap();
            }
            Op::Pin(which) => {
                let usable = starts(&mut store, &farm);
                let pins: BTreeSet<_> = which.iter().map(|index| *index.get(&usable)).collect();
                store.pin(&farm, &pins.into_iter().collect::<Vec<_>>()).unwrap();
            }
        }
        model.replay(op, at);
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
