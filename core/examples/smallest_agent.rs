//! The smallest agent: a byte stream in, a byte stream out (a TCP connection, a serial line, a
//! pipe), and two buffers in memory. It talks to `smallest_server` and prints what its readers see.
//! A host that connects again tells the machine `disconnected`, then `connected`, and it goes on.

use downbeat_core::agent::{Agent, Config, Start};
use downbeat_core::effect::{Effect, Effects, PollAt, Verified};
use downbeat_core::object::{Expected, Reader};
use downbeat_core::serving::{Mode, Serving, serving};
use downbeat_core::{content, frame, ids::*, message::*, time::LocalTime};
use std::hash::{BuildHasher, RandomState};
use std::io::{Error, Read, Result, Write};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Key to value, of one generation.
pub(crate) type Records = std::collections::BTreeMap<Vec<u8>, Vec<u8>>;

struct Host<W> {
    output: W,
    started: Instant,
    hello: Hello,
    held: std::collections::BTreeMap<Digest, Records>,
    /// The object that is on its way, and its bytes so far.
    route: Route,
    incoming: Vec<u8>,
}

impl<W: Write> Host<W> {
    fn now(&self) -> LocalTime {
        LocalTime::from_nanos(self.started.elapsed().as_nanos() as i64)
    }

    fn send(&mut self, message: &ToServer) -> Result<()> {
        let mut bytes = [0; frame::FRAME_MAX];
        let len = frame::encode(message, &mut bytes).map_err(Error::other)?;
        self.output.write_all(&bytes[..len])?;
        self.output.flush()
    }

    /// Carries out the effects of one input, with which `bytes` came.
    fn carry_out(&mut self, agent: &mut Agent, effects: Effects, bytes: &[u8]) -> Result<()> {
        for effect in effects {
            match effect {
                Effect::Hello => self.send(&ToServer::Hello(self.hello.clone()))?,
                // `sent` as late as it can be: what comes after it widens the enclosure.
                Effect::Send(body) => self.send(&ToServer::Request(Request { sent: self.now(), ..body }))?,
                Effect::Begin { .. } => self.incoming.clear(),
                Effect::Keep { .. } => self.incoming.extend_from_slice(bytes),
                Effect::Verify { target } => {
                    let found = self.verify(target);
                    let effects = agent.verified(self.now(), target, found);
                    self.carry_out(agent, effects, &[])?;
                }
                Effect::Publish(_) => {
                    self.held.retain(|of, _| agent.keeps(Generation { epoch: 0, digest: *of }))
                }
                Effect::Event(_) | Effect::Copy { .. } => {} // For logs; for agents that can't switch.
            }
        }
        Ok(())
    }

    fn verify(&mut self, target: Generation) -> Verified {
        let Some(ObjectRef { name, .. }) = self.route.objects.first().copied() else {
            return Verified::Mismatch;
        };
        let expected = Expected { name, base: None, target, datasets: heapless::Vec::new() };
        let buffer = vec![0; content::KEY_MAX + content::VALUE_MAX];
        let (mut reader, mut records) = (Reader::<_>::new(expected, buffer), Records::new());
        let mut rest = &self.incoming[..];
        while let Ok(Some(record)) = reader.next(&mut rest) {
            records.insert(record.key.to_vec(), record.value.unwrap_or_default().to_vec());
        }
        if reader.finish().is_err() {
            return Verified::Mismatch;
        }
        self.held.insert(target.digest, records);
        Verified::Whole
    }
}

/// Runs an agent until the stream ends or `look`, which is told what readers get, says true.
pub(crate) fn run(
    mut input: impl Read + Send + 'static,
    output: impl Write,
    mode: Mode,
    mut look: impl FnMut(Serving, Option<&Records>) -> bool,
) -> Result<()> {
    let random = RandomState::new();
    let agent = AgentId(random.hash_one("agent").to_le_bytes().repeat(2).try_into().expect("16 bytes"));
    let incarnation = Incarnation(random.hash_one("incarnation"));
    let (farm, (display, token, datasets)) = (Name::new("farm").map_err(Error::other)?, Default::default());
    let hello = Hello { version: VERSION, farm, agent, display, incarnation, token, datasets };
    let (started, (held, route, incoming)) = (Instant::now(), Default::default());
    let mut host = Host { output, started, hello, held, route, incoming };
    let start = Start { incarnation, boot: BootId(1), now: host.now(), page: None, last_good: None };
    let mut machine = Agent::new(Config::new(agent, mode), start);

    // Blocking reads on a thread of their own, so that the machine's time can come meanwhile.
    let (sender, chunks) = channel();
    std::thread::spawn(move || {
        let mut chunk = [0; 4096];
        while let Ok(len @ 1..) = input.read(&mut chunk)
            && sender.send(chunk[..len].to_vec()).is_ok()
        {}
    });
    let effects = machine.connected(host.now());
    host.carry_out(&mut machine, effects, &[])?;
    let mut receiver = frame::Receiver::new();
    loop {
        let seen = serving(machine.plan(), host.now()); // First the plan, then the clock.
        if look(seen, seen.generation().and_then(|of| host.held.get(&of.digest))) {
            return Ok(());
        }
        let wait = match machine.poll_at() {
            PollAt::At(at) => Duration::from_nanos((at - host.now()).or_zero().as_nanos() as u64),
            PollAt::Input => Duration::MAX,
        };
        let chunk = match chunks.recv_timeout(wait.min(Duration::from_millis(5))) {
            Ok(chunk) => chunk,
            Err(RecvTimeoutError::Timeout) => Vec::new(),
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        };
        let effects = machine.wake(host.now());
        host.carry_out(&mut machine, effects, &[])?;
        let mut rest = &chunk[..];
        while let Some(message) = receiver.next::<ToAgent<&[u8]>>(&mut rest) {
            let Ok(message) = message else { continue }; // Dropped and counted.
            let mut bytes: &[u8] = &[];
            match &message {
                ToAgent::Reply(reply) if !machine.waits_for(reply.incarnation, reply.number) => {}
                ToAgent::Reply(Reply { body: ReplyBody::Bytes { bytes: part, .. }, .. }) => bytes = part,
                ToAgent::Reply(Reply { body: ReplyBody::Route(route), .. }) => host.route = route.clone(),
                _ => {}
            }
            let effects = machine.receive(host.now(), &message.without_content());
            host.carry_out(&mut machine, effects, bytes)?;
        }
    }
}

#[allow(dead_code, reason = "the tests use this file as a module")]
fn main() -> Result<()> {
    let stream = std::net::TcpStream::connect("127.0.0.1:7420")?;
    run(stream.try_clone()?, stream, Mode::Prompt, |seen, records| {
        println!("{seen:?} {:?}", records.map(Records::len));
        false
    })
}
