//! What an application sets an agent to, checked once at the start.

use core::fmt;
use downbeat_core::agent::Config;
use downbeat_core::ids::{AgentId, Incarnation, NAME_MAX, Name};
use downbeat_core::message::{Hello, TOKEN_MAX, VERSION};
use downbeat_core::serving::Mode;
use embassy_time::Duration;
use heapless::{String, Vec};

/// What an agent is set to. [`Settings::new`] has the defaults:
/// ```
/// use downbeat_embassy::{Settings, core::{ids::{AgentId, Name}, serving::Mode}};
/// # fn main() -> Result<(), downbeat_embassy::core::ids::InvalidName> {
/// let mut settings = Settings::new(Name::new("shop")?, AgentId([7; 16]), Mode::Strict);
/// settings.display = "till 7";
/// settings.datasets = &["tariff"];
/// settings.config.rate = downbeat_embassy::core::time::Rate::from_ppm(50); // a good crystal
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Settings {
    /// The farm that it belongs to.
    pub farm: Name,
    /// A name for people, at most 64 bytes.
    pub display: &'static str,
    /// Its access token, at most 64 bytes; empty where the server asks for none.
    pub token: &'static str,
    /// Datasets that it subscribes to, at most 8; none means all of the farm. What it subscribes to must
    /// fit into a content buffer together.
    pub datasets: &'static [&'static str],
    /// How long the server may leave requests unanswered before [`Agent::run`](crate::Agent::run) ends, so
    /// that the connection is made anew (default 30 s). `None` for a line that is always there.
    pub silence_limit: Option<Duration>,
    /// What core's machine is set to: who it is, mode, activation, the clock's rate error, how long it
    /// waits. The granularity is raised to the clock's tick, and snapshots are all that it accepts.
    pub config: Config,
}

impl Settings {
    /// The defaults.
    pub fn new(farm: Name, agent: AgentId, mode: Mode) -> Settings {
        Settings {
            farm,
            display: "",
            token: "",
            datasets: &[],
            silence_limit: Some(Duration::from_secs(30)),
            config: Config::new(agent, mode),
        }
    }

    /// Whether a dataset is one of those that are subscribed to.
    pub(crate) fn expects(&self, dataset: &str) -> bool {
        self.datasets.is_empty() || self.datasets.contains(&dataset)
    }

    pub(crate) fn hello(&self, incarnation: Incarnation) -> Result<Hello, StartError> {
        let mut datasets = Vec::new();
        for name in self.datasets {
            let name = Name::new(name).map_err(|_| StartError::Dataset)?;
            datasets.push(name).map_err(|_| StartError::Dataset)?;
        }
        Ok(Hello {
            version: VERSION,
            farm: self.farm.clone(),
            agent: self.config.agent,
            display: String::<NAME_MAX>::try_from(self.display).map_err(|_| StartError::Display)?,
            incarnation,
            token: String::<TOKEN_MAX>::try_from(self.token).map_err(|_| StartError::Token)?,
            datasets,
        })
    }
}

/// Why an agent can't begin; nothing was changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StartError {
    /// This memory has an agent already.
    Taken,
    /// The display name is longer than 64 bytes.
    Display,
    /// The token is longer than 64 bytes.
    Token,
    /// More than 8 datasets, or one whose name breaks the rule for names.
    Dataset,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StartError::Taken => "this memory has an agent already; each needs one of its own",
            StartError::Display => "the display name is longer than 64 bytes",
            StartError::Token => "the token is longer than 64 bytes",
            StartError::Dataset => {
                "at most 8 datasets, each with a name of 1 to 64 characters of a-z, 0-9, '.', '_' and '-'"
            }
        })
    }
}
impl core::error::Error for StartError {}
