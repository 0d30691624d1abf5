//! Requests and their answers, whatever they are about (PROTOCOL §2, §4): numbers, times, retries,
//! and the clock sample that every answer brings. What an answer means is in `step`.

use super::Agent;
use crate::agent::Out;
use crate::clock::{Sample, Sampled};
use crate::effect::{Effect, Event};
use crate::guard::Guard;
use crate::message::{Piece, Reply, Request, RequestBody};
use crate::serving::{Mode, SwitchPlan, serving};
use crate::spread::{Purpose, spread};
use crate::step::Step;
use crate::time::{LocalTime, Span};

/// A request that is waited for.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Outstanding {
    pub(crate) number: u64,
    pub(crate) body: RequestBody,
    /// When it was first sent, and last.
    pub(crate) sent: LocalTime,
    pub(crate) last_sent: LocalTime,
    pub(crate) deadline: LocalTime,
}

impl Agent {
    /// A reply: only one to an outstanding request is used, once, and only under the timeline that
    /// the request was sent under (PROTOCOL §4, §8).
    // Out of the frames of the other inputs: a device's stack is small.
    #[inline(never)]
    pub(super) fn on_reply<B: Piece>(&mut self, now: LocalTime, reply: &Reply<B>, effects: &mut Out<'_>) {
        let matched = self.outstanding.as_ref().is_some_and(|request| request.number == reply.number)
            && reply.incarnation == self.incarnation;
        if !(matched || (!self.config.guards.on(Guard::OutstandingOnly) && self.outstanding.is_some())) {
            return self.event(Event::Unmatched, effects);
        }
        let Some((first, last)) = self.outstanding.as_ref().map(|request| (request.sent, request.last_sent))
        else {
            return;
        };
        let guards = self.config.guards;
        if Some(reply.stamp.timeline) != self.timeline && guards.on(Guard::TimelineOfSample) {
            self.outstanding = None;
            return self.on_new_line(now, reply.stamp.timeline, effects);
        }
        let sent = if guards.on(Guard::EchoedSendInstant) { reply.stamp.echo } else { last };
        if (sent < first || sent > now) && guards.on(Guard::EchoInRange) {
            return self.event(Event::Unmatched, effects);
        }
        self.outstanding = None;
        self.last_trip = now - sent;
        let sampled = self.clock.sample(Sample {
            sent,
            received: reply.stamp.received,
            answered: reply.stamp.answered,
            arrived: now,
        });
        match sampled {
            Sampled::Broken => return self.on_clock_broken(now, effects),
            Sampled::First | Sampled::Narrowed => {
                self.read_again_sooner();
                self.refresh_plan(now, self.has_decided(), effects);
            }
            Sampled::Kept | Sampled::Impossible => {}
        }
        self.on_answer(now, reply, effects);
    }

    /// An assumption about clocks broke. Until a table was read under new samples, a strict agent is
    /// fenced (PROTOCOL §6), and what a prompt one serves is marked stale: no instant that was
    /// published is one to go by any more.
    #[inline(never)]
    pub(super) fn on_clock_broken(&mut self, now: LocalTime, effects: &mut Out<'_>) {
        self.event(Event::ClockBroken, effects);
        self.table = None;
        self.outstanding = None;
        self.carried = false;
        if core::mem::take(&mut self.copying) {
            // Nobody knows how far the copy has come.
            self.active = None;
        }
        let served = serving(&self.published, now).generation();
        let kept = served.filter(|_| self.config.mode == Mode::Prompt);
        self.publish(
            SwitchPlan {
                active: kept,
                stale: kept.is_some(),
                ..SwitchPlan::nothing(self.boot, self.config.mode, self.config.activation)
            },
            effects,
        );
        // The first time at once; a clock or a server that stays wrong is not asked at network speed.
        let again = self.attempt > 0;
        let until = self.backed_off(now);
        self.go(now, if again { Step::Waiting { until } } else { Step::Reading }, effects);
    }

    /// Sends a request under a new number.
    pub(crate) fn ask(&mut self, now: LocalTime, body: RequestBody, effects: &mut Out<'_>) {
        self.ask_within(now, self.round_trip(), body, effects);
    }

    /// The same, and waits for its answer no longer than this.
    pub(crate) fn ask_within(
        &mut self,
        now: LocalTime,
        patience: Span,
        body: RequestBody,
        effects: &mut Out<'_>,
    ) {
        self.last_number += 1;
        let number = self.last_number;
        self.outstanding = Some(Outstanding {
            number,
            body: body.clone(),
            sent: now,
            last_sent: now,
            deadline: now + patience.max(Span::from_nanos(1)),
        });
        let request = Request { incarnation: self.incarnation, number, sent: now, body };
        self.push(Effect::Send(request), effects);
    }

    /// How long an answer is waited for.
    pub(crate) fn round_trip(&self) -> Span {
        self.table
            .as_ref()
            .map_or(self.config.patience, |table| table.settings.round_trip)
            .max(Span::from_nanos(1))
    }

    /// When to try again after a failure: bounded, exponential, ±20 % by hash.
    pub(crate) fn backed_off(&mut self, now: LocalTime) -> LocalTime {
        let (first, most) = self.config.back_off;
        let span = first.times(1i64 << self.attempt.min(30)).min(most);
        self.attempt = self.attempt.saturating_add(1);
        let fifth = span.part(5);
        let salt = self.last_number ^ self.incarnation.0;
        now + span - fifth + spread(self.config.agent, Purpose::BackOff, salt, fifth.times(2))
    }
}
