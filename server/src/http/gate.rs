//! The gate: who has to approve candidates, how it stands, verdicts, and what the candidate is.

use super::failure::Failure;
use super::guards::{digest_of, reasons_json};
use super::text::{self, digest, instant, parse_span, span};
use super::{Caller, json as json_body, query, spool, status};
use crate::access::Role;
use crate::gatekeeper;
use crate::shared::Shared;
use crate::store::{COMMAND, Frozen, Gate, Gatekeeping, Said, SqliteStore, Standing, StoreError};
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use downbeat_core::time::Span;
use serde::Deserialize;
use serde_json::{Value, json};
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::sync::Arc;

/// Judges of a farm, at most.
const JUDGES_MAX: usize = 64;
/// Bytes of a reason, at most.
const WHY_MAX: usize = 4_096;

pub(crate) fn frozen_json(frozen: &Frozen) -> Value {
    json!({
        "epoch": frozen.epoch,
        "digest": digest(frozen.digest),
        "activation": instant(frozen.as_of),
        "changes": frozen.changes,
        "frozen_at": instant(frozen.at),
    })
}

pub(crate) fn said_json(said: &Said) -> Value {
    json!({
        "judge": said.judge,
        "digest": digest(said.digest),
        "verdict": if said.approved { "approved" } else { "refused" },
        "why": said.why,
        "at": instant(said.at),
    })
}

/// How the gate stands; `null` without one.
pub(super) fn standing_json(standing: &Standing) -> Value {
    if !standing.gate.is_shut() && standing.frozen.is_none() {
        return Value::Null;
    }
    let judges: Vec<_> = standing
        .gate
        .required()
        .map(|name| {
            let said = standing.said.iter().find(|said| {
                said.judge == name && standing.frozen.is_some_and(|frozen| frozen.digest == said.digest)
            });
            let asked = standing.frozen.is_some_and(|frozen| frozen.changes > 0).then_some("waiting");
            said.map_or_else(|| json!({ "judge": name, "verdict": asked }), said_json)
        })
        .collect();
    json!({
        "window": span(standing.gate.window),
        "limit": span(standing.gate.patience),
        "judges": judges,
        "candidate": standing.frozen.as_ref().map(frozen_json),
        "waits_for": reasons_json(&standing.reasons()),
    })
}

/// `GET …/gate`.
pub(super) async fn get(State(shared): State<Arc<Shared>>, caller: Caller) -> Result<Json<Value>, Failure> {
    let farm = caller.farm(&shared, Role::Viewer)?.name.clone();
    let standing = shared.reader.run(move |store| store.standing(&farm)).await??;
    Ok(Json(json!({ "gate": standing_json(&standing) })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    judges: Option<Vec<String>>,
    window: Option<String>,
    limit: Option<String>,
}

/// `PUT …/gate`, `{"judges"?, "window"?, "limit"?}`: those that are given change. Without judges, and without
/// a command of the server, there is no gate.
pub(super) async fn set(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Failure> {
    let farm = caller.farm(&shared, Role::Operator)?;
    let given: Given = json_body(body)?;
    let judges = given.judges.map(|names| {
        names
            .iter()
            .map(|name| text::name("judge", name))
            .collect::<Result<std::collections::BTreeSet<_>, _>>()
    });
    let judges = judges.transpose()?;
    if let Some(judges) = &judges
        && (judges.len() > JUDGES_MAX || judges.iter().any(|name| name.as_str() == COMMAND))
    {
        return Err(Failure::bad(
            "these can't be a farm's judges",
            "name at most 64; the name 'command' is that of the server's own command (serve --gate)",
        ));
    }
    let positive = |name: &str, text: Option<String>| {
        let parsed = text.map(|text| parse_span(&text).filter(|span| span.as_nanos() > 0).ok_or(text));
        parsed.transpose().map_err(|text| {
            Failure::bad(
                format!("{name} is no positive span of time: {text:?}"),
                "write a whole number and its unit as text, as in \"90s\" (ns, us, ms, s, m, h, d)",
            )
        })
    };
    let (window, patience): (Option<Span>, Option<Span>) =
        (positive("window", given.window)?, positive("limit", given.limit)?);
    let name = farm.name.clone();
    let set = move |store: &mut SqliteStore| -> Result<Standing, StoreError> {
        let gate = store.standing(&name)?.gate;
        let gate = Gate {
            window: window.unwrap_or(gate.window),
            patience: patience.unwrap_or(gate.patience),
            judges: judges.map_or(gate.judges, |judges| judges.into_iter().collect()),
            command: gate.command,
        };
        store.set_gate(&name, &gate)?;
        store.standing(&name)
    };
    let standing = shared.writer.run(set).await??;
    farm.gate.notify_one();
    Ok(Json(json!({ "gate": standing_json(&standing) })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Verdict {
    #[serde(rename = "as")]
    judge: String,
    digest: String,
    approve: bool,
    #[serde(default)]
    why: String,
}

/// `POST …/gate/verdict`, `{"as", "digest", "approve", "why"?}`: what a judge says of the candidate. A judge's
/// token gives only the verdict of the judge that it names.
pub(super) async fn verdict(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Failure> {
    let farm = caller.farm(&shared, Role::Judge)?;
    let given: Verdict = json_body(body)?;
    let judge = text::name("judge", &given.judge)?;
    let by = caller.speaks_for(&shared, &farm.name, &judge)?;
    if judge.as_str() == COMMAND || given.why.len() > WHY_MAX {
        return Err(Failure::bad(
            "this is no verdict",
            "the server's own command speaks for itself; others give a reason of at most 4,096 bytes",
        ));
    }
    let why: String = given.why.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let said = Said {
        judge: judge.as_str().to_owned(),
        digest: digest_of(&given.digest)?,
        approved: given.approve,
        why: why.trim().to_owned(),
        at: shared.time.reading().time,
    };
    gatekeeper::say(&shared, &farm, said, by).await?;
    let name = farm.name.clone();
    let standing = shared.reader.run(move |store| store.standing(&name)).await??;
    Ok(Json(json!({ "gate": standing_json(&standing) })))
}

/// `POST …/gate/again`: the candidate is frozen anew, as production is now, and judged anew.
pub(super) async fn again(State(shared): State<Arc<Shared>>, caller: Caller) -> Result<Json<Value>, Failure> {
    let farm = caller.farm(&shared, Role::Operator)?;
    let name = farm.name.clone();
    let standing = shared.reader.run(move |store| store.standing(&name)).await??;
    let frozen = match standing.gate.is_shut() {
        true => gatekeeper::freeze(&shared, &farm, true).await?,
        false => {
            return Err(Failure::new(
                StatusCode::CONFLICT,
                "the farm has no gate",
                "name who has to approve (downbeat gate set --judge NAME)",
            ));
        }
    };
    farm.gate.notify_one();
    let frozen = frozen.ok_or_else(|| {
        Failure::new(StatusCode::CONFLICT, "the farm is held, nothing is staged next", "end the hold first")
    })?;
    Ok(Json(json!({ "candidate": frozen_json(&frozen) })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangesQuery {
    digest: String,
}

/// `GET …/gate/changes?digest=`: what the candidate changes, as JSON lines.
pub(super) async fn changes(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    uri: Uri,
) -> Result<Response, Failure> {
    let farm = caller.farm(&shared, Role::Viewer)?.name.clone();
    let candidate = digest_of(&query::<ChangesQuery>(&uri)?.digest)?;
    let write = move || -> Result<std::fs::File, StoreError> {
        let mut store = SqliteStore::open(&shared.database)?;
        let mut file = BufWriter::new(spool::file(&shared).map_err(StoreError::Sink)?);
        store.candidate_changes(&farm, candidate, &mut |change| {
            writeln!(file, "{}", status::change_json(&change)).map_err(StoreError::Sink)
        })?;
        let mut file = file.into_inner().map_err(|error| StoreError::Sink(error.into_error()))?;
        file.seek(SeekFrom::Start(0)).map_err(StoreError::Sink)?;
        Ok(file)
    };
    let written = tokio::task::spawn_blocking(write).await;
    let file = written.map_err(|_| Failure::bad("the server ends", "ask again once it is back"))??;
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((kind, spool::body_of(tokio::fs::File::from_std(file))).into_response())
}
