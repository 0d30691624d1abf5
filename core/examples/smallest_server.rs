//! The smallest server: one farm over a plain map, on any byte stream. Everything that the protocol
//! decides is in core; here is what a host has to bring: a clock, a store, and the moving of bytes.
//!
//! It listens on 127.0.0.1:7420; run `smallest_agent` beside it. It keeps all generations and forgets
//! them when it ends: each start is a new farm. A host that keeps its table goes on (see `timeline`).

use downbeat_core::content::{DatasetSum, generation_digest, record_digest};
use downbeat_core::frame::{FRAME_MAX, Receiver, encode};
use downbeat_core::object::{ManifestEntry, Writer};
use downbeat_core::server::{Effect, Facts, Verdict, transition};
use downbeat_core::session::{Access, Session};
use downbeat_core::settings::{Limits, Settings, SettingsError};
use downbeat_core::{guard::Guards, ids::*, message::*, table::SyncTable, time::*};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::{LazyLock, Mutex};
use std::time::{Instant, SystemTime};

type Records = BTreeMap<Vec<u8>, Vec<u8>>;

/// The farm: its table, what people edit, and every generation that agents may still want.
pub(crate) struct Store {
    table: SyncTable,
    pub(crate) production: Records,
    generations: BTreeMap<Digest, Records>,
    objects: BTreeMap<Digest, Vec<u8>>,
}

/// The questions that core asks the content, inside the same transaction (here: the mutex).
impl Facts for Store {
    fn first_due(&self, _: ServerTime) -> Option<ServerTime> {
        None // Nothing is ever scheduled.
    }
    fn verdict(&self, _: ServerTime) -> Verdict {
        Verdict::Promote(manifest(&self.production).1)
    }
}
/// The manifest and the digest of a generation: of one dataset, with one record at least.
fn manifest(records: &Records) -> ([ManifestEntry; 1], Digest) {
    let (dataset, mut sum) = (Name::new("prices").expect("a good name"), DatasetSum::EMPTY);
    records.iter().for_each(|(key, value)| sum.add(record_digest(&dataset, key, value)));
    let digest = generation_digest([(&dataset, &sum)]).expect("one is in order");
    ([ManifestEntry { dataset, sum }], digest)
}

impl Store {
    /// A new farm: epoch 1 is production as it is, live at once.
    pub(crate) fn new(production: Records, settings: Settings) -> Result<Store, SettingsError> {
        let random = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0);
        let (timeline, limits) = (TimelineId { counter: 1, random }, Limits::default());
        let (farm, digest) = (Name::new("farm").expect("a good name"), manifest(&production).1);
        let table = SyncTable::new_farm(farm, timeline, digest, settings, limits, None, time())?;
        let generations = [(digest, production.clone())].into();
        Ok(Store { table, production, generations, objects: BTreeMap::new() })
    }

    /// One request. The mutex around the store is the transaction; `now` is read inside it.
    fn answer(&mut self, session: &Session, request: &Request) -> Result<ReplyBody<&[u8]>, ErrorCode> {
        let (id, now) = (session.on_request(request)?, time());
        let Some(done) = transition(&self.table, id, &request.body, now, self, Guards::ALL) else {
            return Ok(self.content(&request.body));
        };
        if done.effect == Effect::Promote {
            self.generations.insert(done.table.staged.digest, self.production.clone());
        }
        self.table = done.table;
        Ok(done.reply)
    }

    fn content(&mut self, request: &RequestBody) -> ReplyBody<&[u8]> {
        match request {
            RequestBody::Route { target, .. } => {
                let Some(records) = self.generations.get(&target.digest) else { return ReplyBody::Gone };
                let (entries, mut bytes) = (manifest(records).0, Vec::new());
                let keep = |part: &[u8]| bytes.extend(part);
                let Ok(mut writer) = Writer::new(None, *target, &entries, keep) else {
                    return ReplyBody::Gone;
                };
                let written = writer.dataset(&entries[0].dataset).and_then(|()| {
                    records.iter().try_for_each(|(key, value)| writer.put(key, value))?;
                    writer.finish()
                });
                let Ok(object) = written else { return ReplyBody::Gone };
                self.objects.insert(object.name, bytes);
                ReplyBody::Route(Route { objects: [object].into_iter().collect() })
            }
            RequestBody::Fetch { object, offset, len } => {
                let Some(bytes) = self.objects.get(object) else { return ReplyBody::Gone };
                let part = bytes.get(*offset as usize..).unwrap_or_default();
                let part = &part[..part.len().min(*len as usize)];
                ReplyBody::Bytes { offset: *offset, total: bytes.len() as u64, bytes: part }
            }
            RequestBody::Time => ReplyBody::Time,
            _ => ReplyBody::Noted,
        }
    }
}

/// The farm's clock: the wall clock as it was at the start, never stepped afterwards.
fn time() -> ServerTime {
    static START: LazyLock<(Instant, SystemTime)> = LazyLock::new(|| (Instant::now(), SystemTime::now()));
    let since_1970 = START.1.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    ServerTime::from_nanos((since_1970 + START.0.elapsed()).as_nanos() as i64)
}

/// Serves one connection until it ends.
pub(crate) fn serve(store: &Mutex<Store>, mut stream: impl Read + Write) -> std::io::Result<()> {
    let (mut receiver, mut session) = (Receiver::new(), Session::new());
    let (mut chunk, mut frame) = ([0; 4096], [0; FRAME_MAX]);
    while let len @ 1.. = stream.read(&mut chunk)? {
        let (received, mut rest) = (time(), &chunk[..len]);
        while let Some(message) = receiver.next::<ToServer>(&mut rest) {
            let mut store = store.lock().map_err(|_| std::io::Error::other("the store is broken"))?;
            let (timeline, limits) = (store.table.timeline, store.table.limits);
            let (incarnation, answer) = match message {
                Ok(ToServer::Hello(hello)) => {
                    let (version, server_rate, may_lock) = (VERSION, Rate::from_ppm(100), true);
                    let incarnation = hello.incarnation;
                    let welcome = Welcome { incarnation, version, timeline, server_rate, limits, may_lock };
                    let greeted = session.on_hello(&hello, Ok(Access::Lock));
                    (incarnation, greeted.map(|_| ToAgent::Welcome(welcome)))
                }
                Ok(ToServer::Request(request)) => {
                    let Request { incarnation, number, sent: echo, .. } = request;
                    let body = store.answer(&session, &request);
                    let stamp = Stamp { timeline, echo, received, answered: time() };
                    (incarnation, body.map(|body| ToAgent::Reply(Reply { incarnation, number, stamp, body })))
                }
                Err(_) => continue, // Dropped and counted; the agent asks again.
            };
            let message = answer.unwrap_or_else(|code| ToAgent::Error { incarnation, code });
            let len = encode(&message, &mut frame).map_err(std::io::Error::other)?;
            stream.write_all(&frame[..len])?;
        }
    }
    Ok(())
}

#[allow(dead_code, reason = "the tests use this file as a module")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let apple = (b"apple".to_vec(), b"1".to_vec());
    let store = Mutex::new(Store::new([apple].into(), Settings::default())?);
    let listener = std::net::TcpListener::bind("127.0.0.1:7420")?;
    std::thread::scope(|scope| {
        for stream in listener.incoming().flatten() {
            scope.spawn(|| serve(&store, stream).map_err(|error| eprintln!("a connection ended: {error}")));
        }
    });
    Ok(())
}
