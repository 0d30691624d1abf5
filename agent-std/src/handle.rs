//! The handle of a running agent: readers, what it is like, what happens, and its end.

use crate::builder::Builder;
use crate::clock::Clock;
use crate::held::Held;
use crate::life::Life;
use crate::reader::Reader;
use crate::shelf::Shelf;
use crate::status::{Board, Happening, Status};
use downbeat_core::cell::PlanCell;
use downbeat_core::ids::{AgentId, Incarnation};
use downbeat_core::serving::SwitchPlan;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{broadcast, oneshot, watch};
use tokio::task::JoinHandle;

/// A running agent. Dropped, it ends in the background; its readers go on with the last plan, as
/// far as that carries (PROTOCOL §6: a dead agent delays nothing).
pub struct Agent {
    pub(crate) agent: AgentId,
    pub(crate) life: Arc<Life>,
    pub(crate) cell: Arc<PlanCell>,
    pub(crate) shelf: Arc<Shelf<Held>>,
    pub(crate) board: Arc<Board>,
    pub(crate) clock: Clock,
    pub(crate) hold_limit: Duration,
    pub(crate) stop: oneshot::Sender<()>,
    pub(crate) running: JoinHandle<()>,
    /// Closed when the worker has ended.
    pub(crate) end: oneshot::Receiver<()>,
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agent").field("agent", &self.agent).finish_non_exhaustive()
    }
}

impl Agent {
    /// Sets up an agent.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// A reader's handle. Make one for each thread, or clone one.
    pub fn reader(&self) -> Reader {
        let (cell, shelf, life) = (self.cell.clone(), self.shelf.clone(), self.life.clone());
        Reader::new(cell, shelf, life, self.clock.clone(), self.hold_limit)
    }

    /// What the agent is like now.
    pub fn status(&self) -> Status {
        self.board.status(self.agent, self.incarnation(), self.clock.now())
    }

    /// What happens from now on. A listener that is too far behind is told how much it missed.
    pub fn happenings(&self) -> broadcast::Receiver<Happening> {
        self.board.listen()
    }

    /// The published plan, and each one that follows; to wait for a change. Reads don't go by it:
    /// they ask a [`Reader`].
    pub fn plans(&self) -> watch::Receiver<SwitchPlan> {
        self.board.plans()
    }

    /// Who the agent is.
    pub fn id(&self) -> AgentId {
        self.agent
    }

    /// In which life it is. It changes only where content was found damaged: the agent then begins
    /// anew without it, as if its process had been restarted.
    pub fn incarnation(&self) -> Incarnation {
        loop {
            // The instant between two lives is a few stores long.
            if let Some(life) = self.life.now() {
                return life;
            }
            std::thread::yield_now();
        }
    }

    /// The clock that it goes by.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Ends the agent: a grant that it holds is given back, and its state directory is free
    /// afterwards.
    pub async fn stop(self) {
        // Where the driver has ended already there is nobody to tell.
        let _ = self.stop.send(());
        let _ = self.running.await;
        let _ = self.end.await;
    }

    /// Ends the agent at once, as a crash of its process would, in the middle of whatever it does.
    pub async fn kill(self) {
        self.running.abort();
        let _ = self.running.await;
        let _ = self.end.await;
    }
}
