//! Production: edits in one transaction, and what is there (FORMATS "production"). The schema's
//! triggers note what changes; nothing here does, so an edit by any other SQL tool counts the same.

use super::*;
use downbeat_core::content::check_record;

/// Applies edits in order. The transaction is the caller's.
pub(super) fn apply(connection: &Connection, farm: &Name, edits: &[Edit]) -> Result<Applied, StoreError> {
    let mut applied = Applied::default();
    for (number, edit) in (1..).zip(edits) {
        let checked = |key: &[u8], value: &[u8]| {
            check_record(key, value).map_err(|limit| StoreError::Record { number, limit })
        };
        match edit {
            Edit::Put { dataset, key, value } => {
                checked(key, value)?;
                count(
                    &mut applied.written,
                    &mut applied.unchanged,
                    put(connection, farm, dataset, key, value)?,
                );
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

/// Writes a record; 0 where it is there already, so that an import of the same data changes nothing.
fn put(
    connection: &Connection,
    farm: &Name,
    dataset: &Name,
    key: &[u8],
    value: &[u8],
) -> Result<usize, StoreError> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO production (farm, dataset, key, value) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT DO UPDATE SET value = excluded.value
            WHERE CAST(value AS BLOB) <> CAST(excluded.value AS BLOB)",
    )?;
    Ok(statement.execute(params![
        farm.as_str(),
        dataset.as_str(),
        as_text_or_blob(key),
        as_text_or_blob(value)
    ])?)
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

/// Writes the records of one dataset; the keys that came are kept in a temporary table.
pub(super) fn import(
    connection: &Connection,
    farm: &Name,
    dataset: &Name,
    rows: impl Iterator<Item = Pair>,
    rest: Rest,
) -> Result<Applied, StoreError> {
    connection.execute_batch(
        "CREATE TEMP TABLE IF NOT EXISTS came (key BLOB PRIMARY KEY) WITHOUT ROWID; DELETE FROM came",
    )?;
    let mut applied = Applied::default();
    let mut came = connection.prepare_cached("INSERT INTO came (key) VALUES (?1) ON CONFLICT DO NOTHING")?;
    for (number, (key, value)) in (1..).zip(rows) {
        check_record(&key, &value).map_err(|limit| StoreError::Record { number, limit })?;
        if came.execute([&key])? == 0 {
            return Err(StoreError::DuplicateKey { number });
        }
        count(&mut applied.written, &mut applied.unchanged, put(connection, farm, dataset, &key, &value)?);
    }
    if rest == Rest::Delete {
        let gone = connection.execute(
            "DELETE FROM production WHERE farm = ?1 AND dataset = ?2
                AND NOT EXISTS (SELECT 1 FROM came WHERE came.key = CAST(production.key AS BLOB))",
            params![farm.as_str(), dataset.as_str()],
        )?;
        applied.deleted = gone as u64;
    }
    connection.execute_batch("DELETE FROM came")?;
    Ok(applied)
}

pub(super) fn value(
    connection: &Connection,
    farm: &Name,
    dataset: &Name,
    key: &[u8],
) -> Result<Option<Vec<u8>>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT CAST(value AS BLOB) FROM production
         WHERE farm = ?1 AND dataset = ?2 AND CAST(key AS BLOB) = ?3",
    )?;
    let row = statement.query_row(params![farm.as_str(), dataset.as_str(), key], |row| row.get(0));
    Ok(row.optional()?)
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
