//! A server on free ports, a clock that a test moves, an agent's end of a connection, and the smallest
//! HTTP client that does.

use downbeat_core::datagram::Key;
use downbeat_core::frame::{FRAME_MAX, Receiver, encode};
use downbeat_core::ids::{AgentId, BootId, Incarnation, Name};
use downbeat_core::message::{
    ErrorCode, Hello, Reply, Request, RequestBody, ToAgent, ToServer, VERSION, Welcome,
};
use downbeat_core::time::{LocalTime, ServerTime};
use downbeat_server::{Config, Handle, HostClock, Server};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long a test waits for what must come. Never what it asserts.
const PATIENCE: Duration = Duration::from_secs(30);

/// A clock that stands still until a test moves it.
pub(crate) struct StillClock {
    local: AtomicI64,
    wall: AtomicI64,
    boot: AtomicU64,
}

impl StillClock {
    pub(crate) fn new() -> Arc<StillClock> {
        let wall = AtomicI64::new(1_800_000_000_000_000_000);
        Arc::new(StillClock { local: AtomicI64::new(1_000_000_000_000), wall, boot: AtomicU64::new(1) })
    }
    /// Moves the local clock, and the wall clock by something else.
    pub(crate) fn advance(&self, local: i64, wall: i64) {
        self.local.fetch_add(local, Ordering::SeqCst);
        self.wall.fetch_add(wall, Ordering::SeqCst);
    }
    /// Another boot of the host, whose local clock begins anew.
    pub(crate) fn reboot(&self) {
        self.boot.fetch_add(1, Ordering::SeqCst);
        self.local.store(5_000_000_000, Ordering::SeqCst);
    }
}

impl HostClock for StillClock {
    fn local(&self) -> LocalTime {
        LocalTime::from_nanos(self.local.load(Ordering::SeqCst))
    }
    fn wall(&self) -> ServerTime {
        ServerTime::from_nanos(self.wall.load(Ordering::SeqCst))
    }
    fn boot(&self) -> BootId {
        BootId(self.boot.load(Ordering::SeqCst))
    }
}

/// A configuration on free ports, without the server's own agent.
pub(crate) fn config(folder: &Path) -> Config {
    let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Config { control: free, http: free, own_agent: false, ..Config::new(folder.join("downbeat.db")) }
}

pub(crate) fn start(folder: &Path) -> Handle {
    Server::start(config(folder)).unwrap()
}

pub(crate) fn start_with(folder: &Path, clock: &Arc<StillClock>) -> Handle {
    Server::start(Config { clock: Some(clock.clone()), ..config(folder) }).unwrap()
}

/// One HTTP request, and its answer's status and body.
pub(crate) fn http(to: SocketAddr, method: &str, path: &str, headers: &str, body: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    // A body that is too long may be refused before it was read.
    let _ = stream.write_all(body);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").expect("an HTTP answer");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.expect("a status"), body.to_owned())
}

/// A request without a token whose answer is JSON.
pub(crate) fn call(server: &Handle, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    call_raw(server, method, path, &body)
}

pub(crate) fn call_raw(server: &Handle, method: &str, path: &str, body: &[u8]) -> (u16, Value) {
    let (status, text) = http(server.http(), method, path, "", body);
    (status, serde_json::from_str(&text).unwrap_or_else(|_| panic!("{method} {path}: {text:?} is no JSON")))
}

/// The status of a `GET`, whatever its body is.
pub(crate) fn call_raw_status(server: &Handle, path: &str) -> u16 {
    http(server.http(), "GET", path, "", b"").0
}

/// What must go well.
pub(crate) fn well(answer: (u16, Value)) -> Value {
    assert!((200..300).contains(&answer.0), "{answer:?}");
    answer.1
}

/// What must be refused, with a cause and a cure.
pub(crate) fn refused(answer: (u16, Value), status: u16) -> String {
    assert_eq!(answer.0, status, "{answer:?}");
    assert!(answer.1["cure"].as_str().is_some_and(|cure| !cure.is_empty()), "{answer:?}");
    answer.1["error"].as_str().expect("an error").to_owned()
}

/// A farm with a long interval.
pub(crate) fn make_farm(server: &Handle, farm: &str) -> Value {
    well(call(server, "POST", "/v1/farms", &json!({ "farm": farm })))
}

/// A farm whose cycles follow each other at once.
pub(crate) fn make_fast_farm(server: &Handle, farm: &str) {
    let settings = json!({
        "interval": "400ms", "lead": "150ms", "lease": "60ms", "round_trip": "30ms", "retrieve": "30ms",
        "stagger": "10ms",
    });
    well(call(server, "POST", "/v1/farms", &json!({ "farm": farm, "settings": settings })));
}

/// Waits for something that must come.
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(since.elapsed() < PATIENCE, "{what} did not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// An agent's end of a connection.
pub(crate) struct Peer {
    pub(crate) stream: TcpStream,
    receiver: Receiver,
    unread: Vec<u8>,
    pub(crate) incarnation: Incarnation,
    number: u64,
    /// Where the server said that it takes datagrams.
    pub(crate) key: Option<Key>,
}

/// What came from the server, with its bytes held.
pub(crate) type Heard = ToAgent<Vec<u8>>;

impl Peer {
    pub(crate) fn connect(server: &Handle) -> Peer {
        let stream = TcpStream::connect(server.control()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let incarnation = Incarnation(77);
        Peer { stream, receiver: Receiver::new(), unread: Vec::new(), incarnation, number: 0, key: None }
    }

    pub(crate) fn hello(&self, farm: &str, token: &str) -> Hello {
        Hello {
            version: VERSION,
            farm: Name::new(farm).unwrap(),
            agent: AgentId([9; 16]),
            display: heapless::String::try_from("till 9").unwrap(),
            incarnation: self.incarnation,
            token: heapless::String::try_from(token).unwrap(),
            datasets: heapless::Vec::new(),
        }
    }

    /// Connects, says hello and is welcomed.
    pub(crate) fn welcomed(server: &Handle, farm: &str) -> (Peer, Welcome) {
        let mut peer = Peer::connect(server);
        let hello = peer.hello(farm, "");
        peer.send(&ToServer::Hello(hello));
        match peer.hear() {
            ToAgent::Welcome(welcome) => (peer, welcome),
            other => panic!("no welcome: {other:?}"),
        }
    }

    pub(crate) fn send(&mut self, message: &ToServer) {
        let mut frame = [0; FRAME_MAX];
        let len = encode(message, &mut frame).unwrap();
        self.stream.write_all(&frame[..len]).unwrap();
    }

    pub(crate) fn request(&mut self, body: RequestBody) -> ToServer {
        self.number += 1;
        let sent = LocalTime::from_nanos(1_000 + self.number as i64);
        ToServer::Request(Request { incarnation: self.incarnation, number: self.number, sent, body })
    }

    /// A request, and whatever comes back.
    pub(crate) fn try_ask(&mut self, body: RequestBody) -> Heard {
        let request = self.request(body);
        self.send(&request);
        self.hear()
    }

    /// A request, and the reply that must come back.
    pub(crate) fn ask(&mut self, body: RequestBody) -> Reply<Vec<u8>> {
        match self.try_ask(body) {
            ToAgent::Reply(reply) => reply,
            other => panic!("no reply: {other:?}"),
        }
    }

    /// The next message, but for where datagrams are taken, which is noted.
    pub(crate) fn hear(&mut self) -> Heard {
        loop {
            match self.hear_any() {
                ToAgent::TimePath { incarnation, key } => {
                    assert_eq!(incarnation, self.incarnation);
                    self.key = Some(key);
                }
                heard => return heard,
            }
        }
    }

    fn hear_any(&mut self) -> Heard {
        loop {
            let mut rest = self.unread.as_slice();
            let before = rest.len();
            let heard = self.receiver.next::<ToAgent<&[u8]>>(&mut rest);
            let heard = heard.map(|heard| heard.expect("a whole frame").map_bytes(<[u8]>::to_vec));
            let taken = before - rest.len();
            self.unread.drain(..taken);
            if let Some(heard) = heard {
                return heard;
            }
            let mut chunk = [0; 4096];
            let len = self.stream.read(&mut chunk).expect("an answer in time");
            assert_ne!(len, 0, "the server closed the connection");
            self.unread.extend_from_slice(&chunk[..len]);
        }
    }

    /// The error that must come.
    pub(crate) fn hear_error(&mut self) -> ErrorCode {
        match self.hear() {
            ToAgent::Error { code, .. } => code,
            other => panic!("no error: {other:?}"),
        }
    }
}
