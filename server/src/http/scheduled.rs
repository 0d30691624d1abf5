//! Scheduled records (PROTOCOL §7): entered, listed, taken away.

use super::failure::Failure;
use super::text::{instant, maybe_instant, name, put_bytes, take_bytes};
use super::{Caller, instant as instants, json as json_body, query, records};
use crate::access::Role;
use crate::shared::Shared;
use crate::store::{Edit, Scheduled, Store};
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::Uri;
use downbeat_core::ids::Name;
use downbeat_core::time::ServerTime;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Records in a list at most.
const LIST_MAX: usize = 100_000;

/// A scheduled record as it is entered, or named to be taken away.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Given {
    dataset: String,
    key: Option<String>,
    key_hex: Option<String>,
    effective_at: Value,
    expires_at: Option<Value>,
    value: Option<String>,
    value_hex: Option<String>,
    /// The record hides its key instead of giving it a value.
    #[serde(default)]
    delete: bool,
}

impl Given {
    fn place(&mut self, now: ServerTime) -> Result<(Name, Vec<u8>, ServerTime), Failure> {
        let dataset = name("dataset", &self.dataset)?;
        let key = take_bytes(self.key.take(), self.key_hex.take())
            .ok_or_else(|| Failure::bad("there is no key, or two", "give \"key\" or \"key_hex\""))?;
        Ok((dataset, key, instants::parse("effective_at", &self.effective_at, now)?))
    }

    /// The edit that enters it.
    pub(super) fn into_edit(mut self, now: ServerTime) -> Result<Edit, Failure> {
        let (dataset, key, effective_at) = self.place(now)?;
        let given = self.expires_at.take().filter(|expires| !expires.is_null());
        let expires_at = given.map(|expires| instants::parse("expires_at", &expires, now)).transpose()?;
        let value = match (take_bytes(self.value, self.value_hex), self.delete) {
            (Some(value), false) => Some(value),
            (None, true) => None,
            _ => {
                return Err(Failure::bad(
                    "a scheduled record has a value or deletes its key",
                    "give \"value\", \"value_hex\" or \"delete\": true",
                ));
            }
        };
        Ok(Edit::Schedule(Scheduled { dataset, key, effective_at, expires_at, value }))
    }

    /// The edit that takes it away.
    pub(super) fn into_removal(mut self, now: ServerTime) -> Result<Edit, Failure> {
        let (dataset, key, effective_at) = self.place(now)?;
        Ok(Edit::Unschedule { dataset, key, effective_at })
    }
}

/// `POST …/scheduled`.
pub(super) async fn add(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Failure> {
    let farm = caller.farm(&shared, Role::Operator)?;
    let edit = json_body::<Given>(body)?.into_edit(shared.time.reading().time)?;
    records::edit(&shared, &farm, vec![edit]).await
}

/// `DELETE …/scheduled`, with dataset, key and effective_at in the body.
pub(super) async fn remove(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Failure> {
    let farm = caller.farm(&shared, Role::Operator)?;
    let edit = json_body::<Given>(body)?.into_removal(shared.time.reading().time)?;
    records::edit(&shared, &farm, vec![edit]).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    limit: Option<usize>,
    dataset: Option<String>,
    key: Option<String>,
    key_hex: Option<String>,
}

/// `GET …/scheduled?dataset=&key=&limit=`: those that are not over.
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    uri: Uri,
) -> Result<Json<Value>, Failure> {
    let farm = caller.farm(&shared, Role::Viewer)?.name.clone();
    let asked: ListQuery = query(&uri)?;
    let limit = asked.limit.unwrap_or(1_000).clamp(1, LIST_MAX);
    let key = take_bytes(asked.key, asked.key_hex);
    let filtered = asked.dataset.is_some() || key.is_some();
    let looked_at = if filtered { LIST_MAX } else { limit };
    let now = shared.time.reading().time;
    let look = move |store: &mut crate::store::SqliteStore| store.scheduled(&farm, now, looked_at + 1);
    let mut found = shared.reader.run(look).await??;
    found.retain(|record| {
        asked.dataset.as_ref().is_none_or(|name| record.dataset.as_str() == name)
            && key.as_ref().is_none_or(|key| record.key == *key)
    });
    let more = found.len() > limit;
    found.truncate(limit);
    let scheduled: Vec<_> = found.iter().map(record_json).collect();
    Ok(Json(json!({ "scheduled": scheduled, "more": more })))
}

fn record_json(record: &Scheduled) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("dataset".into(), record.dataset.as_str().into());
    put_bytes(&mut object, "key", &record.key);
    object.insert("effective_at".into(), instant(record.effective_at));
    object.insert("expires_at".into(), maybe_instant(record.expires_at));
    match &record.value {
        Some(value) => put_bytes(&mut object, "value", value),
        None => {
            object.insert("delete".into(), true.into());
        }
    }
    object
}
