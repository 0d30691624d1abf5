//! The suite on SQLite, and what is SQLite's alone: its file, its versions, edits by other tools.

use crate::Harness;
use crate::support::*;
use downbeat_core::ids::Name;
use downbeat_server::store::{Edit, Retention, Scheduled, SqliteStore, Store, StoreError};
use rusqlite::{Connection, params, types::Value};
use std::path::PathBuf;

pub(crate) struct Sqlite {
    folder: tempfile::TempDir,
}

impl Sqlite {
    fn path(&self) -> PathBuf {
        self.folder.path().join("farm.db")
    }

    /// As the sqlite3 shell opens it: no pragma of ours.
    fn raw(&self) -> Connection {
        let connection = Connection::open(self.path()).unwrap();
        connection.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
        connection
    }
}

impl Harness for Sqlite {
    type Store = SqliteStore;
    fn new() -> Sqlite {
        Sqlite { folder: tempfile::tempdir().unwrap() }
    }
    fn open(&self) -> SqliteStore {
        SqliteStore::open(&self.path()).unwrap()
    }
    fn raw_replace(&self, farm: &Name, dataset: &Name, key: &[u8], value: &[u8], text: bool) {
        let form = |bytes: &[u8]| match std::str::from_utf8(bytes) {
            Ok(utf8) if text => Value::Text(utf8.into()),
            _ => Value::Blob(bytes.into()),
        };
        let sql = "INSERT OR REPLACE INTO production (farm, dataset, key, value) VALUES (?, ?, ?, ?)";
        let row = params![farm.as_str(), dataset.as_str(), form(key), form(value)];
        self.raw().execute(sql, row).unwrap();
    }
    fn raw_delete(&self, farm: &Name, dataset: &Name, key: &[u8]) {
        let sql = "DELETE FROM production WHERE farm = ? AND dataset = ? AND CAST(key AS BLOB) = ?";
        self.raw().execute(sql, params![farm.as_str(), dataset.as_str(), key]).unwrap();
    }
}

fn farm() -> (Sqlite, SqliteStore, Name) {
    let sqlite = Sqlite::new();
    let mut store = sqlite.open();
    create(&mut store, &name("f"), &[put("d", "k", "v")], secs(100)).unwrap();
    (sqlite, store, name("f"))
}

#[test]
fn conforms() {
    crate::conformance::all::<Sqlite>();
}

#[test]
fn a_newer_schema_is_refused_and_left_alone() {
    let (sqlite, store, _) = farm();
    drop(store);
    sqlite.raw().pragma_update(None, "user_version", 77).unwrap();
    let error = SqliteStore::open(&sqlite.path()).unwrap_err();
    assert!(matches!(error, StoreError::NewerSchema { found: 77, known: 7 }), "{error}");
    assert!(error.to_string().contains("newer version of Downbeat; run that version"));
    sqlite.raw().pragma_update(None, "user_version", 7).unwrap();
    assert_eq!(sqlite.open().get(&name("f"), &name("d"), b"k").unwrap(), Some(b"v".to_vec()));
}

#[test]
fn an_older_schema_is_brought_up_to_date() {
    let sqlite = Sqlite::new();
    let raw = sqlite.raw();
    raw.execute_batch(include_str!("../../src/store/sqlite/schema_1.sql")).unwrap();
    raw.execute_batch(
        "PRAGMA application_id = 0x64776e62; PRAGMA user_version = 1;
         INSERT INTO farm VALUES ('f', 5, 1, 1);
         INSERT INTO generation VALUES ('f', 1, zeroblob(32), 77, 0)",
    )
    .unwrap();
    let mut store = sqlite.open();
    assert_eq!(store.retention(&name("f")).unwrap(), Retention { generations: 5, age: None });
    let kept = store.generations(&name("f")).unwrap();
    assert_eq!((kept.len(), kept[0].activation.as_nanos()), (1, 77));
}

/// What the third version gathered is compared again, and what is staged is counted.
#[test]
fn a_database_from_before_the_guards_is_counted() {
    let sqlite = Sqlite::new();
    let raw = sqlite.raw();
    for step in [
        include_str!("../../src/store/sqlite/schema_1.sql"),
        include_str!("../../src/store/sqlite/schema_2.sql"),
        include_str!("../../src/store/sqlite/schema_3.sql"),
    ] {
        raw.execute_batch(step).unwrap();
    }
    raw.execute_batch(
        "PRAGMA application_id = 0x64776e62; PRAGMA user_version = 3;
         INSERT INTO farm (name, generations_kept, indexed_to, folded_to, gathered_as_of, gathered_changes)
            VALUES ('f', 5, 2, 1, 90, 1);
         INSERT INTO generation (farm, epoch, digest, as_of, changes) VALUES
            ('f', 1, zeroblob(32), 70, 2), ('f', 2, zeroblob(32), 80, 2);
         INSERT INTO generation_dataset VALUES
            ('f', 1, 'd', zeroblob(32), 2), ('f', 2, 'd', zeroblob(32), 2), ('f', 3, 'd', zeroblob(32), 2);
         INSERT INTO record_log VALUES
            ('f', 1, 'd', x'61', x'313233'), ('f', 1, 'd', x'62', x'31'),
            ('f', 2, 'd', x'62', NULL), ('f', 2, 'd', x'63', x'3131'),
            ('f', 3, 'd', x'61', x'3939')",
    )
    .unwrap();
    drop(sqlite.open());
    let number = |sql: &str| raw.query_row(sql, [], |row| row.get::<_, Option<i64>>(0)).unwrap();
    // Keys a and c, with their values.
    assert_eq!(number("SELECT bytes FROM generation_dataset WHERE epoch = 2"), Some(7));
    assert_eq!(number("SELECT count(*) FROM generation_dataset WHERE epoch > 2"), Some(0));
    assert_eq!(number("SELECT count(*) FROM record_log WHERE epoch > 2"), Some(0));
    assert_eq!(number("SELECT count(*) FROM changed WHERE key = x'61'"), Some(1));
    assert_eq!(number("SELECT gathered_as_of FROM farm"), None);
}

#[test]
fn other_files_are_refused_and_left_alone() {
    let sqlite = Sqlite::new();
    sqlite.raw().execute_batch("CREATE TABLE theirs (x)").unwrap();
    assert!(matches!(SqliteStore::open(&sqlite.path()), Err(StoreError::NotOurs)));
    sqlite.raw().query_row("SELECT count(*) FROM theirs", [], |_| Ok(())).unwrap();
    std::fs::write(sqlite.path(), "price;currency\n1;EUR\n".repeat(100)).unwrap();
    assert!(matches!(SqliteStore::open(&sqlite.path()), Err(StoreError::Damaged(_))));
    let nowhere = sqlite.folder.path().join("no/such/folder.db");
    assert!(matches!(SqliteStore::open(&nowhere), Err(StoreError::Io(_))));
}

/// The statements that people write in a shell, and that each change is captured.
#[test]
fn edits_by_any_tool_are_captured() {
    let (sqlite, mut store, farm) = farm();
    let statements = [
        ("INSERT INTO production VALUES ('f', 'd', 'new', '1')", "new"),
        ("INSERT OR REPLACE INTO production VALUES ('f', 'd', x'6e6577', '2')", "new"),
        ("REPLACE INTO production VALUES ('f', 'd', 'new', x'33')", "new"),
        (
            "INSERT INTO production VALUES ('f', 'd', 'new', '4')
             ON CONFLICT (farm, dataset, key) DO UPDATE SET value = excluded.value",
            "new",
        ),
        (
            "INSERT INTO production VALUES ('f', 'd', x'6e6577', '5')
             ON CONFLICT DO UPDATE SET value = excluded.value",
            "new",
        ),
        ("UPDATE production SET value = '6' WHERE key = 'k'", "k"),
        ("INSERT OR FAIL INTO production VALUES ('f', 'd', 'more', '7')", "more"),
        ("UPDATE OR REPLACE production SET key = 'more' WHERE key = 'k'", "k"),
        ("UPDATE production SET dataset = 'e' WHERE key = 'more'", "more"),
        ("PRAGMA recursive_triggers = ON; REPLACE INTO production VALUES ('f', 'd', 'new', '8')", "new"),
        ("DELETE FROM production", "new"),
    ];
    for (sql, key) in statements {
        sqlite.raw().execute_batch(sql).unwrap();
        let pending = store.pending(&farm, secs(110), 9).unwrap();
        assert!(pending.iter().any(|change| change.key == key.as_bytes()), "{sql}: {pending:?}");
        promote(&mut store, &farm);
        assert!(store.pending(&farm, secs(9_999), 9).unwrap().is_empty(), "{sql}");
        let epoch = store.table(&farm).unwrap().epoch();
        let content = content_at(&mut store, &farm, epoch);
        let in_production: i64 =
            sqlite.raw().query_row("SELECT count(*) FROM production", [], |row| row.get(0)).unwrap();
        assert_eq!(content.len() as i64, in_production, "{sql}");
        assert_eq!(digest_of(&content), store.table(&farm).unwrap().staged.digest);
    }
    // A conflict clause of the statement must not reach into the triggers.
    let again = "INSERT OR FAIL INTO production VALUES ('f', 'd', 'a', '1');
        DELETE FROM production WHERE key = 'a'; INSERT OR FAIL INTO production VALUES ('f', 'd', 'a', '2')";
    sqlite.raw().execute_batch(again).unwrap();
}

#[test]
fn the_schema_itself_refuses_what_breaks_a_limit() {
    let (sqlite, mut store, farm) = farm();
    for (sql, says) in [
        ("INSERT INTO production VALUES ('f', '', 'k', 'v')", "a dataset's name"),
        ("INSERT INTO production VALUES ('f', 'Prices', 'k', 'v')", "a dataset's name"),
        ("INSERT INTO production VALUES ('f', 'd', 5, 'v')", "write '5', not 5"),
        ("INSERT INTO production VALUES ('f', 'd', 'k2', 1.5)", "write '1.5', not 1.5"),
        ("INSERT INTO production VALUES ('f', 'd', zeroblob(513), 'v')", "at most 512 bytes"),
        ("INSERT INTO production VALUES ('f', 'd', 'k2', zeroblob(65537))", "at most 65536 bytes"),
        ("INSERT INTO production VALUES ('f', 'd', printf('%.513c', 'ü'), '')", "at most 512 bytes"),
        ("INSERT INTO production VALUES ('f', 'd', x'6b', 'twin')", "UNIQUE"),
        ("INSERT INTO production VALUES ('g', 'd', 'k', 'v')", "no such farm"),
        ("UPDATE production SET farm = 'g'", "no such farm"),
        ("INSERT INTO scheduled VALUES ('f', 'd', 'k', 'soon', NULL, 'v')", "effective_at is a whole"),
        ("INSERT INTO scheduled VALUES ('f', 'd', 'k', 5, 5, 'v')", "expires_at is NULL, or"),
    ] {
        let error = StoreError::from(sqlite.raw().execute_batch(sql).unwrap_err());
        assert!(
            matches!(error, StoreError::Refused(_)) && error.to_string().contains(says),
            "{sql}: {error}"
        );
    }
    assert!(store.pending(&farm, secs(110), 9).unwrap().is_empty());
    // Text of a scheduled record counts by its bytes too.
    sqlite.raw().execute_batch("INSERT INTO scheduled VALUES ('f', 'd', 'k', 5, NULL, 'v2')").unwrap();
    let same = Scheduled {
        dataset: name("d"),
        key: b"k".to_vec(),
        effective_at: downbeat_core::time::ServerTime::from_nanos(5),
        expires_at: None,
        value: Some(b"v2".to_vec()),
    };
    assert_eq!(store.apply(&farm, &[Edit::Schedule(same)]).unwrap().unchanged, 1);
}

/// What a killed process leaves is what its files hold at that instant.
#[test]
fn a_killed_process_loses_only_what_was_not_committed() {
    let (sqlite, mut store, farm) = farm();
    store.apply(&farm, &[put("d", "kept", "1")]).unwrap();
    promote(&mut store, &farm);
    let table = store.table(&farm).unwrap();
    let raw = sqlite.raw();
    // A small cache makes the transaction spill into the file before it ends.
    raw.execute_batch("PRAGMA cache_size = 1; BEGIN IMMEDIATE").unwrap();
    for n in 0..2_000 {
        let row = params![format!("half{n}"), vec![7u8; 100]];
        raw.execute("INSERT INTO production VALUES ('f', 'd', ?, ?)", row).unwrap();
    }
    raw.execute_batch("UPDATE sync_table SET timeline = 'x'").unwrap();
    let copy = Sqlite::new();
    for entry in std::fs::read_dir(sqlite.folder.path()).unwrap() {
        let entry = entry.unwrap();
        if !entry.file_name().to_string_lossy().ends_with("-shm") {
            std::fs::copy(entry.path(), copy.folder.path().join(entry.file_name())).unwrap();
        }
    }
    let wal = std::fs::metadata(copy.folder.path().join("farm.db-wal")).unwrap().len();
    assert!(wal > 200_000, "the transaction did not reach the file");
    let mut reopened = copy.open();
    assert_eq!(reopened.table(&farm).unwrap(), table);
    assert_eq!(reopened.list(&farm, &name("d"), b"", None, 9_999).unwrap().len(), 2);
    assert!(reopened.pending(&farm, secs(900), 9).unwrap().is_empty());
    promote(&mut reopened, &farm);

    // And one whose connection is dropped in the middle.
    drop(raw);
    assert_eq!(store.table(&farm).unwrap(), table);
    promote(&mut store, &farm);
}

/// What is promoted after a pinned generation stays, also where no kept generation shows it.
#[test]
fn a_delta_starts_from_a_pinned_generation_long_after_it_was_kept() {
    let (_sqlite, mut store, farm) = farm();
    store.apply(&farm, &[put("d", "a", "1"), put("d", "b", "1"), put("d", "c", "1")]).unwrap();
    let start = promote(&mut store, &farm).staged;
    store.pin(&farm, &[start]).unwrap();
    let steps =
        [delete("d", "b"), put("d", "c", "2"), put("d", "c", "1"), put("d", "a", "7"), put("e", "x", "")];
    for edit in steps {
        store.apply(&farm, &[edit]).unwrap();
        let table = promote(&mut store, &farm);
        store.maintain(&farm, table.activation).unwrap();
    }
    let last = store.table(&farm).unwrap().staged;
    assert!(store.generations(&farm).unwrap().iter().all(|kept| kept.generation.epoch > start.epoch + 1));
    let changes = [
        (name("d"), b"a".to_vec(), Some(b"7".to_vec())),
        (name("d"), b"b".to_vec(), None),
        (name("e"), b"x".to_vec(), Some(Vec::new())),
    ];
    assert_eq!(delta(&mut store, &farm, (start, last), &[]), changes);
    store.pin(&farm, &[]).unwrap();
    assert!(store.pin(&farm, &[start]).is_err(), "it can't be pinned again");
    assert!(store.delta(&farm, (start, last), &[], &mut |_| Ok(())).is_err());
}
