//! What answers that are unusual lead to: refusals, vetoes, routes and bytes that don't fit.

use super::*;
use crate::effect::Cache;
use crate::message::{ObjectRef, Route};

/// An agent that sent a request of this kind, and the answer made from the farm put in its hands.
fn answered(farm: &mut Farm, at: &'static str, body: impl Fn(&Farm) -> ReplyBody) {
    farm.drive_until_sent(at);
    let message = reply_to(farm, body(farm));
    farm.input(0, |agent, now| agent.receive(now, &message));
}
fn unexpected(farm: &mut Farm) -> usize {
    farm.host().had(|event| *event == Event::Unexpected)
}

// The lock and the advance

#[test]
fn not_due_before_t_is_asked_about_again_and_not_due_on_a_held_farm_rests() {
    let mut farm = Farm::armed(Mode::Prompt);
    answered(&mut farm, "lock", |farm| ReplyBody::NotDue(farm.table.view()));
    assert_eq!(
        farm.host().agent.phase(),
        Phase::Reading,
        "another server, whose clock is behind: it doesn't rest"
    );
    let mut farm = Farm::armed(Mode::Prompt);
    answered(&mut farm, "lock", |farm| ReplyBody::NotDue(TableView { held: true, ..farm.table.view() }));
    assert_eq!(farm.host().agent.phase(), Phase::Current);
}

#[test]
fn not_due_because_another_was_quicker_and_the_farm_is_held_since_it_retrieves() {
    let mut farm = Farm::armed(Mode::Prompt);
    farm.production = digest(2);
    farm.drive_until_sent("lock");
    farm.advance_by_another();
    let message = reply_to(&farm, ReplyBody::NotDue(TableView { held: true, ..farm.table.view() }));
    let from = farm.now;
    farm.input(0, |agent, now| agent.receive(now, &message));
    assert_eq!(farm.host().agent.phase(), Phase::Retrieving);
    farm.drive_until_sent("route");
    assert!(farm.now - from > MS, "T is ahead, so that it waits for its own delay");
}

#[test]
fn a_refused_advance_is_an_answer_and_its_table_says_how_to_go_on() {
    // Another was quicker: its cycle is gone on with at once.
    let mut farm = Farm::armed(Mode::Strict);
    farm.production = digest(2);
    farm.drive_until_sent("advance");
    farm.table.lock = None;
    farm.advance_by_another();
    let message = reply_to(&farm, ReplyBody::Refused { why: Refusal::NotHolder, table: farm.table.view() });
    farm.input(0, |agent, now| agent.receive(now, &message));
    assert_eq!((farm.host().agent.phase(), unexpected(&mut farm)), (Phase::Retrieving, 0));
    // Nobody was: it waits for one lease.
    let mut farm = Farm::armed(Mode::Strict);
    answered(&mut farm, "advance", |farm| ReplyBody::Refused {
        why: Refusal::LeaseOver,
        table: farm.table.view(),
    });
    assert!(matches!(farm.host().agent.step, Step::Waiting { .. }), "T has passed: it is not armed for it");
    let from = farm.now;
    farm.table.lock = None;
    farm.drive_until_sent("read");
    assert!(farm.now - from >= settings().lease.as_nanos());
    assert_eq!(unexpected(&mut farm), 0);
}

#[test]
fn refused_because_t_is_to_come_once_more_it_waits_for_t_and_for_no_lease() {
    let mut farm = Farm::armed(Mode::Strict);
    answered(&mut farm, "advance", |farm| ReplyBody::Refused {
        why: Refusal::GrantedEarly,
        table: farm.table.view(),
    });
    // By its own clock T has passed, so that the table is read again at once.
    assert_eq!((farm.host().agent.phase(), unexpected(&mut farm)), (Phase::Reading, 0));
}

// Vetoes

#[test]
fn a_veto_of_the_staged_generation_stands_until_another_is_staged() {
    let mut farm = Farm::armed(Mode::Strict);
    farm.production = digest(5);
    farm.host().findings = vec![Verified::Vetoed(Veto::Invalid)];
    farm.drive(9 * SEC);
    let routes = farm.host().count("route");
    let t = farm.activation();
    farm.drive(t - farm.now - MS);
    assert!(farm.host().sent_since(t - 60 * MS).len() > 2, "tables were read");
    assert_eq!(farm.host().agent.report(LocalTime::MIN).veto, Some(Veto::Invalid));
    assert_eq!(farm.host().count("route"), routes, "not asked for again");
    farm.production = digest(6);
    farm.drive(5 * SEC);
    assert_eq!(farm.host().agent.report(LocalTime::MIN).veto, None);
}

#[test]
fn a_veto_of_the_active_generation_stands_as_long_as_it_is_named() {
    let mut farm = Farm::with(Mode::Prompt);
    farm.drive(3 * SEC);
    for content in 2..6 {
        farm.production = digest(content);
        farm.drive(10 * SEC);
    }
    let (active, staged) = (farm.table.active.unwrap(), farm.table.staged);
    let joiner = farm.add(config(Mode::Strict));
    farm.hosts[joiner].findings = vec![Verified::Vetoed(Veto::Invalid)];
    let t = farm.activation();
    farm.drive(t - farm.now - 20 * MS);
    assert_eq!(farm.hosts[joiner].begun, [(active, Cache::Active), (staged, Cache::Staged)]);
    assert_eq!(farm.hosts[joiner].agent.report(LocalTime::MIN).veto, Some(Veto::Invalid));
    assert_eq!(farm.looks(joiner), Serving::Fenced, "the other one is not live yet");
    farm.drive(5 * SEC);
    assert_eq!(farm.looks(joiner), Serving::Active(staged));
    assert_eq!(farm.hosts[joiner].agent.report(LocalTime::MIN).veto, None);
}

#[test]
fn what_the_host_has_no_room_for_is_not_fetched() {
    let mut farm = Farm::armed(Mode::Strict);
    farm.production = digest(5);
    farm.drive_until(|farm| farm.hosts[0].begun.last().is_some_and(|(begun, _)| begun.digest == digest(5)));
    let (target, _) = *farm.host().begun.last().unwrap();
    let fetched = farm.host().count("fetch");
    // Other answers have to wait for what comes.
    let before = farm.host().agent.clone();
    for found in [Verified::Whole, Verified::Mismatch] {
        farm.input(0, |agent, now| agent.verified(now, target, found));
        assert_eq!(farm.host().agent, before, "{found:?}");
    }
    farm.input(0, |agent, now| agent.verified(now, target, Verified::Vetoed(Veto::TooLarge)));
    assert_eq!(farm.host().agent.report(LocalTime::MIN).veto, Some(Veto::TooLarge));
    let t = farm.activation();
    farm.drive(t - farm.now - MS);
    assert_eq!(farm.host().count("fetch"), fetched, "no more of it is asked for");
    farm.production = digest(6);
    farm.drive(5 * SEC);
    assert_eq!(farm.host().agent.report(LocalTime::MIN).veto, None);
    farm.drive(10 * SEC);
    assert_eq!(farm.looks(0).current().map(|served| served.digest), Some(digest(6)));
}

// Content

#[test]
fn a_chunk_that_is_not_answered_is_asked_again_after_a_back_off() {
    let mut farm = Farm::armed(Mode::Prompt);
    farm.production = digest(2);
    farm.host().lose = vec!["fetch"];
    farm.drive_until_sent("fetch");
    let from = farm.now;
    farm.drive_until_sent("fetch");
    let after = farm.now - from;
    assert!((180 * MS..=220 * MS).contains(&after), "round trip and back-off: {after}");
}

#[test]
fn a_route_is_taken_once_and_must_lead_somewhere() {
    let route = |len| {
        let objects = (0..len).map(|_| ObjectRef { name: digest(9), len: 100 }).collect();
        ReplyBody::Route(Route { objects })
    };
    for (at, len) in [("route", 0), ("fetch", 1), ("fetch", 0)] {
        let mut farm = Farm::armed(Mode::Prompt);
        farm.production = digest(2);
        answered(&mut farm, at, |_| route(len));
        assert_eq!(unexpected(&mut farm), 1, "{len} objects at {at}");
        farm.drive(SEC);
        assert_eq!(farm.hosts[0].begun.last(), Some(&(farm.table.staged, Cache::Staged)));
        assert_eq!(farm.plan().staged, Some(farm.table.staged), "it went on from where it stood");
    }
}

#[test]
fn bytes_are_kept_only_where_all_of_them_fit() {
    // The object has 100 bytes, and the first ones are asked for.
    for (offset, total, len) in [(1, 100, 50), (0, 99, 50), (0, 101, 50), (0, 100, 0), (0, 100, 101)] {
        let mut farm = Farm::armed(Mode::Prompt);
        farm.production = digest(2);
        let kept = farm.host().kept;
        answered(&mut farm, "fetch", |_| ReplyBody::Bytes { offset, total, bytes: len });
        assert_eq!((unexpected(&mut farm), farm.host().kept), (1, kept), "{len} at {offset} of {total}");
        farm.drive(SEC);
        assert_eq!(farm.host().kept, kept + 100);
    }
}

#[test]
fn without_its_guard_half_a_generation_is_staged() {
    for (guards, mismatches) in [(Guards::ALL, 1), (Guards::ALL.without(Guard::WholeGeneration), 0)] {
        let mut farm = Farm::new();
        farm.add(Config { guards, ..config(Mode::Prompt) });
        farm.drive(33 * SEC);
        farm.production = digest(2);
        farm.host().findings = vec![Verified::Mismatch];
        farm.drive(9 * SEC);
        assert_eq!(farm.host().had(|event| matches!(event, Event::Mismatch(_))), mismatches);
        assert_eq!(farm.plan().staged, Some(farm.table.staged));
    }
}

// The switch

#[test]
fn what_went_live_is_in_one_buffer_and_the_other_is_free() {
    let mut farm = Farm::armed(Mode::Strict);
    farm.production = digest(2);
    let staged = farm.table.staged;
    let switched = |farm: &Farm| farm.hosts[0].had(|event| matches!(event, Event::Switched(_)));
    let before = switched(&farm);
    farm.drive_until(|farm| switched(farm) > before);
    let now = farm.server_now();
    farm.table = crate::operator::hold(&farm.table, None, now, Guards::ALL).unwrap();
    for _ in 0..3 {
        assert_eq!((farm.host().agent.active, farm.host().agent.staged), (Some(staged), None));
        farm.drive(SEC);
    }
}

#[test]
fn two_agents_sample_at_instants_of_their_own() {
    let mut farm = Farm::new();
    (0..4).for_each(|_| {
        farm.add(Config { samples: 1, ..config(Mode::Prompt) });
    });
    farm.drive(33 * SEC);
    let (armed, t) = (farm.now, farm.activation());
    farm.drive(t - farm.now);
    let mut first: Vec<i64> =
        farm.hosts.iter().map(|host| host.sent.iter().find(|(at, _)| *at > armed).unwrap().0).collect();
    first.sort_unstable();
    first.dedup();
    assert!(first.len() == 4 && first[3] - first[0] > MS, "{first:?}");
}
