//! How an agent is set up and started. What the settings of the protocol mean is in core.

use crate::clock::{Clock, GRANULARITY, SecondSource, boot_id};
use crate::content::{Content, Shelf};
use crate::disk::{Disk, OpenError};
use crate::driver::Driver;
use crate::handle::Agent;
use crate::line::{BackOff, Link};
use crate::status::{Board, What};
use crate::worker::{Validate, Worker};
use downbeat_core::agent::{Agent as Machine, Config, Start};
use downbeat_core::cell::{PlanCell, PlanWriter};
use downbeat_core::guard::Guards;
use downbeat_core::ids::{AgentId, Generation, Incarnation, Name};
use downbeat_core::message::{DATASETS_MAX, Hello, TOKEN_MAX, VERSION};
use downbeat_core::serving::{Activation, Mode, SwitchPlan};
use downbeat_core::time::{Rate, Span};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use tokio::sync::{mpsc as channel, oneshot};

/// Why an agent could not be started. Nothing runs, and nothing on the disk was changed but by the
/// making of its directory.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// A setting that must be given isn't.
    Missing(&'static str),
    /// A farm's or dataset's name breaks the rule for names.
    Name(String),
    /// A text is longer than messages can carry.
    TooLong {
        /// Which setting.
        setting: &'static str,
        /// Its largest length.
        most: usize,
    },
    /// Another agent runs on the state directory.
    InUse(PathBuf),
    /// The state directory can't be used.
    StateDir(PathBuf, std::io::Error),
    /// The host gives no random numbers, without which an agent can't tell its lives apart.
    Random(String),
    /// There is no tokio runtime here.
    NoRuntime,
    /// The worker's thread can't be started.
    Thread(std::io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Missing(setting) => write!(f, "the agent isn't told its {setting}; give it one"),
            StartError::Name(name) => {
                write!(f, "{name:?} is no name: a name is 1 to 64 characters of a-z, 0-9, '.', '_' and '-'")
            }
            StartError::TooLong { setting, most } => {
                write!(f, "the {setting} is too long; {most} is the most")
            }
            StartError::InUse(path) => write!(
                f,
                "another agent runs on the state directory {}; stop it, or give this one its own",
                path.display()
            ),
            StartError::StateDir(path, error) => write!(
                f,
                "the state directory {} can't be used: {error}; make it writable, or name another",
                path.display()
            ),
            StartError::Random(cause) => write!(f, "the host gives no random numbers: {cause}"),
            StartError::NoRuntime => f.write_str("an agent runs on tokio; start it inside a runtime"),
            StartError::Thread(error) => {
                write!(f, "the agent's worker thread can't be started: {error}; raise the limit on threads")
            }
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StartError::StateDir(_, error) | StartError::Thread(error) => Some(error),
            _ => None,
        }
    }
}

/// Settings of an agent, all but two with defaults. Made by [`Agent::builder`].
pub struct Builder {
    server: Option<String>,
    farm: Option<String>,
    mode: Mode,
    activation: Activation,
    token: String,
    display: String,
    datasets: Vec<String>,
    state_dir: Option<PathBuf>,
    clock: Clock,
    rate: Rate,
    second_source: bool,
    back_off: (Span, Span),
    start_wait: Span,
    samples: u8,
    reports: bool,
    guards: Guards,
    content_limit: u64,
    kept: usize,
    hold_limit: Duration,
    silence_limit: Duration,
    agent: Option<AgentId>,
    validate: Option<Validate>,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the token.
        f.debug_struct("Builder")
            .field("server", &self.server)
            .field("farm", &self.farm)
            .field("mode", &self.mode)
            .field("state_dir", &self.state_dir)
            .finish_non_exhaustive()
    }
}

impl Builder {
    pub(crate) fn new() -> Builder {
        let defaults = Config::new(AgentId::default(), Mode::Prompt);
        Builder {
            server: None,
            farm: None,
            mode: defaults.mode,
            activation: defaults.activation,
            token: String::new(),
            display: String::new(),
            datasets: Vec::new(),
            state_dir: None,
            clock: Clock::host(),
            rate: defaults.rate,
            second_source: true,
            back_off: defaults.back_off,
            start_wait: defaults.start_wait,
            samples: defaults.samples,
            reports: defaults.reports,
            guards: Guards::ALL,
            content_limit: 1 << 30,
            kept: 3,
            hold_limit: Duration::from_secs(1),
            silence_limit: Duration::from_secs(5),
            agent: None,
            validate: None,
        }
    }

    /// The server's control port, as `host:port`. Must be given.
    #[must_use]
    pub fn server(mut self, server: impl Into<String>) -> Builder {
        self.server = Some(server.into());
        self
    }

    /// The farm that the agent belongs to. Must be given.
    #[must_use]
    pub fn farm(mut self, farm: impl Into<String>) -> Builder {
        self.farm = Some(farm.into());
        self
    }

    /// How it treats what it can't prove (default prompt; PROTOCOL §6).
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Builder {
        self.mode = mode;
        self
    }

    /// How it goes over from staged to active (default switch). In memory a copy takes no time;
    /// this is for hosts that want to see reads held.
    #[must_use]
    pub fn activation(mut self, activation: Activation) -> Builder {
        self.activation = activation;
        self
    }

    /// The access token, at most 64 bytes (default none).
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Builder {
        self.token = token.into();
        self
    }

    /// A name for people, at most 64 bytes (default empty).
    #[must_use]
    pub fn display(mut self, display: impl Into<String>) -> Builder {
        self.display = display.into();
        self
    }

    /// Subscribes to a dataset; without any, to all of the farm. At most 8.
    #[must_use]
    pub fn dataset(mut self, dataset: impl Into<String>) -> Builder {
        self.datasets.push(dataset.into());
        self
    }

    /// Where the agent's id and the last good generation are kept (default nowhere: then the id is
    /// drawn anew at each start, and nothing is served before a server was reached).
    #[must_use]
    pub fn state_dir(mut self, path: impl AsRef<Path>) -> Builder {
        self.state_dir = Some(path.as_ref().to_path_buf());
        self
    }

    /// Another clock than the host's.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Builder {
        self.clock = clock;
        self
    }

    /// ρ: the largest rate error of the clock, in parts per million (default 250). Too low and the
    /// bounds lie; too high and holds are longer.
    #[must_use]
    pub fn rate_ppm(mut self, ppm: u32) -> Builder {
        self.rate = Rate::from_ppm(ppm);
        self
    }

    /// First and longest wait before a connection or a request is tried again (default 0.1 s and
    /// 10 s).
    #[must_use]
    pub fn back_off(mut self, first: Duration, longest: Duration) -> Builder {
        self.back_off = (span(first), span(longest));
        self
    }

    /// After how long without a server a prompt agent serves its last good generation, marked stale
    /// (default 5 s).
    #[must_use]
    pub fn start_wait(mut self, wait: Duration) -> Builder {
        self.start_wait = span(wait);
        self
    }

    /// Time samples taken shortly before each activation (default 8).
    #[must_use]
    pub fn samples(mut self, samples: u8) -> Builder {
        self.samples = samples;
        self
    }

    /// Whether the agent reports to the server what it does (default yes).
    #[must_use]
    pub fn reports(mut self, reports: bool) -> Builder {
        self.reports = reports;
        self
    }

    /// The longest object that is taken, in bytes (default 1 GiB). A longer generation is refused
    /// as too large, and at T the mode's rule for a missing one applies.
    #[must_use]
    pub fn content_limit(mut self, bytes: u64) -> Builder {
        self.content_limit = bytes;
        self
    }

    /// How many generations are kept for pinned reads, the one that is served included (default 3).
    #[must_use]
    pub fn keep(mut self, generations: usize) -> Builder {
        self.kept = generations;
        self
    }

    /// How long readers wait out a hold (default 1 s); less than 2ε and reads fail at switches.
    #[must_use]
    pub fn hold_limit(mut self, limit: Duration) -> Builder {
        self.hold_limit = limit;
        self
    }

    /// How long a server may leave requests unanswered before the connection is made anew (default
    /// 5 s). Longer than the farm's round trip.
    #[must_use]
    pub fn silence_limit(mut self, limit: Duration) -> Builder {
        self.silence_limit = limit;
        self
    }

    /// Who the agent is, where the host knows better than a state directory.
    #[must_use]
    pub fn agent_id(mut self, agent: AgentId) -> Builder {
        self.agent = Some(agent);
        self
    }

    /// The host's own check of each generation before it is staged. `Err` with the reason refuses
    /// it: it is reported and not staged. Called on the agent's worker thread; may take its time.
    #[must_use]
    pub fn validate(
        mut self,
        validate: impl Fn(Generation, &Content) -> Result<(), String> + Send + 'static,
    ) -> Builder {
        self.validate = Some(Box::new(validate));
        self
    }

    /// For checkers and `downbeat demo --break` only: the guards of the protocol that are on.
    #[must_use]
    pub fn guards(mut self, guards: Guards) -> Builder {
        self.guards = guards;
        self
    }

    /// For checkers and `downbeat demo --break` only: whether a clock that jumps is looked for.
    #[must_use]
    pub fn second_source(mut self, on: bool) -> Builder {
        self.second_source = on;
        self
    }

    /// Starts the agent on the current tokio runtime. It connects in the background: an agent
    /// starts, and may serve, with its server down.
    ///
    /// # Errors
    /// [`StartError`]: settings that can't be, or a host that lacks something.
    pub async fn start(mut self) -> Result<Agent, StartError> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| StartError::NoRuntime)?;
        let incarnation = Incarnation(random_u64()?);
        let mut hello = self.hello(incarnation)?;
        let server = self.server.clone().ok_or(StartError::Missing("server"))?;
        let Opened { disk, agent, content, last_good, warnings } = self.open(&hello)?;
        hello.agent = agent;

        let config = self.config(agent);
        let boot = boot_id();
        let now = self.clock.now();
        let start = Start { incarnation, boot, now, page: None, last_good };
        let nothing = SwitchPlan::nothing(boot, self.mode, self.activation);
        let cell = Arc::new(PlanCell::new(&nothing));
        let board = Arc::new(Board::new(nothing));
        warnings.into_iter().for_each(|warning| board.tell(now, What::Warning(warning)));
        let shelf = Arc::new(Shelf::new(self.kept));
        if let (Some(content), Some(generation)) = (content, last_good) {
            shelf.put(generation.digest, Arc::new(content));
        }

        let (jobs, asked) = mpsc::channel();
        let (outcomes, answered) = channel::unbounded_channel();
        let (stop, stopped) = oneshot::channel();
        let (ended, end) = oneshot::channel::<()>();
        let keeps_raw = disk.is_some();
        let worker = Worker { disk, validate: self.validate.take(), outcomes };
        let work = move || {
            worker.run(&asked);
            // The worker is gone, and with it the lock on its directory: only now has the agent ended.
            drop(ended);
        };
        std::thread::Builder::new()
            .name("downbeat-worker".to_string())
            .spawn(work)
            .map_err(StartError::Thread)?;

        let back_off = |span: Span| Duration::from_nanos(span.as_nanos().unsigned_abs());
        let driver = Driver {
            agent: Machine::new(config, start),
            clock: self.clock.clone(),
            board: board.clone(),
            shelf: shelf.clone(),
            // The cell was made above: it has no other writer.
            plan: PlanWriter::new(cell.clone()).ok_or(StartError::NoRuntime)?,
            hello,
            server,
            content_limit: self.content_limit,
            keeps_raw,
            link: Link::Down { until: tokio::time::Instant::now() },
            back_off: BackOff::new(back_off(self.back_off.0), back_off(self.back_off.1)),
            silence_limit: self.silence_limit,
            filling: None,
            verification: 0,
            last_good,
            copied: false,
            jobs,
            outcomes: answered,
            stop: stopped,
            second_source: self.second_source.then(SecondSource::new),
            last_now: now,
            receiver: None,
        };
        let running = runtime.spawn(driver.run());
        Ok(Agent {
            agent,
            incarnation,
            cell,
            shelf,
            board,
            clock: self.clock,
            hold_limit: self.hold_limit,
            stop,
            running,
            end,
        })
    }

    fn config(&self, agent: AgentId) -> Config {
        Config {
            activation: self.activation,
            rate: self.rate,
            granularity: GRANULARITY,
            back_off: self.back_off,
            start_wait: self.start_wait,
            samples: self.samples,
            reports: self.reports,
            guards: self.guards,
            ..Config::new(agent, self.mode)
        }
    }

    /// The hello, with the agent's id still to be filled in.
    fn hello(&self, incarnation: Incarnation) -> Result<Hello, StartError> {
        let farm = self.farm.as_deref().ok_or(StartError::Missing("farm"))?;
        let too_long = |setting, most| StartError::TooLong { setting, most };
        let mut datasets = heapless::Vec::new();
        for dataset in &self.datasets {
            datasets
                .push(name(dataset)?)
                .map_err(|_| too_long("number of datasets subscribed to", DATASETS_MAX))?;
        }
        Ok(Hello {
            version: VERSION,
            farm: name(farm)?,
            agent: AgentId::default(),
            display: heapless::String::try_from(self.display.as_str())
                .map_err(|_| too_long("display name", downbeat_core::ids::NAME_MAX))?,
            incarnation,
            token: heapless::String::try_from(self.token.as_str())
                .map_err(|_| too_long("token", TOKEN_MAX))?,
            datasets,
        })
    }

    fn open(&self, hello: &Hello) -> Result<Opened, StartError> {
        let mut fresh = [0; 16];
        getrandom::fill(&mut fresh).map_err(|error| StartError::Random(error.to_string()))?;
        let agent = self.agent.unwrap_or(AgentId(fresh));
        let mut opened = Opened { disk: None, agent, content: None, last_good: None, warnings: Vec::new() };
        let Some(path) = &self.state_dir else { return Ok(opened) };
        let disk = Disk::open(path).map_err(|error| match error {
            OpenError::InUse => StartError::InUse(path.clone()),
            OpenError::Io(error) => StartError::StateDir(path.clone(), error),
        })?;
        if self.agent.is_none() {
            let (id, warning) =
                disk.agent_id(agent).map_err(|error| StartError::StateDir(path.clone(), error))?;
            opened.agent = id;
            opened.warnings.extend(warning);
        }
        let (found, warning) = disk.last_good(&hello.datasets);
        opened.warnings.extend(warning);
        if let Some(found) = found {
            opened.last_good = Some(found.generation);
            opened.content = Some(found.content);
        }
        opened.disk = Some(disk);
        Ok(opened)
    }
}

/// What was found in the state directory.
struct Opened {
    disk: Option<Disk>,
    agent: AgentId,
    content: Option<Content>,
    last_good: Option<Generation>,
    warnings: Vec<String>,
}

fn name(text: &str) -> Result<Name, StartError> {
    Name::new(text).map_err(|_| StartError::Name(text.to_string()))
}

fn span(duration: Duration) -> Span {
    Span::from_nanos(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
}

fn random_u64() -> Result<u64, StartError> {
    getrandom::u64().map_err(|error| StartError::Random(error.to_string()))
}
