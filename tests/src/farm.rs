//! A farm of real processes on this host: a server, agents behind relays, somebody who edits and
//! somebody who looks at the table; and its end, at which everything is healed, must recover, and is
//! judged.

mod attendants;
mod collect;
mod contents;
mod faults;

use crate::check;
use crate::history::{Acknowledged, Content, History, Mode, TableSeen};
use crate::host_view::HostView;
use crate::processes::{PATIENCE, Process, eventually};
use crate::program::downbeat;
use crate::relay::{Relay, Traps};
use crate::server_time::on_host;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use tempfile::TempDir;

pub use contents::Contents;

/// The farm's name.
pub const FARM: &str = "eu";
/// The farm's early limit, in nanoseconds (the setting's default).
const EARLY_LIMIT: i64 = 50_000_000;
/// An agent to be started: its mode, and how wrong its clock is.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Its mode.
    pub mode: Mode,
    /// Nanoseconds that its clock is ahead.
    pub offset: i64,
    /// Parts per million that it is fast.
    pub rate: i64,
}

/// Two strict agents and two prompt ones, whose clocks are hours and minutes apart and drift.
pub const FOUR: [Setup; 4] = [
    Setup { mode: Mode::Strict, offset: 7_200_000_000_000, rate: 150 },
    Setup { mode: Mode::Strict, offset: -431_000_000_000, rate: -150 },
    Setup { mode: Mode::Prompt, offset: 3_000_000, rate: -90 },
    Setup { mode: Mode::Prompt, offset: -25_200_000_000_000, rate: 200 },
];

/// An address that comes and goes with the server.
pub(crate) type Place = Arc<Mutex<Option<SocketAddr>>>;

/// A farm that runs.
#[derive(Debug)]
pub struct Farm {
    name: String,
    seed: u64,
    folder: TempDir,
    program: PathBuf,
    own_agent: bool,
    pace: u32,
    contents: Contents,
    boot: u32,
    view: HostView,
    servers: u32,
    server: Option<Process>,
    control: Place,
    http: Place,
    traps: Traps,
    agents: Vec<Slot>,
    stop: Arc<AtomicBool>,
    tables: Arc<Mutex<Vec<TableSeen>>>,
    edits: Arc<Mutex<Vec<Acknowledged>>>,
    attendants: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Slot {
    setup: Setup,
    relay: Relay,
    process: Option<Process>,
    lives: u32,
    /// The command that judges generations there.
    check: Option<String>,
    view: HostView,
}

impl Farm {
    /// Starts a server, makes a farm of short cycles, and starts the agents and the attendants. The
    /// agents begin the cycles, the server none.
    ///
    /// # Panics
    /// Something of that does not come about.
    pub fn start(name: &str, seed: u64, agents: &[Setup]) -> Farm {
        Farm::start_with(name, seed, agents, false)
    }

    /// As [`Farm::start`], where the server may carry an agent of its own, as it does by default.
    ///
    /// # Panics
    /// Something of that does not come about.
    pub fn start_with(name: &str, seed: u64, agents: &[Setup], own_agent: bool) -> Farm {
        Farm::start_slower(name, seed, agents, own_agent, 1)
    }

    /// As [`Farm::start_with`], with cycles `pace` times as long: for a host that is too busy for the
    /// usual ones.
    ///
    /// # Panics
    /// Something of that does not come about.
    pub fn start_slower(name: &str, seed: u64, agents: &[Setup], own_agent: bool, pace: u32) -> Farm {
        Farm::start_holding(name, seed, agents, own_agent, pace, Contents::default())
    }

    /// As [`Farm::start_slower`], with other data.
    ///
    /// # Panics
    /// Something of that does not come about.
    pub fn start_holding(
        name: &str,
        seed: u64,
        agents: &[Setup],
        own_agent: bool,
        pace: u32,
        contents: Contents,
    ) -> Farm {
        let folder = tempfile::Builder::new().prefix("downbeat-").tempdir().expect("a temporary folder");
        let (control, traps) = (Place::default(), Traps::default());
        let relay = |number| Relay::start(number, control.clone(), traps.clone());
        let slot = |(number, setup): (usize, &Setup)| Slot {
            setup: *setup,
            relay: relay(number),
            process: None,
            lives: 0,
            check: None,
            view: HostView::default(),
        };
        let agents: Vec<_> = agents.iter().enumerate().map(slot).collect();
        let mut farm = Farm {
            name: name.to_owned(),
            seed,
            folder,
            program: downbeat(),
            own_agent,
            pace,
            contents,
            boot: 1,
            view: HostView::default(),
            servers: 0,
            server: None,
            control,
            http: Place::default(),
            traps,
            agents,
            stop: Arc::default(),
            tables: Arc::default(),
            edits: Arc::default(),
            attendants: Vec::new(),
        };
        farm.start_server();
        farm.make();
        farm.attend();
        (0..farm.agents.len()).for_each(|agent| farm.start_agent(agent));
        farm
    }

    /// Starts the server, and returns whether it continued its timeline.
    ///
    /// # Panics
    /// It runs already, or does not start.
    pub fn start_server(&mut self) -> bool {
        assert!(self.server.is_none(), "the server runs");
        let mut command = self.view.command(&self.program);
        command.arg("serve").arg("--data").arg(self.folder.path().join("server"));
        command.args(["--control", "127.0.0.1:0", "--http", "127.0.0.1:0", "--json"]);
        command.args((!self.own_agent).then_some("--no-own-agent"));
        command.arg("--boot-id").arg(format!("boot-{}", self.boot));
        self.servers += 1;
        command.arg("--trace").arg(self.server_trace(self.servers));
        let (process, line) =
            Process::start(command, &self.folder.path().join("server.txt")).expect("the server starts");
        let said: serde_json::Value = serde_json::from_str(&line).expect("the server says JSON");
        let address = |text: &serde_json::Value| {
            let text = text.as_str().map(|text| text.trim_start_matches("http://"));
            Some(
                text.and_then(|text| text.parse::<SocketAddr>().ok()).expect("the server says its addresses"),
            )
        };
        set(&self.control, address(&said["control"]));
        set(&self.http, address(&said["http"]));
        self.server = Some(process);
        said["continued"] == true
    }

    /// Starts an agent on its state directory.
    ///
    /// # Panics
    /// It runs already, or does not start.
    pub fn start_agent(&mut self, agent: usize) {
        let here = self.agent_folder(agent);
        std::fs::create_dir_all(&here).expect("a folder for the agent");
        let slot = &mut self.agents[agent];
        assert!(slot.process.is_none(), "agent {agent} runs");
        slot.lives += 1;
        let lives = slot.lives;
        let mut command = slot.view.command(&self.program);
        command.arg("agent").arg("--server").arg(slot.relay.address().to_string()).args(["--farm", FARM]);
        command.arg("--mode").arg(if slot.setup.mode == Mode::Strict { "strict" } else { "prompt" });
        command.arg("--state-dir").arg(here.join("state")).args(["--json", "--repeat", "5ms"]);
        command.arg(format!("--clock-offset={}ns", slot.setup.offset));
        command.arg(format!("--clock-rate-ppm={}", slot.setup.rate));
        command.env("DOWNBEAT_LOG", "info");
        command.args(["--longest-back-off", "400ms", "--silence-limit", "1500ms", "--start-wait", "1s"]);
        if let Some(check) = &slot.check {
            command.arg("--check").arg(check);
        }
        command.arg("--trace").arg(self.life_trace(agent, lives));
        let printed = self.life_file(agent, lives);
        let process =
            Process::printing(command, &printed, &here.join("errors.txt")).expect("the agent starts");
        let slot = &mut self.agents[agent];
        slot.process = Some(process);
    }

    /// What an agent has logged, over all its lives.
    pub fn logged(&self, agent: usize) -> String {
        std::fs::read_to_string(self.agent_folder(agent).join("errors.txt")).unwrap_or_default()
    }

    /// Where an agent keeps its state.
    pub fn state_folder(&self, agent: usize) -> PathBuf {
        self.agent_folder(agent).join("state")
    }

    /// How many agents there are.
    pub fn agents(&self) -> usize {
        self.agents.len()
    }

    /// Whether an agent's process runs.
    pub fn agent_runs(&self, agent: usize) -> bool {
        self.agents[agent].process.is_some()
    }

    /// Whether the server's process runs.
    pub fn server_runs(&self) -> bool {
        self.server.is_some()
    }

    /// A relay to the server for one more agent, which is not the farm's to start or to heal.
    pub fn relay_for(&self, number: usize) -> Relay {
        Relay::start(number, self.control.clone(), self.traps.clone())
    }

    /// The relay before an agent.
    pub fn relay(&self, agent: usize) -> &Relay {
        &self.agents[agent].relay
    }

    /// All processes that were started and not killed run still.
    ///
    /// # Panics
    /// One ended by itself, or something outside of the test ended it.
    pub fn assert_all_run(&mut self) {
        let agents = self.agents.iter_mut().filter_map(|slot| slot.process.as_mut());
        for process in self.server.iter_mut().chain(agents) {
            if let Some(status) = process.ended() {
                panic!("{}: {process:?} ended by itself: {status}", self.name);
            }
        }
    }

    /// What catches messages on their way.
    pub fn traps(&self) -> &Traps {
        &self.traps
    }

    /// Where agents connect and where people do, while the server runs.
    pub fn addresses(&self) -> Option<(SocketAddr, SocketAddr)> {
        Some((place(&self.control)?, place(&self.http)?))
    }

    /// The newest epoch that was seen in the table.
    pub fn epoch(&self) -> u64 {
        self.newest().map_or(0, |look| look.epoch)
    }

    /// The newest look at the table.
    pub fn newest(&self) -> Option<TableSeen> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner).last().cloned()
    }

    /// The last edit that was acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.edits.lock().unwrap_or_else(PoisonError::into_inner).last().map_or(0, |edit| edit.edit)
    }

    /// Waits until so many more epochs were staged.
    ///
    /// # Panics
    /// They were not, in time.
    pub fn wait_epochs(&self, more: u64) {
        let wanted = self.epoch() + more;
        eventually(&format!("{}: epoch {wanted}", self.name), || (self.epoch() >= wanted).then_some(()));
    }

    /// Heals every fault, waits until every agent serves what is staged from then on, ends the run, and
    /// judges it. Returns what was seen.
    ///
    /// # Panics
    /// An agent does not recover, or a property was broken: with all faults found, and the seed.
    pub fn finish(mut self) -> History {
        self.heal();
        self.recover();
        let (name, seed) = (self.name.clone(), self.seed);
        let (history, faults) = self.judge(true);
        assert!(faults.is_empty(), "{name}, seed {seed}:\n{}", faults.join("\n"));
        history
    }

    /// Ends the run as it stands, with the server running, and returns what was seen and the faults
    /// that the checks found.
    ///
    /// # Panics
    /// An attendant failed.
    pub fn end(self) -> (History, Vec<String>) {
        self.judge(false)
    }

    /// Ends the run; `keeps` its folder where faults are found.
    fn judge(mut self, keeps: bool) -> (History, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        for attendant in self.attendants.drain(..) {
            assert!(attendant.join().is_ok(), "{}: an attendant failed", self.name);
        }
        (0..self.agents.len()).for_each(|agent| self.kill_agent(agent));
        let records = self.collect();
        self.kill_server();
        let (history, mut faults) = self.replay(records);
        let unseen = history.spans(None).filter(|(_, span)| span.content == Content::Unseen).count();
        eprintln!(
            "{}: {} epochs, {} lives, {} spans of reads ({unseen} without content), {} looks, {} edits, T to within {} us",
            self.name,
            history.kept.len(),
            history.lives.len(),
            history.spans(None).count(),
            history.tables.len(),
            history.edits.len(),
            widest(&history.tables) / 1_000
        );
        for (check, verdict) in check::all(&history) {
            let told = verdict.faults.into_iter().take(10);
            faults.extend(told.map(|text| format!("{check}: farm {FARM}: {text}")));
        }
        faults.sort();
        faults.dedup();
        if keeps && !faults.is_empty() {
            self.folder.disable_cleanup(true);
            eprintln!("{}: faults found, logs in {}", self.name, self.folder.path().display());
        }
        (history, faults)
    }

    fn heal(&mut self) {
        self.agents.iter().for_each(|slot| slot.relay.heal());
        if self.server.is_none() {
            self.start_server();
        }
        for agent in 0..self.agents.len() {
            if self.agents[agent].process.is_none() {
                self.start_agent(agent);
            }
        }
    }

    /// Every agent serves as current what was staged after the faults ended (R1, as far as it is seen
    /// from outside: it comes, however long that takes within the patience).
    fn recover(&mut self) {
        self.assert_all_run();
        let wanted = self.epoch() + 1;
        for agent in 0..self.agents.len() {
            let what = format!(
                "{}, seed {}: epoch {wanted} on agent {agent} (logs in {})",
                self.name,
                self.seed,
                self.folder.path().display()
            );
            eventually(&what, || {
                self.assert_all_run();
                let life = self.life(agent, self.agents[agent].lives);
                let served = life.readers.iter().flatten().filter(|span| !span.stale);
                served.map(|span| span.epoch).max().filter(|epoch| *epoch >= wanted)
            });
        }
    }

    /// What a life of an agent printed.
    fn life_file(&self, agent: usize, life: u32) -> PathBuf {
        self.agent_folder(agent).join(format!("life-{life}"))
    }

    /// Where a life of an agent is traced.
    fn life_trace(&self, agent: usize, life: u32) -> PathBuf {
        self.agent_folder(agent).join(format!("life-{life}.trace"))
    }

    /// Where a life of the server is traced.
    fn server_trace(&self, life: u32) -> PathBuf {
        self.folder.path().join(format!("server-{life}.trace"))
    }

    fn agent_folder(&self, agent: usize) -> PathBuf {
        self.folder.path().join(format!("agent-{agent}"))
    }

    /// Where the run keeps its files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Farm {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if std::thread::panicking() {
            self.folder.disable_cleanup(true);
            let logs = self.folder.path().display();
            eprintln!("{}: failed with seed {}, logs in {logs}", self.name, self.seed);
        }
    }
}

/// How exactly the T that is known least is known on the host's clock, in nanoseconds.
fn widest(tables: &[TableSeen]) -> i64 {
    let widths = tables.iter().filter_map(|look| {
        on_host(tables, &look.timeline, look.activation).map(|(earliest, latest)| latest - earliest)
    });
    widths.max().unwrap_or(0)
}

pub(crate) fn place(place: &Place) -> Option<SocketAddr> {
    *place.lock().unwrap_or_else(PoisonError::into_inner)
}

fn set(place: &Place, address: Option<SocketAddr>) {
    *place.lock().unwrap_or_else(PoisonError::into_inner) = address;
}

/// How long a message is waited for that a trap is to catch.
pub const CATCHING: std::time::Duration = PATIENCE;
