//! `downbeat agent`: the reference agent as a program. What an agent does is in `downbeat-agent`; here
//! are its flags, its log, and a reader that says what readers see.

use crate::check::Check;
use crate::digest::digest;
use crate::failure::Failure;
use crate::serve::{Signals, recorder};
use crate::show;
use clap::{Args, ValueEnum};
use downbeat_agent::clock::Distortion;
use downbeat_agent::{Agent, Builder, Clock, Look, Reader, What};
use downbeat_core::effect::Event;
use downbeat_core::ids::{Digest, Incarnation};
use downbeat_core::serving::{Mode, Serving};
use downbeat_core::time::{LocalTime, Span};
use downbeat_trace::{Line, Recorder};
use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Starts an agent on this host
#[derive(Args, Debug)]
pub(crate) struct Run {
    /// The server's control port
    #[arg(long, env = "DOWNBEAT_SERVER", default_value = "127.0.0.1:7420")]
    server: String,
    /// The farm
    #[arg(long, env = "DOWNBEAT_FARM", default_value = "main")]
    farm: String,
    /// What it does where it can't prove what is live: serve it marked stale, or nothing
    #[arg(long, env = "DOWNBEAT_MODE", value_enum, default_value = "prompt")]
    mode: ModeName,
    /// An access token
    #[arg(long, env = "DOWNBEAT_TOKEN", hide_env_values = true, default_value = "")]
    token: String,
    /// Where its id and its last good generation are kept; without it, nowhere
    #[arg(long, env = "DOWNBEAT_STATE_DIR")]
    state_dir: Option<PathBuf>,
    /// Its name for people
    #[arg(long, default_value = "")]
    display: String,
    /// Subscribes to a dataset only; may be given several times
    #[arg(long = "dataset")]
    datasets: Vec<String>,
    /// The largest rate error of this host's clock, in parts per million
    #[arg(long, default_value_t = 250)]
    rate_ppm: u32,
    /// After how long without a server a prompt agent serves its last good generation, marked stale
    #[arg(long, default_value = "5s", value_parser = show::parse_span)]
    start_wait: i64,
    /// A command that judges each generation before it is staged: it gets the records on standard input, a JSON object
    /// a line, and DOWNBEAT_FARM, DOWNBEAT_EPOCH, DOWNBEAT_DIGEST and DOWNBEAT_RECORDS; if it fails, the generation is
    /// refused with what it said last on standard error
    #[arg(long, env = "DOWNBEAT_CHECK", value_name = "COMMAND")]
    check: Option<String>,
    /// After how long without a verdict that command is ended, and the generation refused. Until then the agent asks the
    /// server nothing: with the farm's stagger and retrieve it should fit into the lead
    #[arg(long, default_value = "10s", value_parser = show::parse_span, requires = "check")]
    check_limit: i64,
    /// The largest generation that it takes, in bytes of keys and values, and the longest object; a larger one is refused
    #[arg(long, env = "DOWNBEAT_CONTENT_LIMIT", value_name = "BYTES", default_value_t = 1 << 30)]
    content_limit: u64,
    /// Prints a line whenever what a reader sees changes
    #[arg(long)]
    print: bool,
    /// Prints those lines as JSON
    #[arg(long)]
    json: bool,
    /// Appends everything that the protocol's core is given and answers, and what --print or --json reads, to a file,
    /// for 'downbeat-models replay'; it grows for as long as the agent runs
    #[arg(long, env = "DOWNBEAT_TRACE", value_name = "FILE")]
    trace: Option<PathBuf>,
    /// For tests: how far its clock is ahead of the host's
    #[arg(long, hide = true, default_value = "0s", value_parser = show::parse_span, allow_hyphen_values = true)]
    clock_offset: i64,
    /// For tests: how much faster its clock runs than the host's
    #[arg(long, hide = true, default_value_t = 0, allow_hyphen_values = true)]
    clock_rate_ppm: i64,
    /// For tests: the longest wait before a server is tried again
    #[arg(long, hide = true, default_value = "10s", value_parser = show::parse_span)]
    longest_back_off: i64,
    /// For tests: how long a server may leave requests unanswered
    #[arg(long, hide = true, default_value = "5s", value_parser = show::parse_span)]
    silence_limit: i64,
    /// For tests: with --json, says this often what is still seen, and tells of switches
    #[arg(long, hide = true, value_parser = show::parse_span)]
    repeat: Option<i64>,
}

/// The wait before a server is tried again for the first time.
const FIRST_BACK_OFF: Duration = Duration::from_millis(100);

/// The two modes, as they are written on a command line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum ModeName {
    /// Serves always, and marks what may be out of date.
    Prompt,
    /// Serves only what is provably live.
    Strict,
}

impl ModeName {
    /// As core names it.
    pub(crate) fn mode(self) -> Mode {
        match self {
            ModeName::Prompt => Mode::Prompt,
            ModeName::Strict => Mode::Strict,
        }
    }

    /// As people write it.
    pub(crate) fn text(self) -> &'static str {
        match self {
            ModeName::Prompt => "prompt",
            ModeName::Strict => "strict",
        }
    }
}

impl Run {
    /// Runs the agent until a signal ends it.
    pub(crate) fn run(self) -> Result<(), Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(|error| {
            Failure::own(format!("the host gives no threads ({error}); raise its limits"))
        })?;
        runtime.block_on(async {
            let signals = Signals::new()?;
            let recorder = recorder(self.trace.as_deref())?;
            let stop = Arc::new(AtomicBool::new(false));
            let agent = self.builder().trace(recorder.clone()).start().await.map_err(Failure::own)?;
            let happenings = agent.happenings();
            // What there was to say about its state directory was said before anybody could listen.
            for happening in agent.status().last {
                if let What::Warning(text) = happening.what {
                    tracing::warn!("{text}");
                }
            }
            let log = tokio::spawn(log(happenings, self.json && self.repeat.is_some()));
            let printer = (self.print || self.json).then(|| {
                let (reader, stop) = (agent.reader(), stop.clone());
                let (json, repeat) = (self.json, self.repeat.filter(|_| self.json));
                let teller = Teller { recorder: recorder.clone(), life: agent.incarnation(), last: None };
                std::thread::spawn(move || print(reader, json, repeat, teller, &stop))
            });
            signals.wait().await;
            stop.store(true, Ordering::Relaxed);
            let clock = agent.clock().clone();
            agent.stop().await;
            log.abort();
            if let Some(printer) = printer {
                // It only prints; where standard output is gone it has ended already.
                let _ = printer.join();
            }
            recorder.end(clock.read().host);
            if !recorder.is_whole() {
                tracing::error!("the trace is not whole: its file could not be written");
            }
            Ok(())
        })
    }

    fn builder(&self) -> Builder {
        let mut builder = Agent::builder()
            .server(&self.server)
            .farm(&self.farm)
            .mode(self.mode.mode())
            .token(&self.token)
            .display(&self.display)
            .rate_ppm(self.rate_ppm)
            .content_limit(self.content_limit)
            .back_off(FIRST_BACK_OFF, Duration::from_nanos(self.longest_back_off.unsigned_abs()))
            .silence_limit(Duration::from_nanos(self.silence_limit.unsigned_abs()))
            .start_wait(Duration::from_nanos(self.start_wait.unsigned_abs()));
        if let Some(path) = &self.state_dir {
            builder = builder.state_dir(path);
        }
        for dataset in &self.datasets {
            builder = builder.dataset(dataset);
        }
        if let Some(command) = &self.check {
            let check = Check { command: command.clone(), farm: self.farm.clone() };
            let limit = Duration::from_nanos(self.check_limit.unsigned_abs());
            builder = builder.validate(move |offer| check.judge(offer)).verdict_limit(limit);
        }
        if self.clock_offset != 0 || self.clock_rate_ppm != 0 {
            let offset = Span::from_nanos(self.clock_offset);
            let rate_ppb = self.clock_rate_ppm.saturating_mul(1_000);
            builder = builder.clock(Clock::distorted(Distortion { offset, rate_ppb }));
        }
        builder
    }
}

/// What happens, in the log; switches on standard output too, where `tell` says so.
async fn log(mut happenings: tokio::sync::broadcast::Receiver<downbeat_agent::Happening>, tell: bool) {
    use tokio::sync::broadcast::error::RecvError;
    loop {
        let what = match happenings.recv().await {
            Ok(happening) => happening.what,
            Err(RecvError::Lagged(missed)) => {
                tracing::warn!(missed, "the log is behind");
                continue;
            }
            Err(RecvError::Closed) => return,
        };
        match what {
            What::Connected => tracing::info!("connected"),
            What::Disconnected(cause) => tracing::warn!(cause, "no connection; trying again"),
            What::Refused(generation, why, cause) => {
                tracing::warn!(epoch = generation.epoch, ?why, cause, "a generation is refused");
            }
            What::Protocol(Event::Refused(code)) => tracing::error!(?code, "{}", cure(&format!("{code:?}"))),
            What::Protocol(Event::Switched(switched)) => {
                let epsilon = show::span(switched.epsilon.as_nanos());
                tracing::info!(epoch = switched.epoch, epsilon, "switched");
                if tell {
                    let line =
                        json!({ "switched": switched.epoch, "epsilon_ns": switched.epsilon.as_nanos() });
                    // Nobody reads it any more: the log goes on.
                    let _ = writeln!(std::io::stdout(), "{line}");
                }
            }
            What::ClockJumped => tracing::error!("this host's clock jumped; all time samples are dropped"),
            What::Damaged(generation) => {
                tracing::error!(epoch = generation.epoch, "content is damaged; it is retrieved again");
            }
            What::Compacted(digest) => tracing::debug!(%digest, "compacted"),
            What::Warning(text) => tracing::warn!("{text}"),
            What::BadFrame(fault) => tracing::warn!(?fault, "a frame is dropped"),
            What::Protocol(event) => tracing::debug!(?event, "protocol"),
            What::Phase(phase) => tracing::debug!(?phase, "phase"),
            What::Published(plan) => tracing::trace!(?plan, "published"),
        }
    }
}

/// What the server's refusal means for whoever started the agent.
fn cure(code: &str) -> &'static str {
    match code {
        "NoFarm" => {
            "the server has no such farm; correct --farm, or make the farm with 'downbeat serve --farm'"
        }
        "Unauthorized" => "the server doesn't take this token; give --token with the role agent or reader",
        "Version" => "the server speaks another version of the protocol; update the older of the two",
        "Busy" => "the server is busy; the agent tries again",
        _ => "the server refuses the agent; see the server's log",
    }
}

/// What a reader sees at one moment, without the instant.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Sight {
    state: &'static str,
    generation: Option<downbeat_core::ids::Generation>,
}

impl Sight {
    fn of(serving: Serving) -> Sight {
        let state = match serving {
            Serving::Active(_) | Serving::Staged(_) => "current",
            Serving::Stale(_) => "stale",
            Serving::Hold => "held",
            Serving::Fenced => "fenced",
        };
        Sight { state, generation: serving.generation() }
    }
}

/// Looks again and again, in a tight loop where a switch is near, and prints what changes: since when
/// it is seen, and until when what was before was seen, by the host's own clock.
fn print(mut reader: Reader, as_json: bool, repeat: Option<i64>, mut teller: Teller, stop: &AtomicBool) {
    let mut before: Option<(Sight, LocalTime)> = None;
    let mut said = LocalTime::MIN;
    while !stop.load(Ordering::Relaxed) {
        let (life, look) = look(&mut reader);
        if life != teller.life {
            // What was seen of the life before is not the new one's.
            teller.end();
            teller = Teller { life, last: None, ..teller };
        }
        let sight = Sight::of(look.serving);
        let digest = teller.note(look, &mut reader, repeat);
        if before.is_none_or(|(last, _)| last != sight) {
            let until = before.map(|(_, until)| until.as_nanos());
            let line = if as_json {
                line_json(&mut reader, sight, digest, look.host, until).to_string()
            } else {
                line_text(&mut reader, sight)
            };
            if writeln!(std::io::stdout(), "{line}").is_err() {
                return;
            }
            said = look.host;
        } else if repeat.is_some_and(|repeat| (look.host - said).as_nanos() >= repeat) {
            if writeln!(std::io::stdout(), "{}", json!({ "still_host_ns": look.host.as_nanos() })).is_err() {
                return;
            }
            said = look.host;
        }
        before = Some((sight, look.host));
        let plan = reader.plan();
        let near = |at: LocalTime| (at - look.at).as_nanos().saturating_abs() < 5_000_000;
        if near(plan.active_until) || near(plan.staged_from) || near(plan.staged_until) {
            std::thread::yield_now();
        } else {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// A look, and the life of the agent that it is of.
fn look(reader: &mut Reader) -> (Incarnation, Look) {
    loop {
        let life = reader.life();
        let look = reader.read_now();
        if let Some(life) = life.filter(|_| reader.life() == life) {
            return (life, look);
        }
        std::thread::yield_now();
    }
}

/// Tells a trace what the reader gets.
struct Teller {
    recorder: Recorder,
    life: Incarnation,
    /// The last look, and when a line was last written.
    last: Option<(Look, LocalTime)>,
}

impl Teller {
    /// A look: told where it differs from the one before it, with that one, so that both ends of an
    /// interval are known; else as often as is asked for. Returns the digest of the records that a new
    /// sight shows.
    fn note(&mut self, look: Look, reader: &mut Reader, repeat: Option<i64>) -> Option<Digest> {
        let Some((last, told)) = self.last.replace((look, look.host)) else {
            return self.tell_new(look, reader);
        };
        if last.serving != look.serving {
            if told < last.host {
                self.tell(last, None);
            }
            return self.tell_new(look, reader);
        }
        if repeat.is_some_and(|repeat| (look.host - told).as_nanos() >= repeat) {
            self.tell(look, None);
        } else {
            self.last = Some((look, told));
        }
        None
    }

    /// The last look of a life.
    fn end(&self) {
        if let Some((last, told)) = self.last
            && told < last.host
        {
            self.tell(last, None);
        }
    }

    fn tell_new(&self, look: Look, reader: &mut Reader) -> Option<Digest> {
        let records = records_digest(reader, Sight::of(look.serving));
        self.tell(look, records);
        records
    }

    fn tell(&self, look: Look, records: Option<Digest>) {
        let Look { serving: got, at: now, host: at } = look;
        self.recorder.tell(|| Line::Read { at, life: self.life, reader: 0, now, got, records });
    }
}

fn records(reader: &mut Reader, sight: Sight) -> Option<u64> {
    reader.pinned(sight.generation?).map(|guard| guard.image().len())
}

/// The digest of the records that a reader gets, computed from them: whoever compares it with the
/// generation's sees whether they are whole (S5). `None` where they are damaged, which the agent finds
/// out by itself.
fn records_digest(reader: &mut Reader, sight: Sight) -> Option<Digest> {
    let guard = reader.pinned(sight.generation?)?;
    guard.image().verify().ok()?;
    // Nothing is damaged any more, so nothing is left out.
    let records = guard.image().datasets().flat_map(|dataset| {
        let name = dataset.name().as_str();
        dataset.iter().flatten().map(move |(key, value)| (name, key, value))
    });
    digest(records)
}

fn line_json(
    reader: &mut Reader,
    sight: Sight,
    records_digest: Option<Digest>,
    host: LocalTime,
    until: Option<i64>,
) -> Value {
    json!({
        "records_digest": records_digest.map(|digest| digest.to_string()),
        "state": sight.state,
        "epoch": sight.generation.map(|generation| generation.epoch),
        "digest": sight.generation.map(|generation| generation.digest.to_string()),
        "records": records(reader, sight),
        "host_ns": host.as_nanos(),
        "before_until_host_ns": until,
    })
}

fn line_text(reader: &mut Reader, sight: Sight) -> String {
    let now = jiff::Zoned::now().strftime("%H:%M:%S%.3f").to_string();
    match sight.generation {
        Some(generation) => {
            let records = records(reader, sight).map_or(String::new(), |count| format!(", {count} records"));
            let digest: String = generation.digest.to_string().chars().take(12).collect();
            let mark = if sight.state == "stale" { ", marked stale" } else { "" };
            format!("{now}  epoch {} is live here{mark}  (digest {digest}{records})", generation.epoch)
        }
        None if sight.state == "held" => format!("{now}  reads are held for the switch"),
        None => format!("{now}  nothing is served: what is live can't be proven yet"),
    }
}
