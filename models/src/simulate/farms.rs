//! The farm of a seed: agents, spans, clocks and kinds of faults differ from seed to seed.

use super::random::Random;
use crate::checks::{ALL, OPERATIONS, SETTINGS};
use crate::configuration::{Configuration, FOR_EVER, Fine, Kind, Kinds, patient, settings, ticks};
use downbeat_core::serving::{Activation, Mode};
use downbeat_core::settings::{Limits, Settings};
use downbeat_core::time::{Rate, Span};

const MODES: &[&[Mode]] = &[
    &[Mode::Strict, Mode::Strict, Mode::Prompt],
    &[Mode::Prompt, Mode::Prompt],
    &[Mode::Strict, Mode::Prompt, Mode::Prompt, Mode::Strict],
    &[Mode::Strict],
];
const JUMPS: Kinds = Kinds::of(&[Kind::ClockAhead, Kind::ClockBack, Kind::LineAhead, Kind::LineBack]);
/// A server that comes back on another line, and can tell how far the old one has come.
const NEW_LINES: Kinds = Kinds::of(&[Kind::NewLineBehind, Kind::NewLineAhead, Kind::MarkOld]);
const RATES: Kinds = Kinds::of(&[Kind::Slow, Kind::Fast, Kind::ServerSlow, Kind::ServerFast]);

/// The farm of a seed: a third each of them counts time in ticks with clocks that go alike, in ticks with
/// clocks that miss and gain some, and not in ticks.
pub(super) fn farm(random: &mut Random) -> Configuration {
    let base = Configuration {
        activation: if random.below(4) == 0 { Activation::Copy } else { Activation::Switch },
        samples: random.below(3) as u8,
        two_parts: random.below(2) == 0,
        kinds: ALL.without(NEW_LINES).and(Kinds::of(&[Kind::SpuriousWake, Kind::Pin])),
        kept: 2,
        backups: 3,
        operation_kinds: OPERATIONS.and(SETTINGS).and(Kinds::of(&[Kind::Backup])),
        horizon: FOR_EVER,
        // Never what a step has left, so that no step counts as one of a perfect run (A1).
        faults: 1,
        operations: 1,
        ..Configuration::new("simulation", random.of(MODES))
    };
    let farm = match random.below(3) {
        0 => exact(base, random),
        1 => erring(base),
        _ => fine(base, random),
    };
    // A restore doesn't allow for the promises of a line that jumped.
    let more = match random.below(4) {
        0 => NEW_LINES.and(Kinds::of(&[Kind::Restore])),
        1 => NEW_LINES.and(JUMPS),
        2 => JUMPS,
        _ => NEW_LINES,
    };
    Configuration { kinds: farm.kinds.and(more), ..farm }
}

fn exact(base: Configuration, random: &mut Random) -> Configuration {
    let slow_network = random.below(2) == 0;
    let settings = if slow_network { patient() } else { base.settings };
    Configuration { settings, slow_network, limits: limits(ticks(1)), ..base }
}

fn erring(base: Configuration) -> Configuration {
    let rate = Rate::from_ppb(125_000_000);
    Configuration {
        rate,
        server_rate: rate,
        server_epsilon: 1,
        settings: Settings { sample_window: ticks(1), ..settings(12) },
        limits: limits(ticks(1)),
        kinds: base.kinds.and(RATES).and(Kinds::of(&[Kind::Stutter])),
        // Intervals shorter than an enclosure is wide leave no instant at which a strict agent can serve.
        operation_kinds: base.operation_kinds.without(Kinds::of(&[Kind::SettingsShorter])),
        ..base
    }
}

fn limits(unit: Span) -> Limits {
    Limits { max_interval: unit.times(1_000), max_lead: unit.times(8), max_hold: unit.times(9) }
}

/// Spans of many sizes that go by no common measure, messages that take any time, clocks that are read in
/// steps, err by some part of what passes, and begin anywhere in 64 bits.
fn fine(base: Configuration, random: &mut Random) -> Configuration {
    let unit = 10_i64.pow(random.between(3, 8) as u32) * random.between(1, 9);
    let mut span = |least: i64, most: i64| Span::from_nanos(random.between(least * unit, most * unit));
    let round_trip = span(1, 20);
    let lease = round_trip + span(1, 60);
    let (stagger, retrieve) = (span(0, 10), span(0, 30));
    let lead = lease + round_trip + stagger + retrieve + span(0, 100);
    let interval = lead + lease.times(2) + round_trip + span(1, 1_000);
    let settings = Settings {
        interval,
        lead,
        lease,
        round_trip,
        retrieve,
        stagger,
        early_limit: span(0, 5),
        sample_window: span(0, 5),
    };
    let limits = Limits {
        max_interval: interval + span(0, 500),
        max_lead: lead + span(0, 100),
        max_hold: span(1, 3_000),
    };
    let part = |random: &mut Random| Rate::from_ppb(random.of(&[0, 50_000, 250_000, 10_000_000]));
    let (rate, server_rate) = (part(random), part(random));
    Configuration {
        settings,
        limits,
        rate,
        server_rate,
        jump: unit * random.between(1, 50),
        fine: Some(Fine {
            unit,
            step: random.of(&[1, 1_000, unit / 10, unit]),
            server_begin: random.of(&[0, 1_763_800_000_000_000_000, -(1 << 62), 1 << 62])
                + random.between(0, 1 << 60),
            local_begin: random.of(&[0, 1 << 40, 1 << 62]),
        }),
        kinds: base.kinds.and(RATES),
        ..base
    }
}
