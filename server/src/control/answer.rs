//! What a request is answered: by core's transition, by an object's bytes, or by a note.

use crate::events::Event;
use crate::farm::Farm;
use crate::objects::{self, Ask, Selection};
use crate::shared::{Refused, Shared};
use axum::body::Bytes;
use downbeat_core::ids::{Digest, Name, RequestId};
use downbeat_core::message::{ErrorCode, FETCH_MAX, ReplyBody, RequestBody};
use serde::{Serialize, Serializer};
use std::sync::Arc;
use std::time::Duration;

/// How long an answer waits for objects to be built. They are built to their end anyway; whoever was
/// told `Busy` asks again.
const BUILDING: Duration = Duration::from_secs(3);

/// Bytes of an object, in a reply. In a frame they stand like any bytes.
pub(super) struct Part(Bytes);

impl Serialize for Part {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

/// The answer to a request that the session allows.
///
/// # Errors
/// What is answered in its place; nothing was changed.
pub(super) async fn to(
    shared: &Arc<Shared>,
    farm: &Arc<Farm>,
    id: RequestId,
    datasets: &[Name],
    request: RequestBody,
) -> Result<ReplyBody<Part>, ErrorCode> {
    farm.agents.seen(id.agent, shared.time.reading().time);
    let answer = match request {
        RequestBody::Route { target, have, snapshots_only } => {
            let selection = Selection::new(datasets);
            route(shared, farm, Ask { target, have, selection, plain: snapshots_only }).await
        }
        RequestBody::Fetch { object, offset, len } => fetch(shared, farm, object, offset, len).await,
        RequestBody::Report(report) => {
            let now = shared.time.reading().time;
            if let Some((row, switched)) = farm.agents.reported(id.agent, &report, now) {
                farm.skew.heard(&row, Some(&report), now);
                farm.tell(if switched { Event::Switched(row) } else { Event::Agent(row) });
            }
            Ok(ReplyBody::Noted)
        }
        RequestBody::Read
        | RequestBody::Lock
        | RequestBody::Advance { .. }
        | RequestBody::Unlock { .. }
        | RequestBody::Time => {
            shared.ask(farm, id, request).await.map(|reply| reply.unwrap_or(ReplyBody::Noted))
        }
    };
    answer.map_err(|refused| {
        if let Refused::Store(error) = refused {
            tracing::error!(farm = %farm.name, %error, "a request of an agent failed");
        }
        ErrorCode::Busy
    })
}

async fn route(shared: &Arc<Shared>, farm: &Arc<Farm>, ask: Ask) -> Result<ReplyBody<Part>, Refused> {
    let found = tokio::time::timeout(BUILDING, objects::to(shared, farm, ask)).await;
    let found = found.map_err(|_| Refused::Overloaded)??;
    Ok(found.map_or(ReplyBody::Gone, ReplyBody::Route))
}

/// Bytes up to the end of a chunk at most: fewer than were asked for, then.
async fn fetch(
    shared: &Arc<Shared>,
    farm: &Arc<Farm>,
    name: Digest,
    offset: u64,
    len: u16,
) -> Result<ReplyBody<Part>, Refused> {
    let Some(object) = objects::find(shared, farm, name).await? else { return Ok(ReplyBody::Gone) };
    let most = usize::from(len).min(FETCH_MAX) as u64;
    match object.read(offset, most).await {
        Ok(bytes) => Ok(ReplyBody::Bytes { offset, total: object.reference.len, bytes: Part(bytes) }),
        Err(error) => {
            tracing::warn!(farm = %farm.name, object = %name, %error, "an object can't be served; it is built again");
            farm.objects.forget(&object);
            Ok(ReplyBody::Gone)
        }
    }
}
