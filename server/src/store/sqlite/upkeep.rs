//! What is done after a promotion instead of in it: the log's index, and folding what no kept
//! generation shows (FORMATS "history"). Killed at any moment, it goes on where it was.

use super::*;

/// Log rows that are taken into the index in one transaction, so that no transition waits long.
const BATCH: u64 = 20_000;

pub(super) fn set_generations_kept(
    connection: &Connection,
    farm: &Name,
    kept: u64,
) -> Result<(), StoreError> {
    if kept < 2 {
        return Err(StoreError::TooFewKept);
    }
    let written = connection.execute(
        "UPDATE farm SET generations_kept = ?2 WHERE name = ?1",
        params![farm.as_str(), signed(kept)],
    )?;
    if written == 1 { Ok(()) } else { Err(StoreError::NoFarm(farm.clone())) }
}

pub(super) fn maintain(store: &mut SqliteStore, farm: &Name) -> Result<Upkeep, StoreError> {
    let row = FarmRow::load(&store.connection, farm)?;
    let mut done = Upkeep { oldest: row.folded_to, ..Upkeep::default() };
    let mut next = (row.indexed_to < row.staged).then(|| (row.indexed_to + 1, String::new(), Vec::new()));
    while let Some(after) = next {
        let (rows, last) = index_batch(store, &row, after)?;
        done.indexed += rows;
        next = last;
    }
    if (row.staged + 1).saturating_sub(row.generations_kept) > row.folded_to {
        (done.folded, done.oldest) = fold(store, farm)?;
    }
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

/// Deletes log rows that no kept generation shows: those with a later row up to the oldest kept
/// epoch, and deletions up to it. Only keys that were promoted since the last time are looked at.
fn fold(store: &mut SqliteStore, farm: &Name) -> Result<(u64, Epoch), StoreError> {
    let transaction = store.write()?;
    let row = FarmRow::load(&transaction, farm)?;
    let oldest = (row.staged + 1).saturating_sub(row.generations_kept).min(row.indexed_to);
    let mut folded = 0;
    for epoch in row.folded_to + 1..=oldest {
        let at = params![row.name(), signed(epoch)];
        folded += transaction
            .prepare_cached(
                "DELETE FROM record_log WHERE (farm, epoch, dataset, key) IN (
                    SELECT i.farm, i.epoch, i.dataset, i.key FROM record_log n CROSS JOIN record_index i
                        ON i.farm = n.farm AND i.dataset = n.dataset AND i.key = n.key
                    WHERE n.farm = ?1 AND n.epoch = ?2 AND i.epoch < ?2)",
            )?
            .execute(at)?;
        transaction
            .prepare_cached(
                "DELETE FROM record_index WHERE (farm, dataset, key, epoch) IN (
                    SELECT i.farm, i.dataset, i.key, i.epoch FROM record_log n CROSS JOIN record_index i
                        ON i.farm = n.farm AND i.dataset = n.dataset AND i.key = n.key
                    WHERE n.farm = ?1 AND n.epoch = ?2 AND i.epoch < ?2)",
            )?
            .execute(at)?;
        transaction
            .prepare_cached(
                "DELETE FROM record_index WHERE epoch = ?2 AND (farm, dataset, key) IN (
                    SELECT farm, dataset, key FROM record_log
                    WHERE farm = ?1 AND epoch = ?2 AND value IS NULL)",
            )?
            .execute(at)?;
        folded += transaction
            .prepare_cached("DELETE FROM record_log WHERE farm = ?1 AND epoch = ?2 AND value IS NULL")?
            .execute(at)?;
    }
    let oldest = oldest.max(row.folded_to);
    for table in ["generation", "generation_dataset"] {
        transaction.execute(
            &format!("DELETE FROM {table} WHERE farm = ?1 AND epoch < ?2"),
            params![row.name(), signed(oldest)],
        )?;
    }
    transaction
        .execute("UPDATE farm SET folded_to = ?2 WHERE name = ?1", params![row.name(), signed(oldest)])?;
    transaction.commit()?;
    Ok((folded as u64, oldest))
}
