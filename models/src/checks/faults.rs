//! Configurations for kinds of faults that need a farm of their own: clocks that err or break their
//! bounds, long outages, lost marks, changed settings, timers and pinned reads.

use super::{AGENTS, Check, HOSTS, NETWORK, SETTINGS, faults, operated_by, pair};
use crate::configuration::{Configuration, Kind, Kinds, patient, settings, ticks};
use downbeat_core::serving::Mode::Strict;
use downbeat_core::settings::{Limits, Settings};
use downbeat_core::time::Rate;

/// A farm with the shortest spans, for what takes many cycles.
fn short(config: Configuration) -> Configuration {
    let settings = Settings { lead: ticks(1), lease: ticks(1), ..settings(4) };
    let limits = Limits { max_interval: ticks(4), max_lead: ticks(1), max_hold: ticks(2) };
    Configuration { settings, limits, ..config }
}

/// What can go wrong with several servers over one table, and with the database's clock.
const SERVERS: Kinds = Kinds::of(&[
    Kind::SlowCommit,
    Kind::ProcessEnds,
    Kind::ProcessClock,
    Kind::DatabaseClock,
    Kind::GoesOver,
]);

/// A strict and a prompt agent, each first with a server of its own, over one table.
fn servers(name: &'static str, most: u8, kinds: Kinds) -> Configuration {
    Configuration { servers: 2, server_epsilon: 1, ..faults(name, most, kinds) }
}

const STEPS: Kinds = Kinds::of(&[Kind::ClockAhead, Kind::ClockBack, Kind::LineAhead, Kind::LineBack]);

pub(super) fn checks() -> Vec<Check> {
    let check = |config, states| Check { config, states };
    vec![
        // The server's line gains or misses up to one tick in eight, and can be left for a new one. Limits that
        // allow for promises that are stretched so.
        check(
            Configuration {
                server_rate: Rate::from_ppb(125_000_000),
                server_epsilon: 1,
                settings: settings(12),
                limits: Limits { max_interval: ticks(13), max_lead: ticks(2), max_hold: ticks(60) },
                run_up: Some(8),
                horizon: 22,
                modes: &[Strict],
                ..faults(
                    "server-drift-2",
                    2,
                    Kinds::of(&[Kind::ServerSlow, Kind::ServerFast, Kind::NewLineBehind]),
                )
            },
            56487,
        ),
        // Clocks that stand for a tick and catch up in the next.
        check(
            Configuration {
                rate: Rate::from_ppb(125_000_000),
                settings: settings(12),
                limits: Limits { max_interval: ticks(13), max_lead: ticks(2), max_hold: ticks(3) },
                run_up: None,
                horizon: 26,
                ..faults("stutter-2", 2, Kinds::of(&[Kind::Stutter]))
            },
            417223,
        ),
        // Two servers over one table, each with a clock of its own: any fault of network, agents, hosts or of
        // one of the servers; and any two of the servers and their database.
        check(servers("servers-any-1", 1, NETWORK.and(AGENTS).and(HOSTS).and(SERVERS)), 14266),
        check(servers("servers-2", 2, SERVERS), 1177311),
        // Clocks that jump beyond their bounds, and one other fault.
        check(
            faults(
                "clock-steps-1",
                1,
                STEPS.and(Kinds::of(&[Kind::CutOff, Kind::Suspend, Kind::CrashTakesOver, Kind::Reboot])),
            ),
            31915,
        ),
        // The same where a clock may jump while a message is on its way.
        check(
            Configuration {
                slow_network: true,
                settings: patient(),
                limits: Limits { max_interval: ticks(14), max_lead: ticks(5), max_hold: ticks(3) },
                run_up: Some(10),
                horizon: 15,
                samples: 1,
                jump: 2,
                modes: &[Strict],
                ..faults("clock-steps-slow-1", 1, STEPS)
            },
            9714,
        ),
        // A server that is down, or an agent that is cut off, for many intervals.
        check(
            short(Configuration {
                run_up: Some(3),
                horizon: 22,
                ..faults("outage-1", 1, Kinds::of(&[Kind::ServerCrash, Kind::CutOff]))
            }),
            44256,
        ),
        check(faults("timers-2", 2, Kinds::of(&[Kind::LateTimer, Kind::SpuriousWake])), 918),
        // A server that comes back without its mark, or with one from before.
        check(
            short(Configuration {
                run_up: Some(3),
                horizon: 22,
                ..faults("mark-lost-1", 1, Kinds::of(&[Kind::MarkLost, Kind::MarkOld]))
            }),
            265874,
        ),
        // Any two changes of settings, also in a row.
        check(
            Configuration {
                settings: settings(9),
                limits: Limits { max_interval: ticks(10), max_lead: ticks(3), max_hold: ticks(3) },
                run_up: Some(6),
                horizon: 26,
                ..operated_by(pair("settings-2"), 2, SETTINGS)
            },
            16266,
        ),
        // A host that keeps the last two generations, a reader that pins one, and one that is suspended.
        check(
            short(Configuration {
                kept: 2,
                run_up: Some(3),
                horizon: 17,
                modes: &[Strict],
                ..operated_by(
                    faults("pins-2", 2, Kinds::of(&[Kind::Pin, Kind::Suspend])),
                    1,
                    Kinds::of(&[Kind::Edit]),
                )
            }),
            18805,
        ),
    ]
}
