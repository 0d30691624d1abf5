//! The methods of [`Gatekeeping`], each in the file of its part.

use super::candidate::Candidate;
use super::gather::Gathered;
use super::*;

impl Gatekeeping for SqliteStore {
    fn guards(&mut self, farm: &Name) -> Result<Vec<Guard>, StoreError> {
        let snapshot = self.snapshot_of_all()?;
        FarmRow::load(&snapshot, farm)?;
        guards::load(&snapshot, farm)
    }
    fn set_guard(&mut self, farm: &Name, guard: &Guard) -> Result<(), StoreError> {
        let transaction = self.write()?;
        guards::set(&transaction, &FarmRow::load(&transaction, farm)?, guard)?;
        Ok(transaction.commit()?)
    }
    fn remove_guard(&mut self, farm: &Name, name: &GuardName) -> Result<bool, StoreError> {
        let transaction = self.write()?;
        let gone = guards::remove(&transaction, &FarmRow::load(&transaction, farm)?, name)?;
        transaction.commit()?;
        Ok(gone)
    }
    fn misfits(
        &mut self,
        farm: &Name,
        dataset: &Name,
        schema: &str,
        most: usize,
    ) -> Result<(u64, Vec<Example>), StoreError> {
        let snapshot = self.snapshot_of_all()?;
        FarmRow::load(&snapshot, farm)?;
        guards::misfits(&snapshot, farm, dataset, schema, most)
    }
    fn broken(&mut self, farm: &Name) -> Result<Vec<Reason>, StoreError> {
        let snapshot = self.snapshot_of_all()?;
        let row = FarmRow::load(&snapshot, farm)?;
        let gathered = Gathered::load(&snapshot, &row)?;
        guards::judge(&snapshot, &row, &gathered, gathered.digest()?)
    }
    fn override_guard(
        &mut self,
        farm: &Name,
        name: &GuardName,
        expected: Option<Digest>,
        by: &str,
        clock: impl FnOnce() -> ServerTime,
        when: impl FnOnce(&SyncTable, ServerTime, &StoreFacts<'_>) -> ServerTime,
    ) -> Result<Frozen, StoreError> {
        let transaction = self.write()?;
        let table = table::load(&transaction, farm)?;
        let mut row = FarmRow::load(&transaction, farm)?;
        let now = clock();
        let frozen = match row.frozen {
            Some(frozen) => frozen,
            None => {
                let facts = Candidate::new(&transaction, row.clone(), false);
                let as_of = when(&table, now, &StoreFacts(&facts));
                facts.take_error()?;
                drop(facts);
                let frozen = gate::freeze(&transaction, &row, as_of, now)?;
                row = FarmRow::load(&transaction, farm)?;
                frozen
            }
        };
        if expected.is_some_and(|expected| expected != frozen.digest) {
            return Err(StoreError::NotCandidate {
                said: expected.unwrap_or_default(),
                current: Some(frozen.digest),
            });
        }
        let gathered = Gathered::load(&transaction, &row)?;
        let broken = guards::judge(&transaction, &row, &gathered, frozen.digest)?;
        if !broken.iter().any(|reason| reason.guard == name.to_string()) {
            return Err(StoreError::NoGuard(format!("the candidate breaks no guard {name}")));
        }
        guards::override_once(&transaction, farm, name, frozen.digest, by, now)?;
        transaction.commit()?;
        Ok(frozen)
    }
    fn overrides(&mut self, farm: &Name) -> Result<Vec<Override>, StoreError> {
        guards::overrides(&self.connection, farm)
    }
    fn blocked(&mut self, farm: &Name) -> Result<Option<Blocked>, StoreError> {
        gate::blocked(&self.connection, farm)
    }
    fn standing(&mut self, farm: &Name) -> Result<Standing, StoreError> {
        let snapshot = self.snapshot_of_all()?;
        gate::standing(&snapshot, &FarmRow::load(&snapshot, farm)?)
    }
    fn set_gate(&mut self, farm: &Name, gate: &Gate) -> Result<(), StoreError> {
        let transaction = self.write()?;
        FarmRow::load(&transaction, farm)?;
        gate::set(&transaction, farm, gate)?;
        Ok(transaction.commit()?)
    }
    fn say(&mut self, farm: &Name, said: &Said) -> Result<(), StoreError> {
        let transaction = self.write()?;
        gate::say(&transaction, &FarmRow::load(&transaction, farm)?, said)?;
        Ok(transaction.commit()?)
    }
    fn freeze(
        &mut self,
        farm: &Name,
        anew: bool,
        clock: impl FnOnce() -> ServerTime,
        when: impl FnOnce(&SyncTable, ServerTime, &StoreFacts<'_>) -> Option<ServerTime>,
    ) -> Result<Option<(Frozen, bool)>, StoreError> {
        gate::freeze_now(self, farm, anew, clock, when)
    }
    fn thaw(&mut self, farm: &Name) -> Result<(), StoreError> {
        gate::thaw(&self.connection, farm)
    }
    fn candidate_changes(
        &mut self,
        farm: &Name,
        candidate: Digest,
        visit: &mut dyn FnMut(Change) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let snapshot = self.snapshot_of_all()?;
        history::candidate_changes(&snapshot, &frozen_as(&snapshot, farm, candidate)?, visit)
    }
    fn candidate_records(
        &mut self,
        farm: &Name,
        candidate: Digest,
        datasets: &[Name],
        visit: Visit<'_>,
    ) -> Result<(), StoreError> {
        let snapshot = self.snapshot_of_all()?;
        history::candidate_records(&snapshot, &frozen_as(&snapshot, farm, candidate)?, datasets, visit)
    }
}

/// The farm's row, where exactly this candidate is frozen.
fn frozen_as(connection: &Connection, farm: &Name, candidate: Digest) -> Result<FarmRow, StoreError> {
    let row = FarmRow::load(connection, farm)?;
    let current = row.frozen.map(|frozen| frozen.digest);
    if current != Some(candidate) {
        return Err(StoreError::NotCandidate { said: candidate, current });
    }
    Ok(row)
}
