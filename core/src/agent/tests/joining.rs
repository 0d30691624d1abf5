//! Agents that come, come back, or take a predecessor's page over (PROTOCOL §5 "joining", §6).

use super::*;
use crate::effect::{Cache, PollAt};

const BOOT: BootId = BootId(1);
const OTHER_BOOT: BootId = BootId(2);

/// A farm three cycles old with content 4 live and 5 staged, and a first agent that does the work.
fn busy_farm() -> Farm {
    let mut farm = Farm::with(Mode::Prompt);
    farm.drive(3 * SEC);
    for content in 2..6 {
        farm.production = digest(content);
        farm.drive(10 * SEC);
    }
    assert_eq!(farm.table.staged.digest, digest(5));
    assert_eq!(farm.table.active.map(|active| active.digest), Some(digest(4)));
    farm
}

#[test]
fn a_joiner_fills_active_first_and_then_staged() {
    for mode in [Mode::Prompt, Mode::Strict] {
        let mut farm = busy_farm();
        let (active, staged) = (farm.table.active.unwrap(), farm.table.staged);
        let joiner = farm.add(config(mode));
        farm.drive(3 * SEC);
        assert_eq!(farm.hosts[joiner].begun, [(active, Cache::Active), (staged, Cache::Staged)]);
        assert_eq!(farm.looks(joiner), Serving::Active(active));
        assert_eq!(farm.hosts[joiner].count("lock"), 0);
        farm.drive(10 * SEC);
        assert_eq!(farm.looks(joiner), Serving::Active(staged));
    }
}

#[test]
fn a_joiner_serves_nothing_before_it_can_prove_what_is_live() {
    let mut farm = busy_farm();
    let joiner = farm.add(config(Mode::Prompt));
    farm.drive(10 * SEC);
    let seen = &farm.hosts[joiner].seen;
    assert_eq!(seen[0].1, Serving::Fenced);
    assert!(matches!(seen[1].1, Serving::Active(_)), "S10: {seen:?}");
}

#[test]
fn a_joiner_whose_active_comes_too_late_waits_for_the_staged_one() {
    let mut farm = busy_farm();
    farm.objects.insert(digest(4), vec![768 * 2_000]); // 20 s at 10 ms a chunk
    let joiner = farm.add(config(Mode::Strict));
    farm.drive(31 * SEC);
    let first = farm.hosts[joiner].epochs_seen()[0];
    assert!(first > 4, "never the one that was over before it was whole");
    assert!(farm.looks(joiner).current().is_some());
}

#[test]
fn a_joiner_in_the_first_epoch_stops_active_as_early_as_anybody_before_it_may_have_switched() {
    let mut farm = busy_farm();
    farm.restart(0, false, BOOT, None);
    farm.connect(0);
    farm.drive(2 * SEC);
    let plan = farm.plan();
    let limit = farm.table.activation - farm.table.settings.early_limit;
    let clock = *farm.host().agent.clock();
    assert_eq!(Some(plan.active_until), clock.possibly_reached(limit));
    assert!(plan.staged_from >= clock.certainly_reached(farm.table.activation).unwrap(), "the strict proof");
    let t = farm.activation();
    farm.drive(t - farm.now - 40 * MS);
    assert_eq!(farm.looks(0), Serving::Hold);
    farm.drive(60 * MS);
    assert_eq!(farm.looks(0).current(), Some(farm.table.staged));
    // In the next epoch it goes by its estimate again.
    farm.drive(9 * SEC);
    assert_eq!(farm.plan().active_until, farm.plan().staged_from);
}

#[test]
fn the_early_limit_stands_in_the_plan_before_anything_is_staged() {
    let mut farm = busy_farm();
    farm.objects.insert(digest(5), vec![768 * 2_000]);
    farm.restart(0, false, BOOT, None);
    farm.connect(0);
    farm.drive(2 * SEC);
    assert_eq!(farm.plan().staged, None);
    let t = farm.activation();
    farm.drive(t - farm.now - 40 * MS);
    assert_eq!(farm.looks(0), Serving::Stale(farm.table.active.unwrap()), "not marked current any more");
}

#[test]
fn a_page_of_this_boot_is_taken_over_as_it_stands() {
    for mode in [Mode::Prompt, Mode::Strict] {
        let mut farm = Farm::armed(mode);
        let plan = farm.plan();
        farm.restart(0, true, BOOT, None);
        assert_eq!(farm.plan(), plan, "{mode:?}");
        let routes = farm.host().count("route");
        farm.connect(0);
        farm.drive(SEC);
        assert_eq!(farm.host().count("route"), routes, "both buffers are kept");
        assert!(farm.plan().staged_from <= plan.staged_from && farm.plan().serial >= plan.serial);
        farm.drive(15 * SEC);
        assert!(farm.looks(0).current().is_some());
    }
}

#[test]
fn a_page_taken_over_switches_with_no_server_in_reach() {
    let mut farm = Farm::armed(Mode::Strict);
    let staged = farm.table.staged;
    farm.restart(0, true, BOOT, None);
    farm.drive(8 * SEC);
    assert_eq!(farm.looks(0).current(), Some(staged));
    farm.drive(10 * SEC);
    assert_eq!(farm.looks(0), Serving::Fenced, "the promise has run out");
}

#[test]
fn a_page_of_another_boot_or_mode_is_void() {
    let mut farm = Farm::armed(Mode::Prompt);
    let good = farm.table.active;
    farm.restart(0, true, OTHER_BOOT, good);
    assert_eq!((farm.looks(0), farm.plan().serial), (Serving::Fenced, 0));
    let mut other = Farm::armed(Mode::Prompt);
    other.host().agent.config.mode = Mode::Strict;
    other.restart(0, true, BOOT, None);
    assert_eq!(other.looks(0), Serving::Fenced);
}

#[test]
fn last_good_content_needs_no_transfer_where_it_is_still_live() {
    let mut farm = Farm::armed(Mode::Strict);
    let active = farm.table.active;
    let routes = farm.host().count("route");
    farm.restart(0, false, OTHER_BOOT, active);
    farm.connect(0);
    farm.drive(2 * SEC);
    assert_eq!(farm.host().count("route"), routes);
    assert_eq!(farm.looks(0).current(), active);
}

#[test]
fn with_no_server_in_reach_a_prompt_agent_serves_its_last_good_generation_as_stale() {
    for mode in [Mode::Prompt, Mode::Strict] {
        let mut farm = Farm::armed(mode);
        let good = farm.table.active.unwrap();
        farm.restart(0, false, OTHER_BOOT, Some(good));
        farm.drive(5 * SEC - 1);
        assert_eq!(farm.looks(0), Serving::Fenced, "not before start_wait");
        farm.drive(SEC);
        let expected = if mode == Mode::Prompt { Serving::Stale(good) } else { Serving::Fenced };
        assert_eq!(farm.looks(0), expected);
        assert!(farm.host().agent.keeps(good));
        // The server comes back: it is current after all.
        farm.connect(0);
        farm.drive(20 * SEC);
        assert!(farm.looks(0).current().is_some());
    }
}

#[test]
fn a_restart_while_no_active_is_named_serves_last_good_as_stale_until_t() {
    let mut farm = Farm::armed(Mode::Prompt);
    let good = farm.table.active.unwrap();
    farm.disconnect(0);
    farm.new_line(crate::timeline::OldLine::Unknown, 0);
    farm.production = digest(2);
    farm.restart(0, false, OTHER_BOOT, Some(good));
    farm.connect(0);
    farm.drive(4 * SEC);
    assert!(farm.looks(0).generation().is_none(), "not before start_wait");
    farm.drive(2 * SEC);
    assert_eq!(farm.looks(0), Serving::Stale(good), "a restore waits for days");
    farm.drive(100 * SEC);
    assert_eq!(farm.looks(0), Serving::Stale(good));
}

#[test]
fn what_no_plan_names_any_more_is_not_kept() {
    let mut farm = Farm::with(Mode::Prompt);
    for content in 2..7 {
        farm.production = digest(content);
        farm.drive(10 * SEC);
    }
    let held: Vec<u8> = (1..8).filter(|content| farm.hosts[0].agent.keeps(generation(0, *content))).collect();
    assert_eq!(held, [5, 6], "active and staged");
}

#[test]
fn a_new_agent_wants_a_connection_and_then_says_hello_until_it_is_welcome() {
    let mut farm = Farm::new();
    farm.add(config(Mode::Prompt));
    let mut agent = harness::fresh(config(Mode::Prompt), LocalTime::from_nanos(0));
    assert_eq!(agent.phase(), Phase::Greeting);
    let mut now = LocalTime::from_nanos(0);
    assert_eq!(agent.connected(now).first(), Some(&Effect::Hello));
    let mut hellos = 0;
    for _ in 0..50 {
        let PollAt::At(at) = agent.poll_at() else { panic!("it has given up") };
        now = now.max(at);
        hellos += agent.wake(now).iter().filter(|effect| **effect == Effect::Hello).count();
    }
    assert!(hellos >= 48, "{hellos}");
    assert!(now > LocalTime::from_nanos(40 * SEC), "backed off");
}

#[test]
fn an_agent_that_serves_its_last_good_generation_fills_active_when_it_reaches_a_server() {
    let mut farm = busy_farm();
    farm.drive(4 * SEC);
    let last_good = generation(1, 1);
    farm.restart(0, false, OTHER_BOOT, Some(last_good));
    farm.drive(6 * SEC);
    assert_eq!(farm.looks(0), Serving::Stale(last_good));
    farm.connect(0);
    farm.drive(2 * SEC);
    let active = farm.table.active.unwrap();
    assert_eq!(farm.looks(0), Serving::Active(active));
    assert!(farm.host().begun.contains(&(active, Cache::Active)));
}

/// A joiner that holds the staged content already, and whose active one comes only after T.
fn joins_late(activation: Activation, mode: Mode) -> Farm {
    let mut farm = Farm::new();
    farm.add(Config { activation, ..config(mode) });
    farm.host().copy_takes = 5 * SEC;
    farm.drive(3 * SEC);
    for content in 2..6 {
        farm.production = digest(content);
        farm.drive(10 * SEC);
    }
    let t = farm.activation();
    farm.drive(t - farm.now - 2 * SEC);
    farm.objects.insert(farm.table.active.unwrap().digest, vec![768 * 400]); // 4 s
    let staged = farm.table.staged;
    farm.restart(0, false, BOOT, Some(staged));
    farm.connect(0);
    farm.drive(2 * SEC + 100 * MS);
    assert_eq!(farm.host().begun.last().map(|(_, cache)| *cache), Some(Cache::Active));
    farm
}

#[test]
fn nothing_older_takes_the_place_of_what_went_live_meanwhile() {
    for mode in [Mode::Prompt, Mode::Strict] {
        let mut farm = joins_late(Activation::Switch, mode);
        let live = farm.table.staged;
        assert_eq!(farm.looks(0).current(), Some(live), "{mode:?}");
        let (seen, routes) = (farm.host().seen.len(), farm.host().count("route"));
        farm.drive(3 * SEC);
        assert_eq!(farm.looks(0).current(), Some(live), "{mode:?}: and the other one has come");
        assert_eq!((farm.host().seen.len(), farm.host().count("route")), (seen, routes), "it stayed");
    }
}

#[test]
fn while_a_copy_is_made_the_table_is_looked_at_now_and_then() {
    let mut farm = joins_late(Activation::Copy, Mode::Strict);
    assert_eq!(farm.host().agent.phase(), Phase::Activating);
    farm.drive_until(|farm| !matches!(farm.hosts[0].agent.step, Step::Retrieving(_)));
    let from = farm.now;
    farm.drive_until_sent("read");
    assert!(farm.now - from >= SEC, "the longest back-off");
}

#[test]
fn a_buffer_that_readers_are_on_is_not_filled() {
    let mut farm = busy_farm();
    farm.drive(4 * SEC);
    // A table that no server makes: another active generation beside the same staged one.
    farm.table.active = Some(generation(farm.table.epoch() - 1, 99));
    farm.restart(0, true, BOOT, None);
    let begun = farm.host().begun.len();
    farm.connect(0);
    farm.drive(SEC);
    assert_eq!(farm.host().begun.len(), begun);
    assert_eq!(farm.host().agent.phase(), Phase::Armed);
}
