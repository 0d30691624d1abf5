//! The state of the model: a server, agents, what is on its way between them, the clocks, and a
//! record of what has happened that the protocol itself doesn't keep. Its parts step in the files
//! of `world/`; which steps there are is in `actions`, what must hold in `properties`.
//!
//! One tick is one nanosecond of the core's time. Real time is `now`; every clock is real time and
//! an offset. Nothing waits: a tick is only possible when all that is due has been done.

mod agents;
mod clocks;
mod network;
mod passing;
mod pins;
mod processes;
mod server;
mod twisted;

use crate::configuration::{Configuration, Twist};
use crate::record::Record;
pub use agents::End;
use downbeat_core::agent::{Agent, Config, Start};
use downbeat_core::clock::Enclosure;
use downbeat_core::ids::{AgentId, BootId, Digest, Generation, Incarnation, Name, TimelineId};
use downbeat_core::serving::{Serving, SwitchPlan, serving};
use downbeat_core::table::SyncTable;
use downbeat_core::time::{LocalTime, ServerTime, Span};
use downbeat_core::timeline::Mark;
pub use network::{Packet, Payload};
pub use processes::Process;

/// Content of a generation: the version of production, and whether the scheduled record shows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Content {
    /// How often production was edited.
    pub version: u8,
    /// Whether the scheduled record is visible.
    pub scheduled: bool,
}

impl Content {
    /// The digest that stands for it.
    pub fn digest(self) -> Digest {
        let mut bytes = [0; 32];
        bytes[0] = self.version;
        bytes[1] = self.scheduled as u8;
        Digest(bytes)
    }
    /// The content that a digest stands for.
    pub fn of(digest: Digest) -> Content {
        Content { version: digest.0[0], scheduled: digest.0[1] == 1 }
    }
}

/// The one scheduled record of the model.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Scheduled {
    /// From when it counts.
    pub effective: ServerTime,
    /// Until when.
    pub expires: Option<ServerTime>,
}

/// What a store keeps of a farm.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Store {
    /// The synchronization table.
    pub table: SyncTable,
    /// Version of production.
    pub production: u8,
    /// What is scheduled.
    pub scheduled: Option<Scheduled>,
}

/// A timeline: real time and an offset.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Line {
    /// Its id.
    pub id: TimelineId,
    /// Its time less real time.
    pub offset: i64,
}

/// A transaction that lasts: read at its begin, written at its end.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Committing {
    /// The request that it serves.
    pub request: Packet,
    /// When the request was received: the upper end of what the server knows of its clock.
    pub received: ServerTime,
    /// When the transaction read the clock.
    pub read: ServerTime,
}

/// The data server.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Server {
    /// What is on its disk.
    pub store: Store,
    /// The mark on its disk.
    pub mark: Mark,
    /// Whether its process runs.
    pub up: bool,
    /// A transaction under way.
    pub committing: Option<Committing>,
    /// Copies of the store, in the order in which they were made.
    pub backups: Vec<Store>,
    /// What a broken server remembers of its answers: agent, number, r, s, line.
    pub remembered: Vec<(u8, Incarnation, u64, ServerTime, TimelineId)>,
    /// Whether the line gains (+1) or misses (−1) the tick that is next.
    pub error: i8,
    /// When the line last gained or missed a tick: an instant of real time.
    pub last_error: Option<i64>,
    /// By how many ticks the database's clock is off its line, where several servers share it and none
    /// has noticed. No instant.
    pub astray: i64,
}

/// A reader that loaded a plan (or looked at the clock) and was suspended.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Reader {
    /// The plan that it loaded.
    pub plan: SwitchPlan,
    /// Real time at which it began.
    pub began: i64,
    /// What readers of this agent had seen when it began.
    pub floor: u64,
    /// A clock broke since it loaded its plan, or before and nobody knew: what it gets isn't promised.
    pub excused: bool,
}

/// An agent and its host.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Host {
    /// The machine.
    pub agent: Agent,
    /// The local clock less real time.
    pub offset: i64,
    /// The boot of the host.
    pub boot: BootId,
    /// When the local clock last gained or missed a tick.
    pub last_error: Option<i64>,
    /// Whether it gains (+1) or misses (−1) the tick that is next, or stutters (−2).
    pub error: i8,
    /// A clock broke its bound, and the agent does not know yet. No instant.
    pub astray: bool,
    /// Its timers are late until the next tick.
    pub late: bool,
    /// The page that readers load.
    pub page: SwitchPlan,
    /// ε when the instant of the page's switch was published.
    pub page_epsilon: Span,
    /// What the agent knew of the server's clock before the last step.
    pub prior: Enclosure,
    /// The page of a process before this one, which readers still use.
    pub overlap: Option<SwitchPlan>,
    /// A page that an old, paused process still wants to write.
    pub old_page: Option<SwitchPlan>,
    /// Content held, by digest, part by part.
    pub held: Vec<(Digest, [Content; 2])>,
    /// Content on its way.
    pub incoming: Vec<Content>,
    /// A suspended reader.
    pub reader: Option<Reader>,
    /// The place of the server process that it is connected to.
    pub via: u8,
    /// Nothing gets through between it and the server.
    pub cut: bool,
    /// Its host refuses the next generation.
    pub vetoes: bool,
    /// The generations that readers got last, newest first, where the host keeps some for pinned reads.
    pub served: Vec<Generation>,
    /// The generation that a reader pinned.
    pub pinned: Option<Generation>,
}

/// The whole.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct World {
    /// Real time.
    pub now: i64,
    /// All lines so far; the last is the server's. The clocks of old lines go on, as instants that
    /// were promised on them do.
    pub lines: Vec<Line>,
    /// The server.
    pub server: Server,
    /// Its processes, where there are several.
    pub processes: Vec<Process>,
    /// The agents.
    pub hosts: Vec<Host>,
    /// What is on its way.
    pub network: Vec<Packet>,
    /// Faults that are left.
    pub faults: u8,
    /// Operations that are left.
    pub operations: u8,
    /// The step in which local clocks are read, in nanoseconds, where time isn't counted in ticks; 0 where
    /// it is.
    pub step: i64,
    /// Incarnations drawn so far.
    pub incarnations: u64,
    /// What has happened.
    pub record: Record,
}

/// Time of the first line at real time 0: not zero, so that a clock that was never set shows.
const BEGIN: i64 = 100;

impl World {
    /// A farm just made at real time 0, and agents that just started.
    pub fn new(config: &Configuration) -> World {
        let begin = config.fine.map_or(BEGIN, |fine| fine.server_begin);
        let line = Line { id: TimelineId { counter: 1, random: 1 }, offset: begin };
        let now = ServerTime::from_nanos(begin);
        let table = SyncTable::new_farm(
            Name::new("f").expect("a good name"),
            line.id,
            Content::default().digest(),
            config.settings,
            config.limits,
            None,
            now,
        )
        .expect("the settings of a model are good ones");
        let record = Record::new(&table, config.modes.len());
        let mut world = World {
            now: 0,
            lines: vec![line],
            server: Server {
                store: Store { table, production: 0, scheduled: None },
                mark: Mark { until: now, stored_at: now },
                up: true,
                committing: None,
                backups: Vec::new(),
                remembered: Vec::new(),
                error: 0,
                last_error: None,
                astray: 0,
            },
            processes: Vec::new(),
            hosts: Vec::new(),
            network: Vec::new(),
            faults: config.faults,
            operations: config.operations,
            step: config.fine.map_or(0, |fine| fine.step),
            incarnations: 0,
            record,
        };
        world.begin_processes(config);
        for index in 0..config.modes.len() {
            // Local clocks are a pure shift: a different one for each, so that mixing them shows.
            let offset = World::first_reading(index) + config.fine.map_or(0, |fine| fine.local_begin);
            let boot = BootId(index as u64 + 1);
            let host = world.fresh_host(config, index, offset, boot);
            world.hosts.push(host);
            world.connect(config, index);
        }
        world.observe(config);
        if let Some(ticks) = config.run_up {
            crate::recover::run_up(config, &mut world, ticks);
        }
        world
    }

    fn fresh_host(&mut self, config: &Configuration, index: usize, offset: i64, boot: BootId) -> Host {
        let local = self.reading(offset);
        let start = Start { incarnation: self.incarnation(), boot, now: local, page: None, last_good: None };
        let agent = Agent::new(agent_config(config, index), start);
        let page = *agent.plan();
        Host {
            prior: *agent.clock(),
            agent,
            offset,
            boot,
            via: if config.servers > 1 { index as u8 % config.servers } else { 0 },
            last_error: None,
            error: 0,
            late: false,
            cut: false,
            page_epsilon: Span::ZERO,
            overlap: None,
            page,
            old_page: None,
            held: Vec::new(),
            incoming: Vec::new(),
            reader: None,
            vetoes: false,
            astray: false,
            served: Vec::new(),
            pinned: None,
        }
    }

    /// What an agent's clock shows at the start of a boot.
    pub(crate) fn first_reading(index: usize) -> i64 {
        1_000 * (index as i64 + 1)
    }

    /// A number that was never drawn before.
    pub(crate) fn incarnation(&mut self) -> Incarnation {
        self.incarnations += 1;
        Incarnation(self.incarnations)
    }

    /// The line that the server is on.
    pub fn line(&self) -> Line {
        *self.lines.last().expect("there is always a line")
    }

    /// The server's clock.
    pub fn server_now(&self) -> ServerTime {
        ServerTime::from_nanos(self.now + self.line().offset)
    }

    /// The time of any line, at some real time.
    pub fn line_time(&self, line: TimelineId, real: i64) -> Option<ServerTime> {
        // The newest of that id: a twin may use an id again.
        let line = self.lines.iter().rev().find(|known| known.id == line)?;
        Some(ServerTime::from_nanos(real + line.offset))
    }

    /// An agent's clock.
    pub fn local_now(&self, index: usize) -> LocalTime {
        self.reading(self.hosts[index].offset)
    }

    /// What a local clock shows that is so far off real time.
    pub(crate) fn reading(&self, offset: i64) -> LocalTime {
        let exact = self.now + offset;
        LocalTime::from_nanos(if self.step > 1 { exact - exact.rem_euclid(self.step) } else { exact })
    }

    /// What a read of an agent gets at this instant.
    pub fn read(&self, index: usize) -> Serving {
        let host = &self.hosts[index];
        if host.page.boot != host.boot && host.agent.plan().boot == host.boot {
            return Serving::Fenced;
        }
        serving(host.overlap.as_ref().unwrap_or(&host.page), self.local_now(index))
    }

    /// Content of the generation, as an agent's readers get it.
    pub fn content(&self, index: usize, generation: Generation) -> Option<[Content; 2]> {
        let held = &self.hosts[index].held;
        held.iter().find(|(digest, _)| *digest == generation.digest).map(|(_, parts)| *parts)
    }

    /// Whether anything is due that a tick must not pass over.
    pub fn is_urgent(&self, config: &Configuration) -> bool {
        self.network.iter().any(|packet| packet.is_urgent(self, config))
            || (0..self.hosts.len()).any(|index| self.wants_wake(index))
            || (config.is_unbounded() && self.commit_ends(config))
    }

    /// Whether a transaction has outlasted its lease by a tick: in a run without an end none lasts longer.
    fn commit_ends(&self, config: &Configuration) -> bool {
        let begun = self.server.committing.as_ref().map(|committing| committing.read);
        begun.is_some_and(|begun| {
            (begun + config.settings.lease + Span::from_nanos(1)).passed(self.server_now())
        })
    }

    /// Whether an agent's timer is due.
    pub fn wants_wake(&self, index: usize) -> bool {
        use downbeat_core::effect::PollAt;
        let host = &self.hosts[index];
        !host.late
            && matches!(host.agent.poll_at(), PollAt::At(instant) if instant.passed(self.local_now(index)))
    }

    /// Whether a rule is broken outside of core in this run.
    pub(crate) fn twisted(config: &Configuration, twist: Twist) -> bool {
        config.twist == Some(twist)
    }
}

/// The id of an agent of the model.
pub fn agent_id(index: usize) -> AgentId {
    AgentId([index as u8 + 1; 16])
}

/// How an agent of the model is set.
pub(crate) fn agent_config(config: &Configuration, index: usize) -> Config {
    Config {
        activation: config.activation,
        rate: config.rate,
        // A clock that may miss a tick is one that is read in steps of a tick.
        granularity: if World::twisted(config, Twist::GranularityIgnored) {
            Span::ZERO
        } else {
            config.step()
        },
        back_off: (Span::from_nanos(config.unit()), Span::from_nanos(config.unit())),
        patience: config.settings.round_trip,
        start_wait: Span::from_nanos(2 * config.unit()),
        samples: config.samples,
        reports: false,
        guards: config.guards,
        ..Config::new(agent_id(index), config.modes[index])
    }
}
