//! The management API: HTTP under `/v1`, JSON. The routes are in the crate's README; here they are put
//! together, and who asks is found out. Each group of routes has a file.

mod edit_lines;
mod export;
mod failure;
mod farms;
mod gate;
mod guards;
mod history;
mod import;
mod import_rows;
mod instant;
mod lines;
mod metrics;
mod objects;
mod operate;
mod records;
mod scheduled;
mod skew;
mod spool;
mod status;
mod text;
mod undo;
mod watch;

use crate::access::{Role, is_loopback};
use crate::farm::Farm;
use crate::shared::Shared;
use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{ConnectInfo, DefaultBodyLimit, FromRequestParts, OriginalUri, Query};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::routing::{get, post, put};
use downbeat_core::ids::Name;
use failure::Failure;
use serde::de::DeserializeOwned;
pub(crate) use status::change_json;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::net::TcpListener;

/// Bytes in the longest body of most requests: a value, with room to say that it is too long.
const BODY_MAX: usize = 1 << 20;

/// Answers requests until the server ends.
pub(crate) async fn listen(shared: Arc<Shared>, listener: TcpListener) {
    let mut stop = shared.stop.clone();
    let service = router(shared).into_make_service_with_connect_info::<SocketAddr>();
    let ending = async move {
        let _ = stop.wait_for(|stop| *stop).await;
    };
    if let Err(error) = axum::serve(listener, service).with_graceful_shutdown(ending).await {
        tracing::error!(%error, "the HTTP port ended");
    }
}

fn router(shared: Arc<Shared>) -> Router {
    let farm = Router::new()
        .route("/", get(farms::get))
        .route("/records/{dataset}", get(records::list))
        .route("/records/{dataset}/", get(records::get).put(records::put).delete(records::delete))
        .route("/records/{dataset}/{key}", get(records::get).put(records::put).delete(records::delete))
        .route("/datasets", get(records::datasets))
        .route("/import", post(import::import))
        .route("/export", get(export::export))
        .route("/apply", post(import::apply))
        .route("/scheduled", get(scheduled::list).post(scheduled::add).delete(scheduled::remove))
        .route("/settings", get(operate::settings).put(operate::change_settings))
        .route("/hold", put(operate::hold).delete(operate::unhold))
        .route("/pending", get(status::pending))
        .route("/generations", get(status::generations))
        .route("/diff", get(status::diff))
        .route("/history/{dataset}/", get(history::history))
        .route("/history/{dataset}/{key}", get(history::history))
        .route("/rollback", post(history::rollback))
        .route("/undo", get(history::undo_files))
        .route("/undo/{name}", get(history::undo_file))
        .route("/retention", get(history::retention).put(history::set_retention))
        .route("/guards", get(guards::list).put(guards::set).delete(guards::remove))
        .route("/guards/override", post(guards::override_once))
        .route("/gate", get(gate::get).put(gate::set))
        .route("/gate/verdict", post(gate::verdict))
        .route("/gate/again", post(gate::again))
        .route("/gate/changes", get(gate::changes))
        .route("/compare", post(operate::compare))
        .route("/objects/{name}", get(objects::object))
        .route("/objects/{name}/chunks", get(objects::chunks))
        .route("/agents", get(watch::agents))
        .route("/skew", get(skew::skew))
        .route("/events", get(watch::events));
    Router::new()
        .route("/metrics", get(metrics::metrics))
        .route("/v1/health", get(farms::health))
        .route("/v1/farms", get(farms::list).post(farms::create))
        .nest("/v1/farms/{farm}", farm)
        .fallback(async |uri: Uri| {
            Failure::new(
                StatusCode::NOT_FOUND,
                format!("there is nothing at {}", uri.path()),
                "see the list of routes in the server's README; a slash in a key is written %2F",
            )
        })
        .method_not_allowed_fallback(async |uri: Uri| {
            Failure::new(
                StatusCode::METHOD_NOT_ALLOWED,
                format!("{} does not take this method", uri.path()),
                "see the list of routes in the server's README",
            )
        })
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .with_state(shared)
}

/// Who asks.
pub(crate) struct Caller {
    peer: IpAddr,
    /// The address's path as it came: routes read its parts here, because a key may be any bytes.
    path: String,
    token: Option<String>,
    /// The request may have been made by a web page behind its reader's back.
    foreign_page: bool,
}

impl FromRequestParts<Arc<Shared>> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Shared>) -> Result<Caller, Failure> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
        let peer = peer.ok_or_else(|| Failure::bad("the connection has no address", "connect over TCP"))?;
        let authorization = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = authorization.map(|value| value.strip_prefix("Bearer ").unwrap_or("").trim().to_owned());
        let uri = parts.extensions.get::<OriginalUri>().map_or(&parts.uri, |original| &original.0);
        let path = uri.path().to_owned();
        Ok(Caller { peer, path, token, foreign_page: is_foreign_page(&parts.headers) })
    }
}

/// Whether a browser may have sent this for a page of another site: it names an origin, or asks for a
/// host that only a name server could have pointed here.
fn is_foreign_page(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    let named = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
    let name = named.map_or(host, |(name, _)| name).trim_matches(['[', ']']);
    let local = name == "localhost" || name.parse::<IpAddr>().is_ok_and(is_loopback);
    headers.contains_key(header::ORIGIN) || !local
}

impl Caller {
    /// That the caller may do what takes this role, for a farm or for all.
    fn may(&self, shared: &Shared, role: Role, farm: Option<&Name>) -> Result<(), Failure> {
        if self.token.is_none() && self.foreign_page {
            return Err(Failure::new(
                StatusCode::FORBIDDEN,
                "without a token only requests of this host's own programs are taken, not a web page's",
                "address the server as 127.0.0.1 or localhost and send no Origin, or send a token",
            ));
        }
        match shared.tokens.bearer(self.token.as_deref(), farm, self.peer, role) {
            None => Err(Failure::new(
                StatusCode::UNAUTHORIZED,
                match self.token {
                    Some(_) => "the token is not known, or not good for this farm",
                    None => "a token is needed here",
                },
                match role {
                    Role::Reader => "send 'Authorization: Bearer TOKEN' with a token for this farm",
                    _ => "send 'Authorization: Bearer TOKEN' with a viewer's, operator's or admin's token",
                },
            )),
            Some(had) if had < role => Err(Failure::new(
                StatusCode::FORBIDDEN,
                format!("this takes the role {role:?}, and the token has {had:?}"),
                "use a token with that role",
            )),
            Some(_) => Ok(()),
        }
    }

    /// That the caller may give this judge's verdict in the gate of a farm; gives as whom, for the log.
    fn speaks_for(&self, shared: &Shared, farm: &Name, judge: &Name) -> Result<&'static str, Failure> {
        let token = self.token.as_deref();
        if shared.tokens.judges(token, farm).any(|name| name == judge) {
            return Ok("the judge");
        }
        if shared.tokens.speaks_for(token, farm, self.peer, judge) {
            return Ok("an operator");
        }
        let named: Vec<_> = shared.tokens.judges(token, farm).map(Name::as_str).collect();
        let whom = if named.is_empty() { "no judge".to_owned() } else { named.join(", ") };
        Err(Failure::new(
            StatusCode::FORBIDDEN,
            format!("the token speaks for {whom}, not for {}", judge.as_str()),
            format!(
                "use the token of {0} (serve --token judge/{0}:TOKEN), an operator's or an admin's",
                judge.as_str()
            ),
        ))
    }

    /// One part of the path, decoded: 1 is `v1`. The last one that a route has is 6.
    fn part(&self, number: usize) -> Result<Vec<u8>, Failure> {
        let part = self.path.splitn(7, '/').nth(number).unwrap_or_default();
        text::from_percent(part).ok_or_else(|| {
            Failure::bad("the address is not percent-encoded as it should be", "write a '%' as %25")
        })
    }

    /// The dataset that the path names, `/v1/farms/{farm}/records/{dataset}`.
    fn dataset(&self) -> Result<Name, Failure> {
        text::name("dataset", &String::from_utf8_lossy(&self.part(5)?))
    }

    /// The farm that the path names, `/v1/farms/{farm}`, for a caller who may do with it what takes
    /// this role.
    fn farm(&self, shared: &Shared, role: Role) -> Result<Arc<Farm>, Failure> {
        let name = text::name("farm", &String::from_utf8_lossy(&self.part(3)?))?;
        self.may(shared, role, Some(&name))?;
        shared.farm(&name).ok_or_else(|| crate::store::StoreError::NoFarm(name).into())
    }
}

/// The query of an address.
fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, Failure> {
    let query = Query::try_from_uri(uri);
    let Query(query) = query.map_err(|error| Failure::bad(error, "correct the part after the '?'"))?;
    Ok(query)
}

/// A body that was read whole.
fn whole(body: Result<Bytes, BytesRejection>) -> Result<Bytes, Failure> {
    body.map_err(|rejection| {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            Failure::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "the body is larger than is taken here (1 MiB; imports and batches may have more)",
                "a value has at most 65,536 bytes",
            )
        } else {
            Failure::bad("the body did not arrive whole", "send it again")
        }
    })
}

/// A JSON body.
fn json<T: DeserializeOwned>(body: Result<Bytes, BytesRejection>) -> Result<T, Failure> {
    serde_json::from_slice(&whole(body)?).map_err(|error| {
        Failure::bad(format!("the body is not what is expected: {error}"), "correct the JSON")
    })
}
