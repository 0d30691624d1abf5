//! What a key was in the generations that are kept, production made equal to one of them, the files of
//! what that undid, and how many generations are kept.

use super::failure::Failure;
use super::text::{maybe_instant, parse_span, put_bytes, span};
use super::undo::{self, Writing};
use super::{Caller, json as json_body, query, records};
use crate::access::Role;
use crate::farm::Farm;
use crate::shared::{Prospect, Refused, Shared};
use crate::store::{Retention, RolledBack, SqliteStore, Store, Version};
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use downbeat_core::ids::Epoch;
use downbeat_core::operator::earliest_live;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Versions in a history, unless asked otherwise, and at most.
const VERSIONS: usize = 100;
const VERSIONS_MAX: usize = 10_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HistoryQuery {
    limit: Option<usize>,
}

/// `GET …/history/{dataset}/{key}?limit=`: the values that a key had, the newest first, and the one that
/// it has in production.
pub(super) async fn history(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    uri: Uri,
) -> Result<Json<Value>, Failure> {
    let farm = caller.farm(&shared, Role::Viewer)?.name.clone();
    let (dataset, key) = (caller.dataset()?, caller.part(6)?);
    let limit = query::<HistoryQuery>(&uri)?.limit.unwrap_or(VERSIONS).clamp(1, VERSIONS_MAX);
    let look = move |store: &mut SqliteStore| {
        let versions = store.history(&farm, &dataset, &key, limit + 1)?;
        let production = store.get(&farm, &dataset, &key)?;
        let oldest = store.generations(&farm)?.first().map_or(0, |kept| kept.generation.epoch);
        Ok::<_, crate::store::StoreError>((dataset, key, versions, production, oldest))
    };
    let (dataset, key, mut versions, production, oldest) = shared.reader.run(look).await??;
    let more = versions.len() > limit;
    versions.truncate(limit);
    let mut body = Map::new();
    body.insert("dataset".into(), dataset.as_str().into());
    put_bytes(&mut body, "key", &key);
    body.insert("versions".into(), versions.iter().map(version_json).collect::<Vec<_>>().into());
    body.insert("more".into(), more.into());
    body.insert("oldest_kept".into(), oldest.into());
    put_maybe(&mut body, "production", production.as_deref());
    Ok(Json(body.into()))
}

fn version_json(version: &Version) -> Value {
    let mut object = Map::new();
    object.insert("epoch".into(), version.epoch.into());
    object.insert("activation".into(), maybe_instant(version.activation));
    put_maybe(&mut object, "value", version.value.as_deref());
    object.into()
}

fn put_maybe(object: &mut Map<String, Value>, name: &str, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => put_bytes(object, name, bytes),
        None => {
            object.insert(name.to_owned(), Value::Null);
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct To {
    epoch: Epoch,
}

/// `POST …/rollback`, `{"epoch"}`: production shows that generation again, from the next one on.
pub(super) async fn rollback(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Failure> {
    let farm = caller.farm(&shared, Role::Operator)?;
    let epoch = json_body::<To>(body)?.epoch;
    let (task, time) = (farm.clone(), shared.time.clone());
    let folder = undo::folder(&shared.undo, &farm.name);
    type Done = (RolledBack, Option<(String, u64)>, Option<Prospect>);
    let done = shared.writer.run(move |store| -> Result<Done, Refused> {
        let now = time.reading().time;
        let (staged, activation) = store.read(&task.name, |table, facts| {
            let live = earliest_live(table, facts, now);
            // A held farm is asked about the first instant that it may go on to.
            (table.epoch(), live.unwrap_or_else(|| table.next_bound(now)))
        })?;
        let mut writing = Writing::new(folder, (staged, epoch), now);
        match store.rollback(&task.name, epoch, activation, &mut |edit| writing.take(edit)) {
            Ok(done) => {
                let kept = writing.kept().map(|(name, edits)| (name.to_owned(), edits));
                Ok((done, kept, Shared::prospect(store, &time, &task.name).ok()))
            }
            Err(error) => {
                writing.discard();
                Err(error.into())
            }
        }
    });
    let (done, kept, prospect) = done.await??;
    Ok(Json(rolled_back(&farm, epoch, done, kept, prospect)))
}

fn rolled_back(
    farm: &Farm,
    to: Epoch,
    done: RolledBack,
    kept: Option<(String, u64)>,
    prospect: Option<Prospect>,
) -> Value {
    let mut body = records::told(farm, done.applied, prospect);
    body.remove("unchanged");
    body.insert("to".into(), to.into());
    body.insert("unscheduled".into(), done.unscheduled.into());
    body.insert("scheduled_to_come".into(), done.to_come.into());
    body.insert("undo".into(), kept.map(|(name, edits)| json!({ "name": name, "edits": edits })).into());
    body.into()
}

/// `GET …/undo`: the files of what rollbacks undid, the newest last.
pub(super) async fn undo_files(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
) -> Result<Json<Value>, Failure> {
    let farm = caller.farm(&shared, Role::Viewer)?;
    let folder = undo::folder(&shared.undo, &farm.name);
    let listed = tokio::task::spawn_blocking(move || undo::list(&folder)).await;
    let files = listed.map_err(std::io::Error::other).flatten().map_err(|error| {
        Failure::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("the folder of what was undone can't be read ({error})"),
            "give the server the right to read the folder 'undo' beside its database",
        )
    })?;
    let files: Vec<_> = files.iter().map(|(name, len)| json!({ "name": name, "bytes": len })).collect();
    Ok(Json(json!({ "undo": files })))
}

/// `GET …/undo/{name}`: such a file, for `apply` to take.
pub(super) async fn undo_file(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
) -> Result<Response, Failure> {
    let farm = caller.farm(&shared, Role::Viewer)?;
    let name = String::from_utf8_lossy(&caller.part(5)?).into_owned();
    let absent = || {
        let error = format!("there is no file {name:?} of what was undone");
        Failure::new(StatusCode::NOT_FOUND, error, "list them (GET …/undo), and name one of those")
    };
    if !undo::is_name(&name) {
        return Err(absent());
    }
    let path = undo::folder(&shared.undo, &farm.name).join(&name);
    let file = tokio::fs::File::open(path).await.map_err(|_| absent())?;
    let body = super::spool::body_of(file);
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

/// `GET …/retention`.
pub(super) async fn retention(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
) -> Result<Json<Value>, Failure> {
    let farm = caller.farm(&shared, Role::Viewer)?.name.clone();
    let retention = shared.reader.run(move |store| store.retention(&farm)).await??;
    Ok(Json(retention_json(retention)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GivenRetention {
    generations: Option<u64>,
    /// A span; null for none.
    age: Option<Value>,
}

/// `PUT …/retention`, `{"generations"?, "age"?}`: those that are given change, at the next upkeep. A
/// span of zero means that age doesn't count.
pub(super) async fn set_retention(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Failure> {
    let farm = caller.farm(&shared, Role::Operator)?.name.clone();
    let given: GivenRetention = json_body(body)?;
    let age = given.age.map(|age| {
        age.as_str().and_then(parse_span).filter(|age| age.as_nanos() >= 0).ok_or_else(|| {
            Failure::bad(
                format!("{age} is no age of generations"),
                "write a whole number and its unit as text, as in \"30d\"; \"0s\" if age is not to count",
            )
        })
    });
    let age = age.transpose()?;
    let set = move |store: &mut SqliteStore| {
        let mut retention = store.retention(&farm)?;
        retention.generations = given.generations.unwrap_or(retention.generations);
        if let Some(age) = age {
            retention.age = Some(age).filter(|age| age.as_nanos() > 0);
        }
        store.set_retention(&farm, retention)?;
        Ok::<_, crate::store::StoreError>(retention)
    };
    Ok(Json(retention_json(shared.writer.run(set).await??)))
}

fn retention_json(retention: Retention) -> Value {
    json!({ "generations": retention.generations, "age": retention.age.map(span) })
}
