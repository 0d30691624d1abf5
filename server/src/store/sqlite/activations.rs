//! What agents told of activations that are over, for people (FORMATS "SQL").

use super::table::{line_of, line_text};
use super::*;

/// Epochs of which it is kept.
const KEPT: u64 = 10_000;

/// Keeps what is known of an activation, unless more is known already.
pub(super) fn keep(store: &mut SqliteStore, farm: &Name, past: &Past) -> Result<(), StoreError> {
    let transaction = store.write()?;
    FarmRow::load(&transaction, farm)?;
    transaction
        .prepare_cached(
            "INSERT INTO activation (farm, epoch, timeline, activation, switched, body)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT DO UPDATE SET switched = excluded.switched, body = excluded.body
                WHERE excluded.switched > switched",
        )?
        .execute(params![
            farm.as_str(),
            signed(past.epoch),
            line_text(past.timeline),
            past.activation.as_nanos(),
            signed(past.switched),
            past.body
        ])?;
    transaction
        .prepare_cached("DELETE FROM activation WHERE farm = ?1 AND epoch <= ?2")?
        .execute(params![farm.as_str(), signed(past.epoch.saturating_sub(KEPT))])?;
    transaction.commit()?;
    Ok(())
}

/// The newest, descending by T.
pub(super) fn list(connection: &Connection, farm: &Name, limit: usize) -> Result<Vec<Past>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT epoch, timeline, activation, switched, body FROM activation
         WHERE farm = ?1 ORDER BY activation DESC, epoch DESC LIMIT ?2",
    )?;
    let mut rows = statement.query(params![farm.as_str(), signed(limit as u64)])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        all.push(Past {
            epoch: unsigned(row.get(0)?),
            timeline: line_of(&row.get::<_, String>(1)?)?,
            activation: ServerTime::from_nanos(row.get(2)?),
            switched: unsigned(row.get(3)?),
            body: row.get(4)?,
        });
    }
    Ok(all)
}
