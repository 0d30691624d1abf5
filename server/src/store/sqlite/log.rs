//! The log of records, as far as single keys are asked of it (FORMATS "history").

use super::*;
use rusqlite::CachedStatement;

/// The last values of keys in the log.
pub(super) struct Log<'c> {
    farm: &'c FarmRow,
    /// Epochs that the index doesn't have yet, descending; usually none.
    recent: Vec<Epoch>,
    at_epoch: CachedStatement<'c>,
    indexed: CachedStatement<'c>,
}

impl<'c> Log<'c> {
    pub(super) fn new(connection: &'c Connection, farm: &'c FarmRow) -> Result<Log<'c>, StoreError> {
        let mut statement = connection.prepare_cached(
            "SELECT epoch FROM generation WHERE farm = ?1 AND epoch > ?2 AND changes > 0 ORDER BY epoch DESC",
        )?;
        let recent = statement
            .query_map(params![farm.name(), signed(farm.indexed_to)], |row| Ok(unsigned(row.get(0)?)))?
            .collect::<Result<_, _>>()?;
        let at_epoch = connection.prepare_cached(
            "SELECT value FROM record_log WHERE farm = ?1 AND epoch = ?2 AND dataset = ?3 AND key = ?4",
        )?;
        let indexed = connection.prepare_cached(
            "SELECT l.value FROM record_index i CROSS JOIN record_log l
                ON l.farm = i.farm AND l.epoch = i.epoch AND l.dataset = i.dataset AND l.key = i.key
             WHERE i.farm = ?1 AND i.dataset = ?2 AND i.key = ?3 AND i.epoch <= ?4
             ORDER BY i.epoch DESC LIMIT 1",
        )?;
        Ok(Log { farm, recent, at_epoch, indexed })
    }

    /// The value of a key at an epoch: that of its last row up to it.
    pub(super) fn value_at(
        &mut self,
        epoch: Epoch,
        dataset: &Name,
        key: &[u8],
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let value = |row: &Row<'_>| row.get::<_, Option<Vec<u8>>>(0);
        for at in self.recent.iter().filter(|at| **at <= epoch) {
            let row = self
                .at_epoch
                .query_row(params![self.farm.name(), signed(*at), dataset.as_str(), key], value)
                .optional()?;
            if let Some(value) = row {
                return Ok(value);
            }
        }
        let row = self
            .indexed
            .query_row(params![self.farm.name(), dataset.as_str(), key, signed(epoch)], value)
            .optional()?;
        Ok(row.flatten())
    }
}
