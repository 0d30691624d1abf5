//! A farm's guards, what they say of a candidate, and that one doesn't count once (FORMATS "guards").

use super::gather::Gathered;
use super::*;
use crate::store::fit::{Fit, Fitting};
use downbeat_core::content::DatasetSum;
use std::collections::BTreeMap;

/// Overrides that are remembered for a farm after they were used.
const REMEMBERED: i64 = 100;

pub(super) fn load(connection: &Connection, farm: &Name) -> Result<Vec<Guard>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT dataset, kind, share, floor, most, schema FROM guard WHERE farm = ?1 ORDER BY dataset, kind",
    )?;
    let mut rows = statement.query([farm.as_str()])?;
    let mut guards = Vec::new();
    while let Some(row) = rows.next()? {
        let (dataset, kind): (String, String) = (row.get(0)?, row.get(1)?);
        let kind = GuardKind::from_text(&kind)
            .ok_or_else(|| StoreError::Damaged(format!("there is no guard of the kind {kind:?}")))?;
        let dataset = if dataset.is_empty() { None } else { Some(name_of(dataset)?) };
        let limit = match kind {
            GuardKind::Change | GuardKind::Vanish => {
                Limit::Share { parts: row.get(2)?, floor: unsigned(row.get(3)?) }
            }
            GuardKind::Records | GuardKind::Bytes => Limit::Most(unsigned(row.get(4)?)),
            GuardKind::Schema => Limit::Schema(row.get(5)?),
        };
        guards.push(Guard { name: GuardName { dataset, kind }, limit });
    }
    Ok(guards)
}

/// The schemas among them, ready to be asked.
pub(super) fn fitting(connection: &Connection, farm: &Name) -> Result<Fitting, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT dataset, schema FROM guard WHERE farm = ?1 AND kind = 'schema' ORDER BY dataset",
    )?;
    let mut rows = statement.query([farm.as_str()])?;
    let mut texts = Vec::new();
    while let Some(row) = rows.next()? {
        texts.push((name_of(row.get(0)?)?, row.get(1)?));
    }
    Fitting::new(texts)
}

/// Sets a guard, in place of one with the same name.
pub(super) fn set(connection: &Connection, farm: &FarmRow, guard: &Guard) -> Result<(), StoreError> {
    if !guard.is_well_formed() {
        return Err(StoreError::NoGuard(format!("{} is not limited so", guard.name)));
    }
    let (mut share, mut floor, mut most, mut schema) = (None, None, None, None);
    match &guard.limit {
        Limit::Share { parts, floor: least } => (share, floor) = (Some(*parts), Some(signed(*least))),
        Limit::Most(number) => most = Some(signed(*number)),
        Limit::Schema(text) => {
            Fit::new(text).map_err(StoreError::NoGuard)?;
            schema = Some(text);
        }
    }
    connection.execute(
        "INSERT OR REPLACE INTO guard (farm, dataset, kind, share, floor, most, schema)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![farm.name(), dataset_of(&guard.name), guard.name.kind.text(), share, floor, most, schema],
    )?;
    schemas_changed(connection, farm, guard.name.kind)
}

/// Takes a guard away; whether it was there.
pub(super) fn remove(connection: &Connection, farm: &FarmRow, name: &GuardName) -> Result<bool, StoreError> {
    let gone = connection.execute(
        "DELETE FROM guard WHERE farm = ?1 AND dataset = ?2 AND kind = ?3",
        params![farm.name(), dataset_of(name), name.kind.text()],
    )?;
    schemas_changed(connection, farm, name.kind)?;
    Ok(gone > 0)
}

fn dataset_of(name: &GuardName) -> &str {
    name.dataset.as_ref().map_or("", Name::as_str)
}

/// Values that wait for the next promotion are looked at with the schemas as they are now; a frozen
/// candidate is one no more.
fn schemas_changed(connection: &Connection, farm: &FarmRow, kind: GuardKind) -> Result<(), StoreError> {
    if kind == GuardKind::Schema && farm.gathered.is_some() {
        gate::thaw(connection, &farm.name)?;
        gather::begin_anew(connection, farm)?;
    }
    Ok(())
}

/// What breaks a guard in what is gathered, but for guards that don't count for it.
pub(super) fn judge(
    connection: &Connection,
    farm: &FarmRow,
    gathered: &Gathered,
    digest: Digest,
) -> Result<Vec<Reason>, StoreError> {
    let guards = load(connection, &farm.name)?;
    if guards.is_empty() {
        return Ok(Vec::new());
    }
    let staged = history::sums(connection, &farm.name, farm.staged)?;
    let overridden = overrides(connection, &farm.name)?;
    let mut reasons = Vec::new();
    for guard in &guards {
        let counts = count(connection, farm, &staged, gathered, &guard.name)?;
        let Some((limit, found)) = guard.broken_by(&counts) else { continue };
        let text = guard.name.to_string();
        if overridden.iter().any(|once| once.used.is_none() && once.digest == digest && once.guard == text) {
            continue;
        }
        let examples = examples(connection, farm, &guard.name)?;
        reasons.push(Reason { guard: text, limit, found, examples, cure: guard.cure() });
    }
    Ok(reasons)
}

/// What a guard looks at, counted.
fn count(
    connection: &Connection,
    farm: &FarmRow,
    staged: &BTreeMap<Name, DatasetSum>,
    gathered: &Gathered,
    name: &GuardName,
) -> Result<Counts, StoreError> {
    let is_of = |dataset: &Name| name.dataset.as_ref().is_none_or(|of| of == dataset);
    let sum_of = |sums: &BTreeMap<Name, DatasetSum>| -> u64 {
        sums.iter().filter(|(dataset, _)| is_of(dataset)).map(|(_, sum)| sum.count).sum()
    };
    let mut counts = Counts { staged: sum_of(staged), records: sum_of(&gathered.sums), ..Counts::default() };
    for (_, tally) in gathered.tallies.iter().filter(|(dataset, _)| is_of(dataset)) {
        counts.bytes += tally.bytes;
        counts.changed += tally.changed;
        counts.vanished += tally.vanished;
    }
    if name.kind == GuardKind::Schema {
        let number = connection
            .prepare_cached("SELECT count(*) FROM unfit WHERE farm = ?1 AND dataset = ?2")?
            .query_row(params![farm.name(), dataset_of(name)], |row| row.get(0))?;
        counts.unfit = unsigned(number);
    }
    Ok(counts)
}

/// Some of the records that a guard is broken by.
fn examples(connection: &Connection, farm: &FarmRow, name: &GuardName) -> Result<Vec<Example>, StoreError> {
    let sql = match name.kind {
        GuardKind::Schema => "SELECT dataset, key, why FROM unfit WHERE farm = ?1 AND dataset = ?2 LIMIT ?4",
        GuardKind::Vanish => {
            "SELECT dataset, key, NULL FROM record_log
             WHERE farm = ?1 AND epoch = ?3 AND (?2 = '' OR dataset = ?2) AND value IS NULL LIMIT ?4"
        }
        _ => {
            "SELECT dataset, key, NULL FROM record_log
             WHERE farm = ?1 AND epoch = ?3 AND (?2 = '' OR dataset = ?2) LIMIT ?4"
        }
    };
    let mut statement = connection.prepare_cached(sql)?;
    let limit = signed(EXAMPLES as u64);
    // The statement about schemas has no use for the epoch.
    let mut rows = statement.query(params![farm.name(), dataset_of(name), signed(farm.staged + 1), limit])?;
    let mut examples = Vec::new();
    while let Some(row) = rows.next()? {
        examples.push(Example { dataset: name_of(row.get(0)?)?, key: row.get(1)?, why: row.get(2)? });
    }
    Ok(examples)
}

/// Notes that a guard doesn't count for a candidate.
pub(super) fn override_once(
    connection: &Connection,
    farm: &Name,
    guard: &GuardName,
    digest: Digest,
    by: &str,
    at: ServerTime,
) -> Result<(), StoreError> {
    let name = guard.to_string();
    connection.execute(
        "DELETE FROM guard_override WHERE farm = ?1 AND guard = ?2 AND used IS NULL",
        params![farm.as_str(), name],
    )?;
    connection.execute(
        "INSERT INTO guard_override (farm, guard, digest, made_by, made_at) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![farm.as_str(), name, digest.0, by, at.as_nanos()],
    )?;
    Ok(())
}

/// Overrides that wait, and the last ones that were used; the newest first.
pub(super) fn overrides(connection: &Connection, farm: &Name) -> Result<Vec<Override>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT guard, digest, made_by, made_at, used FROM guard_override WHERE farm = ?1 ORDER BY id DESC",
    )?;
    let mut rows = statement.query([farm.as_str()])?;
    let mut overrides = Vec::new();
    while let Some(row) = rows.next()? {
        overrides.push(Override {
            guard: row.get(0)?,
            digest: digest_of(row.get(1)?)?,
            by: row.get(2)?,
            at: ServerTime::from_nanos(row.get(3)?),
            used: row.get::<_, Option<i64>>(4)?.map(unsigned),
        });
    }
    Ok(overrides)
}

/// A candidate was promoted: its overrides are used up, and those of others hold no more.
pub(super) fn use_up(
    connection: &Connection,
    farm: &Name,
    digest: Digest,
    epoch: Epoch,
) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "UPDATE guard_override SET used = ?3 WHERE farm = ?1 AND digest = ?2 AND used IS NULL",
        )?
        .execute(params![farm.as_str(), digest.0, signed(epoch)])?;
    connection
        .prepare_cached(
            "DELETE FROM guard_override WHERE farm = ?1 AND (used IS NULL OR id NOT IN (
                SELECT id FROM guard_override WHERE farm = ?1 ORDER BY id DESC LIMIT ?2))",
        )?
        .execute(params![farm.as_str(), REMEMBERED])?;
    Ok(())
}

/// Visits staged and production records of a dataset that don't fit a schema, until `visit` says stop.
pub(super) fn misfits(
    connection: &Connection,
    farm: &Name,
    dataset: &Name,
    schema: &str,
    most: usize,
) -> Result<(u64, Vec<Example>), StoreError> {
    let fit = Fit::new(schema).map_err(StoreError::NoGuard)?;
    let mut statement = connection.prepare_cached(
        "SELECT CAST(key AS BLOB), CAST(value AS BLOB) FROM production
         WHERE farm = ?1 AND dataset = ?2 ORDER BY CAST(key AS BLOB)",
    )?;
    let mut rows = statement.query(params![farm.as_str(), dataset.as_str()])?;
    let (mut found, mut examples) = (0, Vec::new());
    while let Some(row) = rows.next()? {
        let value = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
        let Some(why) = fit.why_not(value) else { continue };
        found += 1;
        if examples.len() < EXAMPLES {
            examples.push(Example { dataset: dataset.clone(), key: row.get(0)?, why: Some(why) });
        }
        if found as usize >= most {
            break;
        }
    }
    Ok((found, examples))
}
