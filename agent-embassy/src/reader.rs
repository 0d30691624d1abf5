//! Reading: what an application gets when it looks (Fig. 6, step 252; PROTOCOL §6). The decision is
//! core's [`serving`]; the order (first the plan, then the clock, then the answer) is kept here.

use crate::clock;
use crate::memory::{Memory, Shared};
use crate::records::Records;
use crate::status::Status;
use core::fmt;
use downbeat_core::ids::{Epoch, Generation};
use downbeat_core::message::Phase;
use downbeat_core::serving::{Mode, Serving, serving};
use downbeat_core::time::LocalTime;
use embassy_sync::blocking_mutex::raw::RawMutex;
use embassy_time::{Duration, Instant, Timer};

/// How often a read that is held for a copy looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// What an application reads with; copies read the same memory.
pub struct Reader<M: RawMutex + 'static, const BYTES: usize> {
    memory: &'static Memory<M, BYTES>,
}

impl<M: RawMutex, const BYTES: usize> Clone for Reader<M, BYTES> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<M: RawMutex, const BYTES: usize> Copy for Reader<M, BYTES> {}

/// Whether what is seen is known to be what is live.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Freshness {
    /// It is current.
    Current,
    /// It may be out of date (prompt only).
    Stale,
}

/// What a read sees: one generation, whole.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Its number.
    pub epoch: Epoch,
    /// Its number and digest.
    pub generation: Generation,
    /// Whether it is known to be live.
    pub freshness: Freshness,
    /// The look at the clock that decided it.
    pub looked_at: LocalTime,
    /// Its records.
    pub records: Records<'a>,
}

/// Why a read gets nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Unserved {
    /// The switch is being made: not before this instant of the agent's clock is there an answer. A
    /// copy may take longer; where the instant has passed, it does.
    Hold {
        /// When to look again.
        until: LocalTime,
    },
    /// What is live can't be proved (strict).
    Fenced,
    /// Nothing has been retrieved yet, or what was kept is not served yet (prompt).
    Nothing,
}

impl fmt::Display for Unserved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unserved::Hold { .. } => {
                "the switch to the next generation is being made; read again in a moment"
            }
            Unserved::Fenced => "what is live can't be proved until the server is reached again",
            Unserved::Nothing => "nothing has been retrieved yet",
        })
    }
}
impl core::error::Error for Unserved {}

impl<M: RawMutex, const BYTES: usize> Reader<M, BYTES> {
    pub(crate) fn new(memory: &'static Memory<M, BYTES>) -> Reader<M, BYTES> {
        Reader { memory }
    }

    /// Reads: `look` sees one generation, and what it gives back is given back.
    ///
    /// The mutex is held meanwhile, so `look` must be short; with `CriticalSectionRawMutex` interrupts
    /// are off.
    ///
    /// # Errors
    /// [`Unserved`]; `look` was not called.
    pub fn read<T>(&self, look: impl FnOnce(Seen<'_>) -> T) -> Result<T, Unserved> {
        let read = self.memory.look(|shared| {
            let plan = shared.plan;
            let now = clock::now();
            let (generation, freshness) = match serving(&plan, now) {
                Serving::Active(generation) | Serving::Staged(generation) => (generation, Freshness::Current),
                Serving::Stale(generation) => (generation, Freshness::Stale),
                Serving::Hold => return Err(Unserved::Hold { until: plan.staged_from.max(now) }),
                Serving::Fenced if plan.mode == Mode::Strict => return Err(Unserved::Fenced),
                Serving::Fenced => return Err(Unserved::Nothing),
            };
            let bytes = shared.content(generation.digest).ok_or(Unserved::Nothing)?;
            let records = Records::new(bytes);
            Ok(look(Seen { epoch: generation.epoch, generation, freshness, looked_at: now, records }))
        });
        read.unwrap_or(Err(Unserved::Nothing))
    }

    /// As [`Reader::read`], and waits where the read is held, for at most `limit`.
    ///
    /// # Errors
    /// [`Unserved`]; `look` was not called.
    pub async fn read_async<T>(
        &self,
        limit: Duration,
        look: impl FnOnce(Seen<'_>) -> T,
    ) -> Result<T, Unserved> {
        let (mut look, end) = (Some(look), Instant::now() + limit);
        loop {
            let read = self.read(|seen| look.take().map(|look| look(seen)));
            match read {
                Err(Unserved::Hold { until }) if Instant::now() < end => {
                    let again = clock::instant(until).max(Instant::now() + LOOK_AGAIN);
                    Timer::at(again.min(end)).await;
                }
                Err(why) => return Err(why),
                // `look` is taken by the read that ends the loop, and by no other.
                Ok(Some(looked)) => return Ok(looked),
                Ok(None) => return Err(Unserved::Nothing),
            }
        }
    }

    /// Where the agent is in its cycle.
    pub fn phase(&self) -> Phase {
        self.memory.look(|shared| shared.board.phase).unwrap_or(Phase::Greeting)
    }

    /// A snapshot of the agent: its clock's bounds, its plan, what it counted.
    pub fn status(&self) -> Status {
        let status = |shared: &Shared<BYTES>| shared.board.status(clock::now(), &shared.plan);
        // A reader comes with its agent, so that there is something to look at.
        self.memory.look(status).unwrap_or_else(|| status(&Shared::new()))
    }
}
