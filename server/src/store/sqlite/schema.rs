//! The schema's versions: a file of SQL for each, applied forward in one transaction. A database of
//! a newer version is refused, never guessed at.

use super::StoreError;
use rusqlite::{Connection, TransactionBehavior};

/// "dwnb": what `PRAGMA application_id` says of our files.
const APPLICATION: i64 = 0x6477_6e62;

/// Pages of the journal (64 MiB) from which on a commit also writes them back into the database. Less is
/// written back by upkeep, which nobody waits for.
pub(super) const CHECKPOINT_PAGES: i64 = 16_384;

/// The step from version n to n + 1 stands at place n.
const STEPS: [&str; 7] = [
    include_str!("schema_1.sql"),
    include_str!("schema_2.sql"),
    include_str!("schema_3.sql"),
    include_str!("schema_4.sql"),
    include_str!("schema_5.sql"),
    include_str!("schema_6.sql"),
    include_str!("schema_7.sql"),
];

/// Sets a connection up and brings the schema to the newest version.
pub(super) fn prepare(connection: &mut Connection) -> Result<(), StoreError> {
    // Refuse before anything is written, so that a file of somebody else stays as it is.
    check(connection)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", "ON")?;
    // Otherwise a statement is compiled anew for each key that it is bound to (to look at statistics).
    connection.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // 64 MiB of pages at most; with the default of 2 a large promotion reads its pages again and again.
    connection.pragma_update(None, "cache_size", -65_536)?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    // What a large import made it grow by is given back.
    connection.pragma_update(None, "journal_size_limit", CHECKPOINT_PAGES * 4_096)?;
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if !mode.eq_ignore_ascii_case("wal") {
        return Err(StoreError::Io(format!(
            "the journal is in mode {mode} where WAL is needed; a network file system can't hold the database"
        )));
    }
    if check(connection)? == STEPS.len() as i64 {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another process may have been faster.
    let from = check(&transaction)?;
    for step in STEPS.iter().skip(from as usize) {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.pragma_update(None, "user_version", STEPS.len() as i64)?;
    transaction.commit()?;
    Ok(())
}

/// The version of the file's schema, 0 for a new file.
fn check(connection: &Connection) -> Result<i64, StoreError> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (application, found) = (pragma("application_id")?, pragma("user_version")?);
    let known = STEPS.len() as i64;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if application == APPLICATION && (0..=known).contains(&found) {
        return Ok(found);
    }
    if found > known && (application == APPLICATION || tables == 0) {
        return Err(StoreError::NewerSchema { found, known });
    }
    let encoding: String = connection.pragma_query_value(None, "encoding", |row| row.get(0))?;
    if tables > 0 || application != 0 || found != 0 || encoding != "UTF-8" {
        return Err(StoreError::NotOurs);
    }
    Ok(0)
}
