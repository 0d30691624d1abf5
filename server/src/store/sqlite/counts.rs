//! What is gathered, counted by dataset: what it holds, how it differs from what is staged, and which of
//! its records don't fit their schema. Kept up with each change, so that a guard is judged by a few
//! numbers.

use super::*;
use std::collections::BTreeMap;

/// The counts of a dataset.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Tally {
    /// Of keys and values.
    pub(super) bytes: u64,
    pub(super) added: u64,
    pub(super) changed: u64,
    pub(super) vanished: u64,
}

impl Tally {
    /// A key goes from one value to another, where another one is staged.
    pub(super) fn step(&mut self, key: &[u8], staged: Option<&[u8]>, old: Option<&[u8]>, new: Option<&[u8]>) {
        let size = |value: Option<&[u8]>| value.map_or(0, |value| (key.len() + value.len()) as u64);
        self.bytes = self.bytes.saturating_sub(size(old)).saturating_add(size(new));
        if let Some(count) = self.kind(staged, old) {
            *count = count.saturating_sub(1);
        }
        if let Some(count) = self.kind(staged, new) {
            *count += 1;
        }
    }

    /// Where a value counts, in place of the one that is staged.
    fn kind(&mut self, staged: Option<&[u8]>, value: Option<&[u8]>) -> Option<&mut u64> {
        match (staged, value) {
            (None, Some(_)) => Some(&mut self.added),
            (Some(_), None) => Some(&mut self.vanished),
            (Some(staged), Some(value)) if staged != value => Some(&mut self.changed),
            _ => None,
        }
    }
}

/// The tallies of a generation, or of what is gathered: those of `epoch`'s bytes.
pub(super) fn load(
    connection: &Connection,
    farm: &Name,
    epoch: Epoch,
) -> Result<BTreeMap<Name, Tally>, StoreError> {
    let mut tallies: BTreeMap<Name, Tally> = BTreeMap::new();
    let mut statement = connection
        .prepare_cached("SELECT dataset, bytes FROM generation_dataset WHERE farm = ?1 AND epoch = ?2")?;
    let mut rows = statement.query(params![farm.as_str(), signed(epoch)])?;
    while let Some(row) = rows.next()? {
        tallies.entry(name_of(row.get(0)?)?).or_default().bytes = unsigned(row.get(1)?);
    }
    let mut statement = connection
        .prepare_cached("SELECT dataset, added, changed, vanished FROM gathered_dataset WHERE farm = ?1")?;
    let mut rows = statement.query([farm.as_str()])?;
    while let Some(row) = rows.next()? {
        let tally = tallies.entry(name_of(row.get(0)?)?).or_default();
        tally.added = unsigned(row.get(1)?);
        tally.changed = unsigned(row.get(2)?);
        tally.vanished = unsigned(row.get(3)?);
    }
    Ok(tallies)
}

/// Writes how what is gathered differs. (Its bytes stand with its sums.)
pub(super) fn save(
    connection: &Connection,
    farm: &Name,
    tallies: &BTreeMap<Name, Tally>,
) -> Result<(), StoreError> {
    connection.prepare_cached("DELETE FROM gathered_dataset WHERE farm = ?1")?.execute([farm.as_str()])?;
    let mut insert = connection.prepare_cached(
        "INSERT INTO gathered_dataset (farm, dataset, added, changed, vanished) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    for (dataset, Tally { added, changed, vanished, .. }) in tallies {
        if added + changed + vanished > 0 {
            let counts = (signed(*added), signed(*changed), signed(*vanished));
            insert.execute(params![farm.as_str(), dataset.as_str(), counts.0, counts.1, counts.2])?;
        }
    }
    Ok(())
}

/// Notes why a record of what is gathered doesn't fit, or that it does.
pub(super) fn note_unfit(
    connection: &Connection,
    farm: &Name,
    dataset: &Name,
    key: &[u8],
    why: Option<&str>,
) -> Result<(), StoreError> {
    let place = params![farm.as_str(), dataset.as_str(), key, why];
    let sql = match why {
        Some(_) => {
            "INSERT INTO unfit (farm, dataset, key, why) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO UPDATE SET why = excluded.why"
        }
        None => "DELETE FROM unfit WHERE farm = ?1 AND dataset = ?2 AND key = ?3 AND ?4 IS NULL",
    };
    connection.prepare_cached(sql)?.execute(place)?;
    Ok(())
}

/// Nothing is gathered any more.
pub(super) fn forget(connection: &Connection, farm: &Name) -> Result<(), StoreError> {
    for table in ["gathered_dataset", "unfit"] {
        connection
            .prepare_cached(&format!("DELETE FROM {table} WHERE farm = ?1"))?
            .execute([farm.as_str()])?;
    }
    Ok(())
}
