//! `downbeat serve`: a data server on this host, and its farm made at the first start. What a server
//! does is in `downbeat-server`; here are its flags, its tokens and its end.

use crate::failure::Failure;
use crate::remote::{Remote, Sent, Target};
use clap::Args;
use downbeat_core::ids::Name;
use downbeat_server::{AccessToken, Config, Handle, Role, Server, StartAs, SystemClock};
use downbeat_trace::Recorder;
use serde_json::{Map, Value, json};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Starts a data server
#[derive(Args, Debug)]
pub(crate) struct Serve {
    /// The database: a file, or a folder that holds downbeat.db
    #[arg(long, env = "DOWNBEAT_DATA", default_value = "/var/lib/downbeat")]
    data: PathBuf,
    /// Where agents connect (TCP), and exchange time in datagrams (UDP): without the latter they sample the clock
    /// over their connections
    #[arg(long, env = "DOWNBEAT_CONTROL", default_value = "127.0.0.1:7420")]
    control: SocketAddr,
    /// Where people and their programs connect
    #[arg(long, env = "DOWNBEAT_HTTP", default_value = "127.0.0.1:7421")]
    http: SocketAddr,
    /// Says that ports beyond loopback are meant, although nothing is encrypted; they need tokens
    #[arg(long)]
    listen: bool,
    /// The farm that is made if the database has none of this name
    #[arg(long, env = "DOWNBEAT_FARM", default_value = "main")]
    farm: String,
    #[command(flatten)]
    settings: GivenSettings,
    /// An access token: ROLE:TOKEN, or ROLE@FARM:TOKEN (reader, agent, viewer, operator, admin); judge/NAME:TOKEN or
    /// judge/NAME@FARM:TOKEN gives that judge's verdicts, and nobody else's
    #[arg(long = "token", value_name = "ROLE[@FARM]:TOKEN")]
    tokens: Vec<String>,
    /// A file of such tokens, one a line; other users of the host can't read them there
    #[arg(long, env = "DOWNBEAT_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// Peers on this host need a token, too
    #[arg(long)]
    closed: bool,
    /// The old server has stopped, and this is its database on another disk
    #[arg(long, group = "start")]
    moved: bool,
    /// The old server has stopped, and this is a backup: waits until all that may have been promised is over
    #[arg(long, alias = "restore", group = "start")]
    restored: bool,
    /// Vouches that no agent runs a plan of the old server: begins a new timeline at once
    #[arg(long, group = "start")]
    vouch: bool,
    /// Appends everything that the protocol's core is given and answers to a file, for 'downbeat-models replay'; it
    /// grows for as long as the server runs
    #[arg(long, env = "DOWNBEAT_TRACE", value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Judges every candidate before it is staged: a command for /bin/sh, whose exit status 0 approves. It gets what
    /// would change as JSON lines on its standard input, and DOWNBEAT_FARM, DOWNBEAT_EPOCH, DOWNBEAT_DIGEST,
    /// DOWNBEAT_URL and DOWNBEAT_CANDIDATE, the address of all of it; see 'downbeat gate'
    #[arg(long, env = "DOWNBEAT_GATE", value_name = "COMMAND")]
    gate: Option<String>,
    /// Carries no agent of its own: cycles are then begun by agents alone
    #[arg(long)]
    no_own_agent: bool,
    /// Raises the lead where it is too short for the slowest hundredth of the agents; see 'downbeat skew'
    #[arg(long, env = "DOWNBEAT_RAISE_LEAD")]
    raise_lead: bool,
    /// Prints one JSON object once the server answers
    #[arg(long)]
    json: bool,
    /// For tests: the name of this boot of the host
    #[arg(long, hide = true)]
    boot_id: Option<String>,
}

/// Settings of a farm, as text; what is left out keeps its default or its value.
#[derive(Args, Debug, Clone, Default)]
pub(crate) struct GivenSettings {
    /// Time between regular activations
    #[arg(long, value_name = "SPAN")]
    interval: Option<String>,
    /// Least time from the begin of a cycle to its activation
    #[arg(long, value_name = "SPAN")]
    lead: Option<String>,
    /// How long a grant lasts
    #[arg(long, value_name = "SPAN")]
    lease: Option<String>,
    /// The longest round trip that is expected
    #[arg(long, value_name = "SPAN")]
    round_trip: Option<String>,
    /// The longest retrieval that is expected
    #[arg(long, value_name = "SPAN")]
    retrieve: Option<String>,
    /// Agents begin to retrieve spread over this span
    #[arg(long, value_name = "SPAN")]
    stagger: Option<String>,
    /// A prompt agent switches at most this long before T
    #[arg(long, value_name = "SPAN")]
    early_limit: Option<String>,
    /// Agents take their last time samples within this span before T
    #[arg(long, value_name = "SPAN")]
    sample_window: Option<String>,
}

impl GivenSettings {
    /// Those that are given, as the API takes them.
    pub(crate) fn json(&self) -> Map<String, Value> {
        let all = [
            ("interval", &self.interval),
            ("lead", &self.lead),
            ("lease", &self.lease),
            ("round_trip", &self.round_trip),
            ("retrieve", &self.retrieve),
            ("stagger", &self.stagger),
            ("early_limit", &self.early_limit),
            ("sample_window", &self.sample_window),
        ];
        let given = all.into_iter().filter_map(|(name, value)| Some((name, value.clone()?)));
        given.map(|(name, value)| (name.to_owned(), Value::String(value))).collect()
    }
}

impl Serve {
    /// Serves until a signal ends it.
    pub(crate) fn run(self) -> Result<(), Failure> {
        let tokens = self.tokens()?;
        let admin = tokens.iter().find(|token| token.role == Role::Admin && token.farm.is_none());
        let admin = admin.map(|token| token.text.clone());
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
                Failure::own(format!("the host gives no threads ({error}); raise its limits"))
            })?;
        // Before the server answers, so that a signal never finds the default in place.
        let signals = runtime.block_on(async { Signals::new() })?;
        let handle = Server::start(self.config(&tokens)?).map_err(Failure::own)?;
        self.make_farm(&handle, admin)?;
        self.tell(&handle);
        runtime.block_on(signals.wait());
        handle.stop();
        Ok(())
    }

    fn config(&self, tokens: &[Token]) -> Result<Config, Failure> {
        let mut config = Config::new(database(&self.data));
        config.control = self.control;
        config.http = self.http;
        config.beyond_loopback = self.listen;
        config.tokens = tokens
            .iter()
            .map(|token| match token.judge.clone() {
                Some(judge) => AccessToken::judge(&token.text, judge, token.farm.clone()),
                None => AccessToken::new(&token.text, token.role, token.farm.clone()),
            })
            .collect();
        config.open_on_loopback = !self.closed;
        config.own_agent = !self.no_own_agent;
        config.raise_lead = self.raise_lead;
        config.gate = self.gate.clone();
        config.start_as = match (self.moved, self.restored, self.vouch) {
            (true, ..) => StartAs::Moved,
            (_, true, _) => StartAs::Restored,
            (.., true) => StartAs::Vouched,
            _ => StartAs::Ordinary,
        };
        config.trace = recorder(self.trace.as_deref())?;
        if let Some(boot) = &self.boot_id {
            let clock = SystemClock::new(Some(boot)).map_err(Failure::own)?;
            config.clock = Some(Arc::new(clock));
        }
        Ok(config)
    }

    fn tokens(&self) -> Result<Vec<Token>, Failure> {
        let mut texts = self.tokens.clone();
        if let Some(path) = &self.token_file {
            let file = std::fs::read_to_string(path).map_err(|error| {
                Failure::Usage(format!(
                    "the token file {} can't be read ({error}); name one that can",
                    path.display()
                ))
            })?;
            let lines = file.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
            texts.extend(lines.map(str::to_owned));
        }
        texts.iter().map(|text| Token::parse(text)).collect()
    }

    /// Makes the farm where the database has none of that name. One that exists stays as it is.
    fn make_farm(&self, handle: &Handle, admin: Option<String>) -> Result<(), Failure> {
        let target =
            Target { url: own_url(handle.http()), farm: self.farm.clone(), token: admin, json: false };
        let remote = Remote::new(&target)?;
        let known = remote.get("/v1/farms")?;
        if known["farms"].as_array().is_some_and(|farms| farms.iter().any(|farm| *farm == *self.farm)) {
            if !self.settings.json().is_empty() {
                eprintln!(
                    "downbeat: the farm {} exists already, and keeps its settings; change them with 'downbeat settings'",
                    self.farm
                );
            }
            return Ok(());
        }
        let body = json!({ "farm": self.farm, "settings": self.settings.json() });
        remote.send("POST", "/v1/farms", &Sent::Json(&body)).map(|_| ())
    }

    fn tell(&self, handle: &Handle) {
        let (control, http) = (handle.control(), handle.http());
        if self.json {
            println!(
                "{}",
                json!({
                    "control": control.to_string(),
                    "http": own_url(http),
                    "farm": self.farm,
                    "continued": handle.continued(),
                })
            );
            return;
        }
        let line = if handle.continued() { "goes on where it was" } else { "is new" };
        println!(
            "Farm {}: agents connect to {control}, people to {}; the timeline {line}.",
            self.farm,
            own_url(http)
        );
        println!("Next: downbeat agent --server {control} --farm {} --print", self.farm);
        println!("      downbeat put prices EUR 1.09 --url {} --farm {}", own_url(http), self.farm);
    }
}

/// What writes to the trace that was asked for.
pub(crate) fn recorder(path: Option<&Path>) -> Result<Recorder, Failure> {
    let Some(path) = path else { return Ok(Recorder::off()) };
    Recorder::append(path).map_err(|error| {
        let path = path.display();
        Failure::Usage(format!(
            "the trace {path} can't be written ({error}); name a file that can, or leave it out"
        ))
    })
}

/// The database in a folder, or the file that is named.
fn database(data: &Path) -> PathBuf {
    let file = !data.is_dir() && data.extension().is_some();
    if file { data.to_owned() } else { data.join("downbeat.db") }
}

/// How this process reaches its own server.
fn own_url(http: SocketAddr) -> String {
    let ip = match http.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(ip, http.port()))
}

/// An access token as it is given.
struct Token {
    role: Role,
    farm: Option<Name>,
    /// Whose verdicts a judge's token gives; no other one names a judge.
    judge: Option<Name>,
    text: String,
}

impl Token {
    fn parse(text: &str) -> Result<Token, Failure> {
        let parsed = text.split_once(':').and_then(|(what, token)| {
            let (role, farm) = match what.split_once('@') {
                Some((role, farm)) => (role, Some(Name::new(farm).ok()?)),
                None => (what, None),
            };
            let (role, judge) = match role.split_once('/') {
                Some((role, judge)) => (Role::from_name(role)?, Some(Name::new(judge).ok()?)),
                None => (Role::from_name(role)?, None),
            };
            let good = (1..=64).contains(&token.len()) && (role == Role::Judge) == judge.is_some();
            good.then_some(Token { role, farm, judge, text: token.to_owned() })
        });
        // The token itself stays out of logs.
        parsed.ok_or_else(|| {
            Failure::Usage(
                "a token is not of the form ROLE:TOKEN or ROLE@FARM:TOKEN; the roles are reader, agent, viewer, \
                 judge/NAME (whose verdicts it gives), operator and admin, and TOKEN has 1 to 64 bytes"
                    .to_owned(),
            )
        })
    }
}

/// The signals that end a program in an orderly way.
pub(crate) struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    /// Takes them over; inside a runtime.
    pub(crate) fn new() -> Result<Signals, Failure> {
        use tokio::signal::unix::{SignalKind, signal};
        let failed = |error| Failure::own(format!("signals can't be taken over ({error})"));
        let interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let terminate = signal(SignalKind::terminate()).map_err(failed)?;
        Ok(Signals { interrupt, terminate })
    }

    /// Until one comes.
    pub(crate) async fn wait(mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_taken_apart() {
        let token = Token::parse("agent@eu:secret:1").unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((token.role, token.text.as_str()), (Role::Agent, "secret:1"));
        assert_eq!(token.farm, Name::new("eu").ok());
        assert_eq!(token.judge, None);
        let token = Token::parse("judge/canary@eu:j").unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((token.role, token.judge), (Role::Judge, Name::new("canary").ok()));
        let long = format!("agent:{}", "x".repeat(65));
        let judges = ["judge:x", "judge@eu:x", "judge/:x", "judge/A B:x", "viewer/canary:x"];
        for bad in ["secret", "king:x", "agent@E U:x", "agent:", &long].into_iter().chain(judges) {
            assert!(Token::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn data_is_a_folder_or_a_file() {
        assert_eq!(database(Path::new("/nowhere/d")), Path::new("/nowhere/d/downbeat.db"));
        assert_eq!(database(Path::new("/nowhere/d.db")), Path::new("/nowhere/d.db"));
        assert_eq!(database(Path::new("/tmp")), Path::new("/tmp/downbeat.db"));
    }
}
