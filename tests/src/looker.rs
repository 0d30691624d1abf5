//! Looks at the table over the control port, as an agent does that only reads: its stamps tell the
//! server's time to within one short round trip.

use crate::history::TableSeen;
use downbeat_agent::Clock;
use downbeat_core::frame::{FRAME_MAX, Receiver, encode};
use downbeat_core::ids::{AgentId, Incarnation, Name};
use downbeat_core::message::{Hello, Reply, ReplyBody, Request, RequestBody, ToAgent, ToServer, VERSION};
use downbeat_core::time::LocalTime;
use downbeat_trace::{Line, Recorder};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// A connection to the control port.
#[derive(Debug)]
pub struct Looker {
    stream: TcpStream,
    receiver: Receiver,
    unread: Vec<u8>,
    clock: Clock,
    incarnation: Incarnation,
    number: u64,
    farm: Name,
    recorder: Recorder,
}

impl Looker {
    /// Connects and says hello; `None` where nobody welcomes it. Looks are told to a trace, too.
    pub fn connect(server: SocketAddr, farm: &str, recorder: Recorder) -> Option<Looker> {
        let stream = TcpStream::connect_timeout(&server, PATIENCE).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.set_nodelay(true).ok()?;
        let clock = Clock::host();
        // Another number at each start: the time will do.
        let incarnation = Incarnation(clock.now().as_nanos().unsigned_abs());
        let (receiver, unread) = (Receiver::new(), Vec::new());
        let farm = Name::new(farm).ok()?;
        let told = farm.clone();
        let mut looker =
            Looker { stream, receiver, unread, clock, incarnation, number: 0, farm: told, recorder };
        looker.send(&ToServer::Hello(Hello {
            version: VERSION,
            farm,
            agent: AgentId([0xee; 16]),
            display: Default::default(),
            incarnation,
            token: Default::default(),
            datasets: Default::default(),
        }))?;
        match looker.hear()? {
            ToAgent::Welcome(_) => Some(looker),
            _ => None,
        }
    }

    /// One look; `None` where the connection is of no use any more.
    pub fn look(&mut self) -> Option<TableSeen> {
        self.number += 1;
        let (incarnation, number) = (self.incarnation, self.number);
        let sent = LocalTime::from_nanos(0);
        let before = self.clock.now().as_nanos();
        self.send(&ToServer::Request(Request { incarnation, number, sent, body: RequestBody::Read }))?;
        let heard = self.hear()?;
        let after = self.clock.now().as_nanos();
        let ToAgent::Reply(Reply { stamp, body: ReplyBody::Table(table), .. }) = heard else { return None };
        let answering = (stamp.answered - stamp.received).as_nanos();
        // The request was received no earlier than it was sent.
        let (from, to) = (before + answering, after);
        self.recorder.tell(|| Line::Look {
            from: LocalTime::from_nanos(from),
            to: LocalTime::from_nanos(to),
            farm: self.farm.clone(),
            timeline: stamp.timeline,
            now: stamp.answered,
            staged: table.staged,
            activation: table.activation,
        });
        Some(TableSeen {
            timeline: format!("{}-{:016x}", stamp.timeline.counter, stamp.timeline.random),
            epoch: table.staged.epoch,
            digest: table.staged.digest.to_string(),
            activation: table.activation.as_nanos(),
            now: stamp.answered.as_nanos(),
            host: (from, to),
        })
    }

    fn send(&mut self, message: &ToServer) -> Option<()> {
        let mut frame = [0; FRAME_MAX];
        let len = encode(message, &mut frame).ok()?;
        self.stream.write_all(&frame[..len]).ok()
    }

    fn hear(&mut self) -> Option<ToAgent<Vec<u8>>> {
        loop {
            let mut rest = self.unread.as_slice();
            let before = rest.len();
            let heard = self.receiver.next::<ToAgent<&[u8]>>(&mut rest);
            let heard = heard.map(|heard| heard.map(|heard| heard.map_bytes(<[u8]>::to_vec)));
            let taken = before - rest.len();
            self.unread.drain(..taken);
            match heard {
                // It has no use for datagrams.
                Some(Ok(ToAgent::TimePath { .. })) => continue,
                Some(heard) => return heard.ok(),
                None => {}
            }
            let mut chunk = [0; 4096];
            let len = self.stream.read(&mut chunk).ok().filter(|len| *len > 0)?;
            self.unread.extend_from_slice(&chunk[..len]);
        }
    }
}
