//! Production: edits in one transaction, and what is there (FORMATS "production"). The schema's
//! triggers note what changes; nothing here does, so an edit by any other SQL tool counts the same. Imports
//! are in `import`.

use super::*;
use downbeat_core::content::check_record;
use rusqlite::CachedStatement;
use std::borrow::Borrow;

/// Applies edits in order. The transaction is the caller's.
pub(super) fn apply(
    connection: &Connection,
    farm: &Name,
    edits: impl IntoIterator<Item = impl Borrow<Edit>>,
) -> Result<Applied, StoreError> {
    let mut applied = Applied::default();
    let mut putting = Putting::new(connection)?;
    for (number, edit) in (1..).zip(edits) {
        let checked = |key: &[u8], value: &[u8]| {
            check_record(key, value).map_err(|limit| StoreError::Record { number, limit })
        };
        match edit.borrow() {
            Edit::Put { dataset, key, value } => {
                checked(key, value)?;
                putting.put(farm, dataset, key, value, &mut applied)?;
            }
            Edit::Delete { dataset, key } => {
                let gone = connection
                    .prepare_cached(
                        "DELETE FROM production WHERE farm = ?1 AND dataset = ?2 AND CAST(key AS BLOB) = ?3",
                    )?
                    .execute(params![farm.as_str(), dataset.as_str(), key])?;
                count(&mut applied.deleted, &mut applied.unchanged, gone);
            }
            Edit::Schedule(record) => {
                checked(&record.key, record.value.as_deref().unwrap_or_default())?;
                if record.expires_at.is_some_and(|expires| expires <= record.effective_at) {
                    return Err(StoreError::NeverVisible { number });
                }
                count(&mut applied.written, &mut applied.unchanged, schedule(connection, farm, record)?);
            }
            Edit::Unschedule { dataset, key, effective_at } => {
                let gone = connection
                    .prepare_cached(
                        "DELETE FROM scheduled WHERE farm = ?1 AND dataset = ?2 AND CAST(key AS BLOB) = ?3
                            AND effective_at = ?4",
                    )?
                    .execute(params![farm.as_str(), dataset.as_str(), key, effective_at.as_nanos()])?;
                count(&mut applied.deleted, &mut applied.unchanged, gone);
            }
        }
    }
    Ok(applied)
}

fn count(done: &mut u64, unchanged: &mut u64, rows: usize) {
    *(if rows > 0 { done } else { unchanged }) += 1;
}

/// Writes records of production, and counts what that was; nothing is written where it is there already,
/// so that an import of the same data changes nothing.
pub(super) struct Putting<'c> {
    update: CachedStatement<'c>,
    insert: CachedStatement<'c>,
    update_bytes: CachedStatement<'c>,
    /// Whether the last record was there before: then the next one is looked for first.
    was_there: bool,
}

impl<'c> Putting<'c> {
    pub(super) fn new(connection: &'c Connection) -> Result<Putting<'c>, StoreError> {
        let update = connection.prepare_cached(
            "UPDATE production SET value = ?4
             WHERE farm = ?1 AND dataset = ?2 AND key = ?3 AND CAST(value AS BLOB) <> CAST(?4 AS BLOB)",
        )?;
        let insert = connection.prepare_cached(
            "INSERT INTO production (farm, dataset, key, value) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO NOTHING",
        )?;
        let update_bytes = connection.prepare_cached(
            "UPDATE production SET value = ?4
             WHERE farm = ?1 AND dataset = ?2 AND CAST(key AS BLOB) = ?3
                AND CAST(value AS BLOB) <> CAST(?4 AS BLOB)",
        )?;
        Ok(Putting { update, insert, update_bytes, was_there: false })
    }

    pub(super) fn put(
        &mut self,
        farm: &Name,
        dataset: &Name,
        key: &[u8],
        value: &[u8],
        applied: &mut Applied,
    ) -> Result<(), StoreError> {
        let (farm, dataset, value) = (farm.as_str(), dataset.as_str(), as_text_or_blob(value));
        // By the key as it is usually written, which is one look; where that finds nothing to do, it isn't
        // there, is there with the same value, or is there as a blob.
        if self.was_there && self.update.execute(params![farm, dataset, as_text_or_blob(key), value])? > 0 {
            applied.written += 1;
            return Ok(());
        }
        self.was_there = self.insert.execute(params![farm, dataset, as_text_or_blob(key), value])? == 0;
        if !self.was_there {
            applied.added += 1;
            applied.written += 1;
            return Ok(());
        }
        let changed = self.update_bytes.execute(params![farm, dataset, key, value])?;
        count(&mut applied.written, &mut applied.unchanged, changed);
        Ok(())
    }
}

fn schedule(connection: &Connection, farm: &Name, record: &Scheduled) -> Result<usize, StoreError> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO scheduled (farm, dataset, key, effective_at, expires_at, value)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT DO UPDATE SET expires_at = excluded.expires_at, value = excluded.value
            WHERE expires_at IS NOT excluded.expires_at
                OR CAST(value AS BLOB) IS NOT CAST(excluded.value AS BLOB)",
    )?;
    Ok(statement.execute(params![
        farm.as_str(),
        record.dataset.as_str(),
        as_text_or_blob(&record.key),
        record.effective_at.as_nanos(),
        record.expires_at.map(ServerTime::as_nanos),
        record.value.as_deref().map(as_text_or_blob)
    ])?)
}

/// Visits production, ascending by dataset and key; of one dataset, or of all.
pub(super) fn visit(
    connection: &Connection,
    farm: &Name,
    only: Option<&Name>,
    visit: Visit<'_>,
) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT CAST(key AS BLOB), CAST(value AS BLOB) FROM production
         WHERE farm = ?1 AND dataset = ?2 ORDER BY CAST(key AS BLOB)",
    )?;
    for dataset in datasets(connection, farm)?.iter().filter(|name| only.is_none_or(|only| only == *name)) {
        let mut rows = statement.query(params![farm.as_str(), dataset.as_str()])?;
        while let Some(row) = rows.next()? {
            let blob = |column| row.get_ref(column)?.as_blob().map_err(rusqlite::Error::from);
            visit(dataset, blob(0)?, blob(1)?)?;
        }
    }
    Ok(())
}

/// Looks records up.
pub(super) struct Values<'c> {
    as_written: CachedStatement<'c>,
    by_bytes: CachedStatement<'c>,
}

impl<'c> Values<'c> {
    pub(super) fn new(connection: &'c Connection) -> Result<Values<'c>, StoreError> {
        let as_written = connection.prepare_cached(
            "SELECT CAST(value AS BLOB) FROM production WHERE farm = ?1 AND dataset = ?2 AND key = ?3",
        )?;
        let by_bytes = connection.prepare_cached(
            "SELECT CAST(value AS BLOB) FROM production
             WHERE farm = ?1 AND dataset = ?2 AND CAST(key AS BLOB) = ?3",
        )?;
        Ok(Values { as_written, by_bytes })
    }

    /// The value of a key: as it is usually written first, which is one look and not two.
    pub(super) fn get(
        &mut self,
        farm: &Name,
        dataset: &Name,
        key: &[u8],
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let (farm, dataset) = (farm.as_str(), dataset.as_str());
        let place = params![farm, dataset, as_text_or_blob(key)];
        let value = self.as_written.query_row(place, |row| row.get(0)).optional()?;
        if value.is_some() {
            return Ok(value);
        }
        Ok(self.by_bytes.query_row(params![farm, dataset, key], |row| row.get(0)).optional()?)
    }
}

pub(super) fn list(
    connection: &Connection,
    farm: &Name,
    dataset: &Name,
    prefix: &[u8],
    after: Option<&[u8]>,
    limit: usize,
) -> Result<Vec<Pair>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT CAST(key AS BLOB), CAST(value AS BLOB) FROM production
         WHERE farm = ?1 AND dataset = ?2 AND CAST(key AS BLOB) >= ?3
            AND (?4 IS NULL OR CAST(key AS BLOB) > ?4)
         ORDER BY CAST(key AS BLOB)",
    )?;
    let mut rows = statement.query(params![farm.as_str(), dataset.as_str(), prefix, after])?;
    let mut pairs = Vec::new();
    while let Some(row) = rows.next()?.filter(|_| pairs.len() < limit) {
        let pair: Pair = (row.get(0)?, row.get(1)?);
        if !pair.0.starts_with(prefix) {
            break;
        }
        pairs.push(pair);
    }
    Ok(pairs)
}

pub(super) fn datasets(connection: &Connection, farm: &Name) -> Result<Vec<Name>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT name FROM dataset WHERE farm = ?1
            AND (EXISTS (SELECT 1 FROM production p WHERE p.farm = ?1 AND p.dataset = dataset.name)
                OR EXISTS (SELECT 1 FROM scheduled s WHERE s.farm = ?1 AND s.dataset = dataset.name))
         ORDER BY name",
    )?;
    let mut rows = statement.query([farm.as_str()])?;
    let mut datasets = Vec::new();
    while let Some(row) = rows.next()? {
        datasets.push(name_of(row.get(0)?)?);
    }
    Ok(datasets)
}

pub(super) fn scheduled(
    connection: &Connection,
    farm: &Name,
    from: ServerTime,
    limit: usize,
) -> Result<Vec<Scheduled>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT dataset, CAST(key AS BLOB), effective_at, expires_at, CAST(value AS BLOB) FROM scheduled
         WHERE farm = ?1 AND (expires_at IS NULL OR expires_at > ?2)
         ORDER BY effective_at, dataset, CAST(key AS BLOB) LIMIT ?3",
    )?;
    let mut rows = statement.query(params![farm.as_str(), from.as_nanos(), signed(limit as u64)])?;
    let mut records = Vec::new();
    while let Some(row) = rows.next()? {
        records.push(Scheduled {
            dataset: name_of(row.get(0)?)?,
            key: row.get(1)?,
            effective_at: ServerTime::from_nanos(row.get(2)?),
            expires_at: row.get::<_, Option<i64>>(3)?.map(ServerTime::from_nanos),
            value: row.get(4)?,
        });
    }
    Ok(records)
}

pub(super) fn mark_all_changed(connection: &Connection, farm: &Name) -> Result<u64, StoreError> {
    connection.execute(
        "INSERT INTO changed
         SELECT * FROM (
            SELECT farm, dataset, CAST(key AS BLOB) AS key FROM production WHERE farm = ?1
            UNION SELECT farm, dataset, CAST(key AS BLOB) FROM scheduled WHERE farm = ?1
            UNION SELECT farm, dataset, key FROM record_log WHERE farm = ?1) every
         WHERE NOT EXISTS (SELECT 1 FROM changed c
            WHERE c.farm = every.farm AND c.dataset = every.dataset AND c.key = every.key)",
        [farm.as_str()],
    )?;
    let mut statement = connection.prepare_cached("SELECT count(*) FROM changed WHERE farm = ?1")?;
    Ok(unsigned(statement.query_row([farm.as_str()], |row| row.get(0))?))
}

pub(super) fn count_scheduled(
    connection: &Connection,
    farm: &Name,
    dataset: &Name,
) -> Result<u64, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT count(*) FROM scheduled WHERE farm = ?1 AND dataset = ?2")?;
    Ok(unsigned(statement.query_row([farm.as_str(), dataset.as_str()], |row| row.get(0))?))
}
