//! What operators do: edits, holds, schedules, settings, backups.

use crate::configuration::{Configuration, Kind, UNLIMITED};
use crate::record::Happened;
use crate::world::{Scheduled, World};
use downbeat_core::operator;
use downbeat_core::settings::Settings;
use downbeat_core::time::Span;

/// All operations, in the order in which they are offered.
pub(super) const OPERATIONS: [Kind; 12] = [
    Kind::Edit,
    Kind::Hold,
    Kind::HoldUntil,
    Kind::Unhold,
    Kind::Settings,
    Kind::Schedule,
    Kind::ScheduleWithEnd,
    Kind::Backup,
    Kind::SettingsShorter,
    Kind::SettingsLead,
    Kind::SettingsLease,
    Kind::SettingsEarly,
];

impl World {
    /// Whether an operation makes sense here.
    pub(super) fn may_operate(&self, config: &Configuration, kind: Kind) -> bool {
        let table = &self.server.store.table;
        match kind {
            Kind::Hold | Kind::HoldUntil => table.held.is_none(),
            Kind::Unhold => table.held.is_some(),
            Kind::Schedule | Kind::ScheduleWithEnd => self.server.store.scheduled.is_none(),
            Kind::Backup => self.server.backups.len() < config.backups as usize,
            Kind::Settings
            | Kind::SettingsShorter
            | Kind::SettingsLead
            | Kind::SettingsLease
            | Kind::SettingsEarly => self.changed_settings(config, kind).check(&table.limits).is_ok(),
            _ => true,
        }
    }

    pub(super) fn operate(&mut self, config: &Configuration, kind: Kind) {
        if self.operations != UNLIMITED {
            self.operations -= 1;
        }
        let now = self.server_now();
        let changed = self.changed_settings(config, kind);
        let store = &mut self.server.store;
        let in_ticks = |ticks: i64| now + Span::from_nanos(ticks * config.unit());
        match kind {
            Kind::Edit => store.production += 1,
            Kind::Hold => {
                store.table = operator::hold(&store.table, None, now, config.guards).expect("no end")
            }
            Kind::HoldUntil => {
                let until = Some(now + store.table.limits.max_hold);
                store.table =
                    operator::hold(&store.table, until, now, config.guards).expect("within the limit");
            }
            Kind::Unhold => store.table = operator::unhold(&store.table),
            Kind::Schedule => {
                store.scheduled = Some(Scheduled { effective: in_ticks(4), expires: None });
            }
            Kind::ScheduleWithEnd => {
                store.scheduled = Some(Scheduled { effective: in_ticks(1), expires: Some(in_ticks(6)) });
            }
            Kind::Backup => self.server.backups.push(store.clone()),
            _ => {
                if store.table.pending.is_some() {
                    self.record.note(Happened::PendingReplaced);
                }
                store.table = operator::change_settings(&store.table, changed).expect("good settings");
            }
        }
        self.record_operation();
    }

    /// Settings after a change: what is pending is changed further, lead, lease and early limit go to
    /// and fro between two values.
    fn changed_settings(&self, config: &Configuration, kind: Kind) -> Settings {
        let tick = Span::from_nanos(config.unit());
        let table = &self.server.store.table;
        let first = &config.settings;
        let changed = table.pending.unwrap_or(table.settings);
        let other = |span: Span, first: Span, second: Span| if span == first { second } else { first };
        match kind {
            Kind::Settings => Settings { interval: table.settings.interval + tick, ..table.settings },
            Kind::SettingsShorter => Settings { interval: changed.interval - tick, ..changed },
            Kind::SettingsLead => {
                Settings { lead: other(changed.lead, first.lead, first.lead + tick), ..changed }
            }
            Kind::SettingsLease => {
                Settings { lease: other(changed.lease, first.lease, first.lease - tick), ..changed }
            }
            Kind::SettingsEarly => {
                let limit = other(changed.early_limit, first.early_limit, Span::ZERO);
                Settings { early_limit: limit, ..changed }
            }
            _ => changed,
        }
    }
}
