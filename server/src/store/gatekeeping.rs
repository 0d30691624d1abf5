//! What a store does with guards and the gate: the part of it that decides nothing about epochs and times,
//! but about which content may become one. The verdict itself is the store's answer to core
//! ([`super::StoreFacts`]): a candidate that breaks a guard, or that was not approved, is blocked.

use super::{
    Blocked, Change, Example, Frozen, Gate, Guard, GuardName, Override, Reason, Said, Standing, Store,
    StoreError, StoreFacts, Visit,
};
use downbeat_core::ids::{Digest, Name};
use downbeat_core::table::SyncTable;
use downbeat_core::time::ServerTime;

/// Guards and the gate of a farm. As in [`Store`], an error means that nothing was changed, and a return
/// that it is on the disk.
///
/// Families: guards (`guards` … `blocked`), the gate (`standing` … `say`), the candidate (`freeze` …
/// `candidate_records`).
pub trait Gatekeeping: Store {
    /// The farm's guards, ascending by dataset (its own first) and kind.
    fn guards(&mut self, farm: &Name) -> Result<Vec<Guard>, StoreError>;

    /// Sets a guard, in place of one with the same name. It counts from the next promotion on, for records
    /// that change: those that are staged already are not looked at.
    ///
    /// # Errors
    /// [`StoreError::NoGuard`] where limit and kind don't fit, or a schema is none.
    fn set_guard(&mut self, farm: &Name, guard: &Guard) -> Result<(), StoreError>;

    /// Takes a guard away; whether it was there.
    fn remove_guard(&mut self, farm: &Name, name: &GuardName) -> Result<bool, StoreError>;

    /// How many records of a dataset in production don't fit a schema, counted up to `most`, and some of
    /// them. Waits for nobody; looks at all of the dataset's records.
    fn misfits(
        &mut self,
        farm: &Name,
        dataset: &Name,
        schema: &str,
        most: usize,
    ) -> Result<(u64, Vec<Example>), StoreError>;

    /// What in the candidate, as far as it is gathered, breaks a guard. Waits for nobody.
    fn broken(&mut self, farm: &Name) -> Result<Vec<Reason>, StoreError>;

    /// Lets exactly the candidate of now through a guard, once: it is frozen for that, as
    /// [`Gatekeeping::freeze`] does, unless one is frozen already.
    ///
    /// # Errors
    /// [`StoreError::NoGuard`] where there is no such guard, or the candidate doesn't break it;
    /// [`StoreError::NotCandidate`] where it isn't the one that is `expected`.
    fn override_guard(
        &mut self,
        farm: &Name,
        name: &GuardName,
        expected: Option<Digest>,
        by: &str,
        clock: impl FnOnce() -> ServerTime,
        when: impl FnOnce(&SyncTable, ServerTime, &StoreFacts<'_>) -> ServerTime,
    ) -> Result<Frozen, StoreError>;

    /// Overrides that wait, and the last ones that were used; the newest first.
    fn overrides(&mut self, farm: &Name) -> Result<Vec<Override>, StoreError>;

    /// The last candidate that was kept back, where none was staged since.
    fn blocked(&mut self, farm: &Name) -> Result<Option<Blocked>, StoreError>;

    /// How the gate stands.
    fn standing(&mut self, farm: &Name) -> Result<Standing, StoreError>;

    /// Who has to approve from now on.
    fn set_gate(&mut self, farm: &Name, gate: &Gate) -> Result<(), StoreError>;

    /// Notes what a judge says of the frozen candidate.
    ///
    /// # Errors
    /// [`StoreError::NotCandidate`], [`StoreError::NoJudge`].
    fn say(&mut self, farm: &Name, said: &Said) -> Result<(), StoreError>;

    /// Freezes the candidate as of the activation that `when` expects, if it expects one: from here on
    /// exactly this is promoted, or nothing. One that is frozen already stays, unless scheduled records
    /// make it another content as of that activation, or a new one is asked for (`anew`: then nothing that
    /// was said counts any more). Gives the candidate, and whether it was frozen just now.
    fn freeze(
        &mut self,
        farm: &Name,
        anew: bool,
        clock: impl FnOnce() -> ServerTime,
        when: impl FnOnce(&SyncTable, ServerTime, &StoreFacts<'_>) -> Option<ServerTime>,
    ) -> Result<Option<(Frozen, bool)>, StoreError>;

    /// Gives the frozen candidate up: edits are gathered into it again.
    fn thaw(&mut self, farm: &Name) -> Result<(), StoreError>;

    /// Visits what the frozen candidate changes, ascending by dataset and key.
    ///
    /// # Errors
    /// [`StoreError::NotCandidate`] where another one is frozen, or none.
    fn candidate_changes(
        &mut self,
        farm: &Name,
        candidate: Digest,
        visit: &mut dyn FnMut(Change) -> Result<(), StoreError>,
    ) -> Result<(), StoreError>;

    /// Visits all records of the frozen candidate, ascending by dataset and key; of some datasets, or of
    /// all where none is named.
    ///
    /// # Errors
    /// [`StoreError::NotCandidate`] where another one is frozen, or none.
    fn candidate_records(
        &mut self,
        farm: &Name,
        candidate: Digest,
        datasets: &[Name],
        visit: Visit<'_>,
    ) -> Result<(), StoreError>;
}
