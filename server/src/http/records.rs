//! Records of production: one at a time, and lists of them.

use super::failure::Failure;
use super::text::{from_percent, maybe_instant, name, put_bytes};
use super::{Caller, query};
use crate::access::Role;
use crate::events::Event;
use crate::farm::Farm;
use crate::shared::{Prospect, Refused, Shared};
use crate::store::{Applied, Edit, SqliteStore, Store, StoreError};
use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{OriginalUri, Path, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use downbeat_core::ids::Name;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Records in a list, unless asked otherwise, and at most.
const LIST: usize = 1_000;
const LIST_MAX: usize = 100_000;

/// Dataset and key of an address, `/v1/farms/{farm}/records/{dataset}/{key}`. The key is taken from
/// the address as it came, because it may be any bytes.
fn place(dataset: &str, uri: &Uri) -> Result<(Name, Vec<u8>), Failure> {
    let dataset = name("dataset", dataset)?;
    let key = uri.path().splitn(7, '/').nth(6).unwrap_or_default();
    let key = from_percent(key).ok_or_else(|| {
        Failure::bad("the key is not percent-encoded as it should be", "write a '%' in a key as %25")
    })?;
    Ok((dataset, key))
}

/// What the path of these routes names; a key is read from the address itself.
#[derive(Deserialize)]
pub(super) struct Place {
    farm: String,
    dataset: String,
}

/// `GET …/records/{dataset}/{key}`: the value's bytes, as it stands in production.
pub(super) async fn get(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(at): Path<Place>,
    OriginalUri(uri): OriginalUri,
) -> Result<Response, Failure> {
    let farm = caller.farm(&shared, Role::Viewer, &at.farm)?;
    let (dataset, key) = place(&at.dataset, &uri)?;
    let farm = farm.name.clone();
    let value = shared.writer.run(move |store| store.get(&farm, &dataset, &key)).await??;
    let value = value.ok_or_else(|| {
        Failure::new(
            StatusCode::NOT_FOUND,
            "production has no such record",
            "list the dataset to see its keys; a slash in a key is written %2F",
        )
    })?;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], value).into_response())
}

/// `PUT …/records/{dataset}/{key}`: the body becomes the value.
pub(super) async fn put(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(at): Path<Place>,
    OriginalUri(uri): OriginalUri,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Failure> {
    let farm = caller.farm(&shared, Role::Operator, &at.farm)?;
    let (dataset, key) = place(&at.dataset, &uri)?;
    let value = super::whole(body)?.to_vec();
    edit(&shared, &farm, vec![Edit::Put { dataset, key, value }]).await
}

/// `DELETE …/records/{dataset}/{key}`.
pub(super) async fn delete(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(at): Path<Place>,
    OriginalUri(uri): OriginalUri,
) -> Result<Json<Value>, Failure> {
    let farm = caller.farm(&shared, Role::Operator, &at.farm)?;
    let (dataset, key) = place(&at.dataset, &uri)?;
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
    Path(at): Path<Place>,
    uri: Uri,
) -> Result<Json<Value>, Failure> {
    let farm = caller.farm(&shared, Role::Viewer, &at.farm)?;
    let dataset = name("dataset", &at.dataset)?;
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
    Path(farm): Path<String>,
) -> Result<Json<Value>, Failure> {
    let farm = caller.farm(&shared, Role::Viewer, &farm)?.name.clone();
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
    if applied.written + applied.deleted > 0 {
        farm.tell(Event::Edited(applied));
    }
    let mut body = Map::new();
    body.insert("written".into(), applied.written.into());
    body.insert("deleted".into(), applied.deleted.into());
    body.insert("unchanged".into(), applied.unchanged.into());
    body.insert("epoch".into(), prospect.map(|prospect| prospect.epoch).into());
    body.insert("earliest_live".into(), maybe_instant(prospect.and_then(|prospect| prospect.earliest_live)));
    Ok(body)
}
