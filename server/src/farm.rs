//! One farm as the running server holds it: the table as last committed, what its agents reported,
//! its objects, and the stream of what happens. Nothing here survives the process or decides
//! anything; the truth is in the store.

use crate::agents::Agents;
use crate::events::Event;
use crate::objects::Objects;
use crate::skew::Skew;
use downbeat_core::ids::Name;
use downbeat_core::table::SyncTable;
use downbeat_core::time::ServerTime;
use std::sync::Arc;
use tokio::sync::{Notify, broadcast, watch};

/// Events that a slow watcher may be behind before it misses some.
const EVENTS_BEHIND: usize = 256;

/// One farm of a running server.
pub(crate) struct Farm {
    pub(crate) name: Name,
    pub(crate) agents: Agents,
    pub(crate) objects: Objects,
    /// When agents went over.
    pub(crate) skew: Skew,
    /// Something about the gate was changed: it is looked after at once.
    pub(crate) gate: Notify,
    table: watch::Sender<Arc<SyncTable>>,
    events: broadcast::Sender<Arc<Event>>,
}

impl Farm {
    pub(crate) fn new(table: SyncTable, objects: Objects) -> Farm {
        let skew = Skew::default();
        skew.staged(&table, None, std::iter::empty());
        Farm {
            name: table.farm.clone(),
            agents: Agents::default(),
            objects,
            skew,
            gate: Notify::new(),
            table: watch::Sender::new(Arc::new(table)),
            events: broadcast::Sender::new(EVENTS_BEHIND),
        }
    }

    /// The table as last committed: a snapshot that may be older than a write under way.
    pub(crate) fn table(&self) -> Arc<SyncTable> {
        self.table.borrow().clone()
    }

    /// The table, and to be told when it changes.
    pub(crate) fn follow(&self) -> watch::Receiver<Arc<SyncTable>> {
        self.table.subscribe()
    }

    /// Everything that happens from now on.
    pub(crate) fn watch(&self) -> broadcast::Receiver<Arc<Event>> {
        self.events.subscribe()
    }

    /// Tells whoever watches.
    pub(crate) fn tell(&self, event: Event) {
        // Nobody may be watching.
        let _ = self.events.send(Arc::new(event));
    }

    /// A table that was just committed, by what was decided at `now`. Called by the one thread that
    /// commits, in that order.
    pub(crate) fn publish(&self, table: SyncTable, now: ServerTime) {
        let before = self.table();
        if *before == table {
            return;
        }
        let table = Arc::new(table);
        self.table.send_replace(table.clone());
        self.skew.staged(&table, Some(now), self.agents.all().into_iter());
        crate::events::of_change(&before, &table).into_iter().for_each(|event| self.tell(event));
    }
}
