//! One connection of an agent: bytes in, frames, the session's rules, bytes out. It stamps a request's
//! arrival as soon as its first byte was read, and an answer as the last thing before it is encoded,
//! because the time between is what an agent can't know (PROTOCOL §2).
//!
//! What arrives may be anything. A frame that is none is counted and dropped; a connection that is too
//! slow, idle or noisy is closed, and the log says why.

use super::answer;
use crate::events::Event;
use crate::farm::Farm;
use crate::shared::Shared;
use downbeat_core::frame::{FRAME_MAX, Fault, Receiver, encode};
use downbeat_core::ids::Incarnation;
use downbeat_core::message::{ErrorCode, Hello, Reply, Request, Stamp, ToAgent, ToServer, VERSION, Welcome};
use downbeat_core::session::{Access, Session};
use downbeat_core::time::{LocalTime, Span};
use serde::Serialize;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Frames that are dropped on a connection before it is closed: it is no agent.
const FAULTS_MAX: u32 = 64;
/// How long an agent may say nothing, beyond two intervals of its farm.
const IDLE_BEYOND: Duration = Duration::from_secs(60);

/// Why a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ended {
    /// The other end closed it, or the line broke.
    Gone,
    /// Nothing came for too long.
    Idle,
    /// A frame was begun and not finished, or no hello came in time.
    Slow,
    /// Answers were not taken in time.
    NotRead,
    /// Too many frames that are none.
    Noise,
    /// The server ends.
    Stopping,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ended::Gone => "the other end closed it",
            Ended::Idle => "nothing came for two intervals",
            Ended::Slow => "no hello, or no end of a frame, within the patience",
            Ended::NotRead => "answers were not read within the patience",
            Ended::Noise => "too many frames that are none; is the other end an agent of this version?",
            Ended::Stopping => "the server ends",
        })
    }
}

/// One connection.
pub(super) struct Connection {
    shared: Arc<Shared>,
    stream: TcpStream,
    peer: SocketAddr,
    session: Session,
    /// The farm of the session's peer.
    farm: Option<Arc<Farm>>,
}

/// A message with the instant at which its first byte was read.
type Arrived = (LocalTime, Result<ToServer, Fault>);

impl Connection {
    pub(super) fn new(shared: Arc<Shared>, stream: TcpStream, peer: SocketAddr) -> Connection {
        Connection { shared, stream, peer, session: Session::new(), farm: None }
    }

    /// Serves the connection until it ends.
    pub(super) async fn run(&mut self) -> Ended {
        // Without it an answer may wait for the acknowledgement of the one before.
        let _ = self.stream.set_nodelay(true);
        let mut receiver = Receiver::new();
        let mut chunk = [0; 4096];
        let mut began = self.shared.time.local();
        loop {
            let patience = self.patience(&receiver);
            let read = tokio::time::timeout(patience, self.stream.read(&mut chunk)).await;
            let now = self.shared.time.local();
            let len = match read {
                Err(_) if self.farm.is_some() && receiver.is_between_frames() => return Ended::Idle,
                Err(_) => return Ended::Slow,
                Ok(Ok(0) | Err(_)) => return Ended::Gone,
                Ok(Ok(len)) => len,
            };
            if receiver.is_between_frames() {
                began = now;
            } else if now - began > span(self.shared.patience) {
                return Ended::Slow;
            }
            let mut rest = &chunk[..len];
            while let Some(message) = receiver.next::<ToServer>(&mut rest) {
                // Whatever else is in this chunk was read now.
                let arrived = (std::mem::replace(&mut began, now), message);
                if let Err(ended) = self.on_arrived(arrived).await {
                    return ended;
                }
            }
            if receiver.dropped().total() > FAULTS_MAX {
                return Ended::Noise;
            }
        }
    }

    /// How long the next byte may take.
    fn patience(&self, receiver: &Receiver) -> Duration {
        match &self.farm {
            Some(farm) if receiver.is_between_frames() => {
                let interval = farm.table().settings.interval.as_nanos().unsigned_abs();
                Duration::from_nanos(interval.saturating_mul(2)) + IDLE_BEYOND
            }
            _ => self.shared.patience,
        }
    }

    async fn on_arrived(&mut self, (received, message): Arrived) -> Result<(), Ended> {
        if message.is_err() {
            self.shared.frames_dropped.fetch_add(1, Ordering::Relaxed);
        }
        match message {
            Ok(ToServer::Hello(hello)) => self.on_hello(&hello).await,
            Ok(ToServer::Request(request)) => self.on_request(received, request).await,
            Err(Fault::Version(_)) => self.error(Incarnation::default(), ErrorCode::Version).await,
            Err(fault) => {
                tracing::debug!(peer = %self.peer, %fault, "frame dropped");
                Ok(())
            }
        }
    }

    async fn on_hello(&mut self, hello: &Hello) -> Result<(), Ended> {
        self.leave();
        let access = self.shared.tokens.agent(&hello.token, &hello.farm, self.peer.ip());
        let farm = self.shared.farm(&hello.farm);
        let access = access.and_then(|access| match farm {
            Some(_) => Ok(access),
            None => Err(ErrorCode::NoFarm),
        });
        let access = match self.session.on_hello(hello, access) {
            Ok(peer) => peer.access,
            Err(code) => {
                tracing::info!(peer = %self.peer, farm = %hello.farm, ?code, "hello refused");
                return self.error(hello.incarnation, code).await;
            }
        };
        let Some(farm) = farm else { return self.error(hello.incarnation, ErrorCode::NoFarm).await };
        let now = self.shared.time.reading().time;
        let row = farm.agents.connected(hello, access, now);
        farm.skew.heard(&row, None, now);
        farm.tell(Event::Agent(row));
        let welcome = Welcome {
            incarnation: hello.incarnation,
            version: VERSION,
            timeline: self.shared.time.timeline(),
            server_rate: self.shared.time.rate(),
            limits: farm.table().limits,
            may_lock: access == Access::Lock,
        };
        self.farm = Some(farm);
        self.send(&ToAgent::<u16>::Welcome(welcome)).await?;
        let Some(key) = self.shared.time_key else { return Ok(()) };
        let incarnation = hello.incarnation;
        self.send(&ToAgent::<u16>::TimePath { incarnation, key: key.of(incarnation) }).await
    }

    async fn on_request(&mut self, received: LocalTime, request: Request) -> Result<(), Ended> {
        let incarnation = request.incarnation;
        let id = match self.session.on_request(&request) {
            Ok(id) => id,
            Err(code) => return self.error(incarnation, code).await,
        };
        let (Some(farm), Some(peer)) = (self.farm.clone(), self.session.peer()) else {
            return self.error(incarnation, ErrorCode::HelloFirst).await;
        };
        let datasets: Vec<_> = peer.datasets.iter().cloned().collect();
        let (number, echo) = (request.number, request.sent);
        let body = match answer::to(&self.shared, &farm, id, &datasets, request.body).await {
            Ok(body) => body,
            Err(code) => return self.error(incarnation, code).await,
        };
        let received = self.shared.time.at(received);
        let answered = self.shared.time.reading();
        if !answered.allowed {
            return self.error(incarnation, ErrorCode::Busy).await;
        }
        let stamp = Stamp { timeline: answered.timeline, echo, received, answered: answered.time };
        self.send(&ToAgent::Reply(Reply { incarnation, number, stamp, body })).await
    }

    async fn error(&mut self, incarnation: Incarnation, code: ErrorCode) -> Result<(), Ended> {
        self.send(&ToAgent::<u16>::Error { incarnation, code }).await
    }

    async fn send(&mut self, message: &impl Serialize) -> Result<(), Ended> {
        let mut frame = [0; FRAME_MAX];
        let len = match encode(message, &mut frame) {
            Ok(len) => len,
            Err(error) => {
                tracing::error!(peer = %self.peer, %error, "an answer that fits no frame: a bug");
                return Ok(());
            }
        };
        match tokio::time::timeout(self.shared.patience, self.stream.write_all(&frame[..len])).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Ended::Gone),
            Err(_) => Err(Ended::NotRead),
        }
    }

    /// The connection is over.
    pub(super) fn close(mut self, why: Ended) {
        match why {
            Ended::Gone | Ended::Stopping => tracing::debug!(peer = %self.peer, %why, "connection ended"),
            _ => tracing::info!(peer = %self.peer, %why, "connection closed"),
        }
        self.leave();
    }

    /// The agent of this session is no longer connected by it.
    fn leave(&mut self) {
        if let (Some(farm), Some(peer)) = (self.farm.take(), self.session.peer())
            && let Some(row) = farm.agents.disconnected(peer.agent)
        {
            farm.tell(Event::Agent(row));
        }
    }
}

fn span(duration: Duration) -> Span {
    Span::from_nanos(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
}
