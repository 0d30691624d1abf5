//! The farms that twins are searched in: as few agents, faults and ticks as a trap needs.

use crate::actions::Action;
use crate::configuration::{Configuration, Kind, Kinds, patient, settings, ticks};
use downbeat_core::serving::Mode::{self, Prompt};
use downbeat_core::settings::{Limits, Settings};
use downbeat_core::time::Rate;

pub(super) const ONE_PROMPT: &[Mode] = &[Prompt];

pub(super) fn farm(modes: &'static [Mode]) -> Configuration {
    Configuration { recovery: false, run_up: Some(0), ..Configuration::new("twin", modes) }
}

/// A farm whose messages take up to a tick each way, a few ticks before T.
pub(super) fn slow(modes: &'static [Mode], count: u8, kinds: &[Kind]) -> Configuration {
    Configuration {
        slow_network: true,
        settings: patient(),
        limits: Limits { max_interval: ticks(14), max_lead: ticks(5), max_hold: ticks(3) },
        run_up: Some(9),
        horizon: 16,
        ..faults(modes, count, kinds)
    }
}

/// A farm shortly before its second activation.
pub(super) fn before_activation(config: Configuration) -> Configuration {
    Configuration { run_up: Some(4), horizon: 13, ..config }
}

pub(super) fn faults(modes: &'static [Mode], faults: u8, kinds: &[Kind]) -> Configuration {
    Configuration { faults, kinds: Kinds::of(kinds), ..farm(modes) }
}

pub(super) fn operations(config: Configuration, operations: u8, kinds: &[Kind]) -> Configuration {
    Configuration { operations, operation_kinds: Kinds::of(kinds), ..config }
}

/// A farm with the shortest spans, for what takes many cycles.
pub(super) fn short(config: Configuration) -> Configuration {
    let settings = Settings { lead: ticks(1), lease: ticks(1), ..settings(4) };
    let limits = Limits { max_interval: ticks(4), max_lead: ticks(1), max_hold: ticks(2) };
    Configuration { settings, limits, ..config }
}

/// Clocks that gain or miss at most one tick in eight.
pub(super) fn drifting(config: Configuration) -> Configuration {
    let limits = Limits { max_interval: ticks(12), max_lead: ticks(2), max_hold: ticks(3) };
    Configuration { rate: Rate::from_ppb(125_000_000), settings: settings(12), limits, horizon: 26, ..config }
}

/// A farm whose server is replaced by a backup while an agent runs the plan of a later generation.
pub(super) fn restores(modes: &'static [Mode], horizon: i64) -> Configuration {
    let config = Configuration { faults: 1, kinds: Kinds::of(&[Kind::Restore]), horizon, ..farm(modes) };
    operations(short(config), 2, &[Kind::Backup, Kind::Edit])
}

/// A farm that is restored twice, from backups of different generations, while an agent is cut off.
pub(super) fn restored_twice(modes: &'static [Mode]) -> Configuration {
    let limits = Limits { max_interval: ticks(4), max_lead: ticks(2), max_hold: ticks(1) };
    Configuration {
        limits,
        faults: 3,
        operations: 2,
        operation_kinds: Kinds::of(&[Kind::Backup]),
        backups: 2,
        kinds: Kinds::of(&[Kind::Restore, Kind::CutOff]),
        prelude: &[Action::Operate(Kind::Backup)],
        run_up: Some(5),
        ..restores(modes, 20)
    }
}

/// A farm whose server has found an old mark at two starts, and may be restored from a backup of another
/// generation while an agent is cut off.
pub(super) fn restored_after_lines(modes: &'static [Mode]) -> Configuration {
    const TICK: Action = Action::Tick;
    const ENDS: Action = Action::Server(Kind::ServerCrash, false);
    const BEGINS: Action = Action::Moves(Kind::MarkOld, -2);
    Configuration {
        faults: 4,
        kinds: Kinds::of(&[Kind::MarkOld, Kind::Restore, Kind::CutOff]),
        prelude: &[
            Action::Operate(Kind::Backup),
            Action::Operate(Kind::Edit),
            TICK,
            TICK,
            TICK,
            TICK,
            TICK,
            ENDS,
            TICK,
            BEGINS,
            TICK,
            TICK,
            ENDS,
            BEGINS,
        ],
        ..restores(modes, 20)
    }
}

/// A prompt agent whose enclosure is wide, and that is started again around T.
pub(super) fn early(early_limit: i64) -> Configuration {
    let config = slow(ONE_PROMPT, 2, &[Kind::CrashTakesOver, Kind::CrashKeepsDisk, Kind::Overlap]);
    let settings = Settings { early_limit: ticks(early_limit), ..config.settings };
    Configuration { settings, ..config }
}
