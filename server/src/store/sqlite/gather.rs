//! Gathering: what was touched is compared with what is staged, and what differs is written down as the
//! changes of the next generation (FORMATS "history"). Most of it is done ahead of the promotion, a batch
//! in a transaction; the promotion gathers what is left, and then has nothing to write but numbers.
//!
//! What is gathered is as of an instant, since scheduled records count from one on. For another instant
//! the keys whose scheduled records begin or end to count between the two are compared again.

use super::candidate::{Visible, digest_of_sums};
use super::counts::{Tally, note_unfit};
use super::*;
use crate::store::fit::Fitting;
use downbeat_core::content::{DatasetSum, record_digest};
use rusqlite::CachedStatement;
use std::collections::BTreeMap;

/// Keys that are compared in one transaction ahead of a promotion, so that no transition waits long.
const BATCH: u64 = 2_000;

/// The next generation, as far as it is gathered.
#[derive(Clone, Debug)]
pub(super) struct Gathered {
    pub(super) as_of: ServerTime,
    pub(super) sums: BTreeMap<Name, DatasetSum>,
    /// What it holds and how it differs, by dataset.
    pub(super) tallies: BTreeMap<Name, Tally>,
    /// Records in which it differs from what is staged.
    pub(super) changes: u64,
}

impl Gathered {
    /// What is gathered so far: of a farm of which nothing is, the staged generation itself.
    pub(super) fn load(connection: &Connection, farm: &FarmRow) -> Result<Gathered, StoreError> {
        let epoch = if farm.gathered.is_some() { farm.staged + 1 } else { farm.staged };
        let sums = history::sums(connection, &farm.name, epoch)?;
        let tallies = counts::load(connection, &farm.name, epoch)?;
        let (as_of, changes) = farm.gathered.unwrap_or((farm.as_of, 0));
        Ok(Gathered { as_of, sums, tallies, changes })
    }

    fn save(&self, connection: &Connection, farm: &FarmRow) -> Result<(), StoreError> {
        let epoch = signed(farm.staged + 1);
        connection
            .prepare_cached("DELETE FROM generation_dataset WHERE farm = ?1 AND epoch = ?2")?
            .execute(params![farm.name(), epoch])?;
        let mut insert = connection.prepare_cached(
            "INSERT INTO generation_dataset (farm, epoch, dataset, sum, count, bytes)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        for (dataset, sum) in self.sums.iter().filter(|(_, sum)| !sum.is_empty()) {
            let bytes = self.tallies.get(dataset).map_or(0, |tally| tally.bytes);
            let (count, bytes) = (signed(sum.count), signed(bytes));
            insert.execute(params![farm.name(), epoch, dataset.as_str(), sum.sum, count, bytes])?;
        }
        counts::save(connection, &farm.name, &self.tallies)?;
        connection
            .prepare_cached("UPDATE farm SET gathered_as_of = ?2, gathered_changes = ?3 WHERE name = ?1")?
            .execute(params![farm.name(), self.as_of.as_nanos(), signed(self.changes)])?;
        Ok(())
    }

    pub(super) fn digest(&self) -> Result<Digest, StoreError> {
        digest_of_sums(self.sums.iter().filter(|(_, sum)| !sum.is_empty()))
    }
}

/// The changes that are gathered, looked up in ascending order of dataset and key. The touched keys come in
/// that order too, and most lie behind all that is gathered: of those it is known without a look.
struct Before<'c> {
    next: CachedStatement<'c>,
    place: (&'c str, i64),
    state: Next,
}

/// The first gathered change at or behind the place that was asked for last.
enum Next {
    Unknown,
    None,
    Change(Name, Vec<u8>, Option<Vec<u8>>),
}

impl<'c> Before<'c> {
    fn new(connection: &'c Connection, farm: &'c FarmRow) -> Result<Before<'c>, StoreError> {
        let next = connection.prepare_cached(
            "SELECT dataset, key, value FROM record_log
             WHERE farm = ?1 AND epoch = ?2 AND (dataset, key) >= (?3, ?4) ORDER BY dataset, key LIMIT 1",
        )?;
        let nothing = farm.gathered.is_none_or(|(_, changes)| changes == 0);
        let state = if nothing { Next::None } else { Next::Unknown };
        Ok(Before { next, place: (farm.name(), signed(farm.staged + 1)), state })
    }

    /// The change that is gathered of a key, if there is one: its value, or that it deletes.
    fn change(&mut self, dataset: &Name, key: &[u8]) -> Result<Option<Option<Vec<u8>>>, StoreError> {
        let is_behind = match &self.state {
            Next::Unknown => true,
            Next::None => false,
            Next::Change(found, at, _) => (found, at.as_slice()) < (dataset, key),
        };
        if is_behind {
            let (farm, epoch) = self.place;
            let row = self.next.query_row(params![farm, epoch, dataset.as_str(), key], |row| {
                Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?))
            });
            self.state = match row.optional()? {
                None => Next::None,
                Some((dataset, key, value)) => Next::Change(name_of(dataset)?, key, value),
            };
        }
        match &self.state {
            Next::Change(found, at, value) if found == dataset && at == key => Ok(Some(value.clone())),
            _ => Ok(None),
        }
    }
}

/// Compares keys one by one, in ascending order of dataset and key, and keeps up what is gathered.
struct Gatherer<'c> {
    connection: &'c Connection,
    farm: &'c FarmRow,
    log: Log<'c>,
    visible: Visible<'c>,
    before: Before<'c>,
    put: CachedStatement<'c>,
    gathered: Gathered,
    fitting: Fitting,
    /// Whether the log is written; otherwise only the sums are made, for a look.
    writes: bool,
}

impl<'c> Gatherer<'c> {
    fn new(
        connection: &'c Connection,
        farm: &'c FarmRow,
        as_of: ServerTime,
        fitting: Fitting,
        writes: bool,
    ) -> Result<Gatherer<'c>, StoreError> {
        let (log, visible) = (Log::new(connection, farm)?, Visible::new(connection, farm, as_of)?);
        let before = Before::new(connection, farm)?;
        let put = connection.prepare_cached(
            "INSERT INTO record_log (farm, epoch, dataset, key, value) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT DO UPDATE SET value = excluded.value",
        )?;
        let gathered = Gathered { as_of, ..Gathered::load(connection, farm)? };
        Ok(Gatherer { connection, farm, log, visible, before, put, gathered, fitting, writes })
    }

    /// Compares one key, which must not have been compared since it was touched.
    fn look_at(&mut self, dataset: &Name, key: &[u8]) -> Result<(), StoreError> {
        let new = self.visible.value(dataset, key)?;
        let staged = self.log.value_at(self.farm.staged, dataset, key)?;
        let gathered = self.before.change(dataset, key)?;
        let old = gathered.as_ref().unwrap_or(&staged);
        if *old == new {
            return Ok(());
        }
        let sum = self.gathered.sums.entry(dataset.clone()).or_default();
        if let Some(old) = old {
            sum.remove(record_digest(dataset, key, old));
        }
        if let Some(new) = &new {
            sum.add(record_digest(dataset, key, new));
        }
        self.gathered.changes -= u64::from(gathered.is_some());
        self.gathered.changes += u64::from(new != staged);
        let tally = self.gathered.tallies.entry(dataset.clone()).or_default();
        tally.step(key, staged.as_deref(), old.as_deref(), new.as_deref());
        if self.writes {
            self.write(dataset, key, new.as_deref(), new != staged)?;
            let looked_at = new.as_deref().filter(|_| new != staged);
            let why = looked_at.and_then(|value| self.fitting.why_not(dataset, key, value));
            if self.fitting.is_asked(dataset) {
                note_unfit(self.connection, &self.farm.name, dataset, key, why.as_deref())?;
            }
        }
        Ok(())
    }

    fn write(
        &mut self,
        dataset: &Name,
        key: &[u8],
        new: Option<&[u8]>,
        differs: bool,
    ) -> Result<(), StoreError> {
        let epoch = signed(self.farm.staged + 1);
        if differs {
            self.put.execute(params![self.farm.name(), epoch, dataset.as_str(), key, new])?;
        } else {
            self.connection
                .prepare_cached(
                    "DELETE FROM record_log
                     WHERE farm = ?1 AND epoch = ?2 AND dataset = ?3 AND key = ?4",
                )?
                .execute(params![self.farm.name(), epoch, dataset.as_str(), key])?;
        }
        Ok(())
    }
}

/// Gathers all that is left, as of an activation. Where the transaction may write, what was gathered
/// stands in it; the caller decides whether that stays.
pub(super) fn gather_all(
    connection: &Connection,
    farm: &FarmRow,
    activation: ServerTime,
    writes: bool,
) -> Result<Gathered, StoreError> {
    let fitting = guards::fitting(connection, &farm.name)?;
    let mut gatherer = Gatherer::new(connection, farm, activation, fitting, writes)?;
    let mut keys = connection.prepare_cached(
        "SELECT dataset, key FROM changed WHERE farm = ?1
         UNION SELECT dataset, CAST(key AS BLOB) FROM scheduled
            WHERE farm = ?1 AND effective_at > ?2 AND effective_at <= ?3
         UNION SELECT dataset, CAST(key AS BLOB) FROM scheduled
            WHERE farm = ?1 AND expires_at IS NOT NULL AND expires_at > ?2 AND expires_at <= ?3
         ORDER BY 1, 2",
    )?;
    let (low, high) = farm.instants_until(activation);
    let mut rows = keys.query(params![farm.name(), low.as_nanos(), high.as_nanos()])?;
    while let Some(row) = rows.next()? {
        gatherer
            .look_at(&name_of(row.get(0)?)?, row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?)?;
    }
    let gathered = gatherer.gathered;
    if writes {
        connection.prepare_cached("DELETE FROM changed WHERE farm = ?1")?.execute([farm.name()])?;
        gathered.save(connection, farm)?;
    }
    Ok(gathered)
}

/// Gathers one batch of what was touched, in a transaction of its own. Gives how many keys were compared;
/// 0 once nothing is left, or while a candidate is frozen.
pub(super) fn gather_batch(store: &mut SqliteStore, farm: &Name) -> Result<u64, StoreError> {
    // A look that holds up nobody: most of the time nothing was touched.
    let snapshot = store.snapshot_of_all()?;
    let row = FarmRow::load(&snapshot, farm)?;
    if row.frozen.is_some() || !is_touched(&snapshot, farm)? {
        return Ok(0);
    }
    let mut fitting = guards::fitting(&snapshot, farm)?;
    check_ahead(&snapshot, &row, &mut fitting)?;
    snapshot.commit()?;
    let transaction = store.write()?;
    let row = FarmRow::load(&transaction, farm)?;
    if row.frozen.is_some() {
        return Ok(0);
    }
    let looked_at = gather_some(&transaction, &row, fitting)?;
    transaction.commit()?;
    Ok(looked_at)
}

/// The instant that is gathered for until a promotion says which it is.
fn gathered_for(farm: &FarmRow) -> ServerTime {
    farm.gathered.map_or(farm.as_of, |(as_of, _)| as_of)
}

/// Whether any key was touched.
fn is_touched(connection: &Connection, farm: &Name) -> Result<bool, StoreError> {
    let mut statement = connection.prepare_cached("SELECT EXISTS (SELECT 1 FROM changed WHERE farm = ?1)")?;
    Ok(statement.query_row([farm.as_str()], |row| row.get(0))?)
}

/// The first keys that were touched, ascending.
fn next_batch(connection: &Connection, farm: &FarmRow) -> Result<Vec<(Name, Vec<u8>)>, StoreError> {
    let mut statement = connection
        .prepare_cached("SELECT dataset, key FROM changed WHERE farm = ?1 ORDER BY dataset, key LIMIT ?2")?;
    let mut rows = statement.query(params![farm.name(), signed(BATCH)])?;
    let mut keys = Vec::new();
    while let Some(row) = rows.next()? {
        keys.push((name_of(row.get(0)?)?, row.get(1)?));
    }
    Ok(keys)
}

/// Looks whether values fit their schemas before the database is held for writing.
fn check_ahead(connection: &Connection, farm: &FarmRow, fitting: &mut Fitting) -> Result<(), StoreError> {
    if !fitting.is_asked_any() {
        return Ok(());
    }
    let mut visible = Visible::new(connection, farm, gathered_for(farm))?;
    for (dataset, key) in next_batch(connection, farm)? {
        if fitting.is_asked(&dataset)
            && let Some(value) = visible.value(&dataset, &key)?
        {
            fitting.look_ahead(&dataset, &key, &value);
        }
    }
    Ok(())
}

fn gather_some(connection: &Connection, farm: &FarmRow, fitting: Fitting) -> Result<u64, StoreError> {
    let mut gatherer = Gatherer::new(connection, farm, gathered_for(farm), fitting, true)?;
    let keys = next_batch(connection, farm)?;
    for (dataset, key) in &keys {
        gatherer.look_at(dataset, key)?;
    }
    if let Some((dataset, key)) = keys.last() {
        connection
            .prepare_cached("DELETE FROM changed WHERE farm = ?1 AND (dataset, key) <= (?2, ?3)")?
            .execute(params![farm.name(), dataset.as_str(), key])?;
        gatherer.gathered.save(connection, farm)?;
    }
    Ok(keys.len() as u64)
}

/// What is gathered is a generation's now; its row was written.
pub(super) fn promoted(connection: &Connection, farm: &FarmRow) -> Result<(), StoreError> {
    connection
        .prepare_cached("UPDATE farm SET gathered_as_of = NULL, gathered_changes = 0 WHERE name = ?1")?
        .execute([farm.name()])?;
    counts::forget(connection, &farm.name)
}

/// What is gathered was not let through: its keys count as touched, for the next candidate, and the next
/// generation has the sums of the staged one.
pub(super) fn scatter(connection: &Connection, farm: &FarmRow) -> Result<(), StoreError> {
    let next = params![farm.name(), signed(farm.staged + 1)];
    connection.execute(
        "INSERT INTO changed SELECT farm, dataset, key FROM record_log l WHERE farm = ?1 AND epoch = ?2
            AND NOT EXISTS (SELECT 1 FROM changed c
                WHERE c.farm = l.farm AND c.dataset = l.dataset AND c.key = l.key)",
        next,
    )?;
    connection.execute("DELETE FROM record_log WHERE farm = ?1 AND epoch = ?2", next)?;
    connection.execute("DELETE FROM generation_dataset WHERE farm = ?1 AND epoch = ?2", next)?;
    connection.execute(
        "INSERT INTO generation_dataset (farm, epoch, dataset, sum, count, bytes)
         SELECT farm, ?2, dataset, sum, count, bytes FROM generation_dataset
         WHERE farm = ?1 AND epoch = ?2 - 1",
        next,
    )?;
    Ok(())
}

/// Nothing is gathered from here on: every key that was is to be compared again.
pub(super) fn begin_anew(connection: &Connection, farm: &FarmRow) -> Result<(), StoreError> {
    scatter(connection, farm)?;
    connection.execute(
        "DELETE FROM generation_dataset WHERE farm = ?1 AND epoch = ?2",
        params![farm.name(), signed(farm.staged + 1)],
    )?;
    promoted(connection, farm)
}
