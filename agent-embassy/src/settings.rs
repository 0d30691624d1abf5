//! What an application sets an agent to, checked once at the start.

use core::fmt;
use downbeat_core::agent::Config;
use downbeat_core::frame::encode;
use downbeat_core::ids::{AgentId, Incarnation, NAME_MAX, Name};
use downbeat_core::message::{Hello, TOKEN_MAX, ToServerRef, VERSION};
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

    /// What of it the server is told.
    pub(crate) fn greeting(&self, incarnation: Incarnation) -> Greeting {
        Greeting {
            farm: self.farm.clone(),
            agent: self.config.agent,
            incarnation,
            display: self.display,
            token: self.token,
            datasets: self.datasets,
        }
    }
}

/// Bytes in the longest frame that a device sends; a longer `Hello` is refused at the start.
pub(crate) const SEND_MAX: usize = 256;

/// Who an agent is, as it tells the server.
#[derive(Clone, Debug)]
pub(crate) struct Greeting {
    farm: Name,
    agent: AgentId,
    incarnation: Incarnation,
    display: &'static str,
    token: &'static str,
    datasets: &'static [&'static str],
}

impl Greeting {
    /// Whether a dataset is one of those that are subscribed to.
    pub(crate) fn expects(&self, dataset: &str) -> bool {
        self.datasets.is_empty() || self.datasets.contains(&dataset)
    }

    /// The frame of a `Hello`, and before it what ends whatever the server has of a frame that was cut
    /// off.
    ///
    /// # Errors
    /// [`StartError`]; [`Memory::take`](crate::Memory::take) has seen that there is none.
    #[inline(never)]
    pub(crate) fn encode(&self, frame: &mut [u8; SEND_MAX]) -> Result<usize, StartError> {
        let [end, frame @ ..] = frame;
        *end = 0;
        // Looked at where it was made: it is large.
        match &self.hello() {
            Ok(hello) => match encode(&ToServerRef::Hello(hello), frame) {
                Ok(len) => Ok(len + 1),
                Err(_) => Err(StartError::TooLong),
            },
            Err(why) => Err(*why),
        }
    }

    #[inline(never)]
    fn hello(&self) -> Result<Hello, StartError> {
        let mut datasets = Vec::new();
        for name in self.datasets {
            let name = Name::new(name).map_err(|_| StartError::Dataset)?;
            datasets.push(name).map_err(|_| StartError::Dataset)?;
        }
        Ok(Hello {
            version: VERSION,
            farm: self.farm.clone(),
            agent: self.agent,
            display: String::<NAME_MAX>::try_from(self.display).map_err(|_| StartError::Display)?,
            incarnation: self.incarnation,
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
    /// Farm, display name, token and datasets are longer than 200 bytes together.
    TooLong,
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
            StartError::TooLong => {
                "farm, display name, token and datasets are longer than 200 bytes together"
            }
        })
    }
}
impl core::error::Error for StartError {}

#[cfg(test)]
mod tests {
    use super::*;
    use downbeat_core::ids::{Digest, Epoch, Generation};
    use downbeat_core::message::{Phase, Report, Request, RequestBody, Switched, ToServer, Veto};
    use downbeat_core::time::{LocalTime, ServerTime, Span};

    const LONG: &str = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";

    fn longest(datasets: &'static [&'static str]) -> Result<usize, StartError> {
        let mut settings = Settings::new(Name::new(LONG).unwrap(), AgentId([255; 16]), Mode::Strict);
        (settings.display, settings.token, settings.datasets) = (LONG, LONG, datasets);
        settings.greeting(Incarnation(u64::MAX)).encode(&mut [0; SEND_MAX])
    }

    #[test]
    fn a_hello_that_doesn_t_fit_is_refused() {
        // 192 bytes of names besides the datasets.
        assert!(longest(&["eight-by"]).is_ok());
        assert_eq!(longest(&[LONG]), Err(StartError::TooLong));
        assert_eq!(longest(&["a"; 9]), Err(StartError::Dataset));
        assert_eq!(longest(&["A"]), Err(StartError::Dataset));
    }

    #[test]
    fn every_request_of_a_device_fits() {
        let generation = Generation { epoch: Epoch::MAX, digest: Digest([255; 32]) };
        let switched =
            Switched { epoch: Epoch::MAX, at: ServerTime::MIN, epsilon: Span::MIN, held: Span::MIN };
        let report = Report {
            phase: Phase::Fenced,
            active: Some(generation),
            staged: Some(generation),
            offset: i64::MIN,
            epsilon: Span::MIN,
            switched: Some(switched),
            veto: Some(Veto::Storage),
        };
        let body = RequestBody::Report(report);
        let request =
            Request { incarnation: Incarnation(u64::MAX), number: u64::MAX, sent: LocalTime::MIN, body };
        let (mut owned, mut borrowed) = ([0; SEND_MAX], [0; SEND_MAX]);
        let len = encode(&ToServerRef::Request(&request), &mut borrowed).unwrap();
        assert_eq!(encode(&ToServer::Request(request), &mut owned), Ok(len));
        assert_eq!(owned, borrowed);
        let hello = Settings::new(Name::new(LONG).unwrap(), AgentId([255; 16]), Mode::Strict);
        let hello = hello.greeting(Incarnation(1)).hello().unwrap();
        let len = encode(&ToServerRef::Hello(&hello), &mut borrowed).unwrap();
        assert_eq!(encode(&ToServer::Hello(hello), &mut owned), Ok(len));
        assert_eq!(owned[..len], borrowed[..len]);
    }
}
