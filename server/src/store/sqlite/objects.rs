//! What leads to a generation: snapshots and deltas out of the log (FORMATS "object"), and the
//! generations that are pinned so that deltas can start from them.

use super::*;
use downbeat_core::object::Writer;
use std::cell::RefCell;

/// Writes a generation.
pub(super) fn snapshot(
    connection: &Connection,
    farm: &Name,
    epoch: Epoch,
    datasets: &[Name],
    sink: Sink<'_>,
) -> Result<ObjectRef, StoreError> {
    let (farm, target) = history::kept(connection, farm, epoch)?;
    let manifest = history::manifest(connection, &farm.name, epoch)?;
    write(None, target, &manifest, sink, |put| {
        history::records(connection, &farm, epoch, datasets, &mut |dataset, key, value| {
            put(dataset, key, Some(value))
        })
    })
}

/// Keys that were promoted after ?2, up to ?3, each with its last value in there.
const LAST_VALUES: &str = "
    SELECT dataset, key, value, max(epoch) FROM record_log
    WHERE farm = ?1 AND epoch > ?2 AND epoch <= ?3
    GROUP BY dataset, key ORDER BY dataset, key";

/// The same where there is one epoch in there: in the log's own order.
const ONE_EPOCH: &str = "
    SELECT dataset, key, value, epoch FROM record_log
    WHERE farm = ?1 AND epoch > ?2 AND epoch = ?3 ORDER BY dataset, key";

/// Writes what leads from one generation to another. A key that was changed and is again as it was
/// is left out.
pub(super) fn delta(
    connection: &Connection,
    farm: &Name,
    (from, to): (Generation, Generation),
    datasets: &[Name],
    sink: Sink<'_>,
) -> Result<ObjectRef, StoreError> {
    let not_kept = |epoch| -> Result<StoreError, StoreError> {
        let newest = FarmRow::load(connection, farm)?.staged;
        Ok(StoreError::NotKept { epoch, oldest: history::oldest(connection, farm)?, newest })
    };
    let (row, target) = history::kept(connection, farm, to.epoch)?;
    if target != to {
        return Err(not_kept(to.epoch)?);
    }
    if !is_kept_or_pinned(connection, farm, from)? {
        return Err(not_kept(from.epoch)?);
    }
    let manifest = history::manifest(connection, farm, to.epoch)?;
    let mut log = Log::new(connection, &row)?;
    let (low, high) = (from.epoch.min(to.epoch), from.epoch.max(to.epoch));
    // A generation's own rows are those in which it differs from the one before it.
    let one_step = to.epoch == from.epoch + 1;
    let mut statement = connection.prepare_cached(if one_step { ONE_EPOCH } else { LAST_VALUES })?;
    write(Some(from), target, &manifest, sink, |put| {
        let mut rows = statement.query(params![farm.as_str(), signed(low), signed(high)])?;
        while let Some(row) = rows.next()? {
            let dataset = name_of(row.get(0)?)?;
            if !datasets.is_empty() && !datasets.contains(&dataset) {
                continue;
            }
            let key = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
            let last = row.get_ref(2)?.as_blob_or_null().map_err(rusqlite::Error::from)?;
            if one_step {
                put(&dataset, key, last)?;
                continue;
            }
            let before = log.value_at(from.epoch, &dataset, key)?;
            let back = (to.epoch < from.epoch).then(|| log.value_at(to.epoch, &dataset, key)).transpose()?;
            let after = back.as_ref().map_or(last, |value| value.as_deref());
            if before.as_deref() != after {
                put(&dataset, key, after)?;
            }
        }
        Ok(())
    })
}

/// Is told of a record, or of a key that is deleted.
type Put<'p> = &'p mut dyn FnMut(&Name, &[u8], Option<&[u8]>) -> Result<(), StoreError>;

/// Writes an object, whose records come in order.
fn write(
    base: Option<Generation>,
    target: Generation,
    manifest: &[ManifestEntry],
    sink: Sink<'_>,
    records: impl FnOnce(Put<'_>) -> Result<(), StoreError>,
) -> Result<ObjectRef, StoreError> {
    let failed = RefCell::new(None);
    let broken = || failed.borrow_mut().take().map_or(Ok(()), |error| Err(StoreError::Sink(error)));
    let mut writer = Writer::new(base, target, manifest, |bytes: &[u8]| {
        if failed.borrow().is_none()
            && let Err(error) = sink(bytes)
        {
            *failed.borrow_mut() = Some(error);
        }
    })?;
    let mut current: Option<Name> = None;
    records(&mut |dataset, key, value| {
        broken()?;
        if current.as_ref() != Some(dataset) {
            writer.dataset(dataset)?;
            current = Some(dataset.clone());
        }
        let written = match value {
            Some(value) => writer.put(key, value),
            None => writer.delete(key),
        };
        written.map_err(StoreError::from)
    })?;
    let object = writer.finish()?;
    broken()?;
    Ok(object)
}

pub(super) fn log_rows(
    connection: &Connection,
    farm: &Name,
    after: Epoch,
    to: Epoch,
) -> Result<u64, StoreError> {
    let mut statement = connection
        .prepare_cached("SELECT count(*) FROM record_log WHERE farm = ?1 AND epoch > ?2 AND epoch <= ?3")?;
    let place = params![farm.as_str(), signed(after), signed(to)];
    Ok(unsigned(statement.query_row(place, |row| row.get(0))?))
}

/// Whether a generation's records can still be told from the log.
fn is_kept_or_pinned(
    connection: &Connection,
    farm: &Name,
    generation: Generation,
) -> Result<bool, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT EXISTS (
            SELECT 1 FROM generation WHERE farm = ?1 AND epoch = ?2 AND digest = ?3
            UNION ALL SELECT 1 FROM pinned WHERE farm = ?1 AND epoch = ?2 AND digest = ?3)",
    )?;
    let place = params![farm.as_str(), signed(generation.epoch), generation.digest.0];
    Ok(statement.query_row(place, |row| row.get(0))?)
}

pub(super) fn pinned(connection: &Connection, farm: &Name) -> Result<Vec<Generation>, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT epoch, digest FROM pinned WHERE farm = ?1 ORDER BY epoch")?;
    let mut rows = statement.query([farm.as_str()])?;
    let mut pinned = Vec::new();
    while let Some(row) = rows.next()? {
        pinned.push(Generation { epoch: unsigned(row.get(0)?), digest: digest_of(row.get(1)?)? });
    }
    Ok(pinned)
}

pub(super) fn pin(
    store: &mut SqliteStore,
    farm: &Name,
    generations: &[Generation],
) -> Result<(), StoreError> {
    let transaction = store.write()?;
    let staged = FarmRow::load(&transaction, farm)?.staged;
    for generation in generations {
        if !is_kept_or_pinned(&transaction, farm, *generation)? {
            let (epoch, oldest) = (generation.epoch, history::oldest(&transaction, farm)?);
            return Err(StoreError::NotKept { epoch, oldest, newest: staged });
        }
    }
    transaction.execute("DELETE FROM pinned WHERE farm = ?1", [farm.as_str()])?;
    for generation in generations {
        transaction.execute(
            "INSERT INTO pinned (farm, epoch, digest) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
            params![farm.as_str(), signed(generation.epoch), generation.digest.0],
        )?;
    }
    transaction.commit()?;
    Ok(())
}

/// The oldest epoch whose records are still told from the log.
pub(super) fn oldest_needed(connection: &Connection, farm: &Name) -> Result<Epoch, StoreError> {
    let mut statement = connection.prepare_cached("SELECT min(epoch) FROM pinned WHERE farm = ?1")?;
    let pinned: Option<i64> = statement.query_row([farm.as_str()], |row| row.get(0))?;
    let kept = history::oldest(connection, farm)?;
    Ok(pinned.map_or(kept, |epoch| kept.min(unsigned(epoch))))
}
