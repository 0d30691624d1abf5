//! What the demo knows of each epoch from the server's events, and what it noted of the agents on the
//! way to it. The checks and the report are made from this and from what readers saw.

use crate::remote::Told;
use crate::show;
use downbeat_core::ids::Epoch;
use downbeat_core::time::{LocalTime, ServerTime};
use serde_json::Value;
use std::collections::BTreeMap;

/// One epoch.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// The server's digest of it.
    pub(crate) digest: String,
    /// T.
    pub(crate) activation: ServerTime,
    /// P, as it was when the epoch was staged.
    pub(crate) promise: ServerTime,
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

/// A scheduled record that was entered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scheduled {
    pub(crate) from: ServerTime,
    pub(crate) until: ServerTime,
    /// The newest epoch that was staged before it was entered.
    pub(crate) after: Epoch,
}

/// All epochs heard of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) epochs: BTreeMap<Epoch, Entry>,
    pub(crate) scheduled: Option<Scheduled>,
}

/// What an event says about a table.
pub(crate) struct Staged {
    pub(crate) epoch: Epoch,
    pub(crate) now: ServerTime,
    pub(crate) activation: ServerTime,
    promise: ServerTime,
    digest: String,
}

/// An instant of the farm's timeline in an event.
pub(crate) fn server_time(instant: &Value) -> Option<ServerTime> {
    show::nanos(instant).map(ServerTime::from_nanos)
}

impl Staged {
    /// From an event that carries a table.
    pub(crate) fn of(told: &Told) -> Option<Staged> {
        let data = &told.data;
        Some(Staged {
            epoch: data["epoch"].as_u64()?,
            now: server_time(&data["now"])?,
            activation: server_time(&data["activation"])?,
            promise: server_time(&data["safe_until"])?,
            digest: data["digest"].as_str()?.to_owned(),
        })
    }
}

impl Ledger {
    /// Notes an epoch; whether it was new.
    pub(crate) fn enter(&mut self, staged: &Staged, heard: LocalTime, agents: usize) -> bool {
        if self.epochs.contains_key(&staged.epoch) {
            return false;
        }
        let entry = Entry {
            digest: staged.digest.clone(),
            activation: staged.activation,
            promise: staged.promise,
            heard,
            agents: vec![OnTheWay::default(); agents],
        };
        self.epochs.insert(staged.epoch, entry);
        true
    }

    /// The newest epoch heard of.
    pub(crate) fn newest(&self) -> Option<(Epoch, &Entry)> {
        self.epochs.last_key_value().map(|(epoch, entry)| (*epoch, entry))
    }

    /// T of an epoch.
    pub(crate) fn activation(&self, epoch: Epoch) -> Option<ServerTime> {
        self.epochs.get(&epoch).map(|entry| entry.activation)
    }
}
