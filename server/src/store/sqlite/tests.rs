//! What needs the connection itself. Everything else is tested from outside, in tests/store.

use super::*;
use downbeat_core::settings::{Limits, Settings};

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn store(folder: &tempfile::TempDir) -> SqliteStore {
    let mut store = SqliteStore::open(&folder.path().join("x.db")).unwrap();
    let farm = name("f");
    let make = |digest, now, _: &StoreFacts<'_>| {
        let line = TimelineId::default();
        SyncTable::new_farm(name("f"), line, digest, Settings::default(), Limits::default(), None, now)
    };
    store.create_farm(&farm, &[], || ServerTime::from_nanos(1), make).unwrap();
    store
}

fn put(n: u32) -> Edit {
    Edit::Put { dataset: name("d"), key: n.to_be_bytes().to_vec(), value: vec![7; 1_000] }
}

#[test]
fn a_full_disk_is_one_clear_error_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = store(&folder);
    store.apply(&name("f"), &[put(0)]).unwrap();
    let pages: i64 = store.connection.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    store.connection.query_row(&format!("PRAGMA max_page_count = {}", pages + 10), [], |_| Ok(())).unwrap();
    let many: Vec<_> = (1..1_000).map(put).collect();
    let error = store.apply(&name("f"), &many).unwrap_err();
    assert!(matches!(error, StoreError::Full), "{error}");
    assert!(error.to_string().contains("free some space"));
    assert_eq!(store.list(&name("f"), &name("d"), b"", None, 9_999).unwrap().len(), 1);
    store.connection.query_row("PRAGMA max_page_count = 1000000", [], |_| Ok(())).unwrap();
    assert_eq!(store.apply(&name("f"), &many).unwrap().written, 999);
}

#[test]
fn a_database_that_is_held_is_busy_to_writers_only() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = store(&folder);
    let other = Connection::open(folder.path().join("x.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    store.connection.busy_timeout(Duration::ZERO).unwrap();
    assert!(matches!(store.apply(&name("f"), &[put(0)]), Err(StoreError::Busy)));
    assert_eq!(store.table(&name("f")).unwrap().epoch(), 1);
    assert_eq!(store.read(&name("f"), |table, _| table.epoch()).unwrap(), 1);
    other.execute_batch("ROLLBACK").unwrap();
    store.apply(&name("f"), &[put(0)]).unwrap();
}

#[test]
fn commits_are_durable_by_setting() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let pragma = |name| store.connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!((pragma("synchronous"), pragma("foreign_keys")), (2, 1));
    let mode: String = store.connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
    assert_eq!(mode, "wal");
}

/// The reads that grow with the data follow an index and sort nothing.
#[test]
fn generations_are_read_in_index_order() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let mut plan = store.connection.prepare(&format!("EXPLAIN QUERY PLAN {}", history::FROM_INDEX)).unwrap();
    let steps: Vec<String> =
        plan.query_map(params!["f", "d", 1], |row| row.get(3)).unwrap().collect::<Result<_, _>>().unwrap();
    assert!(steps.iter().all(|step| !step.contains("TEMP B-TREE") && !step.starts_with("SCAN")), "{steps:?}");
}

/// Rows of so many datasets, in no order; the last one's key may be the first one's.
fn rows(datasets: u64, twice: bool) -> impl Iterator<Item = Result<Incoming, StoreError>> {
    (0..12_800).map(move |line| {
        let n = if twice && line == 12_799 { 0 } else { line };
        let dataset = name(&format!("d{}", n % datasets));
        Ok(Incoming { line, dataset, key: format!("k{n}").into_bytes(), value: b"v".to_vec() })
    })
}

fn import(store: &mut SqliteStore, datasets: u64, twice: bool) -> Result<Applied, StoreError> {
    store.load(rows(datasets, twice))?;
    store.import_loaded(&name("f"), None, &mut |number| Err(StoreError::DuplicateKey { number }))
}

#[test]
fn a_large_import_leaves_the_schema_in_force_on_its_own_connection_too() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = store(&folder);
    let texts = |store: &SqliteStore, sql: &str| -> Vec<String> {
        let mut statement = store.connection.prepare(sql).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    };
    let schema = "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name";
    let before = texts(&store, schema);
    let in_force = |store: &SqliteStore| {
        assert_eq!(texts(store, schema), before);
        for (sql, says) in [
            ("INSERT INTO production VALUES ('f', 'd0', zeroblob(513), 'v')", "at most 512 bytes"),
            ("INSERT INTO production VALUES ('f', 'd0', 'k', 1.5)", "write '1.5', not 1.5"),
            ("INSERT INTO production VALUES ('g', 'd0', 'k', 'v')", "no such farm"),
        ] {
            let error = store.connection.execute_batch(sql).unwrap_err().to_string();
            assert!(error.contains(says), "{sql}: {error}");
        }
    };
    let error = import(&mut store, 3, true).unwrap_err();
    assert!(matches!(error, StoreError::DuplicateKey { number: 12_799 }), "{error}");
    in_force(&store);
    let error = import(&mut store, 65, false).unwrap_err();
    assert!(error.to_string().contains("at most 64 datasets"), "{error}");
    in_force(&store);
    let counts = "SELECT (SELECT count(*) FROM production) || ' ' || (SELECT count(*) FROM changed)";
    assert_eq!(texts(&store, counts), ["0 0"]);
    assert_eq!(import(&mut store, 64, false).unwrap().added, 12_800);
    in_force(&store);
    assert_eq!(texts(&store, counts), ["12800 12800"]);
    assert_eq!(texts(&store, "SELECT name FROM dataset").len(), 64);
    store.connection.execute_batch("INSERT INTO production VALUES ('f', 'd0', 'k', 'v')").unwrap();
    assert_eq!(texts(&store, counts), ["12801 12801"]);
    let again = import(&mut store, 64, false).unwrap();
    assert_eq!((again.written, again.unchanged), (0, 12_800));
    assert_eq!(texts(&store, counts), ["12801 12801"]);
}
