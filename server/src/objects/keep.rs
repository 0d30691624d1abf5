//! What is built ahead of being asked for, and which objects are kept.
//!
//! Ahead, as soon as a generation is staged: the delta from the one before it, of all datasets and of
//! the sets that agents use. In the background: a new snapshot, where a quarter as many records as the
//! generation has were promoted since the last one. So whoever joins fetches at most about a quarter
//! more than a new snapshot would be; what is written again costs four times what was promoted; and the
//! log, which has to reach back to the last snapshot, is longer by at most that quarter and one cycle.
//!
//! Kept are the objects that lead to what is staged, active or was active before; the newest snapshot
//! of each set of datasets, and the generation that it is of is pinned in the store; and the deltas of
//! the last cycles one by one, as long as together they are no larger than that snapshot. At most 32 sets
//! of datasets. So the bytes on the disk are bounded by the data and the number of sets.

use super::folder::Wanted;
use super::{Objects, Place, State, get};
use crate::farm::Farm;
use crate::objects::folder::Selection;
use crate::shared::{Refused, Shared};
use crate::store::{SqliteStore, Store, StoreError};
use downbeat_core::ids::{Epoch, Generation};
use downbeat_core::message::ROUTE_MAX;
use downbeat_core::object::Form;
use downbeat_core::table::SyncTable;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A new snapshot is made once the records promoted since the last one, times this, are as many as the
/// generation has.
const SNAPSHOT_SHARE: u64 = 4;
/// Sets of datasets for which objects are kept at a time, besides that of all; the ones that nobody
/// asked for the longest make room.
const SELECTIONS_MAX: usize = 32;
/// Cycles after which a set of datasets that nobody asks for is forgotten.
const ASKED_WITHIN: u64 = 16;

/// Builds ahead and tidies up, for as long as the server runs.
pub(crate) async fn keep_ready(shared: Arc<Shared>, farm: Arc<Farm>) {
    let (mut stop, mut tables) = (shared.stop.clone(), farm.follow());
    let mut done = None;
    prove_all(&shared, &farm).await;
    loop {
        let table = tables.borrow_and_update().clone();
        if done != Some((table.timeline, table.staged)) {
            done = Some((table.timeline, table.staged));
            if let Err(error) = ready(&shared, &farm, &table).await {
                tracing::debug!(farm = %farm.name, ?error, "no objects made ahead; they are when asked for");
            }
        }
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            changed = tables.changed() => if changed.is_err() { return },
        }
    }
}

/// What the store says of a farm's generations.
struct Known {
    staged: Generation,
    /// Of the staged one.
    records: u64,
    /// In which it differs from the one before it.
    changes: u64,
    /// Those that are kept, ascending.
    kept: Vec<Generation>,
    pinned: Vec<Generation>,
}

impl Known {
    async fn look(shared: &Shared, farm: &Farm) -> Result<Option<Known>, Refused> {
        let name = farm.name.clone();
        let look = move |store: &mut SqliteStore| {
            let (kept, pinned) = (store.generations(&name)?, store.pinned(&name)?);
            let known = kept.last().map(|staged| Known {
                staged: staged.generation,
                records: staged.records,
                changes: staged.changes,
                kept: kept.iter().map(|kept| kept.generation).collect(),
                pinned,
            });
            Ok::<_, StoreError>(known)
        };
        Ok(shared.reader.run(look).await??)
    }

    /// Whether a delta can start from it.
    fn has(&self, generation: &Generation) -> bool {
        self.kept.contains(generation) || self.pinned.contains(generation)
    }

    /// The generation before the staged one.
    fn before(&self) -> Option<Generation> {
        self.kept.iter().rev().nth(1).copied().filter(|before| before.epoch + 1 == self.staged.epoch)
    }
}

/// Opens what was found at the start; what is damaged is gone from then on.
async fn prove_all(shared: &Arc<Shared>, farm: &Arc<Farm>) {
    let found: Vec<Place> = farm.objects.lock().places.clone();
    for place in found {
        let (folder, wanted, found) = (farm.objects.folder.clone(), place.wanted.clone(), place.found);
        let Some(found) = found.filter(|_| place.object.get().is_none() && !*shared.stop.borrow()) else {
            continue;
        };
        let proven = tokio::task::spawn_blocking(move || super::prove(&folder, &wanted, found)).await;
        match proven {
            // Somebody may have been faster.
            Ok(Ok(object)) => drop(place.object.set(Arc::new(object))),
            _ if place.object.get().is_none() => {
                tracing::warn!(farm = %farm.name, object = %found.name, "a stored object is damaged; it is deleted");
                farm.objects.forget_found(&place);
            }
            _ => {}
        }
    }
    farm.objects.lock().routes.clear();
}

async fn ready(shared: &Arc<Shared>, farm: &Arc<Farm>, table: &SyncTable) -> Result<(), Refused> {
    let Some(known) = Known::look(shared, farm).await? else { return Ok(()) };
    let selections = farm.objects.selections(farm, table.staged.epoch);
    let before = known.before().filter(|before| before.digest != known.staged.digest);
    if let Some(before) = before.filter(|_| known.changes <= known.records) {
        for selection in &selections {
            let wanted = packed(Some(before), known.staged, selection);
            get(shared, farm, wanted).await?;
        }
    }
    settle(shared, farm).await?;
    let (shared, farm) = (shared.clone(), farm.clone());
    tokio::spawn(async move {
        if let Err(error) = refresh(&shared, &farm, &selections).await {
            tracing::debug!(farm = %farm.name, ?error, "no new snapshot; it is tried at the next cycle");
        }
    });
    Ok(())
}

fn packed(base: Option<Generation>, target: Generation, selection: &Selection) -> Wanted {
    Wanted { base, target, selection: selection.clone(), form: Form::Packed }
}

/// Makes new snapshots of what grew away from the last ones.
async fn refresh(shared: &Arc<Shared>, farm: &Arc<Farm>, selections: &[Selection]) -> Result<(), Refused> {
    let Ok(_alone) = farm.objects.refreshing.try_lock() else { return Ok(()) };
    for selection in selections {
        let Some(known) = Known::look(shared, farm).await? else { return Ok(()) };
        let last = newest_snapshot(&farm.objects.packed(selection), &known);
        let all = *selection == Selection::default();
        // Of some datasets there is none before somebody asks for it.
        if known.records == 0 || (last.is_none() && !all) {
            continue;
        }
        let (name, staged) = (farm.name.clone(), known.staged);
        let after = last.map_or(0, |last| last.epoch);
        let rows = shared.reader.run(move |store| store.log_rows(&name, after, staged.epoch)).await??;
        if rows.saturating_mul(SNAPSHOT_SHARE) >= known.records {
            get(shared, farm, packed(None, staged, selection)).await?;
            settle(shared, farm).await?;
        }
    }
    Ok(())
}

/// The newest snapshot that is there and from which a delta can start.
fn newest_snapshot(places: &[Place], known: &Known) -> Option<Generation> {
    let usable = |place: &&Place| place.is_snapshot() && known.has(&place.wanted.target);
    places.iter().filter(usable).map(|place| place.wanted.target).max()
}

/// Tidies up after a snapshot that was built on demand, so that its generation is pinned.
pub(super) fn settle_soon(shared: &Arc<Shared>, farm: &Arc<Farm>) {
    let (shared, farm) = (shared.clone(), farm.clone());
    tokio::spawn(async move {
        if let Err(error) = settle(&shared, &farm).await {
            tracing::debug!(farm = %farm.name, ?error, "objects are tidied up at the next cycle");
        }
    });
}

/// Lets go of what nobody needs, and pins the generations of the snapshots that are left.
async fn settle(shared: &Arc<Shared>, farm: &Arc<Farm>) -> Result<(), Refused> {
    let Some(known) = Known::look(shared, farm).await? else { return Ok(()) };
    let pins = farm.objects.retain(farm, &known);
    if pins == known.pinned {
        return Ok(());
    }
    let name = farm.name.clone();
    Ok(shared.writer.run(move |store| store.pin(&name, &pins)).await??)
}

impl Objects {
    /// The sets of datasets that objects are made of ahead: all, those of agents that are connected, and
    /// those that were asked for lately.
    fn selections(&self, farm: &Farm, staged: Epoch) -> Vec<Selection> {
        let mut state = self.lock();
        let connected: BTreeSet<Selection> = farm.agents.selections();
        state
            .asked
            .retain(|asked| asked.epoch + ASKED_WITHIN >= staged || connected.contains(&asked.selection));
        state.asked.sort_by_key(|asked| std::cmp::Reverse(asked.epoch));
        state.asked.truncate(SELECTIONS_MAX);
        let asked = state.asked.iter().map(|asked| asked.selection.clone());
        let others: BTreeSet<Selection> = asked.chain(connected).collect();
        let all = Selection::default();
        let others = others.into_iter().filter(|selection| *selection != all).take(SELECTIONS_MAX);
        std::iter::once(all.clone()).chain(others).collect()
    }

    /// Lets go of what nobody needs since the cycle before; gives the generations that are to be pinned,
    /// ascending.
    fn retain(&self, farm: &Farm, known: &Known) -> Vec<Generation> {
        let selections = self.selections(farm, known.staged.epoch);
        let mut state = self.lock();
        let (mut needed, mut pins) = (Vec::new(), BTreeSet::new());
        for selection in &selections {
            let of = |place: &&Place| place.wanted.selection == *selection;
            let places: Vec<Place> = state.places.iter().filter(of).cloned().collect();
            let packed: Vec<Place> =
                places.iter().filter(|place| place.wanted.form == Form::Packed).cloned().collect();
            let newest = newest_snapshot(&packed, known);
            pins.extend(newest);
            let mut chain = chain(&packed, newest, known);
            chain.extend(newest.map(|newest| super::keep::packed(None, newest, selection)));
            let is_needed =
                |place: &&Place| is_current(&place.wanted, known) || chain.contains(&place.wanted);
            needed.extend(places.iter().filter(is_needed).map(|place| place.wanted.clone()));
        }
        let State { places, routes, .. } = &mut *state;
        routes.clear();
        places.retain_mut(|place| {
            place.idle = match needed.contains(&place.wanted) {
                true => None,
                false => Some(place.idle.unwrap_or(known.staged.epoch)),
            };
            let keep = place.idle.is_none_or(|since| since >= known.staged.epoch);
            if let Some(object) = place.reference().filter(|_| !keep) {
                self.folder.remove(&place.wanted.selection, object.name);
            }
            keep
        });
        pins.into_iter().collect()
    }
}

/// Whether an object leads to what is staged, active, or was active before; to another generation only
/// uncompressed ones never do.
fn is_current(wanted: &Wanted, known: &Known) -> bool {
    let current = known.kept.iter().rev().take(3);
    current.into_iter().any(|generation| *generation == wanted.target)
}

/// The deltas of the last cycles one by one, the newest ones first, that together are no larger than the
/// newest snapshot.
fn chain(places: &[Place], newest: Option<Generation>, known: &Known) -> Vec<Wanted> {
    let len = |place: &Place| place.reference().map_or(0, |object| object.len);
    let snapshot = places.iter().find(|place| place.is_snapshot() && Some(place.wanted.target) == newest);
    let mut room = snapshot.map_or(u64::MAX, len);
    let is_step = |place: &&Place| {
        let (base, target) = (place.wanted.base, place.wanted.target);
        base.is_some_and(|base| base.epoch + 1 == target.epoch && known.has(&base))
            && known.has(&target)
            && target.epoch + ROUTE_MAX as u64 > known.staged.epoch
    };
    let mut steps: Vec<&Place> = places.iter().filter(is_step).collect();
    steps.sort_by_key(|place| std::cmp::Reverse(place.wanted.target));
    let fits = |place: &&Place| {
        let rest = room.checked_sub(len(place));
        room = rest.unwrap_or(0);
        rest.is_some()
    };
    steps.into_iter().take_while(fits).map(|place| place.wanted.clone()).collect()
}
