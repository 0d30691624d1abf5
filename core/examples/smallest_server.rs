//! The smallest server: one farm over a plain map, on any byte stream. Everything that the protocol
//! decides is in core; here is what a host has to bring: a clock, a store, and the moving of bytes.
//!
//! `cargo run -p downbeat-core --example smallest_server` listens on 127.0.0.1:7420 and counts up a
//! price; run `smallest_agent` beside it. It forgets everything when it ends, so each start is a new
//! farm on a new timeline; a host that keeps its table continues the line (see `timeline`).

use downbeat_core::content::{DatasetSum, generation_digest, record_digest};
use downbeat_core::frame::{FRAME_MAX, Receiver, encode};
use downbeat_core::object::{ManifestEntry, Writer};
use downbeat_core::server::{Effect, Facts, Verdict, transition};
use downbeat_core::session::{Access, Session};
use downbeat_core::settings::{Limits, Settings, SettingsError};
use downbeat_core::{guard::Guards, ids::*, message::*, table::SyncTable, time::*};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::Mutex;
use std::time::{Instant, SystemTime};

type Records = BTreeMap<Vec<u8>, Vec<u8>>;

/// The farm: its table, what people edit, and every generation that agents may still want.
pub struct Store {
    table: SyncTable,
    /// The records of the one dataset, as people edit them.
    pub production: Records,
    generations: BTreeMap<Digest, Records>,
    objects: BTreeMap<Digest, Vec<u8>>,
    started: (Instant, SystemTime),
}

/// The questions that core asks the content, inside the same transaction (here: the mutex).
impl Facts for Store {
    fn first_due(&self, _: ServerTime) -> Option<ServerTime> {
        None // Nothing is ever scheduled here.
    }
    fn verdict(&self, _: ServerTime) -> Verdict {
        Verdict::Promote(manifest(&self.production).1)
    }
}

fn dataset() -> Name {
    Name::new("prices").expect("a good name")
}

/// The manifest and the digest of a generation.
fn manifest(records: &Records) -> (Vec<ManifestEntry>, Digest) {
    let mut sum = DatasetSum::EMPTY;
    records.iter().for_each(|(key, value)| sum.add(record_digest(&dataset(), key, value)));
    let entries = Some(ManifestEntry { dataset: dataset(), sum }).filter(|entry| !entry.sum.is_empty());
    let entries: Vec<_> = entries.into_iter().collect();
    let digest = generation_digest(entries.iter().map(|entry| (&entry.dataset, &entry.sum)));
    (entries, digest.expect("one dataset is in order"))
}

impl Store {
    /// A new farm: epoch 1 is production as it is, live at once.
    pub fn new(production: Records, settings: Settings) -> Result<Store, SettingsError> {
        let digest = manifest(&production).1;
        let farm = Name::new("farm").expect("a good name");
        let timeline = TimelineId {
            counter: 1,
            random: std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0),
        };
        let started = (Instant::now(), SystemTime::now());
        let (limits, now) = (Limits::default(), time(&started));
        let table = SyncTable::new_farm(farm, timeline, digest, settings, limits, None, now)?;
        let generations = BTreeMap::from([(digest, production.clone())]);
        Ok(Store { table, production, generations, objects: BTreeMap::new(), started })
    }

    /// One request. The mutex around the store is the transaction; `now` is read inside it.
    fn answer(&mut self, session: &Session, request: &Request) -> Result<ReplyBody<&[u8]>, ErrorCode> {
        let (id, now) = (session.on_request(request)?, time(&self.started));
        let Some(done) = transition(&self.table, id, &request.body, now, self, Guards::ALL) else {
            return Ok(self.content(&request.body));
        };
        if done.effect == Effect::Promote {
            self.generations.insert(done.table.staged.digest, self.production.clone());
        }
        self.table = done.table;
        Ok(done.reply)
    }

    /// What touches no table: routes, bytes and reports.
    fn content(&mut self, request: &RequestBody) -> ReplyBody<&[u8]> {
        match request {
            RequestBody::Route { target, .. } => {
                let Some(records) = self.generations.get(&target.digest) else { return ReplyBody::Gone };
                let (entries, mut bytes) = (manifest(records).0, Vec::new());
                let written = Writer::new(None, *target, &entries, |part: &[u8]| bytes.extend(part))
                    .and_then(|mut writer| {
                        entries.iter().try_for_each(|entry| writer.dataset(&entry.dataset))?;
                        records.iter().try_for_each(|(key, value)| writer.put(key, value))?;
                        writer.finish()
                    });
                let Ok(object) = written else { return ReplyBody::Gone };
                self.objects.insert(object.name, bytes);
                ReplyBody::Route(Route { objects: [object].into_iter().collect() })
            }
            RequestBody::Fetch { object, offset, len } => {
                let Some(bytes) = self.objects.get(object) else { return ReplyBody::Gone };
                let (from, total) = ((*offset as usize).min(bytes.len()), bytes.len());
                let part = &bytes[from..total.min(from + *len as usize)];
                ReplyBody::Bytes { offset: *offset, total: total as u64, bytes: part }
            }
            _ => ReplyBody::Noted,
        }
    }
}

/// The farm's clock: the wall clock as it was at the start, never stepped afterwards.
fn time((instant, wall): &(Instant, SystemTime)) -> ServerTime {
    let since_1970 = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    ServerTime::from_nanos((since_1970 + instant.elapsed()).as_nanos() as i64)
}

/// Serves one connection until it ends.
pub fn serve(store: &Mutex<Store>, mut stream: impl Read + Write) -> std::io::Result<()> {
    let (mut receiver, mut session) = (Receiver::new(), Session::new());
    let (mut chunk, mut frame) = ([0; 4096], [0; FRAME_MAX]);
    loop {
        let len = stream.read(&mut chunk)?;
        if len == 0 {
            return Ok(());
        }
        let mut rest = &chunk[..len];
        while let Some(message) = receiver.next::<ToServer>(&mut rest) {
            let mut store = store.lock().expect("nobody panics with it");
            let (started, timeline, limits) = (store.started, store.table.timeline, store.table.limits);
            let received = time(&started);
            let (incarnation, answer) = match message {
                Ok(ToServer::Hello(hello)) => {
                    let incarnation = hello.incarnation;
                    let server_rate = Rate::from_ppm(100);
                    let welcome = Welcome {
                        incarnation,
                        version: VERSION,
                        timeline,
                        server_rate,
                        limits,
                        may_lock: true,
                    };
                    let greeted =
                        session.on_hello(&hello, Ok(Access::Lock)).map(|_| ToAgent::Welcome(welcome));
                    (incarnation, greeted)
                }
                Ok(ToServer::Request(request)) => {
                    let Request { incarnation, number, sent: echo, .. } = request;
                    let answer = store.answer(&session, &request).map(|body| {
                        let stamp = Stamp { timeline, echo, received, answered: time(&started) };
                        ToAgent::Reply(Reply { incarnation, number, stamp, body })
                    });
                    (incarnation, answer)
                }
                Err(_) => continue, // Dropped and counted by the receiver; the agent asks again.
            };
            let message = answer.unwrap_or_else(|code| ToAgent::Error { incarnation, code });
            let len = encode(&message, &mut frame).map_err(std::io::Error::other)?;
            stream.write_all(&frame[..len])?;
        }
    }
}

#[allow(dead_code, reason = "the tests use the rest of this file as a module")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let settings = Settings { interval: downbeat_core::time::Span::from_secs(90), ..Settings::default() };
    let store = Mutex::new(Store::new(Records::new(), settings)?);
    let listener = std::net::TcpListener::bind("127.0.0.1:7420")?;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for price in 0u64.. {
                let record = (b"apple".to_vec(), price.to_string().into_bytes());
                store.lock().expect("nobody panics with it").production.extend([record]);
                std::thread::sleep(std::time::Duration::from_secs(5));
            }
        });
        for stream in listener.incoming().flatten() {
            let _ = stream.set_nodelay(true);
            scope.spawn(|| serve(&store, stream).map_err(|error| eprintln!("a connection ended: {error}")));
        }
    });
    Ok(())
}
