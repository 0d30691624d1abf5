//! A recorded transaction's questions to the content, answered as they were then; and what core makes
//! of it compared with what was recorded.

use crate::line::{Change, Fact};
use downbeat_core::guard::Guards;
use downbeat_core::message::ReplyBody;
use downbeat_core::operator;
use downbeat_core::server::{Effect, Facts, Transition, Verdict};
use downbeat_core::table::SyncTable;
use downbeat_core::time::ServerTime;
use std::cell::RefCell;

/// What an operator's change makes of a table, by core.
pub(super) fn operate(
    table: &SyncTable,
    change: Change,
    now: ServerTime,
    guards: Guards,
) -> Result<SyncTable, String> {
    match change {
        Change::Hold { until } => {
            operator::hold(table, until, now, guards).map_err(|error| error.to_string())
        }
        Change::Unhold => Ok(operator::unhold(table)),
        Change::Settings(settings) => {
            operator::change_settings(table, settings).map_err(|error| error.to_string())
        }
    }
}

/// Whether a transition is what was recorded.
pub(super) fn compare(
    done: &Transition<u16>,
    reply: &ReplyBody<u16>,
    effect: Effect,
    after: &SyncTable,
) -> Result<(), String> {
    if done.reply != *reply {
        return Err(format!("core replies {:?}, the trace has {reply:?}", done.reply));
    }
    if done.effect != effect {
        return Err(format!("core's effect is {:?}, the trace has {effect:?}", done.effect));
    }
    if done.table != *after {
        return Err("core makes another table of the request than the trace has".to_owned());
    }
    Ok(())
}

/// The recorded questions and answers, in their order.
pub(super) struct Script<'f> {
    facts: RefCell<std::slice::Iter<'f, Fact>>,
    differs: RefCell<Option<String>>,
}

impl<'f> Script<'f> {
    pub(super) fn new(facts: &'f [Fact]) -> Script<'f> {
        Script { facts: RefCell::new(facts.iter()), differs: RefCell::default() }
    }

    /// Whether all of it was asked, and nothing else.
    pub(super) fn end(&self) -> Result<(), String> {
        if let Some(text) = self.differs.take() {
            return Err(text);
        }
        match self.facts.borrow_mut().next() {
            Some(fact) => Err(format!("the content was asked what core doesn't ask: {fact:?}")),
            None => Ok(()),
        }
    }

    fn asked<T>(&self, question: &str, answer: impl FnOnce(&Fact) -> Option<T>) -> Option<T> {
        let fact = self.facts.borrow_mut().next();
        let found = fact.and_then(answer);
        if found.is_none() {
            let text = format!("core asks the content {question}, the trace has {fact:?}");
            self.differs.borrow_mut().get_or_insert(text);
        }
        found
    }
}

impl Facts for Script<'_> {
    fn first_due(&self, at_or_after: ServerTime) -> Option<ServerTime> {
        let answer = |fact: &Fact| match fact {
            Fact::FirstDue { from, due } if *from == at_or_after => Some(*due),
            _ => None,
        };
        self.asked(&format!("what is due from {at_or_after:?} on"), answer).flatten()
    }

    fn verdict(&self, at: ServerTime) -> Verdict {
        let answer = |fact: &Fact| match fact {
            Fact::Verdict { activation, verdict } if *activation == at => Some(*verdict),
            _ => None,
        };
        self.asked(&format!("for a verdict as of {at:?}"), answer).unwrap_or(Verdict::Blocked)
    }
}
