//! The connection to a server: making it again after failures, and frames over TCP; datagrams beside it
//! are in `time_path`. What the messages mean is core's; nothing here waits but in [`Link::event`].

use crate::time_path::TimePath;
use downbeat_core::datagram::Key;
use downbeat_core::frame::{FRAME_MAX, encode};
use downbeat_core::ids::Incarnation;
use downbeat_core::message::ToServer;
use std::future::{Future, pending};
use std::io;
use std::pin::Pin;
use std::time::Duration;
use tokio::io::{Interest, Ready};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};

/// How long a connection may take to be made.
const DIAL_LIMIT: Duration = Duration::from_secs(5);
/// Bytes that may wait to be sent; more are dropped, since any message may be lost (PROTOCOL §4).
const OUTPUT_MAX: usize = 16 * FRAME_MAX;

/// Where the connection is.
pub(crate) enum Link {
    /// There is none; the next is tried then.
    Down { until: Instant },
    /// It is being made.
    Dialing(Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>),
    /// It stands.
    Up(Line),
}

/// What comes from a link.
pub(crate) enum LinkEvent {
    /// The time to dial has come.
    Dial,
    /// Dialing came to an end.
    Dialed(io::Result<TcpStream>),
    /// Bytes can be read or written.
    Ready(io::Result<Ready>),
    /// A datagram may have arrived.
    Datagram,
}

impl Link {
    /// Waits for the next event. May be dropped at any time without losing anything.
    pub(crate) async fn event(&mut self) -> LinkEvent {
        match self {
            Link::Down { until } => {
                sleep_until(*until).await;
                LinkEvent::Dial
            }
            Link::Dialing(dialing) => LinkEvent::Dialed(dialing.await),
            Link::Up(line) => line.event().await,
        }
    }

    /// Begins to dial.
    pub(crate) fn dial(server: String) -> Link {
        Link::Dialing(Box::pin(async move {
            let stream = timeout(DIAL_LIMIT, TcpStream::connect(server)).await.map_err(|_| {
                io::Error::new(io::ErrorKind::TimedOut, "the server doesn't answer a connection attempt")
            })??;
            // A frame is a whole message; held back it would only widen the enclosure.
            stream.set_nodelay(true)?;
            Ok(stream)
        }))
    }
}

/// A standing connection.
pub(crate) struct Line {
    stream: TcpStream,
    /// Where the server takes datagrams.
    pub(crate) time_path: Option<TimePath>,
    /// Frames that the connection did not take yet.
    output: Vec<u8>,
    /// Since when nothing was heard while something was waited for.
    pub(crate) silent_since: Option<Instant>,
}

impl Line {
    pub(crate) fn new(stream: TcpStream) -> Line {
        Line { stream, time_path: None, output: Vec::new(), silent_since: None }
    }

    /// The server takes datagrams of this life, too.
    ///
    /// # Errors
    /// The host has no way there: samples go over the connection.
    pub(crate) fn open_time_path(&mut self, incarnation: Incarnation, key: Key) -> io::Result<()> {
        self.time_path = Some(TimePath::open(self.stream.peer_addr()?, incarnation, key)?);
        Ok(())
    }

    async fn event(&self) -> LinkEvent {
        let datagram = async {
            match &self.time_path {
                Some(path) => path.readable().await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            () = datagram => LinkEvent::Datagram,
            ready = self.ready() => LinkEvent::Ready(ready),
        }
    }

    async fn ready(&self) -> io::Result<Ready> {
        let interest = if self.output.is_empty() {
            Interest::READABLE
        } else {
            Interest::READABLE.add(Interest::WRITABLE)
        };
        self.stream.ready(interest).await
    }

    /// Reads what is there: `None` where nothing is.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match self.stream.try_read(buffer) {
            Ok(0) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection")),
            Ok(len) => {
                self.silent_since = None;
                Ok(Some(len))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends a message, or has it wait. False where it is dropped: the connection takes no more, or
    /// it broke, which the next read tells.
    pub(crate) fn send(&mut self, message: &ToServer) -> bool {
        let mut frame = [0; FRAME_MAX];
        let Some(frame) = encode(message, &mut frame).ok().and_then(|len| frame.get(..len)) else {
            return false;
        };
        if self.output.len() + frame.len() > OUTPUT_MAX {
            return false;
        }
        self.silent_since.get_or_insert_with(Instant::now);
        self.output.extend_from_slice(frame);
        self.flush().is_ok()
    }

    /// Writes what the connection takes.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while !self.output.is_empty() {
            match self.stream.try_write(&self.output) {
                Ok(len) => drop(self.output.drain(..len)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Gives what waits one last chance.
    pub(crate) async fn drain(&mut self, limit: Duration) {
        let drained = async {
            while !self.output.is_empty() && self.stream.writable().await.is_ok() && self.flush().is_ok() {}
        };
        // What can't be sent by then is lost, as any message may be.
        let _ = timeout(limit, drained).await;
    }
}

/// Waits for ever: an input that can't come.
pub(crate) async fn never<T>() -> T {
    pending().await
}

/// When to dial again: bounded, exponential, ±20 % at random.
pub(crate) struct BackOff {
    first: Duration,
    most: Duration,
    attempt: u32,
}

impl BackOff {
    pub(crate) fn new(first: Duration, most: Duration) -> BackOff {
        BackOff { first, most, attempt: 0 }
    }

    /// The server welcomed us: begin again with the shortest.
    pub(crate) fn reset(&mut self) {
        self.attempt = 0;
    }

    pub(crate) fn next(&mut self) -> Duration {
        let span = self.first.saturating_mul(1u32 << self.attempt.min(20)).min(self.most);
        self.attempt = self.attempt.saturating_add(1);
        // Without randomness all agents of a host dial together; that is all that is lost.
        let part = getrandom::u32().unwrap_or(0) % 1_000;
        span.mul_f64(0.8 + 0.4 * f64::from(part) / 1_000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_back_off_grows_to_its_bound_and_begins_again() {
        let mut back_off = BackOff::new(Duration::from_millis(100), Duration::from_secs(1));
        let within = |span: Duration, millis: u64| {
            span >= Duration::from_millis(millis * 8 / 10) && span <= Duration::from_millis(millis * 12 / 10)
        };
        for millis in [100, 200, 400, 800, 1_000, 1_000] {
            let span = back_off.next();
            assert!(within(span, millis), "{span:?} for {millis} ms");
        }
        back_off.reset();
        assert!(within(back_off.next(), 100));
    }
}
