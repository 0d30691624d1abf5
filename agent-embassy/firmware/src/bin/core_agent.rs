//! Core's agent with frames and digests, on the board's serial line, and nothing of the library: what the
//! protocol itself costs. One buffer for what comes; no storage, no application but a read each second.
#![no_std]
#![no_main]

use downbeat_core::agent::{Agent, Config, Start};
use downbeat_core::effect::{Effect, Effects, PollAt, Verified};
use downbeat_core::frame::{FRAME_MAX, Receiver, encode};
use downbeat_core::ids::{AgentId, BootId, Digest, Generation, Incarnation, Name};
use downbeat_core::message::{Hello, Reply, ReplyBody, Request, ToAgent, ToServer, VERSION, Veto};
use downbeat_core::object::in_place;
use downbeat_core::serving::{Mode, serving};
use downbeat_core::time::LocalTime;
use downbeat_firmware::serial::LINE;
use downbeat_firmware::{clock, executor};
use embassy_futures::select::{Either, select};
use embassy_time::{Duration, Instant, Timer};
use embedded_io_async::{Read, Write};
use static_cell::ConstStaticCell;

/// Bytes in the buffer for what comes.
const CONTENT: usize = 8 * 1024;
/// How often somebody reads.
const READING: Duration = Duration::from_secs(1);

static BUFFER: ConstStaticCell<[u8; CONTENT]> = ConstStaticCell::new([0; CONTENT]);

fn now() -> LocalTime {
    LocalTime::from_nanos(Instant::now().as_micros().cast_signed().saturating_mul(1_000))
}

struct Host {
    hello: Hello,
    buffer: &'static mut [u8; CONTENT],
    len: usize,
    object: Digest,
    frame: [u8; FRAME_MAX],
}

impl Host {
    async fn send(&mut self, message: &ToServer) {
        if let Ok(len) = encode(message, &mut self.frame) {
            let Ok(()) = (&LINE).write_all(self.frame.get(..len).unwrap_or_default()).await;
        }
    }

    /// Carries out what an input asks for; what is to be verified comes back.
    async fn carry_out(&mut self, effects: Effects, bytes: &[u8]) -> Option<Generation> {
        let mut verify = None;
        for effect in effects {
            match effect {
                Effect::Hello => {
                    let hello = ToServer::Hello(self.hello.clone());
                    self.send(&hello).await;
                }
                Effect::Send(body) => self.send(&ToServer::Request(Request { sent: now(), ..body })).await,
                Effect::Begin { .. } => self.len = 0,
                Effect::Keep { .. } => {
                    if let Some(place) = self.buffer.get_mut(self.len..self.len + bytes.len()) {
                        place.copy_from_slice(bytes);
                    }
                    self.len += bytes.len();
                }
                Effect::Verify { target } => verify = Some(target),
                Effect::Publish(_) | Effect::Event(_) | Effect::Copy { .. } => {}
            }
        }
        verify
    }

    fn verify(&self, target: Generation) -> Verified {
        let Some(content) = self.buffer.get(..self.len) else { return Verified::Vetoed(Veto::TooLarge) };
        match in_place::prove(content, self.object, target, &|_| true) {
            Ok(()) => Verified::Whole,
            Err(_) => Verified::Mismatch,
        }
    }

    async fn settle(&mut self, agent: &mut Agent, effects: Effects, bytes: &[u8]) {
        let mut verify = self.carry_out(effects, bytes).await;
        while let Some(target) = verify {
            let found = self.verify(target);
            let effects = agent.verified(now(), target, found);
            verify = self.carry_out(effects, &[]).await;
        }
    }
}

#[embassy_executor::task]
async fn run() {
    let Ok(farm) = Name::new("shop") else { return };
    let (agent, incarnation) = (AgentId([7; 16]), Incarnation(1));
    let (display, token, datasets) = Default::default();
    let hello = Hello { version: VERSION, farm, agent, display, incarnation, token, datasets };
    let (buffer, object) = (BUFFER.take(), Digest::default());
    let mut host = Host { hello, buffer, len: 0, object, frame: [0; FRAME_MAX] };
    let start = Start { incarnation, boot: BootId(1), now: now(), page: None, last_good: None };
    let mut agent = Agent::new(Config::new(agent, Mode::Strict), start);
    let mut receiver = Receiver::new();
    let effects = agent.connected(now());
    host.settle(&mut agent, effects, &[]).await;
    let mut chunk = [0; 64];
    loop {
        let reading = Instant::now() + READING;
        let at = match agent.poll_at() {
            PollAt::At(at) => Instant::from_micros(at.as_nanos().max(0).unsigned_abs().div_ceil(1_000)),
            PollAt::Input => reading,
        };
        let taken = select((&LINE).read(&mut chunk), Timer::at(at.min(reading))).await;
        core::hint::black_box(serving(agent.plan(), now()));
        let Either::First(Ok(len)) = taken else {
            let effects = agent.wake(now());
            host.settle(&mut agent, effects, &[]).await;
            continue;
        };
        let mut rest = chunk.get(..len).unwrap_or_default();
        while let Some(message) = receiver.next::<ToAgent<&[u8]>>(&mut rest) {
            let Ok(message) = message else { continue };
            let mut bytes: &[u8] = &[];
            if let ToAgent::Reply(reply) = &message
                && agent.waits_for(reply.incarnation, reply.number)
            {
                match reply {
                    Reply { body: ReplyBody::Bytes { bytes: part, .. }, .. } => bytes = part,
                    Reply { body: ReplyBody::Route(route), .. } => {
                        host.object = route.objects.first().map_or(Digest::default(), |object| object.name);
                    }
                    _ => {}
                }
            }
            let effects = agent.receive(now(), &message.without_content());
            host.settle(&mut agent, effects, bytes).await;
        }
    }
}

#[cortex_m_rt::entry]
fn main() -> ! {
    clock::start(0);
    LINE.start();
    executor::run(|spawner| {
        let _ = run().map(|run| spawner.spawn(run));
    })
}
