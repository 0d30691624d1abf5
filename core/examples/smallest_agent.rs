//! The smallest agent: a byte stream in, a byte stream out (a TCP connection, a serial line, a
//! pipe), and two buffers in memory. Everything that the protocol decides is in core; here is what
//! a host has to bring: a clock, a store, and the moving of bytes.
//!
//! `cargo run -p downbeat-core --example smallest_agent` talks to `smallest_server` and prints what
//! its readers see. It doesn't connect again: a host that does tells the machine `disconnected` and
//! then `connected`, and it goes on where it stood.

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
pub type Records = std::collections::BTreeMap<Vec<u8>, Vec<u8>>;

struct Host<W> {
    output: W,
    started: Instant,
    hello: Hello,
    /// Whole, verified generations by digest.
    held: std::collections::BTreeMap<Digest, Records>,
    /// The object that is on its way, and its bytes so far.
    object: Option<ObjectRef>,
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

    /// Carries the effects of one input out, in their order. `bytes` came with that input.
    fn carry_out(&mut self, agent: &mut Agent, effects: Effects, bytes: &[u8]) -> Result<()> {
        for effect in effects {
            match effect {
                Effect::Hello => self.send(&ToServer::Hello(self.hello.clone()))?,
                Effect::Send(request) => {
                    // As late as it can be: every nanosecond here widens the enclosure.
                    self.send(&ToServer::Request(Request { sent: self.now(), ..request }))?;
                }
                Effect::Begin { .. } => self.incoming.clear(),
                Effect::Keep { .. } => self.incoming.extend_from_slice(bytes),
                Effect::Verify { target } => {
                    let found = self.verify(target);
                    let effects = agent.verified(self.now(), found);
                    self.carry_out(agent, effects, &[])?;
                }
                Effect::Publish(_) => {
                    self.held.retain(|digest, _| agent.keeps(Generation { epoch: 0, digest: *digest }));
                }
                Effect::Event(event) => eprintln!("{event:?}"),
                Effect::Copy { .. } => {} // Asked for by agents that can't switch; see `Config`.
            }
        }
        Ok(())
    }

    fn verify(&mut self, target: Generation) -> Verified {
        let Some(object) = self.object else { return Verified::Mismatch };
        let datasets = heapless::Vec::new(); // All of them.
        let expected = Expected { name: object.name, base: None, target, datasets };
        let mut reader: Reader<_> = Reader::new(expected, vec![0; content::KEY_MAX + content::VALUE_MAX]);
        let (mut rest, mut records) = (&self.incoming[..], Records::new());
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

/// Runs an agent over a stream until `look` says that it is enough (true) or the stream ends.
/// `look` is a reader: it is told what a read gets now, and the records where there are any.
pub fn run(
    mut input: impl Read + Send + 'static,
    output: impl Write,
    mode: Mode,
    mut look: impl FnMut(Serving, Option<&Records>) -> bool,
) -> Result<()> {
    let random = RandomState::new();
    let agent = AgentId(random.hash_one("agent").to_le_bytes().repeat(2).try_into().expect("16 bytes"));
    let incarnation = Incarnation(random.hash_one("incarnation"));
    let farm = Name::new("farm").map_err(Error::other)?;
    let (display, token, datasets) = Default::default();
    let hello = Hello { version: VERSION, farm, agent, display, incarnation, token, datasets };
    let (started, held, incoming) = (Instant::now(), Default::default(), Vec::new());
    let mut host = Host { output, started, hello, held, object: None, incoming };
    let start = Start { incarnation, boot: BootId(1), now: host.now(), page: None, last_good: None };
    let mut machine = Agent::new(Config::new(agent, mode), start);

    // Blocking reads on a thread of their own, so that the machine's time can come meanwhile.
    let (sender, chunks) = channel();
    std::thread::spawn(move || {
        let mut chunk = [0; 4096];
        while let Ok(len @ 1..) = input.read(&mut chunk) {
            if sender.send((Instant::now(), chunk[..len].to_vec())).is_err() {
                return;
            }
        }
    });
    let effects = machine.connected(host.now());
    host.carry_out(&mut machine, effects, &[])?;
    let mut receiver = frame::Receiver::new();
    loop {
        let plan = *machine.plan(); // First the plan, then the clock.
        let seen = serving(&plan, host.now());
        let records = seen.generation().and_then(|generation| host.held.get(&generation.digest));
        if look(seen, records) {
            return Ok(());
        }
        let wait = match machine.poll_at() {
            PollAt::At(at) => Duration::from_nanos((at - host.now()).or_zero().as_nanos() as u64),
            PollAt::Input => Duration::MAX,
        };
        match chunks.recv_timeout(wait.min(Duration::from_millis(5))) {
            Ok((arrived, chunk)) => {
                let arrived = LocalTime::from_nanos((arrived - host.started).as_nanos() as i64);
                let mut rest = &chunk[..];
                while let Some(message) = receiver.next::<ToAgent<&[u8]>>(&mut rest) {
                    let Ok(message) = message else { continue }; // Dropped and counted.
                    let mut bytes: &[u8] = &[];
                    match &message {
                        ToAgent::Reply(reply) if !machine.waits_for(reply.incarnation, reply.number) => {}
                        ToAgent::Reply(Reply { body: ReplyBody::Bytes { bytes: content, .. }, .. }) => {
                            bytes = content;
                        }
                        ToAgent::Reply(Reply { body: ReplyBody::Route(route), .. }) => {
                            host.object = route.objects.first().copied();
                        }
                        _ => {}
                    }
                    let effects = machine.receive(arrived, &message.without_content());
                    host.carry_out(&mut machine, effects, bytes)?;
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                let effects = machine.wake(host.now());
                host.carry_out(&mut machine, effects, &[])?;
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}

#[allow(dead_code, reason = "the tests use the rest of this file as a module")]
fn main() -> Result<()> {
    let stream = std::net::TcpStream::connect("127.0.0.1:7420")?;
    stream.set_nodelay(true)?;
    let mut last = None;
    run(stream.try_clone()?, stream, Mode::Prompt, |seen, records| {
        if last.replace(seen) != Some(seen) {
            let apple = records.and_then(|records| records.get(&b"apple"[..]));
            println!("{seen:?}, apple = {:?}", apple.map(|price| String::from_utf8_lossy(price)));
        }
        false
    })
}
