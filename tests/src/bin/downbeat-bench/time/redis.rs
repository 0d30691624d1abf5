//! Redis as a peer: processes that are subscribed to a channel, and processes that ask for a key each
//! second. One connection each, without a library between.

use super::program::{Program, free_port};
use super::resp::{Value, command, take};
use super::watcher::Watcher;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The server's program.
pub(crate) const PROGRAM: &str = "redis-server";
const CHANNEL: &[u8] = b"news";
const KEY: &[u8] = b"price";
/// Between two polls.
const EVERY: Duration = Duration::from_secs(1);

/// A connection.
pub(crate) struct Line {
    stream: TcpStream,
    arrived: Vec<u8>,
}

impl Line {
    pub(crate) fn connect(address: &str) -> io::Result<Line> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Line { stream, arrived: Vec::new() })
    }

    pub(crate) fn ask(&mut self, words: &[&[u8]]) -> io::Result<Value> {
        self.stream.write_all(&command(words))?;
        match self.next()? {
            Value::Error(why) => Err(io::Error::other(String::from_utf8_lossy(&why).into_owned())),
            value => Ok(value),
        }
    }

    fn next(&mut self) -> io::Result<Value> {
        let mut chunk = [0; 4_096];
        loop {
            if let Some(value) = take(&mut self.arrived)? {
                return Ok(value);
            }
            let len = self.stream.read(&mut chunk)?;
            if len == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.arrived.extend_from_slice(&chunk[..len]);
        }
    }

    /// Publishes a version to the subscribers.
    pub(crate) fn publish(&mut self, version: u64) -> io::Result<()> {
        self.ask(&[b"PUBLISH", CHANNEL, version.to_string().as_bytes()]).map(drop)
    }

    /// Sets the version for those that poll.
    pub(crate) fn set(&mut self, version: u64) -> io::Result<()> {
        self.ask(&[b"SET", KEY, version.to_string().as_bytes()]).map(drop)
    }
}

/// Begins a server of our own, which keeps nothing on the disk; and its address.
pub(crate) fn begin(folder: &Path) -> io::Result<(Program, SocketAddr)> {
    let port = free_port()?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let folder = folder.to_string_lossy().into_owned();
    let port = port.to_string();
    let words =
        ["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", &folder];
    let mut program = Program::begin(PROGRAM, &words)?;
    program.wait(|| Line::connect(&address.to_string())?.ask(&[b"PING"]).map(drop))?;
    Ok((program, address))
}

fn version(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// One that is subscribed.
pub(crate) fn watch(watcher: Watcher) -> io::Result<()> {
    let mut line = Line::connect(&watcher.address)?;
    line.ask(&[b"SUBSCRIBE", CHANNEL])?;
    watcher.ready();
    loop {
        let value = line.next()?;
        let at = watcher.clock.now();
        let Value::List(parts) = value else { continue };
        if let [Value::Text(kind), _, Value::Text(text)] = parts.as_slice()
            && kind == b"message"
        {
            watcher.saw(version(text).ok_or(io::ErrorKind::InvalidData)?, at);
        }
    }
}

/// One that polls, at an instant of its own in each second.
pub(crate) fn poll(watcher: Watcher) -> io::Result<()> {
    let mut line = Line::connect(&watcher.address)?;
    let share = watcher.index as f64 / watcher.of.max(1) as f64;
    watcher.ready();
    // By the wall clock, so that the processes' phases are spread whenever each of them began.
    let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let into = Duration::from_nanos(u64::from(wall.subsec_nanos()));
    let mut next = Instant::now() + EVERY - into + EVERY.mul_f64(share);
    let mut last = 0;
    loop {
        sleep(next.saturating_duration_since(Instant::now()));
        next += EVERY;
        let value = line.ask(&[b"GET", KEY])?;
        let at = watcher.clock.now();
        let Value::Text(text) = value else { continue };
        let version = version(&text).ok_or(io::ErrorKind::InvalidData)?;
        if version != last {
            last = version;
            watcher.saw(version, at);
        }
    }
}
