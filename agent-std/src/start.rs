//! How an agent is started: its state directory is opened, its worker employed, its driver put on
//! the runtime.

use crate::builder::Builder;
use crate::clock::{GRANULARITY, SecondSource, boot_id};
use crate::disk::{Disk, LastGood, OpenError};
use crate::driver::Driver;
use crate::filling::{Intake, selection};
use crate::handle::Agent;
use crate::held::Held;
use crate::judge::{Host, Judge, MakeView, made_view};
use crate::keeper::Keeper;
use crate::life::Life;
use crate::line::{BackOff, Link};
use crate::shelf::Shelf;
use crate::status::{Board, What};
use crate::worker::{Jobs, Outcome, Worker};
use downbeat_core::agent::{Accepts, Config, Start};
use downbeat_core::cell::{PlanCell, PlanWriter};
use downbeat_core::ids::{AgentId, Generation, Incarnation, Name};
use downbeat_core::message::{DATASETS_MAX, Hello, TOKEN_MAX, VERSION};
use downbeat_core::serving::SwitchPlan;
use downbeat_core::time::Span;
use downbeat_image::{Image, Place};
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
    /// One of the agent's own threads can't be started.
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
                write!(f, "a thread of the agent can't be started: {error}; raise the limit on threads")
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
        let Opened { disk, agent, found, mut warnings } = self.open(&hello)?;
        hello.agent = agent;
        let found = held(found, self.make_view, self.verdict_limit, &mut warnings).await;
        let last_good = found.as_ref().map(|(generation, _)| *generation);

        let boot = boot_id();
        let reading = self.clock.read();
        let now = reading.local;
        let start = Start { incarnation, boot, now, page: None, last_good };
        let nothing = SwitchPlan::nothing(boot, self.mode, self.activation);
        let cell = Arc::new(PlanCell::new(&nothing));
        let board = Arc::new(Board::new(nothing));
        warnings.into_iter().for_each(|warning| board.tell(now, What::Warning(warning)));
        let shelf = Arc::new(Shelf::new(self.kept));
        if let Some((generation, held)) = &found {
            shelf.put(generation.digest, held.clone());
        }
        let place = disk.as_ref().map_or(Place::Memory, Disk::place);
        let keeper = Keeper::new(disk, place.clone(), found);
        let intake = Intake { place, datasets: hello.datasets.clone(), limit: self.content_limit };
        let Working { jobs, outcomes, end } = self.employ(intake, keeper)?;
        let (stop, stopped) = oneshot::channel();
        let back_off = |span: Span| Duration::from_nanos(span.as_nanos().unsigned_abs());
        let (config, life) = (self.config(agent), Arc::new(Life::new(incarnation)));
        let driver = Driver {
            agent: Traced::new(self.recorder.clone(), reading.host, &hello.farm, config, start),
            config,
            life: life.clone(),
            clock: self.clock.clone(),
            board: board.clone(),
            shelf: shelf.clone(),
            plan: PlanWriter::new(cell.clone()).expect("a cell that was just made has no writer"),
            hello,
            server,
            link: Link::Down { until: tokio::time::Instant::now() },
            back_off: BackOff::new(back_off(self.back_off.0), back_off(self.back_off.1)),
            silence_limit: self.silence_limit,
            have: None,
            arrived: Vec::new(),
            verification: 0,
            verifying: None,
            awaits_datagram: false,
            settled: None,
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
        Ok(Agent { agent, life, cell, shelf, board, clock, hold_limit, stop, running, end })
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
            accepts: Accepts::Packed,
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
        let mut opened = Opened { disk: None, agent, found: None, warnings: Vec::new() };
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
        let (found, warning) = disk.last_good(&selection(&hello.datasets));
        opened.warnings.extend(warning);
        opened.warnings.extend(disk.remove_old_objects());
        opened.found = found;
        opened.disk = Some(disk);
        Ok(opened)
    }
}

/// What was found in the state directory.
struct Opened {
    disk: Option<Disk>,
    agent: AgentId,
    found: Option<LastGood>,
    warnings: Vec<String>,
}

fn name(text: &str) -> Result<Name, StartError> {
    Name::new(text).map_err(|_| StartError::Name(text.to_string()))
}

pub(crate) fn random_u64() -> Result<u64, StartError> {
    getrandom::u64().map_err(|error| StartError::Random(error.to_string()))
}

/// A worker at work, as the driver and the handle see it.
struct Working {
    jobs: Jobs,
    outcomes: channel::UnboundedReceiver<Outcome>,
    /// Closed when it has ended.
    end: oneshot::Receiver<()>,
}

/// What was found, with the host's view of it. A warning says why it is left out.
async fn held(
    found: Option<LastGood>,
    make_view: Option<MakeView>,
    limit: Duration,
    warnings: &mut Vec<String>,
) -> Option<(Generation, Arc<Held>)> {
    let LastGood { generation, image } = found?;
    let made = match make_view {
        // There is nothing to wait for.
        None => Ok(Held::new(image, None)),
        Some(make) => view_of_last_good(make, generation, image, limit).await,
    };
    match made {
        Ok(held) => Some((generation, Arc::new(held))),
        Err(cause) => {
            warnings.push(format!(
                "the last good generation is left out and retrieved again: the host won't take it: {cause}"
            ));
            None
        }
    }
}

/// The host's code may hang: it has a thread of its own, which is left behind then.
async fn view_of_last_good(
    make: MakeView,
    generation: Generation,
    image: Image,
    limit: Duration,
) -> Result<Held, String> {
    let (sender, made) = oneshot::channel();
    let making = move || {
        let held = made_view(Some(make), generation, &image).map(|view| Held::new(image, view));
        // Where the limit has passed nobody waits for it.
        let _ = sender.send(held);
    };
    std::thread::Builder::new()
        .name("downbeat-judge".to_owned())
        .spawn(making)
        .map_err(|error| format!("the host gives no thread ({error})"))?;
    match tokio::time::timeout(limit, made).await {
        Ok(Ok(made)) => made,
        Ok(Err(_)) => Err("its view's thread ended".to_owned()),
        Err(_) => Err(format!("there was no view of it within {limit:?}")),
    }
}

impl Builder {
    fn employ(&mut self, intake: Intake, keeper: Keeper) -> Result<Working, StartError> {
        let (jobs, asked) = mpsc::channel();
        let (sender, outcomes) = channel::unbounded_channel();
        let (ended, end) = oneshot::channel::<()>();
        let host = Host { validate: self.validate.take(), make_view: self.make_view };
        let judge = Judge::start(host, self.verdict_limit, jobs.clone()).map_err(StartError::Thread)?;
        let worker = Worker {
            intake: Arc::new(intake),
            judge,
            jobs: asked,
            outcomes: sender,
            keeper,
            next: None,
            filled: None,
        };
        let work = move || {
            worker.run();
            // The worker is gone, and with it the lock on its directory: only now has the agent ended.
            drop(ended);
        };
        std::thread::Builder::new()
            .name("downbeat-worker".to_string())
            .spawn(work)
            .map_err(StartError::Thread)?;
        Ok(Working { jobs: Jobs::new(jobs), outcomes, end })
    }
}
