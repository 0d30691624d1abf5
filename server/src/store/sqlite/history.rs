//! Reading generations: manifest, records in order, differences (FORMATS "history").

use super::*;
use downbeat_core::content::DatasetSum;
use downbeat_core::ids::Generation;
use std::collections::BTreeMap;

pub(super) fn generations(connection: &Connection, farm: &Name) -> Result<Vec<Kept>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT epoch, digest, as_of, changes, activation,
            (SELECT total(count) FROM generation_dataset d WHERE d.farm = g.farm AND d.epoch = g.epoch)
         FROM generation g WHERE farm = ?1 ORDER BY epoch",
    )?;
    let mut rows = statement.query([farm.as_str()])?;
    let mut kept = Vec::new();
    while let Some(row) = rows.next()? {
        kept.push(Kept {
            generation: Generation { epoch: unsigned(row.get(0)?), digest: digest_of(row.get(1)?)? },
            as_of: ServerTime::from_nanos(row.get(2)?),
            changes: unsigned(row.get(3)?),
            activation: ServerTime::from_nanos(row.get(4)?),
            records: row.get::<_, f64>(5)? as u64,
        });
    }
    Ok(kept)
}

/// The farm's row and the generation, where it can be read.
pub(super) fn kept(
    connection: &Connection,
    farm: &Name,
    epoch: Epoch,
) -> Result<(FarmRow, Generation), StoreError> {
    let row = FarmRow::load(connection, farm)?;
    let mut statement =
        connection.prepare_cached("SELECT digest FROM generation WHERE farm = ?1 AND epoch = ?2")?;
    let digest: Option<Vec<u8>> =
        statement.query_row(params![farm.as_str(), signed(epoch)], |row| row.get(0)).optional()?;
    match digest {
        Some(digest) => Ok((row, Generation { epoch, digest: digest_of(digest)? })),
        None => Err(StoreError::NotKept { epoch, oldest: oldest(connection, farm)?, newest: row.staged }),
    }
}

/// The oldest generation that can be read.
pub(super) fn oldest(connection: &Connection, farm: &Name) -> Result<Epoch, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT coalesce(min(epoch), 0) FROM generation WHERE farm = ?1")?;
    Ok(unsigned(statement.query_row([farm.as_str()], |row| row.get(0))?))
}

/// The sums of a generation's datasets; empty for epoch 0, before the first.
pub(super) fn sums(
    connection: &Connection,
    farm: &Name,
    epoch: Epoch,
) -> Result<BTreeMap<Name, DatasetSum>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT dataset, sum, count FROM generation_dataset WHERE farm = ?1 AND epoch = ?2",
    )?;
    let mut rows = statement.query(params![farm.as_str(), signed(epoch)])?;
    let mut sums = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let sum = DatasetSum { sum: digest_of(row.get(1)?)?.0, count: unsigned(row.get(2)?) };
        sums.insert(name_of(row.get(0)?)?, sum);
    }
    Ok(sums)
}

pub(super) fn manifest(
    connection: &Connection,
    farm: &Name,
    epoch: Epoch,
) -> Result<Vec<ManifestEntry>, StoreError> {
    let sums = sums(connection, farm, epoch)?;
    Ok(sums.into_iter().map(|(dataset, sum)| ManifestEntry { dataset, sum }).collect())
}

/// Records of a generation in an index that is complete: in the order of the index, nothing sorted.
pub(super) const FROM_INDEX: &str = "
    SELECT i.key, l.value FROM record_index i CROSS JOIN record_log l
        ON l.farm = i.farm AND l.epoch = i.epoch AND l.dataset = i.dataset AND l.key = i.key
    WHERE i.farm = ?1 AND i.dataset = ?2 AND l.value IS NOT NULL AND i.epoch = (
        SELECT max(j.epoch) FROM record_index j
        WHERE j.farm = i.farm AND j.dataset = i.dataset AND j.key = i.key AND j.epoch <= ?3)
    ORDER BY i.key";

/// The same where the log has epochs, after ?4, that the index may not have.
const FROM_INDEX_AND_LOG: &str = "
    SELECT k.key, l.value FROM (
        SELECT key, max(epoch) AS epoch FROM (
            SELECT key, epoch FROM record_index WHERE farm = ?1 AND dataset = ?2 AND epoch <= ?3
            UNION ALL
            SELECT l.key, l.epoch FROM generation g CROSS JOIN record_log l
                ON l.farm = g.farm AND l.epoch = g.epoch
            WHERE g.farm = ?1 AND g.epoch > ?4 AND g.epoch <= ?3 AND l.dataset = ?2)
        GROUP BY key) k CROSS JOIN record_log l
        ON l.farm = ?1 AND l.epoch = k.epoch AND l.dataset = ?2 AND l.key = k.key
    WHERE l.value IS NOT NULL ORDER BY k.key";

/// The same of what is gathered, which is no generation yet: epoch ?3.
const FROM_ALL_AND_GATHERED: &str = "
    SELECT k.key, l.value FROM (
        SELECT key, max(epoch) AS epoch FROM (
            SELECT key, epoch FROM record_index WHERE farm = ?1 AND dataset = ?2
            UNION ALL
            SELECT l.key, l.epoch FROM generation g CROSS JOIN record_log l
                ON l.farm = g.farm AND l.epoch = g.epoch
            WHERE g.farm = ?1 AND g.epoch > ?4 AND l.dataset = ?2
            UNION ALL
            SELECT key, epoch FROM record_log WHERE farm = ?1 AND epoch = ?3 AND dataset = ?2)
        GROUP BY key) k CROSS JOIN record_log l
        ON l.farm = ?1 AND l.epoch = k.epoch AND l.dataset = ?2 AND l.key = k.key
    WHERE l.value IS NOT NULL ORDER BY k.key";

/// Visits the records of the candidate, as far as it is gathered, ascending by dataset and key.
pub(super) fn candidate_records(
    connection: &Connection,
    farm: &FarmRow,
    datasets: &[Name],
    visit: Visit<'_>,
) -> Result<(), StoreError> {
    let epoch = farm.staged + 1;
    let mut statement = connection.prepare_cached(FROM_ALL_AND_GATHERED)?;
    for dataset in sums(connection, &farm.name, epoch)?.keys() {
        if !datasets.is_empty() && !datasets.contains(dataset) {
            continue;
        }
        let place = params![farm.name(), dataset.as_str(), signed(epoch), signed(farm.indexed_to)];
        let mut rows = statement.query(place)?;
        while let Some(row) = rows.next()? {
            let blob = |column| row.get_ref(column)?.as_blob().map_err(rusqlite::Error::from);
            visit(dataset, blob(0)?, blob(1)?)?;
        }
    }
    Ok(())
}

/// Visits what the candidate changes, as far as it is gathered, ascending by dataset and key.
pub(super) fn candidate_changes(
    connection: &Connection,
    farm: &FarmRow,
    on_change: &mut dyn FnMut(Change) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT dataset, key, value FROM record_log WHERE farm = ?1 AND epoch = ?2 ORDER BY dataset, key",
    )?;
    let mut log = Log::new(connection, farm)?;
    let mut rows = statement.query(params![farm.name(), signed(farm.staged + 1)])?;
    while let Some(row) = rows.next()? {
        let (dataset, key) = (name_of(row.get(0)?)?, row.get::<_, Vec<u8>>(1)?);
        let before = log.value_at(farm.staged, &dataset, &key)?;
        on_change(Change { dataset, key, before, after: row.get(2)? })?;
    }
    Ok(())
}

/// Visits records, ascending by dataset and key.
pub(super) fn records(
    connection: &Connection,
    farm: &FarmRow,
    epoch: Epoch,
    datasets: &[Name],
    visit: Visit<'_>,
) -> Result<(), StoreError> {
    let indexed = farm.indexed_to >= epoch;
    let mut statement = connection.prepare_cached(if indexed { FROM_INDEX } else { FROM_INDEX_AND_LOG })?;
    for dataset in sums(connection, &farm.name, epoch)?.keys() {
        if !datasets.is_empty() && !datasets.contains(dataset) {
            continue;
        }
        let (name, to) = (dataset.as_str(), signed(epoch));
        let mut rows = if indexed {
            statement.query(params![farm.name(), name, to])?
        } else {
            statement.query(params![farm.name(), name, to, signed(farm.indexed_to)])?
        };
        while let Some(row) = rows.next()? {
            let blob = |column| row.get_ref(column)?.as_blob().map_err(rusqlite::Error::from);
            visit(dataset, blob(0)?, blob(1)?)?;
        }
    }
    Ok(())
}

/// Is told of a key that differs: dataset, key, values; whether to go on.
type OnDifference<'f> =
    &'f mut dyn FnMut(&Name, &[u8], Option<Vec<u8>>, Option<Vec<u8>>) -> Result<bool, StoreError>;

/// Visits what differs between two generations, ascending by dataset and key.
fn differences(
    connection: &Connection,
    farm: &Name,
    (from, to): (Epoch, Epoch),
    on_difference: OnDifference<'_>,
) -> Result<(), StoreError> {
    kept(connection, farm, from)?;
    let (farm, _) = kept(connection, farm, to)?;
    let mut statement = connection.prepare_cached(
        "SELECT DISTINCT dataset, key FROM record_log WHERE farm = ?1 AND epoch > ?2 AND epoch <= ?3
         ORDER BY dataset, key",
    )?;
    let mut log = Log::new(connection, &farm)?;
    let mut rows = statement.query(params![farm.name(), signed(from.min(to)), signed(from.max(to))])?;
    while let Some(row) = rows.next()? {
        let dataset = name_of(row.get(0)?)?;
        let key: Vec<u8> = row.get(1)?;
        let before = log.value_at(from, &dataset, &key)?;
        let after = log.value_at(to, &dataset, &key)?;
        if before != after && !on_difference(&dataset, &key, before, after)? {
            break;
        }
    }
    Ok(())
}

pub(super) fn diff(
    connection: &Connection,
    farm: &Name,
    from: Epoch,
    to: Epoch,
    limit: usize,
) -> Result<Vec<Change>, StoreError> {
    let mut changes = Vec::new();
    differences(connection, farm, (from, to), &mut |dataset, key, before, after| {
        if changes.len() < limit {
            changes.push(Change { dataset: dataset.clone(), key: key.to_vec(), before, after });
        }
        Ok(changes.len() < limit)
    })?;
    Ok(changes)
}

pub(super) fn count_differences(
    connection: &Connection,
    farm: &Name,
    from: Epoch,
    to: Epoch,
) -> Result<Differences, StoreError> {
    let mut counts = Differences::default();
    differences(connection, farm, (from, to), &mut |_, _, before, after| {
        match (before, after) {
            (None, _) => counts.added += 1,
            (_, None) => counts.removed += 1,
            _ => counts.changed += 1,
        }
        Ok(true)
    })?;
    Ok(counts)
}

/// The rows of a key in the log, the newest first: those in the index, and those of epochs that it may
/// not have yet.
const VERSIONS: &str = "
    SELECT l.epoch, g.activation, l.value FROM (
        SELECT epoch FROM record_index WHERE farm = ?1 AND dataset = ?2 AND key = ?3 AND epoch <= ?4
        UNION SELECT r.epoch FROM generation g CROSS JOIN record_log r
            ON r.farm = g.farm AND r.epoch = g.epoch AND r.dataset = ?2 AND r.key = ?3
            WHERE g.farm = ?1 AND g.epoch > ?5) e
        CROSS JOIN record_log l ON l.farm = ?1 AND l.epoch = e.epoch AND l.dataset = ?2 AND l.key = ?3
        LEFT JOIN generation g ON g.farm = l.farm AND g.epoch = l.epoch
    ORDER BY l.epoch DESC LIMIT ?6";

pub(super) fn versions(
    connection: &Connection,
    farm: &Name,
    dataset: &Name,
    key: &[u8],
    limit: usize,
) -> Result<Vec<Version>, StoreError> {
    let farm = FarmRow::load(connection, farm)?;
    let oldest = oldest(connection, &farm.name)?;
    let mut statement = connection.prepare_cached(VERSIONS)?;
    let (staged, indexed, limit) = (signed(farm.staged), signed(farm.indexed_to), signed(limit as u64));
    let mut rows = statement.query(params![farm.name(), dataset.as_str(), key, staged, indexed, limit])?;
    let mut versions = Vec::new();
    while let Some(row) = rows.next()? {
        let (epoch, value) = (unsigned(row.get(0)?), row.get(2)?);
        let is_first = epoch <= oldest;
        // That there was no record in the oldest generation is no event: since when is not known.
        if !is_first || Option::is_some(&value) {
            let activation = row.get::<_, Option<i64>>(1)?.map(ServerTime::from_nanos);
            versions.push(Version { epoch, activation, value });
        }
        if is_first {
            break;
        }
    }
    Ok(versions)
}
