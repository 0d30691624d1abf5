//! What is done after a promotion instead of in it: the log's index, which generations are kept, and
//! folding what none of those shows (FORMATS "history"). Killed at any moment, it goes on where it was;
//! what one call costs is bounded by what was promoted since the last one.

use super::*;

/// Log rows that are taken into the index, or folded, in one transaction, so that no transition waits
/// long.
const BATCH: u64 = 20_000;
/// Log rows that a call looks at for folding, besides twice those that it indexed: a backlog gets
/// shorter at every call.
const FOLD_LEAST: u64 = 40_000;
/// Generations that a call stops keeping.
const RETIRE_MOST: u64 = 100;

pub(super) fn set_retention(
    connection: &Connection,
    farm: &Name,
    retention: Retention,
) -> Result<(), StoreError> {
    if retention.generations < 2 {
        return Err(StoreError::TooFewKept);
    }
    let written = connection.execute(
        "UPDATE farm SET generations_kept = ?2, kept_for = ?3 WHERE name = ?1",
        params![farm.as_str(), signed(retention.generations), retention.age.map(Span::as_nanos)],
    )?;
    if written == 1 { Ok(()) } else { Err(StoreError::NoFarm(farm.clone())) }
}

pub(super) fn maintain(store: &mut SqliteStore, farm: &Name, now: ServerTime) -> Result<Upkeep, StoreError> {
    let row = FarmRow::load(&store.connection, farm)?;
    let mut done = Upkeep::default();
    let mut next = (row.indexed_to < row.staged).then(|| (row.indexed_to + 1, String::new(), Vec::new()));
    while let Some(after) = next {
        let (rows, last) = index_batch(store, &row, after)?;
        done.indexed += rows;
        next = last;
    }
    done.oldest = retire(store, farm, now)?;
    let mut left = FOLD_LEAST + 2 * done.indexed;
    while left > 0 {
        let batch = left.min(BATCH);
        let (folded, looked_at) = fold_batch(store, farm, batch)?;
        done.folded += folded;
        if looked_at < batch {
            break;
        }
        left -= batch;
    }
    // What all this and the edits before it made the journal grow by, as far as no reader is in the way.
    store.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
    Ok(done)
}

/// A place in the log: what is indexed is greater than it. No dataset has an empty name.
type Place = (Epoch, String, Vec<u8>);

/// Indexes the next rows after a place, up to the staged epoch of `row`. The epochs count as indexed
/// with the last batch only; until then readers look into the log as well.
fn index_batch(
    store: &mut SqliteStore,
    row: &FarmRow,
    (epoch, dataset, key): Place,
) -> Result<(u64, Option<Place>), StoreError> {
    let transaction = store.write()?;
    let mut indexed = 0;
    let mut last = None;
    {
        let mut select = transaction.prepare_cached(
            "SELECT epoch, dataset, key FROM record_log
             WHERE farm = ?1 AND (epoch, dataset, key) > (?2, ?3, ?4) AND epoch <= ?5
             ORDER BY epoch, dataset, key LIMIT ?6",
        )?;
        let mut insert = transaction.prepare_cached(
            "INSERT INTO record_index (farm, dataset, key, epoch) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO NOTHING",
        )?;
        let bounds = params![row.name(), signed(epoch), dataset, key, signed(row.staged), signed(BATCH)];
        let mut rows = select.query(bounds)?;
        while let Some(found) = rows.next()? {
            let (epoch, dataset, key): (i64, String, Vec<u8>) = (found.get(0)?, found.get(1)?, found.get(2)?);
            insert.execute(params![row.name(), dataset, key, epoch])?;
            indexed += 1;
            last = Some((unsigned(epoch), dataset, key));
        }
    }
    if indexed < BATCH {
        last = None;
        transaction.execute(
            "UPDATE farm SET indexed_to = max(indexed_to, ?2) WHERE name = ?1",
            params![row.name(), signed(row.staged)],
        )?;
    }
    transaction.commit()?;
    Ok((indexed, last))
}

/// From here on the generations that [`Retention`] doesn't ask for can't be read. Gives the oldest one
/// that can. Before anything of them is folded, so that no reader finds half of one.
fn retire(store: &mut SqliteStore, farm: &Name, now: ServerTime) -> Result<Epoch, StoreError> {
    let transaction = store.write()?;
    let row = FarmRow::load(&transaction, farm)?;
    let oldest = history::oldest(&transaction, farm)?;
    let mut wanted = (row.staged + 1).saturating_sub(row.retention.generations).min(row.indexed_to);
    if let Some(age) = row.retention.age {
        // A generation was live until its successor went live.
        let successor: Option<i64> = transaction.query_row(
            "SELECT min(epoch) FROM generation WHERE farm = ?1 AND activation > ?2",
            params![row.name(), (now - age).as_nanos()],
            |found| found.get(0),
        )?;
        wanted = successor.map_or(wanted, |epoch| wanted.min(unsigned(epoch).saturating_sub(1)));
    }
    let kept_from = wanted.min(oldest + RETIRE_MOST).max(oldest);
    if kept_from > oldest {
        for table in ["generation", "generation_dataset"] {
            transaction.execute(
                &format!("DELETE FROM {table} WHERE farm = ?1 AND epoch < ?2"),
                params![row.name(), signed(kept_from)],
            )?;
        }
        transaction.commit()?;
    }
    Ok(kept_from)
}

/// Deletes log rows that no kept or pinned generation shows: those with a later row up to the oldest
/// such epoch, and deletions up to it. Only rows that were promoted since the last time are looked at, at
/// most `most`; gives how many were deleted, and how many looked at.
fn fold_batch(store: &mut SqliteStore, farm: &Name, most: u64) -> Result<(u64, u64), StoreError> {
    if FarmRow::load(&store.connection, farm)?.folded_to >= objects::oldest_needed(&store.connection, farm)? {
        return Ok((0, 0));
    }
    let transaction = store.write()?;
    // Somebody may have pinned a generation meanwhile.
    let oldest = objects::oldest_needed(&transaction, farm)?;
    let FarmRow { mut folded_to, mut folding, .. } = FarmRow::load(&transaction, farm)?;
    let (mut folded, mut looked_at) = (0, 0);
    while folded_to < oldest && looked_at < most {
        let epoch = signed(folded_to + 1);
        let mut rows = transaction.prepare_cached(
            "SELECT dataset, key, value IS NULL FROM record_log
             WHERE farm = ?1 AND epoch = ?2 AND (dataset, key) > (?3, ?4)
             ORDER BY dataset, key LIMIT ?5",
        )?;
        let place = params![farm.as_str(), epoch, folding.0, folding.1, signed(most - looked_at)];
        let found: Vec<(String, Vec<u8>, bool)> = rows
            .query_map(place, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
            .collect::<Result<_, _>>()?;
        looked_at += found.len() as u64;
        for (dataset, key, is_deletion) in &found {
            folded += fold_key(&transaction, farm, dataset, key, epoch + i64::from(*is_deletion))?;
        }
        match found.into_iter().next_back() {
            Some((dataset, key, _)) if looked_at == most => folding = (dataset, key),
            _ => (folded_to, folding) = (folded_to + 1, (String::new(), Vec::new())),
        }
    }
    transaction.execute(
        "UPDATE farm SET folded_to = ?2, folding_dataset = ?3, folding_key = ?4 WHERE name = ?1",
        params![farm.as_str(), signed(folded_to), folding.0, folding.1],
    )?;
    transaction.commit()?;
    Ok((folded, looked_at))
}

/// Deletes a key's rows of epochs before the given one, from log and index.
fn fold_key(
    connection: &Connection,
    farm: &Name,
    dataset: &str,
    key: &[u8],
    before: i64,
) -> Result<u64, StoreError> {
    let place = params![farm.as_str(), dataset, key, before];
    let folded = connection
        .prepare_cached(
            "DELETE FROM record_log WHERE (farm, epoch, dataset, key) IN (
                SELECT farm, epoch, dataset, key FROM record_index
                WHERE farm = ?1 AND dataset = ?2 AND key = ?3 AND epoch < ?4)",
        )?
        .execute(place)?;
    connection
        .prepare_cached(
            "DELETE FROM record_index WHERE farm = ?1 AND dataset = ?2 AND key = ?3 AND epoch < ?4",
        )?
        .execute(place)?;
    Ok(folded as u64)
}
