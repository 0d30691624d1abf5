//! What `check` searches: every configuration with the number of states that it has. A number that
//! changes means that the protocol or the model changed; it is pinned so that nobody has to notice.

mod faults;

use crate::configuration::{Configuration, FOR_EVER, Kind, Kinds, UNLIMITED, patient, settings, ticks};
use downbeat_core::serving::Activation;
use downbeat_core::serving::Mode::{Prompt, Strict};
use downbeat_core::settings::{Limits, Settings};
use downbeat_core::time::Rate;

/// A configuration and the number of its states.
#[derive(Clone)]
pub struct Check {
    /// What is searched.
    pub config: Configuration,
    /// Its number of distinct states (canonical forms).
    pub states: usize,
}

const NETWORK: Kinds = Kinds::of(&[Kind::Lose, Kind::Repeat, Kind::Delay]);
const AGENTS: Kinds = Kinds::of(&[
    Kind::CrashTakesOver,
    Kind::CrashKeepsDisk,
    Kind::Overlap,
    Kind::Reboot,
    Kind::RebootLosesDisk,
]);
const SERVER: Kinds =
    Kinds::of(&[Kind::ServerCrash, Kind::SlowCommit, Kind::NewLineBehind, Kind::NewLineAhead]);
const HOSTS: Kinds = Kinds::of(&[Kind::LateTimer, Kind::Suspend, Kind::Veto, Kind::CutOff]);
/// Every fault of network, agents, server and hosts that a farm of any kind can have.
pub(crate) const ALL: Kinds = NETWORK.and(AGENTS).and(SERVER).and(HOSTS);
/// What operators do in a farm whose settings leave room for one change only.
pub(crate) const OPERATIONS: Kinds = Kinds::of(&[
    Kind::Edit,
    Kind::Hold,
    Kind::HoldUntil,
    Kind::Unhold,
    Kind::Settings,
    Kind::Schedule,
    Kind::ScheduleWithEnd,
]);

/// Every change of settings.
pub(crate) const SETTINGS: Kinds = Kinds::of(&[
    Kind::Settings,
    Kind::SettingsShorter,
    Kind::SettingsLead,
    Kind::SettingsLease,
    Kind::SettingsEarly,
]);

/// A farm of one strict and one prompt agent, shortly before an activation, through the next one.
fn pair(name: &'static str) -> Configuration {
    Configuration { run_up: Some(4), horizon: 13, ..Configuration::new(name, &[Strict, Prompt]) }
}

fn faults(name: &'static str, faults: u8, kinds: Kinds) -> Configuration {
    Configuration { faults, kinds, ..pair(name) }
}

/// Everything that `check` searches, smallest ideas first.
pub fn checks() -> Vec<Check> {
    let mut checks = with_horizons();
    checks.extend(for_ever());
    checks
}

/// What `check --full` searches beside.
pub fn larger() -> Vec<Check> {
    let check = |config, states| Check { config, states };
    let server = Kinds::of(&[Kind::ServerCrash, Kind::SlowCommit]);
    vec![
        check(Configuration { kinds: server, ..short("forever-server") }, 2573182),
        check(
            Configuration {
                faults: 2,
                kinds: ALL,
                run_up: Some(4),
                most_delayed: 1,
                horizon: FOR_EVER,
                ..Configuration::new("forever-any-2", &[Strict, Prompt])
            },
            8441734,
        ),
    ]
}

/// A run without an end, with the shortest cycle that settings allow and any number of faults.
fn short(name: &'static str) -> Configuration {
    Configuration {
        settings: Settings { lead: ticks(1), lease: ticks(1), ..settings(4) },
        limits: Limits { max_interval: ticks(5), max_lead: ticks(1), max_hold: ticks(2) },
        faults: UNLIMITED,
        most_delayed: 1,
        horizon: FOR_EVER,
        ..Configuration::new(name, &[Strict, Prompt])
    }
}

fn with_horizons() -> Vec<Check> {
    let check = |config, states| Check { config, states };
    let mut checks = vec![
        check(Configuration { horizon: 22, ..Configuration::new("perfect", &[Strict, Prompt]) }, 873),
        // From the very start of the agents; all others begin with a farm that runs.
        check(
            Configuration {
                faults: 1,
                kinds: ALL,
                horizon: 14,
                ..Configuration::new("start-any-1", &[Strict, Prompt])
            },
            407280,
        ),
        check(faults("any-1", 1, ALL), 42621),
        check(faults("any-2", 2, ALL), 5723003),
        check(operated(faults("operations-2", 0, ALL), 2), 55684),
        check(operated(faults("operations-1-any-1", 1, ALL), 1), 1520912),
        check(Configuration { modes: &[Strict, Strict, Prompt], ..faults("three-any-1", 1, ALL) }, 385277),
        check(Configuration { activation: Activation::Copy, ..faults("copy-any-1", 1, ALL) }, 44311),
        // Objects of two parts, of which one may come before and one after an edit.
        check(
            Configuration {
                two_parts: true,
                operations: 1,
                operation_kinds: Kinds::of(&[Kind::Edit]),
                ..faults("parts-1", 1, ALL)
            },
            175381,
        ),
        // Every message may take a tick without its being a fault.
        check(
            Configuration {
                slow_network: true,
                settings: patient(),
                limits: Limits { max_interval: ticks(14), max_lead: ticks(5), max_hold: ticks(3) },
                run_up: Some(10),
                horizon: 14,
                samples: 1,
                ..faults("slow-network-1", 1, NETWORK.and(AGENTS))
            },
            175873,
        ),
        // Clocks that gain or miss up to one tick in eight.
        check(
            Configuration {
                rate: Rate::from_ppb(125_000_000),
                settings: settings(12),
                limits: Limits { max_interval: ticks(13), max_lead: ticks(2), max_hold: ticks(3) },
                run_up: None,
                horizon: 26,
                ..faults("drift-2", 2, Kinds::of(&[Kind::Slow, Kind::Fast]))
            },
            721337,
        ),
        // A backup takes the server's place, on another host, after cycles that it knows nothing of.
        check(
            Configuration {
                settings: Settings { lead: ticks(1), lease: ticks(1), ..settings(4) },
                limits: Limits { max_interval: ticks(4), max_lead: ticks(1), max_hold: ticks(2) },
                run_up: Some(0),
                horizon: 24,
                operations: 2,
                operation_kinds: Kinds::of(&[Kind::Backup, Kind::Edit]),
                ..faults("restore-1", 1, Kinds::of(&[Kind::Restore]))
            },
            1064502,
        ),
    ];
    checks.extend(faults::checks());
    checks
}

/// Farms that run for ever: no last tick, and where it says so any number of faults.
fn for_ever() -> Vec<Check> {
    let check = |config, states| Check { config, states };
    let both = |name| Configuration { horizon: FOR_EVER, ..Configuration::new(name, &[Strict, Prompt]) };
    let operations = |config, kinds| Configuration {
        faults: 0,
        operations: UNLIMITED,
        operation_kinds: Kinds::of(kinds),
        ..config
    };
    let ends = [Kind::CrashTakesOver, Kind::CrashKeepsDisk, Kind::Reboot, Kind::RebootLosesDisk];
    vec![
        check(both("forever-perfect"), 404),
        check(Configuration { modes: &[Strict, Strict, Prompt], ..both("forever-perfect-three") }, 3378),
        check(Configuration { kinds: Kinds::of(&[Kind::Lose]), ..short("forever-loss") }, 1983993),
        check(Configuration { kinds: Kinds::of(&ends), ..short("forever-crashes") }, 270549),
        check(operations(short("forever-holds"), &[Kind::Hold, Kind::HoldUntil, Kind::Unhold]), 543614),
        check(operations(both("forever-edits"), &[Kind::Edit]), 2778),
        check(Configuration { faults: 1, kinds: ALL, run_up: Some(4), ..both("forever-any-1") }, 67442),
    ]
}

fn operated(config: Configuration, operations: u8) -> Configuration {
    operated_by(config, operations, OPERATIONS)
}

fn operated_by(config: Configuration, operations: u8, operation_kinds: Kinds) -> Configuration {
    Configuration { operations, operation_kinds, ..config }
}
