//! Carries out what core's machine asks for, in its order: messages, plans, content, copies, events.
//!
//! What takes long, or needs the machine's answer, is noted and done when the input is over
//! (`driver`).

use crate::flash::{Storage, Stored};
use crate::memory::{Held, Memory};
use crate::settings::{Greeting, SEND_MAX};
use crate::status::{Copied, count};
use crate::{clock, tell};
use downbeat_core::effect::{Effect, Event, Verified};
use downbeat_core::frame::encode;
use downbeat_core::ids::{Digest, Generation};
use downbeat_core::message::{ObjectRef, Request, Route, ToServerRef, Veto};
use downbeat_core::object::in_place;
use downbeat_core::serving::SwitchPlan;
use downbeat_core::time::LocalTime;
use embassy_sync::blocking_mutex::raw::RawMutex;

/// What an input brought that is the host's and never enters the machine.
#[derive(Clone, Copy, Default)]
pub(crate) struct Cause<'a> {
    /// The content of a `Bytes` reply.
    pub(crate) bytes: &'a [u8],
    /// The only object of a `Route` reply; of a route with another number of objects nothing can be made
    /// here.
    pub(crate) object: Option<ObjectRef>,
}

impl<'a> Cause<'a> {
    pub(crate) fn route(route: &Route) -> Cause<'a> {
        let object = if let [object] = route.objects.as_slice() { Some(*object) } else { None };
        Cause { bytes: &[], object }
    }
}

/// A generation on its way.
struct Incoming<const BYTES: usize> {
    target: Generation,
    /// `None`: the route led nowhere that a device can go.
    object: Option<ObjectRef>,
    /// `None` where no buffer is free, or large enough.
    held: Option<Held<BYTES>>,
}

/// What the machine asked for and is done when the input is over, in this order.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    Begin,
    Verify,
    Copy,
}

/// Everything that effects act on.
pub(crate) struct Host<M: RawMutex + 'static, const BYTES: usize, S> {
    pub(crate) memory: &'static Memory<M, BYTES>,
    pub(crate) storage: S,
    greeting: Greeting,
    incoming: Option<Incoming<BYTES>>,
    begin: bool,
    verify: bool,
    copy: bool,
    /// The frame that is to be sent next; a later one replaces an earlier one that was not sent yet.
    frame: &'static mut [u8; SEND_MAX],
    frame_len: usize,
    /// A `Hello` is to be sent, before anything else. It is large, and made when nothing else is on the
    /// stack.
    hello: bool,
}

impl<M: RawMutex, const BYTES: usize, S: Storage> Host<M, BYTES, S> {
    pub(crate) fn new(
        memory: &'static Memory<M, BYTES>,
        greeting: Greeting,
        storage: S,
        frame: &'static mut [u8; SEND_MAX],
    ) -> Self {
        Host {
            memory,
            storage,
            greeting,
            incoming: None,
            begin: false,
            verify: false,
            copy: false,
            frame,
            frame_len: 0,
            hello: false,
        }
    }

    #[inline(never)]
    pub(crate) fn carry_out(&mut self, effect: Effect, cause: &Cause<'_>) {
        match effect {
            Effect::Hello => self.hello = true,
            Effect::Send(request) => self.send(request),
            Effect::Publish(plan) => self.publish(&plan),
            Effect::Begin { target, .. } => {
                self.expect(target, cause.object);
                self.begin = true;
            }
            Effect::Keep { offset, len, .. } => self.keep(offset, len, cause.bytes),
            Effect::Verify { target } => {
                if self.incoming.as_ref().is_none_or(|incoming| incoming.target != target) {
                    self.expect(target, None);
                }
                self.verify = true;
            }
            Effect::Copy { .. } => self.copy = true,
            Effect::Event(event) => self.on_event(&event),
        }
    }

    #[inline(never)]
    fn publish(&mut self, plan: &SwitchPlan) {
        self.memory.with(|shared| shared.publish(plan));
        if let Some(good) = plan.active.filter(|_| !plan.stale) {
            self.storage.note(good);
        }
    }

    /// What is to be done next of what the machine asked for.
    pub(crate) fn take_due(&mut self) -> Option<Due> {
        let due =
            [(&mut self.begin, Due::Begin), (&mut self.verify, Due::Verify), (&mut self.copy, Due::Copy)];
        due.into_iter().find_map(|(asked, due)| core::mem::take(asked).then_some(due))
    }

    /// The bytes that are to be sent; empty where there is nothing.
    pub(crate) fn take_frame(&mut self) -> &[u8] {
        if core::mem::take(&mut self.hello) {
            self.frame_len = self.greeting.encode(self.frame).unwrap_or(0);
        }
        self.frame.get(..core::mem::take(&mut self.frame_len)).unwrap_or_default()
    }

    /// Nothing is to be sent any more.
    pub(crate) fn drop_frame(&mut self) {
        (self.hello, self.frame_len) = (false, 0);
    }

    /// Writes of the stream are waited for before the next input, so that the frame is free.
    #[inline(never)]
    fn send(&mut self, mut request: Request) {
        self.memory.with(|shared| count(&mut shared.board.counters.requests));
        // As late as can be, so that the enclosure's upper end ages as little as can be.
        request.sent = clock::now();
        self.frame_len = encode(&ToServerRef::Request(&request), self.frame).unwrap_or(0);
    }

    fn expect(&mut self, target: Generation, object: Option<ObjectRef>) {
        self.abandon();
        self.incoming = Some(Incoming { target, object, held: None });
    }

    /// Prepares a buffer for what is expected. What can't be taken is known from its route already.
    #[inline(never)]
    pub(crate) fn begin(&mut self, kept: &dyn Fn(Digest) -> bool) -> Option<(Generation, Veto)> {
        let incoming = self.incoming.as_mut()?;
        if incoming.object?.len > BYTES as u64 {
            return Some((incoming.target, Veto::TooLarge));
        }
        incoming.held = self.memory.with(|shared| shared.take_free(kept));
        if incoming.held.is_none() { Some((incoming.target, Veto::Storage)) } else { None }
    }

    /// Gives back the buffer of a generation that is not waited for any more.
    fn abandon(&mut self) {
        if let Some(held) = self.incoming.take().and_then(|incoming| incoming.held) {
            self.memory.with(|shared| shared.give_back(held));
        }
    }

    /// The machine has seen to it that pieces follow each other and fit the object's length.
    fn keep(&mut self, offset: u64, len: u16, bytes: &[u8]) {
        let Some(held) = self.incoming.as_mut().and_then(|incoming| incoming.held.as_mut()) else { return };
        let from = usize::try_from(offset).unwrap_or(BYTES);
        let place = held.bytes.get_mut(from..from.saturating_add(usize::from(len)));
        if let (Some(place), true) = (place, bytes.len() == usize::from(len)) {
            place.copy_from_slice(bytes);
            held.len = from + bytes.len();
        }
    }

    /// Proves what has come, and hands it over to where readers may be given it.
    pub(crate) fn verify(&mut self) -> Option<(Generation, Verified)> {
        let whole = self.is_whole();
        let target = self.hand_over(whole)?;
        Some((target, if whole { Verified::Whole } else { Verified::Mismatch }))
    }

    #[inline(never)]
    fn is_whole(&self) -> bool {
        let Some(Incoming { target, object: Some(object), held: Some(held) }) = &self.incoming else {
            return false;
        };
        let expects = |name: &str| self.greeting.expects(name);
        in_place::prove(held.content(), object.name, *target, &expects).is_ok()
    }

    #[inline(never)]
    fn hand_over(&mut self, whole: bool) -> Option<Generation> {
        let Incoming { target, object, held } = self.incoming.take()?;
        let Some(mut held) = held else { return Some(target) };
        if let (true, Some(object)) = (whole, object) {
            held.digest = Some(target.digest);
            self.storage.prepare(Stored { generation: target, name: object.name, len: held.len });
        }
        self.memory.with(|shared| {
            shared.give_back(held);
            shared.board.veto = shared.board.veto.filter(|_| !whole);
        });
        Some(target)
    }

    /// Copies staged to active, in pieces, while core holds the readers.
    #[inline(never)]
    pub(crate) fn copy(&mut self, asked: LocalTime) {
        let (staged, due) = self.memory.with(|shared| (shared.plan.staged, shared.plan.staged_from));
        let Some(generation) = staged else { return };
        self.memory.with(|shared| shared.begin_copy(generation));
        while self.memory.with(|shared| shared.copy_piece(generation)) {}
        let copied = Copied { late: asked - due, took: clock::now() - asked };
        self.memory.with(|shared| shared.board.copied = Some(copied));
    }

    #[inline(never)]
    fn on_event(&mut self, event: &Event) {
        tell::event(event);
        self.memory.with(|shared| {
            let board = &mut shared.board;
            let counters = &mut board.counters;
            match event {
                Event::ClockBroken => count(&mut counters.clock_breaks),
                Event::Refused(_) => count(&mut counters.refused),
                Event::Unmatched => count(&mut counters.unmatched),
                Event::Unexpected => count(&mut counters.unexpected),
                Event::Mismatch(_) => count(&mut counters.mismatches),
                Event::Vetoed(generation, why) => {
                    count(&mut counters.vetoes);
                    board.veto = Some((*generation, *why));
                }
                Event::Switched(switched) => {
                    count(&mut counters.switches);
                    board.switched = Some(*switched);
                }
                Event::NewTimeline | Event::Gone | Event::ServingLastGood(_) => {}
            }
        });
    }
}
