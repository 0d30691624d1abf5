//! The candidate: what the next generation would be if production, as of an activation, were staged
//! (PROTOCOL §7), and its promotion (steps 228 and 230).
//!
//! Only keys that were touched, and those whose scheduled records begin or end to count, are
//! compared with what is staged (`gather`), most of them before. The verdict gathers what is left,
//! under a savepoint; a promotion keeps that and anything else rolls it back. So what is promoted is
//! what was judged, and memory doesn't grow with the change.

use super::gather::Gathered;
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
    /// Why the verdict is that it is kept back.
    reasons: Vec<Reason>,
    /// The first error of a question; core's functions can't be told of it, so the transaction is.
    error: Option<StoreError>,
}

/// What the content would be at an activation.
#[derive(Clone, Copy)]
struct Judged {
    /// The activation that was asked about.
    activation: ServerTime,
    /// The instant at which scheduled records were looked at.
    as_of: ServerTime,
    digest: Digest,
    changes: u64,
    /// It is the frozen candidate: nothing was gathered for this.
    frozen: bool,
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
        if let Some(judged) = self.frozen(activation)? {
            self.state.borrow_mut().judged = Some(judged);
            return Ok(judged);
        }
        if self.writes {
            self.connection.execute_batch("SAVEPOINT candidate")?;
        }
        let result = self.gather(activation);
        if let Ok(judged) = &result {
            self.state.borrow_mut().judged = Some(*judged);
        } else if self.writes {
            self.connection.execute_batch("ROLLBACK TO candidate; RELEASE candidate")?;
        }
        result
    }

    /// The frozen candidate, where its content is that of the activation.
    fn frozen(&self, activation: ServerTime) -> Result<Option<Judged>, StoreError> {
        let Some(Frozen { digest, as_of, changes, .. }) = self.farm.frozen else { return Ok(None) };
        if gate::differs_between(self.connection, &self.farm.name, as_of, activation)? {
            return Ok(None);
        }
        if self.writes && changes > 0 {
            let gathered = Gathered::load(self.connection, &self.farm)?;
            self.state.borrow_mut().reasons = gate::judge(self.connection, &self.farm, &gathered, digest)?;
        }
        Ok(Some(Judged { activation, as_of, digest, changes, frozen: true }))
    }

    fn gather(&self, activation: ServerTime) -> Result<Judged, StoreError> {
        let gathered = gather::gather_all(self.connection, &self.farm, activation, self.writes)?;
        let (digest, changes) = (gathered.digest()?, gathered.changes);
        if self.writes && changes > 0 {
            let reasons = gate::judge(self.connection, &self.farm, &gathered, digest)?;
            self.state.borrow_mut().reasons = reasons;
        }
        Ok(Judged { activation, as_of: activation, digest, changes, frozen: false })
    }

    /// Takes back what the last judgement appended.
    fn forget(&self) -> Result<(), StoreError> {
        let judged = self.state.borrow_mut().judged.take();
        if judged.is_some_and(|judged| !judged.frozen) && self.writes {
            self.connection.execute_batch("ROLLBACK TO candidate; RELEASE candidate")?;
        }
        Ok(())
    }

    /// Carries out what was decided, in the transaction that writes the table.
    pub(super) fn carry_out(
        &self,
        effect: Effect,
        table: &SyncTable,
        now: ServerTime,
    ) -> Result<(), StoreError> {
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
            (Effect::PromoteUnchanged, _) => self.keep_back(judged, table, now),
            (Effect::Promote, _) => Err(StoreError::Inconsistent("a promotion without a verdict on it")),
        }
    }

    /// The next epoch has the staged content; what was kept back is edited production as before.
    fn keep_back(
        &self,
        judged: Option<Judged>,
        table: &SyncTable,
        now: ServerTime,
    ) -> Result<(), StoreError> {
        self.forget()?;
        gate::thaw(self.connection, &self.farm.name)?;
        gather::scatter(self.connection, &self.farm)?;
        let reasons = std::mem::take(&mut self.state.borrow_mut().reasons);
        if let Some(Judged { digest, .. }) = judged.filter(|_| !reasons.is_empty()) {
            let blocked = Blocked { epoch: self.farm.staged + 1, digest, at: now, reasons };
            gate::note_blocked(self.connection, &self.farm.name, &blocked)?;
        }
        let sums = history::sums(self.connection, &self.farm.name, self.farm.staged)?;
        let digest = digest_of_sums(&sums)?;
        let as_of = self.farm.as_of;
        self.publish(&Judged { activation: as_of, as_of, digest, changes: 0, frozen: false }, table)
    }

    /// The candidate becomes the first generation.
    pub(super) fn stage_first(&self, activation: ServerTime, table: &SyncTable) -> Result<(), StoreError> {
        let judged = self.judge(activation)?;
        self.stage(&judged, table)
    }

    /// What was judged becomes the staged generation. The database is held since before the verdict, so
    /// every key in `changed` was seen by it; of a frozen one,
    /// what is in `changed` came later and waits.
    fn stage(&self, judged: &Judged, table: &SyncTable) -> Result<(), StoreError> {
        if !judged.frozen {
            self.connection.execute_batch("RELEASE candidate")?;
        }
        self.publish(judged, table)?;
        guards::use_up(self.connection, &self.farm.name, judged.digest, table.epoch())?;
        gate::open_again(self.connection, &self.farm.name)?;
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
                judged.as_of.as_nanos(),
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
            _ if self.state.borrow().reasons.is_empty() => Verdict::Promote(judged.digest),
            _ => Verdict::Blocked,
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
    let mut log = Log::new(connection, farm)?;
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
    farm: &'c FarmRow,
    at: ServerTime,
    scheduled: Option<Statement<'c>>,
    production: production::Values<'c>,
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
        Ok(Visible { farm, at, scheduled, production: production::Values::new(connection)? })
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
        self.production.get(&self.farm.name, dataset, key)
    }
}
