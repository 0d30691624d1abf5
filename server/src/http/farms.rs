//! Farms: listing, making, and the one page that says how one stands. And the server's health.

use super::failure::Failure;
use super::gate::standing_json;
use super::guards::{blocked_json, override_json, reasons_json};
use super::operate::{limits_json, parse_limits, parse_settings, settings_json};
use super::text::{digest, instant, maybe_generation, maybe_instant, name};
use super::{Caller, json as json_body};
use crate::access::Role;
use crate::attend::attend;
use crate::farm::Farm;
use crate::objects::Objects;
use crate::shared::{Refused, Shared};
use crate::start::demand;
use crate::store::{Gatekeeping, Retention, Store, StoreError};
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use downbeat_core::operator::safe_until;
use downbeat_core::settings::{Limits, Settings};
use downbeat_core::table::SyncTable;
use downbeat_core::time::ServerTime;
use downbeat_trace::Line;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::cell::Cell;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

/// `GET /v1/health`: whether the server answers, gives out time and reaches its database.
pub(super) async fn health(State(shared): State<Arc<Shared>>) -> (StatusCode, Json<Value>) {
    let reading = shared.time.reading();
    let database = matches!(shared.reader.run(|store| store.farms().is_ok()).await, Ok(true));
    let well = reading.allowed && database;
    let status = if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (
        status,
        Json(json!({
            "ok": well,
            "time": reading.allowed,
            "database": database,
            "frames_dropped": shared.frames_dropped.load(Ordering::Relaxed),
        })),
    )
}

/// `GET /v1/farms`.
pub(super) async fn list(State(shared): State<Arc<Shared>>, caller: Caller) -> Result<Json<Value>, Failure> {
    let farms = shared.all_farms();
    let seen = farms.iter().filter(|farm| caller.may(&shared, Role::Viewer, Some(&farm.name)).is_ok());
    let names: Vec<_> = seen.map(|farm| farm.name.as_str()).collect();
    if names.is_empty() {
        caller.may(&shared, Role::Viewer, None)?;
    }
    Ok(Json(json!({ "farms": names })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewFarm {
    farm: String,
    #[serde(default)]
    settings: Map<String, Value>,
    #[serde(default)]
    limits: Map<String, Value>,
    generations_kept: Option<u64>,
}

/// `POST /v1/farms`: a new farm, with an empty production as its first generation.
pub(super) async fn create(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<Value>), Failure> {
    caller.may(&shared, Role::Admin, None)?;
    let new: NewFarm = json_body(body)?;
    let name = name("farm", &new.farm)?;
    let settings = parse_settings(&new.settings, Settings::default())?;
    let limits = parse_limits(&new.limits, Limits::default())?;
    let (time, farm, gate) = (shared.time.clone(), name.clone(), shared.gate.is_some());
    let table = shared
        .writer
        .run(move |store| -> Result<SyncTable, Refused> {
            if !time.reading().allowed {
                return Err(Refused::NoTime);
            }
            if new.generations_kept.is_some_and(|kept| kept < 2) {
                return Err(StoreError::TooFewKept.into());
            }
            let (read, told) = (Cell::new(None), Cell::new(false));
            let clock = || {
                let reading = time.reading();
                read.set(Some(reading));
                reading.time
            };
            let made = store.create_farm(&farm, &[], clock, |content, now, facts| {
                use downbeat_core::server::Facts;
                let due = facts.first_due(now + settings.lead);
                let (name, timeline) = (farm.clone(), time.timeline());
                let table = SyncTable::new_farm(name, timeline, content, settings, limits, due, now)?;
                let at = read.get().map_or(time.local(), |reading| reading.local);
                time.recorder().tell(|| Line::Made { at, now, due, table: table.clone() });
                told.set(true);
                Ok(table)
            });
            if told.get() {
                let (at, farm, done) = (time.local(), farm.clone(), made.is_ok());
                let line = if done { Line::Committed { at, farm } } else { Line::Undone { at, farm } };
                time.recorder().tell(|| line);
            }
            let table = made?;
            demand(store, &farm, gate)?;
            if let Some(generations) = new.generations_kept {
                store.set_retention(&farm, Retention { generations, age: None })?;
            }
            Ok(table)
        })
        .await??;
    let objects = Objects::find_in(&shared.database, &name);
    let farm = Arc::new(Farm::new(table, objects));
    shared.farms.write().unwrap_or_else(PoisonError::into_inner).insert(name, farm.clone());
    tokio::spawn(attend(shared.clone(), farm.clone()));
    Ok((StatusCode::CREATED, Json(status(&shared, &farm).await?)))
}

/// `GET /v1/farms/{farm}`.
pub(super) async fn get(State(shared): State<Arc<Shared>>, caller: Caller) -> Result<Json<Value>, Failure> {
    let farm = caller.farm(&shared, Role::Viewer)?;
    Ok(Json(status(&shared, &farm).await?))
}

/// How a farm stands: the table, and what follows from it for people.
pub(super) async fn status(shared: &Shared, farm: &Arc<Farm>) -> Result<Value, Failure> {
    let (time, name) = (shared.time.clone(), farm.name.clone());
    let look = move |store: &mut crate::store::SqliteStore| {
        let now = time.reading().time;
        let table = store.table(&name)?;
        let live = Shared::prospect(store, &time, &name)?.earliest_live;
        // Asked after the table, so that what it has staged is there, whatever is staged meanwhile.
        let staged = store.generations(&name)?.into_iter().find(|kept| kept.generation == table.staged);
        let kept_back = (store.blocked(&name)?, store.broken(&name)?, store.overrides(&name)?);
        Ok::<_, StoreError>((now, table, live, staged, store.standing(&name)?, kept_back))
    };
    let (now, table, live, staged, standing, (blocked, broken, overrides)) =
        shared.reader.run(look).await??;
    let agents = farm.agents.all();
    let mut body = table_json(&table, now);
    if let Some(object) = body.as_object_mut() {
        object.insert("now".into(), instant(now));
        object.insert("earliest_live".into(), maybe_instant(live));
        object.insert("records".into(), staged.map_or(Value::Null, |staged| staged.records.into()));
        object.insert("changes".into(), staged.map_or(Value::Null, |staged| staged.changes.into()));
        object.insert("gate".into(), standing_json(&standing));
        object.insert("blocked".into(), blocked.as_ref().map(blocked_json).into());
        object.insert("broken".into(), reasons_json(&broken));
        let waiting = overrides.iter().filter(|once| once.used.is_none()).map(override_json);
        object.insert("overrides".into(), waiting.collect());
        let connected = agents.iter().filter(|row| row.connections > 0).count();
        let (files, bytes) = farm.objects.total();
        object.insert("objects".into(), json!({ "files": files, "bytes": bytes }));
        object.insert("agents".into(), json!({ "known": agents.len(), "connected": connected }));
    }
    Ok(body)
}

/// A table as people see it at `now`.
pub(super) fn table_json(table: &SyncTable, now: ServerTime) -> Value {
    json!({
        "farm": table.farm.as_str(),
        "timeline": {
            "counter": table.timeline.counter,
            "random": format!("{:016x}", table.timeline.random),
        },
        "epoch": table.staged.epoch,
        "digest": digest(table.staged.digest),
        "activation": instant(table.activation),
        "live": table.activation.passed(now),
        "active": maybe_generation(table.active),
        "safe_until": instant(safe_until(table)),
        "held": table.held.map(|hold| json!({ "until": maybe_instant(hold.until) })),
        "lock": table.live_lock(now).map(|lock| json!({
            "token": lock.token,
            "expires": instant(lock.expires),
            "next_activation": instant(lock.next),
        })),
        "settings": settings_json(&table.settings),
        "pending_settings": table.pending.as_ref().map(settings_json),
        "limits": limits_json(&table.limits),
    })
}
