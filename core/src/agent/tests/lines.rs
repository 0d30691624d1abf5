//! New timelines and broken clocks, as an agent sees them (PROTOCOL §2, §6, §8).

use super::*;
use crate::timeline::{Mark, OldLine};

/// The mark that a server which rebooted just now stored last.
fn mark(farm: &Farm) -> OldLine {
    let stored_at = farm.server_now() - Span::from_secs(1);
    OldLine::MarkStored(Mark { until: stored_at + Span::from_secs(30), stored_at })
}
/// The server reboots, its new line a day off.
fn reboot(farm: &mut Farm) {
    let old = mark(farm);
    farm.new_line(old, 86_400 * SEC);
}

#[test]
fn a_new_line_with_the_same_k_keeps_the_switch_and_moves_the_promise_later() {
    for mode in [Mode::Prompt, Mode::Strict] {
        let mut farm = Farm::armed(mode);
        let before = farm.plan();
        assert!(before.staged.is_some(), "a switch is to come");
        farm.disconnect(0);
        reboot(&mut farm);
        farm.connect(0);
        farm.drive(2 * SEC);
        let after = farm.plan();
        assert_eq!(
            SwitchPlan { staged_until: after.staged_until, serial: after.serial, ..before },
            after,
            "{mode:?}"
        );
        assert!(after.staged_until > before.staged_until);
        assert_eq!(farm.host().had(|event| *event == Event::NewTimeline), 1);
        // It switches when it would have, and is current without a gap, though the new T is later.
        farm.drive(SEC * 30);
        let holes = farm.host().seen.iter().filter(|(at, seen)| {
            *at > START + 2 * SEC && matches!(seen, Serving::Fenced | Serving::Stale(_))
        });
        assert_eq!(holes.count(), 0, "{mode:?}: {:?}", farm.host().seen);
    }
}

#[test]
fn a_new_line_on_a_live_k_prolongs_it() {
    let mut farm = Farm::armed(Mode::Strict);
    let held = crate::operator::hold(&farm.table, None, farm.server_now(), Guards::ALL).unwrap();
    farm.table = held;
    farm.drive(15 * SEC);
    let before = farm.plan();
    assert_eq!((before.active, before.staged), (Some(farm.table.staged), None));
    farm.disconnect(0);
    reboot(&mut farm);
    farm.connect(0);
    farm.drive(SEC);
    let after = farm.plan();
    assert_eq!(after.active, before.active);
    assert!(after.active_until > before.active_until);
}

#[test]
fn the_same_number_with_other_content_is_another_generation() {
    let mut farm = Farm::armed(Mode::Strict);
    let pending = farm.plan();
    farm.host().honest = false; // The old line's schedule is gone from the books.
    farm.disconnect(0);
    reboot(&mut farm);
    farm.table.staged.digest = digest(9);
    farm.connect(0);
    farm.drive(SEC);
    assert_eq!(farm.plan(), pending, "the old plan runs");
    farm.drive(8 * SEC);
    let kept: Vec<_> = farm.host().epochs_seen();
    assert_eq!(kept.last(), pending.staged.map(|staged| staged.epoch).as_ref(), "and makes its switch");
    farm.drive(25 * SEC);
    assert_eq!(farm.looks(0).current().map(|seen| seen.digest), farm.table.active.map(|seen| seen.digest));
}

#[test]
fn an_old_plan_that_has_run_out_gives_way_at_the_new_t() {
    for mode in [Mode::Prompt, Mode::Strict] {
        let mut farm = Farm::armed(mode);
        farm.host().honest = false;
        let served = farm.table.staged;
        farm.disconnect(0);
        farm.drive(30 * SEC); // T and the promise have passed.
        let over = farm.looks(0);
        farm.new_line(OldLine::Unknown, 0);
        farm.table.staged.digest = digest(9);
        farm.table.activation = farm.server_now() + Span::from_secs(8);
        farm.table.next_earliest = farm.table.activation + Span::from_secs(5);
        farm.connect(0);
        farm.drive(4 * SEC);
        assert_eq!(farm.plan().staged, Some(farm.table.staged), "retrieved");
        assert_eq!(farm.looks(0), over);
        match mode {
            Mode::Prompt => assert_eq!(over, Serving::Stale(served)),
            Mode::Strict => assert_eq!(over, Serving::Fenced),
        }
        let staged = farm.table.staged;
        farm.drive(5 * SEC);
        assert_eq!(farm.looks(0).current(), Some(staged));
    }
}

#[test]
fn a_reply_of_another_line_gives_no_sample_and_no_table() {
    let mut farm = Farm::armed(Mode::Prompt);
    farm.drive_until_sent("read");
    reboot(&mut farm); // The request is on its way, and is answered by the new line.
    let before = farm.plan();
    farm.drive_until(|farm| farm.hosts[0].had(|event| *event == Event::NewTimeline) > 0);
    let host = farm.host();
    assert!(!host.agent.clock().is_known() && host.agent.table().is_none());
    assert_eq!(*host.agent.plan(), before);
    farm.drive(30 * SEC);
    assert_eq!(farm.host().had(|event| *event == Event::ClockBroken), 0);
    assert!(farm.looks(0).current().is_some());
}

#[test]
fn a_line_that_comes_at_any_moment_is_survived() {
    for mode in [Mode::Prompt, Mode::Strict] {
        for moment in 0..60 {
            let mut farm = Farm::armed(mode);
            farm.production = digest(2);
            let t = farm.activation();
            farm.drive(t - farm.now - 100 * MS + moment * 10 * MS);
            reboot(&mut farm);
            farm.drive(30 * SEC);
            farm.assert_current("a new line");
        }
    }
}

// A broken clock

#[test]
fn a_strict_agent_whose_clock_broke_is_fenced_and_recovers_by_a_read_under_new_samples() {
    let mut farm = Farm::armed(Mode::Strict);
    let active = farm.table.active.unwrap();
    let from = farm.now;
    farm.input(0, Agent::clock_broke);
    assert_eq!(farm.looks(0), Serving::Fenced);
    assert_eq!(farm.host().had(|event| *event == Event::ClockBroken), 1);
    farm.drive(SEC);
    assert_eq!(farm.host().sent_since(from), ["read"], "both caches are still held");
    assert_eq!(farm.looks(0), Serving::Active(active));
    farm.drive(10 * SEC);
    assert_eq!(farm.looks(0).current().map(|seen| seen.epoch), Some(active.epoch + 1));
}

#[test]
fn a_prompt_agent_whose_clock_broke_marks_what_it_serves_until_a_read_under_new_samples() {
    let mut farm = Farm::armed(Mode::Prompt);
    let before = farm.looks(0).current().unwrap();
    farm.input(0, Agent::clock_broke);
    assert_eq!(farm.looks(0), Serving::Stale(before));
    assert!(farm.plan().stale, "the next plan doesn't take it for live");
    farm.drive(20 * SEC);
    assert!(farm.looks(0).current().is_some());
}

#[test]
fn samples_that_contradict_each_other_fence_a_strict_agent() {
    for step in [-3 * SEC, 3 * SEC] {
        let mut farm = Farm::armed(Mode::Strict);
        farm.host().honest = false;
        farm.host().offset += step; // A virtual machine restored from a snapshot, or moved.
        if step < 0 {
            // The machine's own time never goes back: a host starts it anew.
            farm.restart(0, false, BootId(2), None);
            farm.connect(0);
        }
        farm.drive(20 * SEC);
        let broken = farm.host().had(|event| *event == Event::ClockBroken);
        assert_eq!(broken, (step > 0) as usize, "{step}");
        let fenced = farm.host().seen.iter().filter(|(_, seen)| *seen == Serving::Fenced).count();
        assert_eq!(fenced, 2, "once at the start, once now");
        assert!(farm.looks(0).current().is_some());
    }
}

#[test]
fn a_clock_within_its_rate_never_breaks() {
    for rate_ppb in [-250_000, -150_000, 150_000, 250_000] {
        let mut farm = Farm::new();
        farm.add(config(Mode::Strict));
        let now = farm.now;
        farm.host().rate_ppb = rate_ppb;
        farm.host().offset -= (now as i128 * rate_ppb as i128 / 1_000_000_000) as i64;
        farm.drive(300 * SEC);
        assert_eq!(farm.host().had(|event| *event == Event::ClockBroken), 0);
        farm.assert_current("a clock at its limit");
    }
}

#[test]
fn an_old_promise_is_kept_to_its_end_and_the_end_is_noticed_with_no_server_in_reach() {
    for mode in [Mode::Prompt, Mode::Strict] {
        // Held, so that k is live and nothing newer is staged.
        let mut farm = Farm::armed(mode);
        farm.host().honest = false;
        let now = farm.server_now();
        farm.table =
            crate::operator::hold(&farm.table, Some(now + Span::from_secs(20)), now, Guards::ALL).unwrap();
        farm.drive(9 * SEC);
        let served = farm.table.staged;
        let end = farm.as_true(farm.plan().active_until);
        assert_eq!(farm.looks(0), Serving::Active(served));
        // A new line with other content, whose T comes before the old promise's end.
        farm.disconnect(0);
        farm.new_line(OldLine::Unknown, 0);
        farm.table.staged.digest = digest(9);
        farm.table.activation = farm.server_now() + Span::from_secs(5);
        farm.table.next_earliest = farm.server_now() + Span::from_secs(60);
        let t = farm.activation();
        assert!(t + 3 * SEC < end);
        farm.connect(0);
        farm.drive(2 * SEC);
        assert_eq!(farm.looks(0), Serving::Active(served), "{mode:?}: what was promised");
        farm.disconnect(0);
        // Prompt goes over at the end of the old promise, strict at the new T.
        let new = if mode == Mode::Prompt { end } else { t };
        farm.drive(new - farm.now - 50 * MS);
        assert_eq!(farm.looks(0), Serving::Active(served), "{mode:?}");
        farm.drive(100 * MS);
        assert_eq!(farm.looks(0).current(), Some(farm.table.staged), "{mode:?}");
    }
}

#[test]
fn content_that_is_held_is_not_staged_again_while_an_old_line_s_switch_is_to_come() {
    let mut farm = Farm::with(Mode::Strict);
    farm.drive(3 * SEC);
    farm.production = digest(2);
    farm.drive(10 * SEC);
    farm.production = digest(3);
    farm.drive(10 * SEC);
    farm.host().honest = false;
    let pending = farm.plan();
    let active = pending.active.unwrap();
    assert_ne!(pending.staged.map(|staged| staged.digest), Some(active.digest));
    farm.disconnect(0);
    reboot(&mut farm);
    // The switch will put its own generation where this content is now.
    farm.table.staged.digest = active.digest;
    farm.connect(0);
    farm.drive(SEC);
    assert_eq!((farm.plan(), farm.host().agent.staged), (pending, pending.staged));
}
