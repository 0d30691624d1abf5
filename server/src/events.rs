//! What happens in a farm, as people watch it (`downbeat watch`). Told from tables that were
//! committed and reports that came in; nothing depends on anybody listening.

use crate::agents::AgentRow;
use crate::store::{Applied, Blocked, Frozen, Override, Said};
use downbeat_core::ids::Epoch;
use downbeat_core::table::SyncTable;
use downbeat_core::time::ServerTime;
use std::sync::Arc;

/// Something that happened.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A lock was granted: the next cycle begins (step 220).
    CycleBegan {
        /// The epoch that it will stage.
        epoch: Epoch,
        /// The activation that was fixed.
        activation: ServerTime,
    },
    /// A generation was staged (steps 226 to 232).
    Staged(Arc<SyncTable>),
    /// T of the staged generation has passed by the server's clock.
    Activated(Arc<SyncTable>),
    /// Production or scheduled records were edited.
    Edited(Applied),
    /// The farm was held.
    Held(Option<ServerTime>),
    /// A hold ended.
    Unheld,
    /// Other settings wait for the next advance.
    Settings(Arc<SyncTable>),
    /// A candidate was frozen for a verdict.
    Candidate(Frozen),
    /// A judge spoke.
    Verdict(Said),
    /// A candidate was kept back.
    Blocked(Blocked),
    /// A guard doesn't count for one candidate.
    Overridden(Override),
    /// An agent connected, reported or left.
    Agent(AgentRow),
    /// An agent reported a switch that it had not reported before.
    Switched(AgentRow),
}

/// What the change of a table tells.
pub(crate) fn of_change(before: &SyncTable, after: &Arc<SyncTable>) -> Vec<Event> {
    let mut events = Vec::new();
    if after.staged.epoch != before.staged.epoch || after.timeline != before.timeline {
        events.push(Event::Staged(after.clone()));
    }
    if let Some(lock) = after.lock
        && before.lock.is_none_or(|old| old.token != lock.token)
    {
        events.push(Event::CycleBegan { epoch: after.epoch() + 1, activation: lock.next });
    }
    match (before.held, after.held) {
        (None, Some(hold)) => events.push(Event::Held(hold.until)),
        (Some(old), Some(hold)) if old != hold => events.push(Event::Held(hold.until)),
        (Some(_), None) => events.push(Event::Unheld),
        _ => {}
    }
    if after.pending.is_some() && after.pending != before.pending {
        events.push(Event::Settings(after.clone()));
    }
    events
}
