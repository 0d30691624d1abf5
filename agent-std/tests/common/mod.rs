//! The smallest data server that an agent can be run against: core's transition over a map, on a
//! real socket, with a few faults. Not a model of `downbeat-server`.

#![allow(dead_code, reason = "each test file uses a part of it")]

use downbeat_agent::core::content::{DatasetSum, generation_digest, record_digest};
use downbeat_agent::core::frame::{FRAME_MAX, Receiver, encode};
use downbeat_agent::core::guard::Guards;
use downbeat_agent::core::ids::{AgentId, Digest, Generation, Name, TimelineId};
use downbeat_agent::core::message::{
    ErrorCode, Hello, ObjectRef, Reply, ReplyBody, Report, Request, RequestBody, Route, Stamp, ToAgent,
    ToServer, VERSION, Welcome,
};
use downbeat_agent::core::object::{ManifestEntry, PackedHead, Writer};
use downbeat_agent::core::server::{Effect, Facts, Verdict, transition};
use downbeat_agent::core::session::{Access, Session};
use downbeat_agent::core::settings::{Limits, Settings};
use downbeat_agent::core::table::SyncTable;
use downbeat_agent::core::time::{Rate, ServerTime, Span};
use downbeat_agent::{Agent, Builder, Clock, Status};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

pub(crate) type Records = BTreeMap<String, BTreeMap<Vec<u8>, Vec<u8>>>;

/// What a server does wrong.
#[derive(Clone, Copy, Default)]
pub(crate) struct Faults {
    /// Noise before each reply.
    pub(crate) noise: bool,
    /// Each reply twice.
    pub(crate) twice: bool,
    /// A byte of each fetch changed.
    pub(crate) damage: bool,
    /// Whatever is asked for, an uncompressed snapshot: a server of before packed objects.
    pub(crate) plain: bool,
    /// Deltas that lead elsewhere than they say.
    pub(crate) wrong_deltas: bool,
}

struct State {
    table: SyncTable,
    production: Records,
    contents: HashMap<Digest, Records>,
    objects: HashMap<Digest, Vec<u8>>,
    reports: HashMap<AgentId, Report>,
    faults: Faults,
    /// Routes that were asked for: from where, and whether only a snapshot would do.
    routes: Vec<(Option<Generation>, bool)>,
}

struct Production<'a>(&'a Records);
impl Facts for Production<'_> {
    fn first_due(&self, _: ServerTime) -> Option<ServerTime> {
        None
    }
    fn verdict(&self, _: ServerTime) -> Verdict {
        Verdict::Promote(digest(self.0))
    }
}

/// A running server; dropped, it is gone.
pub(crate) struct Server {
    state: Arc<Mutex<State>>,
    address: String,
    accepting: Option<JoinHandle<()>>,
    connections: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

pub(crate) fn settings() -> Settings {
    Settings {
        interval: Span::from_millis(1_000),
        lead: Span::from_millis(480),
        lease: Span::from_millis(150),
        round_trip: Span::from_millis(100),
        retrieve: Span::from_millis(200),
        stagger: Span::from_millis(20),
        early_limit: Span::from_millis(50),
        sample_window: Span::from_millis(50),
    }
}

pub(crate) fn records(pairs: &[(&str, &str, &str)]) -> Records {
    let mut records = Records::new();
    for (dataset, key, value) in pairs {
        records
            .entry(dataset.to_string())
            .or_default()
            .insert(key.as_bytes().into(), value.as_bytes().into());
    }
    records
}

fn now() -> ServerTime {
    const SHIFT: i64 = 1_700_000_000_000_000_000;
    ServerTime::from_nanos(Clock::host().now().as_nanos() + SHIFT)
}

fn manifest(records: &Records) -> Vec<ManifestEntry> {
    let mut manifest = Vec::new();
    for (dataset, records) in records {
        let dataset = Name::new(dataset).unwrap();
        let mut sum = DatasetSum::EMPTY;
        records.iter().for_each(|(key, value)| sum.add(record_digest(&dataset, key, value)));
        if !sum.is_empty() {
            manifest.push(ManifestEntry { dataset, sum });
        }
    }
    manifest
}

pub(crate) fn digest(records: &Records) -> Digest {
    generation_digest(manifest(records).iter().map(|entry| (&entry.dataset, &entry.sum))).unwrap()
}

impl Server {
    pub(crate) async fn start(production: Records) -> Server {
        let table = SyncTable::new_farm(
            Name::new("f").unwrap(),
            TimelineId { counter: 1, random: now().as_nanos() as u64 },
            digest(&production),
            settings(),
            Limits::default(),
            None,
            now(),
        )
        .unwrap();
        let contents = HashMap::from([(table.staged.digest, production.clone())]);
        let state = State {
            table,
            production,
            contents,
            objects: HashMap::new(),
            reports: HashMap::new(),
            faults: Faults::default(),
            routes: Vec::new(),
        };
        let mut server = Server {
            state: Arc::new(Mutex::new(state)),
            address: "127.0.0.1:0".to_string(),
            accepting: None,
            connections: Arc::default(),
        };
        server.up().await;
        server
    }

    /// Listens (again, at the same address).
    pub(crate) async fn up(&mut self) {
        let listener = loop {
            match TcpListener::bind(&self.address).await {
                Ok(listener) => break listener,
                // Connections of before may still be closing.
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        self.address = listener.local_addr().unwrap().to_string();
        let (state, connections) = (self.state.clone(), self.connections.clone());
        self.accepting = Some(tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let serving = tokio::spawn(serve(stream, state.clone()));
                connections.lock().unwrap().push(serving);
            }
        }));
    }

    /// Cuts all connections; new ones are taken.
    pub(crate) fn cut(&self) {
        self.connections.lock().unwrap().drain(..).for_each(|connection| connection.abort());
    }

    /// Is gone, until it is up again.
    pub(crate) async fn down(&mut self) {
        if let Some(accepting) = self.accepting.take() {
            accepting.abort();
            let _ = accepting.await;
        }
        self.cut();
    }

    pub(crate) fn edit(&self, edit: impl FnOnce(&mut Records)) {
        edit(&mut self.state.lock().unwrap().production);
    }

    pub(crate) fn put(&self, dataset: &str, key: &str, value: &str) {
        self.edit(|records| {
            records.entry(dataset.to_string()).or_default().insert(key.into(), value.into());
        });
    }

    pub(crate) fn faults(&self, faults: Faults) {
        self.state.lock().unwrap().faults = faults;
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.state.lock().unwrap().table.epoch()
    }

    pub(crate) fn content(&self, digest: Digest) -> Option<Records> {
        self.state.lock().unwrap().contents.get(&digest).cloned()
    }

    /// The routes that were asked for so far.
    pub(crate) fn routes(&self) -> Vec<(Option<Generation>, bool)> {
        self.state.lock().unwrap().routes.clone()
    }

    pub(crate) fn report(&self, agent: AgentId) -> Option<Report> {
        self.state.lock().unwrap().reports.get(&agent).cloned()
    }

    /// An agent of this server's farm, as quick as the settings.
    pub(crate) fn agent(&self) -> Builder {
        Agent::builder()
            .server(self.address.clone())
            .farm("f")
            .back_off(Duration::from_millis(20), Duration::from_millis(200))
            .start_wait(Duration::from_millis(200))
            .silence_limit(Duration::from_secs(2))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.iter().for_each(JoinHandle::abort);
        self.cut();
    }
}

async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    let mut receiver = Receiver::new();
    let mut session = Session::new();
    let mut chunk = vec![0; 4_096];
    stream.set_nodelay(true).unwrap();
    loop {
        let Ok(len @ 1..) = stream.read(&mut chunk).await else { return };
        let received = now();
        let mut output = Vec::new();
        let mut rest = &chunk[..len];
        while let Some(message) = receiver.next::<ToServer>(&mut rest) {
            let mut state = state.lock().unwrap();
            match message.expect("the agent sends whole frames") {
                ToServer::Hello(hello) => on_hello(&mut session, &hello, &state, &mut output),
                ToServer::Request(request) => {
                    on_request(&session, &request, received, &mut state, &mut output);
                }
            }
        }
        if stream.write_all(&output).await.is_err() {
            return;
        }
    }
}

fn on_hello(session: &mut Session, hello: &Hello, state: &State, output: &mut Vec<u8>) {
    let known = if hello.farm == state.table.farm { Ok(Access::Lock) } else { Err(ErrorCode::NoFarm) };
    let answer = match session.on_hello(hello, known) {
        Ok(_) => ToAgent::Welcome(Welcome {
            incarnation: hello.incarnation,
            version: VERSION,
            timeline: state.table.timeline,
            server_rate: Rate::from_ppm(100),
            limits: state.table.limits,
            may_lock: true,
        }),
        Err(code) => ToAgent::Error { incarnation: hello.incarnation, code },
    };
    send(&answer, output);
}

fn on_request(
    session: &Session,
    request: &Request,
    received: ServerTime,
    state: &mut State,
    output: &mut Vec<u8>,
) {
    let id = match session.on_request(request) {
        Ok(id) => id,
        Err(code) => return send(&ToAgent::Error { incarnation: request.incarnation, code }, output),
    };
    let mut bytes = Vec::new();
    let facts = Production(&state.production);
    let done = transition::<()>(&state.table, id, &request.body, now(), &facts, Guards::ALL);
    let body = match done {
        Some(done) => {
            state.table = done.table;
            if done.effect == Effect::Promote {
                state.contents.insert(state.table.staged.digest, state.production.clone());
            }
            done.reply
        }
        None => match &request.body {
            RequestBody::Route { target, have, snapshots_only } => {
                state.routes.push((*have, *snapshots_only));
                state.route(*target, *have, *snapshots_only || state.faults.plain)
            }
            RequestBody::Fetch { object, offset, len } => state.fetch(*object, *offset, *len, &mut bytes),
            RequestBody::Report(report) => {
                state.reports.insert(id.agent, report.clone());
                ReplyBody::Noted
            }
            RequestBody::Time => ReplyBody::Time,
            other => panic!("{other:?} touches the table"),
        },
    };
    let stamp = Stamp { timeline: state.table.timeline, echo: request.sent, received, answered: now() };
    let reply = Reply { incarnation: id.incarnation, number: id.number, stamp, body };
    let message = ToAgent::Reply(reply.map_bytes(|()| bytes.as_slice()));
    if state.faults.noise {
        output.extend_from_slice(&[7, 8, 9, 0]);
    }
    send(&message, output);
    if state.faults.twice {
        send(&message, output);
    }
}

fn send(message: &ToAgent<&[u8]>, output: &mut Vec<u8>) {
    let mut frame = [0; FRAME_MAX];
    let len = encode(message, &mut frame).unwrap();
    output.extend_from_slice(&frame[..len]);
}

impl State {
    /// One object: a packed delta where that is possible, a packed snapshot, or a plain one.
    fn route(&mut self, target: Generation, have: Option<Generation>, plain: bool) -> ReplyBody<()> {
        if target != self.table.staged && Some(target) != self.table.active {
            return ReplyBody::Gone;
        }
        let Some(records) = self.contents.get(&target.digest) else { return ReplyBody::Gone };
        let before = have.and_then(|have| Some((have, self.contents.get(&have.digest)?)));
        let (mut object, mut bytes) = object(before.filter(|_| !plain), target, records, self.faults);
        if !plain {
            (object, bytes) = packed(object, &bytes);
        }
        self.objects.insert(object.name, bytes);
        ReplyBody::Route(Route { objects: [object].into_iter().collect() })
    }

    fn fetch(&self, object: Digest, offset: u64, len: u16, bytes: &mut Vec<u8>) -> ReplyBody<()> {
        let Some(object) = self.objects.get(&object) else { return ReplyBody::Gone };
        let from = (offset as usize).min(object.len());
        let to = (from + len as usize).min(object.len());
        bytes.extend_from_slice(&object[from..to]);
        if let (true, Some(byte)) = (self.faults.damage, bytes.last_mut()) {
            *byte ^= 1;
        }
        ReplyBody::Bytes { offset, total: object.len() as u64, bytes: () }
    }
}

/// An object that leads to a generation with these records, from one with others.
fn object(
    before: Option<(Generation, &Records)>,
    target: Generation,
    records: &Records,
    faults: Faults,
) -> (ObjectRef, Vec<u8>) {
    let mut bytes = Vec::new();
    let manifest = manifest(records);
    let base = before.map(|(generation, _)| generation);
    let mut writer =
        Writer::new(base, target, &manifest, |part: &[u8]| bytes.extend_from_slice(part)).unwrap();
    let old = before.map(|(_, records)| records.clone()).unwrap_or_default();
    let names: BTreeSet<&String> = old.keys().chain(records.keys()).collect();
    let nothing = BTreeMap::new();
    for name in names {
        let (old, new) = (old.get(name).unwrap_or(&nothing), records.get(name).unwrap_or(&nothing));
        let keys: BTreeSet<&Vec<u8>> = old.keys().chain(new.keys()).collect();
        let changed: Vec<_> = keys.into_iter().filter(|key| old.get(*key) != new.get(*key)).collect();
        if !changed.is_empty() {
            writer.dataset(&Name::new(name).unwrap()).unwrap();
        }
        for key in changed {
            match new.get(key) {
                Some(_) if base.is_some() && faults.wrong_deltas => writer.put(key, b"wrong").unwrap(),
                Some(value) => writer.put(key, value).unwrap(),
                None => writer.delete(key).unwrap(),
            }
        }
    }
    let object = writer.finish().unwrap();
    (object, bytes)
}

/// The same, packed.
fn packed(object: ObjectRef, bytes: &[u8]) -> (ObjectRef, Vec<u8>) {
    let frame = zstd::encode_all(bytes, 3).unwrap();
    let bytes = [&PackedHead { object }.to_bytes()[..], &frame].concat();
    let name = Digest(*blake3::hash(&bytes).as_bytes());
    (ObjectRef { name, len: bytes.len() as u64 }, bytes)
}

/// How long a test waits for something that must happen, on however slow a machine.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// Waits until an agent is as it must be.
pub(crate) async fn until(agent: &Agent, what: &str, is: impl Fn(&Status) -> bool) -> Status {
    let began = Instant::now();
    loop {
        let status = agent.status();
        if is(&status) {
            return status;
        }
        assert!(began.elapsed() < LONG, "never came: {what}; {status:#?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until a condition holds.
pub(crate) async fn until_true(what: &str, mut is: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is() {
        assert!(began.elapsed() < LONG, "never came: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The epoch that an agent serves, whatever its freshness.
pub(crate) fn epoch(status: &Status) -> u64 {
    status.plan.active.map_or(0, |active| active.epoch)
}
