//! The switch: samples before T, the midpoint, the early limit, copies (Fig. 6, steps 236 to 252).

use super::*;
use crate::effect::PollAt;

#[test]
fn samples_are_taken_shortly_before_t_and_the_midpoint_is_fixed_once() {
    let mut farm = Farm::armed(Mode::Prompt);
    let t = farm.activation();
    let (armed, upper) = (farm.now, farm.plan().staged_from);
    assert!(farm.as_true(upper) > t, "the upper end, until the samples are in");
    farm.drive(t - farm.now - MS);
    let samples: Vec<i64> = farm.host().sent.iter().map(|(at, _)| *at).filter(|at| *at > armed).collect();
    assert!((4..=8).contains(&samples.len()), "{samples:?}");
    assert!(samples.iter().all(|at| (t - 60 * MS..t).contains(at)));
    let plan = farm.plan();
    assert_eq!(plan.active_until, plan.staged_from, "no hold in prompt");
    let middle = farm.as_true(plan.staged_from);
    // Both ways take 5 ms, so the middle is T, but for what the window's age costs.
    assert!(middle.abs_diff(t) < 100_000, "{} ns off", middle - t);
    farm.drive(SEC);
    let record = farm.host().agent.report(LocalTime::MIN).switched.unwrap();
    assert!(record.at.as_nanos().abs_diff(t) < 100_000 && record.epsilon < Span::from_millis(6));
}

#[test]
fn a_strict_hold_is_as_long_as_the_round_trip() {
    let mut farm = Farm::armed(Mode::Strict);
    let t = farm.activation();
    farm.drive(t - farm.now - MS);
    let plan = farm.plan();
    let (until, from) = (farm.as_true(plan.active_until), farm.as_true(plan.staged_from));
    assert!(until <= t && t <= from);
    assert!(((from - until) as u64).abs_diff(10 * MS as u64) < 200_000, "{} ns", from - until);
}

#[test]
fn published_instants_only_ever_tighten() {
    let mut farm = Farm::armed(Mode::Strict);
    let mut last = farm.plan();
    let t = farm.activation();
    let mut tightened = 0;
    while farm.now < t {
        assert!(farm.step(t + SEC));
        let plan = farm.plan();
        if plan.staged != last.staged {
            break;
        }
        assert!(plan.active_until >= last.active_until && plan.staged_from <= last.staged_from);
        tightened += (plan != last) as u32;
        last = plan;
    }
    assert!(tightened > 0);
}

#[test]
fn a_slow_way_there_switches_late_and_within_its_epsilon() {
    for latency in [(30 * MS, 2 * MS), (2 * MS, 30 * MS)] {
        let mut farm = Farm::with(Mode::Prompt);
        farm.host().latency = latency;
        farm.drive(33 * SEC);
        let t = farm.activation();
        farm.drive(t - farm.now + 40 * MS);
        let record = farm.host().agent.report(LocalTime::MIN).switched.unwrap();
        let (at, _) = *farm.host().seen.last().unwrap();
        assert!(at.abs_diff(t) as i64 <= record.epsilon.as_nanos(), "S8: {} ns off", at - t);
        assert!(record.epsilon < Span::from_millis(17));
    }
}

#[test]
fn where_epsilon_is_over_the_early_limit_the_upper_end_stands() {
    let mut farm = Farm::with(Mode::Prompt);
    farm.table.settings.round_trip = Span::from_millis(150);
    farm.host().latency = (2 * MS, 110 * MS);
    farm.drive(33 * SEC);
    let t = farm.activation();
    farm.drive(t - farm.now - MS);
    let plan = farm.plan();
    let upper = farm.hosts[0].agent.clock().certainly_reached(farm.table.activation).unwrap();
    assert!(farm.host().agent.clock().epsilon(plan.staged_from).unwrap() > farm.table.settings.early_limit);
    assert!(plan.staged_from >= upper, "not switched by a bad estimate");
}

#[test]
fn a_connection_that_comes_back_before_t_still_brings_good_samples() {
    let mut farm = Farm::armed(Mode::Prompt);
    farm.drive(SEC);
    farm.disconnect(0);
    farm.drive(SEC);
    farm.connect(0);
    let (t, from) = (farm.activation(), farm.now + SEC);
    farm.drive(t - farm.now - MS);
    assert!(farm.host().sent_since(from).len() >= 4, "{:?}", farm.host().sent_since(from));
    let plan = farm.plan();
    assert_eq!(plan.active_until, plan.staged_from);
    assert!(farm.as_true(plan.staged_from).abs_diff(t) < 100_000);
}

#[test]
fn cut_off_before_the_samples_it_switches_by_what_it_knows() {
    let mut farm = Farm::armed(Mode::Prompt);
    let staged = farm.table.staged;
    farm.disconnect(0);
    let t = farm.activation();
    farm.drive(t - farm.now + 20 * MS);
    assert_eq!(farm.looks(0).current(), Some(staged));
}

#[test]
fn without_samples_the_switch_is_planned_when_it_is_armed() {
    let mut farm = Farm::new();
    farm.add(Config { samples: 0, ..config(Mode::Prompt) });
    farm.drive(33 * SEC);
    let plan = farm.plan();
    assert_eq!(plan.active_until, plan.staged_from);
    let from = farm.now;
    let t = farm.activation();
    farm.drive(t - farm.now);
    assert_eq!(farm.host().sent_since(from).len(), 0);
    farm.drive(30 * SEC);
    assert!(farm.looks(0).current().is_some());
}

// Copies

fn copying(takes: i64, mode: Mode) -> Farm {
    let mut farm = Farm::new();
    farm.add(Config { activation: Activation::Copy, ..config(mode) });
    farm.host().copy_takes = takes;
    farm.production = digest(2);
    farm.drive(4 * SEC);
    farm.production = digest(3);
    farm.drive(14 * SEC);
    farm
}

#[test]
fn a_copy_begins_at_the_switch_and_holds_readers_until_it_is_whole() {
    for mode in [Mode::Prompt, Mode::Strict] {
        let mut farm = copying(30 * MS, mode);
        let (t, staged) = (farm.activation(), farm.table.staged);
        farm.drive(t - farm.now + 15 * MS);
        assert_eq!((farm.looks(0), farm.host().agent.phase()), (Serving::Hold, Phase::Activating));
        farm.drive(35 * MS);
        assert_eq!(farm.looks(0), Serving::Active(staged), "{mode:?}");
        let switched = farm.host().agent.report(LocalTime::MIN).switched.unwrap();
        assert!(switched.held >= Span::from_millis(30), "{:?}", switched.held);
    }
}

#[test]
fn what_did_not_change_is_not_copied() {
    let mut farm = copying(30 * MS, Mode::Strict);
    farm.drive(10 * SEC);
    farm.drive(10 * SEC);
    let held = farm.host().agent.report(LocalTime::MIN).switched.unwrap().held;
    assert!(held < Span::from_millis(15), "{held:?}: the pause for T only");
}

#[test]
fn a_copy_that_takes_longer_than_the_cycle_holds_and_hurries_nobody() {
    let mut farm = copying(12 * SEC, Mode::Prompt);
    farm.host().latency = (10_000, 10_000);
    let t = farm.activation();
    farm.drive(t - farm.now + SEC);
    assert_eq!(farm.looks(0), Serving::Hold);
    let from = farm.now;
    farm.drive(10 * SEC);
    let sent = farm.host().sent_since(from).len();
    assert!(sent < 150, "{sent} requests in 10 s of copying");
    farm.host().copy_takes = 0;
    farm.drive(30 * SEC);
    assert!(farm.looks(0).current().is_some());
}

#[test]
fn a_wake_at_any_time_does_no_harm() {
    let mut farm = Farm::armed(Mode::Strict);
    let end = farm.now + 25 * SEC;
    let mut extra = 0;
    while farm.step(end) {
        for _ in 0..2 {
            let before = farm.host().agent.clone();
            farm.input(0, Agent::wake);
            let now = farm.hosts[0].local(farm.now);
            if let PollAt::At(at) = before.poll_at()
                && !at.passed(now)
            {
                assert_eq!(farm.host().agent, before, "nothing was due");
                extra += 1;
            }
        }
    }
    assert!(extra > 50);
}

#[test]
fn samples_are_as_many_as_are_set_and_follow_each_other_within_the_window() {
    let mut farm = Farm::new();
    farm.add(Config { samples: 4, ..config(Mode::Prompt) });
    farm.host().latency = (MS, MS);
    farm.drive(33 * SEC);
    let until = farm.as_true(farm.hosts[0].agent.clock().possibly_reached(farm.table.activation).unwrap());
    let armed = farm.now;
    farm.drive(until - farm.now);
    let samples: Vec<i64> = farm.host().sent.iter().map(|(at, _)| *at).filter(|at| *at > armed).collect();
    assert_eq!(samples.len(), 4, "{samples:?}");
    for pair in samples.windows(2) {
        assert!((pair[1] - pair[0]).abs_diff(2 * MS) < 10_000, "one after the other: {samples:?}");
    }
    // This agent's own delay leaves time for the answers.
    let delay = samples[0] - (until - 50 * MS);
    assert!((-100_000..38 * MS).contains(&delay), "{delay}");
    // Whatever wakes it now, there are no more.
    farm.input(0, Agent::wake);
    assert_eq!(farm.host().sent_since(armed).len(), 4);
}

#[test]
fn agents_sample_at_instants_of_their_own() {
    let mut farm = Farm::new();
    for _ in 0..8 {
        let agent = farm.add(config(Mode::Strict));
        farm.hosts[agent].latency = (MS / 10, MS / 10);
    }
    farm.drive(33 * SEC);
    let (armed, t) = (farm.now, farm.activation());
    farm.drive(t - farm.now);
    let begun = farm.hosts.iter().map(|host| {
        let first = host.sent.iter().find(|(at, kind)| *at > armed && *kind == "time");
        t - first.expect("everybody samples").0
    });
    let mut begun: Vec<i64> = begun.collect();
    begun.sort_unstable();
    begun.dedup();
    assert_eq!(begun.len(), 8);
    assert!(begun[0] > 12 * MS && begun[7] < 60 * MS && begun[7] - begun[0] > 15 * MS, "before T: {begun:?}");
}

#[test]
fn a_sample_that_is_lost_costs_none_after_it_and_one_that_is_slow_is_waited_for_if_it_is_the_last() {
    let mut farm = Farm::new();
    farm.add(config(Mode::Prompt));
    farm.host().latency = (MS, MS);
    farm.drive(33 * SEC);
    let t = farm.activation();
    farm.host().lose = vec!["time"; 3];
    let before = farm.host().count("time");
    farm.drive(t - farm.now);
    assert_eq!(farm.host().count("time") - before, 8);
    let middle = farm.as_true(farm.plan().staged_from);
    assert!(middle.abs_diff(t) < 100_000, "{} ns off", middle - t);
    let mut farm = Farm::with(Mode::Strict);
    farm.host().agent.config.samples = 1;
    farm.drive(33 * SEC);
    farm.drive_until_sent("time");
    let number = farm.host().agent.last_number;
    farm.host().latency.1 = 70 * MS;
    farm.drive(60 * MS);
    assert!(farm.host().agent.waits_for(Incarnation(77), number));
}

#[test]
fn a_switch_by_a_plan_that_came_too_late_is_told_as_readers_saw_it() {
    // A retrieval that takes two seconds longer than there are until T.
    let mut farm = Farm::armed(Mode::Strict);
    farm.objects.insert(digest(2), vec![768 * 1_200]);
    farm.production = digest(2);
    farm.drive_until(|farm| farm.table.staged.digest == digest(2));
    let t = farm.activation();
    farm.drive(t + SEC - farm.now);
    assert_eq!(farm.looks(0), Serving::Fenced);
    farm.drive_until(|farm| farm.looks(0).current().is_some());
    let seen = farm.server_now();
    let told = farm.host().agent.report(LocalTime::MIN).switched.unwrap();
    assert_eq!(told.epoch, farm.table.epoch());
    assert!(
        told.at >= seen - Span::from_millis(20),
        "{} ns before readers saw it",
        (seen - told.at).as_nanos()
    );
    // A sample that tells that T has passed brings the switch forward to now, not into the past.
    let mut farm = Farm::armed(Mode::Strict);
    farm.host().agent.config.samples = 0;
    farm.drive(5 * SEC);
    let t = farm.activation();
    farm.drive(t - farm.now);
    farm.host().agent.step = Step::Reading;
    farm.input(0, Agent::wake);
    let mut reply = reply_to(&farm, ReplyBody::Table(farm.table.view()));
    let ToAgent::Reply(told) = &mut reply else { panic!() };
    (told.stamp.received, told.stamp.answered) =
        (farm.table.activation + Span::from_millis(2), farm.table.activation + Span::from_millis(2));
    let (planned, now) = (farm.plan().staged_from, farm.hosts[0].local(farm.now));
    assert!(planned > now, "not reached by what was known");
    farm.input(0, |agent, now| agent.receive(now, &reply));
    let switched = farm.host().agent.report(LocalTime::MIN).switched.unwrap();
    let estimate = farm.host().agent.clock().midpoint(now).unwrap();
    assert_eq!((switched.epoch, switched.at), (farm.table.epoch(), estimate));
}

#[test]
fn a_server_that_names_k_as_active_is_taken_at_its_word() {
    // By its own bounds the agent would wait for another 20 ms, the step in which its clock is read.
    let mut farm = Farm::new();
    farm.add(Config { granularity: Span::from_millis(20), ..config(Mode::Strict) });
    farm.drive(33 * SEC);
    let (staged, t) = (farm.table.staged, farm.activation());
    farm.drive(t - farm.now - 75 * MS);
    // Its next process takes the page over, and reads first of all.
    farm.restart(0, true, BootId(1), None);
    farm.connect(0);
    farm.drive_until_sent("read");
    farm.host().latency = (SEC, SEC);
    farm.drive(t + MS - farm.now);
    assert_eq!(farm.looks(0), Serving::Hold);
    farm.advance_by_another();
    let message = reply_to(&farm, ReplyBody::Table(farm.table.view()));
    farm.input(0, |agent, now| agent.receive(now, &message));
    assert_eq!(farm.looks(0), Serving::Active(staged));
    assert_eq!(farm.host().had(|event| matches!(event, Event::Switched(_))), 4);
}
