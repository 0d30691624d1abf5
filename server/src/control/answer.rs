//! What a request is answered: by core's transition, by an object's bytes, or by a note.

use crate::events::Event;
use crate::farm::Farm;
use crate::objects::{self, Object};
use crate::shared::{Refused, Shared};
use downbeat_core::ids::{Name, RequestId};
use downbeat_core::message::{ErrorCode, FETCH_MAX, ReplyBody, RequestBody, Route};
use serde::{Serialize, Serializer};
use std::ops::Range;
use std::sync::Arc;

/// Bytes of an object, in a reply. In a frame they stand like any bytes.
pub(super) struct Part {
    object: Arc<Object>,
    range: Range<usize>,
}

impl Serialize for Part {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.object.bytes.get(self.range.clone()).unwrap_or_default())
    }
}

/// The answer to a request that the session allows.
///
/// # Errors
/// What is answered in its place; nothing was changed.
pub(super) async fn to(
    shared: &Shared,
    farm: &Arc<Farm>,
    id: RequestId,
    datasets: &[Name],
    request: RequestBody,
) -> Result<ReplyBody<Part>, ErrorCode> {
    farm.agents.seen(id.agent, shared.time.reading().time);
    let answer = match request {
        RequestBody::Route { target, .. } => objects::to(shared, farm, target, datasets).await.map(route),
        RequestBody::Fetch { object, offset, len } => Ok(fetch(farm.objects.find(object), offset, len)),
        RequestBody::Report(report) => {
            let noted = farm.agents.reported(id.agent, &report, shared.time.reading().time);
            if let Some((row, switched)) = noted {
                farm.tell(if switched { Event::Switched(row) } else { Event::Agent(row) });
            }
            Ok(ReplyBody::Noted)
        }
        RequestBody::Read | RequestBody::Lock | RequestBody::Advance { .. } | RequestBody::Unlock { .. } => {
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

fn route(object: Option<Arc<Object>>) -> ReplyBody<Part> {
    let Some(object) = object else { return ReplyBody::Gone };
    let mut route = Route::default();
    let pushed = route.objects.push(object.reference);
    debug_assert!(pushed.is_ok(), "an empty route has room");
    ReplyBody::Route(route)
}

fn fetch(object: Option<Arc<Object>>, offset: u64, len: u16) -> ReplyBody<Part> {
    let Some(object) = object else { return ReplyBody::Gone };
    let total = object.bytes.len();
    let from = usize::try_from(offset).map_or(total, |offset| offset.min(total));
    let to = from.saturating_add(usize::from(len).min(FETCH_MAX)).min(total);
    ReplyBody::Bytes { offset, total: total as u64, bytes: Part { object, range: from..to } }
}
