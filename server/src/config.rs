//! What a server is started with. Reading it from files, flags and the environment is the program's
//! matter.

use crate::access::AccessToken;
use crate::clock::HostClock;
use downbeat_core::guard::Guards;
use downbeat_core::time::Rate;
use downbeat_trace::Recorder;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What a server is started with; [`Config::new`] has the defaults of FORMATS.
#[derive(Clone)]
pub struct Config {
    /// The SQLite database; it is made where there is none, its folder too.
    pub database: PathBuf,
    /// Where agents connect (default 127.0.0.1:7420; port 0 takes any free one).
    pub control: SocketAddr,
    /// Where people and their programs connect (default 127.0.0.1:7421).
    pub http: SocketAddr,
    /// That listening beyond loopback, without encryption, was asked for by name.
    pub beyond_loopback: bool,
    /// Access tokens. Needed beyond loopback.
    pub tokens: Vec<AccessToken>,
    /// Peers on this host need no token (default). One that they do present must be known.
    pub open_on_loopback: bool,
    /// What is known of the old server, where this start can't simply continue its line.
    pub start_as: StartAs,
    /// Whether the server carries an agent of its own for each farm, so that a farm of readers has
    /// cycles (default). It retrieves nothing and serves nothing.
    pub own_agent: bool,
    /// Whether a farm's lead is raised, as an operator would raise it, where what the slowest hundredth of its
    /// agents took until they were armed, and a quarter more, doesn't fit (default no). It is never lowered,
    /// and where the interval would have to be longer too the log says so instead.
    pub raise_lead: bool,
    /// The host's clocks; `None` for the system's.
    pub clock: Option<Arc<dyn HostClock>>,
    /// ρ_s, the largest rate error of the timeline (default 100 ppm). Half of it is the most that
    /// the line is slewed toward the wall clock; the host's oscillator has to keep within the rest.
    pub server_rate: Rate,
    /// Connections of agents at a time (default 10,000); more are answered `Busy`.
    pub connections_max: usize,
    /// How long a connection may take to say hello, to finish a frame it began, or to take an answer
    /// (default 10 s).
    pub patience: Duration,
    /// Requests that wait for the database at a time (default 1,024); more are answered `Busy`.
    pub queue: usize,
    /// A command that judges every candidate before it is staged, run by `/bin/sh` (default none).
    pub gate: Option<String>,
    /// All of them, outside of demonstrations.
    pub guards: Guards,
    /// Where every input and output of core is written down (default nowhere).
    pub trace: Recorder,
}

/// What is known of the server that served the database before (PROTOCOL §8).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum StartAs {
    /// It was this one, or one on this same file: within one boot its line is continued; after a
    /// reboot a new line waits until what was promised has certainly passed.
    #[default]
    Ordinary,
    /// It has stopped, and this is its database, moved to another disk: a new line, as after a
    /// reboot.
    Moved,
    /// It has stopped, and this is a backup or a copy: a new line that waits as long as the farm's
    /// limits allow promises to last.
    Restored,
    /// It has stopped, and the operator vouches that no agent runs a plan of it: a new line at once.
    Vouched,
}

impl Config {
    /// The defaults, on a database.
    pub fn new(database: impl Into<PathBuf>) -> Config {
        Config {
            database: database.into(),
            control: (Ipv4Addr::LOCALHOST, 7420).into(),
            http: (Ipv4Addr::LOCALHOST, 7421).into(),
            beyond_loopback: false,
            tokens: Vec::new(),
            open_on_loopback: true,
            start_as: StartAs::Ordinary,
            own_agent: true,
            raise_lead: false,
            clock: None,
            server_rate: Rate::from_ppm(100),
            connections_max: 10_000,
            patience: Duration::from_secs(10),
            queue: 1_024,
            gate: None,
            guards: Guards::ALL,
            trace: Recorder::off(),
        }
    }
}
