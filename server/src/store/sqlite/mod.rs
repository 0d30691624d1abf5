//! The embedded store: one SQLite file for any number of farms.
//!
//! Here are the connection and the small helpers that all parts use; `row` reads a farm's row, `log` single
//! keys; the parts are
//! - `schema`: versions and migrations,
//! - `table`: the synchronization table, the clock, and the transaction of a transition,
//! - `gather`: what was touched compared with what is staged, most of it ahead of a promotion,
//! - `counts`: what is gathered, in numbers; `guards` and `gate`: what keeps a candidate back,
//! - `candidate`: what the next generation would be, and its promotion,
//! - `production`: edits; `import`: many at once,
//! - `history`: reading generations,
//! - `log`: the value of a key at an epoch,
//! - `objects`: what leads to a generation, and what is kept so that it still can,
//! - `rollback`: production made equal to a generation,
//! - `upkeep`: the index of the log, which generations are kept, and folding.
//!
//! Writers wait for each other for [`BUSY_TIMEOUT`]; readers wait for nobody (WAL). A commit is on
//! the disk before the call returns (`synchronous = FULL`), and what a killed process left undone is
//! rolled back when the file is opened next.

mod activations;
mod candidate;
mod counts;
mod gate;
mod gatekeeping;
mod gather;
mod guards;
mod history;
mod import;
mod log;
mod objects;
mod production;
mod rollback;
mod row;
mod schema;
mod table;
mod upkeep;

use super::*;
use log::Log;
use row::FarmRow;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};
use std::path::Path;
use std::time::Duration;

/// How long a call waits for another connection's transaction.
pub const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// A store in a SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    connection: Connection,
    /// Of the rows that were put aside on this connection.
    loaded: import::Loaded,
}

impl SqliteStore {
    /// Opens a database, makes it where the file doesn't exist, and brings its schema up to date.
    ///
    /// # Errors
    /// [`StoreError::NewerSchema`], [`StoreError::NotOurs`], [`StoreError::Damaged`], and what the
    /// disk says; the file is as it was.
    pub fn open(path: &Path) -> Result<SqliteStore, StoreError> {
        let mut connection = Connection::open(path)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        schema::prepare(&mut connection)?;
        connection.set_prepared_statement_cache_capacity(64);
        Ok(SqliteStore { connection, loaded: import::Loaded::default() })
    }

    /// A transaction that holds the database for writing from its start.
    fn write(&mut self) -> Result<Transaction<'_>, StoreError> {
        Ok(self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?)
    }

    /// A snapshot for reading.
    fn snapshot_of_all(&mut self) -> Result<Transaction<'_>, StoreError> {
        Ok(self.connection.transaction_with_behavior(TransactionBehavior::Deferred)?)
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> StoreError {
        use rusqlite::ErrorCode::*;
        let rusqlite::Error::SqliteFailure(failure, message) = &error else {
            return StoreError::Database(error.to_string());
        };
        let what = message.clone().unwrap_or_else(|| failure.to_string());
        match failure.code {
            DiskFull => StoreError::Full,
            DatabaseBusy | DatabaseLocked => StoreError::Busy,
            ReadOnly | PermissionDenied => StoreError::ReadOnly,
            DatabaseCorrupt | NotADatabase => StoreError::Damaged(what),
            SystemIoFailure | CannotOpen => StoreError::Io(what),
            ConstraintViolation => StoreError::Refused(what),
            _ => StoreError::Database(what),
        }
    }
}

/// An epoch or a count as SQL has it. None gets near 2⁶³.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn name_of(text: String) -> Result<Name, StoreError> {
    Name::new(&text).map_err(|error| StoreError::Damaged(format!("the name {text:?}: {error}")))
}

fn digest_of(bytes: Vec<u8>) -> Result<Digest, StoreError> {
    let bytes = <[u8; 32]>::try_from(bytes);
    Ok(Digest(bytes.map_err(|_| StoreError::Damaged("a digest hasn't 32 bytes".into()))?))
}

/// Key and value as they are written: text where the bytes are text, so that a person's SQL finds
/// them by text; a blob otherwise.
fn as_text_or_blob(bytes: &[u8]) -> rusqlite::types::ToSqlOutput<'_> {
    use rusqlite::types::{ToSqlOutput, ValueRef};
    let is_text = !bytes.contains(&0) && std::str::from_utf8(bytes).is_ok();
    ToSqlOutput::Borrowed(if is_text { ValueRef::Text(bytes) } else { ValueRef::Blob(bytes) })
}

/// The trait's methods, each in the file of its part.
impl Store for SqliteStore {
    fn farms(&mut self) -> Result<Vec<Name>, StoreError> {
        table::farms(&self.connection)
    }
    fn create_farm(
        &mut self,
        farm: &Name,
        initial: &[Edit],
        clock: impl FnOnce() -> ServerTime,
        make: impl FnOnce(Digest, ServerTime, &StoreFacts<'_>) -> Result<SyncTable, SettingsError>,
    ) -> Result<SyncTable, StoreError> {
        table::create_farm(self, farm, initial, clock, make)
    }
    fn table(&mut self, farm: &Name) -> Result<SyncTable, StoreError> {
        table::load(&self.connection, farm)
    }
    fn read<R>(
        &mut self,
        farm: &Name,
        look: impl FnOnce(&SyncTable, &StoreFacts<'_>) -> R,
    ) -> Result<R, StoreError> {
        table::read(self, farm, look)
    }
    fn transact<R>(
        &mut self,
        farm: &Name,
        clock: impl FnOnce() -> ServerTime,
        decide: impl FnOnce(&SyncTable, ServerTime, &StoreFacts<'_>) -> Step<R>,
    ) -> Result<R, StoreError> {
        table::transact(self, farm, clock, decide)
    }
    fn clock<C: DeserializeOwned>(&mut self) -> Result<Option<(TimelineId, C)>, StoreError> {
        table::clock(&self.connection)
    }
    fn put_clock<C: Serialize>(&mut self, timeline: TimelineId, clock: &C) -> Result<(), StoreError> {
        table::put_clock(&self.connection, timeline, clock)
    }
    fn begin_line<C: Serialize>(
        &mut self,
        left: Option<TimelineId>,
        line: TimelineId,
        clock: &C,
        over: impl FnMut(&SyncTable) -> SyncTable,
    ) -> Result<(), StoreError> {
        table::begin_line(self, left, line, clock, over)
    }
    fn apply(&mut self, farm: &Name, edits: &[Edit]) -> Result<Applied, StoreError> {
        let transaction = self.write()?;
        FarmRow::load(&transaction, farm)?;
        let applied = production::apply(&transaction, farm, edits)?;
        transaction.commit()?;
        Ok(applied)
    }
    fn apply_all(
        &mut self,
        farm: &Name,
        edits: impl Iterator<Item = Result<Edit, StoreError>>,
    ) -> Result<Applied, StoreError> {
        let transaction = self.write()?;
        FarmRow::load(&transaction, farm)?;
        let mut failed = None;
        let good = edits.map_while(|edit| edit.map_err(|error| failed = Some(error)).ok());
        let applied = production::apply(&transaction, farm, good)?;
        if let Some(error) = failed {
            return Err(error);
        }
        transaction.commit()?;
        Ok(applied)
    }
    fn load(&mut self, rows: impl Iterator<Item = Result<Incoming, StoreError>>) -> Result<u64, StoreError> {
        let transaction = self.snapshot_of_all()?;
        let loaded = import::load(&transaction, rows)?;
        transaction.commit()?;
        self.loaded = loaded;
        Ok(self.loaded.rows())
    }
    fn import_loaded(
        &mut self,
        farm: &Name,
        replace: Option<&Name>,
        twice: &mut dyn FnMut(u64) -> Result<(), StoreError>,
    ) -> Result<Applied, StoreError> {
        let loaded = self.loaded.clone();
        let transaction = self.write()?;
        FarmRow::load(&transaction, farm)?;
        let applied = import::import_loaded(&transaction, farm, &loaded, replace, twice)?;
        transaction.commit()?;
        Ok(applied)
    }
    fn visit(&mut self, farm: &Name, only: Option<&Name>, visit: Visit<'_>) -> Result<(), StoreError> {
        let snapshot = self.snapshot_of_all()?;
        FarmRow::load(&snapshot, farm)?;
        production::visit(&snapshot, farm, only, visit)
    }
    fn count_scheduled(&mut self, farm: &Name, dataset: &Name) -> Result<u64, StoreError> {
        production::count_scheduled(&self.connection, farm, dataset)
    }
    fn get(&mut self, farm: &Name, dataset: &Name, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let snapshot = self.snapshot_of_all()?;
        FarmRow::load(&snapshot, farm)?;
        production::Values::new(&snapshot)?.get(farm, dataset, key)
    }
    fn list(
        &mut self,
        farm: &Name,
        dataset: &Name,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, StoreError> {
        let snapshot = self.snapshot_of_all()?;
        FarmRow::load(&snapshot, farm)?;
        production::list(&snapshot, farm, dataset, prefix, after, limit)
    }
    fn datasets(&mut self, farm: &Name) -> Result<Vec<Name>, StoreError> {
        let snapshot = self.snapshot_of_all()?;
        FarmRow::load(&snapshot, farm)?;
        production::datasets(&snapshot, farm)
    }
    fn scheduled(
        &mut self,
        farm: &Name,
        from: ServerTime,
        limit: usize,
    ) -> Result<Vec<Scheduled>, StoreError> {
        let snapshot = self.snapshot_of_all()?;
        FarmRow::load(&snapshot, farm)?;
        production::scheduled(&snapshot, farm, from, limit)
    }
    fn mark_all_changed(&mut self, farm: &Name) -> Result<u64, StoreError> {
        let transaction = self.write()?;
        FarmRow::load(&transaction, farm)?;
        let marked = production::mark_all_changed(&transaction, farm)?;
        transaction.commit()?;
        Ok(marked)
    }
    fn generations(&mut self, farm: &Name) -> Result<Vec<Kept>, StoreError> {
        let snapshot = self.snapshot_of_all()?;
        FarmRow::load(&snapshot, farm)?;
        history::generations(&snapshot, farm)
    }
    fn manifest(&mut self, farm: &Name, epoch: Epoch) -> Result<Vec<ManifestEntry>, StoreError> {
        let snapshot = self.snapshot_of_all()?;
        history::kept(&snapshot, farm, epoch)?;
        history::manifest(&snapshot, farm, epoch)
    }
    fn get_at(
        &mut self,
        farm: &Name,
        epoch: Epoch,
        dataset: &Name,
        key: &[u8],
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let snapshot = self.snapshot_of_all()?;
        let (row, _) = history::kept(&snapshot, farm, epoch)?;
        Log::new(&snapshot, &row)?.value_at(epoch, dataset, key)
    }
    fn records_at(
        &mut self,
        farm: &Name,
        epoch: Epoch,
        datasets: &[Name],
        visit: Visit<'_>,
    ) -> Result<(), StoreError> {
        let snapshot = self.snapshot_of_all()?;
        let (row, _) = history::kept(&snapshot, farm, epoch)?;
        history::records(&snapshot, &row, epoch, datasets, visit)
    }
    fn snapshot(
        &mut self,
        farm: &Name,
        epoch: Epoch,
        datasets: &[Name],
        sink: Sink<'_>,
    ) -> Result<ObjectRef, StoreError> {
        let snapshot = self.snapshot_of_all()?;
        objects::snapshot(&snapshot, farm, epoch, datasets, sink)
    }
    fn delta(
        &mut self,
        farm: &Name,
        (from, to): (Generation, Generation),
        datasets: &[Name],
        sink: Sink<'_>,
    ) -> Result<ObjectRef, StoreError> {
        let snapshot = self.snapshot_of_all()?;
        objects::delta(&snapshot, farm, (from, to), datasets, sink)
    }
    fn log_rows(&mut self, farm: &Name, after: Epoch, to: Epoch) -> Result<u64, StoreError> {
        objects::log_rows(&self.connection, farm, after, to)
    }
    fn pinned(&mut self, farm: &Name) -> Result<Vec<Generation>, StoreError> {
        objects::pinned(&self.connection, farm)
    }
    fn pin(&mut self, farm: &Name, generations: &[Generation]) -> Result<(), StoreError> {
        objects::pin(self, farm, generations)
    }
    fn diff(&mut self, farm: &Name, from: Epoch, to: Epoch, limit: usize) -> Result<Vec<Change>, StoreError> {
        let snapshot = self.snapshot_of_all()?;
        history::diff(&snapshot, farm, from, to, limit)
    }
    fn count_differences(&mut self, farm: &Name, from: Epoch, to: Epoch) -> Result<Differences, StoreError> {
        let snapshot = self.snapshot_of_all()?;
        history::count_differences(&snapshot, farm, from, to)
    }
    fn history(
        &mut self,
        farm: &Name,
        dataset: &Name,
        key: &[u8],
        limit: usize,
    ) -> Result<Vec<Version>, StoreError> {
        let snapshot = self.snapshot_of_all()?;
        history::versions(&snapshot, farm, dataset, key, limit)
    }
    fn gather(&mut self, farm: &Name) -> Result<u64, StoreError> {
        gather::gather_batch(self, farm)
    }
    fn rollback(
        &mut self,
        farm: &Name,
        epoch: Epoch,
        activation: ServerTime,
        undo: Undo<'_>,
    ) -> Result<RolledBack, StoreError> {
        let transaction = self.write()?;
        let done = rollback::rollback(&transaction, farm, epoch, activation, undo)?;
        transaction.commit()?;
        Ok(done)
    }
    fn pending(
        &mut self,
        farm: &Name,
        activation: ServerTime,
        limit: usize,
    ) -> Result<Vec<Change>, StoreError> {
        let snapshot = self.snapshot_of_all()?;
        candidate::pending(&snapshot, farm, activation, limit)
    }
    fn retention(&mut self, farm: &Name) -> Result<Retention, StoreError> {
        FarmRow::load(&self.connection, farm).map(|row| row.retention)
    }
    fn set_retention(&mut self, farm: &Name, retention: Retention) -> Result<(), StoreError> {
        upkeep::set_retention(&self.connection, farm, retention)
    }
    fn maintain(&mut self, farm: &Name, now: ServerTime) -> Result<Upkeep, StoreError> {
        upkeep::maintain(self, farm, now)
    }
    fn remember(&mut self, farm: &Name, past: &Past) -> Result<(), StoreError> {
        activations::keep(self, farm, past)
    }
    fn remembered(&mut self, farm: &Name, limit: usize) -> Result<Vec<Past>, StoreError> {
        activations::list(&self.connection, farm, limit)
    }
}

#[cfg(test)]
mod tests;
