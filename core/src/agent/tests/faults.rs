//! Connections that break, messages that are lost or come twice, servers that refuse (PROTOCOL §4):
//! whatever fails is tried again, and nothing is done twice.

use super::*;
use crate::message::{ErrorCode, Welcome};

fn assert_recovers(farm: &mut Farm, what: &str) {
    // Two leases, one back-off, the stagger and a retrieval (R1), and the cycle that was under way.
    farm.drive(25 * SEC);
    farm.assert_current(what);
    assert!(farm.now - farm.activation() < 0, "{what}: the next cycle has begun");
}

#[test]
fn a_connection_lost_after_any_message_is_survived() {
    for mode in [Mode::Prompt, Mode::Strict] {
        for after in 0..70 {
            let mut farm = Farm::with(mode);
            farm.production = digest(2);
            farm.objects.insert(digest(2), vec![2_000]);
            for _ in 0..after {
                farm.step(i64::MAX);
            }
            farm.disconnect(0);
            farm.drive(300 * MS);
            farm.connect(0);
            assert_recovers(&mut farm, "cut");
        }
    }
}

#[test]
fn a_process_lost_after_any_message_is_survived() {
    for mode in [Mode::Prompt, Mode::Strict] {
        for page in [true, false] {
            for after in 0..70 {
                let mut farm = Farm::with(mode);
                farm.production = digest(2);
                for _ in 0..after {
                    farm.step(i64::MAX);
                }
                farm.restart(0, page, BootId(1), None);
                farm.drive(300 * MS);
                farm.connect(0);
                assert_recovers(&mut farm, "killed");
            }
        }
    }
}

#[test]
fn a_message_of_any_kind_lost_either_way_is_survived() {
    for name in ["read", "lock", "advance", "route", "fetch", "report", "time"] {
        for times in [1, 3] {
            let mut there = Farm::armed(Mode::Strict);
            there.production = digest(2);
            there.host().lose = vec![name; times];
            assert_recovers(&mut there, name);
            let mut back = Farm::armed(Mode::Strict);
            back.production = digest(2);
            back.host().lose_replies = vec![name; times];
            assert_recovers(&mut back, name);
        }
    }
}

#[test]
fn a_third_of_all_messages_lost_for_a_minute_is_survived() {
    let mut farm = Farm::new();
    for mode in [Mode::Prompt, Mode::Strict, Mode::Strict] {
        farm.add(config(mode));
    }
    farm.drive(12 * SEC);
    farm.loss_percent = 33;
    for content in 2..8 {
        farm.production = digest(content);
        farm.drive(10 * SEC);
    }
    farm.loss_percent = 0;
    assert_recovers(&mut farm, "lossy");
}

#[test]
fn replies_that_come_twice_are_used_once() {
    for later in [0, MS, 700 * MS] {
        let mut farm = Farm::with(Mode::Strict);
        farm.host().repeat_after = Some(later);
        farm.production = digest(2);
        farm.drive(40 * SEC);
        let sent = farm.host().sent.len();
        let unmatched = farm.host().had(|event| *event == Event::Unmatched);
        assert!(unmatched + 5 >= sent && unmatched <= sent, "{unmatched} of {sent}");
        assert_eq!(farm.host().had(|event| *event == Event::ClockBroken), 0);
        assert_recovers(&mut farm, "twice");
    }
}

#[test]
fn requests_that_are_delayed_past_their_deadline_are_survived() {
    let mut farm = Farm::armed(Mode::Strict);
    farm.host().latency = (900 * MS, 900 * MS);
    farm.drive(40 * SEC);
    farm.host().latency = (5 * MS, 5 * MS);
    assert_recovers(&mut farm, "slow");
}

#[test]
fn a_refused_connection_is_tried_again_with_a_back_off() {
    for code in [
        ErrorCode::HelloFirst,
        ErrorCode::Busy,
        ErrorCode::Unauthorized,
        ErrorCode::NoFarm,
        ErrorCode::Version,
        ErrorCode::TooLarge,
    ] {
        let mut farm = Farm::armed(Mode::Prompt);
        farm.drive_until_sent("read");
        let now = farm.now;
        let effects = farm.host().error(now, code);
        assert!(effects.contains(&Effect::Event(Event::Refused(code))));
        assert!(!farm.host().agent.link.is_up());
        assert_recovers(&mut farm, "refused");
    }
}

#[test]
fn an_error_or_a_welcome_of_another_life_is_used_for_nothing() {
    let mut farm = Farm::armed(Mode::Prompt);
    let before = farm.host().agent.clone();
    let incarnation = Incarnation(1);
    let error = ToAgent::Error { incarnation, code: ErrorCode::Busy };
    let welcome = |incarnation| {
        ToAgent::Welcome(Welcome {
            incarnation,
            version: 1,
            timeline: TimelineId { counter: 9, random: 9 },
            server_rate: Rate::ZERO,
            limits: crate::settings::Limits::default(),
            may_lock: false,
        })
    };
    for message in [error, welcome(incarnation), welcome(before.incarnation)] {
        farm.input(0, |agent, now| agent.receive(now, &message));
        assert_eq!(farm.host().agent, before, "{message:?}");
    }
    assert_eq!(farm.host().had(|event| *event == Event::Unmatched), 3);
}

#[test]
fn a_server_out_of_reach_leaves_what_was_promised_and_no_more() {
    for mode in [Mode::Prompt, Mode::Strict] {
        let mut farm = Farm::armed(mode);
        let (staged, promise) = (farm.table.staged, farm.table.next_earliest.as_nanos());
        farm.disconnect(0);
        farm.drive(promise - farm.now - 30 * MS);
        assert_eq!(farm.looks(0), Serving::Active(staged), "the schedule is the lease");
        farm.drive(60 * MS);
        match mode {
            Mode::Prompt => assert_eq!(farm.looks(0), Serving::Stale(staged)),
            Mode::Strict => assert_eq!(farm.looks(0), Serving::Fenced),
        }
        farm.drive(60 * SEC);
        farm.connect(0);
        assert_recovers(&mut farm, "back");
    }
}

#[test]
fn answers_of_the_host_that_nobody_waits_for_change_nothing() {
    let mut farm = Farm::armed(Mode::Strict);
    let before = farm.host().agent.clone();
    for found in [Verified::Whole, Verified::Mismatch, Verified::Vetoed(Veto::Storage)] {
        let target = farm.table.staged;
        farm.input(0, |agent, now| agent.verified(now, target, found));
    }
    farm.input(0, Agent::copied);
    assert_eq!(farm.host().agent, before);
}
