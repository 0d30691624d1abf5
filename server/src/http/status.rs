//! What people look at before and after a switch: what the next generation would change, which
//! generations can be read, and what differs between two.

use super::failure::Failure;
use super::guards::reasons_json;
use super::text::{digest, instant, maybe_instant, put_bytes};
use super::{Caller, query};
use crate::access::Role;
use crate::shared::Shared;
use crate::store::{Change, Gatekeeping, SqliteStore, Store, StoreError};
use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use downbeat_core::operator::earliest_live;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Changes in a list, unless asked otherwise, and at most.
const LIST: usize = 100;
const LIST_MAX: usize = 100_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PendingQuery {
    limit: Option<usize>,
}

/// `GET …/pending?limit=`: what is in production and not staged yet, as it would be staged next.
pub(super) async fn pending(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    uri: Uri,
) -> Result<Json<Value>, Failure> {
    let farm = caller.farm(&shared, Role::Viewer)?.name.clone();
    let limit = limit_of(query::<PendingQuery>(&uri)?.limit);
    let now = shared.time.reading().time;
    let look = move |store: &mut SqliteStore| {
        let (epoch, live, as_of) = store.read(&farm, |table, facts| {
            let live = earliest_live(table, facts, now);
            // A held farm is asked about the first instant that it may go on to.
            (table.epoch() + 1, live, live.unwrap_or_else(|| table.next_bound(now)))
        })?;
        let broken = store.broken(&farm)?;
        Ok::<_, StoreError>((epoch, live, store.pending(&farm, as_of, limit + 1)?, broken))
    };
    let (epoch, live, changes, broken) = shared.reader.run(look).await??;
    let mut body = changes_json(changes, limit);
    body.insert("epoch".into(), epoch.into());
    body.insert("earliest_live".into(), maybe_instant(live));
    body.insert("broken".into(), reasons_json(&broken));
    Ok(Json(body.into()))
}

/// `GET …/generations`: those that can be read, ascending.
pub(super) async fn generations(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
) -> Result<Json<Value>, Failure> {
    let farm = caller.farm(&shared, Role::Viewer)?.name.clone();
    let kept = shared.reader.run(move |store| store.generations(&farm)).await??;
    let generations: Vec<_> = kept
        .iter()
        .map(|kept| {
            json!({
                "epoch": kept.generation.epoch,
                "digest": digest(kept.generation.digest),
                "activation": instant(kept.activation),
                "as_of": instant(kept.as_of),
                "records": kept.records,
                "changes": kept.changes,
            })
        })
        .collect();
    Ok(Json(json!({ "generations": generations })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DiffQuery {
    from: u64,
    to: u64,
    limit: Option<usize>,
}

/// `GET …/diff?from=&to=&limit=`: what differs between two generations, and in how many records.
pub(super) async fn diff(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    uri: Uri,
) -> Result<Json<Value>, Failure> {
    let farm = caller.farm(&shared, Role::Viewer)?.name.clone();
    let asked: DiffQuery = query(&uri)?;
    let limit = limit_of(asked.limit);
    let look = move |store: &mut SqliteStore| {
        let counts = store.count_differences(&farm, asked.from, asked.to)?;
        Ok::<_, StoreError>((counts, store.diff(&farm, asked.from, asked.to, limit + 1)?))
    };
    let (counts, changes) = shared.reader.run(look).await??;
    let mut body = changes_json(changes, limit);
    body.insert("added".into(), counts.added.into());
    body.insert("changed".into(), counts.changed.into());
    body.insert("removed".into(), counts.removed.into());
    body.insert("from".into(), asked.from.into());
    body.insert("to".into(), asked.to.into());
    Ok(Json(body.into()))
}

fn limit_of(asked: Option<usize>) -> usize {
    asked.unwrap_or(LIST).clamp(1, LIST_MAX)
}

/// Changes, of which one more than `limit` was asked for.
fn changes_json(mut changes: Vec<Change>, limit: usize) -> Map<String, Value> {
    let more = changes.len() > limit;
    changes.truncate(limit);
    let list: Vec<_> = changes.iter().map(change_json).collect();
    let mut body = Map::new();
    body.insert("changes".into(), Value::from(list));
    body.insert("more".into(), more.into());
    body
}

pub(crate) fn change_json(change: &Change) -> Value {
    let mut object = Map::new();
    object.insert("dataset".into(), change.dataset.as_str().into());
    put_bytes(&mut object, "key", &change.key);
    for (name, value) in [("before", &change.before), ("after", &change.after)] {
        match value {
            Some(bytes) => put_bytes(&mut object, name, bytes),
            None => {
                object.insert(name.into(), Value::Null);
            }
        }
    }
    object.into()
}
