//! A farm's own row, read with what is staged and what is gathered or frozen of the next generation.

use super::*;

/// A farm's row, and what is staged, as of one transaction.
#[derive(Clone, Debug)]
pub(super) struct FarmRow {
    pub(super) name: Name,
    pub(super) retention: Retention,
    /// Log rows up to this epoch are all in the index.
    pub(super) indexed_to: Epoch,
    /// Log rows superseded at or before this epoch are gone.
    pub(super) folded_to: Epoch,
    /// Rows of the epoch after that are folded up to this place.
    pub(super) folding: (String, Vec<u8>),
    /// The staged epoch k; 0 while the farm is being made.
    pub(super) staged: Epoch,
    /// The instant at which the scheduled records of k were looked at.
    pub(super) as_of: ServerTime,
    /// What is gathered of the next generation: as of when, and how many changes.
    pub(super) gathered: Option<(ServerTime, u64)>,
    /// What is gathered is a candidate that doesn't change any more.
    pub(super) frozen: Option<Frozen>,
}

impl FarmRow {
    pub(super) fn load(connection: &Connection, farm: &Name) -> Result<FarmRow, StoreError> {
        let mut statement = connection.prepare_cached(
            "SELECT f.generations_kept, f.indexed_to, f.folded_to, g.epoch, g.as_of, f.kept_for,
                f.folding_dataset, f.folding_key, f.gathered_as_of, f.gathered_changes,
                c.digest, c.as_of, c.changes, c.at
             FROM farm f LEFT JOIN generation g ON g.farm = f.name LEFT JOIN frozen c ON c.farm = f.name
             WHERE f.name = ?1 ORDER BY g.epoch DESC LIMIT 1",
        )?;
        let row = statement.query_row([farm.as_str()], |row| {
            let staged = unsigned(row.get::<_, Option<i64>>(3)?.unwrap_or(0));
            Ok(FarmRow {
                name: farm.clone(),
                retention: Retention {
                    generations: unsigned(row.get(0)?),
                    age: row.get::<_, Option<i64>>(5)?.map(Span::from_nanos),
                },
                indexed_to: unsigned(row.get(1)?),
                folded_to: unsigned(row.get(2)?),
                folding: (row.get(6)?, row.get(7)?),
                staged,
                as_of: ServerTime::from_nanos(row.get::<_, Option<i64>>(4)?.unwrap_or(i64::MIN)),
                gathered: row
                    .get::<_, Option<i64>>(8)?
                    .map(ServerTime::from_nanos)
                    .zip(row.get::<_, Option<i64>>(9)?.map(unsigned)),
                frozen: frozen(row, staged + 1)?,
            })
        });
        row.optional()?.ok_or_else(|| StoreError::NoFarm(farm.clone()))
    }

    pub(super) fn name(&self) -> &str {
        self.name.as_str()
    }

    /// The instants between which scheduled records may begin or end to count for an activation and did
    /// not for what is gathered (or staged, where nothing is). A new timeline may begin before the old
    /// one's instants, so the activation may be the first of the two.
    pub(super) fn instants_until(&self, activation: ServerTime) -> (ServerTime, ServerTime) {
        let from = self.gathered.map_or(self.as_of, |(as_of, _)| as_of);
        (from.min(activation), from.max(activation))
    }
}

/// The frozen candidate of a row that has it in its columns 10 to 13.
fn frozen(row: &Row<'_>, epoch: Epoch) -> rusqlite::Result<Option<Frozen>> {
    let Some(digest) = row.get::<_, Option<[u8; 32]>>(10)? else { return Ok(None) };
    Ok(Some(Frozen {
        epoch,
        digest: Digest(digest),
        as_of: ServerTime::from_nanos(row.get(11)?),
        changes: unsigned(row.get(12)?),
        at: ServerTime::from_nanos(row.get(13)?),
    }))
}
