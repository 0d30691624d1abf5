//! The data server's side of a request, as one pure function (Fig. 5, steps 220 to 232;
//! PROTOCOL §3, §4).
//!
//! `(table, request, now, facts) → (table, reply, effect)`: a store runs it inside its own
//! transaction, with `now` read after the row is held. What operators do is in `operator`, what a
//! restart on another host does in `timeline`. Content (`Route`, `Fetch`) and reports touch no
//! table and are answered by the host.

use crate::guard::{Guard, Guards};
use crate::ids::{Digest, RequestId};
use crate::message::{Grant, Refusal, ReplyBody, RequestBody};
use crate::table::{Lock, SyncTable, next_activation};
use crate::time::{ServerTime, Span};
use serde::{Deserialize, Serialize};

/// What the content is asked, answered from the same transaction as the table.
pub trait Facts {
    /// The first instant at or after the given one at which a scheduled record begins or ends to
    /// count (PROTOCOL §7).
    fn first_due(&self, at_or_after: ServerTime) -> Option<ServerTime>;
    /// Whether production, as of the given activation, may become the next generation.
    fn verdict(&self, activation: ServerTime) -> Verdict;
}

/// The verdict on production as the candidate for the next generation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Verdict {
    /// It differs from what is staged; the digest that the new generation will have.
    Promote(Digest),
    /// It is what is staged already (only if changed, at the seed's first two places).
    Unchanged,
    /// A guard or a gate refuses it: what is staged stays, and the epoch renews the promise.
    Blocked,
}

/// What the store does to the content in the same transaction as it writes the table.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[must_use]
pub enum Effect {
    /// Nothing.
    None,
    /// active := staged, staged := production (steps 228, 230).
    Promote,
    /// The epoch rises over the same content.
    PromoteUnchanged,
}

/// What a request does.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Transition<B> {
    /// The table from now on; equal to the one given where nothing is to be written.
    pub table: SyncTable,
    /// The answer.
    pub reply: ReplyBody<B>,
    /// What happens to the content.
    pub effect: Effect,
}

/// What `request` does to `table` at `now`. `None` for requests that touch no table.
///
/// `now` is one reading of the timeline, taken after the row was held for writing, so that no
/// other transition lies between it and the write.
pub fn transition<B>(
    table: &SyncTable,
    id: RequestId,
    request: &RequestBody,
    now: ServerTime,
    facts: &impl Facts,
    guards: Guards,
) -> Option<Transition<B>> {
    Some(match request {
        RequestBody::Read => {
            let table = renewed(table, now).unwrap_or_else(|| table.clone());
            Transition { reply: ReplyBody::Table(table.view()), table, effect: Effect::None }
        }
        RequestBody::Lock => on_lock(table, id, now, facts, guards),
        RequestBody::Advance { token, activation } => {
            on_advance(table, id, *token, *activation, now, facts, guards)
        }
        RequestBody::Unlock { token } => on_unlock(table, *token),
        RequestBody::Route { .. }
        | RequestBody::Fetch { .. }
        | RequestBody::Report(_)
        | RequestBody::Time => return None,
    })
}

/// The answer to a request that needs no write at `now`, so that a store can give it from a
/// snapshot; `None` where [`transition`] has to run. A snapshot may be older than a write under
/// way: what it says stays true, because promises are only ever raised.
pub fn answer_from_snapshot<B>(
    table: &SyncTable,
    request: &RequestBody,
    now: ServerTime,
) -> Option<ReplyBody<B>> {
    match request {
        RequestBody::Read if renewed(table, now).is_none() => Some(ReplyBody::Table(table.view())),
        RequestBody::Time => Some(ReplyBody::Time),
        _ => None,
    }
}

/// Renewal (PROTOCOL §3): where T has passed and no grant is live, an expired lock is cleared and
/// the promise raised to now + lead. Raising it is safe while no grant is live. `None` where
/// nothing is to be done; a promise less than a quarter of the lead behind is left, so that a farm
/// of readers causes a few writes per lead.
fn renewed(table: &SyncTable, now: ServerTime) -> Option<SyncTable> {
    let promise = now + table.settings.lead;
    let behind = promise - table.next_earliest;
    if !table.activation.passed(now)
        || table.live_lock(now).is_some()
        || behind <= Span::ZERO
        || behind < table.settings.lead.part(4)
    {
        return None;
    }
    Some(SyncTable { next_earliest: promise, lock: None, ..table.clone() })
}

/// Step 220: takes the lock, reads table and time [222, 224], and fixes the next activation.
fn on_lock<B>(
    table: &SyncTable,
    id: RequestId,
    now: ServerTime,
    facts: &impl Facts,
    guards: Guards,
) -> Transition<B> {
    let unchanged = |reply| Transition { table: table.clone(), reply, effect: Effect::None };
    if let Some(lock) = table.live_lock(now) {
        return if lock.holder == id {
            unchanged(granted(table, lock))
        } else {
            unchanged(ReplyBody::Busy { table: table.view(), retry_after: lock.expires - now })
        };
    }
    if !table.activation.passed(now) && checks_due(guards) {
        return unchanged(ReplyBody::NotDue(table.view()));
    }
    let mut table = renewed(table, now).unwrap_or_else(|| table.clone());
    if table.held.is_some() {
        return Transition { reply: ReplyBody::NotDue(table.view()), table, effect: Effect::None };
    }
    let due = facts.first_due(table.next_bound(now));
    let lock = Lock {
        holder: id,
        token: table.last_token + 1,
        granted_at: now,
        expires: now + table.settings.lease,
        due,
        next: next_activation(&table, due, now),
    };
    table.last_token = lock.token;
    table.lock = Some(lock);
    Transition { reply: granted(&table, &lock), table, effect: Effect::None }
}

/// Whether this server checks at the grant that T has passed: always, but in two broken twins.
fn checks_due(guards: Guards) -> bool {
    guards.on(Guard::DueCheck) && guards.on(Guard::ServerTimeDecides)
}

fn granted<B>(table: &SyncTable, lock: &Lock) -> ReplyBody<B> {
    ReplyBody::Granted {
        grant: Grant { token: lock.token, granted_at: lock.granted_at, due: lock.due },
        table: table.view(),
    }
}

/// Steps 226 to 232, by the holder of the lock. Token, lease and grant are checked against the same
/// row that is then written (S1, S3).
fn on_advance<B>(
    table: &SyncTable,
    id: RequestId,
    token: u64,
    activation: ServerTime,
    now: ServerTime,
    facts: &impl Facts,
    guards: Guards,
) -> Transition<B> {
    let unchanged = |reply| Transition { table: table.clone(), reply, effect: Effect::None };
    if table.last_advance == id && guards.on(Guard::AdvanceIdempotent) {
        return unchanged(ReplyBody::Advanced(table.view()));
    }
    let lock = match holder(table, token, activation, now, guards) {
        Ok(lock) => lock,
        Err(why) => return unchanged(ReplyBody::Refused { why, table: table.view() }),
    };
    let (digest, effect) = match facts.verdict(lock.next) {
        Verdict::Promote(digest) if digest != table.staged.digest => (digest, Effect::Promote),
        _ => (table.staged.digest, Effect::PromoteUnchanged),
    };
    let lock = Lock { holder: id, ..lock };
    let table = table.advanced(&lock, digest, |bound| facts.first_due(bound), guards);
    Transition { reply: ReplyBody::Advanced(table.view()), table, effect }
}

/// The lock by which an `Advance` may write, or why it may not.
fn holder(
    table: &SyncTable,
    token: u64,
    activation: ServerTime,
    now: ServerTime,
    guards: Guards,
) -> Result<Lock, Refusal> {
    let lock = table.lock.ok_or(Refusal::NotHolder)?;
    if lock.token != token && guards.on(Guard::TokenCheck) {
        return Err(Refusal::NotHolder);
    }
    if !lock.is_live(now) && guards.on(Guard::LeaseCheck) {
        return Err(Refusal::LeaseOver);
    }
    if !table.activation.passed(lock.granted_at) && checks_due(guards) {
        return Err(Refusal::GrantedEarly);
    }
    // A grant from before the server's clock went back would make k active ahead of T by that clock, and
    // agents that were told of T since would still serve what was before (S7).
    if !table.activation.passed(now) && checks_due(guards) && guards.on(Guard::DueAtAdvance) {
        return Err(Refusal::GrantedEarly);
    }
    if !guards.on(Guard::ActivationCheck) {
        return Ok(Lock { next: activation, ..lock });
    }
    if lock.next != activation {
        return Err(Refusal::WrongActivation);
    }
    Ok(lock)
}

/// Step 232 without a change.
fn on_unlock<B>(table: &SyncTable, token: u64) -> Transition<B> {
    let mut table = table.clone();
    if table.lock.is_some_and(|lock| lock.token == token) {
        table.lock = None;
    }
    Transition { table, reply: ReplyBody::Unlocked, effect: Effect::None }
}

#[cfg(test)]
mod tests;
