//! What is asked when, and again: connections, requests that fail, reports, and what a host may ask
//! the machine.

use super::*;
use crate::effect::PollAt;
use crate::ids::Digest;
use crate::message::Welcome;
use crate::time::Drift;

/// A `Welcome` by hand, of the farm's line, from a server whose clock is so bad.
fn welcome(farm: &Farm, rate: Rate) -> ToAgent<u16> {
    ToAgent::Welcome(Welcome {
        incarnation: farm.hosts[0].agent.incarnation,
        version: 1,
        timeline: farm.table.timeline,
        server_rate: rate,
        limits: farm.table.limits,
        may_lock: true,
    })
}
fn ages_like(agent: &Agent, server: Rate) -> bool {
    let hour = Span::from_secs(3_600);
    agent.clock().surely_reached(hour) == Drift::between(Rate::from_ppm(250), server).surely_reached(hour)
}

// Connections

#[test]
fn a_welcome_brings_the_server_s_rate_and_leaves_the_samples_of_its_line() {
    let mut farm = Farm::armed(Mode::Prompt);
    let known = *farm.host().agent.clock();
    assert!(known.is_known() && ages_like(&farm.hosts[0].agent, Rate::from_ppm(100)));
    // The same line over another connection: what is known stays.
    farm.disconnect(0);
    farm.input(0, Agent::connected);
    let message = welcome(&farm, Rate::from_ppm(100));
    farm.input(0, |agent, now| agent.receive(now, &message));
    assert_eq!(*farm.host().agent.clock(), known);
    // Another line: nothing of the old one counts, its rate neither.
    farm.new_line(crate::timeline::OldLine::Vouched, 0);
    farm.disconnect(0);
    farm.input(0, Agent::connected);
    let message = welcome(&farm, Rate::from_ppm(300));
    farm.input(0, |agent, now| agent.receive(now, &message));
    assert!(!farm.host().agent.clock().is_known() && ages_like(&farm.hosts[0].agent, Rate::from_ppm(300)));
}

#[test]
fn a_hello_is_not_said_again_before_its_answer_can_have_come() {
    let mut agent = harness::fresh(config(Mode::Prompt), LocalTime::from_nanos(0));
    let mut last = LocalTime::from_nanos(0);
    let _ = agent.connected(last);
    for _ in 0..5 {
        let PollAt::At(at) = agent.poll_at() else { panic!("it has given up") };
        assert!(at - last >= Span::from_secs(1), "the patience: {:?}", at - last);
        assert!(agent.wake(at).contains(&Effect::Hello));
        last = at;
    }
}

#[test]
fn what_was_outstanding_is_asked_again_as_soon_as_a_new_connection_is_welcome() {
    for at in ["read", "lock", "advance", "route"] {
        let mut farm = Farm::armed(Mode::Prompt);
        farm.production = digest(2);
        farm.drive_until(|farm| farm.activation() <= farm.now);
        farm.drive_until_sent(at);
        let number = farm.host().agent.outstanding.as_ref().unwrap().number;
        farm.disconnect(0);
        farm.connect(0);
        let from = farm.now + 2 * 5 * MS;
        farm.drive(10 * MS);
        let sent: Vec<_> =
            farm.host().sent.iter().filter(|(sent, _)| *sent == from).map(|(_, name)| *name).collect();
        assert_eq!(sent, [at], "at the welcome itself");
        let again = farm.host().agent.outstanding.as_ref().unwrap().number;
        assert_eq!(again == number, matches!(at, "lock" | "advance"), "{at}: idempotent by its number");
    }
}

// Requests that fail

#[test]
fn a_request_is_not_sent_again_before_its_answer_can_have_come() {
    let mut farm = Farm::new();
    farm.add(Config { back_off: (Span::from_nanos(1), Span::from_secs(1)), ..config(Mode::Prompt) });
    farm.drive(33 * SEC);
    farm.host().lose = vec!["lock"; 2];
    farm.drive(10 * SEC);
    let locks: Vec<i64> =
        farm.host().sent.iter().filter(|(_, name)| *name == "lock").map(|(at, _)| *at).collect();
    let gaps: Vec<i64> = locks.windows(2).map(|pair| pair[1] - pair[0]).filter(|gap| *gap < SEC).collect();
    assert!(gaps.len() == 2 && gaps.iter().all(|gap| *gap >= 100 * MS), "{gaps:?}");
}

#[test]
fn a_back_off_doubles_from_the_first_to_the_longest_within_a_fifth() {
    let now = LocalTime::from_nanos(5);
    let mut agent = harness::fresh(config(Mode::Prompt), now);
    let mut exact = 100 * MS;
    let mut off = Vec::new();
    for _ in 0..40 {
        let waits = (agent.backed_off(now) - now).as_nanos();
        assert!((exact * 4 / 5..exact * 6 / 5).contains(&waits), "{waits} for {exact}");
        off.push(waits.cmp(&exact));
        exact = (exact * 2).min(SEC);
        agent.last_number += 1;
    }
    assert!(off.contains(&core::cmp::Ordering::Less) && off.contains(&core::cmp::Ordering::Greater));
}

#[test]
fn the_back_off_differs_between_lives_and_between_requests() {
    let delay = |number: u64, incarnation: u64| {
        let mut agent = harness::fresh(config(Mode::Prompt), LocalTime::from_nanos(0));
        agent.last_number = number;
        agent.incarnation = Incarnation(incarnation);
        agent.backed_off(LocalTime::from_nanos(0))
    };
    assert_ne!(delay(0, 1), delay(0, 2));
    assert_ne!(delay(3, 1), delay(3, 2));
    assert_ne!(delay(1, 4), delay(2, 4));
}

#[test]
fn a_broken_clock_is_sampled_at_once_and_then_not_at_network_speed() {
    let mut farm = Farm::armed(Mode::Strict);
    let from = farm.now;
    farm.input(0, Agent::clock_broke);
    assert_eq!(farm.host().sent_since(from), ["read"]);
    farm.input(0, Agent::clock_broke);
    assert_eq!(farm.host().sent_since(from), ["read"]);
    assert_eq!(farm.host().agent.phase(), Phase::Waiting);
    farm.drive(SEC);
    assert!(farm.looks(0).current().is_some());
}

#[test]
fn gone_is_followed_by_a_read_at_once_and_a_second_time_by_a_back_off() {
    let mut farm = Farm::armed(Mode::Prompt);
    farm.production = digest(2);
    farm.drive_until_sent("route");
    let gone = reply_to(&farm, ReplyBody::Gone);
    farm.input(0, |agent, now| agent.receive(now, &gone));
    assert_eq!(farm.host().agent.phase(), Phase::Reading);
    farm.drive_until_sent("route");
    let gone = reply_to(&farm, ReplyBody::Gone);
    farm.input(0, |agent, now| agent.receive(now, &gone));
    assert_eq!(farm.host().agent.phase(), Phase::Waiting);
}

#[test]
fn a_read_that_is_not_answered_is_waited_with_and_a_sample_is_not() {
    let mut farm = Farm::new();
    farm.add(config(Mode::Prompt));
    farm.host().lose = vec!["read"];
    farm.drive_until(|farm| farm.hosts[0].agent.phase() == Phase::Waiting);
    assert!(farm.host().agent.table().is_none(), "nothing was read yet");
    let mut farm = Farm::armed(Mode::Prompt);
    farm.drive_until_sent("time");
    let message = reply_to(&farm, ReplyBody::Gone);
    farm.input(0, |agent, now| agent.receive(now, &message));
    assert_eq!(farm.host().agent.phase(), Phase::Armed, "an answer to something else ends no wait for T");
}

#[test]
fn a_server_that_only_estimates_its_clock_is_not_asked_in_a_loop_around_t() {
    for samples in [0, 8] {
        let mut farm = Farm::new();
        farm.add(Config { samples, ..config(Mode::Strict) });
        farm.drive(33 * SEC);
        let (t, table) = (farm.table.activation, farm.table.view());
        farm.drive(farm.activation() - farm.now);
        farm.drive_until_sent("read");
        // Its lower end is short of T, which the agent knows to have passed.
        let ToAgent::Reply(mut reply) = reply_to(&farm, ReplyBody::Table(table)) else { panic!() };
        reply.stamp.answered = t - Span::from_millis(1);
        reply.stamp.received = farm.server_now() + Span::from_millis(20);
        let width = (reply.stamp.received - reply.stamp.answered).as_nanos();
        let asked = farm.host().count("read");
        farm.input(0, |agent, now| agent.receive(now, &ToAgent::Reply(reply)));
        let again = farm.now + width;
        farm.drive_until(|farm| farm.hosts[0].count("read") > asked);
        assert_eq!(farm.now, again, "with {samples} samples before T");
    }
}

// Samples

#[test]
fn samples_before_t_bring_the_first_read_after_it_forward() {
    // A wait of 400 s at 250 ppm and 100 ppm leaves T uncertain by 140 ms; the samples before T are fresh.
    let first_read_after_t = |samples, latency| {
        let mut farm = Farm::with(Mode::Strict);
        farm.host().agent.config.samples = samples;
        farm.drive(33 * SEC);
        let now = farm.server_now();
        farm.table =
            crate::operator::hold(&farm.table, Some(now + Span::from_secs(400)), now, Guards::ALL).unwrap();
        farm.table = crate::operator::unhold(&farm.table);
        farm.drive(10 * SEC);
        let t = farm.activation();
        assert!(t > farm.now + 390 * SEC);
        farm.host().latency = latency;
        farm.drive(t - farm.now);
        farm.drive_until_sent("read");
        farm.now - t
    };
    let quick = (5 * MS, 5 * MS);
    let without = first_read_after_t(0, quick);
    for (samples, latency) in [(8, quick), (1, (5 * MS, 45 * MS))] {
        // The single one is answered only after T could have passed.
        let with = first_read_after_t(samples, latency);
        assert!(
            without > 140 * MS && with < without - 60 * MS,
            "{with} ns after T with {samples} samples, {without} without"
        );
    }
}

#[test]
fn the_estimate_counts_from_the_last_sample_on_and_not_before() {
    let mut farm = Farm::armed(Mode::Prompt);
    let t = farm.activation();
    let before = farm.host().count("time");
    while farm.now < t - 20 * MS {
        let from = farm.as_true(farm.plan().staged_from);
        assert!(from > t + 2 * MS, "the upper end: {} ns after T", from - t);
        assert!(farm.step(t));
    }
    let samples = farm.host().count("time") - before;
    assert!((2..7).contains(&samples), "{samples} of eight were asked for");
    farm.drive(t - farm.now - MS);
    let middle = farm.as_true(farm.plan().staged_from);
    assert!(middle < t + MS, "{} ns after T", middle - t);
}

// Reports, and what a host may ask

#[test]
fn a_report_waits_until_nothing_of_the_cycle_is_waited_for() {
    let mut farm = Farm::armed(Mode::Prompt);
    farm.production = digest(2);
    farm.drive_until_sent("advance");
    farm.drive_until(|farm| farm.hosts[0].agent.phase() == Phase::Retrieving);
    assert!(farm.host().agent.outstanding.is_none(), "it waits for its own delay");
    let reports = farm.host().count("report");
    farm.host().agent.report_due = true;
    farm.input(0, Agent::wake);
    farm.drive_until_sent("fetch");
    assert_eq!(farm.host().count("report"), reports);
    farm.drive_until_sent("report");
    assert_eq!(farm.host().agent.phase(), Phase::Armed);
}

#[test]
fn what_is_retrieved_is_kept_and_its_number_does_not_matter() {
    let mut farm = Farm::armed(Mode::Prompt);
    farm.production = digest(2);
    farm.drive_until_sent("route");
    assert!(farm.host().agent.keeps(generation(0, 2)));
    assert!(!farm.hosts[0].agent.keeps(Generation { epoch: farm.table.epoch(), digest: Digest::default() }));
}

#[test]
fn a_host_is_told_who_is_asking_and_which_reply_would_be_used() {
    let mut farm = Farm::armed(Mode::Prompt);
    farm.drive_until_sent("time");
    let agent = &farm.hosts[0].agent;
    let life = agent.incarnation();
    assert_eq!(life, Incarnation(77));
    assert_eq!(agent.timeline(), Some(farm.table.timeline));
    let number = agent.outstanding.as_ref().unwrap().number;
    assert!(agent.waits_for(life, number));
    assert!(!agent.waits_for(life, number - 1) && !agent.waits_for(Incarnation(78), number));
    farm.disconnect(0);
    assert_eq!(farm.host().agent.phase(), Phase::Armed, "cut off, and still where it was in its cycle");
    let fresh = harness::fresh(config(Mode::Prompt), LocalTime::from_nanos(0));
    assert_eq!((fresh.timeline(), fresh.waits_for(life, 0)), (None, false));
}

#[test]
fn that_readers_get_nothing_current_any_more_is_told_at_once_and_once() {
    for (mode, phase) in [(Mode::Prompt, Phase::Stale), (Mode::Strict, Phase::Fenced)] {
        let mut farm = Farm::armed(mode);
        assert_eq!(farm.hosts[0].agent.report(farm.hosts[0].local(farm.now)).phase, Phase::Armed);
        farm.host().may_lock = false;
        farm.disconnect(0);
        farm.connect(0);
        let t = farm.activation();
        farm.drive(t - farm.now);
        farm.host().findings = vec![Verified::Vetoed(Veto::Invalid)];
        farm.production = digest(2);
        farm.advance_by_another();
        farm.drive_until(|farm| farm.hosts[0].agent.refused.is_some());
        let t = farm.activation();
        farm.drive(t - farm.now);
        // What it has is live no longer, and it asks for nothing else.
        let before = farm.host().count("report");
        farm.drive(SEC);
        let now = farm.hosts[0].local(farm.now);
        assert_eq!(farm.host().agent.report(now).phase, phase);
        assert_eq!(farm.host().count("report") - before, 1, "{mode:?}");
    }
    // Who never had anything says where it is.
    let mut farm = Farm::new();
    farm.add(config(Mode::Strict));
    farm.drive(SEC);
    assert_ne!(farm.hosts[0].agent.report(farm.hosts[0].local(farm.now)).phase, Phase::Fenced);
}
