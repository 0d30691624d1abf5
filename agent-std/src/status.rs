//! What an agent tells its host about itself: a snapshot for people and tools, and a stream of what
//! happens, for logs. Nothing here decides anything.

use downbeat_core::clock::Enclosure;
use downbeat_core::effect::Event;
use downbeat_core::frame::{Dropped, Fault};
use downbeat_core::guard::Guards;
use downbeat_core::ids::{AgentId, Digest, Generation, Incarnation};
use downbeat_core::message::{Phase, Veto};
use downbeat_core::serving::SwitchPlan;
use downbeat_core::table::TableView;
use downbeat_core::time::{LocalTime, Rate, Span};
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::{broadcast, watch};

/// How many happenings a status remembers.
const REMEMBERED: usize = 64;
/// How many happenings a slow listener may be behind.
const BEHIND: usize = 1_024;

/// One thing that happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Happening {
    /// When, by the agent's clock.
    pub at: LocalTime,
    /// What.
    pub what: What,
}

/// What happened to an agent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum What {
    /// A connection to a server.
    Connected,
    /// The connection is gone, or none could be made; why. It is tried again.
    Disconnected(String),
    /// A frame was dropped, and counted.
    BadFrame(Fault),
    /// The agent came to another place in its cycle.
    Phase(Phase),
    /// A plan was published: readers go by it.
    Published(SwitchPlan),
    /// What the machine tells.
    Protocol(Event),
    /// Why a generation is not staged, in the words of whoever refused it.
    Refused(Generation, Veto, String),
    /// A second source contradicts the clock (PROTOCOL §2): the samples are dropped.
    ClockJumped,
    /// Content that was held is damaged, and the agent began another life without it: it is
    /// retrieved again.
    Damaged(Generation),
    /// The layers of a generation's image became one file, which is read from now on.
    Compacted(Digest),
    /// Something on the disk can't be used, or couldn't be written; the agent goes on without.
    Warning(String),
}

/// How often things happened since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Frames that were dropped, over all connections.
    pub bad_frames: Dropped,
    /// Replies that nobody waited for.
    pub unmatched: u64,
    /// Replies that don't answer what was asked.
    pub unexpected: u64,
    /// Retrieved generations that were not what was announced.
    pub mismatches: u64,
    /// Generations that the host would not take.
    pub vetoes: u64,
    /// Connections made.
    pub connections: u64,
    /// `Error` answers of the server.
    pub refused: u64,
    /// Times that an assumption about clocks broke.
    pub clock_breaks: u64,
    /// Frames that could not be sent, because the connection took no more.
    pub unsent: u64,
    /// Requests handed to a connection, repeated ones and time samples included.
    pub requests: u64,
    /// Those of `requests` that ask for content: routes to it, and its bytes.
    pub content_requests: u64,
    /// Switches to a new generation.
    pub switches: u64,
    /// Times that content was found damaged.
    pub damaged: u64,
    /// Images that were compacted.
    pub compactions: u64,
}

/// A snapshot of an agent.
#[derive(Clone, Debug)]
pub struct Status {
    /// Who it is.
    pub agent: AgentId,
    /// In which life.
    pub incarnation: Incarnation,
    /// When this was taken, by the agent's clock.
    pub at: LocalTime,
    /// Whether there is a connection.
    pub connected: bool,
    /// Where it is in its cycle.
    pub phase: Phase,
    /// Its estimate of server time less local time, in nanoseconds; `None` without a sample.
    pub offset: Option<i64>,
    /// ε now; `None` without a sample.
    pub epsilon: Option<Span>,
    /// What it knows of the server's clock.
    pub clock: Enclosure,
    /// The published plan.
    pub plan: SwitchPlan,
    /// The newest table that it was told.
    pub table: Option<TableView>,
    /// How often things happened.
    pub counters: Counters,
    /// The last happenings, oldest first (phases and plans are left out).
    pub last: Vec<Happening>,
}

/// What the driver keeps up and [`Status`] is made from.
#[derive(Debug)]
pub(crate) struct Board {
    state: Mutex<State>,
    happenings: broadcast::Sender<Happening>,
    plans: watch::Sender<SwitchPlan>,
}

#[derive(Debug)]
struct State {
    connected: bool,
    phase: Phase,
    clock: Enclosure,
    table: Option<TableView>,
    counters: Counters,
    last: VecDeque<Happening>,
}

impl Board {
    pub(crate) fn new(plan: SwitchPlan) -> Board {
        let state = State {
            connected: false,
            phase: Phase::Greeting,
            clock: Enclosure::new(Rate::ZERO, Rate::ZERO, Span::ZERO, Guards::ALL),
            table: None,
            counters: Counters::default(),
            last: VecDeque::new(),
        };
        let happenings = broadcast::Sender::new(BEHIND);
        Board { state: Mutex::new(state), happenings, plans: watch::Sender::new(plan) }
    }

    /// Plain values: no panic leaves them half changed.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what the machine is like after an input.
    pub(crate) fn note(&self, at: LocalTime, phase: Phase, clock: &Enclosure, table: Option<&TableView>) {
        let mut state = self.state();
        let changed = state.phase != phase;
        state.phase = phase;
        state.clock = *clock;
        if state.table.as_ref() != table {
            state.table = table.cloned();
        }
        drop(state);
        if changed {
            // Nobody listens: nothing is lost.
            let _ = self.happenings.send(Happening { at, what: What::Phase(phase) });
        }
    }

    pub(crate) fn count(&self, count: impl FnOnce(&mut Counters)) {
        count(&mut self.state().counters);
    }

    /// Notes what happened, and counts it.
    pub(crate) fn tell(&self, at: LocalTime, what: What) {
        let happening = Happening { at, what };
        {
            let mut state = self.state();
            count(&mut state.counters, &happening.what);
            match &happening.what {
                What::Connected => state.connected = true,
                What::Disconnected(_) => state.connected = false,
                _ => {}
            }
            if let What::Published(plan) = &happening.what {
                self.plans.send_replace(*plan);
            } else {
                if state.last.len() == REMEMBERED {
                    state.last.pop_front();
                }
                state.last.push_back(happening.clone());
            }
        }
        let _ = self.happenings.send(happening);
    }

    pub(crate) fn listen(&self) -> broadcast::Receiver<Happening> {
        self.happenings.subscribe()
    }

    pub(crate) fn plans(&self) -> watch::Receiver<SwitchPlan> {
        self.plans.subscribe()
    }

    pub(crate) fn status(&self, agent: AgentId, incarnation: Incarnation, at: LocalTime) -> Status {
        let state = self.state();
        let offset = state.clock.midpoint(at).map(|server| server.as_nanos().saturating_sub(at.as_nanos()));
        Status {
            agent,
            incarnation,
            at,
            connected: state.connected,
            phase: state.phase,
            offset,
            epsilon: state.clock.epsilon(at),
            clock: state.clock,
            plan: *self.plans.borrow(),
            table: state.table.clone(),
            counters: state.counters,
            last: state.last.iter().cloned().collect(),
        }
    }
}

fn count(counters: &mut Counters, what: &What) {
    let counter = match what {
        What::Connected => &mut counters.connections,
        What::Refused(..) => &mut counters.vetoes,
        What::Protocol(Event::ClockBroken) => &mut counters.clock_breaks,
        What::Protocol(Event::Unmatched) => &mut counters.unmatched,
        What::Protocol(Event::Unexpected) => &mut counters.unexpected,
        What::Protocol(Event::Mismatch(_)) => &mut counters.mismatches,
        What::Protocol(Event::Refused(_)) => &mut counters.refused,
        What::Protocol(Event::Switched(_)) => &mut counters.switches,
        What::Damaged(_) => &mut counters.damaged,
        What::Compacted(_) => &mut counters.compactions,
        What::BadFrame(fault) => {
            let frames = &mut counters.bad_frames;
            let counter = match fault {
                Fault::Oversized => &mut frames.oversized,
                Fault::Garbled => &mut frames.garbled,
                Fault::Version(_) => &mut frames.version,
                Fault::Malformed => &mut frames.malformed,
            };
            *counter = counter.saturating_add(1);
            return;
        }
        _ => return,
    };
    *counter += 1;
}
