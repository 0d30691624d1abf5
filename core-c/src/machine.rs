//! An agent as C holds it: core's machine, the receiving end of its stream, and the effects of the last
//! input, which are handed out one by one. Without a pointer of C's: those are followed in `agent`.

use crate::code::Code;
use crate::effects::{About, Effect, EffectKind, Event, Incoming, Keep};
use crate::memory::Placed;
use crate::types::{Bytes, Generation, Phase, Status};
use core::mem::offset_of;
use downbeat_core::agent::{Agent, Config, Input, Start};
use downbeat_core::effect::{Effect as Asked, Effects, PollAt};
use downbeat_core::frame::{self, Receiver};
use downbeat_core::message::{Hello, Reply, ReplyBody, Request, ToAgent, ToServer};
use downbeat_core::time::{LocalTime, Span};

/// An agent.
#[repr(C)]
pub struct Machine {
    stamp: u32,
    /// The number of the effect that was taken last.
    number: u32,
    /// How many of `effects` were taken.
    taken: usize,
    /// The content that the last frame brought: where in this structure, and how much.
    content: (usize, usize),
    last_now: LocalTime,
    incoming: Incoming,
    effects: Effects,
    agent: Agent,
    hello: Hello,
    receiver: Receiver,
}

// SAFETY: `repr(C)`, the stamp is first, and `Machine::place` writes it last.
unsafe impl Placed for Machine {
    const STAMP: u32 = 0xd0b2_a6e1;
}

impl Machine {
    /// Puts an agent into memory, part by part: all of it at once would go over the stack.
    ///
    /// # Safety
    /// `at` is memory for a machine, aligned, that nobody else uses.
    pub(crate) unsafe fn place(at: *mut Machine, config: Config, start: Start, hello: Hello) {
        // SAFETY: the caller vouches for the memory, and each part is in it.
        unsafe {
            (&raw mut (*at).stamp).write(0);
            (&raw mut (*at).number).write(0);
            (&raw mut (*at).taken).write(0);
            (&raw mut (*at).content).write((0, 0));
            (&raw mut (*at).last_now).write(start.now);
            (&raw mut (*at).incoming).write(Incoming::NONE);
            (&raw mut (*at).effects).write(Effects::new());
            (&raw mut (*at).agent).write(Agent::new(config, start));
            (&raw mut (*at).hello).write(hello);
            (&raw mut (*at).receiver).write(Receiver::new());
            (&raw mut (*at).stamp).write(Machine::STAMP);
        }
    }

    /// Whether an input may be given now.
    fn check_input(&self, now: LocalTime) -> Result<(), Code> {
        if self.taken < self.effects.len() {
            return Err(Code::EffectsPending);
        }
        if now < self.last_now {
            return Err(Code::TimeWentBack);
        }
        Ok(())
    }

    /// An input that is no frame. Its effects go to where they are handed out from, one by one.
    pub(crate) fn input(&mut self, now: LocalTime, input: Input<'_>) -> Result<(), Code> {
        self.check_input(now)?;
        self.content = (0, 0);
        self.last_now = now;
        self.taken = 0;
        let Machine { agent, effects, .. } = self;
        effects.clear();
        agent.input(now, input, &mut |effect| keep(effects, effect));
        Ok(())
    }

    /// A new connection: what is left of a frame of the one before is none of it.
    pub(crate) fn connected(&mut self, now: LocalTime) -> Result<(), Code> {
        self.check_input(now)?;
        self.receiver = Receiver::new();
        self.input(now, Input::Connected)
    }

    /// The clock broke: from here on time goes on from `now`, wherever it was.
    pub(crate) fn clock_broke(&mut self, now: LocalTime) -> Result<(), Code> {
        self.check_input(self.last_now)?;
        self.last_now = now;
        self.input(now, Input::ClockBroke)
    }

    /// Takes bytes off the front of `rest` up to the end of a frame, and gives the machine its message.
    /// `Code::Done`: all are used up, and no frame ended.
    pub(crate) fn receive(&mut self, now: LocalTime, rest: &mut &[u8]) -> Result<(), Code> {
        self.check_input(now)?;
        let here = (&raw const *self).addr();
        let Machine { receiver, agent, effects, incoming, .. } = self;
        let message = match receiver.next::<ToAgent<&[u8]>>(rest) {
            None => return Err(Code::Done),
            Some(received) => received.map_err(Code::from)?,
        };
        let (mut content, mut route) = ((0, 0), None);
        if let ToAgent::Reply(Reply { body, .. }) = &message {
            match body {
                // In the receiver's buffer, until it takes in more.
                ReplyBody::Bytes { bytes, .. } => content = (bytes.as_ptr().addr() - here, bytes.len()),
                ReplyBody::Route(of) => route = Some(of),
                _ => {}
            }
        }
        effects.clear();
        agent.input(now, Input::Receive(&message), &mut |effect| {
            // The machine follows this route.
            if let (Asked::Begin { target, cache }, Some(route)) = (&effect, route) {
                *incoming = Incoming::of(*target, *cache, &route.objects);
            }
            keep(effects, effect);
        });
        self.content = content;
        self.last_now = now;
        self.taken = 0;
        Ok(())
    }

    /// The next effect, and where in this structure its content is; `None` where all were taken.
    pub(crate) fn next_effect(&mut self) -> Option<(Effect, Option<(usize, usize)>)> {
        let asked = self.effects.get(self.taken);
        let Some(asked) = asked else {
            self.effects.clear();
            self.taken = 0;
            return None;
        };
        let (kind, about) = match asked {
            Asked::Hello | Asked::Send(_) => (EffectKind::Send, About { generation: Generation::NONE }),
            Asked::Publish(plan) => (EffectKind::Publish, About { plan: plan.into() }),
            Asked::Begin { .. } => (EffectKind::Begin, About { incoming: self.incoming }),
            Asked::Verify { target } => {
                let incoming = Incoming { target: (*target).into(), ..self.incoming };
                (EffectKind::Verify, About { incoming })
            }
            Asked::Keep { object, offset, .. } => {
                let keep =
                    Keep { offset: *offset, bytes: Bytes::NONE, object: (*object).into(), reserved: 0 };
                (EffectKind::Keep, About { keep })
            }
            Asked::Copy { generation } => {
                (EffectKind::CopyStaged, About { generation: (*generation).into() })
            }
            Asked::Event(event) => (EffectKind::Event, About { event: Event::from(event) }),
        };
        let content = (kind == EffectKind::Keep).then_some(self.content);
        self.taken += 1;
        self.number = self.number.wrapping_add(1);
        Some((Effect { kind: kind as u32, number: self.number, about }, content))
    }

    /// Writes the frame of the effect that was taken last.
    pub(crate) fn encode(&self, number: u32, now: LocalTime, buffer: &mut [u8]) -> Result<usize, Code> {
        let asked = self.taken.checked_sub(1).and_then(|at| self.effects.get(at));
        let asked = asked.filter(|_| number == self.number).ok_or(Code::StaleEffect)?;
        if now < self.last_now {
            return Err(Code::TimeWentBack);
        }
        let message = match asked {
            Asked::Hello => ToServer::Hello(self.hello.clone()),
            // As late as the host can say.
            Asked::Send(request) => ToServer::Request(Request { sent: now, ..request.clone() }),
            _ => return Err(Code::NothingToSend),
        };
        // Inputs' time doesn't go on by it: what arrived before was taken in at no later instant.
        Ok(frame::encode(&message, buffer)?)
    }

    /// The machine, for questions.
    pub(crate) fn agent(&self) -> &Agent {
        &self.agent
    }

    /// When it wants to be woken.
    pub(crate) fn poll_at(&self) -> LocalTime {
        match self.agent.poll_at() {
            PollAt::At(at) => at,
            PollAt::Input => LocalTime::MAX,
        }
    }

    /// What is known at `now`, for people.
    pub(crate) fn status(&self, now: LocalTime) -> Status {
        let (clock, report) = (self.agent.clock(), self.agent.report(now));
        let instant = |server: Option<downbeat_core::time::ServerTime>| server.map_or(0, |at| at.as_nanos());
        let (line, table) = (self.agent.timeline().unwrap_or_default(), self.agent.table());
        Status {
            phase: Phase::from(report.phase) as u32,
            clock_known: clock.is_known().into(),
            table_known: table.is_some().into(),
            reserved: [0; 2],
            epsilon_ns: clock.epsilon(now).unwrap_or(Span::ZERO).as_nanos(),
            offset_ns: report.offset,
            earliest_server_ns: instant(clock.earliest(now)),
            latest_server_ns: instant(clock.latest(now)),
            timeline_counter: line.counter,
            timeline_random: line.random,
            table_staged: table.map_or(Generation::NONE, |table| table.staged.into()),
            activation_server_ns: instant(table.map(|table| table.activation)),
            dropped: self.receiver.dropped().into(),
        }
    }
}

/// There is room for all that one input may have.
fn keep(effects: &mut Effects, effect: Asked) {
    let kept = effects.push(effect);
    debug_assert!(kept.is_ok(), "more effects than an input can have");
}

const _: () = assert!(offset_of!(Machine, stamp) == 0);
