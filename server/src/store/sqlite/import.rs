//! Imports: rows are put aside first, which holds up nobody, and then written in one transaction and in
//! the order of production, which is far faster than any other.
//!
//! Half of the time of a large import, and more, would go into what the schema does for each row that
//! anybody writes: CHECK constraints, and triggers that look whether the row belongs and note its key.
//! For all rows at once most of that is known beforehand, and the rest is done here.

use super::production::Putting;
use super::*;
use downbeat_core::content::{FARM_DATASETS_MAX, check_record};
use std::collections::BTreeSet;

/// Rows from which on it pays to do here what the schema would do.
const MANY: u64 = 10_000;

/// Of what the schema does for each row, what a large import does for all.
const TRIGGERS: [&str; 4] =
    ["production_belongs", "production_inserted", "production_updated_from", "changed_names"];

/// What is known of the rows that were put aside on a connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Loaded {
    rows: u64,
    /// Whether they were not strictly ascending by dataset and key.
    is_unordered: bool,
    /// Their datasets; no more than one too many for a farm.
    datasets: BTreeSet<Name>,
    last: Option<(Name, Vec<u8>)>,
}

impl Loaded {
    /// How many there were.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    fn note(&mut self, dataset: Name, key: Vec<u8>) {
        self.rows += 1;
        match &mut self.last {
            Some((before, last)) if *before == dataset => {
                self.is_unordered |= *last >= key;
                *last = key;
                return;
            }
            Some((before, _)) => self.is_unordered |= *before > dataset,
            None => {}
        }
        if self.datasets.len() <= FARM_DATASETS_MAX {
            self.datasets.insert(dataset.clone());
        }
        self.last = Some((dataset, key));
    }
}

/// Puts rows aside, in the order in which they come: a temporary table.
pub(super) fn load(
    connection: &Connection,
    rows: impl Iterator<Item = Result<Incoming, StoreError>>,
) -> Result<Loaded, StoreError> {
    connection.execute_batch(
        "DROP TABLE IF EXISTS came;
         CREATE TEMP TABLE came (line INTEGER, dataset TEXT, key BLOB, value BLOB)",
    )?;
    let mut loaded = Loaded::default();
    let mut insert = connection.prepare("INSERT INTO came VALUES (?1, ?2, ?3, ?4)")?;
    for row in rows {
        let Incoming { line, dataset, key, value } = row?;
        check_record(&key, &value).map_err(|limit| StoreError::Record { number: line, limit })?;
        insert.execute(params![signed(line), dataset.as_str(), key, value])?;
        loaded.note(dataset, key);
    }
    Ok(loaded)
}

/// Writes the rows that were put aside. The transaction is the caller's, and the farm is there.
pub(super) fn import_loaded(
    connection: &Connection,
    farm: &Name,
    loaded: &Loaded,
    replace: Option<&Name>,
    twice: &mut dyn FnMut(u64) -> Result<(), StoreError>,
) -> Result<Applied, StoreError> {
    let mut applied = if loaded.rows >= MANY && all_belong(connection, farm, &loaded.datasets)? {
        let noting = Noting::new(connection, farm);
        as_schema(connection, || write_loaded(connection, farm, loaded, twice, Some(noting)))?
    } else {
        write_loaded(connection, farm, loaded, twice, None)?
    };
    if let Some(dataset) = replace {
        applied.deleted = delete_others(connection, farm, dataset)?;
    }
    Ok(applied)
}

/// Whether the farm has room for these datasets. Where it hasn't, the schema refuses one of them, in its
/// own words.
fn all_belong(connection: &Connection, farm: &Name, new: &BTreeSet<Name>) -> Result<bool, StoreError> {
    let mut names = connection.prepare("SELECT name FROM dataset WHERE farm = ?1")?;
    let known = names.query_map([farm.as_str()], |row| row.get::<_, String>(0))?;
    let mut all: BTreeSet<String> = known.collect::<Result<_, _>>()?;
    all.extend(new.iter().map(|name| name.as_str().to_owned()));
    Ok(all.len() <= FARM_DATASETS_MAX)
}

/// Runs `write` in the schema's place: it does itself what [`TRIGGERS`] would, and writes nothing that
/// the CHECK constraints would refuse. Only this transaction ever sees the schema without them, and with
/// it they are back, whether it is committed or not.
fn as_schema<T>(
    connection: &Connection,
    write: impl FnOnce() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let mut sql = connection.prepare("SELECT sql FROM sqlite_schema WHERE type = 'trigger' AND name = ?1")?;
    let triggers: Vec<String> =
        TRIGGERS.iter().map(|name| sql.query_row([name], |row| row.get(0))).collect::<Result<_, _>>()?;
    drop(sql);
    for name in TRIGGERS {
        connection.execute_batch(&format!("DROP TRIGGER {name}"))?;
    }
    // Names, keys and values were looked at when they were put aside, and are text or blobs.
    connection.pragma_update(None, "ignore_check_constraints", true)?;
    let done = write();
    // Not part of the transaction.
    connection.pragma_update(None, "ignore_check_constraints", false)?;
    let done = done?;
    triggers.iter().try_for_each(|trigger| connection.execute_batch(trigger))?;
    Ok(done)
}

/// Notes the keys of records that were written, and the datasets that they are the first of.
struct Noting<'c> {
    connection: &'c Connection,
    farm: &'c Name,
    dataset: Option<Name>,
    note: Option<rusqlite::Statement<'c>>,
}

impl<'c> Noting<'c> {
    fn new(connection: &'c Connection, farm: &'c Name) -> Noting<'c> {
        Noting { connection, farm, dataset: None, note: None }
    }

    /// A record was written.
    fn note(&mut self, dataset: &Name, key: &[u8]) -> Result<(), StoreError> {
        if self.dataset.as_ref() != Some(dataset) {
            self.connection.execute(
                "INSERT INTO dataset VALUES (?1, ?2) ON CONFLICT DO NOTHING",
                [self.farm.as_str(), dataset.as_str()],
            )?;
            self.dataset = Some(dataset.clone());
        }
        let note = match &mut self.note {
            Some(note) => note,
            // Compiled here, where the triggers are gone.
            none => none.insert(self.connection.prepare(
                "INSERT INTO changed (farm, dataset, key) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
            )?),
        };
        note.execute(params![self.farm.as_str(), dataset.as_str(), key])?;
        Ok(())
    }
}

/// Writes the rows that were put aside, by dataset and key, and has what was written noted.
fn write_loaded(
    connection: &Connection,
    farm: &Name,
    loaded: &Loaded,
    twice: &mut dyn FnMut(u64) -> Result<(), StoreError>,
    mut noting: Option<Noting<'_>>,
) -> Result<Applied, StoreError> {
    let mut applied = Applied::default();
    let order = if loaded.is_unordered { "dataset, key, line" } else { "rowid" };
    let mut statement =
        connection.prepare(&format!("SELECT dataset, key, value, line FROM came ORDER BY {order}"))?;
    let mut rows = statement.query([])?;
    let mut putting = Putting::new(connection)?;
    let mut last: Option<(Name, Vec<u8>)> = None;
    while let Some(row) = rows.next()? {
        let blob = |column| row.get_ref(column)?.as_blob().map_err(rusqlite::Error::from);
        let text = row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?;
        let (key, value) = (blob(1)?, blob(2)?);
        let dataset = match last.take() {
            Some((dataset, before)) if dataset.as_str() == text => {
                if before == key {
                    last = Some((dataset, before));
                    twice(unsigned(row.get(3)?))?;
                    continue;
                }
                dataset
            }
            _ => name_of(text.to_owned())?,
        };
        let before = applied.written;
        putting.put(farm, &dataset, key, value, &mut applied)?;
        if let Some(noting) = noting.as_mut().filter(|_| applied.written > before) {
            noting.note(&dataset, key)?;
        }
        last = Some((dataset, key.to_vec()));
    }
    Ok(applied)
}

/// Deletes the records of a dataset that were not among the rows put aside: both are in the same order,
/// so one look at each is enough.
fn delete_others(connection: &Connection, farm: &Name, dataset: &Name) -> Result<u64, StoreError> {
    connection.execute_batch("DROP TABLE IF EXISTS gone; CREATE TEMP TABLE gone (key BLOB)")?;
    connection.execute(
        "INSERT INTO gone SELECT key FROM (
            SELECT CAST(key AS BLOB) AS key FROM production WHERE farm = ?1 AND dataset = ?2
            EXCEPT SELECT key FROM came WHERE dataset = ?2)",
        params![farm.as_str(), dataset.as_str()],
    )?;
    let gone = connection.execute(
        "DELETE FROM production WHERE farm = ?1 AND dataset = ?2
            AND CAST(key AS BLOB) IN (SELECT key FROM gone)",
        params![farm.as_str(), dataset.as_str()],
    )?;
    connection.execute_batch("DROP TABLE gone")?;
    Ok(gone as u64)
}
