//! A transaction as a trace has it: what core asked of the content within it, and what it decided; or
//! what was changed for an operator.

use crate::line::{Reading, Time};
use crate::store::StoreFacts;
use downbeat_core::ids::RequestId;
use downbeat_core::message::RequestBody;
use downbeat_core::server::{Facts, Transition, Verdict};
use downbeat_core::table::SyncTable;
use downbeat_core::time::ServerTime;
use downbeat_trace::{Change, Fact, Line};
use std::cell::RefCell;
use std::convert::Infallible;

/// Writes an operator's change down, and the table that core made of it.
pub(crate) fn operated(time: &Time, reading: Reading, change: Change, after: &SyncTable) {
    let (at, now, farm) = (reading.local, reading.time, after.farm.clone());
    time.recorder().tell(|| Line::Operated { at, farm, now, change, table: after.clone() });
}

/// Facts that remember what they were asked: two or three questions a transaction.
pub(crate) struct Asked<'f> {
    facts: &'f StoreFacts<'f>,
    asked: RefCell<Vec<Fact>>,
}

impl<'f> Asked<'f> {
    pub(crate) fn new(facts: &'f StoreFacts<'f>) -> Asked<'f> {
        Asked { facts, asked: RefCell::default() }
    }

    /// The line of a transaction over `before`.
    pub(crate) fn into_line(
        self,
        before: &SyncTable,
        reading: Reading,
        (id, request): (RequestId, &RequestBody),
        done: &Transition<Infallible>,
    ) -> Line {
        Line::Transaction {
            at: reading.local,
            farm: before.farm.clone(),
            now: reading.time,
            id,
            request: request.clone(),
            facts: self.asked.into_inner(),
            reply: done.reply.clone().map_bytes(|never| match never {}),
            effect: done.effect,
            table: Some(&done.table).filter(|table| *table != before).cloned(),
        }
    }
}

impl Facts for Asked<'_> {
    fn first_due(&self, at_or_after: ServerTime) -> Option<ServerTime> {
        let due = self.facts.first_due(at_or_after);
        self.asked.borrow_mut().push(Fact::FirstDue { from: at_or_after, due });
        due
    }

    fn verdict(&self, activation: ServerTime) -> Verdict {
        let verdict = self.facts.verdict(activation);
        self.asked.borrow_mut().push(Fact::Verdict { activation, verdict });
        verdict
    }
}
