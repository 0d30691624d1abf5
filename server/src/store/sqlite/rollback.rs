//! Production made equal to a generation, in one transaction, and told how to take that back. The next
//! promotion then stages it like any other edit; no epoch is ever used again.
//!
//! What a generation shows is production and the scheduled records that were in force. So a rollback
//! compares what production shows at the coming activation, and takes scheduled records away where
//! they are in force then and say otherwise. Those that begin later stay.

use super::candidate::Visible;
use super::*;

pub(super) fn rollback(
    connection: &Connection,
    farm: &Name,
    epoch: Epoch,
    activation: ServerTime,
    undo: Undo<'_>,
) -> Result<RolledBack, StoreError> {
    let (row, _) = history::kept(connection, farm, epoch)?;
    gather(connection, &row, epoch, activation)?;
    let mut log = Log::new(connection, &row)?;
    let mut production = production::Values::new(connection)?;
    let mut visible = Visible::new(connection, &row, activation)?;
    let mut done = RolledBack::default();
    let mut keys = connection.prepare("SELECT dataset, key FROM touched ORDER BY dataset, key")?;
    let mut keys = keys.query([])?;
    while let Some(found) = keys.next()? {
        let (dataset, key) = (name_of(found.get(0)?)?, found.get::<_, Vec<u8>>(1)?);
        let wanted = log.value_at(epoch, &dataset, &key)?;
        if visible.value(&dataset, &key)? == wanted {
            continue;
        }
        let mut edits = in_force(connection, farm, &dataset, &key, activation)?;
        done.unscheduled += edits.len() as u64;
        let (mut take_back, mut apply) = (Vec::new(), Vec::new());
        for record in edits.drain(..) {
            let (dataset, key, effective_at) = (dataset.clone(), key.clone(), record.effective_at);
            apply.push(Edit::Unschedule { dataset, key, effective_at });
            take_back.push(Edit::Schedule(record));
        }
        let plain = production.get(farm, &dataset, &key)?;
        if plain != wanted {
            take_back.push(set(&dataset, &key, plain));
            apply.push(set(&dataset, &key, wanted));
        }
        for edit in &take_back {
            undo(Some(edit)).map_err(StoreError::Sink)?;
        }
        let applied = production::apply(connection, farm, &apply)?;
        done.applied.written += applied.written;
        done.applied.added += applied.added;
        done.applied.deleted += applied.deleted;
    }
    undo(None).map_err(StoreError::Sink)?;
    connection.execute_batch("DELETE FROM touched")?;
    done.to_come = unsigned(connection.query_row(
        "SELECT count(*) FROM scheduled WHERE farm = ?1 AND effective_at > ?2",
        params![row.name(), activation.as_nanos()],
        |found| found.get(0),
    )?);
    Ok(done)
}

/// The edit after which a key of production has this value, or is not there.
fn set(dataset: &Name, key: &[u8], value: Option<Vec<u8>>) -> Edit {
    let (dataset, key) = (dataset.clone(), key.to_vec());
    match value {
        Some(value) => Edit::Put { dataset, key, value },
        None => Edit::Delete { dataset, key },
    }
}

/// Puts the keys that may differ into a temporary table, since what is written below changes where they
/// are found: those promoted after the epoch or gathered, those touched since, and those whose scheduled records
/// begin or end to count between what is staged and the activation.
fn gather(
    connection: &Connection,
    farm: &FarmRow,
    epoch: Epoch,
    activation: ServerTime,
) -> Result<(), StoreError> {
    connection.execute_batch(
        "CREATE TEMP TABLE IF NOT EXISTS touched (
            dataset TEXT NOT NULL, key BLOB NOT NULL, PRIMARY KEY (dataset, key)) WITHOUT ROWID;
         DELETE FROM touched",
    )?;
    let (low, high) = farm.instants_until(activation);
    let (low, high) = (low.min(farm.as_of), high.max(farm.as_of));
    connection.execute(
        "INSERT INTO touched
         SELECT dataset, key FROM record_log WHERE farm = ?1 AND epoch > ?2
         UNION SELECT dataset, key FROM changed WHERE farm = ?1
         UNION SELECT dataset, CAST(key AS BLOB) FROM scheduled
            WHERE farm = ?1 AND effective_at > ?3 AND effective_at <= ?4
         UNION SELECT dataset, CAST(key AS BLOB) FROM scheduled
            WHERE farm = ?1 AND expires_at IS NOT NULL AND expires_at > ?3 AND expires_at <= ?4",
        params![farm.name(), signed(epoch), low.as_nanos(), high.as_nanos()],
    )?;
    Ok(())
}

/// The scheduled records of a key that are in force at an instant: the one that counts, and those that
/// would count without it.
fn in_force(
    connection: &Connection,
    farm: &Name,
    dataset: &Name,
    key: &[u8],
    at: ServerTime,
) -> Result<Vec<Scheduled>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT effective_at, expires_at, CAST(value AS BLOB) FROM scheduled
         WHERE farm = ?1 AND dataset = ?2 AND CAST(key AS BLOB) = ?3 AND effective_at <= ?4
            AND (expires_at IS NULL OR expires_at > ?4)
         ORDER BY effective_at",
    )?;
    let mut rows = statement.query(params![farm.as_str(), dataset.as_str(), key, at.as_nanos()])?;
    let mut records = Vec::new();
    while let Some(row) = rows.next()? {
        records.push(Scheduled {
            dataset: dataset.clone(),
            key: key.to_vec(),
            effective_at: ServerTime::from_nanos(row.get(0)?),
            expires_at: row.get::<_, Option<i64>>(1)?.map(ServerTime::from_nanos),
            value: row.get(2)?,
        });
    }
    Ok(records)
}
