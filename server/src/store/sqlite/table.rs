//! The synchronization table's row, the clock's row, and the one transaction in which core's
//! functions decide over them (PROTOCOL §3, §4, §8).

use super::candidate::Candidate;
use super::*;

pub(super) fn farms(connection: &Connection) -> Result<Vec<Name>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT farm FROM sync_table ORDER BY farm")?;
    let mut rows = statement.query([])?;
    let mut farms = Vec::new();
    while let Some(row) = rows.next()? {
        farms.push(name_of(row.get(0)?)?);
    }
    Ok(farms)
}

/// A timeline as its column has it: readable, and equal exactly where the ids are.
pub(super) fn line_text(line: TimelineId) -> String {
    format!("{}-{:016x}", line.counter, line.random)
}

pub(super) fn line_of(text: &str) -> Result<TimelineId, StoreError> {
    let line = text.split_once('-').and_then(|(counter, random)| {
        let random = u64::from_str_radix(random, 16).ok()?;
        Some(TimelineId { counter: counter.parse().ok()?, random })
    });
    line.ok_or_else(|| StoreError::Damaged(format!("{text:?} is no timeline")))
}

fn body_of(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value)
        .map_err(|error| StoreError::Database(format!("a row can't be written: {error}")))
}

fn value_of<T: DeserializeOwned>(body: &str, what: &str) -> Result<T, StoreError> {
    serde_json::from_str(body).map_err(|error| StoreError::Damaged(format!("the row of the {what}: {error}")))
}

pub(super) fn load(connection: &Connection, farm: &Name) -> Result<SyncTable, StoreError> {
    let mut statement = connection.prepare_cached("SELECT timeline, body FROM sync_table WHERE farm = ?1")?;
    let row = statement.query_row([farm.as_str()], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let (line, body): (String, String) = row.ok_or_else(|| StoreError::NoFarm(farm.clone()))?;
    let table: SyncTable = value_of(&body, "synchronization table")?;
    if table.farm != *farm || line_text(table.timeline) != line {
        return Err(StoreError::Damaged(format!("the row of farm {farm} disagrees with its columns")));
    }
    Ok(table)
}

/// Writes the row, only if it names the line that `left` was of.
fn save(connection: &Connection, left: TimelineId, table: &SyncTable) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached(
        "UPDATE sync_table SET timeline = ?3, epoch = ?4, activation = ?5, next_earliest = ?6, body = ?7
         WHERE farm = ?1 AND timeline = ?2",
    )?;
    let written = statement.execute(params![
        table.farm.as_str(),
        line_text(left),
        line_text(table.timeline),
        signed(table.epoch()),
        table.activation.as_nanos(),
        table.next_earliest.as_nanos(),
        body_of(table)?
    ])?;
    if written == 1 { Ok(()) } else { Err(StoreError::OtherLine { left: Some(left) }) }
}

pub(super) fn create_farm(
    store: &mut SqliteStore,
    farm: &Name,
    initial: &[Edit],
    clock: impl FnOnce() -> ServerTime,
    make: impl FnOnce(Digest, ServerTime, &StoreFacts<'_>) -> Result<SyncTable, SettingsError>,
) -> Result<SyncTable, StoreError> {
    let transaction = store.write()?;
    let known: bool = transaction.query_row(
        "SELECT EXISTS (SELECT 1 FROM farm WHERE name = ?1)",
        [farm.as_str()],
        |row| row.get(0),
    )?;
    if known {
        return Err(StoreError::FarmExists(farm.clone()));
    }
    transaction.execute(
        "INSERT INTO farm (name, generations_kept, indexed_to, folded_to) VALUES (?1, ?2, 0, 1)",
        params![farm.as_str(), signed(GENERATIONS_KEPT)],
    )?;
    production::apply(&transaction, farm, initial)?;
    let candidate = Candidate::new(&transaction, FarmRow::load(&transaction, farm)?, true);
    let now = clock();
    let digest = candidate.digest(now)?;
    let table = make(digest, now, &StoreFacts(&candidate)).map_err(StoreError::Settings)?;
    candidate.take_error()?;
    if table.farm != *farm {
        return Err(StoreError::Inconsistent("the first table is of another farm"));
    }
    candidate.stage_first(now, &table)?;
    drop(candidate);
    transaction.execute(
        "INSERT INTO sync_table (farm, timeline, epoch, activation, next_earliest, body)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            farm.as_str(),
            line_text(table.timeline),
            signed(table.epoch()),
            table.activation.as_nanos(),
            table.next_earliest.as_nanos(),
            body_of(&table)?
        ],
    )?;
    transaction.commit()?;
    Ok(table)
}

pub(super) fn read<R>(
    store: &mut SqliteStore,
    farm: &Name,
    look: impl FnOnce(&SyncTable, &StoreFacts<'_>) -> R,
) -> Result<R, StoreError> {
    let snapshot = store.snapshot_of_all()?;
    let table = load(&snapshot, farm)?;
    let candidate = Candidate::new(&snapshot, FarmRow::load(&snapshot, farm)?, false);
    let seen = look(&table, &StoreFacts(&candidate));
    candidate.take_error()?;
    Ok(seen)
}

/// Steps 222 to 232 as one transaction; what it made the journal grow by is written back by a later one,
/// that nobody waits for.
pub(super) fn transact<R>(
    store: &mut SqliteStore,
    farm: &Name,
    clock: impl FnOnce() -> ServerTime,
    decide: impl FnOnce(&SyncTable, ServerTime, &StoreFacts<'_>) -> Step<R>,
) -> Result<R, StoreError> {
    store.connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    let done = transact_now(store, farm, clock, decide);
    store.connection.pragma_update(None, "wal_autocheckpoint", schema::CHECKPOINT_PAGES)?;
    done
}

/// The clock is read after the database is held, so no other
/// transition lies between the reading and the write (PROTOCOL §3).
fn transact_now<R>(
    store: &mut SqliteStore,
    farm: &Name,
    clock: impl FnOnce() -> ServerTime,
    decide: impl FnOnce(&SyncTable, ServerTime, &StoreFacts<'_>) -> Step<R>,
) -> Result<R, StoreError> {
    let transaction = store.write()?;
    let table = load(&transaction, farm)?;
    let candidate = Candidate::new(&transaction, FarmRow::load(&transaction, farm)?, true);
    let now = clock();
    let step = decide(&table, now, &StoreFacts(&candidate));
    candidate.take_error()?;
    if step.table == table && step.effect == Effect::None {
        return Ok(step.reply);
    }
    if step.table.farm != table.farm || (step.effect == Effect::None && step.table.staged != table.staged) {
        return Err(StoreError::Inconsistent("a transition without effect changed farm or generation"));
    }
    candidate.carry_out(step.effect, &step.table, now)?;
    drop(candidate);
    save(&transaction, table.timeline, &step.table)?;
    transaction.commit()?;
    Ok(step.reply)
}

pub(super) fn clock<C: DeserializeOwned>(
    connection: &Connection,
) -> Result<Option<(TimelineId, C)>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT timeline, body FROM clock WHERE id = 1")?;
    let row: Option<(String, String)> =
        statement.query_row([], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    row.map(|(line, body)| Ok((line_of(&line)?, value_of(&body, "clock")?))).transpose()
}

pub(super) fn put_clock<C: Serialize>(
    connection: &Connection,
    timeline: TimelineId,
    clock: &C,
) -> Result<(), StoreError> {
    let mut statement =
        connection.prepare_cached("UPDATE clock SET body = ?2 WHERE id = 1 AND timeline = ?1")?;
    let written = statement.execute(params![line_text(timeline), body_of(clock)?])?;
    if written == 1 { Ok(()) } else { Err(StoreError::OtherLine { left: Some(timeline) }) }
}

/// All farms of the database go over together: they share its clock (PROTOCOL §8).
pub(super) fn begin_line<C: Serialize>(
    store: &mut SqliteStore,
    left: Option<TimelineId>,
    line: TimelineId,
    clock: &C,
    mut over: impl FnMut(&SyncTable) -> SyncTable,
) -> Result<(), StoreError> {
    let transaction = store.write()?;
    let stored: Option<String> =
        transaction.query_row("SELECT timeline FROM clock WHERE id = 1", [], |row| row.get(0)).optional()?;
    if stored != left.map(line_text) {
        return Err(StoreError::OtherLine { left });
    }
    transaction.execute(
        "INSERT INTO clock (id, timeline, body) VALUES (1, ?1, ?2)
         ON CONFLICT (id) DO UPDATE SET timeline = excluded.timeline, body = excluded.body",
        params![line_text(line), body_of(clock)?],
    )?;
    for farm in farms(&transaction)? {
        let table = load(&transaction, &farm)?;
        let next = over(&table);
        if Some(table.timeline) != left {
            return Err(StoreError::OtherLine { left });
        }
        if next.farm != farm || next.staged != table.staged || next.timeline != line {
            return Err(StoreError::Inconsistent(
                "a new line's table is of another farm, line or generation",
            ));
        }
        save(&transaction, table.timeline, &next)?;
        // It was frozen for an instant of the line that was left.
        gate::thaw(&transaction, &farm)?;
        // What is staged goes live at another instant now.
        transaction.execute(
            "UPDATE generation SET activation = ?3 WHERE farm = ?1 AND epoch = ?2",
            params![farm.as_str(), signed(next.epoch()), next.activation.as_nanos()],
        )?;
    }
    transaction.commit()?;
    Ok(())
}
