//! When agents went over to each generation, and whether they have long enough for it.

use super::failure::Failure;
use super::text::instant;
use super::{Caller, query};
use crate::access::Role;
use crate::shared::Shared;
use crate::store::{Past, Store};
use crate::tuning::of_table;
use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use downbeat_core::time::Span;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// Activations in a list, unless asked otherwise, and at most.
const LIST: usize = 20;
const LIST_MAX: usize = 10_000;
/// The newest activations, whose slowest agents say how long the lead should be.
const ADVISED_BY: usize = 8;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SkewQuery {
    limit: Option<usize>,
}

/// `GET …/skew?limit=`: what agents told of the newest activations, those of which reports still come
/// among them; the newest first. With the settings that would do, where the lead doesn't.
pub(super) async fn skew(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    uri: Uri,
) -> Result<Json<Value>, Failure> {
    let farm = caller.farm(&shared, Role::Viewer)?;
    let limit = query::<SkewQuery>(&uri)?.limit.unwrap_or(LIST).clamp(1, LIST_MAX);
    let now = shared.time.reading().time;
    let name = farm.name.clone();
    let listed = limit.max(ADVISED_BY);
    let mut all = shared.reader.run(move |store| store.remembered(&name, listed)).await??;
    for open in farm.skew.passed(now).iter().map(|summary| summary.past()) {
        let of = |past: &Past| (past.epoch, past.timeline);
        match all.iter_mut().find(|past| of(past) == of(&open)) {
            Some(past) if past.switched > open.switched => {}
            Some(past) => *past = open,
            None => all.push(open),
        }
    }
    all.sort_by_key(|past| std::cmp::Reverse((past.activation, past.epoch)));
    let mut activations: Vec<_> = all.iter().filter_map(activation_json).collect();
    let slowest = activations.iter().take(ADVISED_BY).filter_map(|told| told["armed_p99_ns"].as_i64()).max();
    let advice = slowest.and_then(|slowest| of_table(&farm.table(), Span::from_nanos(slowest)));
    activations.truncate(limit);
    Ok(Json(json!({ "now": instant(now), "activations": activations, "advice": advice })))
}

/// The object as it was kept, with T.
fn activation_json(past: &Past) -> Option<Value> {
    let mut told: Value = serde_json::from_str(&past.body).ok()?;
    told.as_object_mut()?.insert("activation".into(), instant(past.activation));
    Some(told)
}
