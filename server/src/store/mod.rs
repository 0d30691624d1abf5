//! Where a farm's content, table and clock are kept: the [`Store`] trait, and the embedded
//! implementation in [`sqlite`].
//!
//! A store makes no decision about epochs, times, locks or promises. It holds the row while core's
//! pure functions decide, answers their questions about content ([`StoreFacts`]) from the same
//! transaction, and carries out what they decided, or nothing. Calls block; a later layer puts
//! them on a thread. Guards and the gate are a trait of their own ([`Gatekeeping`]). Several stores may be open on one database, in one process or several.
//!
//! `PROTOCOL.md` §3, §4, §7 and §8 say what must hold, `FORMATS.md` ("production", "history") what
//! the tables are.

mod error;
mod fit;
mod gate;
mod gatekeeping;
mod guard;
mod record;
pub mod sqlite;

pub use error::StoreError;
pub use gate::{COMMAND, Frozen, Gate, Said, Standing};
pub use gatekeeping::Gatekeeping;
pub use guard::{
    Blocked, Counts, EXAMPLES, Example, Guard, GuardKind, GuardName, Limit, Override, Reason, WHOLE, percent,
};
pub use record::{
    Applied, Change, Differences, Edit, Incoming, Kept, Pair, Past, Rest, Retention, RolledBack, Scheduled,
    Undo, Upkeep, Version,
};
pub use sqlite::SqliteStore;

use downbeat_core::ids::{Digest, Epoch, Generation, Name, TimelineId};
use downbeat_core::message::ObjectRef;
use downbeat_core::object::ManifestEntry;
use downbeat_core::server::{Effect, Facts, Verdict};
use downbeat_core::settings::SettingsError;
use downbeat_core::table::SyncTable;
use downbeat_core::time::{ServerTime, Span};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;

/// Generations that a new farm keeps readable, the staged one included (FORMATS "defaults").
pub const GENERATIONS_KEPT: u64 = 3;

/// What core's functions may ask of content; answered from the transaction that holds the row.
pub struct StoreFacts<'a>(&'a dyn Facts);

impl Facts for StoreFacts<'_> {
    fn first_due(&self, at_or_after: ServerTime) -> Option<ServerTime> {
        self.0.first_due(at_or_after)
    }
    fn verdict(&self, activation: ServerTime) -> Verdict {
        self.0.verdict(activation)
    }
}

/// What a transition decided.
#[derive(Clone, Debug)]
#[must_use]
pub struct Step<R> {
    /// The table from now on; where it equals the one given, nothing is written.
    pub table: SyncTable,
    /// What happens to the content with it.
    pub effect: Effect,
    /// For the caller, given out after the commit only.
    pub reply: R,
}

/// Is told of a record: dataset, key, value.
pub type Visit<'v> = &'v mut dyn FnMut(&Name, &[u8], &[u8]) -> Result<(), StoreError>;

/// Takes the bytes of an object. An error ends the writing.
pub type Sink<'s> = &'s mut dyn FnMut(&[u8]) -> io::Result<()>;

/// A farm's data: production, generations, table and clock. In every method an error means that
/// nothing was changed, and a return means that it is on the disk.
///
/// Families: farms and tables (`farms` … `transact`), the clock (`clock` … `begin_line`), production
/// (`apply` … `mark_all_changed`), generations (`generations` … `rollback`), upkeep, activations that are over.
pub trait Store: Send + Sized {
    /// The names of all farms, ascending.
    fn farms(&mut self) -> Result<Vec<Name>, StoreError>;

    /// Makes a farm: `initial` becomes its production and that its epoch 1, in one transaction.
    /// `make` is given the content's digest, one reading of `clock` and the facts (core's
    /// `SyncTable::new_farm`).
    fn create_farm(
        &mut self,
        farm: &Name,
        initial: &[Edit],
        clock: impl FnOnce() -> ServerTime,
        make: impl FnOnce(Digest, ServerTime, &StoreFacts<'_>) -> Result<SyncTable, SettingsError>,
    ) -> Result<SyncTable, StoreError>;

    /// The table as last committed; waits for nobody.
    fn table(&mut self, farm: &Name) -> Result<SyncTable, StoreError>;

    /// Looks at table and facts of one snapshot; waits for nobody, writes nothing.
    fn read<R>(
        &mut self,
        farm: &Name,
        look: impl FnOnce(&SyncTable, &StoreFacts<'_>) -> R,
    ) -> Result<R, StoreError>;

    /// One transition of the protocol (PROTOCOL §3, §4): holds the row, then reads `clock`, then
    /// lets `decide` run core's function, then writes the table and carries out the effect, all in
    /// one transaction. The generation that is promoted is exactly the one that the facts' verdict
    /// was about. An unchanged table with no effect writes nothing.
    fn transact<R>(
        &mut self,
        farm: &Name,
        clock: impl FnOnce() -> ServerTime,
        decide: impl FnOnce(&SyncTable, ServerTime, &StoreFacts<'_>) -> Step<R>,
    ) -> Result<R, StoreError>;

    /// The clock's row: the timeline, and what was stored with it (PROTOCOL §8).
    fn clock<C: DeserializeOwned>(&mut self) -> Result<Option<(TimelineId, C)>, StoreError>;

    /// Stores the clock of the line in force (a new mark).
    ///
    /// # Errors
    /// [`StoreError::OtherLine`] where the row names another line.
    fn put_clock<C: Serialize>(&mut self, timeline: TimelineId, clock: &C) -> Result<(), StoreError>;

    /// Goes over to a new line: its clock with its first mark, and the table of every farm as
    /// `over` makes it (core's `timeline::begin_line`), in one transaction.
    ///
    /// # Errors
    /// [`StoreError::OtherLine`] where the clock's row or any table no longer names the line that
    /// was left (`None`: there was no clock yet).
    fn begin_line<C: Serialize>(
        &mut self,
        left: Option<TimelineId>,
        line: TimelineId,
        clock: &C,
        over: impl FnMut(&SyncTable) -> SyncTable,
    ) -> Result<(), StoreError>;

    /// Applies edits in order, in one transaction: they are staged together or not at all.
    fn apply(&mut self, farm: &Name, edits: &[Edit]) -> Result<Applied, StoreError>;

    /// The same for edits that need not fit memory. An error among them ends it, and nothing is changed.
    fn apply_all(
        &mut self,
        farm: &Name,
        edits: impl Iterator<Item = Result<Edit, StoreError>>,
    ) -> Result<Applied, StoreError>;

    /// Puts rows aside for [`Store::import_loaded`] of this same connection, which holds up nobody.
    /// Memory doesn't grow with them. Gives how many there were.
    fn load(&mut self, rows: impl Iterator<Item = Result<Incoming, StoreError>>) -> Result<u64, StoreError>;

    /// Writes the rows that were put aside, in one transaction: only what differs is written. `replace`
    /// names a dataset whose other records are deleted. Of rows with the same key the first one counts;
    /// `twice` is told the lines of the others, and ends it with an error.
    fn import_loaded(
        &mut self,
        farm: &Name,
        replace: Option<&Name>,
        twice: &mut dyn FnMut(u64) -> Result<(), StoreError>,
    ) -> Result<Applied, StoreError>;

    /// Writes the records of one dataset, in one transaction: both steps at once.
    ///
    /// # Errors
    /// [`StoreError::DuplicateKey`] where a key comes twice.
    fn import(
        &mut self,
        farm: &Name,
        dataset: &Name,
        rows: impl Iterator<Item = Pair>,
        rest: Rest,
    ) -> Result<Applied, StoreError> {
        let name = dataset.clone();
        let row = |(line, (key, value))| Ok(Incoming { line, dataset: name.clone(), key, value });
        self.load((1..).zip(rows).map(row))?;
        let replace = Some(dataset).filter(|_| rest == Rest::Delete);
        self.import_loaded(farm, replace, &mut |number| Err(StoreError::DuplicateKey { number }))
    }

    /// Visits the unscheduled records of production as of one snapshot, ascending by dataset and key; of
    /// one dataset, or of all.
    fn visit(&mut self, farm: &Name, only: Option<&Name>, visit: Visit<'_>) -> Result<(), StoreError>;

    /// How many scheduled records a dataset has, those that are over included.
    fn count_scheduled(&mut self, farm: &Name, dataset: &Name) -> Result<u64, StoreError>;

    /// The unscheduled value of a key in production.
    fn get(&mut self, farm: &Name, dataset: &Name, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Unscheduled records of production whose keys begin with `prefix`, ascending, from after a key
    /// on, at most `limit`.
    fn list(
        &mut self,
        farm: &Name,
        dataset: &Name,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, StoreError>;

    /// Datasets that have records in production or scheduled ones, ascending.
    fn datasets(&mut self, farm: &Name) -> Result<Vec<Name>, StoreError>;

    /// Scheduled records that are not over at `from`, ascending by `effective_at`, dataset and key,
    /// at most `limit`.
    fn scheduled(
        &mut self,
        farm: &Name,
        from: ServerTime,
        limit: usize,
    ) -> Result<Vec<Scheduled>, StoreError>;

    /// Marks every key as changed, so that the next promotion compares all of production with what
    /// is staged. For after a repair by hand; returns how many keys there are.
    fn mark_all_changed(&mut self, farm: &Name) -> Result<u64, StoreError>;

    /// The generations that can be read, ascending.
    fn generations(&mut self, farm: &Name) -> Result<Vec<Kept>, StoreError>;

    /// The manifest of a generation, ascending by name.
    fn manifest(&mut self, farm: &Name, epoch: Epoch) -> Result<Vec<ManifestEntry>, StoreError>;

    /// The value of a key in a generation.
    fn get_at(
        &mut self,
        farm: &Name,
        epoch: Epoch,
        dataset: &Name,
        key: &[u8],
    ) -> Result<Option<Vec<u8>>, StoreError>;

    /// Visits the records of a generation, ascending by dataset and key; of some datasets, or of all
    /// where none is named. An error of the visitor ends it.
    fn records_at(
        &mut self,
        farm: &Name,
        epoch: Epoch,
        datasets: &[Name],
        visit: Visit<'_>,
    ) -> Result<(), StoreError>;

    /// Writes a generation as a snapshot object and gives its name and length; of some datasets, or
    /// of all where none is named.
    fn snapshot(
        &mut self,
        farm: &Name,
        epoch: Epoch,
        datasets: &[Name],
        sink: Sink<'_>,
    ) -> Result<ObjectRef, StoreError>;

    /// Writes what leads from one generation to another as a delta object, and gives its name and length;
    /// of some datasets, or of all where none is named. Costs in proportion to what was promoted between
    /// the two. They may come in any order; `from` is kept or pinned, `to` is kept.
    ///
    /// # Errors
    /// [`StoreError::NotKept`] where one of them is not, or there is another generation of that number.
    fn delta(
        &mut self,
        farm: &Name,
        between: (Generation, Generation),
        datasets: &[Name],
        sink: Sink<'_>,
    ) -> Result<ObjectRef, StoreError>;

    /// How many records were promoted after an epoch, up to another: no delta between the two has more.
    /// Of epochs that are neither kept nor pinned there may be fewer than there were.
    fn log_rows(&mut self, farm: &Name, after: Epoch, to: Epoch) -> Result<u64, StoreError>;

    /// The generations that are pinned, ascending by epoch.
    fn pinned(&mut self, farm: &Name) -> Result<Vec<Generation>, StoreError>;

    /// From now on exactly these generations are pinned: a delta can start from them, although they may
    /// no longer be kept. What was promoted since the oldest of them stays in the log.
    ///
    /// # Errors
    /// [`StoreError::NotKept`] for one that is neither kept nor pinned.
    fn pin(&mut self, farm: &Name, generations: &[Generation]) -> Result<(), StoreError>;

    /// What differs between two generations, ascending by dataset and key, at most `limit`.
    fn diff(&mut self, farm: &Name, from: Epoch, to: Epoch, limit: usize) -> Result<Vec<Change>, StoreError>;

    /// In how many records two generations differ.
    fn count_differences(&mut self, farm: &Name, from: Epoch, to: Epoch) -> Result<Differences, StoreError>;

    /// The values that a key had in the generations that can be read, the newest first, at most
    /// `limit`. The oldest one may have begun before those generations.
    fn history(
        &mut self,
        farm: &Name,
        dataset: &Name,
        key: &[u8],
        limit: usize,
    ) -> Result<Vec<Version>, StoreError>;

    /// Compares a batch of what was touched with what is staged, ahead of the promotion, in a short
    /// transaction; gives how many keys, 0 once nothing is left. To be called until then, soon after
    /// edits by whatever tool; nothing depends on it but how long the promotion holds the database.
    fn gather(&mut self, farm: &Name) -> Result<u64, StoreError>;

    /// What a promotion at `activation` would change in what is staged, at most `limit`. Waits for
    /// nobody.
    fn pending(
        &mut self,
        farm: &Name,
        activation: ServerTime,
        limit: usize,
    ) -> Result<Vec<Change>, StoreError>;

    /// Makes what production shows at `activation` equal to a generation, in one transaction: records
    /// are written and deleted, and scheduled ones that are in force then and say otherwise are taken
    /// away. Scheduled records that begin later stay. `undo` is told how to take it back, and keeps
    /// that before anything is committed. Only keys that may differ are looked at.
    fn rollback(
        &mut self,
        farm: &Name,
        epoch: Epoch,
        activation: ServerTime,
        undo: Undo<'_>,
    ) -> Result<RolledBack, StoreError>;

    /// Which generations are kept.
    fn retention(&mut self, farm: &Name) -> Result<Retention, StoreError>;

    /// Which generations are kept, from the next upkeep on. What is gone does not come back.
    ///
    /// # Errors
    /// [`StoreError::TooFewKept`] below 2, [`StoreError::Refused`] for an age that is not positive.
    fn set_retention(&mut self, farm: &Name, retention: Retention) -> Result<(), StoreError>;

    /// Builds the index of what was promoted, and folds what is no longer kept at `now`. To be called
    /// after each promotion, outside of it; nothing but speed and space depends on it. What a call
    /// costs is bounded by what was promoted since the last one: a backlog (after fewer generations
    /// were asked for) is folded over several.
    fn maintain(&mut self, farm: &Name, now: ServerTime) -> Result<Upkeep, StoreError>;

    /// Keeps what agents told of an activation, unless more is known of it already. The newest 10,000
    /// epochs are kept.
    fn remember(&mut self, farm: &Name, past: &Past) -> Result<(), StoreError>;

    /// The newest activations of which something is known, descending by T.
    fn remembered(&mut self, farm: &Name, limit: usize) -> Result<Vec<Past>, StoreError>;
}
