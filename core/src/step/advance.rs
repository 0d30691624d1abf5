//! Steps 226 to 232, seen from the initiator: it names the activation that it computed, and the
//! server does the rest in one transaction.

use super::Step;
use crate::agent::Agent;
use crate::agent::Out;
use crate::effect::Event;
use crate::message::{Piece, Refusal, ReplyBody};
use crate::time::LocalTime;

impl Agent {
    #[inline(never)]
    pub(super) fn on_advance_answer<B: Piece>(
        &mut self,
        now: LocalTime,
        answer: &ReplyBody<B>,
        effects: &mut Out<'_>,
    ) {
        match answer {
            ReplyBody::Advanced(table) => {
                self.attempt = 0;
                // A table that was just advanced is not due, unless the answer took very long: then
                // the next read says so.
                self.adopt(now, table, false, effects);
                self.proceed(now, false, now, effects);
            }
            ReplyBody::Refused { why, table } => {
                // Where the server's clock went back, T is to come once more.
                let due = *why != Refusal::GrantedEarly
                    && self.table.as_ref().is_some_and(|known| known.staged == table.staged);
                self.adopt(now, table, due, effects);
                if due { self.wait_a_lease(now, effects) } else { self.proceed(now, false, now, effects) }
            }
            _ => {
                self.event(Event::Unexpected, effects);
                self.wait_a_lease(now, effects);
            }
        }
    }

    /// Asked again under the same number while our own lease lasts.
    pub(super) fn advance_unanswered(&mut self, now: LocalTime, effects: &mut Out<'_>) {
        let Step::Advancing { lease_over, .. } = self.step else { return };
        if lease_over.passed(now) {
            self.outstanding = None;
            return self.wait_a_lease(now, effects);
        }
        self.send_again(now, effects);
    }

    /// A holder whose lease ran out waits one lease by its own clock before it asks again.
    fn wait_a_lease(&mut self, now: LocalTime, effects: &mut Out<'_>) {
        let lease = self.table.as_ref().map_or(self.round_trip(), |table| table.settings.lease);
        let until = now + self.clock.surely_reached(lease);
        self.go(now, Step::Waiting { until }, effects);
    }
}
