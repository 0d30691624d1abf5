//! Objects over HTTP: whole, in ranges, and their chunk values. An object never changes, so whoever has
//! it may keep it for ever.

use super::Caller;
use super::failure::Failure;
use crate::access::Role;
use crate::farm::Farm;
use crate::objects::{self, Object};
use crate::shared::Shared;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use downbeat_core::ids::Digest;
use futures_util::stream::unfold;
use headers::{ETag, HeaderMapExt, IfNoneMatch, IfRange, Range};
use std::io;
use std::ops::Bound;
use std::sync::Arc;

/// `GET …/objects/{name}`: the object's bytes, or a range of them.
pub(super) async fn object(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let (farm, object) = find(&shared, &caller).await?;
    let tag = tag(object.reference.name, "")?;
    let common = common(&shared, &tag);
    if is_known(&headers, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, common).into_response());
    }
    let len = object.reference.len;
    let (status, from, to) = match wanted(&headers, &tag, len) {
        Wanted::Whole => (StatusCode::OK, 0, len),
        Wanted::Part(from, to) => (StatusCode::PARTIAL_CONTENT, from, to),
        Wanted::Nothing => {
            let range = [(header::CONTENT_RANGE, format!("bytes */{len}"))];
            let status = StatusCode::RANGE_NOT_SATISFIABLE;
            let cure = "ask for a range within it";
            return Ok(
                (range, Failure::new(status, format!("the object has {len} bytes"), cure)).into_response()
            );
        }
    };
    let mut response = (status, common).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(to - from));
    if status == StatusCode::PARTIAL_CONTENT {
        headers.typed_insert(range_of(from, to, len)?);
    }
    *response.body_mut() = body(farm, object, from, to);
    Ok(response)
}

/// `GET …/objects/{name}/chunks`: the values of its chunks, 32 bytes each, one after the other.
pub(super) async fn chunks(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let (_, object) = find(&shared, &caller).await?;
    let tag = tag(object.reference.name, "-chunks")?;
    let common = common(&shared, &tag);
    if is_known(&headers, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, common).into_response());
    }
    let list: Vec<u8> = object.chunks.iter().flat_map(|value| value.0).collect();
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"))];
    Ok((common, kind, list).into_response())
}

/// The object that the path names, `/v1/farms/{farm}/objects/{name}`.
async fn find(shared: &Arc<Shared>, caller: &Caller) -> Result<(Arc<Farm>, Arc<Object>), Failure> {
    let farm = caller.farm(shared, Role::Reader)?;
    let text = String::from_utf8_lossy(&caller.part(5)?).into_owned();
    let name = blake3::Hash::from_hex(&text).map_err(|_| {
        Failure::bad("an object's name is 64 hexadecimal digits", "take the name from a route")
    })?;
    let object = objects::find(shared, &farm, Digest(*name.as_bytes())).await?;
    let object = object.ok_or_else(|| {
        Failure::new(
            StatusCode::NOT_FOUND,
            "there is no such object, or it is superseded",
            "ask for the route to the generation again",
        )
    })?;
    Ok((farm, object))
}

fn tag(name: Digest, of: &str) -> Result<ETag, Failure> {
    let text = format!("\"{name}{of}\"");
    text.parse().map_err(|_| Failure::bad("the name makes no entity tag", "take the name from a route"))
}

/// What every answer has. Where a token is needed, caches that are shared must not keep it.
fn common(shared: &Shared, tag: &ETag) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.typed_insert(tag.clone());
    let control = match shared.tokens.are_needed() {
        true => "private, max-age=31536000, immutable",
        false => "public, max-age=31536000, immutable",
    };
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(control));
    headers
}

/// Whether whoever asks has it already.
fn is_known(headers: &HeaderMap, tag: &ETag) -> bool {
    headers.typed_get::<IfNoneMatch>().is_some_and(|known| !known.precondition_passes(tag))
}

/// What of the object is wanted.
enum Wanted {
    Whole,
    /// From the first place up to before the second.
    Part(u64, u64),
    /// A range beyond its end.
    Nothing,
}

fn wanted(headers: &HeaderMap, tag: &ETag, len: u64) -> Wanted {
    let range = headers.typed_get::<Range>();
    let is_of_another = || {
        let condition = headers.typed_get::<IfRange>();
        condition.is_some_and(|condition| condition.is_modified(Some(tag), None))
    };
    let Some(range) = range.filter(|_| !is_of_another()) else { return Wanted::Whole };
    let ranges: Vec<_> = range.satisfiable_ranges(len).collect();
    match ranges.as_slice() {
        [] => Wanted::Nothing,
        [range] => {
            let from = match range.0 {
                Bound::Included(from) => from,
                Bound::Excluded(from) => from.saturating_add(1),
                Bound::Unbounded => 0,
            };
            let to = match range.1 {
                Bound::Included(to) => to.saturating_add(1),
                Bound::Excluded(to) => to,
                Bound::Unbounded => len,
            };
            let to = to.min(len);
            if from < to { Wanted::Part(from, to) } else { Wanted::Nothing }
        }
        // Several at a time may be answered with all.
        _ => Wanted::Whole,
    }
}

fn range_of(from: u64, to: u64, len: u64) -> Result<headers::ContentRange, Failure> {
    headers::ContentRange::bytes(from..to, len)
        .map_err(|_| Failure::bad("the range is none", "ask for a range within the object"))
}

/// A part of an object, chunk by chunk. Where one can't be read or is damaged the connection is cut, so
/// that nobody takes half for the whole.
fn body(farm: Arc<Farm>, object: Arc<Object>, from: u64, to: u64) -> Body {
    Body::from_stream(unfold((farm, object, from), move |(farm, object, from)| async move {
        if from >= to {
            return None;
        }
        let read = object.read(from, to - from).await;
        let piece: io::Result<Bytes> = read.inspect_err(|error| {
            tracing::warn!(farm = %farm.name, object = %object.reference.name, %error, "an object can't be served; it is built again");
            farm.objects.forget(&object);
        });
        let next = piece.as_ref().map_or(to, |piece| from + piece.len() as u64);
        Some((piece, (farm, object, next)))
    }))
}
