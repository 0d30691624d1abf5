//! What is quick of the checkers, with the tests: the small configurations with their pinned counts,
//! some of the twins, and that no guard is without one. The rest is `check` and `mutants`.

use downbeat_core::guard::Guard;
use downbeat_models::checks::checks;
use downbeat_models::configuration::Configuration;
use downbeat_models::properties::{ALWAYS, SOMETIMES};
use downbeat_models::redundant;
use downbeat_models::search::{everything, shortest};
use downbeat_models::twins::{ELSEWHERE, twins};
use downbeat_models::world::World;
use std::collections::BTreeSet;

#[test]
fn small_configurations_hold_with_their_pinned_counts() {
    for name in ["perfect", "any-1", "operations-2", "copy-any-1"] {
        let checks = checks();
        let check = checks.iter().find(|check| check.config.name == name).expect("it is in the list");
        let outcome = everything(&check.config);
        assert!(outcome.broken.is_empty(), "{name}: {:?}", outcome.broken);
        assert_eq!(outcome.states, check.states, "{name}");
    }
}

#[test]
fn each_kind_of_fault_bites() {
    let checks = checks();
    let mut reached = BTreeSet::new();
    for name in [
        "server-drift-2",
        "clock-steps-1",
        "clock-steps-slow-1",
        "outage-1",
        "timers-2",
        "settings-2",
        "pins-2",
        "mark-lost-1",
        "servers-any-1",
    ] {
        let check = checks.iter().find(|check| check.config.name == name).expect("it is in the list");
        let outcome = everything(&check.config);
        assert!(outcome.broken.is_empty(), "{name}: {:?}", outcome.broken);
        assert_eq!(outcome.states, check.states, "{name}");
        reached.extend(outcome.reached);
    }
    let bite = SOMETIMES.iter().map(|sometimes| sometimes.name).skip(20);
    assert_eq!(bite.filter(|name| !reached.contains(name)).collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn some_twins_are_refuted_in_time_and_hold_with_their_guard() {
    for name in ["no-due-check", "no-aging", "joiner-mixes-replies", "page-of-another-boot", "look-then-load"]
    {
        let twin = twins().find(|twin| twin.name == name).expect("it is in the list");
        for (property, given) in twin.falls {
            let steps = shortest(&twin.broken(), property).0.map(|path| path.len());
            let most = given.map_or(usize::MAX, |steps| 2 * steps);
            assert!(steps.is_some_and(|steps| steps <= most), "{name}: {property} fell in {steps:?}");
        }
        assert!(everything(&twin.whole()).broken.is_empty(), "{name} with its guard");
    }
}

#[test]
fn every_guard_has_a_twin_or_a_reason() {
    let named: BTreeSet<Guard> = twins()
        .flat_map(|twin| twin.off.iter().copied())
        .chain(ELSEWHERE.iter().map(|(guard, _)| *guard))
        .collect();
    let missing: Vec<&Guard> = Guard::EVERY.iter().filter(|guard| !named.contains(guard)).collect();
    assert!(missing.is_empty(), "without a twin: {missing:?}");
}

#[test]
fn names_are_told_apart_and_every_sometimes_stands_beside_a_property() {
    let names: Vec<&str> =
        twins().map(|twin| twin.name).chain(checks().iter().map(|c| c.config.name)).collect();
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    for always in ALWAYS.iter().filter(|always| !always.name.starts_with("A1")) {
        assert!(SOMETIMES.iter().any(|sometimes| sometimes.beside == always.name), "{}", always.name);
    }
    for sometimes in SOMETIMES {
        assert!(ALWAYS.iter().any(|always| always.name == sometimes.beside), "{}", sometimes.beside);
    }
}

#[test]
fn the_steps_from_a_state_are_listed_in_a_fixed_order() {
    let checks = checks();
    let config: &Configuration =
        &checks.iter().find(|check| check.config.name == "any-1").expect("listed").config;
    let mut world = World::new(config);
    for turn in 0..200 {
        let actions = world.actions(config);
        assert_eq!(actions, world.actions(config));
        let Some(action) = actions.get(turn * 7 % actions.len().max(1)) else { break };
        world.step(config, *action);
    }
}

#[test]
fn the_protocol_s_table_of_traps_names_every_twin_with_its_properties() {
    let page = include_str!("../../docs/protocol.md");
    for twin in twins() {
        let row = page.lines().find(|line| line.starts_with(&format!("| `{}` |", twin.name)));
        let row = row.unwrap_or_else(|| panic!("docs/protocol.md §11 has no row for {}", twin.name));
        let last = row.trim_end_matches(" |").rsplit('|').next().unwrap_or_default();
        for (property, _) in twin.falls {
            let id = property.split(' ').next().unwrap_or_default();
            assert!(last.split(", ").any(|named| named.trim() == id), "{}: {id} in {row}", twin.name);
        }
        for guard in twin.off {
            assert!(row.contains(&format!("`{guard:?}`")), "{}: {guard:?} in {row}", twin.name);
        }
        if let Some(twist) = twin.twist {
            assert!(row.contains(&format!("`{twist:?}`")), "{}: {twist:?} in {row}", twin.name);
        }
    }
    let rows = page.lines().skip_while(|line| !line.starts_with("| twin |")).skip(2);
    let named = rows.take_while(|line| line.starts_with("| `")).count();
    assert_eq!(named, twins().count(), "rows of the table and twins");
}

#[test]
fn a_guard_is_found_not_to_be_redundant_where_it_is_not() {
    let searched = |guard, name: &str| {
        let config = redundant::configurations(0).into_iter().find(|config| config.name == name);
        redundant::without(guard, &config.expect("a twin's configuration")).broken
    };
    assert!(searched(Guard::DueCheck, "no-due-check").contains(&"S7 strict_serves_live"));
    for known in redundant::REDUNDANT {
        assert_eq!(searched(known.guard, "no-due-check"), Vec::<&str>::new(), "{:?}", known.guard);
    }
}
