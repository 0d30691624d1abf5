//! How an agent is started: its state directory is opened, its worker employed, its driver put on
//! the runtime.

use crate::builder::Builder;
use crate::clock::{GRANULARITY, SecondSource, boot_id};
use crate::content::Content;
use crate::disk::{Disk, OpenError};
use crate::driver::Driver;
use crate::handle::Agent;
use crate::line::{BackOff, Link};
use crate::shelf::Shelf;
use crate::status::{Board, What};
use crate::worker::{Job, Outcome, Validate, Worker};
use downbeat_core::agent::{Config, Start};
use downbeat_core::cell::{PlanCell, PlanWriter};
use downbeat_core::ids::{AgentId, Generation, Incarnation, Name};
use downbeat_core::message::{DATASETS_MAX, Hello, TOKEN_MAX, VERSION};
use downbeat_core::serving::SwitchPlan;
use downbeat_core::time::Span;
use downbeat_trace::Traced;
use std::fmt;
use std::path::PathBuf;
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

impl Builder {
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

        let boot = boot_id();
        let reading = self.clock.read();
        let now = reading.local;
        let start = Start { incarnation, boot, now, page: None, last_good };
        let nothing = SwitchPlan::nothing(boot, self.mode, self.activation);
        let cell = Arc::new(PlanCell::new(&nothing));
        let board = Arc::new(Board::new(nothing));
        warnings.into_iter().for_each(|warning| board.tell(now, What::Warning(warning)));
        let shelf = Arc::new(Shelf::new(self.kept));
        if let (Some(content), Some(generation)) = (content, last_good) {
            shelf.put(generation.digest, Arc::new(content));
        }
        let keeps_raw = disk.is_some();
        let Working { jobs, outcomes, end } = employ(disk, self.validate.take())?;
        let (stop, stopped) = oneshot::channel();
        let back_off = |span: Span| Duration::from_nanos(span.as_nanos().unsigned_abs());
        let driver = Driver {
            agent: Traced::new(self.recorder.clone(), reading.host, &hello.farm, self.config(agent), start),
            clock: self.clock.clone(),
            board: board.clone(),
            shelf: shelf.clone(),
            plan: PlanWriter::new(cell.clone()).expect("a cell that was just made has no writer"),
            hello,
            server,
            content_limit: self.content_limit,
            keeps_raw,
            link: Link::Down { until: tokio::time::Instant::now() },
            back_off: BackOff::new(back_off(self.back_off.0), back_off(self.back_off.1)),
            silence_limit: self.silence_limit,
            filling: None,
            verification: 0,
            verifying: None,
            last_good,
            copied: false,
            jobs,
            outcomes,
            stop: stopped,
            second_source: self.second_source.then(SecondSource::new),
            last_now: now,
            receiver: None,
        };
        let running = runtime.spawn(driver.run());
        let Builder { clock, hold_limit, .. } = self;
        Ok(Agent { agent, incarnation, cell, shelf, board, clock, hold_limit, stop, running, end })
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

fn random_u64() -> Result<u64, StartError> {
    getrandom::u64().map_err(|error| StartError::Random(error.to_string()))
}

/// A worker at work, as the driver and the handle see it.
struct Working {
    jobs: mpsc::Sender<Job>,
    outcomes: channel::UnboundedReceiver<Outcome>,
    /// Closed when it has ended.
    end: oneshot::Receiver<()>,
}

fn employ(disk: Option<Disk>, validate: Option<Validate>) -> Result<Working, StartError> {
    let (jobs, asked) = mpsc::channel();
    let (sender, outcomes) = channel::unbounded_channel();
    let (ended, end) = oneshot::channel::<()>();
    let worker = Worker { disk, validate, outcomes: sender };
    let work = move || {
        worker.run(&asked);
        // The worker is gone, and with it the lock on its directory: only now has the agent ended.
        drop(ended);
    };
    std::thread::Builder::new()
        .name("downbeat-worker".to_string())
        .spawn(work)
        .map_err(StartError::Thread)?;
    Ok(Working { jobs, outcomes, end })
}
