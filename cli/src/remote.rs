//! The client of a server's management API (`/v1`). What the routes take and answer is in the server's
//! README; here they are called, and their refusals become failures of a command.

use crate::failure::Failure;
use clap::Args;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::time::Duration;
use ureq::http::Response;
use ureq::{Agent, Body, SendBody};

/// Bytes in the longest answer that is taken.
const ANSWER_MAX: u64 = 1 << 30;
/// How long an ordinary request may take; an import may take any time.
const PATIENCE: Duration = Duration::from_secs(120);

// Which server, which farm, and with what right. (Not a doc comment, see main.rs.)
#[derive(Args, Clone, Debug)]
pub(crate) struct Target {
    /// The server's management address
    #[arg(long, global = true, env = "DOWNBEAT_URL", default_value = "http://127.0.0.1:7421")]
    pub(crate) url: String,
    /// The farm
    #[arg(long, global = true, env = "DOWNBEAT_FARM", default_value = "main")]
    pub(crate) farm: String,
    /// An access token; none is needed on the server's own host, unless it was started so
    #[arg(long, global = true, env = "DOWNBEAT_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// Print JSON, for programs
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// A server, as a command sees it.
#[derive(Clone, Debug)]
pub(crate) struct Remote {
    agent: Agent,
    base: String,
    farm: String,
    token: Option<String>,
}

/// A body to send.
pub(crate) enum Sent<'a> {
    /// JSON.
    Json(&'a Value),
    /// Bytes as they are.
    Bytes(&'a [u8]),
}

impl Remote {
    /// The server that is named.
    pub(crate) fn new(target: &Target) -> Result<Remote, Failure> {
        let base = target.url.trim_end_matches('/').to_owned();
        if !base.starts_with("http://") {
            return Err(Failure::Usage(format!(
                "{base:?} is no address of a server that can be reached: write --url http://HOST:PORT (there \
                 is no encryption yet, so no https)"
            )));
        }
        let config = Agent::config_builder().http_status_as_error(false).max_redirects(0);
        let agent = config.timeout_connect(Some(Duration::from_secs(10))).build().into();
        Ok(Remote { agent, base, farm: target.farm.clone(), token: target.token.clone() })
    }

    /// The address of something of the farm; `rest` begins with a slash or is empty.
    pub(crate) fn of_farm(&self, rest: &str) -> String {
        format!("/v1/farms/{}{rest}", percent(self.farm.as_bytes()))
    }

    /// GET, as JSON.
    pub(crate) fn get(&self, path: &str) -> Result<Value, Failure> {
        json(&self.get_bytes(path)?)
    }

    /// GET, as bytes.
    pub(crate) fn get_bytes(&self, path: &str) -> Result<Vec<u8>, Failure> {
        let request = self.agent.get(self.base.clone() + path);
        let request = request.config().timeout_global(Some(PATIENCE)).build();
        self.whole(self.signed(request).call())
    }

    /// GET, as a body that need not fit memory, and its length where that is told.
    pub(crate) fn get_body(&self, path: &str) -> Result<(impl Read + use<>, Option<u64>), Failure> {
        let request = self.agent.get(self.base.clone() + path);
        let answer = self.signed(request).call().map_err(|error| self.unreachable(&error))?;
        let body = refusal(answer)?.into_body();
        let len = body.content_length();
        Ok((body.into_reader(), len))
    }

    /// POST with a body that need not fit memory. It is sent once the server has said that it takes it.
    pub(crate) fn send_reader(&self, path: &str, body: &mut dyn Read) -> Result<Value, Failure> {
        let request = self.signed(self.agent.post(self.base.clone() + path));
        let request = request.header("content-type", "application/octet-stream");
        let answer = request.header("expect", "100-continue").send(SendBody::from_reader(body));
        json(&self.whole(answer)?)
    }

    /// PUT or POST with a body.
    pub(crate) fn send(&self, method: &str, path: &str, body: &Sent<'_>) -> Result<Value, Failure> {
        let address = self.base.clone() + path;
        let request = if method == "PUT" { self.agent.put(address) } else { self.agent.post(address) };
        let request = request.config().timeout_global(Some(PATIENCE)).build();
        let request = self.signed(request);
        let answer = match body {
            Sent::Json(value) => {
                request.header("content-type", "application/json").send(value.to_string().as_bytes())
            }
            Sent::Bytes(bytes) => request.header("content-type", "application/octet-stream").send(*bytes),
        };
        json(&self.whole(answer)?)
    }

    /// DELETE, with a body where one is needed.
    pub(crate) fn delete(&self, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let request = self.agent.delete(self.base.clone() + path);
        let request = self.signed(request.config().timeout_global(Some(PATIENCE)).build());
        let answer = match body {
            None => request.call(),
            Some(body) => request
                .header("content-type", "application/json")
                .force_send_body()
                .send(body.to_string().as_bytes()),
        };
        json(&self.whole(answer)?)
    }

    /// The farm's stream of events, for as long as the server lives.
    pub(crate) fn events(&self) -> Result<Events, Failure> {
        let request = self.agent.get(self.base.clone() + &self.of_farm("/events"));
        let answer = self.signed(request).call().map_err(|error| self.unreachable(&error))?;
        let answer = refusal(answer)?;
        Ok(Events { lines: BufReader::new(Box::new(answer.into_body().into_reader())) })
    }

    fn signed<B>(&self, request: ureq::RequestBuilder<B>) -> ureq::RequestBuilder<B> {
        match &self.token {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        }
    }

    fn whole(&self, answer: Result<Response<Body>, ureq::Error>) -> Result<Vec<u8>, Failure> {
        let mut answer = refusal(answer.map_err(|error| self.unreachable(&error))?)?;
        let body = answer.body_mut().with_config().limit(ANSWER_MAX).read_to_vec();
        body.map_err(|error| self.unreachable(&error))
    }

    fn unreachable(&self, error: &ureq::Error) -> Failure {
        Failure::Unreachable(format!(
            "the server at {} can't be reached ({error}); start it with 'downbeat serve', or name another with --url",
            self.base
        ))
    }
}

/// The answer, unless it is a refusal.
fn refusal(mut answer: Response<Body>) -> Result<Response<Body>, Failure> {
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let body = answer.body_mut().with_config().limit(1 << 20).read_to_vec().unwrap_or_default();
    let told: Value = serde_json::from_slice(&body).unwrap_or_default();
    let Some(error) = told.get("error").and_then(Value::as_str) else {
        let cure = "see whether a Downbeat server listens at that address";
        return Err(Failure::refused(format!("the server answers {status}"), cure));
    };
    Err(Failure::refused(error, told.get("cure").and_then(Value::as_str).unwrap_or_default()))
}

fn json(bytes: &[u8]) -> Result<Value, Failure> {
    serde_json::from_slice(bytes).map_err(|error| {
        Failure::refused(
            format!("the answer is no JSON ({error})"),
            "see whether a Downbeat server of this version listens at that address",
        )
    })
}

/// A part of an address: every byte that isn't plain is percent-encoded.
pub(crate) fn percent(bytes: &[u8]) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let part = |byte: &u8| if plain(*byte) { char::from(*byte).to_string() } else { format!("%{byte:02X}") };
    bytes.iter().map(part).collect()
}

/// Server-sent events, one after the other.
pub(crate) struct Events {
    lines: BufReader<Box<dyn Read + Send>>,
}

/// One event: its name and its data.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    /// As in the server's README: `staged`, `activated`, …
    pub(crate) name: String,
    /// What it says.
    pub(crate) data: Value,
}

impl Iterator for Events {
    type Item = Told;

    /// The next event; `None` once the server has ended the stream.
    fn next(&mut self) -> Option<Told> {
        let (mut name, mut data) = (String::new(), String::new());
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim_end();
            if let Some(text) = line.strip_prefix("event:") {
                name = text.trim().to_owned();
            } else if let Some(text) = line.strip_prefix("data:") {
                data.push_str(text.trim_start());
            } else if line.is_empty() && !name.is_empty() {
                let data = serde_json::from_str(&data).unwrap_or_default();
                return Some(Told { name, data });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_any_bytes_fits_an_address() {
        assert_eq!(percent(b"a-z_9.~"), "a-z_9.~");
        assert_eq!(percent("a/b ü\0".as_bytes()), "a%2Fb%20%C3%BC%00");
    }

    #[test]
    fn events_are_taken_apart() {
        let text = ": keep alive\n\nevent: staged\ndata: {\"epoch\":7}\n\nevent: x\ndata: {}\n\n";
        let mut events = Events { lines: BufReader::new(Box::new(text.as_bytes())) };
        let first = events.next().unwrap();
        assert_eq!((first.name.as_str(), first.data["epoch"].as_u64()), ("staged", Some(7)));
        assert_eq!(events.next().unwrap().name, "x");
        assert!(events.next().is_none());
    }
}
