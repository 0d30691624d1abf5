//! What every store must do. [`all`] runs each test on a database of its own.

use crate::Harness;
use crate::support::*;
use downbeat_core::content::LimitError;
use downbeat_core::ids::TimelineId;
use downbeat_core::message::{ReplyBody, RequestBody};
use downbeat_core::object::{Expected, Reader};
use downbeat_core::server::{Effect, Facts, Verdict};
use downbeat_core::settings::SettingsError;
use downbeat_core::table::SyncTable;
use downbeat_core::time::{ServerTime, Span};
use downbeat_server::store::{
    Applied, Differences, Edit, Incoming, Past, Rest, Retention, Scheduled, Step, Store, StoreError,
};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, Ordering};

pub(crate) fn all<H: Harness>() {
    farms_are_made_once::<H>();
    edits_are_staged_together_or_not_at_all::<H>();
    limits_name_the_record::<H>();
    imports_write_what_differs::<H>();
    lists_by_prefix_and_place::<H>();
    promotion_is_what_was_judged::<H>();
    a_blocked_candidate_stays_changed::<H>();
    what_is_gathered_is_nobody_s_before_it_is_promoted::<H>();
    scheduled_records_count_when_they_should::<H>();
    instants_that_a_new_line_skipped_are_looked_at::<H>();
    a_transition_that_changes_nothing_writes_nothing::<H>();
    what_does_not_fit_is_refused_whole::<H>();
    history_is_kept_and_folded::<H>();
    a_backlog_is_folded_over_several_calls::<H>();
    a_rollback_is_an_edit_that_can_be_taken_back::<H>();
    snapshots_are_objects_that_agents_take::<H>();
    lines_are_compared::<H>();
    what_is_told_of_activations_is_remembered::<H>();
    keys_are_unique_over_their_bytes::<H>();
    two_connections_start_each_epoch_once::<H>();
}

fn farm_with<H: Harness>(initial: &[Edit]) -> (H, H::Store, downbeat_core::ids::Name) {
    let harness = H::new();
    let mut store = harness.open();
    let farm = name("farm");
    create(&mut store, &farm, initial, secs(100)).unwrap();
    (harness, store, farm)
}

fn farms_are_made_once<H: Harness>() {
    let (_harness, mut store, farm) = farm_with::<H>(&[put("d", "k", "v")]);
    let table = store.table(&farm).unwrap();
    assert_eq!((table.epoch(), table.activation, table.active), (1, secs(100), None));
    assert_eq!(table.staged.digest, digest_of(&content_at(&mut store, &farm, 1)));
    assert!(matches!(create(&mut store, &farm, &[], secs(100)), Err(StoreError::FarmExists(_))));
    assert!(matches!(store.table(&name("other")), Err(StoreError::NoFarm(_))));
    assert!(matches!(store.apply(&name("other"), &[put("d", "k", "v")]), Err(StoreError::NoFarm(_))));

    // A farm that is refused leaves nothing behind.
    let refused = store.create_farm(
        &name("bad"),
        &[put("d", "k", "v")],
        || secs(1),
        |_, _, _| Err(SettingsError::LeaseTooShort { least: Span::ZERO }),
    );
    assert!(matches!(refused, Err(StoreError::Settings(_))));
    create(&mut store, &name("bad"), &[], secs(100)).unwrap();
    assert!(content_at(&mut store, &name("bad"), 1).is_empty());
    assert_eq!(store.farms().unwrap(), [name("bad"), name("farm")]);
    assert_eq!(store.get(&name("bad"), &name("d"), b"k").unwrap(), None);
}

fn edits_are_staged_together_or_not_at_all<H: Harness>() {
    let (_harness, mut store, farm) = farm_with::<H>(&[put("d", "gone", "1")]);
    let edits = [put("d", "a", "1"), put("d", "a", "2"), delete("d", "gone"), delete("d", "never")];
    let applied = store.apply(&farm, &edits).unwrap();
    assert_eq!(applied, Applied { written: 2, added: 1, deleted: 1, unchanged: 1 });
    let broken = [put("d", "b", "1"), Edit::Put { dataset: name("d"), key: vec![0; 513], value: vec![] }];
    assert!(store.apply(&farm, &broken).is_err());
    assert_eq!(store.get(&farm, &name("d"), b"b").unwrap(), None);
    assert_eq!(store.get(&farm, &name("d"), b"a").unwrap(), Some(b"2".to_vec()));
    assert_eq!(store.datasets(&farm).unwrap(), [name("d")]);
}

fn limits_name_the_record<H: Harness>() {
    let (_harness, mut store, farm) = farm_with::<H>(&[]);
    let long = Edit::Put { dataset: name("d"), key: b"k".to_vec(), value: vec![7; 65_537] };
    let Err(StoreError::Record { number: 2, limit }) = store.apply(&farm, &[put("d", "a", "1"), long]) else {
        panic!("a value over the limit was taken")
    };
    assert_eq!(limit, LimitError::Value { len: 65_537 });
    let most = Edit::Put { dataset: name("d"), key: vec![0; 512], value: vec![7; 65_536] };
    store.apply(&farm, &[most]).unwrap();
    assert_eq!(store.get(&farm, &name("d"), &[0; 512]).unwrap().unwrap().len(), 65_536);
    let never = Edit::Schedule(Scheduled {
        dataset: name("d"),
        key: vec![],
        effective_at: secs(5),
        expires_at: Some(secs(5)),
        value: None,
    });
    assert!(matches!(store.apply(&farm, &[never]), Err(StoreError::NeverVisible { number: 1 })));
    // Sixty-four datasets, and no more.
    let many: Vec<_> = (0..64).map(|n| put(&format!("d{n}"), "k", "v")).collect();
    assert!(matches!(store.apply(&farm, &many), Err(StoreError::Refused(_))), "\"d\" is one already");
    store.apply(&farm, &many[..63]).unwrap();
    assert!(matches!(store.apply(&farm, &many[63..]), Err(StoreError::Refused(_))));
    promote(&mut store, &farm);
    assert_eq!(store.manifest(&farm, 2).unwrap().len(), 64);
    // One that is emptied makes room when that is promoted.
    store.apply(&farm, &[delete("d0", "k")]).unwrap();
    promote(&mut store, &farm);
    store.apply(&farm, &many[63..]).unwrap();
}

fn imports_write_what_differs<H: Harness>() {
    let (_harness, mut store, farm) =
        farm_with::<H>(&[put("d", "a", "1"), put("d", "b", "1"), put("e", "a", "1")]);
    let rows = |text: &str| -> Vec<(Vec<u8>, Vec<u8>)> {
        text.split(' ').map(|pair| (pair[..1].into(), pair[1..].into())).collect()
    };
    let applied = store.import(&farm, &name("d"), rows("a1 c3").into_iter(), Rest::Keep).unwrap();
    assert_eq!(applied, Applied { written: 1, added: 1, deleted: 0, unchanged: 1 });
    let applied = store.import(&farm, &name("d"), rows("a1 c4").into_iter(), Rest::Delete).unwrap();
    assert_eq!(applied, Applied { written: 1, added: 0, deleted: 1, unchanged: 1 });
    let twice = store.import(&farm, &name("d"), rows("x1 y2 x1").into_iter(), Rest::Delete);
    assert!(matches!(twice, Err(StoreError::DuplicateKey { number: 3 })));
    let all = store.list(&farm, &name("d"), b"", None, 10).unwrap();
    assert_eq!(all, rows("a1 c4"));
    // Rows of several datasets; of those with the same key the first counts, where that is let through.
    let incoming = |line, dataset: &str, key: &str, value: &str| {
        Ok(Incoming { line, dataset: name(dataset), key: key.into(), value: value.into() })
    };
    let mixed = [incoming(2, "g", "x", "1"), incoming(3, "e", "a", "1"), incoming(4, "g", "x", "2")];
    assert_eq!(store.load(mixed.into_iter()).unwrap(), 3);
    let mut lines = Vec::new();
    let twice = &mut |line| {
        lines.push(line);
        Ok(())
    };
    let applied = store.import_loaded(&farm, None, twice).unwrap();
    assert_eq!((applied, lines), (Applied { written: 1, added: 1, deleted: 0, unchanged: 1 }, vec![4]));
    let mut visited = Vec::new();
    store
        .visit(&farm, None, &mut |dataset, key, value| {
            visited.push((dataset.as_str().to_owned(), key.to_vec(), value.to_vec()));
            Ok(())
        })
        .unwrap();
    let triple = |dataset: &str, key: &[u8], value: &[u8]| (dataset.to_owned(), key.to_vec(), value.to_vec());
    assert_eq!(
        visited,
        [triple("d", b"a", b"1"), triple("d", b"c", b"4"), triple("e", b"a", b"1"), triple("g", b"x", b"1"),]
    );
    store.apply(&farm, &[delete("g", "x")]).unwrap();
    let pending = store.pending(&farm, secs(200), 10).unwrap();
    assert_eq!(pending.len(), 2, "only b and c differ from what is staged: {pending:?}");
    assert_eq!(store.get(&farm, &name("e"), b"a").unwrap(), Some(b"1".to_vec()));
}

fn lists_by_prefix_and_place<H: Harness>() {
    let mut edits: Vec<_> = ["", "a", "ab", "abc", "b"].map(|key| put("d", key, "v")).to_vec();
    edits.push(Edit::Put { dataset: name("d"), key: vec![0xff, 0xff], value: vec![0, 1] });
    let (_harness, mut store, farm) = farm_with::<H>(&edits);
    let mut keys = |prefix: &[u8], after: Option<&[u8]>, limit| -> Vec<Vec<u8>> {
        let pairs = store.list(&farm, &name("d"), prefix, after, limit).unwrap();
        pairs.into_iter().map(|(key, _)| key).collect()
    };
    assert_eq!(keys(b"", None, 9).len(), 6);
    assert_eq!(keys(b"a", None, 9), [&b"a"[..], b"ab", b"abc"]);
    assert_eq!(keys(b"a", Some(b"a"), 1), [b"ab"]);
    assert_eq!(keys(&[0xff], None, 9), [[0xff, 0xff]]);
    assert!(keys(b"c", None, 9).is_empty() && keys(b"", None, 0).is_empty());
}

fn promotion_is_what_was_judged<H: Harness>() {
    let (_harness, mut store, farm) = farm_with::<H>(&[put("d", "a", "1"), put("d", "b", "1")]);
    store.apply(&farm, &[put("d", "a", "2"), delete("d", "b"), put("e", "c", "3")]).unwrap();
    let view = promote(&mut store, &farm);
    let expected = Content::from([
        ((name("d"), b"a".to_vec()), b"2".to_vec()),
        ((name("e"), b"c".to_vec()), b"3".to_vec()),
    ]);
    assert_eq!((view.staged.epoch, view.staged.digest), (2, digest_of(&expected)));
    assert_eq!(content_at(&mut store, &farm, 2), expected);
    assert_eq!(content_at(&mut store, &farm, 1).len(), 2);
    assert_eq!(store.generations(&farm).unwrap()[1].changes, 3);

    // Only if changed: there and back is no change, and the epoch advances over the same content.
    store.apply(&farm, &[put("d", "a", "9")]).unwrap();
    store.apply(&farm, &[put("d", "a", "2")]).unwrap();
    let seen = store.read(&farm, |_, facts| facts.verdict(secs(500))).unwrap();
    assert_eq!(seen, Verdict::Unchanged);
    let next = promote(&mut store, &farm);
    assert_eq!((next.staged.epoch, next.staged.digest), (3, view.staged.digest));
    assert_eq!(store.generations(&farm).unwrap()[2].changes, 0);
    assert_eq!(content_at(&mut store, &farm, 3), expected);
    // And everything compared again gives the same.
    assert_eq!(store.mark_all_changed(&farm).unwrap(), 3);
    assert!(store.pending(&farm, secs(500), 10).unwrap().is_empty());
}

fn a_blocked_candidate_stays_changed<H: Harness>() {
    let (_harness, mut store, farm) = farm_with::<H>(&[put("d", "a", "1")]);
    let due = Scheduled {
        dataset: name("d"),
        key: b"s".to_vec(),
        effective_at: secs(250),
        expires_at: None,
        value: Some(b"now".to_vec()),
    };
    // Entered and compared long before its instant, so that only the instant brings it up again.
    store.apply(&farm, &[Edit::Schedule(due)]).unwrap();
    promote(&mut store, &farm);
    store.apply(&farm, &[put("d", "a", "2")]).unwrap();
    let before = store.table(&farm).unwrap();
    // A gate's refusal, as core makes it: the epoch rises over the same content.
    store
        .transact(
            &farm,
            || secs(200),
            |table, _, facts| {
                assert!(matches!(facts.verdict(secs(300)), Verdict::Promote(_)));
                let mut next = table.clone();
                next.staged.epoch += 1;
                next.active = Some(table.staged);
                next.activation = secs(300);
                next.next_earliest = secs(310);
                Step { table: next, effect: Effect::PromoteUnchanged, reply: () }
            },
        )
        .unwrap();
    let after = store.table(&farm).unwrap();
    assert_eq!((after.epoch(), after.staged.digest), (before.epoch() + 1, before.staged.digest));
    assert_eq!(content_at(&mut store, &farm, 3), content_at(&mut store, &farm, 2));
    let view = promote(&mut store, &farm);
    assert_eq!(content_at(&mut store, &farm, view.staged.epoch).len(), 2);
    assert_eq!(store.get_at(&farm, 4, &name("d"), b"a").unwrap(), Some(b"2".to_vec()));
}

/// The effect of a gate's refusal, as core makes it: the epoch rises over the same content.
fn block<H: Harness>(store: &mut H::Store, farm: &downbeat_core::ids::Name) {
    let table = store.table(farm).unwrap();
    let at = table.next_earliest;
    let done = store.transact(
        farm,
        || table.activation,
        |table, _, facts| {
            assert!(matches!(facts.verdict(at), Verdict::Promote(_)));
            let mut next = table.clone();
            next.staged.epoch += 1;
            next.active = Some(table.staged);
            next.activation = at;
            next.next_earliest = at + Span::from_secs(10);
            Step { table: next, effect: Effect::PromoteUnchanged, reply: () }
        },
    );
    done.unwrap();
}

/// Gathered in part, in whole, touched again, and not let through: each time a promotion is exactly what
/// production is, and until then nobody sees anything of it.
fn what_is_gathered_is_nobody_s_before_it_is_promoted<H: Harness>() {
    let (_harness, mut store, farm) = farm_with::<H>(&[put("d", "00017", "old"), put("d", "gone", "x")]);
    let key = |n: usize| format!("{n:05}").into_bytes();
    let rows = |value: &'static str| (0..5_000).map(move |n| (key(n), value.as_bytes().to_vec()));
    let first = content_at(&mut store, &farm, 1);
    for (round, gathers) in [0, 1, 2, 9].into_iter().enumerate() {
        let epoch = store.table(&farm).unwrap().epoch();
        let value = ["a", "b", "c", "d"][round];
        store.import(&farm, &name("d"), rows(value), Rest::Delete).unwrap();
        let mut gathered = 0;
        for _ in 0..gathers {
            gathered += store.gather(&farm).unwrap();
        }
        assert_eq!(gathers == 9, gathered == 5_001, "round {round}: {gathered}");
        // Touched again, after it was gathered or not: to something else, to what is staged, and away.
        let again = [put("d", "00001", "again"), delete("d", "00002"), put("d", "new", "1")];
        store.apply(&farm, &again).unwrap();
        assert_eq!(store.generations(&farm).unwrap().last().unwrap().generation.epoch, epoch);
        assert_eq!(store.diff(&farm, 1, epoch, 1).unwrap().is_empty(), epoch == 1);
        if epoch == 1 {
            assert_eq!(content_at(&mut store, &farm, 1), first);
            assert!(store.history(&farm, &name("d"), b"00001", 9).unwrap().is_empty());
        }
        let at = store.table(&farm).unwrap().next_earliest;
        let pending = store.pending(&farm, at, 9_999).unwrap();
        if round % 2 == 1 {
            block::<H>(&mut store, &farm);
            assert_eq!(content_at(&mut store, &farm, epoch + 1), content_at(&mut store, &farm, epoch));
            assert_eq!(store.pending(&farm, at, 9_999).unwrap(), pending);
        }
        let staged = store.table(&farm).unwrap().epoch();
        let view = promote(&mut store, &farm);
        let mut expected: Content = rows(value).map(|(k, v)| ((name("d"), k), v)).collect();
        for edit in again {
            match edit {
                Edit::Put { dataset, key, value } => drop(expected.insert((dataset, key), value)),
                Edit::Delete { dataset, key } => drop(expected.remove(&(dataset, key))),
                _ => {}
            }
        }
        assert_eq!(content_at(&mut store, &farm, staged + 1), expected, "round {round}");
        assert_eq!(view.staged.digest, digest_of(&expected));
        assert_eq!(store.generations(&farm).unwrap().last().unwrap().changes, pending.len() as u64);
        assert_eq!(store.diff(&farm, staged, staged + 1, 9_999).unwrap(), pending);
        assert_eq!(store.gather(&farm).unwrap(), 0);
        store.set_retention(&farm, Retention { generations: 20, age: None }).unwrap();
        store.maintain(&farm, secs(0)).unwrap();
    }
    // A large import that is refused at its end leaves nothing behind, and edits are noted as before.
    let many = (0..20_000).map(|n| (format!("x{}", n % 19_999).into_bytes(), b"1".to_vec()));
    assert!(matches!(
        store.import(&farm, &name("d"), many, Rest::Keep),
        Err(StoreError::DuplicateKey { .. })
    ));
    let at = store.table(&farm).unwrap().next_earliest;
    assert!(store.pending(&farm, at, 9).unwrap().is_empty());
    store.apply(&farm, &[put("d", "00000", "noted"), put("d", "000000", "noted")]).unwrap();
    assert_eq!(store.pending(&farm, at, 9).unwrap().len(), 2);
    let many = (0..20_000).map(|n| (format!("y{n}").into_bytes(), b"1".to_vec()));
    assert_eq!(store.import(&farm, &name("d"), many, Rest::Keep).unwrap().added, 20_000);
    assert_eq!(store.pending(&farm, at, 99_999).unwrap().len(), 20_002);
    store.apply(&farm, &[put("d", "z", "noted")]).unwrap();
    assert_eq!(store.pending(&farm, at, 99_999).unwrap().len(), 20_003);
    promote(&mut store, &farm);
    // One that changes what is there is noted too, and so is an edit after it.
    let many = (0..20_000).map(|n| (format!("y{n}").into_bytes(), b"2".to_vec()));
    let applied = store.import(&farm, &name("d"), many, Rest::Keep).unwrap();
    assert_eq!((applied.added, applied.written), (0, 20_000));
    let at = store.table(&farm).unwrap().next_earliest;
    assert_eq!(store.pending(&farm, at, 99_999).unwrap().len(), 20_000);
    store.apply(&farm, &[put("d", "z", "noted again")]).unwrap();
    assert_eq!(store.pending(&farm, at, 99_999).unwrap().len(), 20_001);
    promote(&mut store, &farm);
    // And what is taken back again is no change.
    store.apply(&farm, &[put("d", "00001", "x")]).unwrap();
    store.gather(&farm).unwrap();
    store.apply(&farm, &[put("d", "00001", "again")]).unwrap();
    store.gather(&farm).unwrap();
    let seen = store.read(&farm, |table, facts| facts.verdict(table.next_earliest)).unwrap();
    assert_eq!(seen, Verdict::Unchanged);
}

fn scheduled_records_count_when_they_should<H: Harness>() {
    let (_harness, mut store, farm) = farm_with::<H>(&[put("d", "k", "plain")]);
    let record = |from, until: Option<i64>, value: Option<&str>| {
        Edit::Schedule(Scheduled {
            dataset: name("d"),
            key: b"k".to_vec(),
            effective_at: secs(from),
            expires_at: until.map(secs),
            value: value.map(|value| value.into()),
        })
    };
    let sale = [record(127, Some(163), Some("sale")), record(133, Some(135), None)];
    assert_eq!(store.apply(&farm, &sale).unwrap().written, 2);
    assert_eq!(store.apply(&farm, &sale).unwrap().unchanged, 2);
    let mut seen = Vec::new();
    while store.table(&farm).unwrap().activation < secs(170) {
        let view = promote(&mut store, &farm);
        let value = store.get_at(&farm, view.staged.epoch, &name("d"), b"k").unwrap();
        let value = value.map(|value| String::from_utf8(value).unwrap());
        seen.push((view.activation.as_nanos() / 1_000_000_000, value));
        store.maintain(&farm, view.activation).unwrap();
    }
    // Both instants are due, where the lead allows it: 133 is too close to 130 to be hit while 127
    // is; 135 is three seconds after nothing.
    let value_at = |instant| seen.iter().rev().find(|(at, _)| *at <= instant).and_then(|(_, v)| v.clone());
    assert_eq!(value_at(126).as_deref(), Some("plain"));
    assert!(seen.contains(&(127, Some("sale".into()))), "{seen:?}");
    assert!(seen.contains(&(163, Some("plain".into()))), "{seen:?}");
    for (at, value) in &seen {
        let expected = match at {
            133..135 => None,
            127..163 => Some("sale"),
            _ => Some("plain"),
        };
        assert_eq!(value.as_deref(), expected, "at {at}");
    }
    assert_eq!(store.scheduled(&farm, secs(134), 10).unwrap().len(), 2);
    assert_eq!(store.scheduled(&farm, secs(135), 10).unwrap().len(), 1);
    let over = Edit::Unschedule { dataset: name("d"), key: b"k".to_vec(), effective_at: secs(127) };
    assert_eq!(store.apply(&farm, &[over]).unwrap().deleted, 1);
    assert!(store.scheduled(&farm, secs(135), 10).unwrap().is_empty());
}

/// A new line moves the activation of what is staged and not its content: instants between the old
/// activation and the new one still have to be looked at by the next promotion.
fn instants_that_a_new_line_skipped_are_looked_at<H: Harness>() {
    let later = Scheduled {
        dataset: name("d"),
        key: b"k".to_vec(),
        effective_at: secs(300),
        expires_at: None,
        value: Some(b"v".to_vec()),
    };
    let (_harness, mut store, farm) = farm_with::<H>(&[Edit::Schedule(later)]);
    promote(&mut store, &farm);
    let line = TimelineId { counter: 2, random: 7 };
    store.begin_line(None, LINE, &"clock", |table| table.clone()).unwrap_err();
    let moved = |table: &SyncTable| SyncTable {
        timeline: line,
        activation: secs(500),
        next_earliest: secs(503),
        ..table.clone()
    };
    // The clock's row comes with the first line; here the farm was made before there was one.
    let result = store.begin_line(Some(LINE), line, &"clock", moved);
    assert!(matches!(result, Err(StoreError::OtherLine { .. })));
    store
        .transact(
            &farm,
            || secs(400),
            |table, _, _| {
                let table = SyncTable { timeline: LINE, ..moved(table) };
                Step { table, effect: Effect::None, reply: () }
            },
        )
        .unwrap();
    let view = promote(&mut store, &farm);
    assert!(view.activation >= secs(503));
    assert_eq!(store.get_at(&farm, view.staged.epoch, &name("d"), b"k").unwrap(), Some(b"v".to_vec()));
}

fn a_transition_that_changes_nothing_writes_nothing<H: Harness>() {
    let (harness, mut store, farm) = farm_with::<H>(&[]);
    let before = store.table(&farm).unwrap();
    let reply = store
        .transact(
            &farm,
            || secs(101),
            |table, now, facts| {
                assert_eq!(now, secs(101));
                assert_eq!(facts.verdict(secs(110)), Verdict::Unchanged);
                Step { table: table.clone(), effect: Effect::None, reply: 7 }
            },
        )
        .unwrap();
    assert_eq!(reply, 7);
    // A lock asked for with a renewal under way judges nothing and keeps production as it is.
    store.apply(&farm, &[put("d", "k", "v")]).unwrap();
    store
        .transact(
            &farm,
            || secs(101),
            |table, _, facts| {
                assert!(matches!(facts.verdict(secs(110)), Verdict::Promote(_)));
                assert!(matches!(facts.verdict(secs(120)), Verdict::Promote(_)));
                let table = SyncTable { next_earliest: secs(119), ..table.clone() };
                Step { table, effect: Effect::None, reply: () }
            },
        )
        .unwrap();
    let after = harness.open().table(&farm).unwrap();
    assert_eq!(after, SyncTable { next_earliest: secs(119), ..before });
    assert_eq!(store.pending(&farm, secs(110), 9).unwrap().len(), 1);
    assert_eq!(store.generations(&farm).unwrap().len(), 1);
}

fn what_does_not_fit_is_refused_whole<H: Harness>() {
    let (_harness, mut store, farm) = farm_with::<H>(&[put("d", "k", "v")]);
    store.apply(&farm, &[put("d", "k", "w")]).unwrap();
    let before = store.table(&farm).unwrap();
    let mut attempt = |judged: ServerTime, activation: ServerTime, epoch: u64, effect: Effect| {
        store.transact(
            &farm,
            || secs(101),
            |table, _, facts| {
                let mut next = table.clone();
                if let Verdict::Promote(digest) = facts.verdict(judged) {
                    next.staged.digest = digest;
                }
                next.staged.epoch = epoch;
                next.activation = activation;
                Step { table: next, effect, reply: () }
            },
        )
    };
    // A promotion as of another instant than the one judged; a skipped epoch; content under `None`.
    for result in [
        attempt(secs(110), secs(120), 2, Effect::Promote),
        attempt(secs(110), secs(110), 3, Effect::Promote),
        attempt(secs(110), secs(110), 2, Effect::PromoteUnchanged),
        attempt(secs(110), secs(110), 2, Effect::None),
    ] {
        assert!(matches!(result, Err(StoreError::Inconsistent(_))), "{result:?}");
    }
    assert_eq!(store.table(&farm).unwrap(), before);
    assert_eq!(store.generations(&farm).unwrap().len(), 1);
    promote(&mut store, &farm);
    assert_eq!(store.get_at(&farm, 2, &name("d"), b"k").unwrap(), Some(b"w".to_vec()));
}

fn history_is_kept_and_folded<H: Harness>() {
    let (_harness, mut store, farm) = farm_with::<H>(&[put("d", "a", "1"), put("d", "b", "1")]);
    let mut contents = vec![Content::new(), content_at(&mut store, &farm, 1)];
    for round in 2..9u64 {
        let edits = match round {
            3 => vec![delete("d", "b")],
            5 => vec![put("d", "b", "5"), put("d", "c", "5")],
            6 => vec![delete("d", "a"), delete("d", "b"), delete("d", "c")],
            _ => vec![put("d", "a", &round.to_string())],
        };
        store.apply(&farm, &edits).unwrap();
        let now = promote(&mut store, &farm).activation;
        contents.push(content_at(&mut store, &farm, round));
        // Upkeep is late at times; what is read must not depend on it.
        if round % 3 != 0 {
            let done = store.maintain(&farm, now).unwrap();
            assert_eq!(done.oldest, round.saturating_sub(2).max(1));
        }
        for kept in store.generations(&farm).unwrap() {
            let epoch = kept.generation.epoch;
            let content = content_at(&mut store, &farm, epoch);
            assert_eq!(content, contents[epoch as usize], "epoch {epoch} in round {round}");
            assert_eq!(kept.generation.digest, digest_of(&content));
            assert_eq!(kept.records, content.len() as u64);
        }
    }
    let Err(StoreError::NotKept { epoch: 2, oldest: 6, newest: 8 }) = store.manifest(&farm, 2) else {
        panic!("a folded generation was read")
    };
    assert!(store.manifest(&farm, 9).is_err() && store.diff(&farm, 5, 8, 9).is_err());
    let changes = store.diff(&farm, 6, 8, 9).unwrap();
    assert_eq!((changes.len(), changes[0].before.clone()), (1, None));
    assert_eq!(changes[0].after, Some(b"8".to_vec()));
    assert_eq!(store.diff(&farm, 8, 6, 9).unwrap()[0].before, Some(b"8".to_vec()));
    let counts = store.count_differences(&farm, 6, 8).unwrap();
    assert_eq!(counts, Differences { added: 1, changed: 0, removed: 0 });
    let versions = store.history(&farm, &name("d"), b"a", 9).unwrap();
    let seen: Vec<_> = versions.iter().map(|v| (v.epoch, v.value.as_deref())).collect();
    assert_eq!(
        seen,
        [(8, Some(&b"8"[..])), (7, Some(b"7"))],
        "that it was deleted in 6 is before all that is kept"
    );
    let retain = |generations, age| Retention { generations, age };
    assert!(matches!(store.set_retention(&farm, retain(1, None)), Err(StoreError::TooFewKept)));
    let never = store.set_retention(&farm, retain(2, Some(Span::ZERO)));
    assert!(matches!(never, Err(StoreError::Refused(_))), "{never:?}");
    // Generation 6 was live until 7 was: from then on its age counts.
    let went = store.generations(&farm).unwrap()[1].activation;
    store.set_retention(&farm, retain(2, Some(Span::from_secs(60)))).unwrap();
    assert_eq!(store.retention(&farm).unwrap(), retain(2, Some(Span::from_secs(60))));
    assert_eq!(store.maintain(&farm, went + Span::from_secs(59)).unwrap().oldest, 6);
    assert_eq!(store.maintain(&farm, went + Span::from_secs(60)).unwrap().oldest, 7);
    assert_eq!(store.maintain(&farm, went).unwrap().folded, 0, "what is gone does not come back");
}

/// One call of upkeep costs no more than the cycles that it is for; what is left is folded later.
fn a_backlog_is_folded_over_several_calls<H: Harness>() {
    let (_harness, mut store, farm) = farm_with::<H>(&[]);
    store.set_retention(&farm, Retention { generations: 1_000, age: None }).unwrap();
    let keys = 30_000;
    for round in 0..3 {
        let value = format!("{round}").into_bytes();
        let rows = (0..keys).map(|n: u32| (n.to_be_bytes().to_vec(), value.clone()));
        store.import(&farm, &name("d"), rows, Rest::Delete).unwrap();
        promote(&mut store, &farm);
        store.maintain(&farm, secs(0)).unwrap();
    }
    let rows = std::iter::once((b"last".to_vec(), b"x".to_vec()));
    store.import(&farm, &name("d"), rows, Rest::Delete).unwrap();
    let now = promote(&mut store, &farm).activation;
    store.maintain(&farm, now).unwrap();
    store.set_retention(&farm, Retention { generations: 2, age: None }).unwrap();
    let mut folded = Vec::new();
    loop {
        let done = store.maintain(&farm, now).unwrap();
        assert_eq!(done.oldest, 4, "they can't be read from the first call on");
        assert!(matches!(store.manifest(&farm, 3), Err(StoreError::NotKept { oldest: 4, newest: 5, .. })));
        assert_eq!(content_at(&mut store, &farm, 4).len(), keys as usize);
        assert_eq!(content_at(&mut store, &farm, 5).len(), 1);
        if done.folded == 0 && folded.last() == Some(&0) {
            break;
        }
        folded.push(done.folded);
    }
    assert_eq!(folded.iter().sum::<u64>(), 2 * u64::from(keys), "{folded:?}");
    assert!(folded.iter().filter(|rows| **rows > 0).count() > 1, "{folded:?}");
}

fn a_rollback_is_an_edit_that_can_be_taken_back<H: Harness>() {
    let (_harness, mut store, farm) = farm_with::<H>(&[put("d", "a", "1"), put("d", "b", "1")]);
    let wanted = content_at(&mut store, &farm, 1);
    let scheduled = |key: &str, at, value: &str| {
        let (dataset, key, value) = (name("d"), key.into(), Some(value.into()));
        Edit::Schedule(Scheduled { dataset, key, effective_at: secs(at), expires_at: None, value })
    };
    let edits = [put("d", "a", "2"), delete("d", "b"), put("e", "c", "1"), scheduled("s", 100, "now")];
    store.apply(&farm, &edits).unwrap();
    promote(&mut store, &farm);
    // Not staged yet: an edit, and a record that will be in force when this is undone.
    store.apply(&farm, &[put("d", "z", "9"), scheduled("a", 115, "3"), scheduled("a", 900, "4")]).unwrap();
    let at = secs(120);
    let before = (store.pending(&farm, at, 99).unwrap(), store.scheduled(&farm, secs(0), 99).unwrap());

    let refused = store.rollback(&farm, 7, at, &mut |_| Ok(()));
    assert!(matches!(refused, Err(StoreError::NotKept { epoch: 7, oldest: 1, newest: 2 })));
    // Where what it undoes can't be kept, nothing is done.
    for fails_at_the_end in [false, true] {
        let full = store.rollback(&farm, 1, at, &mut |edit| match edit {
            Some(_) if fails_at_the_end => Ok(()),
            _ => Err(std::io::Error::other("no room")),
        });
        assert!(matches!(full, Err(StoreError::Sink(_))));
        assert_eq!(store.pending(&farm, at, 99).unwrap(), before.0);
    }

    let mut undo = Vec::new();
    let done = store.rollback(&farm, 1, at, &mut keep(&mut undo)).unwrap();
    assert_eq!((done.unscheduled, done.to_come), (2, 1), "{undo:?}");
    assert_eq!(done.applied, Applied { written: 2, added: 1, deleted: 4, unchanged: 0 });
    let mut nothing = Vec::new();
    let again = store.rollback(&farm, 1, at, &mut keep(&mut nothing)).unwrap();
    assert_eq!((again.applied, nothing.len()), (Applied::default(), 0));
    let view = promote(&mut store, &farm);
    assert_eq!(content_at(&mut store, &farm, view.staged.epoch), wanted);
    assert_eq!(view.staged.digest, digest_of(&wanted));

    store.apply(&farm, &undo).unwrap();
    assert_eq!(store.scheduled(&farm, secs(0), 99).unwrap(), before.1);
    let mut expected = content_at(&mut store, &farm, 2);
    expected.insert((name("d"), b"z".to_vec()), b"9".to_vec());
    expected.insert((name("d"), b"a".to_vec()), b"3".to_vec());
    let view = promote(&mut store, &farm);
    assert_eq!(content_at(&mut store, &farm, view.staged.epoch), expected);
}

fn snapshots_are_objects_that_agents_take<H: Harness>() {
    let edits = [put("d", "a", "1"), put("d", "b", "2"), put("e", "c", "3")];
    let (_harness, mut store, farm) = farm_with::<H>(&edits);
    store.apply(&farm, &[put("d", "a", "9")]).unwrap();
    promote(&mut store, &farm);
    for datasets in [vec![], vec![name("e")]] {
        for kept in store.generations(&farm).unwrap() {
            let mut bytes = Vec::new();
            let object = store
                .snapshot(&farm, kept.generation.epoch, &datasets, &mut |piece| {
                    bytes.extend_from_slice(piece);
                    Ok(())
                })
                .unwrap();
            let expected = Expected {
                name: object.name,
                base: None,
                target: kept.generation,
                datasets: datasets.iter().cloned().collect(),
            };
            let mut reader: Reader<_> = Reader::new(expected, vec![0; 70_000]);
            let mut input = &bytes[..];
            let mut read = Content::new();
            while let Some(record) = reader.next(&mut input).unwrap() {
                read.insert((record.dataset.clone(), record.key.to_vec()), record.value.unwrap().to_vec());
            }
            assert_eq!(reader.finish().unwrap().len, object.len);
            let mut whole = content_at(&mut store, &farm, kept.generation.epoch);
            whole.retain(|(dataset, _), _| datasets.is_empty() || datasets.contains(dataset));
            assert_eq!(read, whole);
        }
    }
    let full = store.snapshot(&farm, 1, &[], &mut |_| Err(std::io::Error::other("no room")));
    assert!(matches!(full, Err(StoreError::Sink(_))));
}

fn lines_are_compared<H: Harness>() {
    let harness = H::new();
    let mut store = harness.open();
    assert_eq!(store.clock::<String>().unwrap(), None);
    assert!(matches!(store.put_clock(LINE, &"x"), Err(StoreError::OtherLine { .. })));
    store.begin_line(None, LINE, &"first", |_| panic!("there is no farm yet")).unwrap();
    let farm = name("farm");
    create(&mut store, &farm, &[], secs(100)).unwrap();
    store.put_clock(LINE, &"second").unwrap();
    assert_eq!(store.clock::<String>().unwrap(), Some((LINE, "second".into())));

    let next = TimelineId { counter: 2, random: u64::MAX };
    let over = |table: &SyncTable| SyncTable { timeline: next, activation: secs(900), ..table.clone() };
    store.begin_line(Some(LINE), next, &"third", over).unwrap();
    assert_eq!(store.clock::<String>().unwrap(), Some((next, "third".into())));
    assert_eq!(store.table(&farm).unwrap().timeline, next);
    // Whoever still lives on the old line changes nothing any more.
    assert!(matches!(store.put_clock(LINE, &"old"), Err(StoreError::OtherLine { .. })));
    let late = store.begin_line(Some(LINE), TimelineId { counter: 2, random: 1 }, &"late", over);
    assert!(matches!(late, Err(StoreError::OtherLine { left: Some(LINE) })));
    assert_eq!(store.clock::<String>().unwrap(), Some((next, "third".into())));
    assert_eq!(store.table(&farm).unwrap().timeline, next);
}

fn what_is_told_of_activations_is_remembered<H: Harness>() {
    let (harness, mut store, farm) = farm_with::<H>(&[]);
    let timeline = TimelineId { counter: 3, random: 7 };
    let past = |epoch, switched, body: &str| Past {
        epoch,
        timeline,
        activation: secs(epoch as i64),
        switched,
        body: body.to_owned(),
    };
    let known = past(5, 2, "a");
    store.remember(&farm, &known).unwrap();
    // Who knows less, as after a start, takes nothing away.
    store.remember(&farm, &past(5, 1, "b")).unwrap();
    assert_eq!(store.remembered(&farm, 9).unwrap(), std::slice::from_ref(&known));
    let other_line = Past { timeline: TimelineId { counter: 4, random: 7 }, ..past(5, 1, "c") };
    for past in [&past(5, 3, "d"), &past(6, 0, "e"), &other_line] {
        store.remember(&farm, past).unwrap();
    }
    drop(store);
    let mut store = harness.open();
    assert_eq!(store.remembered(&farm, 9).unwrap(), [past(6, 0, "e"), past(5, 3, "d"), other_line]);
    assert_eq!(store.remembered(&farm, 1).unwrap().len(), 1);
    store.remember(&farm, &past(10_005, 0, "f")).unwrap();
    assert_eq!(store.remembered(&farm, 9).unwrap(), [past(10_005, 0, "f"), past(6, 0, "e")]);
    let nobody = store.remember(&name("nobody"), &past(5, 3, "d"));
    assert!(matches!(nobody, Err(StoreError::NoFarm(_))));
}

fn keys_are_unique_over_their_bytes<H: Harness>() {
    let (harness, mut store, farm) = farm_with::<H>(&[put("d", "k", "1")]);
    for (value, text) in [(&b"2"[..], true), (b"3", false), (b"4", true)] {
        harness.raw_replace(&farm, &name("d"), b"k", value, text);
        assert_eq!(store.list(&farm, &name("d"), b"", None, 9).unwrap(), [(b"k".to_vec(), value.to_vec())]);
        assert_eq!(store.pending(&farm, secs(110), 9).unwrap()[0].after.as_deref(), Some(value));
        promote(&mut store, &farm);
        assert!(store.pending(&farm, secs(990), 9).unwrap().is_empty());
    }
    assert_eq!(store.apply(&farm, &[put("d", "k", "4")]).unwrap().unchanged, 1);
    harness.raw_delete(&farm, &name("d"), b"k");
    promote(&mut store, &farm);
    let newest = store.table(&farm).unwrap().epoch();
    assert!(content_at(&mut store, &farm, newest).is_empty());
}

/// S1 and S2 over two connections, with a third that edits all the while.
fn two_connections_start_each_epoch_once<H: Harness>() {
    let (harness, mut store, farm) = farm_with::<H>(&[put("d", "k", "0")]);
    // Long enough that the editor can look at what was the newest a moment ago.
    store.set_retention(&farm, Retention { generations: 1_000, age: None }).unwrap();
    let time = AtomicI64::new(secs(100).as_nanos());
    let now = || ServerTime::from_nanos(time.fetch_add(400_000_000, Ordering::SeqCst));
    let (harness, farm, now) = (&harness, &farm, &now);
    let started: Vec<Vec<u64>> = std::thread::scope(|scope| {
        let initiators = [1u8, 2].map(|agent| {
            scope.spawn(move || {
                let mut store = harness.open();
                let mut started = Vec::new();
                for round in 0..60u64 {
                    let number = round * 2 + 1;
                    let lock = request(&mut store, farm, id(agent, number), &RequestBody::Lock, now).unwrap();
                    let ReplyBody::Granted { grant, table } = lock else { continue };
                    let activation =
                        downbeat_core::table::next_activation(&table, grant.due, grant.granted_at);
                    let body = RequestBody::Advance { token: grant.token, activation };
                    let reply = request(&mut store, farm, id(agent, number + 1), &body, now).unwrap();
                    if let ReplyBody::Advanced(view) = reply {
                        started.push(view.staged.epoch);
                        store.maintain(farm, view.activation).unwrap();
                    }
                }
                started
            })
        });
        let editor = scope.spawn(move || {
            let mut store = harness.open();
            for round in 0..60 {
                let pair = [put("d", "k", &round.to_string()), put("d", "twin", &round.to_string())];
                store.apply(farm, &pair).unwrap();
                let epoch = store.table(farm).unwrap().epoch();
                match store.generations(farm).unwrap().iter().find(|kept| kept.generation.epoch == epoch) {
                    Some(kept) if kept.changes > 0 => {
                        // What one transaction changed is staged together.
                        let content = content_at(&mut store, farm, epoch);
                        assert_eq!(digest_of(&content), kept.generation.digest);
                        let values: BTreeSet<_> = content.values().collect();
                        assert!(values.len() == 1, "half an edit was staged: {content:?}");
                    }
                    _ => {}
                }
            }
        });
        editor.join().unwrap();
        initiators.map(|thread| thread.join().unwrap()).into()
    });
    let mut epochs: Vec<u64> = started.concat();
    epochs.sort_unstable();
    let newest = store.table(farm).unwrap().epoch();
    assert!(newest > 3, "no cycle was started: {epochs:?}");
    assert_eq!(epochs, (2..=newest).collect::<Vec<_>>());
}
