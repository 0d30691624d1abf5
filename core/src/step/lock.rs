//! Step 220: the lock is asked for, by an agent that saw T passed at the server.

use super::Step;
use crate::agent::Agent;
use crate::agent::Out;
use crate::effect::Event;
use crate::message::{Grant, Piece, ReplyBody};
use crate::plan::same;
use crate::table::{TableView, next_activation};
use crate::time::{LocalTime, Span};

impl Agent {
    #[inline(never)]
    pub(super) fn on_lock_answer<B: Piece>(
        &mut self,
        now: LocalTime,
        since: LocalTime,
        answer: &ReplyBody<B>,
        effects: &mut Out<'_>,
    ) {
        match answer {
            ReplyBody::Granted { grant, table } => self.on_granted(now, since, *grant, table, effects),
            ReplyBody::NotDue(table) => {
                // The table says which: T is still to come, or the farm is held.
                let due = table.held && self.was_due(table);
                self.adopt(now, table, due, effects);
                self.proceed(now, due, now, effects);
            }
            ReplyBody::Busy { table, retry_after } => {
                let staged = table.staged;
                self.adopt(now, table, true, effects);
                let guards = self.config.guards;
                if same(guards, self.active, staged) || same(guards, self.staged, staged) {
                    let until = now + self.clock.surely_reached(*retry_after).max(Span::from_nanos(1));
                    self.go(now, Step::Waiting { until }, effects);
                } else {
                    self.proceed(now, true, now, effects);
                }
            }
            _ => {
                self.event(Event::Unexpected, effects);
                let until = self.backed_off(now);
                self.go(now, Step::Waiting { until }, effects);
            }
        }
    }

    /// Whether T of this table had passed when it was read: the lock is only asked for then.
    fn was_due(&self, table: &TableView) -> bool {
        self.table.as_ref().is_some_and(|known| known.staged == table.staged)
    }

    /// The lock is ours: T is computed [226] and the cycle begun.
    fn on_granted(
        &mut self,
        now: LocalTime,
        since: LocalTime,
        grant: Grant,
        table: &TableView,
        effects: &mut Out<'_>,
    ) {
        self.attempt = 0;
        // The lease counts from the grant, which was not before the request was first sent.
        let lease_over = since + self.clock.surely_within(table.settings.lease);
        let activation = next_activation(table, grant.due, grant.granted_at);
        let token = grant.token;
        self.adopt(now, table, true, effects);
        self.go(now, Step::Advancing { token, activation, lease_over }, effects);
    }

    /// Asked again under the same number, for one lease; then the cycle begins anew.
    pub(super) fn lock_unanswered(&mut self, now: LocalTime, effects: &mut Out<'_>) {
        let Step::Locking { since } = self.step else { return };
        let lease = self.table.as_ref().map_or(Span::ZERO, |table| table.settings.lease);
        if (since + lease).passed(now) {
            let until = self.backed_off(now);
            self.outstanding = None;
            return self.go(now, Step::Waiting { until }, effects);
        }
        self.send_again(now, effects);
    }
}
