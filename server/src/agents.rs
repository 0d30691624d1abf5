//! What is known of a farm's agents: who is connected, and what each reported last. Kept in memory
//! and shown to people; it never decides what is live (PROTOCOL §4 `Report`).

use crate::objects::Selection;
use downbeat_core::ids::{AgentId, Incarnation};
use downbeat_core::message::{Hello, Report};
use downbeat_core::session::Access;
use downbeat_core::time::ServerTime;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Agents that are remembered for a farm at most. Beyond that, one that is gone makes room.
const REMEMBERED_MAX: usize = 65_536;

/// One agent, as people see it.
#[derive(Clone, Debug)]
pub(crate) struct AgentRow {
    pub(crate) id: AgentId,
    /// Its display name.
    pub(crate) display: String,
    pub(crate) incarnation: Incarnation,
    /// Whether it may take the lock.
    pub(crate) may_lock: bool,
    /// Connections that it has open.
    pub(crate) connections: u32,
    /// Its last message, by the server's clock.
    pub(crate) seen: ServerTime,
    pub(crate) report: Option<Report>,
    /// The datasets that it subscribed to.
    pub(crate) selection: Selection,
}

/// All agents of a farm that said hello since the server started.
#[derive(Default)]
pub(crate) struct Agents(Mutex<BTreeMap<AgentId, AgentRow>>);

impl Agents {
    /// An agent said hello on a connection, and was welcomed.
    pub(crate) fn connected(&self, hello: &Hello, access: Access, seen: ServerTime) -> AgentRow {
        let mut agents = self.lock();
        if agents.len() >= REMEMBERED_MAX && !agents.contains_key(&hello.agent) {
            let gone = agents.values().find(|row| row.connections == 0).map(|row| row.id);
            gone.map(|id| agents.remove(&id));
        }
        let row = agents.entry(hello.agent).or_insert_with(|| AgentRow {
            id: hello.agent,
            display: String::new(),
            incarnation: hello.incarnation,
            may_lock: false,
            connections: 0,
            seen,
            report: None,
            selection: Selection::default(),
        });
        row.selection = Selection::new(&hello.datasets);
        row.display = printable(&hello.display);
        row.incarnation = hello.incarnation;
        row.may_lock = access == Access::Lock;
        row.connections = row.connections.saturating_add(1);
        row.seen = seen;
        row.clone()
    }

    /// One of an agent's connections ended.
    pub(crate) fn disconnected(&self, id: AgentId) -> Option<AgentRow> {
        let mut agents = self.lock();
        let row = agents.get_mut(&id)?;
        row.connections = row.connections.saturating_sub(1);
        Some(row.clone())
    }

    /// A message came from an agent.
    pub(crate) fn seen(&self, id: AgentId, seen: ServerTime) {
        if let Some(row) = self.lock().get_mut(&id) {
            row.seen = seen;
        }
    }

    /// An agent reported; whether it tells of a switch that it had not told of.
    pub(crate) fn reported(
        &self,
        id: AgentId,
        report: &Report,
        seen: ServerTime,
    ) -> Option<(AgentRow, bool)> {
        let mut agents = self.lock();
        let row = agents.get_mut(&id)?;
        let before = row.report.as_ref().and_then(|report| report.switched);
        let switched = report.switched.is_some() && report.switched != before;
        row.report = Some(report.clone());
        row.seen = seen;
        Some((row.clone(), switched))
    }

    /// The sets of datasets that agents which are connected subscribed to.
    pub(crate) fn selections(&self) -> BTreeSet<Selection> {
        let agents = self.lock();
        agents.values().filter(|row| row.connections > 0).map(|row| row.selection.clone()).collect()
    }

    /// All of them, by id.
    pub(crate) fn all(&self) -> Vec<AgentRow> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<AgentId, AgentRow>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A display name without what a terminal would take for a command.
fn printable(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}
