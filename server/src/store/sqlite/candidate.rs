//! The candidate: what the next generation would be if production, as of an activation, were staged
//! (PROTOCOL §7), and its promotion (steps 228 and 230).
//!
//! Only keys that were touched, and those whose scheduled records begin or end to count, are
//! compared with what is staged (`gather`), most of them before. The verdict gathers what is left,
//! under a savepoint; a promotion keeps that and anything else rolls it back. So what is promoted is
//! what was judged, and memory doesn't grow with the change.

use super::*;
use downbeat_core::content::{DatasetSum, generation_digest};
use downbeat_core::ids::Generation;
use rusqlite::Statement;
use std::cell::RefCell;

/// The facts of one transaction.
pub(super) struct Candidate<'c> {
    connection: &'c Connection,
    farm: FarmRow,
    /// Whether the transaction may write: a promotion can follow.
    writes: bool,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    judged: Option<Judged>,
    /// The first error of a question; core's functions can't be told of it, so the transaction is.
    error: Option<StoreError>,
}

/// What the content would be at an activation.
#[derive(Clone, Copy)]
struct Judged {
    activation: ServerTime,
    digest: Digest,
    changes: u64,
}

impl<'c> Candidate<'c> {
    pub(super) fn new(connection: &'c Connection, farm: FarmRow, writes: bool) -> Candidate<'c> {
        Candidate { connection, farm, writes, state: RefCell::default() }
    }

    /// The error of a question, if there was one: the transaction must end with it.
    pub(super) fn take_error(&self) -> Result<(), StoreError> {
        self.state.borrow_mut().error.take().map_or(Ok(()), Err)
    }

    /// The digest of the content at an activation.
    pub(super) fn digest(&self, activation: ServerTime) -> Result<Digest, StoreError> {
        self.judge(activation).map(|judged| judged.digest)
    }

    fn judge(&self, activation: ServerTime) -> Result<Judged, StoreError> {
        if let Some(judged) = &self.state.borrow().judged
            && judged.activation == activation
        {
            return Ok(*judged);
        }
        self.forget()?;
        if self.writes {
            self.connection.execute_batch("SAVEPOINT candidate")?;
        }
        let gathered = gather::gather_all(self.connection, &self.farm, activation, self.writes);
        let result = gathered.and_then(|gathered| {
            Ok(Judged { activation, digest: gathered.digest()?, changes: gathered.changes })
        });
        if let Ok(judged) = &result {
            self.state.borrow_mut().judged = Some(*judged);
        } else if self.writes {
            self.connection.execute_batch("ROLLBACK TO candidate; RELEASE candidate")?;
        }
        result
    }

    /// Takes back what the last judgement appended.
    fn forget(&self) -> Result<(), StoreError> {
        if self.state.borrow_mut().judged.take().is_some() && self.writes {
            self.connection.execute_batch("ROLLBACK TO candidate; RELEASE candidate")?;
        }
        Ok(())
    }

    /// Carries out what was decided, in the transaction that writes the table.
    pub(super) fn carry_out(&self, effect: Effect, table: &SyncTable) -> Result<(), StoreError> {
        let judged = self.state.borrow().judged;
        match (effect, judged) {
            (Effect::None, _) => self.forget(),
            (Effect::Promote, Some(judged)) if judged.activation == table.activation => {
                self.stage(&judged, table)
            }
            // Nothing differs: what was compared needs no comparing again.
            (Effect::PromoteUnchanged, Some(judged))
                if judged.changes == 0 && judged.activation == table.activation =>
            {
                self.stage(&judged, table)
            }
            // Something differs and was not let through: it stays changed, for the next candidate.
            (Effect::PromoteUnchanged, _) => {
                self.forget()?;
                gather::scatter(self.connection, &self.farm)?;
                let sums = history::sums(self.connection, &self.farm.name, self.farm.staged)?;
                let digest = digest_of_sums(&sums)?;
                self.publish(&Judged { activation: self.farm.as_of, digest, changes: 0 }, table)
            }
            (Effect::Promote, _) => Err(StoreError::Inconsistent("a promotion without a verdict on it")),
        }
    }

    /// The candidate becomes the first generation.
    pub(super) fn stage_first(&self, activation: ServerTime, table: &SyncTable) -> Result<(), StoreError> {
        let judged = self.judge(activation)?;
        self.stage(&judged, table)
    }

    /// What was judged becomes the staged generation. The database is held since before the verdict, so
    /// every key in `changed` was seen by it.
    fn stage(&self, judged: &Judged, table: &SyncTable) -> Result<(), StoreError> {
        self.connection.execute_batch("RELEASE candidate")?;
        self.publish(judged, table)?;
        self.connection
            .prepare_cached(
                "DELETE FROM dataset WHERE farm = ?1
                    AND NOT EXISTS (SELECT 1 FROM production p WHERE p.farm = ?1 AND p.dataset = dataset.name)
                    AND NOT EXISTS (SELECT 1 FROM scheduled s WHERE s.farm = ?1 AND s.dataset = dataset.name)",
            )?
            .execute([self.farm.name()])?;
        Ok(())
    }

    /// From here on the next generation is one: its changes and its sums stand already.
    fn publish(&self, judged: &Judged, table: &SyncTable) -> Result<(), StoreError> {
        let epoch = self.farm.staged + 1;
        if table.staged != (Generation { epoch, digest: judged.digest }) {
            return Err(StoreError::Inconsistent("the table names another generation than the one judged"));
        }
        self.connection
            .prepare_cached(
                "INSERT INTO generation (farm, epoch, digest, as_of, changes, activation)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                self.farm.name(),
                signed(epoch),
                judged.digest.0,
                judged.activation.as_nanos(),
                signed(judged.changes),
                table.activation.as_nanos()
            ])?;
        gather::promoted(self.connection, &self.farm)
    }

    fn due(&self, at_or_after: ServerTime) -> Result<Option<ServerTime>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT min(due) FROM (
                SELECT min(effective_at) AS due FROM scheduled WHERE farm = ?1 AND effective_at >= ?2
                UNION ALL
                SELECT min(expires_at) FROM scheduled
                    WHERE farm = ?1 AND expires_at IS NOT NULL AND expires_at >= ?2)",
        )?;
        let due: Option<i64> =
            statement.query_row(params![self.farm.name(), at_or_after.as_nanos()], |row| row.get(0))?;
        Ok(due.map(ServerTime::from_nanos))
    }

    fn answered<T>(&self, result: Result<T, StoreError>, otherwise: T) -> T {
        result.unwrap_or_else(|error| {
            self.state.borrow_mut().error.get_or_insert(error);
            otherwise
        })
    }
}

impl Facts for Candidate<'_> {
    fn first_due(&self, at_or_after: ServerTime) -> Option<ServerTime> {
        self.answered(self.due(at_or_after), None)
    }

    fn verdict(&self, activation: ServerTime) -> Verdict {
        let verdict = self.judge(activation).map(|judged| match judged.changes {
            0 => Verdict::Unchanged,
            _ => Verdict::Promote(judged.digest),
        });
        self.answered(verdict, Verdict::Blocked)
    }
}

/// The digest of a generation with these sums.
pub(super) fn digest_of_sums<'s>(
    sums: impl IntoIterator<Item = (&'s Name, &'s DatasetSum)>,
) -> Result<Digest, StoreError> {
    generation_digest(sums).map_err(|_| StoreError::Inconsistent("datasets of a generation are out of order"))
}

/// What differs between what is staged and production as of an activation.
pub(super) fn pending(
    connection: &Connection,
    farm: &Name,
    activation: ServerTime,
    limit: usize,
) -> Result<Vec<Change>, StoreError> {
    let farm = FarmRow::load(connection, farm)?;
    let mut changes = Vec::new();
    if limit == 0 {
        return Ok(changes);
    }
    compare(connection, &farm, activation, &mut |dataset, key, old, new| {
        changes.push(Change {
            dataset: dataset.clone(),
            key: key.to_vec(),
            before: old.map(<[u8]>::to_vec),
            after: new.map(<[u8]>::to_vec),
        });
        Ok(changes.len() < limit)
    })?;
    Ok(changes)
}

/// Is told of a key that differs: dataset, key, staged value, new value; whether to go on.
type OnChange<'f> = &'f mut dyn FnMut(&Name, &[u8], Option<&[u8]>, Option<&[u8]>) -> Result<bool, StoreError>;

/// Compares the keys that may differ, ascending by dataset and key: those that are gathered, those
/// touched since, and those whose scheduled records begin or end to count between the two instants.
fn compare(
    connection: &Connection,
    farm: &FarmRow,
    activation: ServerTime,
    on_change: OnChange<'_>,
) -> Result<(), StoreError> {
    let mut keys = connection.prepare_cached(
        "SELECT dataset, key FROM changed WHERE farm = ?1
         UNION SELECT dataset, key FROM record_log WHERE farm = ?1 AND epoch = ?4
         UNION SELECT dataset, CAST(key AS BLOB) FROM scheduled
            WHERE farm = ?1 AND effective_at > ?2 AND effective_at <= ?3
         UNION SELECT dataset, CAST(key AS BLOB) FROM scheduled
            WHERE farm = ?1 AND expires_at IS NOT NULL AND expires_at > ?2 AND expires_at <= ?3
         ORDER BY 1, 2",
    )?;
    let (low, high) = farm.instants_until(activation);
    let log = Log::new(connection, farm)?;
    let mut visible = Visible::new(connection, farm, activation)?;
    let place = params![farm.name(), low.as_nanos(), high.as_nanos(), signed(farm.staged + 1)];
    let mut rows = keys.query(place)?;
    while let Some(row) = rows.next()? {
        let dataset = name_of(row.get(0)?)?;
        let key: Vec<u8> = row.get(1)?;
        let new = visible.value(&dataset, &key)?;
        let old = log.value_at(farm.staged, &dataset, &key)?;
        if old != new && !on_change(&dataset, &key, old.as_deref(), new.as_deref())? {
            break;
        }
    }
    Ok(())
}

/// What production shows at an instant (PROTOCOL §7).
pub(super) struct Visible<'c> {
    connection: &'c Connection,
    farm: &'c FarmRow,
    at: ServerTime,
    scheduled: Option<Statement<'c>>,
}

impl<'c> Visible<'c> {
    pub(super) fn new(
        connection: &'c Connection,
        farm: &'c FarmRow,
        at: ServerTime,
    ) -> Result<Visible<'c>, StoreError> {
        let any: bool = connection.query_row(
            "SELECT EXISTS (SELECT 1 FROM scheduled WHERE farm = ?1)",
            [farm.name()],
            |row| row.get(0),
        )?;
        let select = "SELECT CAST(value AS BLOB) FROM scheduled
             WHERE farm = ?1 AND dataset = ?2 AND CAST(key AS BLOB) = ?3 AND effective_at <= ?4
                AND (expires_at IS NULL OR expires_at > ?4)
             ORDER BY effective_at DESC LIMIT 1";
        let scheduled = any.then(|| connection.prepare(select)).transpose()?;
        Ok(Visible { connection, farm, at, scheduled })
    }

    pub(super) fn value(&mut self, dataset: &Name, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        if let Some(statement) = &mut self.scheduled {
            let row = statement
                .query_row(params![self.farm.name(), dataset.as_str(), key, self.at.as_nanos()], |row| {
                    row.get::<_, Option<Vec<u8>>>(0)
                })
                .optional()?;
            if let Some(value) = row {
                return Ok(value);
            }
        }
        production::value(self.connection, &self.farm.name, dataset, key)
    }
}
