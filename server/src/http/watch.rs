//! Looking on: the agents of a farm, and what happens in it as server-sent events.

use super::Caller;
use super::failure::Failure;
use super::farms::{status, table_json};
use super::gate::{frozen_json, said_json};
use super::guards::{blocked_json, override_json};
use super::text::{hex, instant, maybe_generation, maybe_instant, span};
use crate::access::Role;
use crate::agents::AgentRow;
use crate::events::Event;
use crate::shared::Shared;
use axum::Json;
use axum::extract::State;
use axum::response::sse::{self, KeepAlive, Sse};
use downbeat_core::message::Veto;
use downbeat_core::time::{ServerTime, Span};
use futures_util::Stream;
use futures_util::stream::unfold;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use tokio::sync::broadcast::error::RecvError;

/// `GET …/agents`.
pub(super) async fn agents(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
) -> Result<Json<Value>, Failure> {
    let farm = caller.farm(&shared, Role::Viewer)?;
    let agents: Vec<_> = farm.agents.all().iter().map(agent_json).collect();
    Ok(Json(json!({ "now": instant(shared.time.reading().time), "agents": agents })))
}

/// An agent as people see it. What it reported is null until it did.
fn agent_json(row: &AgentRow) -> Value {
    let report = row.report.as_ref();
    let switched = report.and_then(|report| report.switched);
    json!({
        "agent": hex(&row.id.0),
        "name": row.display,
        "connected": row.connections > 0,
        "may_lock": row.may_lock,
        "seen": instant(row.seen),
        "phase": report.map(|report| format!("{:?}", report.phase).to_lowercase()),
        "active": maybe_generation(report.and_then(|report| report.active)),
        "staged": maybe_generation(report.and_then(|report| report.staged)),
        "offset_ns": report.map(|report| report.offset),
        // An agent without a sample knows no bound.
        "epsilon": report.filter(|report| report.epsilon != Span::MAX).map(|report| span(report.epsilon)),
        "switched": switched.map(|switched| json!({
            "epoch": switched.epoch,
            "at": instant(switched.at),
            "epsilon": span(switched.epsilon),
            "held": span(switched.held),
        })),
        "veto": report.and_then(|report| report.veto).map(|veto| match veto {
            Veto::TooLarge => "too_large",
            Veto::Invalid => "invalid",
            Veto::Storage => "storage",
        }),
    })
}

/// `GET …/events`: first how the farm stands, then everything that happens.
pub(super) async fn events(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
) -> Result<Sse<impl Stream<Item = Result<sse::Event, Infallible>>>, Failure> {
    let farm = caller.farm(&shared, Role::Viewer)?;
    // Watched from before the status is read, so that nothing falls between the two.
    let watched = farm.watch();
    let first = named("status", &status(&shared, &farm).await?);
    let stop = shared.stop.clone();
    let stream =
        unfold((Some(first), watched, stop, shared), |(first, mut watched, mut stop, shared)| async {
            if let Some(first) = first {
                return Some((Ok(first), (None, watched, stop, shared)));
            }
            let received = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return None,
                received = watched.recv() => received,
            };
            let event = match received {
                Ok(event) => told(&event, shared.time.reading().time),
                Err(RecvError::Lagged(missed)) => named("missed", &json!({ "events": missed })),
                Err(RecvError::Closed) => return None,
            };
            Some((Ok(event), (None, watched, stop, shared)))
        });
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()))
}

fn told(event: &Event, now: ServerTime) -> sse::Event {
    let (name, mut data) = match event {
        Event::CycleBegan { epoch, activation } => {
            ("cycle", json!({ "epoch": epoch, "activation": instant(*activation) }))
        }
        Event::Staged(table) => ("staged", table_json(table, now)),
        Event::Activated(table) => ("activated", table_json(table, now)),
        Event::Edited(applied) => (
            "edited",
            json!({ "written": applied.written, "deleted": applied.deleted, "unchanged": applied.unchanged }),
        ),
        Event::Held(until) => ("held", json!({ "until": maybe_instant(*until) })),
        Event::Unheld => ("unheld", json!({})),
        Event::Settings(table) => ("settings", table_json(table, now)),
        Event::Candidate(frozen) => ("candidate", frozen_json(frozen)),
        Event::Verdict(said) => ("verdict", said_json(said)),
        Event::Blocked(blocked) => ("blocked", blocked_json(blocked)),
        Event::Overridden(once) => ("overridden", override_json(once)),
        Event::Agent(row) => ("agent", agent_json(row)),
        Event::Switched(row) => ("switched", agent_json(row)),
    };
    if let Some(object) = data.as_object_mut() {
        object.insert("now".into(), instant(now));
    }
    named(name, &data)
}

fn named(name: &str, data: &Value) -> sse::Event {
    sse::Event::default().event(name).data(data.to_string())
}
