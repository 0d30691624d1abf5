//! What suite and model share: names, settings that make short cycles, and a cycle as an initiator
//! runs it through core's transition.

use downbeat_core::content::{DatasetSum, generation_digest, record_digest};
use downbeat_core::guard::Guards;
use downbeat_core::ids::{AgentId, Digest, Generation, Incarnation, Name, RequestId, TimelineId};
use downbeat_core::message::{ReplyBody, RequestBody};
use downbeat_core::object::{Expected, Reader};
use downbeat_core::server::transition;
use downbeat_core::settings::{Limits, Settings};
use downbeat_core::table::{SyncTable, TableView, next_activation};
use downbeat_core::time::{ServerTime, Span};
use downbeat_server::store::{Edit, Step, Store, StoreError};
use std::collections::BTreeMap;

/// What a generation holds.
pub(crate) type Content = BTreeMap<(Name, Vec<u8>), Vec<u8>>;

pub(crate) const LINE: TimelineId = TimelineId { counter: 1, random: 0xfeed };

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(crate) fn secs(secs: i64) -> ServerTime {
    ServerTime::from_nanos(secs * 1_000_000_000)
}

/// Cycles of ten seconds with a lead of three.
pub(crate) fn settings() -> Settings {
    Settings {
        interval: Span::from_secs(10),
        lead: Span::from_secs(3),
        lease: Span::from_secs(1),
        round_trip: Span::from_millis(500),
        retrieve: Span::from_millis(500),
        stagger: Span::from_millis(500),
        ..Settings::default()
    }
}

pub(crate) fn create(
    store: &mut impl Store,
    farm: &Name,
    initial: &[Edit],
    now: ServerTime,
) -> Result<SyncTable, StoreError> {
    use downbeat_core::server::Facts;
    store.create_farm(
        farm,
        initial,
        || now,
        |digest, now, facts| {
            let settings = settings();
            let due = facts.first_due(now + settings.lead);
            SyncTable::new_farm(farm.clone(), LINE, digest, settings, Limits::default(), due, now)
        },
    )
}

pub(crate) fn id(agent: u8, number: u64) -> RequestId {
    RequestId { agent: AgentId([agent; 16]), incarnation: Incarnation(1), number }
}

pub(crate) fn request(
    store: &mut impl Store,
    farm: &Name,
    id: RequestId,
    body: &RequestBody,
    clock: impl FnOnce() -> ServerTime,
) -> Result<ReplyBody<()>, StoreError> {
    store.transact(farm, clock, |table, now, facts| {
        let done = transition(table, id, body, now, facts, Guards::ALL).unwrap();
        Step { table: done.table, effect: done.effect, reply: done.reply }
    })
}

/// Steps 220 to 232: `None` where the lock was not granted.
pub(crate) fn cycle(
    store: &mut impl Store,
    farm: &Name,
    agent: u8,
    number: u64,
    now: impl Fn() -> ServerTime,
) -> Option<TableView> {
    let reply = request(store, farm, id(agent, number), &RequestBody::Lock, &now).unwrap();
    let ReplyBody::Granted { grant, table } = reply else { return None };
    let activation = next_activation(&table, grant.due, grant.granted_at);
    let advance = RequestBody::Advance { token: grant.token, activation };
    match request(store, farm, id(agent, number + 1), &advance, &now).unwrap() {
        ReplyBody::Advanced(view) => Some(view),
        other => panic!("the advance was not accepted: {other:?}"),
    }
}

/// A cycle as soon as T has passed.
pub(crate) fn promote(store: &mut impl Store, farm: &Name) -> TableView {
    let table = store.table(farm).unwrap();
    cycle(store, farm, 1, table.epoch() * 2, || table.activation).expect("the lock was not granted")
}

pub(crate) fn put(dataset: &str, key: &str, value: &str) -> Edit {
    Edit::Put { dataset: name(dataset), key: key.into(), value: value.into() }
}

pub(crate) fn delete(dataset: &str, key: &str) -> Edit {
    Edit::Delete { dataset: name(dataset), key: key.into() }
}

/// The digest of a content, from nothing but its records.
pub(crate) fn digest_of(content: &Content) -> Digest {
    let mut sums: BTreeMap<Name, DatasetSum> = BTreeMap::new();
    for ((dataset, key), value) in content {
        sums.entry(dataset.clone()).or_default().add(record_digest(dataset, key, value));
    }
    generation_digest(&sums).unwrap()
}

/// A generation as the store shows it, and that it comes in order.
pub(crate) fn content_at(store: &mut impl Store, farm: &Name, epoch: u64) -> Content {
    let mut content = Content::new();
    let mut last = None;
    store
        .records_at(farm, epoch, &[], &mut |dataset, key, value| {
            let place = (dataset.clone(), key.to_vec());
            assert!(last.as_ref().is_none_or(|last| *last < place), "records are out of order");
            last = Some(place.clone());
            content.insert(place, value.to_vec());
            Ok(())
        })
        .unwrap();
    content
}

/// What a delta changes: dataset, key, new value.
pub(crate) fn delta(
    store: &mut impl Store,
    farm: &Name,
    (from, to): (Generation, Generation),
    datasets: &[Name],
) -> Vec<(Name, Vec<u8>, Option<Vec<u8>>)> {
    let mut bytes = Vec::new();
    let mut sink = |piece: &[u8]| {
        bytes.extend_from_slice(piece);
        Ok(())
    };
    let object = store.delta(farm, (from, to), datasets, &mut sink).unwrap();
    let datasets = datasets.iter().cloned().collect();
    let expected = Expected { name: object.name, base: Some(from), target: to, datasets };
    let mut reader: Reader<_> = Reader::new(expected, vec![0; 70_000]);
    let (mut input, mut read) = (&bytes[..], Vec::new());
    while let Some(record) = reader.next(&mut input).unwrap() {
        read.push((record.dataset.clone(), record.key.to_vec(), record.value.map(<[u8]>::to_vec)));
    }
    assert_eq!(reader.finish().unwrap().len, object.len);
    read
}

/// What undoes a rollback, kept in a list.
pub(crate) fn keep(edits: &mut Vec<Edit>) -> impl FnMut(Option<&Edit>) -> std::io::Result<()> {
    |edit| {
        edits.extend(edit.cloned());
        Ok(())
    }
}
