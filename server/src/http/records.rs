//! Records of production: one at a time, and lists of them.

use super::failure::Failure;
use super::guards::blocked_json;
use super::text::{maybe_instant, put_bytes};
use super::{Caller, query};
use crate::access::Role;
use crate::events::Event;
use crate::farm::Farm;
use crate::shared::{Prospect, Refused, Shared};
use crate::store::{Applied, Edit, SqliteStore, Store, StoreError};
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use downbeat_core::ids::Name;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Records in a list, unless asked otherwise, and at most.
const LIST: usize = 1_000;
const LIST_MAX: usize = 100_000;

/// Dataset and key that the address names. A key may be any bytes.
fn place(caller: &Caller) -> Result<(Name, Vec<u8>), Failure> {
    Ok((caller.dataset()?, caller.part(6)?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GetQuery {
    /// Of a generation that is kept, in place of production.
    epoch: Option<u64>,
}

/// `GET …/records/{dataset}/{key}?epoch=`: the value's bytes, as it stands in production or stood in a
/// generation.
pub(super) async fn get(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    uri: Uri,
) -> Result<Response, Failure> {
    let farm = caller.farm(&shared, Role::Viewer)?;
    let (dataset, key) = place(&caller)?;
    let farm = farm.name.clone();
    let value = match query::<GetQuery>(&uri)?.epoch {
        None => shared.reader.run(move |store| store.get(&farm, &dataset, &key)).await??,
        Some(epoch) => shared.reader.run(move |store| store.get_at(&farm, epoch, &dataset, &key)).await??,
    };
    let value = value.ok_or_else(|| {
        Failure::new(
            StatusCode::NOT_FOUND,
            "there is no such record",
            "list the dataset to see its keys; a slash in a key is written %2F",
        )
    })?;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], value).into_response())
}

/// `PUT …/records/{dataset}/{key}`: the body becomes the value.
pub(super) async fn put(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Failure> {
    let farm = caller.farm(&shared, Role::Operator)?;
    let (dataset, key) = place(&caller)?;
    let value = super::whole(body)?.to_vec();
    edit(&shared, &farm, vec![Edit::Put { dataset, key, value }]).await
}

/// `DELETE …/records/{dataset}/{key}`.
pub(super) async fn delete(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
) -> Result<Json<Value>, Failure> {
    let farm = caller.farm(&shared, Role::Operator)?;
    let (dataset, key) = place(&caller)?;
    edit(&shared, &farm, vec![Edit::Delete { dataset, key }]).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    #[serde(default)]
    prefix: String,
    after: Option<String>,
    after_hex: Option<String>,
    limit: Option<usize>,
}

/// `GET …/records/{dataset}?prefix=&after=&limit=`.
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    uri: Uri,
) -> Result<Json<Value>, Failure> {
    let farm = caller.farm(&shared, Role::Viewer)?;
    let dataset = caller.dataset()?;
    let query: ListQuery = query(&uri)?;
    let limit = query.limit.unwrap_or(LIST).clamp(1, LIST_MAX);
    let after = super::text::take_bytes(query.after, query.after_hex);
    let prefix = query.prefix.into_bytes();
    let farm = farm.name.clone();
    // One more than is shown says whether there are more.
    let look = move |store: &mut SqliteStore| {
        store.list(&farm, &dataset, &prefix, after.as_deref(), limit.saturating_add(1))
    };
    let mut pairs = shared.reader.run(look).await??;
    let more = pairs.len() > limit;
    pairs.truncate(limit);
    let records: Vec<_> = pairs
        .iter()
        .map(|(key, value)| {
            let mut record = Map::new();
            put_bytes(&mut record, "key", key);
            put_bytes(&mut record, "value", value);
            record
        })
        .collect();
    Ok(Json(json!({ "records": records, "more": more })))
}

/// `GET …/datasets`.
pub(super) async fn datasets(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
) -> Result<Json<Value>, Failure> {
    let farm = caller.farm(&shared, Role::Viewer)?.name.clone();
    let datasets = shared.reader.run(move |store| store.datasets(&farm)).await??;
    let names: Vec<_> = datasets.iter().map(Name::as_str).collect();
    Ok(Json(json!({ "datasets": names })))
}

/// Applies edits in one transaction, and says when they can be live.
pub(super) async fn edit(
    shared: &Shared,
    farm: &Arc<Farm>,
    edits: Vec<Edit>,
) -> Result<Json<Value>, Failure> {
    let name = farm.name.clone();
    write(shared, farm, move |store| store.apply(&name, &edits)).await.map(|body| Json(body.into()))
}

/// One writing call of the store, and what is told of it.
pub(super) async fn write(
    shared: &Shared,
    farm: &Arc<Farm>,
    call: impl FnOnce(&mut SqliteStore) -> Result<Applied, StoreError> + Send + 'static,
) -> Result<Map<String, Value>, Failure> {
    let (time, name) = (shared.time.clone(), farm.name.clone());
    let done = shared.writer.run(move |store| -> Result<(Applied, Option<Prospect>), Refused> {
        let applied = call(store)?;
        // What is written is acknowledged, whatever becomes of the question after it.
        Ok((applied, Shared::prospect(store, &time, &name).ok()))
    });
    let (applied, prospect) = done.await??;
    Ok(told(farm, applied, prospect))
}

/// What is told of edits: to watchers, and in the answer.
pub(super) fn told(farm: &Farm, applied: Applied, prospect: Option<Prospect>) -> Map<String, Value> {
    if applied.written + applied.deleted > 0 {
        farm.tell(Event::Edited(applied));
    }
    let mut body = Map::new();
    body.insert("written".into(), applied.written.into());
    body.insert("added".into(), applied.added.into());
    body.insert("deleted".into(), applied.deleted.into());
    body.insert("unchanged".into(), applied.unchanged.into());
    body.insert("epoch".into(), prospect.as_ref().map(|prospect| prospect.epoch).into());
    let prospect = prospect.as_ref();
    body.insert("earliest_live".into(), maybe_instant(prospect.and_then(|prospect| prospect.earliest_live)));
    let blocked = prospect.and_then(|prospect| prospect.blocked.as_ref());
    body.insert("blocked".into(), blocked.map(blocked_json).into());
    body
}
