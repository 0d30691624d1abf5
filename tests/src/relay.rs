//! A TCP relay between an agent and the server that delays, stalls and cuts, and that can stop the
//! bytes of a message of a given kind in their way until it is told how to go on. That is how a process
//! is killed in the middle of a step: its request, or the answer to it, is in the relay's hands.
//!
//! It recognizes messages by reading the frames along; the bytes it passes on are those that came. Time
//! exchanges in datagrams go through it too, as late as the rest (`datagrams`).

mod datagrams;

use downbeat_core::frame::Receiver;
use downbeat_core::message::{Reply, ReplyBody, Request, RequestBody, ToAgent, ToServer};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver as Inbox, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A kind of message, by what it is in the cycle.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[expect(missing_docs, reason = "each is the message of that name in PROTOCOL §4; Reply is its answer")]
pub enum Kind {
    Hello,
    Welcome,
    Read,
    Table,
    Lock,
    Granted,
    NotDue,
    Busy,
    Advance,
    Advanced,
    Refused,
    Unlock,
    Unlocked,
    Route,
    RouteReply,
    Fetch,
    Bytes,
    Gone,
    Report,
    Noted,
    Error,
    Time,
    TimeReply,
    TimePath,
}

/// A message that is being held back. Dropped, it goes on its way.
#[derive(Debug)]
pub struct Caught {
    /// Which agent's connection it is on.
    pub agent: usize,
    /// What it is.
    pub kind: Kind,
    go_on: Sender<bool>,
}

impl Caught {
    /// Cuts the connection: the message is lost.
    pub fn lose(self) {
        // The pump may have ended by itself, with the process.
        let _ = self.go_on.send(false);
    }
}

/// What waits for a message.
#[derive(Debug)]
struct Trap {
    kind: Kind,
    agent: Option<usize>,
    /// How many such messages it lets pass first.
    pass: u32,
    caught: Sender<Caught>,
}

/// Traps that several relays share, so that whoever sends the message first is caught.
#[derive(Clone, Debug, Default)]
pub struct Traps(Arc<Mutex<Vec<Trap>>>);

impl Traps {
    /// Catches the next message of a kind, once: of an agent's connection, or of any.
    pub fn set(&self, kind: Kind, agent: Option<usize>) -> Inbox<Caught> {
        self.set_after(0, kind, agent)
    }

    /// As [`Traps::set`], after so many such messages that pass.
    pub fn set_after(&self, pass: u32, kind: Kind, agent: Option<usize>) -> Inbox<Caught> {
        let (caught, inbox) = channel();
        lock(&self.0).push(Trap { kind, agent, pass, caught });
        inbox
    }

    fn spring(&self, agent: usize, kind: Kind) -> Option<(Sender<Caught>, Kind)> {
        let mut traps = lock(&self.0);
        let fits = |trap: &Trap| trap.kind == kind && trap.agent.is_none_or(|wanted| wanted == agent);
        let at = traps.iter().position(fits)?;
        if let Some(fewer) = traps[at].pass.checked_sub(1) {
            traps[at].pass = fewer;
            return None;
        }
        Some((traps.swap_remove(at).caught, kind))
    }
}

/// A relay. It listens until the process ends.
#[derive(Clone, Debug)]
pub struct Relay {
    shared: Arc<Shared>,
    address: SocketAddr,
}

#[derive(Debug)]
struct Shared {
    agent: usize,
    /// Where the server is now; it may come back elsewhere.
    server: Arc<Mutex<Option<SocketAddr>>>,
    traps: Traps,
    delay_us: AtomicU64,
    stalled: AtomicBool,
    refusing: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

impl Relay {
    /// A relay for one agent to wherever `server` says it is.
    ///
    /// # Panics
    /// The host has no free port.
    pub fn start(agent: usize, server: Arc<Mutex<Option<SocketAddr>>>, traps: Traps) -> Relay {
        let (listener, socket) =
            datagrams::bind_both().expect("a port that is free for connections and datagrams");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            agent,
            server,
            traps,
            delay_us: AtomicU64::new(0),
            stalled: AtomicBool::new(false),
            refusing: AtomicBool::new(false),
            open: Mutex::default(),
        });
        let relay = Relay { shared: shared.clone(), address };
        let of_datagrams = shared.clone();
        std::thread::spawn(move || listener.incoming().flatten().for_each(|stream| join(&shared, stream)));
        std::thread::spawn(move || datagrams::pass(&of_datagrams, &socket));
        relay
    }

    /// Where the agent connects.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Delays what passes, each way; up to twice that at random.
    pub fn delay(&self, delay: Duration) {
        let micros = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
        self.shared.delay_us.store(micros, Ordering::Relaxed);
    }

    /// Passes nothing on while stalled, and keeps it.
    pub fn stall(&self, stalled: bool) {
        self.shared.stalled.store(stalled, Ordering::Relaxed);
    }

    /// Takes no new connections while refusing.
    pub fn refuse(&self, refusing: bool) {
        self.shared.refusing.store(refusing, Ordering::Relaxed);
    }

    /// Cuts what is open.
    pub fn cut(&self) {
        for stream in lock(&self.shared.open).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// No fault any more.
    pub fn heal(&self) {
        self.delay(Duration::ZERO);
        self.stall(false);
        self.refuse(false);
    }
}

impl Shared {
    /// The delay, and up to as much again at random.
    fn wait(&self, turn: &mut u64, len: usize) {
        let delay = self.delay_us.load(Ordering::Relaxed);
        if delay > 0 {
            *turn = turn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(len as u64 | 1);
            std::thread::sleep(Duration::from_micros(delay + (*turn >> 33) % delay));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Joins an agent's connection to one of its own to the server. Where that can't be made the agent's is
/// closed, as a host without a server would.
fn join(shared: &Arc<Shared>, agent: TcpStream) {
    let server = *lock(&shared.server);
    let reached = server.filter(|_| !shared.refusing.load(Ordering::Relaxed)).map(TcpStream::connect);
    let Some(Ok(server)) = reached else { return };
    let both = [(&agent, &server), (&server, &agent)]
        .map(|(from, to)| Some((from.try_clone().ok()?, to.try_clone().ok()?)));
    for stream in [&agent, &server] {
        let _ = stream.set_nodelay(true);
    }
    let [Some(up), Some(down)] = both else { return };
    let mut open = lock(&shared.open);
    open.retain(|stream| stream.peer_addr().is_ok());
    open.extend([agent, server]);
    let (above, below) = (shared.clone(), shared.clone());
    std::thread::spawn(move || pump(&above, up.0, up.1, &mut ToServerKinds(Receiver::new())));
    std::thread::spawn(move || pump(&below, down.0, down.1, &mut ToAgentKinds(Receiver::new())));
}

/// Passes bytes on until either end is gone.
fn pump(shared: &Shared, mut from: TcpStream, mut to: TcpStream, kinds: &mut dyn Kinds) {
    let mut chunk = [0; 16 * 1024];
    let mut turn = 0u64;
    while let Ok(len @ 1..) = from.read(&mut chunk) {
        shared.wait(&mut turn, len);
        while shared.stalled.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(2));
        }
        let caught =
            kinds.of(&chunk[..len]).into_iter().find_map(|kind| shared.traps.spring(shared.agent, kind));
        if let Some((sender, kind)) = caught {
            let (go_on, told) = channel();
            let agent = shared.agent;
            // Nobody waits for it any more: it goes on.
            let _ = sender.send(Caught { agent, kind, go_on });
            if told.recv() == Ok(false) {
                break;
            }
        }
        if to.write_all(&chunk[..len]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

/// Tells which messages end in some bytes.
trait Kinds: Send {
    fn of(&mut self, bytes: &[u8]) -> Vec<Kind>;
}

struct ToServerKinds(Receiver);
struct ToAgentKinds(Receiver);

impl Kinds for ToServerKinds {
    fn of(&mut self, mut bytes: &[u8]) -> Vec<Kind> {
        let mut kinds = Vec::new();
        while let Some(message) = self.0.next::<ToServer>(&mut bytes) {
            kinds.extend(message.ok().map(|message| match message {
                ToServer::Hello(_) => Kind::Hello,
                ToServer::Request(Request { body, .. }) => match body {
                    RequestBody::Read => Kind::Read,
                    RequestBody::Lock => Kind::Lock,
                    RequestBody::Advance { .. } => Kind::Advance,
                    RequestBody::Unlock { .. } => Kind::Unlock,
                    RequestBody::Route { .. } => Kind::Route,
                    RequestBody::Fetch { .. } => Kind::Fetch,
                    RequestBody::Report(_) => Kind::Report,
                    RequestBody::Time => Kind::Time,
                },
            }));
        }
        kinds
    }
}

impl Kinds for ToAgentKinds {
    fn of(&mut self, mut bytes: &[u8]) -> Vec<Kind> {
        let mut kinds = Vec::new();
        while let Some(message) = self.0.next::<ToAgent<&[u8]>>(&mut bytes) {
            kinds.extend(message.ok().map(|message| match message {
                ToAgent::Welcome(_) => Kind::Welcome,
                ToAgent::Error { .. } => Kind::Error,
                ToAgent::TimePath { .. } => Kind::TimePath,
                ToAgent::Reply(Reply { body, .. }) => match body {
                    ReplyBody::Table(_) => Kind::Table,
                    ReplyBody::Granted { .. } => Kind::Granted,
                    ReplyBody::NotDue(_) => Kind::NotDue,
                    ReplyBody::Busy { .. } => Kind::Busy,
                    ReplyBody::Advanced(_) => Kind::Advanced,
                    ReplyBody::Refused { .. } => Kind::Refused,
                    ReplyBody::Unlocked => Kind::Unlocked,
                    ReplyBody::Route(_) => Kind::RouteReply,
                    ReplyBody::Bytes { .. } => Kind::Bytes,
                    ReplyBody::Gone => Kind::Gone,
                    ReplyBody::Noted => Kind::Noted,
                    ReplyBody::Time => Kind::TimeReply,
                },
            }));
        }
        kinds
    }
}
