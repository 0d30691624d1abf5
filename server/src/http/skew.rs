//! When agents went over to each generation.

use super::failure::Failure;
use super::text::instant;
use super::{Caller, query};
use crate::access::Role;
use crate::shared::Shared;
use crate::store::{Past, Store};
use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// Activations in a list, unless asked otherwise, and at most.
const LIST: usize = 20;
const LIST_MAX: usize = 10_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SkewQuery {
    limit: Option<usize>,
}

/// `GET …/skew?limit=`: what agents told of the newest activations, those of which reports still come
/// among them; the newest first.
pub(super) async fn skew(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    uri: Uri,
) -> Result<Json<Value>, Failure> {
    let farm = caller.farm(&shared, Role::Viewer)?;
    let limit = query::<SkewQuery>(&uri)?.limit.unwrap_or(LIST).clamp(1, LIST_MAX);
    let now = shared.time.reading().time;
    let name = farm.name.clone();
    let mut all = shared.reader.run(move |store| store.remembered(&name, limit)).await??;
    for open in farm.skew.passed(now).iter().map(|summary| summary.past()) {
        let of = |past: &Past| (past.epoch, past.timeline);
        match all.iter_mut().find(|past| of(past) == of(&open)) {
            Some(past) if past.switched > open.switched => {}
            Some(past) => *past = open,
            None => all.push(open),
        }
    }
    all.sort_by_key(|past| std::cmp::Reverse((past.activation, past.epoch)));
    all.truncate(limit);
    let activations: Vec<_> = all.iter().filter_map(activation_json).collect();
    Ok(Json(json!({ "now": instant(now), "activations": activations })))
}

/// The object as it was kept, with T.
fn activation_json(past: &Past) -> Option<Value> {
    let mut told: Value = serde_json::from_str(&past.body).ok()?;
    told.as_object_mut()?.insert("activation".into(), instant(past.activation));
    Some(told)
}
