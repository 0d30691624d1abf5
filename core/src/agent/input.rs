//! The inputs of the machine: what each does between what every input begins with and what every
//! input ends with, and where its effects go.

use super::Agent;
use crate::effect::{Effect, Effects, Verified};
use crate::ids::Generation;
use crate::message::{Piece, RequestBody, ToAgent};
use crate::step::{Seen, Step};
use crate::time::LocalTime;

/// What a machine is told. Each has a method of its own, too, where more is said of it.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a, B = u16> {
    /// See [`Agent::connected`].
    Connected,
    /// See [`Agent::disconnected`].
    Disconnected,
    /// See [`Agent::receive`].
    Receive(&'a ToAgent<B>),
    /// See [`Agent::verified`].
    Verified {
        /// What was to be verified.
        target: Generation,
        /// What was found.
        found: Verified,
    },
    /// See [`Agent::copied`].
    Copied,
    /// See [`Agent::wake`].
    Wake,
    /// See [`Agent::clock_broke`].
    ClockBroke,
    /// See [`Agent::shut_down`].
    ShutDown,
}

/// Where the effects of one input go.
pub(crate) struct Out<'a> {
    sink: &'a mut dyn FnMut(Effect),
    published: bool,
}

impl Out<'_> {
    pub(crate) fn new(sink: &mut dyn FnMut(Effect)) -> Out<'_> {
        Out { sink, published: false }
    }
    #[inline(always)]
    pub(crate) fn push(&mut self, effect: Effect) {
        self.published |= matches!(effect, Effect::Publish(_));
        (self.sink)(effect);
    }
    /// Whether this input has published a plan so far.
    pub(crate) fn has_published(&self) -> bool {
        self.published
    }
}

impl Agent {
    /// Any input, of which `carry_out` gets each effect as it comes, in order: for hosts that have no room
    /// for all of them at once. The machine is in the middle of the input meanwhile, so what needs an
    /// answer ([`Effect::Verify`], [`Effect::Copy`]) is answered afterwards.
    pub fn input<B: Piece>(
        &mut self,
        now: LocalTime,
        input: Input<'_, B>,
        carry_out: &mut dyn FnMut(Effect),
    ) {
        let effects = &mut Out::new(carry_out);
        match input {
            Input::Connected => return self.on_connected(now, effects),
            Input::Disconnected => return self.on_disconnected(now, effects),
            Input::ShutDown => return self.on_shut_down(now, effects),
            Input::ClockBroke => {
                self.clock.clear();
                self.on_clock_broken(now, effects);
            }
            Input::Receive(message) => {
                self.tick(now, effects);
                self.on_message(now, message, effects);
            }
            Input::Verified { target, found } => {
                self.tick(now, effects);
                self.on_verified(now, target, found, effects);
            }
            Input::Copied => {
                self.tick(now, effects);
                self.on_copied(now, effects);
            }
            Input::Wake => {
                self.tick(now, effects);
                self.keep_house(now, Seen::Now, effects);
            }
        }
        self.settle(now, effects);
    }

    fn collect(&mut self, now: LocalTime, input: Input<'_>) -> Effects {
        let mut effects = Effects::new();
        self.input(now, input, &mut |effect| {
            let pushed = effects.push(effect);
            debug_assert!(pushed.is_ok(), "more effects than an input can have");
        });
        effects
    }

    /// The host has a connection to a server.
    pub fn connected(&mut self, now: LocalTime) -> Effects {
        self.collect(now, Input::Connected)
    }

    /// The connection is gone. Whatever was asked is asked again over the next one.
    pub fn disconnected(&mut self, now: LocalTime) -> Effects {
        self.collect(now, Input::Disconnected)
    }

    /// A message from the server. The content of a `Bytes` reply stays with the host; the machine is
    /// told its length, and answers with [`Effect::Keep`] where it is to be kept.
    pub fn receive(&mut self, now: LocalTime, message: &ToAgent<u16>) -> Effects {
        self.collect(now, Input::Receive(message))
    }

    /// What the host found when it was asked to verify `target` (steps 234, 228). An answer that comes
    /// when something else is retrieved already is used for nothing. A host that won't take it need not
    /// fetch it first: a veto is heard from [`Effect::Begin`] on.
    pub fn verified(&mut self, now: LocalTime, target: Generation, found: Verified) -> Effects {
        self.collect(now, Input::Verified { target, found })
    }

    /// The host has copied staged to active (Fig. 6, step 252).
    pub fn copied(&mut self, now: LocalTime) -> Effects {
        self.collect(now, Input::Copied)
    }

    /// The time that was asked for with [`poll_at`](Agent::poll_at) has come, or some other time.
    pub fn wake(&mut self, now: LocalTime) -> Effects {
        self.collect(now, Input::Wake)
    }

    /// The host found, by whatever second source it has, that its clock can't be trusted as it was:
    /// a restored virtual machine, a stepped wall clock (PROTOCOL §2).
    pub fn clock_broke(&mut self, now: LocalTime) -> Effects {
        self.collect(now, Input::ClockBroke)
    }

    /// The host is about to end: a grant that is held is given back (step 232).
    pub fn shut_down(&mut self, now: LocalTime) -> Effects {
        self.collect(now, Input::ShutDown)
    }

    fn on_message<B: Piece>(&mut self, now: LocalTime, message: &ToAgent<B>, effects: &mut Out<'_>) {
        match message {
            ToAgent::Welcome(welcome) => self.on_welcome(now, welcome, effects),
            ToAgent::Error { incarnation, code } => self.on_error(now, *incarnation, *code, effects),
            // Its host sends datagrams, or doesn't.
            ToAgent::TimePath { .. } => {}
            ToAgent::Reply(reply) => self.on_reply(now, reply, effects),
        }
    }

    fn on_copied(&mut self, now: LocalTime, effects: &mut Out<'_>) {
        if core::mem::take(&mut self.copying) {
            self.promote(now, Seen::Now, effects);
            self.refresh_plan(now, false, effects);
            if let Step::Waiting { .. } = self.step {
                // Something newer may have waited for the buffer.
                self.go(now, Step::Reading, effects);
            }
        }
    }

    fn on_shut_down(&mut self, now: LocalTime, effects: &mut Out<'_>) {
        if let Step::Advancing { token, .. } = self.step {
            self.outstanding = None;
            self.step = Step::Waiting { until: LocalTime::MAX };
            self.ask(now, RequestBody::Unlock { token }, effects);
        }
    }
}
