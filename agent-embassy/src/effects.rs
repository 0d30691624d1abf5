//! Carries out what core's machine asks for, in its order: messages, plans, content, copies, events.
//!
//! What takes long, or needs the machine's answer, is noted and done when the input is over
//! (`driver`).

use crate::flash::{Storage, Stored};
use crate::memory::{Held, Memory};
use crate::settings::Settings;
use crate::status::count;
use crate::{clock, tell};
use downbeat_core::effect::{Effect, Event, Verified};
use downbeat_core::ids::{Digest, Generation};
use downbeat_core::message::{ObjectRef, Request, Route, Veto};
use downbeat_core::object::in_place;
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
    object: ObjectRef,
    /// `None` where no buffer is free, or large enough.
    held: Option<Held<BYTES>>,
}

/// What the machine asked for and is done when the input is over.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    Begin(Generation, Option<ObjectRef>),
    Verify(Generation),
    Copy(Generation),
}

/// Everything that effects act on.
pub(crate) struct Host<M: RawMutex + 'static, const BYTES: usize, S> {
    pub(crate) memory: &'static Memory<M, BYTES>,
    pub(crate) settings: Settings,
    pub(crate) storage: S,
    incoming: Option<Incoming<BYTES>>,
    /// To be sent: a `Hello`, then the request.
    pub(crate) hello: bool,
    pub(crate) request: Option<Request>,
    /// In the order in which the machine asks for them; a later one of a kind replaces an earlier one.
    pub(crate) begin: Option<Due>,
    pub(crate) verify: Option<Due>,
    pub(crate) copy: Option<Due>,
}

impl<M: RawMutex, const BYTES: usize, S: Storage> Host<M, BYTES, S> {
    pub(crate) fn new(memory: &'static Memory<M, BYTES>, settings: Settings, storage: S) -> Self {
        Host {
            memory,
            settings,
            storage,
            incoming: None,
            hello: false,
            request: None,
            begin: None,
            verify: None,
            copy: None,
        }
    }

    pub(crate) fn carry_out(&mut self, effect: Effect, cause: &Cause<'_>) {
        match effect {
            Effect::Hello => self.hello = true,
            // Stamped when its turn on the stream has come.
            Effect::Send(request) => self.request = Some(request),
            Effect::Publish(plan) => {
                self.memory.with(|shared| shared.publish(plan));
                if let Some(good) = plan.active.filter(|_| !plan.stale) {
                    self.storage.note(good);
                }
            }
            Effect::Begin { target, .. } => self.begin = Some(Due::Begin(target, cause.object)),
            Effect::Keep { offset, len, .. } => self.keep(offset, len, cause.bytes),
            Effect::Verify { target } => self.verify = Some(Due::Verify(target)),
            Effect::Copy { generation } => self.copy = Some(Due::Copy(generation)),
            Effect::Event(event) => self.on_event(&event),
        }
    }

    /// Prepares a buffer. What can't be taken is known from the route already.
    pub(crate) fn begin(
        &mut self,
        target: Generation,
        object: Option<ObjectRef>,
        kept: &dyn Fn(Digest) -> bool,
    ) -> Option<Veto> {
        self.abandon();
        // Which is no route at all shows when it is to be verified.
        let object = object?;
        if usize::try_from(object.len).is_ok_and(|len| len > BYTES) || object.len > u64::from(u32::MAX) {
            return Some(Veto::TooLarge);
        }
        let held = self.memory.with(|shared| shared.take_free(kept));
        let veto = if held.is_none() { Some(Veto::Storage) } else { None };
        self.incoming = Some(Incoming { target, object, held });
        veto
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
    pub(crate) fn verify(&mut self, target: Generation) -> Verified {
        let Some(Incoming { target: begun, object, held: Some(mut held) }) = self.incoming.take() else {
            return Verified::Mismatch;
        };
        let settings = &self.settings;
        let proven = in_place::prove(held.content(), object.name, target, &|name| settings.expects(name));
        let whole = begun == target && proven.is_ok();
        if whole {
            held.digest = Some(target.digest);
            self.storage.prepare(Stored { generation: target, name: object.name, len: held.len });
        }
        self.memory.with(|shared| shared.give_back(held));
        if whole { Verified::Whole } else { Verified::Mismatch }
    }

    /// Copies staged to active, in pieces, while core holds the readers.
    pub(crate) fn copy(&mut self, asked: LocalTime, generation: Generation) {
        self.memory.with(|shared| shared.begin_copy(generation));
        while self.memory.with(|shared| shared.copy_piece(generation)) {}
        let took = clock::now() - asked;
        self.memory.with(|shared| shared.board.copied_in = Some(took));
    }

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
