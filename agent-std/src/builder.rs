//! How an agent is set up. What the settings of the protocol mean is in core; how it is started from
//! them is in `start`.

use crate::clock::Clock;
use crate::judge::{MakeView, Offer, Validate};
use crate::view::View;
use downbeat_core::agent::Config;
use downbeat_core::guard::Guards;
use downbeat_core::ids::AgentId;
use downbeat_core::serving::{Activation, Mode};
use downbeat_core::time::{Rate, Span};
use downbeat_trace::Recorder;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Settings of an agent, all but two with defaults. Made by [`Agent::builder`](crate::Agent::builder).
pub struct Builder {
    pub(crate) server: Option<String>,
    pub(crate) farm: Option<String>,
    pub(crate) mode: Mode,
    pub(crate) activation: Activation,
    pub(crate) token: String,
    pub(crate) display: String,
    pub(crate) datasets: Vec<String>,
    pub(crate) state_dir: Option<PathBuf>,
    pub(crate) clock: Clock,
    pub(crate) rate: Rate,
    pub(crate) second_source: bool,
    pub(crate) back_off: (Span, Span),
    pub(crate) start_wait: Span,
    pub(crate) samples: u8,
    pub(crate) reports: bool,
    pub(crate) guards: Guards,
    pub(crate) content_limit: u64,
    pub(crate) kept: usize,
    pub(crate) hold_limit: Duration,
    pub(crate) silence_limit: Duration,
    pub(crate) agent: Option<AgentId>,
    pub(crate) validate: Option<Validate>,
    pub(crate) make_view: Option<MakeView>,
    pub(crate) verdict_limit: Duration,
    pub(crate) recorder: Recorder,
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
            make_view: None,
            verdict_limit: Duration::from_secs(10),
            recorder: Recorder::off(),
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

    /// How it goes over from staged to active (default switch). Of what is mapped a copy takes no
    /// time; this is for hosts that want to see reads held.
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

    /// Where the agent's id and its generations are kept, which readers then read where they are
    /// mapped (default nowhere: then generations are in memory, the id is drawn anew at each start,
    /// and nothing is served before a server was reached). Nobody else may write there: a mapped
    /// file that is cut off ends the process (SIGBUS).
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

    /// The largest generation that is taken, in bytes of keys and values, however many deltas led to
    /// it; and the longest object, packed or not (default 1 GiB). A larger one is refused as too large,
    /// and at T the mode's rule for a missing one applies.
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
    /// it: it is reported and not staged. Called on a thread of its own; may take its time, within
    /// [`Builder::verdict_limit`].
    #[must_use]
    pub fn validate(
        mut self,
        validate: impl Fn(&Offer<'_>) -> Result<(), String> + Send + 'static,
    ) -> Builder {
        self.validate = Some(Box::new(validate));
        self
    }

    /// What the host makes of each generation while it is staged, for readers
    /// ([`Guard::view`](crate::Guard::view)). Where it can't be made the generation is refused. It is
    /// made on the validation's thread after it, and of the last good generation before the agent
    /// starts.
    #[must_use]
    pub fn view<V: View>(mut self) -> Builder {
        self.make_view = Some(|generation, image| match V::build(generation, image) {
            Ok(view) => Ok(Arc::new(view)),
            Err(cause) => Err(cause.to_string()),
        });
        self
    }

    /// How long `validate` and `view` may take together (default 10 s). A generation without a verdict
    /// by then is refused, and at T the mode's rule for a missing one applies. Until there is a verdict
    /// the agent asks the server nothing, not even whether something newer is staged: keep it, with
    /// the farm's `stagger` and `retrieve`, below the `lead`. Host code that doesn't return even then
    /// is asked about nothing else, so that every further generation is refused until it does;
    /// [`Offer::is_withdrawn`] tells it. At the start the view of the last good generation has as long;
    /// without one by then the agent starts with nothing, and retrieves it again.
    #[must_use]
    pub fn verdict_limit(mut self, limit: Duration) -> Builder {
        self.verdict_limit = limit;
        self
    }

    /// Where every input and output of the agent's machine is written down (default nowhere).
    #[must_use]
    pub fn trace(mut self, recorder: Recorder) -> Builder {
        self.recorder = recorder;
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
}

fn span(duration: Duration) -> Span {
    Span::from_nanos(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
}
