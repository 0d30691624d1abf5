//! What a start makes of the time before it (PROTOCOL §8), and what is left after an abrupt end.

use crate::support::*;
use downbeat_core::message::{ReplyBody, RequestBody, ToAgent};
use downbeat_core::settings::Limits;
use downbeat_core::table::{TableView, next_activation};
use downbeat_core::time::{ServerTime, Span};
use downbeat_server::{Config, Handle, Server, StartAs, StartError};
use serde_json::{Value, json};

/// The table, and the server's time at which it was told.
fn read(server: &Handle) -> (TableView, ServerTime) {
    let reply = Peer::welcomed(server, "eu").0.ask(RequestBody::Read);
    match reply.body {
        ReplyBody::Table(table) => (table, reply.stamp.answered),
        other => panic!("no table: {other:?}"),
    }
}

/// Stages epoch 2, whose T is up to an interval ahead.
fn advance(server: &Handle) -> TableView {
    let (mut peer, _) = Peer::welcomed(server, "eu");
    let ReplyBody::Granted { grant, table } = peer.ask(RequestBody::Lock).body else { panic!("no grant") };
    let activation = next_activation(&table, grant.due, grant.granted_at);
    match peer.ask(RequestBody::Advance { token: grant.token, activation }).body {
        ReplyBody::Advanced(table) => table,
        other => panic!("not advanced: {other:?}"),
    }
}

#[test]
fn within_one_boot_the_line_goes_on_exactly_whatever_the_wall_clock_says() {
    let folder = tempfile::tempdir().unwrap();
    let clock = StillClock::new();
    let server = start_with(folder.path(), &clock);
    assert!(!server.continued());
    make_farm(&server, "eu");
    let before = advance(&server);
    let welcome = Peer::welcomed(&server, "eu").1;
    let (_, time) = read(&server);
    server.stop();

    clock.advance(3_600_000_000_000, -86_400_000_000_000);
    let server = start_with(folder.path(), &clock);
    assert!(server.continued());
    let (after, later) = read(&server);
    assert_eq!(later - time, Span::from_secs(3_600), "no step, no gap");
    assert_eq!(Peer::welcomed(&server, "eu").1.timeline, welcome.timeline);
    assert_eq!((after.staged, after.active), (before.staged, before.active));
    assert_eq!(after.activation, before.activation);
    assert!(after.next_earliest >= before.next_earliest);
}

#[test]
fn another_boot_is_a_new_line_that_waits_until_the_old_promises_have_passed() {
    let folder = tempfile::tempdir().unwrap();
    let clock = StillClock::new();
    let server = start_with(folder.path(), &clock);
    make_farm(&server, "eu");
    let old = advance(&server);
    // The clock stands still, so the mark was stored at this instant of the old line.
    let (_, stored) = read(&server);
    let line = Peer::welcomed(&server, "eu").1.timeline;
    server.stop();

    clock.reboot();
    let server = start_with(folder.path(), &clock);
    assert!(!server.continued());
    let welcome = Peer::welcomed(&server, "eu").1;
    assert_eq!(welcome.timeline.counter, line.counter + 1);
    assert_ne!(welcome.timeline.random, line.random);
    let (new, now) = read(&server);
    let drift = |span: Span| span + span.part(1_000);
    for (old, new) in [(old.activation, new.activation), (old.next_earliest, new.next_earliest)] {
        let left = old - stored;
        assert!(new - now >= left && new - now <= drift(left), "{left:?} were left, {:?} are", new - now);
    }
    assert_eq!((new.staged, new.active), (old.staged, None));
    assert!(new.landing.is_some_and(|landing| landing == new.next_earliest));
}

#[test]
fn a_copy_is_refused_until_somebody_says_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let clock = StillClock::new();
    let server = start_with(folder.path(), &clock);
    make_farm(&server, "eu");
    let old = advance(&server);
    server.stop();
    let elsewhere = tempfile::tempdir().unwrap();
    let copy = || {
        // The old file stays, so the copy can't get its inode.
        std::fs::copy(folder.path().join("downbeat.db"), elsewhere.path().join("downbeat.db")).unwrap();
    };
    copy();
    let with =
        |start_as| Server::start(Config { clock: Some(clock.clone()), start_as, ..config(elsewhere.path()) });
    let refused = with(StartAs::Ordinary).unwrap_err();
    assert!(matches!(refused, StartError::Copied { .. }));
    assert!(refused.to_string().contains("--restored"));

    let server = with(StartAs::Restored).unwrap();
    let (table, now) = read(&server);
    let limits = Limits::default();
    let longest = limits.max_hold + limits.max_interval.times(2) + limits.max_lead;
    assert!(table.activation - now >= longest);
    assert_eq!(table.staged, old.staged);
    server.stop();
    // It is the file that was served last from here on.
    with(StartAs::Ordinary).unwrap().stop();

    let server = with(StartAs::Vouched).unwrap();
    let (table, now) = read(&server);
    assert_eq!(table.activation, now);
    server.stop();
}

/// So that a backup which is copied over the database isn't read with a journal that isn't its own.
#[test]
fn no_journal_is_left_beside_the_database_after_a_stop() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..12 {
        let server = start(folder.path());
        if round == 0 {
            make_farm(&server, "eu");
        }
        let line = format!("{{\"op\":\"put\",\"dataset\":\"a\",\"key\":\"k\",\"value\":\"{round}\"}}\n");
        well(call_raw(&server, "POST", "/v1/farms/eu/apply", line.as_bytes()));
        server.stop();
        let left = ["downbeat.db-wal", "downbeat.db-shm"].map(|name| folder.path().join(name).exists());
        assert_eq!(left, [false, false], "round {round}");
    }
}

#[test]
fn a_backup_copied_over_the_database_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let (database, backup) = (folder.path().join("downbeat.db"), folder.path().join("backup"));
    let clock = StillClock::new();
    let server = start_with(folder.path(), &clock);
    make_farm(&server, "eu");
    server.stop();
    std::fs::copy(&database, &backup).unwrap();
    clock.advance(60_000_000_000, 60_000_000_000);
    let server = start_with(folder.path(), &clock);
    advance(&server);
    server.stop();
    // Into the same file, so that it keeps its identity.
    std::fs::copy(&backup, &database).unwrap();
    let config = || Config { clock: Some(clock.clone()), ..config(folder.path()) };
    assert!(matches!(Server::start(config()), Err(StartError::Copied { .. })));
    Server::start(Config { start_as: StartAs::Restored, ..config() }).unwrap().stop();
    Server::start(config()).unwrap().stop();
}

#[test]
fn no_time_beyond_the_mark_is_given_out_and_a_jump_of_the_clock_is_recovered_from() {
    let folder = tempfile::tempdir().unwrap();
    let clock = StillClock::new();
    let server = start_with(folder.path(), &clock);
    make_farm(&server, "eu");
    let (_, before) = read(&server);
    let (mut peer, _) = Peer::welcomed(&server, "eu");
    // The host was suspended for an hour: the mark is long behind.
    clock.advance(3_600_000_000_000, 3_600_000_000_000);
    let after = eventually("time", || match peer.try_ask(RequestBody::Read) {
        ToAgent::Reply(reply) => Some(reply.stamp.answered),
        ToAgent::Error { .. } => None,
        other => panic!("{other:?}"),
    });
    assert_eq!(after - before, Span::from_secs(3_600));
    // Whatever was given out lies under a mark that is stored.
    server.abort();
    let database = rusqlite::Connection::open(folder.path().join("downbeat.db")).unwrap();
    let body: String = database.query_row("SELECT body FROM clock", [], |row| row.get(0)).unwrap();
    let until = serde_json::from_str::<Value>(&body).unwrap()["line"]["mark"]["until"].as_i64().unwrap();
    assert!(until >= after.as_nanos());
}

#[test]
fn what_was_acknowledged_survives_an_abrupt_end() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path());
    make_farm(&server, "eu");
    let staged = advance(&server);
    for number in 0..50 {
        let path = format!("/v1/farms/eu/records/prices/{number}");
        well(call_raw(&server, "PUT", &path, number.to_string().as_bytes()));
    }
    server.abort();
    let server = start(folder.path());
    assert!(server.continued());
    assert_eq!(read(&server).0.staged, staged.staged);
    let list = well(call(&server, "GET", "/v1/farms/eu/records/prices?limit=100", &Value::Null));
    assert_eq!(list["records"].as_array().map(Vec::len), Some(50));
    let pending = well(call(&server, "GET", "/v1/farms/eu/pending?limit=10", &Value::Null));
    assert_eq!((pending["changes"].as_array().map(Vec::len), &pending["more"]), (Some(10), &json!(true)));
    drop(server);
}
