//! The gate: who has to approve, the candidate that is frozen for it, what was said, and the last candidate
//! that was kept back (FORMATS "gate").
//!
//! Frozen is what is gathered, under a mark: nothing more is gathered while it stands. So freezing writes
//! one row, the promotion finds the candidate's rows where they have to be, and taking the mark away
//! leaves an ordinary state. What was said is bound to a digest and stays on the disk.

use super::candidate::Candidate;
use super::gather::Gathered;
use super::*;

pub(super) fn load(connection: &Connection, farm: &Name) -> Result<Gate, StoreError> {
    let mut statement = connection
        .prepare_cached("SELECT freeze_ahead, patience, judges, command FROM gate WHERE farm = ?1")?;
    let row = statement
        .query_row([farm.as_str()], |row| {
            let spans = (Span::from_nanos(row.get(0)?), Span::from_nanos(row.get(1)?));
            Ok((spans, row.get::<_, String>(2)?, row.get(3)?))
        })
        .optional()?;
    let Some(((window, patience), judges, command)) = row else { return Ok(Gate::default()) };
    let judges = serde_json::from_str(&judges)
        .map_err(|error| StoreError::Damaged(format!("the gate's judges: {error}")))?;
    Ok(Gate { window, patience, judges, command })
}

/// Who has to approve from now on. Where nobody has to, nothing stays frozen for it.
pub(super) fn set(connection: &Connection, farm: &Name, gate: &Gate) -> Result<(), StoreError> {
    let judges = serde_json::to_string(&gate.judges)
        .map_err(|error| StoreError::Database(format!("the judges can't be written: {error}")))?;
    connection.execute(
        "INSERT OR REPLACE INTO gate (farm, freeze_ahead, patience, judges, command)
         VALUES (?1, ?2, ?3, ?4, ?5)",
        params![farm.as_str(), gate.window.as_nanos(), gate.patience.as_nanos(), judges, gate.command],
    )?;
    if !gate.is_shut() {
        thaw(connection, farm)?;
    }
    Ok(())
}

pub(super) fn standing(connection: &Connection, farm: &FarmRow) -> Result<Standing, StoreError> {
    let gate = load(connection, &farm.name)?;
    let mut statement = connection.prepare_cached(
        "SELECT judge, digest, approved, why, at FROM verdict WHERE farm = ?1 ORDER BY judge",
    )?;
    let mut rows = statement.query([farm.name()])?;
    let mut said = Vec::new();
    while let Some(row) = rows.next()? {
        said.push(Said {
            judge: row.get(0)?,
            digest: digest_of(row.get(1)?)?,
            approved: row.get(2)?,
            why: row.get(3)?,
            at: ServerTime::from_nanos(row.get(4)?),
        });
    }
    Ok(Standing { gate, frozen: farm.frozen, said })
}

/// Freezes what is in production, as of an activation. Approvals of the same digest go on to count;
/// everything else that was said does not.
pub(super) fn freeze(
    connection: &Connection,
    farm: &FarmRow,
    as_of: ServerTime,
    now: ServerTime,
) -> Result<Frozen, StoreError> {
    let gathered = gather::gather_all(connection, farm, as_of, true)?;
    let digest = gathered.digest()?;
    connection.execute(
        "INSERT OR REPLACE INTO frozen (farm, digest, as_of, changes, at) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![farm.name(), digest.0, as_of.as_nanos(), signed(gathered.changes), now.as_nanos()],
    )?;
    connection.execute(
        "DELETE FROM verdict WHERE farm = ?1 AND (digest <> ?2 OR NOT approved)",
        params![farm.name(), digest.0],
    )?;
    Ok(Frozen { epoch: farm.staged + 1, digest, as_of, changes: gathered.changes, at: now })
}

/// What is gathered is no candidate any more; what was said of it stays.
pub(super) fn thaw(connection: &Connection, farm: &Name) -> Result<(), StoreError> {
    connection.prepare_cached("DELETE FROM frozen WHERE farm = ?1")?.execute([farm.as_str()])?;
    Ok(())
}

/// Whether scheduled records begin or end to count between two instants: the content as of the one is then
/// not the content as of the other.
pub(super) fn differs_between(
    connection: &Connection,
    farm: &Name,
    one: ServerTime,
    other: ServerTime,
) -> Result<bool, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM scheduled WHERE farm = ?1 AND effective_at > ?2 AND effective_at <= ?3)
            OR EXISTS (SELECT 1 FROM scheduled
                WHERE farm = ?1 AND expires_at IS NOT NULL AND expires_at > ?2 AND expires_at <= ?3)",
    )?;
    let (low, high) = (one.min(other), one.max(other));
    Ok(statement.query_row(params![farm.as_str(), low.as_nanos(), high.as_nanos()], |row| row.get(0))?)
}

/// Freezes the farm's candidate, in a transaction of its own, unless one is frozen that still is the
/// content as of that activation.
pub(super) fn freeze_now(
    store: &mut SqliteStore,
    farm: &Name,
    anew: bool,
    clock: impl FnOnce() -> ServerTime,
    when: impl FnOnce(&SyncTable, ServerTime, &StoreFacts<'_>) -> Option<ServerTime>,
) -> Result<Option<(Frozen, bool)>, StoreError> {
    let transaction = store.write()?;
    let table = table::load(&transaction, farm)?;
    let row = FarmRow::load(&transaction, farm)?;
    let now = clock();
    let facts = Candidate::new(&transaction, row.clone(), false);
    let as_of = when(&table, now, &StoreFacts(&facts));
    facts.take_error()?;
    drop(facts);
    let Some(as_of) = as_of else { return Ok(None) };
    if let Some(frozen) = row.frozen
        && !anew
        && !differs_between(&transaction, farm, frozen.as_of, as_of)?
    {
        return Ok(Some((frozen, false)));
    }
    if anew {
        transaction.execute("DELETE FROM verdict WHERE farm = ?1", [farm.as_str()])?;
    }
    let frozen = freeze(&transaction, &row, as_of, now)?;
    transaction.commit()?;
    Ok(Some((frozen, true)))
}

/// Notes what a judge says of the frozen candidate.
pub(super) fn say(connection: &Connection, farm: &FarmRow, said: &Said) -> Result<(), StoreError> {
    let current = farm.frozen.map(|frozen| frozen.digest);
    if current != Some(said.digest) {
        return Err(StoreError::NotCandidate { said: said.digest, current });
    }
    let gate = load(connection, &farm.name)?;
    if !gate.required().any(|name| name == said.judge) {
        return Err(StoreError::NoJudge(said.judge.clone()));
    }
    connection.execute(
        "INSERT OR REPLACE INTO verdict (farm, judge, digest, approved, why, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![farm.name(), said.judge, said.digest.0, said.approved, said.why, said.at.as_nanos()],
    )?;
    Ok(())
}

/// What keeps a candidate from being staged: broken guards, and the gate.
pub(super) fn judge(
    connection: &Connection,
    farm: &FarmRow,
    gathered: &Gathered,
    digest: Digest,
) -> Result<Vec<Reason>, StoreError> {
    let mut reasons = guards::judge(connection, farm, gathered, digest)?;
    let standing = standing(connection, farm)?;
    if standing.gate.is_shut() && standing.frozen.is_none_or(|frozen| frozen.digest != digest) {
        let names: Vec<_> = standing.gate.required().collect();
        reasons.push(Reason {
            guard: "gate".to_owned(),
            limit: format!("{} has to approve exactly this candidate", names.join(", ")),
            found: "it was not frozen for a verdict in time, or scheduled records make it another one"
                .to_owned(),
            examples: Vec::new(),
            cure: "nothing, it is frozen and judged before the next activation".to_owned(),
        });
    } else {
        reasons.extend(standing.reasons());
    }
    Ok(reasons)
}

/// Notes why a candidate was kept back.
pub(super) fn note_blocked(
    connection: &Connection,
    farm: &Name,
    blocked: &Blocked,
) -> Result<(), StoreError> {
    let reasons = serde_json::to_string(&blocked.reasons)
        .map_err(|error| StoreError::Database(format!("the reasons can't be written: {error}")))?;
    connection.execute(
        "INSERT OR REPLACE INTO blocked (farm, epoch, digest, at, reasons) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![farm.as_str(), signed(blocked.epoch), blocked.digest.0, blocked.at.as_nanos(), reasons],
    )?;
    Ok(())
}

/// The last candidate that was kept back, where none was staged since.
pub(super) fn blocked(connection: &Connection, farm: &Name) -> Result<Option<Blocked>, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT epoch, digest, at, reasons FROM blocked WHERE farm = ?1")?;
    let row = statement
        .query_row([farm.as_str()], |row| {
            Ok((unsigned(row.get(0)?), row.get(1)?, row.get(2)?, row.get::<_, String>(3)?))
        })
        .optional()?;
    let Some((epoch, digest, at, reasons)) = row else { return Ok(None) };
    let reasons = serde_json::from_str(&reasons)
        .map_err(|error| StoreError::Damaged(format!("why a candidate was kept back: {error}")))?;
    Ok(Some(Blocked { epoch, digest: digest_of(digest)?, at: ServerTime::from_nanos(at), reasons }))
}

/// A candidate was staged, or there was nothing to stage: what was said and noted before is over.
pub(super) fn open_again(connection: &Connection, farm: &Name) -> Result<(), StoreError> {
    for table in ["frozen", "verdict", "blocked"] {
        connection
            .prepare_cached(&format!("DELETE FROM {table} WHERE farm = ?1"))?
            .execute([farm.as_str()])?;
    }
    Ok(())
}
