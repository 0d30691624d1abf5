//! Guards on content: listing, setting and removing them, and letting one candidate through. And how a
//! reason for keeping a candidate back stands in JSON.

use super::failure::Failure;
use super::text::{self, digest, instant, put_bytes};
use super::{Caller, json as json_body};
use crate::access::Role;
use crate::events::Event;
use crate::gatekeeper::expected_activation;
use crate::shared::{Refused, Shared};
use crate::store::{
    Blocked, Example, Frozen, Gatekeeping, Guard, GuardKind, GuardName, Limit, Override, Reason, SqliteStore,
    StoreError, WHOLE,
};
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use downbeat_core::ids::Digest;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Records that don't fit a schema as it is set are counted up to so many.
const MISFITS_MAX: usize = 10_000;
/// Bytes of the name of whoever overrides a guard.
const BY_MAX: usize = 64;

fn guard_json(guard: &Guard) -> Value {
    let mut object = Map::new();
    object.insert("name".into(), guard.name.to_string().into());
    match &guard.limit {
        Limit::Share { parts, floor } => {
            object.insert("percent".into(), (f64::from(*parts) / 10_000.0).into());
            object.insert("floor".into(), (*floor).into());
        }
        Limit::Most(most) => drop(object.insert("most".into(), (*most).into())),
        Limit::Schema(text) => {
            let schema = serde_json::from_str(text).unwrap_or_else(|_| Value::from(text.as_str()));
            object.insert("schema".into(), schema);
        }
    }
    object.into()
}

pub(super) fn override_json(once: &Override) -> Value {
    json!({
        "guard": once.guard,
        "digest": digest(once.digest),
        "by": once.by,
        "at": instant(once.at),
        "used_by_epoch": once.used,
    })
}

fn example_json(example: &Example) -> Value {
    let mut object = Map::new();
    object.insert("dataset".into(), example.dataset.as_str().into());
    put_bytes(&mut object, "key", &example.key);
    if let Some(why) = &example.why {
        object.insert("why".into(), why.as_str().into());
    }
    object.into()
}

fn reason_json(reason: &Reason) -> Value {
    json!({
        "guard": reason.guard,
        "limit": reason.limit,
        "found": reason.found,
        "examples": reason.examples.iter().map(example_json).collect::<Vec<_>>(),
        "cure": reason.cure,
    })
}

pub(super) fn reasons_json(reasons: &[Reason]) -> Value {
    reasons.iter().map(reason_json).collect()
}

/// A candidate that was kept back, and why.
pub(crate) fn blocked_json(blocked: &Blocked) -> Value {
    json!({
        "epoch": blocked.epoch,
        "digest": digest(blocked.digest),
        "at": instant(blocked.at),
        "reasons": reasons_json(&blocked.reasons),
    })
}

/// `GET …/guards`: the guards, what the next candidate breaks as far as it is known, and overrides.
pub(super) async fn list(State(shared): State<Arc<Shared>>, caller: Caller) -> Result<Json<Value>, Failure> {
    let farm = caller.farm(&shared, Role::Viewer)?.name.clone();
    let look = move |store: &mut SqliteStore| {
        Ok::<_, StoreError>((store.guards(&farm)?, store.broken(&farm)?, store.overrides(&farm)?))
    };
    let (guards, broken, overrides) = shared.reader.run(look).await??;
    Ok(Json(json!({
        "guards": guards.iter().map(guard_json).collect::<Vec<_>>(),
        "broken": reasons_json(&broken),
        "overrides": overrides.iter().map(override_json).collect::<Vec<_>>(),
    })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    name: String,
    percent: Option<f64>,
    floor: Option<u64>,
    most: Option<u64>,
    schema: Option<Value>,
}

fn name_of(text: &str) -> Result<GuardName, Failure> {
    GuardName::from_text(text).ok_or_else(|| {
        Failure::bad(
            format!("there is no guard {text:?}"),
            "a guard is change, vanish, records or bytes, of a dataset DATASET/change, …, or DATASET/schema",
        )
    })
}

/// What is given as a guard.
fn guard_of(given: Given) -> Result<Guard, Failure> {
    let name = name_of(&given.name)?;
    let limit = match (name.kind, given) {
        (
            GuardKind::Change | GuardKind::Vanish,
            Given { percent: Some(share), floor, most: None, schema: None, .. },
        ) if (0.0..=100.0).contains(&share) => {
            // At most 100, so it fits; a share is kept to the millionth.
            let parts = (share * 10_000.0).round() as u32;
            Limit::Share { parts: parts.min(WHOLE), floor: floor.unwrap_or(0) }
        }
        (
            GuardKind::Records | GuardKind::Bytes,
            Given { percent: None, floor: None, most: Some(most), schema: None, .. },
        ) if i64::try_from(most).is_ok() => Limit::Most(most),
        (GuardKind::Schema, Given { percent: None, floor: None, most: None, schema: Some(schema), .. })
            if name.dataset.is_some() =>
        {
            Limit::Schema(schema.to_string())
        }
        _ => {
            return Err(Failure::bad(
                format!("this is no limit of a guard {name}"),
                "change and vanish have \"percent\" (0 to 100) and \"floor\" (records that always may); records and \
                 bytes have \"most\"; a dataset's schema has \"schema\"",
            ));
        }
    };
    Ok(Guard { name, limit })
}

/// `PUT …/guards`, `{"name", "percent", "floor"?}`, `{"name", "most"}` or `{"name", "schema"}`: sets one. Of
/// a schema it is told how many records of production don't fit it.
pub(super) async fn set(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Failure> {
    let farm = caller.farm(&shared, Role::Operator)?;
    let guard = guard_of(json_body(body)?)?;
    let mut told = Map::new();
    told.insert("guard".into(), guard_json(&guard));
    let (name, set) = (farm.name.clone(), guard.clone());
    shared.writer.run(move |store| store.set_guard(&name, &set)).await??;
    if let (Some(dataset), Limit::Schema(schema)) = (guard.name.dataset, guard.limit) {
        let (database, name) = (shared.database.clone(), farm.name.clone());
        let look = move || SqliteStore::open(&database)?.misfits(&name, &dataset, &schema, MISFITS_MAX);
        let looked = tokio::task::spawn_blocking(look).await;
        let looked =
            looked.map_err(|_| Failure::bad("the server ends", "list the guards once it is back"))?;
        let (misfits, examples) = looked?;
        told.insert("misfits".into(), misfits.into());
        told.insert("more".into(), (misfits as usize >= MISFITS_MAX).into());
        told.insert("examples".into(), examples.iter().map(example_json).collect());
    }
    farm.gate.notify_one();
    Ok(Json(told.into()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    name: String,
}

/// `DELETE …/guards`, `{"name"}`.
pub(super) async fn remove(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Failure> {
    let farm = caller.farm(&shared, Role::Operator)?.name.clone();
    let given: Named = json_body(body)?;
    let name = name_of(&given.name)?;
    let removed = shared.writer.run(move |store| store.remove_guard(&farm, &name)).await??;
    Ok(Json(json!({ "name": given.name, "removed": removed })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Once {
    name: String,
    by: String,
    digest: Option<String>,
}

/// `POST …/guards/override`, `{"name", "by", "digest"?}`: lets exactly the candidate of now through, which is
/// frozen for that.
pub(super) async fn override_once(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Failure> {
    let farm = caller.farm(&shared, Role::Operator)?;
    let given: Once = json_body(body)?;
    let guard = name_of(&given.name)?;
    let expected = given.digest.as_deref().map(digest_of).transpose()?;
    if given.by.is_empty() || given.by.len() > BY_MAX || given.by.chars().any(char::is_control) {
        return Err(Failure::bad(
            "whoever overrides a guard is to be named",
            "give \"by\": 1 to 64 bytes of text",
        ));
    }
    let (name, time, by) = (farm.name.clone(), shared.time.clone(), given.by.clone());
    let call = move |store: &mut SqliteStore| -> Result<(Frozen, Vec<Override>, Vec<Reason>), Refused> {
        let clock = || time.reading().time;
        let frozen = store.override_guard(&name, &guard, expected, &by, clock, |table, now, facts| {
            expected_activation(table, now, facts)
        })?;
        Ok((frozen, store.overrides(&name)?, store.broken(&name)?))
    };
    let (frozen, overrides, broken) = shared.writer.run(call).await??;
    tracing::warn!(farm = %farm.name, guard = given.name, by = given.by, digest = %frozen.digest, "a guard is overridden");
    farm.gate.notify_one();
    if let Some(once) = overrides.into_iter().next() {
        farm.tell(Event::Overridden(once));
    }
    Ok(Json(json!({
        "name": given.name,
        "by": given.by,
        "candidate": super::gate::frozen_json(&frozen),
        "broken": reasons_json(&broken),
    })))
}

/// A digest from its hexadecimal digits.
pub(super) fn digest_of(digits: &str) -> Result<Digest, Failure> {
    let bytes = text::from_hex(digits).and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    bytes.map(Digest).ok_or_else(|| {
        Failure::bad(format!("{digits:?} is no digest"), "write all of its 64 hexadecimal digits")
    })
}
