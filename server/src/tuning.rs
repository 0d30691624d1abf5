//! Looks after a farm's lead: warns where it is too short for what agents were seen to take, and raises it
//! where the server was started to do so. What would do is decided in `lead`.

use crate::farm::Farm;
use crate::lead::{Advice, advice};
use crate::shared::{Refused, Shared};
use crate::store::Step;
use crate::told::operated;
use downbeat_core::operator::change_settings;
use downbeat_core::server::Effect;
use downbeat_core::settings::Settings;
use downbeat_core::table::SyncTable;
use downbeat_core::time::Span;
use downbeat_trace::Change;
use std::sync::Arc;

/// Looks at what agents took for each generation, once the next one is staged: then their reports are in.
pub(crate) async fn keep_lead(shared: Arc<Shared>, farm: Arc<Farm>) {
    let (mut stop, mut tables) = (shared.stop.clone(), farm.follow());
    let mut looked_at = None;
    loop {
        let table = tables.borrow_and_update().clone();
        let passed = farm.skew.passed(shared.time.reading().time);
        let newest = passed.iter().rev().find(|summary| summary.epoch < table.epoch());
        let of = newest.map(|summary| (summary.timeline, summary.epoch));
        if looked_at != of {
            looked_at = of;
            let slowest = newest.and_then(|summary| summary.armed_p99_ns).map(Span::from_nanos);
            if let Some(advice) = slowest.and_then(|slowest| of_table(&table, slowest)) {
                tell(&shared, &farm, &advice).await;
            }
        }
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            changed = tables.changed() => if changed.is_err() { return },
        }
    }
}

/// What would do instead of the settings that a farm has, or will have with the next cycle.
pub(crate) fn of_table(table: &SyncTable, slowest: Span) -> Option<Advice> {
    advice(table.pending.as_ref().unwrap_or(&table.settings), &table.limits, slowest)
}

async fn tell(shared: &Shared, farm: &Arc<Farm>, advice: &Advice) {
    let (slowest_ns, would_do_ns) = (advice.slowest_ns, advice.lead_ns);
    let alone_does = advice.interval_ns.is_none() && advice.beyond_ns.is_none();
    if shared.raise_lead && alone_does {
        match raise(shared, farm, Span::from_nanos(would_do_ns)).await {
            Ok(()) => {
                tracing::info!(farm = %farm.name, slowest_ns, lead_ns = would_do_ns, "the lead is raised from the next cycle on");
            }
            Err(error) => {
                tracing::warn!(farm = %farm.name, ?error, "the lead could not be raised; it is tried again after the next cycle");
            }
        }
        return;
    }
    tracing::warn!(
        farm = %farm.name, slowest_ns, would_do_ns,
        "the lead is too short for the slowest agents: after an outage they aren't armed in time; 'downbeat skew' \
         says what would do"
    );
}

/// Changes the lead at the next advance, as an operator would. Never to a shorter one.
async fn raise(shared: &Shared, farm: &Arc<Farm>, lead: Span) -> Result<(), Refused> {
    let time = shared.time.clone();
    shared
        .change(farm, move |table, reading, _| {
            let base = table.pending.unwrap_or(table.settings);
            let settings = Settings { lead: base.lead.max(lead), ..base };
            let changed = change_settings(table, settings).ok();
            if let Some(after) = &changed {
                operated(&time, reading, Change::Settings(settings), after);
            }
            Step { table: changed.unwrap_or_else(|| table.clone()), effect: Effect::None, reply: () }
        })
        .await
}
