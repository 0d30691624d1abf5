//! What the server does of itself, without being asked: its mark is renewed, each farm has its own
//! agent, what was touched is gathered for the next promotion, its gate is kept, objects are built, and watchers
//! are told that T has passed, its lead is looked after.

use crate::events::Event;
use crate::farm::Farm;
use crate::gatekeeper;
use crate::initiator;
use crate::objects;
use crate::shared::Shared;
use crate::store::{Store, StoreError};
use crate::tuning;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

/// How often is looked for edits by other tools.
const GATHER_EVERY: Duration = Duration::from_secs(1);
/// How long after an edit over the API it is gathered.
const GATHER_AFTER: Duration = Duration::from_millis(50);

/// What the server itself does for a farm: its own agent, gathering, its gate, objects, its lead, and
/// telling that T has passed.
pub(crate) async fn attend(shared: Arc<Shared>, farm: Arc<Farm>) {
    let herald = tell_activations(shared.clone(), farm.clone());
    let gatherer = gather_ahead(shared.clone(), farm.clone());
    let gatekeeper = gatekeeper::keep(shared.clone(), farm.clone());
    let keeper = objects::keep_ready(shared.clone(), farm.clone());
    let tuner = tuning::keep_lead(shared.clone(), farm.clone());
    if shared.own_agent {
        tokio::join!(initiator::run(shared, farm), gatherer, gatekeeper, herald, keeper, tuner);
    } else {
        tokio::join!(gatherer, gatekeeper, herald, keeper, tuner);
    }
}

/// Gathers what was touched ahead of the promotion, which then holds the database for a moment only.
/// Soon after an edit over the API; edits by other tools are found within a second. Batch by batch,
/// between which whatever else waits for the database has its turn.
async fn gather_ahead(shared: Arc<Shared>, farm: Arc<Farm>) {
    let mut stop = shared.stop.clone();
    let mut watched = farm.watch();
    loop {
        let name = farm.name.clone();
        match shared.writer.run(move |store| store.gather(&name)).await {
            Ok(Ok(1..)) if !*stop.borrow() => continue,
            Ok(Err(error)) => {
                tracing::debug!(farm = %farm.name, %error, "nothing gathered; the promotion will do it");
            }
            _ => {}
        }
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(GATHER_EVERY) => {}
            () = edited(&mut watched) => {}
        }
    }
}

/// Returns a moment after production was edited, or may have been (more edits may follow at once), or after
/// what was gathered was kept back.
async fn edited(watched: &mut Receiver<Arc<Event>>) {
    loop {
        match watched.recv().await {
            Ok(event) if !matches!(*event, Event::Edited(_) | Event::Blocked(_)) => {}
            Ok(_) | Err(RecvError::Lagged(_)) => return tokio::time::sleep(GATHER_AFTER).await,
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// Tells watchers when T passes, by the server's clock. Nothing depends on it.
async fn tell_activations(shared: Arc<Shared>, farm: Arc<Farm>) {
    let mut stop = shared.stop.clone();
    let mut tables = farm.follow();
    let mut told = None;
    loop {
        let table = tables.borrow_and_update().clone();
        let left = table.activation - shared.time.reading().time;
        let pending = told != Some((table.timeline, table.staged.epoch));
        if pending && left.as_nanos() <= 0 {
            told = Some((table.timeline, table.staged.epoch));
            farm.tell(Event::Activated(table));
            continue;
        }
        let wait = if pending { left.as_nanos().unsigned_abs() } else { u64::MAX };
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            changed = tables.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(Duration::from_nanos(wait).min(Duration::from_secs(3_600))) => {}
        }
    }
}

/// Renews the mark ahead of the time that is given out.
pub(crate) async fn keep_marks(shared: Arc<Shared>) {
    let mut stop = shared.stop.clone();
    loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
        if !shared.time.wants_renewal() || shared.time.is_lost() {
            continue;
        }
        let time = shared.time.clone();
        match shared.writer.run(move |store| time.renew(store)).await {
            Ok(Ok(())) => {}
            Ok(Err(error @ StoreError::OtherLine { .. })) => {
                tracing::error!(%error, "no time is given out any more");
            }
            Ok(Err(error)) => tracing::warn!(%error, "the mark could not be renewed; trying again"),
            Err(_) => tracing::warn!("the mark could not be renewed yet: the database is busy"),
        }
    }
}
