//! What the demo knows of each epoch from the server's events, and what it noted of the agents on the
//! way to it. The report is made from this and from what readers saw; nothing is judged by it.

use crate::remote::Told;
use crate::show;
use downbeat_core::ids::Epoch;
use downbeat_core::time::{LocalTime, ServerTime};
use std::collections::BTreeMap;

/// One epoch.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// T.
    pub(crate) activation: ServerTime,
    /// When the demo heard of it, by the host's clock.
    pub(crate) heard: LocalTime,
    /// For each agent: when it was seen to hold it, and ε at T from the last look before T.
    pub(crate) agents: Vec<OnTheWay>,
}

/// An agent on its way to an epoch.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OnTheWay {
    pub(crate) armed: Option<LocalTime>,
    pub(crate) epsilon: Option<i64>,
    /// What the agent itself recorded with its switch.
    pub(crate) recorded: Option<i64>,
}

/// All epochs heard of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) epochs: BTreeMap<Epoch, Entry>,
    /// Whether the scheduled record was entered.
    pub(crate) scheduled: bool,
}

/// What an event says about a table.
pub(crate) struct Staged {
    pub(crate) epoch: Epoch,
    pub(crate) activation: ServerTime,
}

impl Staged {
    /// From an event that carries a table.
    pub(crate) fn of(told: &Told) -> Option<Staged> {
        let data = &told.data;
        Some(Staged {
            epoch: data["epoch"].as_u64()?,
            activation: show::nanos(&data["activation"]).map(ServerTime::from_nanos)?,
        })
    }
}

impl Ledger {
    /// Notes an epoch; whether it was new.
    pub(crate) fn enter(&mut self, staged: &Staged, heard: LocalTime, agents: usize) -> bool {
        if self.epochs.contains_key(&staged.epoch) {
            return false;
        }
        let entry = Entry { activation: staged.activation, heard, agents: vec![OnTheWay::default(); agents] };
        self.epochs.insert(staged.epoch, entry);
        true
    }

    /// The newest epoch heard of.
    pub(crate) fn newest(&self) -> Option<(Epoch, &Entry)> {
        self.epochs.last_key_value().map(|(epoch, entry)| (*epoch, entry))
    }
}
