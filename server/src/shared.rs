//! What all parts of a running server share, and the one way in which they change a table: a
//! transaction on the database's thread that runs core's function, then tells the farm.

use crate::access::Tokens;
use crate::events::Event;
use crate::farm::Farm;
use crate::line::{Reading, Time};
use crate::sql::{Overloaded, Sql};
use crate::store::{Blocked, Frozen, Gatekeeping, Reason, SqliteStore, Step, Store, StoreError, StoreFacts};
use crate::told::Asked;
use downbeat_core::datagram::Key;
use downbeat_core::guard::Guards;
use downbeat_core::ids::{Epoch, Name, RequestId};
use downbeat_core::message::{ReplyBody, RequestBody};
use downbeat_core::operator::earliest_live;
use downbeat_core::server::{Effect, answer_from_snapshot, transition};
use downbeat_core::table::SyncTable;
use downbeat_core::time::ServerTime;
use downbeat_trace::Line;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::watch;

/// What all parts of a running server share.
pub(crate) struct Shared {
    pub(crate) time: Arc<Time>,
    /// Everything that writes, one after the other.
    pub(crate) writer: Sql,
    /// Long reads, which hold up nobody.
    pub(crate) reader: Sql,
    pub(crate) tokens: Tokens,
    pub(crate) guards: Guards,
    pub(crate) patience: Duration,
    pub(crate) own_agent: bool,
    /// Whether a farm's lead is raised where it is too short for its agents.
    pub(crate) raise_lead: bool,
    /// Frames of all connections that were none, and datagrams.
    pub(crate) frames_dropped: Arc<AtomicU64>,
    /// The key of time exchanges in datagrams, where they are answered.
    pub(crate) time_key: Option<Key>,
    pub(crate) farms: RwLock<BTreeMap<Name, Arc<Farm>>>,
    /// The database, for connections of their own: long jobs have one.
    pub(crate) database: PathBuf,
    /// The command that judges candidates, if there is one.
    pub(crate) gate: Option<String>,
    /// Where the management API is.
    pub(crate) http: SocketAddr,
    /// Whose turn it is to take in a large body: one after the other.
    pub(crate) bulk: tokio::sync::Mutex<()>,
    /// The folder of what rollbacks undid.
    pub(crate) undo: PathBuf,
    /// Turns true when the server is to end.
    pub(crate) stop: watch::Receiver<bool>,
}

/// Why something was not done. Nothing was changed.
#[derive(Debug)]
pub(crate) enum Refused {
    /// Too many requests wait for the database, or the server ends.
    Overloaded,
    /// No time can be given out: the mark is not renewed yet, or another server took over.
    NoTime,
    /// The store says no.
    Store(StoreError),
}

impl From<Overloaded> for Refused {
    fn from(_: Overloaded) -> Refused {
        Refused::Overloaded
    }
}
impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Refused {
        Refused::Store(error)
    }
}

/// What is told with every edit: when it can be live at the earliest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Prospect {
    /// The earliest epoch that it will be part of.
    pub(crate) epoch: Epoch,
    /// The earliest instant at which it can be live; none while the farm is held.
    pub(crate) earliest_live: Option<ServerTime>,
    /// The last candidate that was kept back, where none was staged since.
    pub(crate) blocked: Option<Blocked>,
}

impl Shared {
    /// A farm by its name.
    pub(crate) fn farm(&self, name: &Name) -> Option<Arc<Farm>> {
        self.farms.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// All farms, by name.
    pub(crate) fn all_farms(&self) -> Vec<Arc<Farm>> {
        self.farms.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// What the protocol answers to a request that looks at the table (PROTOCOL §4): from the table
    /// as last committed where nothing has to be written, else by a transaction.
    pub(crate) async fn ask<B: Send + 'static>(
        &self,
        farm: &Arc<Farm>,
        id: RequestId,
        request: RequestBody,
    ) -> Result<Option<ReplyBody<B>>, Refused> {
        let reading = self.time.reading();
        if !reading.allowed {
            return Err(Refused::NoTime);
        }
        if let Some(reply) = answer_from_snapshot::<Infallible>(&farm.table(), &request, reading.time) {
            self.time.recorder().tell(|| Line::Answer {
                at: reading.local,
                farm: farm.name.clone(),
                now: reading.time,
                id,
                request: request.clone(),
                reply: reply.clone().map_bytes(|never| match never {}),
            });
            return Ok(Some(reply.map_bytes(|never| match never {})));
        }
        let (guards, time) = (self.guards, self.time.clone());
        let (reply, promoted) = self
            .change(farm, move |table, reading, facts| {
                let facts = Asked::new(facts);
                match transition::<Infallible>(table, id, &request, reading.time, &facts, guards) {
                    Some(done) => {
                        time.recorder().tell(|| facts.into_line(table, reading, (id, &request), &done));
                        let reply =
                            (Some(done.reply.map_bytes(|never| match never {})), done.effect != Effect::None);
                        Step { table: done.table, effect: done.effect, reply }
                    }
                    None => Step { table: table.clone(), effect: Effect::None, reply: (None, false) },
                }
            })
            .await?;
        if promoted {
            self.keep_up(farm);
        }
        Ok(reply)
    }

    /// Runs one of core's functions in a transaction, with the clock read inside it, and publishes the
    /// table that was committed.
    pub(crate) async fn change<R: Send + 'static>(
        &self,
        farm: &Arc<Farm>,
        decide: impl FnOnce(&SyncTable, Reading, &StoreFacts<'_>) -> Step<R> + Send + 'static,
    ) -> Result<R, Refused> {
        let (time, farm) = (self.time.clone(), farm.clone());
        self.writer.run(move |store| change_in(store, &time, &farm, decide)).await?
    }

    /// When an edit made now can be live. To be called on the writer's thread, after the edit.
    pub(crate) fn prospect(
        store: &mut SqliteStore,
        time: &Time,
        farm: &Name,
    ) -> Result<Prospect, StoreError> {
        let now = time.reading().time;
        let (blocked, frozen) = (store.blocked(farm)?, store.standing(farm)?.frozen);
        store.read(farm, |table, facts| {
            // What is edited now is part of the generation after the one that is frozen.
            let (epoch, earliest_live) = match frozen {
                None => (table.epoch() + 1, earliest_live(table, facts, now)),
                Some(Frozen { epoch, as_of, .. }) => {
                    let staged = SyncTable {
                        activation: as_of,
                        next_earliest: as_of,
                        landing: None,
                        lock: None,
                        ..table.clone()
                    };
                    (epoch + 1, earliest_live(&staged, facts, now))
                }
            };
            Prospect { epoch, earliest_live, blocked }
        })
    }

    /// How a process on this host reaches the management API.
    pub(crate) fn base(&self) -> String {
        let ip = match self.http.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        format!("http://{}", SocketAddr::new(ip, self.http.port()))
    }

    /// The store's upkeep after a promotion, outside of it, and what is told of one that was kept back.
    fn keep_up(&self, farm: &Arc<Farm>) {
        let (name, time, told) = (farm.name.clone(), self.time.clone(), farm.clone());
        let posted = self.writer.post(move |store| {
            tell_blocked(store, &told);
            // Of the one that has just gone live reports still come.
            let live = told.table().epoch().saturating_sub(1);
            remember(store, &told, time.reading().time, live);
            if let Err(error) = store.maintain(&name, time.reading().time) {
                tracing::warn!(farm = %name, %error, "upkeep failed; it is tried again after the next promotion");
            }
        });
        if posted.is_err() {
            tracing::debug!(farm = %farm.name, "upkeep left to the next promotion");
        }
    }
}

/// Keeps what is known of the activations before `until` that have passed.
pub(crate) fn remember(store: &mut SqliteStore, farm: &Farm, now: ServerTime, until: Epoch) {
    for summary in farm.skew.passed(now).iter().filter(|summary| summary.epoch < until) {
        if let Err(error) = store.remember(&farm.name, &summary.past()) {
            tracing::warn!(farm = %farm.name, %error, "what agents told of an activation could not be kept");
        }
    }
}

/// Tells of a candidate that the newest epoch kept back.
fn tell_blocked(store: &mut SqliteStore, farm: &Farm) {
    let Ok(Some(blocked)) = store.blocked(&farm.name) else { return };
    if blocked.epoch != farm.table().epoch() {
        return;
    }
    for Reason { guard, limit, found, cure, .. } in &blocked.reasons {
        tracing::warn!(farm = %farm.name, epoch = blocked.epoch, guard, limit, found, cure, "a candidate is kept back");
    }
    farm.tell(Event::Blocked(blocked));
}

/// One transaction of a farm's table, on the database's thread.
fn change_in<R>(
    store: &mut SqliteStore,
    time: &Time,
    farm: &Farm,
    decide: impl FnOnce(&SyncTable, Reading, &StoreFacts<'_>) -> Step<R>,
) -> Result<R, Refused> {
    let read = Cell::new(None);
    let changes = Cell::new(false);
    let clock = || {
        let reading = time.reading();
        read.set(Some(reading));
        reading.time
    };
    let done = store.transact(&farm.name, clock, |table, _, facts| {
        let Some(reading) = read.get().filter(|reading| reading.allowed) else {
            return Step { table: table.clone(), effect: Effect::None, reply: None };
        };
        let step = decide(table, reading, facts);
        changes.set(step.table != *table);
        Step { reply: Some((step.reply, step.table.clone())), table: step.table, effect: step.effect }
    });
    let name = || farm.name.clone();
    let done = done.inspect_err(|_| {
        // What was told of it before holds no more.
        if changes.get() {
            time.recorder().tell(|| Line::Undone { at: time.local(), farm: name() });
        }
    })?;
    let (reply, table) = done.ok_or(Refused::NoTime)?;
    let now = read.get().map_or_else(|| time.reading().time, |reading| reading.time);
    farm.publish(table, now);
    if changes.get() {
        time.recorder().tell(|| Line::Committed { at: time.local(), farm: name() });
    }
    Ok(reply)
}
