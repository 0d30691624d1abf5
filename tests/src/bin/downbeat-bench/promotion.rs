//! How long a promotion holds the database, beside copying the table with SQL; and how that grows with
//! the data at a fixed change.

use crate::Options;
use crate::data::mixed;
use crate::report::{Report, Row, Unit};
use downbeat_core::guard::Guards;
use downbeat_core::ids::{AgentId, Incarnation, Name, RequestId, TimelineId};
use downbeat_core::message::{ReplyBody, RequestBody};
use downbeat_core::server::{Effect, transition};
use downbeat_core::settings::{Limits, Settings};
use downbeat_core::table::{SyncTable, next_activation};
use downbeat_core::time::ServerTime;
use downbeat_server::store::{Rest, SqliteStore, Step, Store, StoreError};
use rusqlite::{Connection, TransactionBehavior};
use std::io;
use std::path::Path;
use std::time::Instant;

/// Records that change in a cycle.
const CHANGE: u64 = 10_000;
/// Times that each thing is measured.
const SAMPLES: u64 = 15;

/// Promotions of a fixed change at three sizes, and at one of them the copy that they replace.
pub(crate) fn promotion(options: Options, report: &mut Report) -> io::Result<()> {
    let scale = if options.quick { 10 } else { 1 };
    let samples = if options.quick { 2 } else { SAMPLES };
    let change = CHANGE / scale;
    let mut medians = Vec::new();
    for (records, name) in
        [(100_000 / scale, "100 k"), (1_000_000 / scale, "1 M"), (2_000_000 / scale, "2 M")]
    {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("downbeat.db");
        let mut farm = Farm::make(&path, records, value).map_err(io::Error::other)?;
        let (mut promotions, mut unprepared, mut gathering, mut longest, mut copies) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for _ in 0..samples {
            farm.change(change).map_err(io::Error::other)?;
            let batches = farm.gather().map_err(io::Error::other)?;
            gathering.push(batches.iter().sum::<f64>());
            longest.push(batches.iter().copied().fold(0.0, f64::max));
            promotions.push(farm.promote(change).map_err(io::Error::other)?);
            if name == "1 M" {
                farm.change(change).map_err(io::Error::other)?;
                unprepared.push(farm.promote(change).map_err(io::Error::other)?);
                if copies.len() < 5 {
                    copies.push(copy(&path).map_err(io::Error::other)?);
                }
            }
        }
        let row = |what: String, samples| Row::new(&what, Unit::Millis, samples);
        let promoted = row(format!("promotion, BEGIN to COMMIT, {change} changed of {name}"), promotions)
            .note("gathered before");
        medians.push(promoted.median());
        report.push(promoted);
        if name != "1 M" {
            continue;
        }
        report.push(row("… gathering before it: all its transactions".into(), gathering));
        report.push(row("… the longest of those".into(), longest));
        let unprepared =
            row("… with nothing gathered before".into(), unprepared).note("all of it in one transaction");
        let copied = row("INSERT INTO staged SELECT * FROM production".into(), copies);
        let share = |median: f64| vec![median / copied.median()];
        let bar = 0.0333;
        let shares = [share(medians[1]), share(unprepared.median())];
        report.push(unprepared);
        report.push(copied);
        let [gathered, unprepared] = shares;
        report.push(
            Row::new("promotion / copy", Unit::Ratio, gathered).bar(bar).note("the bar is one thirtieth"),
        );
        report.push(Row::new("promotion with nothing gathered before / copy", Unit::Ratio, unprepared));
    }
    let grows = vec![medians[2] / medians[0]];
    report.push(Row::new("promotion at 2 M / at 100 k", Unit::Ratio, grows).bar(1.3));
    Ok(())
}

/// A farm in a database of its own.
pub(crate) struct Farm {
    pub(crate) store: SqliteStore,
    pub(crate) name: Name,
    dataset: Name,
    records: u64,
    value: fn(u64) -> Vec<u8>,
    /// Numbers that were drawn.
    drawn: u64,
}

impl Farm {
    pub(crate) fn make(path: &Path, records: u64, value: fn(u64) -> Vec<u8>) -> Result<Farm, StoreError> {
        let named = |text| Name::new(text).map_err(|_| StoreError::Inconsistent("a name"));
        let (name, dataset) = (named("main")?, named("prices")?);
        let mut store = SqliteStore::open(path)?;
        let start = ServerTime::from_nanos(1_800_000_000_000_000_000);
        store.create_farm(
            &name,
            &[],
            || start,
            |digest, now, _| {
                let (line, settings) = (TimelineId { counter: 1, random: 1 }, Settings::default());
                SyncTable::new_farm(name.clone(), line, digest, settings, Limits::default(), None, now)
            },
        )?;
        let mut farm = Farm { store, name, dataset, records, value, drawn: 0 };
        let all = (0..records).map(|n| (key(n), value(n)));
        farm.store.import(&farm.name, &farm.dataset, all, Rest::Keep)?;
        farm.gather()?;
        farm.promote(records)?;
        Ok(farm)
    }

    /// Other values for so many records at random.
    pub(crate) fn change(&mut self, records: u64) -> Result<(), StoreError> {
        let mut changed = std::collections::BTreeMap::new();
        while (changed.len() as u64) < records {
            self.drawn += 1;
            changed.insert(key(mixed(self.drawn) % self.records), (self.value)(!self.drawn));
        }
        let applied = self.store.import(&self.name, &self.dataset, changed.into_iter(), Rest::Keep)?;
        debug_assert_eq!(applied.written, records, "each of them is another value");
        Ok(())
    }

    /// Gathers what was touched; the milliseconds of each transaction.
    pub(crate) fn gather(&mut self) -> Result<Vec<f64>, StoreError> {
        let mut batches = Vec::new();
        loop {
            let since = Instant::now();
            if self.store.gather(&self.name)? == 0 {
                return Ok(batches);
            }
            batches.push(since.elapsed().as_secs_f64() * 1e3);
        }
    }

    /// A cycle that must stage so many changes: the milliseconds that its promotion took, and upkeep
    /// after it.
    pub(crate) fn promote(&mut self, changes: u64) -> Result<f64, StoreError> {
        let now = self.store.table(&self.name)?.activation;
        let ReplyBody::Granted { grant, table } = self.ask(1, &RequestBody::Lock, now)? else {
            return Err(StoreError::Inconsistent("no grant"));
        };
        let activation = next_activation(&table, grant.due, grant.granted_at);
        let advance = RequestBody::Advance { token: grant.token, activation };
        let since = Instant::now();
        let advanced = self.ask(2, &advance, now)?;
        let took = since.elapsed().as_secs_f64() * 1e3;
        let staged = self.store.generations(&self.name)?.pop();
        let promoted = staged.is_some_and(|kept| kept.changes == changes);
        if !matches!(advanced, ReplyBody::Advanced(_)) || !promoted {
            return Err(StoreError::Inconsistent("what was changed was not promoted"));
        }
        self.store.maintain(&self.name, now)?;
        Ok(took)
    }

    /// A change, and its promotion.
    pub(crate) fn cycle(&mut self, changes: u64) -> Result<(), StoreError> {
        self.change(changes)?;
        self.gather()?;
        self.promote(changes).map(drop)
    }

    fn ask(
        &mut self,
        step: u64,
        request: &RequestBody,
        now: ServerTime,
    ) -> Result<ReplyBody<()>, StoreError> {
        let number = self.store.table(&self.name)?.epoch() * 2 + step;
        let id = RequestId { agent: AgentId([7; 16]), incarnation: Incarnation(1), number };
        self.store.transact(
            &self.name,
            || now,
            |table, now, facts| match transition(table, id, request, now, facts, Guards::ALL) {
                Some(done) => Step { table: done.table, effect: done.effect, reply: done.reply },
                None => Step { table: table.clone(), effect: Effect::None, reply: ReplyBody::Noted },
            },
        )
    }
}

/// What the seed's figure says, done with SQL: the milliseconds from BEGIN to COMMIT, as durable as ours
/// and, like ours, without writing the journal back.
fn copy(path: &Path) -> Result<f64, rusqlite::Error> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    for (pragma, value) in [("synchronous", 2), ("cache_size", -65_536), ("wal_autocheckpoint", 0)] {
        connection.pragma_update(None, pragma, value)?;
    }
    connection.execute_batch(
        "CREATE TABLE staged (farm TEXT NOT NULL, dataset TEXT NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL,
            PRIMARY KEY (farm, dataset, key)) WITHOUT ROWID",
    )?;
    let since = Instant::now();
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute("INSERT INTO staged SELECT * FROM production", [])?;
    transaction.commit()?;
    let took = since.elapsed().as_secs_f64() * 1e3;
    connection.execute_batch("DROP TABLE staged")?;
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    Ok(took)
}

/// 12 bytes of text.
pub(crate) fn key(n: u64) -> Vec<u8> {
    format!("k{:011}", n * 7).into_bytes()
}

/// 100 bytes that don't compress to nothing.
pub(crate) fn value(n: u64) -> Vec<u8> {
    let words: Vec<String> =
        (0..6).map(|word| format!("{:016x}", mixed(n.wrapping_add(word << 40)))).collect();
    let mut bytes = words.concat().into_bytes();
    bytes.resize(100, b'.');
    bytes
}
