//! The agent's side of a connection: `Hello`, `Welcome`, and what becomes of it when it breaks
//! (PROTOCOL §4). The cycle goes on over a new connection where it stood.

use super::Agent;
use crate::agent::Out;
use crate::clock::Enclosure;
use crate::effect::{Effect, Event};
use crate::ids::Incarnation;
use crate::message::{ErrorCode, Welcome};
use crate::time::{LocalTime, Rate};

/// How far a connection has come.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Link {
    /// The host has none.
    Down,
    /// Said hello, and will say it again then.
    Greeting { again: LocalTime },
    /// Welcomed.
    Up { may_lock: bool, rate: Rate },
}

impl Link {
    pub(crate) fn is_up(self) -> bool {
        matches!(self, Link::Up { .. })
    }
    pub(crate) fn may_lock(self) -> bool {
        matches!(self, Link::Up { may_lock: true, .. })
    }
    /// For checkers (`symmetry`): the same with another name for its instant.
    pub(crate) fn renamed(self, mut local: impl FnMut(LocalTime) -> LocalTime) -> Link {
        match self {
            Link::Greeting { again } => Link::Greeting { again: local(again) },
            Link::Down | Link::Up { .. } => self,
        }
    }
    pub(crate) fn wake(self) -> Option<LocalTime> {
        match self {
            Link::Greeting { again } => Some(again),
            Link::Down | Link::Up { .. } => None,
        }
    }
}

impl Agent {
    pub(super) fn on_connected(&mut self, now: LocalTime, effects: &mut Out<'_>) {
        self.tick(now, effects);
        self.link = Link::Greeting { again: now + self.round_trip() };
        self.push(Effect::Hello, effects);
    }

    pub(super) fn on_disconnected(&mut self, now: LocalTime, effects: &mut Out<'_>) {
        self.tick(now, effects);
        self.link = Link::Down;
    }

    pub(super) fn on_welcome(&mut self, now: LocalTime, welcome: &Welcome, effects: &mut Out<'_>) {
        if welcome.incarnation != self.incarnation || !matches!(self.link, Link::Greeting { .. }) {
            return self.event(Event::Unmatched, effects);
        }
        self.link = Link::Up { may_lock: welcome.may_lock, rate: welcome.server_rate };
        self.attempt = 0;
        if !self.clock.is_known() || self.timeline != Some(welcome.timeline) {
            let config = &self.config;
            self.clock = Enclosure::new(config.rate, welcome.server_rate, config.granularity, config.guards);
        }
        if self.timeline != Some(welcome.timeline) {
            self.on_new_line(now, welcome.timeline, effects);
        } else {
            self.ask_again(now, effects);
        }
    }

    pub(super) fn on_error(
        &mut self,
        now: LocalTime,
        incarnation: Incarnation,
        code: ErrorCode,
        effects: &mut Out<'_>,
    ) {
        if incarnation != self.incarnation && incarnation != Incarnation::default() {
            return self.event(Event::Unmatched, effects);
        }
        self.event(Event::Refused(code), effects);
        if self.link != Link::Down {
            self.link = Link::Greeting { again: self.backed_off(now) };
        }
    }

    pub(super) fn link_timers(&mut self, now: LocalTime, effects: &mut Out<'_>) {
        if let Link::Greeting { again } = self.link
            && again.passed(now)
        {
            self.link = Link::Greeting { again: self.backed_off(now).max(now + self.round_trip()) };
            self.push(Effect::Hello, effects);
        }
    }
}
