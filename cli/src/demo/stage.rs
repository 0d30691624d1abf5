//! The demo's data server: embedded, its database in a temporary folder, its ports on loopback, and its
//! farm with short settings. It is spoken to as anybody would, over the management API.

use super::rates::{Day, KEY, NOTICE};
use super::timeline::Timeline;
use super::traces::Traces;
use crate::failure::Failure;
use crate::remote::{Remote, Sent, Target, Told};
use downbeat_core::guard::Guards;
use downbeat_core::ids::Epoch;
use downbeat_core::settings::{Limits, Settings};
use downbeat_core::time::{ServerTime, Span};
use downbeat_server::{Config, Handle, Server};
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use tempfile::TempDir;

/// The farm's name.
pub(crate) const FARM: &str = "demo";

/// A running server and its farm. Dropped, it ends, then its folder is removed.
pub(crate) struct Stage {
    handle: Handle,
    remote: Remote,
    pub(crate) timeline: Arc<Timeline>,
    pub(crate) settings: Settings,
    /// How the farm stood when it was made.
    pub(crate) made: Told,
    traces: Traces,
    _folder: TempDir,
}

/// Short settings for an interval; `far` where links are slower than the ordinary demo's. With a longer
/// interval everybody has more time for everything, so that a busy host can keep up.
///
/// # Errors
/// The interval is too short, with one that would do.
pub(crate) fn settings(interval: Span, far: bool) -> Result<Settings, Failure> {
    let shortest = Span::from_secs(if far { 3 } else { 2 });
    // Up to ten times: nobody needs more, and a farm's lead has a limit.
    let patient = interval.clamp(shortest, shortest.times(10));
    let stretched = |near: i64, distant: i64| {
        let millis = if far { distant } else { near };
        Span::from_nanos(patient.as_nanos() / (shortest.as_nanos() / 1_000_000) * millis)
    };
    let settings = Settings {
        interval,
        lead: stretched(950, 1_800),
        lease: stretched(200, 300),
        round_trip: stretched(150, 250),
        retrieve: stretched(550, 1_200),
        stagger: Span::from_millis(50),
        early_limit: Span::from_millis(50),
        sample_window: Span::from_millis(150),
    };
    settings.check(&Limits::default()).map_err(|error| Failure::Usage(error.to_string()))?;
    Ok(settings)
}

impl Stage {
    /// Starts the server and makes the farm.
    pub(crate) fn start(settings: Settings, guards: Guards, own_agent: bool) -> Result<Stage, Failure> {
        let folder = tempfile::Builder::new().prefix("downbeat-demo-").tempdir().map_err(|error| {
            Failure::own(format!("no temporary folder can be made ({error}); free some space, or set TMPDIR"))
        })?;
        let timeline = Timeline::begin();
        let any: SocketAddr = (Ipv4Addr::LOCALHOST, 0).into();
        let mut config = Config::new(folder.path().join("downbeat.db"));
        config.control = any;
        config.http = any;
        config.own_agent = own_agent;
        config.guards = guards;
        config.clock = Some(timeline.clone());
        let traces = Traces::new(folder.path());
        config.trace = traces.of("server")?;
        let handle = Server::start(config).map_err(Failure::own)?;
        let url = format!("http://{}", handle.http());
        let remote = Remote::new(&Target { url, farm: FARM.to_owned(), token: None, json: false })?;
        let span = |span: Span| format!("{}ns", span.as_nanos());
        let body = json!({ "farm": FARM, "generations_kept": 8, "settings": {
            "interval": span(settings.interval),
            "lead": span(settings.lead),
            "lease": span(settings.lease),
            "round_trip": span(settings.round_trip),
            "retrieve": span(settings.retrieve),
            "stagger": span(settings.stagger),
            "early_limit": span(settings.early_limit),
            "sample_window": span(settings.sample_window),
        } });
        let data = remote.send("POST", "/v1/farms", &Sent::Json(&body))?;
        let made = Told { name: "status".to_owned(), data };
        Ok(Stage { handle, remote, timeline, settings, made, traces, _folder: folder })
    }

    /// Where agents connect.
    pub(crate) fn control(&self) -> SocketAddr {
        self.handle.control()
    }

    /// Where the traces of the run are.
    pub(crate) fn traces(&self) -> &Traces {
        &self.traces
    }

    /// Ends the server; what it and others traced stays until the given work is done.
    pub(crate) fn close<R>(self, then: impl FnOnce(&Traces) -> R) -> R {
        let Stage { handle, remote, traces, _folder, .. } = self;
        drop(remote);
        handle.stop();
        then(&traces)
    }

    /// Makes production a day's, in one transaction. Returns the first epoch that can hold it.
    pub(crate) fn feed(&self, day: &Day, before: Option<&Day>) -> Result<Epoch, Failure> {
        let path = self.remote.of_farm("/apply");
        first_epoch(&self.remote.send("POST", &path, &Sent::Bytes(day.edits(before).as_bytes()))?)
    }

    /// Enters the scheduled record. Returns the first epoch that can hold it.
    pub(crate) fn schedule(&self, from: ServerTime, until: ServerTime) -> Result<Epoch, Failure> {
        let body = json!({ "dataset": NOTICE, "key": KEY, "value": "a scheduled notice",
            "effective_at": from.as_nanos(), "expires_at": until.as_nanos() });
        first_epoch(&self.remote.send("POST", &self.remote.of_farm("/scheduled"), &Sent::Json(&body))?)
    }

    /// What happens in the farm, told on a thread of its own, until the server ends.
    pub(crate) fn events(&self) -> Result<Receiver<Told>, Failure> {
        let events = self.remote.events()?;
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            for told in events {
                if sender.send(told).is_err() {
                    return;
                }
            }
        });
        Ok(receiver)
    }
}

/// What the answer to an edit names.
fn first_epoch(answer: &Value) -> Result<Epoch, Failure> {
    answer["epoch"]
        .as_u64()
        .ok_or_else(|| Failure::own("the demo's server could not say when an edit counts"))
}
