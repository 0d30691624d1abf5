//! What operators do to a farm besides its content: settings, hold and unhold. Core decides; here is
//! only how it is asked and told.

use super::failure::Failure;
use super::text::{instant, maybe_instant, parse_span, span};
use super::{Caller, instant as instants, json as json_body};
use crate::access::Role;
use crate::farm::Farm;
use crate::shared::Shared;
use crate::store::{Step, Store};
use crate::told::operated;
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use downbeat_core::guard::Guards;
use downbeat_core::operator::{self, HoldError};
use downbeat_core::server::Effect;
use downbeat_core::settings::{Limits, Settings, SettingsError};
use downbeat_core::table::SyncTable;
use downbeat_core::time::{ServerTime, Span};
use downbeat_trace::Change;
use serde_json::{Map, Value, json};
use std::sync::Arc;

pub(super) fn settings_json(settings: &Settings) -> Value {
    json!({
        "interval": span(settings.interval),
        "lead": span(settings.lead),
        "lease": span(settings.lease),
        "round_trip": span(settings.round_trip),
        "retrieve": span(settings.retrieve),
        "stagger": span(settings.stagger),
        "early_limit": span(settings.early_limit),
        "sample_window": span(settings.sample_window),
    })
}

pub(super) fn limits_json(limits: &Limits) -> Value {
    json!({
        "max_interval": span(limits.max_interval),
        "max_lead": span(limits.max_lead),
        "max_hold": span(limits.max_hold),
    })
}

/// Settings from those that are given, and `base` for the others.
pub(super) fn parse_settings(given: &Map<String, Value>, base: Settings) -> Result<Settings, Failure> {
    let mut settings = base;
    for (name, value) in given {
        let setting = match name.as_str() {
            "interval" => &mut settings.interval,
            "lead" => &mut settings.lead,
            "lease" => &mut settings.lease,
            "round_trip" => &mut settings.round_trip,
            "retrieve" => &mut settings.retrieve,
            "stagger" => &mut settings.stagger,
            "early_limit" => &mut settings.early_limit,
            "sample_window" => &mut settings.sample_window,
            _ => {
                return Err(Failure::bad(
                    format!("there is no setting {name:?}"),
                    "the settings are interval, lead, lease, round_trip, retrieve, stagger, early_limit and \
                     sample_window",
                ));
            }
        };
        *setting = parse_one(name, value)?;
    }
    Ok(settings)
}

/// Limits from those that are given, and `base` for the others.
pub(super) fn parse_limits(given: &Map<String, Value>, base: Limits) -> Result<Limits, Failure> {
    let mut limits = base;
    for (name, value) in given {
        let limit = match name.as_str() {
            "max_interval" => &mut limits.max_interval,
            "max_lead" => &mut limits.max_lead,
            "max_hold" => &mut limits.max_hold,
            _ => {
                return Err(Failure::bad(
                    format!("there is no limit {name:?}"),
                    "the limits are max_interval, max_lead and max_hold",
                ));
            }
        };
        *limit = parse_one(name, value)?;
    }
    Ok(limits)
}

fn parse_one(name: &str, value: &Value) -> Result<Span, Failure> {
    value.as_str().and_then(parse_span).ok_or_else(|| {
        Failure::bad(
            format!("{name} is no span of time: {value}"),
            "write a whole number and its unit as text, as in \"90s\" (ns, us, ms, s, m, h, d)",
        )
    })
}

/// `GET …/settings`.
pub(super) async fn settings(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
) -> Result<Json<Value>, Failure> {
    let farm = caller.farm(&shared, Role::Viewer)?;
    Ok(Json(told(&farm.table())))
}

fn told(table: &SyncTable) -> Value {
    json!({
        "settings": settings_json(&table.settings),
        "pending": table.pending.as_ref().map(settings_json),
        "limits": limits_json(&table.limits),
        // T_{k+1} is still by the old ones.
        "in_force_from_epoch": table.epoch() + 1,
    })
}

/// `PUT …/settings`: those that are given change, at the next advance.
pub(super) async fn change_settings(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Failure> {
    let farm = caller.farm(&shared, Role::Operator)?;
    let given: Map<String, Value> = json_body(body)?;
    // What is not given stays as it was going to be.
    parse_settings(&given, Settings::default())?;
    let changed = operate(&shared, &farm, move |table, _| {
        let base = table.pending.unwrap_or(table.settings);
        parse_settings(&given, base).map(Change::Settings)
    });
    Ok(Json(told(&changed.await?)))
}

/// `PUT …/hold`, with `{"until": instant}` or an empty body.
pub(super) async fn hold(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Failure> {
    let farm = caller.farm(&shared, Role::Operator)?;
    let body = super::whole(body)?;
    let given: Map<String, Value> = if body.is_empty() { Map::new() } else { json_body(Ok(body))? };
    if let Some(name) = given.keys().find(|name| *name != "until") {
        return Err(Failure::bad(format!("a hold has no {name:?}"), "it has \"until\", or nothing"));
    }
    let until = given.get("until").filter(|until| !until.is_null()).cloned();
    let changed = operate(&shared, &farm, move |_, now| {
        let until = until.map(|until| instants::parse("until", &until, now)).transpose()?;
        Ok(Change::Hold { until })
    });
    Ok(Json(hold_json(&changed.await?)))
}

/// `DELETE …/hold`.
pub(super) async fn unhold(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
) -> Result<Json<Value>, Failure> {
    let farm = caller.farm(&shared, Role::Operator)?;
    let changed = operate(&shared, &farm, |_, _| Ok(Change::Unhold));
    Ok(Json(hold_json(&changed.await?)))
}

/// `POST …/compare`: the next promotion compares all of production with what is staged.
pub(super) async fn compare(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
) -> Result<Json<Value>, Failure> {
    let farm = caller.farm(&shared, Role::Operator)?.name.clone();
    let keys = shared.writer.run(move |store| store.mark_all_changed(&farm)).await??;
    Ok(Json(json!({ "keys": keys })))
}

fn hold_json(table: &SyncTable) -> Value {
    json!({
        "held": table.held.map(|hold| json!({ "until": maybe_instant(hold.until) })),
        "epoch": table.epoch(),
        "activation": instant(table.activation),
        "safe_until": instant(operator::safe_until(table)),
    })
}

/// One change of an operator, in a transaction.
async fn operate(
    shared: &Shared,
    farm: &Arc<Farm>,
    change: impl FnOnce(&SyncTable, ServerTime) -> Result<Change, Failure> + Send + 'static,
) -> Result<SyncTable, Failure> {
    let (guards, time) = (shared.guards, shared.time.clone());
    shared
        .change(farm, move |table, reading, _| {
            let changed = change(table, reading.time).and_then(|change| {
                let after = make(table, change, reading.time, guards)?;
                operated(&time, reading, change, &after);
                Ok(after)
            });
            let after = changed.as_ref().unwrap_or(table).clone();
            Step { table: after, effect: Effect::None, reply: changed }
        })
        .await?
}

/// What core makes of the table.
fn make(table: &SyncTable, change: Change, now: ServerTime, guards: Guards) -> Result<SyncTable, Failure> {
    Ok(match change {
        Change::Hold { until } => operator::hold(table, until, now, guards)?,
        Change::Unhold => operator::unhold(table),
        Change::Settings(settings) => operator::change_settings(table, settings)?,
    })
}

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Failure {
        let would_do = match error {
            SettingsError::NotPositive { .. } => None,
            SettingsError::LeaseTooShort { least } => Some(("lease", least)),
            SettingsError::LeadTooShort { least } => Some(("lead", least)),
            SettingsError::IntervalTooShort { least } => Some(("interval", least)),
            SettingsError::IntervalTooLong { most } => Some(("interval", most)),
            SettingsError::LeadTooLong { most } => Some(("lead", most)),
        };
        let failure = Failure::of(StatusCode::UNPROCESSABLE_ENTITY, &error.to_string());
        match would_do {
            Some((setting, value)) => failure.with("would_do", json!({ setting: span(value) })),
            None => failure,
        }
    }
}

impl From<HoldError> for Failure {
    fn from(error: HoldError) -> Failure {
        let HoldError::TooLong { most } = error;
        Failure::of(StatusCode::UNPROCESSABLE_ENTITY, &error.to_string())
            .with("would_do", json!({ "until": instant(most) }))
    }
}
