//! Routes and objects, against a plain map that is replayed from what was edited: whatever an agent has,
//! what it is given leads it to what is staged and what is active.

use crate::support::*;
use downbeat_core::content::{KEY_MAX, VALUE_MAX};
use downbeat_core::ids::{Digest, Generation, Incarnation, Name};
use downbeat_core::message::{
    ErrorCode, FETCH_MAX, ObjectRef, Reply, ReplyBody, RequestBody, Route, ToAgent, ToServer,
};
use downbeat_core::object::{Expected, Form, HeadReader, Reader, ends_of};
use downbeat_core::table::{TableView, next_activation};
use downbeat_server::{Config, Handle};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

type Content = BTreeMap<(String, Vec<u8>), Vec<u8>>;

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// An agent that subscribes to some datasets.
fn agent(server: &Handle, datasets: &[&str]) -> Peer {
    static INCARNATION: AtomicU64 = AtomicU64::new(1_000);
    let mut peer = Peer::connect(server);
    // Its numbers begin again, so that it has to be another one.
    peer.incarnation = Incarnation(INCARNATION.fetch_add(1, Ordering::Relaxed));
    let mut hello = peer.hello("eu", "");
    hello.datasets = datasets.iter().map(|text| name(text)).collect();
    peer.send(&ToServer::Hello(hello));
    peer.hear();
    peer
}

/// Begins a cycle as soon as T has passed.
fn advance(peer: &mut Peer) -> TableView {
    eventually("a cycle", || {
        let ReplyBody::Granted { grant, table } = peer.ask(RequestBody::Lock).body else { return None };
        let activation = next_activation(&table, grant.due, grant.granted_at);
        // The lease is short, and may be over.
        match peer.ask(RequestBody::Advance { token: grant.token, activation }).body {
            ReplyBody::Advanced(table) => Some(table),
            _ => None,
        }
    })
}

fn ask_route(peer: &mut Peer, target: Generation, have: Option<Generation>) -> Route {
    let ask = RequestBody::Route { target, have, snapshots_only: false };
    // Busy while it is built, or where what led there was just found to be damaged.
    eventually("a route", || match peer.try_ask(ask.clone()) {
        ToAgent::Reply(Reply { body: ReplyBody::Route(route), .. }) => Some(route),
        ToAgent::Error { code: ErrorCode::Busy, .. } => None,
        other => panic!("no route to {target:?}: {other:?}"),
    })
}

fn fetch(peer: &mut Peer, object: ObjectRef) -> Vec<u8> {
    let mut all = Vec::new();
    while (all.len() as u64) < object.len {
        let (offset, len) = (all.len() as u64, FETCH_MAX as u16);
        let reply = peer.ask(RequestBody::Fetch { object: object.name, offset, len }).body;
        let ReplyBody::Bytes { offset: at, total, bytes } = reply else { panic!("no bytes: {reply:?}") };
        assert_eq!((at, total), (offset, object.len));
        assert!(!bytes.is_empty());
        all.extend_from_slice(&bytes);
    }
    assert_eq!(*blake3::hash(&all).as_bytes(), object.name.0);
    all
}

/// The object in a packed one, and its name.
fn unpack(packed: &[u8]) -> (Digest, Vec<u8>) {
    assert_eq!(Form::of(packed), Some(Form::Packed));
    let mut rest = packed;
    let head = HeadReader::new(u64::MAX).next(&mut rest).unwrap().unwrap();
    let mut object = Vec::new();
    zstd::stream::read::Decoder::new(rest).unwrap().read_to_end(&mut object).unwrap();
    assert_eq!(object.len() as u64, head.object.len);
    (head.object.name, object)
}

/// Follows a route, from a generation and its content or from nothing.
fn follow(
    peer: &mut Peer,
    route: &Route,
    from: Option<(Generation, &Content)>,
    target: Generation,
    datasets: &[&str],
) -> Content {
    let mut at = from.map(|(generation, _)| generation);
    let mut content = from.map_or_else(Content::new, |(_, content)| content.clone());
    for object in &route.objects {
        let (inner, bytes) = unpack(&fetch(peer, *object));
        let (base, to) = ends_of(&bytes).unwrap();
        match base {
            None => content.clear(),
            Some(base) => assert_eq!(Some(base), at, "the link before leads here"),
        }
        let datasets = datasets.iter().map(|text| name(text)).collect();
        let expected = Expected { name: inner, base, target: to, datasets };
        let mut reader: Reader<_> = Reader::new(expected, vec![0; KEY_MAX + VALUE_MAX]);
        let mut input = bytes.as_slice();
        while let Some(record) = reader.next(&mut input).unwrap() {
            let place = (record.dataset.as_str().to_owned(), record.key.to_vec());
            match record.value {
                Some(value) => content.insert(place, value.to_vec()),
                None => Some(content.remove(&place).expect("what is deleted was there")),
            };
        }
        reader.finish().unwrap();
        at = Some(to);
    }
    assert_eq!(at, Some(target));
    content
}

fn of(content: &Content, datasets: &[&str]) -> Content {
    let wanted = |dataset: &str| datasets.is_empty() || datasets.contains(&dataset);
    content.iter().filter(|((dataset, _), _)| wanted(dataset)).map(|(k, v)| (k.clone(), v.clone())).collect()
}

#[derive(Clone, Debug)]
enum Op {
    Put(usize, u8, u8),
    /// So many records at once.
    Fill(usize, u8),
    Delete(usize, u8),
    Cycle,
    Rollback(prop::sample::Index),
    Restart {
        damage: bool,
    },
}

const DATASETS: [&str; 2] = ["a", "b"];

fn ops() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0usize..2, 0u8..6, 0u8..4).prop_map(|(dataset, key, value)| Op::Put(dataset, key, value)),
        1 => (0usize..2, 0u8..4).prop_map(|(dataset, value)| Op::Fill(dataset, value)),
        2 => (0usize..2, 0u8..6).prop_map(|(dataset, key)| Op::Delete(dataset, key)),
        4 => Just(Op::Cycle),
        1 => any::<prop::sample::Index>().prop_map(Op::Rollback),
        1 => any::<bool>().prop_map(|damage| Op::Restart { damage }),
    ]
}

/// A server and what it should hold.
struct Run {
    folder: tempfile::TempDir,
    server: Option<Handle>,
    production: Content,
    generations: Vec<(Generation, Content)>,
}

impl Run {
    fn new() -> Run {
        let folder = tempfile::tempdir().unwrap();
        let server = start(folder.path());
        make_fast_farm(&server, "eu");
        let mut run = Run { folder, server: Some(server), production: Content::new(), generations: vec![] };
        let ReplyBody::Table(table) = agent(run.server(), &[]).ask(RequestBody::Read).body else { panic!() };
        run.generations.push((table.staged, Content::new()));
        run
    }

    fn server(&self) -> &Handle {
        self.server.as_ref().unwrap()
    }

    fn apply(&mut self, lines: String, done: impl FnOnce(&mut Content)) {
        well(call_raw(self.server(), "POST", "/v1/farms/eu/apply", lines.as_bytes()));
        done(&mut self.production);
    }

    fn put(&mut self, dataset: usize, records: impl Iterator<Item = (String, String)>) {
        let records: Vec<_> = records.collect();
        let dataset = DATASETS[dataset];
        let line = |(key, value): &(String, String)| {
            format!("{{\"op\":\"put\",\"dataset\":\"{dataset}\",\"key\":\"{key}\",\"value\":\"{value}\"}}\n")
        };
        let lines = records.iter().map(line).collect();
        self.apply(lines, |production| {
            for (key, value) in records {
                production.insert((dataset.to_owned(), key.into_bytes()), value.into_bytes());
            }
        });
    }

    fn does(&mut self, op: &Op) {
        match op {
            Op::Put(dataset, key, value) => {
                self.put(*dataset, [(format!("k{key}"), format!("v{value}"))].into_iter());
            }
            Op::Fill(dataset, value) => {
                self.put(*dataset, (0..200).map(|n| (format!("n{n}"), format!("v{value} {n}"))));
            }
            Op::Delete(dataset, key) => {
                let (dataset, key) = (DATASETS[*dataset], format!("k{key}"));
                let line = format!("{{\"op\":\"delete\",\"dataset\":\"{dataset}\",\"key\":\"{key}\"}}\n");
                self.apply(line, |production| {
                    production.remove(&(dataset.to_owned(), key.into_bytes()));
                });
            }
            Op::Cycle => {
                let table = advance(&mut agent(self.server(), &[]));
                self.generations.push((table.staged, self.production.clone()));
                self.every_way_leads_there();
            }
            Op::Rollback(to) => {
                let kept = self.kept();
                let to = *to.get(&kept);
                let body = serde_json::json!({ "epoch": to });
                well(call(self.server(), "POST", "/v1/farms/eu/rollback", &body));
                self.production = self.generations[to as usize - 1].1.clone();
            }
            Op::Restart { damage } => {
                self.server.take().unwrap().stop();
                if *damage {
                    damage_all(self.folder.path());
                }
                self.server = Some(start(self.folder.path()));
                self.every_way_leads_there();
            }
        }
    }

    fn kept(&self) -> Vec<u64> {
        let kept = well(call(self.server(), "GET", "/v1/farms/eu/generations", &serde_json::Value::Null));
        let kept = kept["generations"].as_array().unwrap();
        kept.iter().map(|kept| kept["epoch"].as_u64().unwrap()).collect()
    }

    /// From any generation that there ever was, from one that there never was, and from nothing; of all
    /// datasets and of some.
    fn every_way_leads_there(&self) {
        let staged = self.generations.len() - 1;
        for datasets in [&[][..], &["b"], &["a", "none"]] {
            let mut peer = agent(self.server(), datasets);
            for target in staged.saturating_sub(1)..=staged {
                let (target, expected) = &self.generations[target];
                let expected = of(expected, datasets);
                for (generation, content) in &self.generations {
                    let content = of(content, datasets);
                    let route = ask_route(&mut peer, *target, Some(*generation));
                    let from = Some((*generation, &content));
                    let reached = follow(&mut peer, &route, from, *target, datasets);
                    assert!(reached == expected, "{} to {}", generation.epoch, target.epoch);
                    let foreign = Generation { digest: Digest([3; 32]), ..*generation };
                    let route = ask_route(&mut peer, *target, Some(foreign));
                    let reached = follow(&mut peer, &route, None, *target, datasets);
                    assert!(reached == expected, "another {} to {}", generation.epoch, target.epoch);
                }
                let route = ask_route(&mut peer, *target, None);
                let reached = follow(&mut peer, &route, None, *target, datasets);
                assert!(reached == expected, "nothing to {}", target.epoch);
            }
        }
    }
}

/// All files of the objects' folder but those that name datasets.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = |path: &Path| std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let selections = entries(&folder.join("objects/downbeat.db/farm-eu"));
    let files = selections.flat_map(|selection| entries(&selection).collect::<Vec<_>>());
    files.filter(|path| path.file_name().unwrap() != "datasets").collect()
}

fn damage_all(folder: &Path) {
    for path in files(folder) {
        damage(&path);
    }
}

fn damage(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let at = bytes.len() - 3;
    bytes[at] ^= 0x40;
    std::fs::write(path, bytes).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, failure_persistence: None, max_shrink_iters: 20, ..ProptestConfig::default() })]

    #[test]
    fn whatever_an_agent_has_it_is_led_to_what_is_staged(history in prop::collection::vec(ops(), 8..24)) {
        let mut run = Run::new();
        run.every_way_leads_there();
        for op in &history {
            run.does(op);
        }
        run.does(&Op::Cycle);
    }
}

/// The longest history: snapshots, deltas from older snapshots, retention, in one run.
#[test]
fn a_late_joiner_is_led_by_an_older_snapshot_and_a_delta_and_a_follower_by_the_change() {
    let mut run = Run::new();
    run.does(&Op::Fill(0, 0));
    run.does(&Op::Cycle);
    for value in 0..6 {
        run.does(&Op::Put(0, 0, value));
        run.does(&Op::Cycle);
    }
    assert_eq!(run.kept().len(), 3, "the snapshot's generation is long gone from the history");
    let (target, before) = (run.generations[7].0, run.generations[6].0);
    let mut peer = agent(run.server(), &[]);
    let joiner = ask_route(&mut peer, target, None);
    assert_eq!(joiner.objects.len(), 2, "a snapshot and a delta");
    let (_, snapshot) = unpack(&fetch(&mut peer, joiner.objects[0]));
    assert_eq!(ends_of(&snapshot).unwrap(), (None, run.generations[1].0));
    let follower = ask_route(&mut peer, target, Some(before));
    let (_, delta) = unpack(&fetch(&mut peer, follower.objects[0]));
    assert_eq!((follower.objects.len(), ends_of(&delta).unwrap()), (1, (Some(before), target)));
    assert!(delta.len() < 300 && snapshot.len() > 2_000, "{} and {}", delta.len(), snapshot.len());

    // A quarter of the records changes: another snapshot, and the first one's generation is let go.
    run.does(&Op::Fill(0, 1));
    run.does(&Op::Cycle);
    let target = run.generations[8].0;
    eventually("a new snapshot", || {
        let route = ask_route(&mut peer, target, None);
        let (_, object) = unpack(&fetch(&mut peer, route.objects[0]));
        (route.objects.len() == 1 && ends_of(&object).unwrap() == (None, target)).then_some(())
    });
    let status = || well(call(run.server(), "GET", "/v1/farms/eu", &serde_json::Value::Null));
    let told = eventually("the total", || {
        let told = status()["objects"]["bytes"].as_u64().unwrap();
        let files = files(run.folder.path());
        let bytes: u64 = files.iter().filter_map(|path| path.metadata().ok()).map(|m| m.len()).sum();
        (told == bytes).then_some(told)
    });
    assert!(told > 0);
}

#[test]
fn objects_are_found_again_after_a_restart_and_a_damaged_one_is_never_served() {
    let mut run = Run::new();
    run.does(&Op::Fill(1, 0));
    run.does(&Op::Cycle);
    run.does(&Op::Put(0, 1, 1));
    run.does(&Op::Cycle);
    let (target, before) = (run.generations[2].0, run.generations[1].0);
    let route = ask_route(&mut agent(run.server(), &[]), target, Some(before));
    let made = |path: &PathBuf| path.metadata().unwrap().modified().unwrap();
    let delta =
        files(run.folder.path()).into_iter().find(|path| path.ends_with(route.objects[0].name.to_string()));
    let delta = delta.expect("it is a file of that name");
    let first = made(&delta);
    run.does(&Op::Restart { damage: false });
    assert_eq!(ask_route(&mut agent(run.server(), &[]), target, Some(before)), route);
    assert_eq!(made(&delta), first, "it was not built again");
    run.does(&Op::Restart { damage: true });
    assert_ne!(made(&delta), first, "it was built again");
}

/// Sets of datasets that have the same records have objects of the same name, each in its own file.
#[test]
fn a_damaged_object_takes_no_other_of_its_name_along() {
    let mut run = Run::new();
    run.does(&Op::Fill(1, 0));
    run.does(&Op::Cycle);
    let (all, some): (Vec<_>, Vec<_>) =
        files(run.folder.path()).into_iter().partition(|path| path.parent().unwrap().ends_with("all"));
    let pair = |path: &PathBuf| {
        let same = some.iter().find(|other| other.file_name() == path.file_name())?;
        Some((path.clone(), same.clone()))
    };
    let (damaged, sound) = all.iter().find_map(pair).expect("the same records make the same object");
    let made = |path: &PathBuf| path.metadata().and_then(|known| known.modified()).ok();
    run.server.take().unwrap().stop();
    damage(&damaged);
    let before = (made(&damaged), made(&sound));
    run.server = Some(start(run.folder.path()));
    eventually("the damage found", || (made(&damaged) != before.0).then_some(()));
    assert_eq!(made(&sound), before.1, "it was not built again");
    run.every_way_leads_there();
}

/// A farm of another name has a folder of its own, whatever the name is.
#[test]
fn no_farms_name_leads_out_of_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("data");
    std::fs::create_dir(&place).unwrap();
    let server = downbeat_server::Server::start(Config { ..config(&place) }).unwrap();
    for farm in ["..", "."] {
        make_farm(&server, farm);
        let mut peer = Peer::connect(&server);
        let hello = peer.hello(farm, "");
        peer.send(&ToServer::Hello(hello));
        peer.hear();
        let ReplyBody::Table(table) = peer.ask(RequestBody::Read).body else { panic!("no table") };
        ask_route(&mut peer, table.staged, None);
        assert!(place.join(format!("objects/downbeat.db/farm-{farm}/all")).is_dir());
    }
    let inside = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(inside, 1, "nothing beside the data");
}
