//! Guards and the gate: random histories against plain maps, which compute every candidate from all of
//! production and judge it as a whole; and what a history can't show.

use crate::Harness;
use crate::model::{Model, differences};
use crate::sqlite::Sqlite;
use crate::support::*;
use downbeat_core::ids::{Digest, Name, TimelineId};
use downbeat_core::table::SyncTable;
use downbeat_core::time::{ServerTime, Span};
use downbeat_server::store::{
    Counts, Edit, Frozen, Gate, Gatekeeping, Guard, GuardKind, GuardName, Limit, Retention, Said, Scheduled,
    SqliteStore, Store, StoreError, WHOLE,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// Values, and whether they are JSON numbers.
const VALUES: [(&str, bool); 5] =
    [("1", true), ("2.5", true), ("-300", true), ("\"text\"", false), ("no json", false)];

#[derive(Clone, Debug)]
enum Op {
    Edits(Vec<Edit>),
    /// A cycle this long after T.
    Promote {
        late: i64,
    },
    Gather {
        all: bool,
    },
    Set(Guard),
    Remove(GuardName),
    /// For the one of the guards, for the candidate as it is.
    Override(GuardName),
    Judges(BTreeSet<Name>),
    Freeze {
        anew: bool,
    },
    Thaw,
    Say {
        judge: Name,
        approved: bool,
    },
    Reopen,
    MarkAllChanged,
}

/// What is expected: content in place of digests.
struct Expected {
    model: Model,
    guards: BTreeMap<GuardName, Limit>,
    overridden: BTreeMap<GuardName, Content>,
    judges: BTreeSet<Name>,
    frozen: Option<(Content, ServerTime)>,
    said: BTreeMap<Name, (Content, bool)>,
    blocked: Option<BTreeSet<(String, String)>>,
}

impl Expected {
    fn staged(&self) -> &Content {
        &self.model.generations.last().unwrap().0
    }

    /// Whether a scheduled record begins or ends between two instants.
    fn differs_between(&self, one: ServerTime, other: ServerTime) -> bool {
        let (low, high) = (one.min(other), one.max(other));
        let falls = |at: ServerTime| at > low && at <= high;
        let mut records = self.model.scheduled.iter();
        records.any(|((_, _, effective), (expires, _))| falls(*effective) || expires.is_some_and(falls))
    }

    fn frozen_for(&self, at: ServerTime) -> Option<&Content> {
        let (content, as_of) = self.frozen.as_ref()?;
        Some(content).filter(|_| !self.differs_between(*as_of, at))
    }

    fn freeze(&mut self, as_of: ServerTime) {
        let content = self.model.visible(as_of);
        self.said.retain(|_, (of, approved)| *of == content && *approved);
        self.frozen = Some((content, as_of));
    }

    /// The guards that a candidate breaks, each with what was found.
    fn broken(&self, candidate: &Content) -> BTreeMap<GuardName, String> {
        let mut broken = BTreeMap::new();
        for (name, limit) in &self.guards {
            let counts = count(name.dataset.as_ref(), self.staged(), candidate);
            let guard = Guard { name: name.clone(), limit: limit.clone() };
            if let Some((_, found)) = guard.broken_by(&counts)
                && self.overridden.get(name) != Some(candidate)
            {
                broken.insert(name.clone(), found);
            }
        }
        broken
    }

    fn promote(&mut self, at: ServerTime) {
        let candidate = self.frozen_for(at).cloned().unwrap_or_else(|| self.model.visible(at));
        let staged = self.staged().clone();
        let broken = self.broken(&candidate);
        let mut reasons: BTreeSet<_> =
            broken.into_iter().map(|(name, found)| (name.to_string(), found)).collect();
        let is_frozen = self.frozen.as_ref().is_some_and(|(content, _)| *content == candidate);
        for judge in &self.judges {
            if !is_frozen || self.said.get(judge) != Some(&(candidate.clone(), true)) {
                reasons.insert(("gate".to_owned(), String::new()));
            }
        }
        self.frozen = None;
        if candidate != staged && !reasons.is_empty() {
            self.blocked = Some(reasons);
            self.model.generations.push((staged, at));
            return;
        }
        self.model.generations.push((candidate, at));
        self.blocked = None;
        self.said.clear();
        self.overridden.clear();
    }
}

fn fits(value: &[u8]) -> bool {
    VALUES.iter().any(|(text, number)| text.as_bytes() == value && *number)
}

fn count(dataset: Option<&Name>, staged: &Content, candidate: &Content) -> Counts {
    let is_of = |place: &&(Name, Vec<u8>)| dataset.is_none_or(|of| *of == place.0);
    let mut counts = Counts::default();
    for place in staged.keys().filter(is_of) {
        counts.staged += 1;
        match candidate.get(place) {
            None => counts.vanished += 1,
            Some(value) => counts.changed += u64::from(*value != staged[place]),
        }
    }
    for place in candidate.keys().filter(is_of) {
        counts.records += 1;
        counts.bytes += (place.1.len() + candidate[place].len()) as u64;
        let differs = staged.get(place) != Some(&candidate[place]);
        counts.unfit += u64::from(differs && !fits(&candidate[place]));
    }
    counts
}

/// The activation that candidates are frozen for: the one after the staged one's.
fn expected_activation(store: &mut SqliteStore, farm: &Name) -> ServerTime {
    store.table(farm).unwrap().activation + Span::from_secs(10)
}

fn freeze(store: &mut SqliteStore, farm: &Name, anew: bool) -> Frozen {
    let as_of = expected_activation(store, farm);
    store.freeze(farm, anew, || secs(1), |_, _, _| Some(as_of)).unwrap().unwrap().0
}

fn override_it(
    store: &mut SqliteStore,
    farm: &Name,
    name: &GuardName,
    expected: Option<Digest>,
) -> Result<Frozen, StoreError> {
    let as_of = expected_activation(store, farm);
    store.override_guard(farm, name, expected, "ann", || secs(1), |_, _, _| as_of)
}

fn say(
    store: &mut SqliteStore,
    farm: &Name,
    judge: &str,
    digest: Digest,
    approved: bool,
) -> Result<(), StoreError> {
    let said = Said { judge: judge.to_owned(), digest, approved, why: "looks odd".into(), at: secs(2) };
    store.say(farm, &said)
}

/// Does one thing to the store and to what is expected.
fn step(store: &mut SqliteStore, sqlite: &Sqlite, farm: &Name, expected: &mut Expected, op: &Op) {
    match op {
        Op::Edits(edits) => {
            store.apply(farm, edits).unwrap();
            edits.iter().for_each(|edit| expected.model.edit(edit));
        }
        Op::Promote { late } => {
            let table = store.table(farm).unwrap();
            let now = table.activation + Span::from_secs(*late);
            let at = cycle(store, farm, 1, table.epoch() * 2, || now).unwrap().activation;
            expected.promote(at);
        }
        Op::Gather { all } => while store.gather(farm).unwrap() > 0 && *all {},
        Op::Set(guard) => {
            store.set_guard(farm, guard).unwrap();
            expected.guards.insert(guard.name.clone(), guard.limit.clone());
            thaw_for(expected, &guard.name);
        }
        Op::Remove(name) => {
            let was_there = store.remove_guard(farm, name).unwrap();
            assert_eq!(was_there, expected.guards.remove(name).is_some());
            thaw_for(expected, name);
        }
        Op::Override(name) => {
            let as_of = expected_activation(store, farm);
            let before = expected.frozen.clone();
            let said = expected.said.clone();
            if expected.frozen.is_none() {
                expected.freeze(as_of);
            }
            let candidate = expected.frozen.as_ref().unwrap().0.clone();
            let breaks = expected.broken(&candidate).contains_key(name);
            assert_eq!(override_it(store, farm, name, None).is_ok(), breaks, "{name}");
            if breaks {
                expected.overridden.insert(name.clone(), candidate);
            } else {
                (expected.frozen, expected.said) = (before, said);
            }
        }
        Op::Judges(judges) => {
            let gate = Gate { judges: judges.iter().cloned().collect(), ..Gate::default() };
            store.set_gate(farm, &gate).unwrap();
            expected.judges = judges.clone();
            if judges.is_empty() {
                expected.frozen = None;
            }
        }
        Op::Freeze { anew } => {
            let as_of = expected_activation(store, farm);
            freeze(store, farm, *anew);
            if *anew {
                expected.said.clear();
            }
            if *anew || expected.frozen_for(as_of).is_none() {
                expected.freeze(as_of);
            }
        }
        Op::Thaw => {
            store.thaw(farm).unwrap();
            expected.frozen = None;
        }
        Op::Say { judge, approved } => {
            let digest = expected.frozen.as_ref().map(|(content, _)| digest_of(content));
            let said = say(store, farm, judge.as_str(), digest.unwrap_or_default(), *approved);
            let counts = expected.judges.contains(judge) && digest.is_some();
            assert_eq!(said.is_ok(), counts, "{said:?}");
            if counts {
                let content = expected.frozen.as_ref().unwrap().0.clone();
                expected.said.insert(judge.clone(), (content, *approved));
            }
        }
        Op::Reopen => *store = sqlite.open(),
        Op::MarkAllChanged => drop(store.mark_all_changed(farm).unwrap()),
    }
}

/// Other schemas make another judgement of what is gathered.
fn thaw_for(expected: &mut Expected, name: &GuardName) {
    if name.kind == GuardKind::Schema {
        expected.frozen = None;
    }
}

fn compare(store: &mut SqliteStore, farm: &Name, expected: &Expected) -> Result<(), TestCaseError> {
    let table = store.table(farm).unwrap();
    prop_assert_eq!(table.epoch(), expected.model.generations.len() as u64);
    prop_assert_eq!(table.staged.digest, digest_of(expected.staged()));
    prop_assert_eq!(&content_at(store, farm, table.epoch()), expected.staged());
    let blocked = store.blocked(farm).unwrap().map(|blocked| {
        let text = |reason: downbeat_server::store::Reason| {
            let found = if reason.guard == "gate" { String::new() } else { reason.found };
            (reason.guard, found)
        };
        blocked.reasons.into_iter().map(text).collect::<BTreeSet<_>>()
    });
    prop_assert_eq!(&blocked, &expected.blocked);
    let standing = store.standing(farm).unwrap();
    let frozen = standing.frozen.map(|frozen| (frozen.digest, frozen.as_of));
    let expected_frozen = expected.frozen.as_ref().map(|(content, as_of)| (digest_of(content), *as_of));
    prop_assert_eq!(frozen, expected_frozen);
    let Some((content, _)) = &expected.frozen else { return Ok(()) };
    let digest = digest_of(content);
    let (mut whole, mut changes) = (Content::new(), Vec::new());
    let mut visit = |dataset: &Name, key: &[u8], value: &[u8]| {
        whole.insert((dataset.clone(), key.to_vec()), value.to_vec());
        Ok(())
    };
    store.candidate_records(farm, digest, &[], &mut visit).unwrap();
    prop_assert_eq!(&whole, content, "the candidate as it can be read");
    let mut note = |change| {
        changes.push(change);
        Ok(())
    };
    store.candidate_changes(farm, digest, &mut note).unwrap();
    prop_assert_eq!(changes, differences(expected.staged(), content));
    let broken: BTreeMap<_, _> =
        store.broken(farm).unwrap().into_iter().map(|reason| (reason.guard, reason.found)).collect();
    let expected_broken: BTreeMap<_, _> =
        expected.broken(content).into_iter().map(|(name, found)| (name.to_string(), found)).collect();
    prop_assert_eq!(broken, expected_broken);
    Ok(())
}

fn places() -> impl Strategy<Value = (Name, Vec<u8>)> {
    let key = prop::sample::select(vec![b"".to_vec(), b"a".to_vec(), b"bb".to_vec(), vec![0xff]]);
    (prop::sample::select(vec![name("d"), name("e")]), key)
}

fn values() -> impl Strategy<Value = Vec<u8>> {
    prop::sample::select(VALUES.to_vec()).prop_map(|(text, _)| text.as_bytes().to_vec())
}

fn edits() -> impl Strategy<Value = Edit> {
    prop_oneof![
        6 => (places(), values()).prop_map(|((dataset, key), value)| Edit::Put { dataset, key, value }),
        3 => places().prop_map(|(dataset, key)| Edit::Delete { dataset, key }),
        2 => (places(), 100i64..190, prop::option::of(1i64..40), prop::option::of(values())).prop_map(
            |((dataset, key), effective_at, lasts, value)| {
                let effective_at = secs(effective_at);
                let expires_at = lasts.map(|lasts| effective_at + Span::from_secs(lasts));
                Edit::Schedule(Scheduled { dataset, key, effective_at, expires_at, value })
            }
        ),
    ]
}

fn guards() -> impl Strategy<Value = Guard> {
    let dataset = prop::sample::select(vec![None, Some(name("d")), Some(name("e"))]);
    let parts = prop::sample::select(vec![0, 250_000, 500_000, WHOLE]);
    (dataset, prop::sample::select(GuardKind::EVERY.to_vec()), parts, 0u64..3, 0u64..30).prop_map(
        |(dataset, kind, parts, floor, most)| {
            let dataset = if kind == GuardKind::Schema { Some(name("d")) } else { dataset };
            let limit = match kind {
                GuardKind::Change | GuardKind::Vanish => Limit::Share { parts, floor },
                GuardKind::Records | GuardKind::Bytes => Limit::Most(most),
                GuardKind::Schema => Limit::Schema(r#"{"type":"number"}"#.to_owned()),
            };
            Guard { name: GuardName { dataset, kind }, limit }
        },
    )
}

fn ops() -> impl Strategy<Value = Op> {
    let judges = || prop::sample::select(vec![name("ann"), name("bob")]);
    prop_oneof![
        6 => prop::collection::vec(edits(), 1..5).prop_map(Op::Edits),
        6 => prop_oneof![Just(0i64), 0i64..25].prop_map(|late| Op::Promote { late }),
        3 => any::<bool>().prop_map(|all| Op::Gather { all }),
        3 => guards().prop_map(Op::Set),
        1 => guards().prop_map(|guard| Op::Remove(guard.name)),
        3 => guards().prop_map(|guard| Op::Override(guard.name)),
        2 => prop::collection::btree_set(judges(), 0..2).prop_map(Op::Judges),
        4 => prop::bool::weighted(0.2).prop_map(|anew| Op::Freeze { anew }),
        1 => Just(Op::Thaw),
        5 => (judges(), prop::bool::weighted(0.8)).prop_map(|(judge, approved)| Op::Say { judge, approved }),
        1 => Just(Op::Reopen),
        1 => Just(Op::MarkAllChanged),
    ]
}

fn check(initial: &[Edit], history: &[Op]) -> Result<(), TestCaseError> {
    let sqlite = Sqlite::new();
    let (mut store, farm) = (sqlite.open(), name("farm"));
    create(&mut store, &farm, initial, secs(100)).unwrap();
    let retention = Retention { generations: 99, age: None };
    let mut model = Model {
        production: Content::new(),
        scheduled: BTreeMap::new(),
        generations: Vec::new(),
        retention,
        oldest: 1,
    };
    initial.iter().for_each(|edit| model.edit(edit));
    model.generations.push((model.visible(secs(100)), secs(100)));
    let mut expected = Expected {
        model,
        guards: BTreeMap::new(),
        overridden: BTreeMap::new(),
        judges: BTreeSet::new(),
        frozen: None,
        said: BTreeMap::new(),
        blocked: None,
    };
    for op in history {
        step(&mut store, &sqlite, &farm, &mut expected, op);
        compare(&mut store, &farm, &expected)?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_kept_back_is_what_the_model_says(
        initial in prop::collection::vec(edits(), 0..8),
        history in prop::collection::vec(ops(), 1..40),
    ) {
        check(&initial, &history)?;
    }
}

fn farm_of(records: u32) -> (Sqlite, SqliteStore, Name) {
    let sqlite = Sqlite::new();
    let mut store = sqlite.open();
    let edits: Vec<_> = (0..records).map(|n| put("d", &format!("{n:04}"), "1")).collect();
    create(&mut store, &name("f"), &edits, secs(100)).unwrap();
    (sqlite, store, name("f"))
}

#[test]
fn what_breaks_a_guard_is_told_and_what_was_live_stays() {
    let (_sqlite, mut store, farm) = farm_of(100);
    let vanish = GuardName::from_text("d/vanish").unwrap();
    let limit = Limit::Share { parts: 100_000, floor: 5 };
    store.set_guard(&farm, &Guard { name: vanish.clone(), limit }).unwrap();
    let live = store.table(&farm).unwrap().staged;
    let gone: Vec<_> = (0..11).map(|n| delete("d", &format!("{n:04}"))).collect();
    store.apply(&farm, &gone).unwrap();
    promote(&mut store, &farm);
    let table = store.table(&farm).unwrap();
    assert_eq!((table.staged.epoch, table.staged.digest), (2, live.digest), "the epoch rose alone");
    let blocked = store.blocked(&farm).unwrap().unwrap();
    let reason = &blocked.reasons[0];
    assert_eq!((blocked.epoch, reason.guard.as_str(), reason.examples.len()), (2, "d/vanish", 5));
    assert_eq!(reason.examples[0].key, b"0000");
    assert!(reason.limit.contains("at most 10 of d's 100") && reason.found == "11 would", "{reason:?}");
    assert_eq!(store.get(&farm, &name("d"), b"0000").unwrap(), None, "the edits stay");
    // Of something else, and of a candidate that isn't this one any more.
    let bytes = GuardName::from_text("bytes").unwrap();
    assert!(matches!(override_it(&mut store, &farm, &bytes, None), Err(StoreError::NoGuard(_))));
    store.apply(&farm, &[put("d", "new", "2")]).unwrap();
    let other = override_it(&mut store, &farm, &vanish, Some(blocked.digest));
    assert!(matches!(other, Err(StoreError::NotCandidate { .. })), "{other:?}");
    // Exactly this one goes through, and what is edited after it waits.
    let frozen = override_it(&mut store, &farm, &vanish, None).unwrap();
    store.apply(&farm, &[delete("d", "0099")]).unwrap();
    promote(&mut store, &farm);
    let staged = store.table(&farm).unwrap().staged;
    assert_eq!(staged.digest, frozen.digest);
    assert_eq!(content_at(&mut store, &farm, staged.epoch).len(), 90);
    assert_eq!(store.blocked(&farm).unwrap(), None);
    let used = &store.overrides(&farm).unwrap()[0];
    assert_eq!((used.used, used.by.as_str(), used.guard.as_str()), (Some(3), "ann", "d/vanish"));
    promote(&mut store, &farm);
    assert_eq!(content_at(&mut store, &farm, 4).len(), 89, "one of 90 may vanish");
    let gone: Vec<_> = (11..30).map(|n| delete("d", &format!("{n:04}"))).collect();
    store.apply(&farm, &gone).unwrap();
    promote(&mut store, &farm);
    assert!(store.blocked(&farm).unwrap().is_some(), "an override counts once");
}

#[test]
fn a_schema_holds_for_what_changes_and_says_what_does_not_fit_already() {
    let (_sqlite, mut store, farm) = farm_of(3);
    store.apply(&farm, &[put("d", "old", "no json")]).unwrap();
    promote(&mut store, &farm);
    let schema = r#"{"type":"number","maximum":9}"#;
    let (found, examples) = store.misfits(&farm, &name("d"), schema, 10).unwrap();
    assert_eq!((found, examples[0].key.as_slice()), (1, b"old".as_slice()));
    let guard =
        Guard { name: GuardName::from_text("d/schema").unwrap(), limit: Limit::Schema(schema.to_owned()) };
    store.set_guard(&farm, &guard).unwrap();
    store.apply(&farm, &[put("d", "0001", "2")]).unwrap();
    promote(&mut store, &farm);
    assert_eq!(store.blocked(&farm).unwrap(), None, "what is there already keeps nothing back");
    store.apply(&farm, &[put("d", "0001", "10"), put("e", "x", "anything")]).unwrap();
    while store.gather(&farm).unwrap() > 0 {}
    assert_eq!(store.broken(&farm).unwrap().len(), 1, "known before the promotion");
    promote(&mut store, &farm);
    let blocked = store.blocked(&farm).unwrap().unwrap();
    assert!(blocked.reasons[0].examples[0].why.as_ref().unwrap().contains("maximum of 9"), "{blocked:?}");
    store.apply(&farm, &[put("d", "0001", "9")]).unwrap();
    promote(&mut store, &farm);
    assert_eq!(store.blocked(&farm).unwrap(), None);
    for bad in ["{", r#"{"$ref":"http://127.0.0.1:1/x"}"#] {
        let guard = Guard { limit: Limit::Schema(bad.into()), ..guard.clone() };
        assert!(matches!(store.set_guard(&farm, &guard), Err(StoreError::NoGuard(_))), "{bad}");
    }
}

#[test]
fn an_approval_outlives_the_process_and_is_of_one_digest() {
    let (sqlite, mut store, farm) = farm_of(3);
    let gate = Gate { judges: vec![name("canary")], ..Gate::default() };
    store.set_gate(&farm, &gate).unwrap();
    store.apply(&farm, &[put("d", "0000", "2"), put("d", "0001", "2")]).unwrap();
    promote(&mut store, &farm);
    assert_eq!(store.blocked(&farm).unwrap().unwrap().reasons[0].guard, "gate", "nothing was frozen");
    let frozen = freeze(&mut store, &farm, false);
    let other = Digest([7; 32]);
    assert!(matches!(say(&mut store, &farm, "canary", other, true), Err(StoreError::NotCandidate { .. })));
    assert!(matches!(say(&mut store, &farm, "eve", frozen.digest, true), Err(StoreError::NoJudge(_))));
    say(&mut store, &farm, "canary", frozen.digest, true).unwrap();
    // One transaction, after the freeze: all of it waits.
    store.apply(&farm, &[put("d", "0000", "3"), put("d", "0002", "3")]).unwrap();
    drop(store);
    let mut store = sqlite.open();
    promote(&mut store, &farm);
    let staged = store.table(&farm).unwrap().staged;
    assert_eq!(staged.digest, frozen.digest);
    let content = content_at(&mut store, &farm, staged.epoch);
    let values: Vec<_> = content.values().map(|value| value[0]).collect();
    assert_eq!(values, b"221");
    let frozen = freeze(&mut store, &farm, false);
    say(&mut store, &farm, "canary", frozen.digest, false).unwrap();
    promote(&mut store, &farm);
    assert!(store.blocked(&farm).unwrap().unwrap().reasons[0].found.contains("looks odd"));
    freeze(&mut store, &farm, false);
    assert_eq!(store.standing(&farm).unwrap().said, [], "a refusal is asked about again");
}

#[test]
fn a_new_timeline_freezes_anew_and_keeps_what_was_approved() {
    let sqlite = Sqlite::new();
    let (mut store, farm) = (sqlite.open(), name("f"));
    store.begin_line(None, LINE, &"clock", |table| table.clone()).unwrap();
    create(&mut store, &farm, &[put("d", "k", "1")], secs(100)).unwrap();
    let gate = Gate { judges: vec![name("canary")], ..Gate::default() };
    store.set_gate(&farm, &gate).unwrap();
    store.apply(&farm, &[put("d", "k", "2")]).unwrap();
    let frozen = freeze(&mut store, &farm, false);
    say(&mut store, &farm, "canary", frozen.digest, true).unwrap();
    let line = TimelineId { counter: 2, random: 7 };
    let over = |table: &SyncTable| SyncTable { timeline: line, activation: secs(50), ..table.clone() };
    store.begin_line(Some(LINE), line, &"clock", over).unwrap();
    assert_eq!(store.standing(&farm).unwrap().frozen, None, "it was frozen for an instant of the old line");
    assert_eq!(freeze(&mut store, &farm, false).digest, frozen.digest);
    promote(&mut store, &farm);
    assert_eq!(store.table(&farm).unwrap().staged.digest, frozen.digest);
}
