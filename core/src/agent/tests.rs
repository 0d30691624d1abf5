//! The agent's machine against the server's transition, in virtual time (see `harness`). Each file
//! has the tests of one part of PROTOCOL §5 to §8; here is the cycle itself, in the order of Fig. 5
//! and Fig. 6.

mod answers;
mod asking;
mod faults;
mod harness;
mod joining;
mod lines;
mod switching;

use super::*;
use crate::effect::{Effects, Verified};
use crate::guard::Guards;
use crate::ids::{AgentId, Token};
use crate::message::ToAgent;
use crate::message::{Phase, Refusal, Reply, Request};
use crate::serving::{Activation, Serving};
use crate::time::ServerTime;
use harness::{Farm, MS, SEC, START, config, digest, generation, kind, settings};
use std::vec;
use std::vec::Vec;

// A new farm

#[test]
fn a_new_farm_is_carried_through_its_first_cycles() {
    for mode in [Mode::Prompt, Mode::Strict] {
        let mut farm = Farm::with(mode);
        farm.drive_until_sent("lock");
        assert_eq!(farm.host().sent_since(START), ["read", "lock"], "T of a new farm has passed");
        farm.drive(2 * SEC);
        // Content 1 is epoch 1 and epoch 2: active was filled first, and nothing moved for staged.
        assert_eq!(farm.host().count("route"), 1);
        assert_eq!(farm.looks(0), Serving::Active(generation(1, 1)), "{mode:?}");
        for epoch in 2..6 {
            farm.production = digest(epoch as u8);
            farm.drive(10 * SEC);
            assert_eq!(farm.table.epoch(), epoch + 1);
        }
        assert_eq!(farm.host().epochs_seen(), [1, 2, 3, 4, 5]);
        assert_eq!(farm.host().had(|event| matches!(event, Event::Switched(_))), 4);
    }
}

#[test]
fn readers_see_each_generation_from_its_t_on() {
    let mut farm = Farm::with(Mode::Strict);
    farm.drive(2 * SEC);
    farm.production = digest(2);
    farm.drive(20 * SEC);
    let seen = farm.host().seen.clone();
    let held: Vec<i64> = seen.iter().filter(|(_, seen)| *seen == Serving::Hold).map(|(at, _)| *at).collect();
    for (at, serving) in seen.windows(2).map(|pair| (pair[1].0, pair)) {
        if serving[0].1 == Serving::Hold {
            let t = at - at % (10 * SEC);
            assert!((0..10 * MS).contains(&(at - t)), "live {} ns after T", at - t);
            assert!(held.iter().any(|from| t - from < 10 * MS && *from <= t), "held from before T on");
        }
    }
    assert!(held.len() >= 2);
}

// Reading, locking, advancing

#[test]
fn the_initiator_reads_locks_advances_and_retrieves() {
    let mut farm = Farm::armed(Mode::Prompt);
    farm.production = digest(7);
    let t = farm.activation();
    farm.drive(8 * SEC);
    assert_eq!(farm.host().sent_since(t), ["read", "lock", "advance", "route", "fetch"]);
    let epoch = farm.table.epoch();
    assert_eq!(farm.plan().staged, Some(generation(epoch, 7)));
    assert_eq!(farm.host().agent.phase(), Phase::Armed);
    assert_eq!(farm.table.lock, None);
}

#[test]
fn the_first_read_after_t_is_delayed_by_a_hash_and_bounded() {
    let mut farm = Farm::new();
    (0..8).for_each(|_| {
        farm.add(config(Mode::Prompt));
    });
    farm.drive(18 * SEC);
    let t = farm.activation();
    farm.drive(12 * SEC);
    let firsts: Vec<i64> = farm
        .hosts
        .iter()
        .map(|host| host.sent.iter().find(|(at, name)| *at >= t && *name == "read").unwrap().0 - t)
        .collect();
    assert!(firsts.iter().all(|delay| (0..120 * MS).contains(delay)), "{firsts:?}");
    let (first, last) = (firsts.iter().min().unwrap(), firsts.iter().max().unwrap());
    assert!(last - first > 20 * MS, "spread: {firsts:?}");
}

#[test]
fn a_farm_has_one_initiator_and_the_others_only_read() {
    let mut farm = Farm::new();
    (0..5).for_each(|_| {
        farm.add(config(Mode::Strict));
    });
    farm.drive(60 * SEC);
    let advances: usize = farm.hosts.iter().map(|host| host.count("advance")).sum();
    assert_eq!(advances as u64, farm.table.epoch() - 1, "S1");
    for host in &farm.hosts {
        assert_eq!(host.epochs_seen().last(), Some(&(farm.table.epoch() - 1)));
    }
}

#[test]
fn busy_and_holding_k_it_waits_for_the_lease() {
    let mut farm = Farm::armed(Mode::Prompt);
    farm.drive_until_sent("lock");
    farm.lock_by_another();
    farm.drive_until(|farm| matches!(farm.hosts[0].agent.step, Step::Waiting { .. }));
    let Step::Waiting { until } = farm.host().agent.step else { panic!() };
    let expires = farm.table.lock.unwrap().expires.as_nanos();
    let waited = farm.as_true(until) - expires;
    assert!((0..10 * MS).contains(&waited), "asks again {waited} ns after the lease");
    let epoch = farm.table.epoch();
    farm.drive(SEC);
    assert_eq!(farm.table.epoch(), epoch + 1, "the dead holder cost less than a second");
}

#[test]
fn busy_and_without_k_it_retrieves_first() {
    let mut farm = Farm::new();
    farm.lock_by_another();
    farm.add(config(Mode::Prompt));
    farm.drive_until_sent("route");
    assert_eq!(farm.host().sent_since(START), ["read", "lock", "route"]);
    farm.drive(SEC);
    assert_eq!(farm.looks(0).current().map(|seen| seen.digest), Some(digest(1)));
}

#[test]
fn not_due_because_another_was_quicker_it_retrieves_with_that_table() {
    let mut farm = Farm::armed(Mode::Strict);
    farm.production = digest(9);
    farm.drive_until_sent("lock");
    farm.advance_by_another();
    let now = farm.now;
    farm.drive(2 * SEC);
    assert_eq!(farm.host().sent_since(now + 1), ["route", "fetch"]);
    assert_eq!(farm.plan().staged, Some(farm.table.staged));
}

#[test]
fn a_reader_without_the_right_never_asks_for_the_lock() {
    let mut farm = Farm::new();
    farm.add(config(Mode::Strict));
    farm.host().may_lock = false;
    farm.drive(25 * SEC);
    assert_eq!(farm.host().count("lock"), 0);
    assert_eq!(farm.looks(0), Serving::Active(generation(1, 1)), "renewals keep it current");
    farm.advance_by_another();
    farm.drive(20 * SEC);
    assert_eq!(farm.looks(0).current().map(|seen| seen.epoch), Some(2));
}

#[test]
fn a_lost_lock_is_asked_again_under_its_own_number() {
    for lost in ["there", "back"] {
        let mut farm = Farm::armed(Mode::Prompt);
        let token = farm.table.last_token;
        let names = vec!["lock"];
        if lost == "there" {
            farm.host().lose = names
        } else {
            farm.host().lose_replies = names
        }
        farm.drive_until_sent("advance");
        assert_eq!(farm.table.last_token, token + 1, "one grant, {lost}");
    }
}

#[test]
fn a_lost_advance_is_asked_again_and_done_once() {
    for lost in ["there", "back"] {
        let mut farm = Farm::armed(Mode::Prompt);
        let epoch = farm.table.epoch();
        let names = vec!["advance"];
        if lost == "there" {
            farm.host().lose = names
        } else {
            farm.host().lose_replies = names
        }
        farm.drive(9 * SEC);
        assert_eq!(farm.host().agent.table().unwrap().staged.epoch, epoch + 1, "{lost}");
        assert_eq!(farm.table.epoch(), epoch + 1);
    }
}

#[test]
fn a_holder_whose_lease_ran_out_waits_one_lease() {
    let mut farm = Farm::armed(Mode::Prompt);
    let epoch = farm.table.epoch();
    farm.host().lose = vec!["advance"; 3];
    farm.drive_until_sent("advance");
    let granted = farm.now;
    farm.drive_until_sent("lock");
    assert!(farm.now - granted >= 2 * settings().lease.as_nanos() - 20 * MS, "its lease, and one more");
    farm.drive(2 * SEC);
    assert_eq!(farm.table.epoch(), epoch + 1);
}

#[test]
fn refused_because_its_lease_ended_it_begins_again() {
    let mut farm = Farm::armed(Mode::Strict);
    let epoch = farm.table.epoch();
    farm.drive_until_sent("advance");
    // Late on its way: the lease ends first.
    farm.table.lock.as_mut().unwrap().expires = farm.server_now();
    farm.drive(3 * SEC);
    assert_eq!(farm.table.epoch(), epoch + 1);
    assert_eq!(farm.host().count("lock"), farm.host().count("advance"));
}

#[test]
fn refused_because_another_advanced_it_takes_that_table() {
    let mut farm = Farm::armed(Mode::Strict);
    farm.drive_until_sent("advance");
    farm.table.lock = None;
    farm.advance_by_another();
    let epoch = farm.table.epoch();
    farm.drive(2 * SEC);
    assert_eq!((farm.table.epoch(), farm.host().agent.phase()), (epoch, Phase::Armed));
}

#[test]
fn shutting_down_it_gives_the_lock_back() {
    let mut farm = Farm::armed(Mode::Prompt);
    farm.drive_until_sent("advance");
    let token: Token = farm.table.last_token;
    farm.host().latency = (0, 0);
    let mut sent = None;
    farm.input(0, |agent, now| {
        let effects = agent.shut_down(now);
        sent = effects.iter().find_map(|effect| match effect {
            Effect::Send(request) => Some(request.body.clone()),
            _ => None,
        });
        effects
    });
    assert_eq!(sent, Some(RequestBody::Unlock { token }));
    let mut idle = Farm::armed(Mode::Prompt);
    idle.input(0, |agent, now| {
        let effects = agent.shut_down(now);
        assert!(effects.is_empty());
        effects
    });
}

// Retrieving

#[test]
fn a_retrieval_goes_object_by_object_and_chunk_by_chunk() {
    let mut farm = Farm::armed(Mode::Prompt);
    farm.objects.insert(digest(3), vec![768, 0, 2_000, 1, 0]);
    farm.production = digest(3);
    let (from, kept) = (farm.activation(), farm.host().kept);
    farm.drive(9 * SEC);
    assert_eq!(farm.host().kept - kept, 2_769);
    let fetches = farm.host().sent_since(from).iter().filter(|name| **name == "fetch").count();
    assert_eq!(fetches, 1 + 3 + 1);
    assert_eq!(farm.plan().staged.map(|staged| staged.digest), Some(digest(3)));
}

#[test]
fn a_generation_of_nothing_but_empty_objects_is_whole_at_once() {
    let mut farm = Farm::armed(Mode::Strict);
    farm.objects.insert(digest(3), vec![0, 0]);
    farm.production = digest(3);
    farm.drive(9 * SEC);
    assert_eq!(farm.plan().staged.map(|staged| staged.digest), Some(digest(3)));
}

#[test]
fn lost_chunks_are_fetched_again_from_where_it_stood() {
    let mut farm = Farm::armed(Mode::Prompt);
    farm.objects.insert(digest(3), vec![5_000]);
    farm.production = digest(3);
    farm.host().lose = vec!["route", "fetch", "fetch"];
    farm.host().lose_replies = vec!["fetch"];
    let kept = farm.host().kept;
    farm.drive(9 * SEC);
    assert_eq!(farm.host().kept - kept, 5_000, "nothing was kept twice");
    assert_eq!(farm.plan().staged.map(|staged| staged.digest), Some(digest(3)));
}

#[test]
fn gone_while_it_retrieves_it_reads_the_table_again() {
    let mut farm = Farm::with(Mode::Prompt);
    farm.production = digest(2);
    farm.objects.insert(digest(2), vec![100_000]);
    farm.host().latency = (20 * MS, 20 * MS);
    farm.drive(2 * SEC);
    assert_eq!(farm.host().agent.phase(), Phase::Retrieving);
    farm.production = digest(3);
    // T of epoch 2 passes while it is cut off, and two cycles are begun.
    farm.disconnect(0);
    farm.drive(10 * SEC);
    farm.advance_by_another();
    farm.production = digest(4);
    farm.drive(10 * SEC);
    farm.advance_by_another();
    farm.connect(0);
    farm.drive(15 * SEC);
    assert!(farm.host().had(|event| *event == Event::Gone) >= 1);
    assert!(farm.looks(0).current().is_some_and(|seen| seen.digest == digest(4)), "{:?}", farm.looks(0));
}

#[test]
fn what_does_not_agree_is_retrieved_again_and_never_seen() {
    let mut farm = Farm::armed(Mode::Strict);
    farm.production = digest(5);
    farm.host().findings = vec![Verified::Mismatch, Verified::Mismatch];
    farm.drive(9 * SEC);
    assert_eq!(farm.host().had(|event| matches!(event, Event::Mismatch(_))), 2);
    assert_eq!(farm.plan().staged.map(|staged| staged.digest), Some(digest(5)));
}

#[test]
fn a_veto_is_reported_and_the_mode_s_rule_applies_at_t() {
    for mode in [Mode::Prompt, Mode::Strict] {
        let mut farm = Farm::armed(mode);
        let before = farm.table.staged;
        farm.production = digest(5);
        farm.host().findings = vec![Verified::Vetoed(Veto::Invalid)];
        farm.drive(9 * SEC);
        assert_eq!(farm.host().agent.report(LocalTime::MAX).veto, Some(Veto::Invalid));
        let (t, reports) = (farm.activation(), farm.host().count("report"));
        assert!(reports > 0 && farm.plan().staged.is_none());
        farm.drive(t - farm.now - 20 * MS);
        assert_eq!(farm.looks(0), Serving::Active(before), "served until T");
        farm.drive(40 * MS);
        match mode {
            Mode::Prompt => assert_eq!(farm.looks(0), Serving::Stale(before)),
            Mode::Strict => assert_eq!(farm.looks(0), Serving::Fenced),
        }
        farm.production = digest(6);
        farm.drive(20 * SEC);
        assert_eq!(farm.looks(0).current().map(|seen| seen.digest), Some(digest(6)), "the next is taken");
    }
}

#[test]
fn what_is_held_already_is_not_retrieved_again() {
    let mut farm = Farm::armed(Mode::Strict);
    let (routes, fetches) = (farm.host().count("route"), farm.host().count("fetch"));
    let epoch = farm.table.epoch();
    farm.drive(50 * SEC);
    assert!(farm.table.epoch() >= epoch + 4, "the epoch rises all the same");
    assert_eq!((farm.host().count("route"), farm.host().count("fetch")), (routes, fetches));
    assert_eq!(farm.host().epochs_seen().last(), Some(&(farm.table.epoch() - 1)));
}

#[test]
fn content_that_comes_back_is_retrieved_where_it_is_no_longer_held() {
    let mut farm = Farm::armed(Mode::Prompt);
    for (content, routes) in [(2, 1), (3, 1), (1, 1), (1, 0), (3, 1)] {
        farm.production = digest(content);
        let before = farm.host().count("route");
        farm.drive(10 * SEC);
        assert_eq!(farm.host().count("route") - before, routes, "{content}");
    }
}

#[test]
fn agents_begin_to_retrieve_spread_over_the_stagger() {
    let mut farm = Farm::new();
    (0..8).for_each(|_| {
        farm.add(config(Mode::Prompt));
    });
    farm.drive(18 * SEC);
    farm.production = digest(2);
    let t = farm.activation();
    farm.drive(8 * SEC);
    let routes: Vec<i64> = farm
        .hosts
        .iter()
        .map(|host| host.sent.iter().find(|(at, name)| *at >= t && *name == "route").unwrap().0 - t)
        .collect();
    let most = routes.iter().max().unwrap();
    assert!(most - routes.iter().min().unwrap() > 30 * MS && *most < 600 * MS, "{routes:?}");
}

// Waiting where nothing newer is staged

#[test]
fn a_held_farm_is_read_at_a_slow_pace_and_fences_nobody() {
    let mut farm = Farm::armed(Mode::Strict);
    let until = None;
    farm.table = crate::operator::hold(&farm.table, until, farm.server_now(), Guards::ALL).unwrap();
    farm.drive(20 * SEC);
    let live = farm.table.staged;
    let (from, looked) = (farm.now, farm.host().seen.len());
    farm.drive(100 * SEC);
    assert_eq!(farm.looks(0), Serving::Active(live));
    assert_eq!(farm.host().seen.len(), looked, "no read was ever refused");
    let reads = farm.host().sent_since(from).len();
    assert!((50..220).contains(&reads), "{reads} reads in 100 s of leads of 2 s");
    assert_eq!(farm.host().agent.phase(), Phase::Current);
    farm.table = crate::operator::unhold(&farm.table);
    farm.drive(15 * SEC);
    assert!(farm.table.epoch() > live.epoch);
}

#[test]
fn a_dead_holder_is_waited_for_without_haste() {
    // The promise has run out and the lock is live: nothing renews it, and nobody may hurry.
    let mut farm = Farm::new();
    farm.add(config(Mode::Strict));
    farm.host().may_lock = false;
    farm.host().latency = (10_000, 10_000);
    farm.drive(5 * SEC);
    farm.lock_by_another();
    let expires = farm.server_now() + Span::from_secs(10);
    farm.table.lock.as_mut().unwrap().expires = expires;
    let from = farm.now;
    farm.drive(10 * SEC);
    let reads = farm.host().sent_since(from).len();
    assert!((20..100).contains(&reads), "{reads} reads in 10 s");
    assert_eq!(farm.looks(0), Serving::Fenced, "the promise has run out");
    farm.drive(2 * SEC);
    assert_eq!(farm.looks(0), Serving::Active(generation(1, 1)));
}

// Reports

#[test]
fn it_reports_when_it_is_armed_and_when_it_has_switched() {
    let mut farm = Farm::armed(Mode::Prompt);
    let epoch = farm.table.epoch();
    let reports = farm.host().count("report");
    farm.drive(10 * SEC);
    assert_eq!(farm.host().count("report") - reports, 2);
    let now = farm.hosts[0].local(farm.now);
    let report = farm.host().agent.report(now);
    assert_eq!(report.active.map(|active| active.epoch), Some(epoch));
    assert_eq!(report.switched.map(|switched| switched.epoch), Some(epoch));
    assert!(report.offset.abs_diff(17 * SEC) < 10 * MS as u64 && report.epsilon < Span::from_millis(10));
    let quiet = Config { reports: false, ..config(Mode::Prompt) };
    let mut farm = Farm::new();
    farm.add(quiet);
    farm.drive(30 * SEC);
    assert_eq!(farm.host().count("report"), 0);
}

#[test]
fn a_lost_report_delays_nothing() {
    let mut farm = Farm::armed(Mode::Strict);
    farm.host().lose = vec!["report"; 5];
    let epoch = farm.table.epoch();
    farm.drive(20 * SEC);
    assert_eq!(farm.table.epoch(), epoch + 2);
    assert_eq!(farm.looks(0).current().map(|seen| seen.epoch), Some(epoch + 1));
}

#[test]
fn names_of_requests_are_all_different() {
    let bodies =
        [RequestBody::Read, RequestBody::Lock, RequestBody::Unlock { token: 1 }].map(|body| kind(&body));
    assert_eq!(bodies, ["read", "lock", "unlock"]);
}

/// A reply by hand, to the request that is outstanding.
fn reply_to(farm: &Farm, body: ReplyBody) -> ToAgent<u16> {
    let agent = &farm.hosts[0].agent;
    let request = agent.outstanding.as_ref().expect("something is outstanding");
    let stamp = crate::message::Stamp {
        timeline: farm.table.timeline,
        echo: request.last_sent,
        received: farm.server_now(),
        answered: farm.server_now(),
    };
    ToAgent::Reply(Reply { incarnation: agent.incarnation, number: request.number, stamp, body })
}
type ReplyBody = crate::message::ReplyBody<u16>;

#[test]
fn replies_that_answer_something_else_are_used_for_nothing() {
    let why = Refusal::NotHolder;
    for at in ["read", "lock", "advance", "route", "fetch"] {
        let mut farm = Farm::armed(Mode::Prompt);
        farm.production = digest(2);
        farm.drive_until_sent(at);
        let view = farm.table.view();
        let wrong = match at {
            "read" => ReplyBody::Refused { why, table: view },
            "lock" => ReplyBody::Gone,
            "advance" => ReplyBody::Bytes { offset: 0, total: 9, bytes: 9 },
            "route" => ReplyBody::Bytes { offset: 0, total: 9, bytes: 9 },
            _ => ReplyBody::Bytes { offset: 50, total: 100, bytes: 100 },
        };
        let message = reply_to(&farm, wrong);
        farm.input(0, |agent, now| agent.receive(now, &message));
        assert_eq!(farm.host().had(|event| *event == Event::Unexpected), 1, "{at}");
        farm.drive(15 * SEC);
        let epoch = farm.table.epoch();
        assert_eq!(farm.looks(0).current().map(|seen| seen.epoch), Some(epoch - 1), "{at}");
    }
}

#[test]
fn a_reply_out_of_its_time_is_used_for_nothing() {
    let mut farm = Farm::armed(Mode::Prompt);
    farm.drive_until_sent("read");
    let ToAgent::Reply(good) = reply_to(&farm, ReplyBody::Table(farm.table.view())) else { panic!() };
    let tick = Span::from_nanos(1);
    let mut wrong = vec![good.clone(); 4];
    wrong[0].number += 1;
    wrong[1].incarnation.0 += 1;
    wrong[2].stamp.echo = good.stamp.echo - tick;
    wrong[3].stamp.echo = farm.hosts[0].local(farm.now) + tick;
    for reply in wrong {
        let before = farm.host().agent.clone();
        farm.input(0, |agent, now| agent.receive(now, &ToAgent::Reply(reply)));
        assert_eq!(farm.host().agent, before);
    }
    assert_eq!(farm.host().had(|event| *event == Event::Unmatched), 4);
    assert!(ServerTime::MIN < farm.server_now());
}
