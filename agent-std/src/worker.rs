//! What may take long or block, on a thread of its own: writing a generation's image while it
//! arrives, and the disk. The driver goes on meanwhile, so that none of it costs time at T.
//!
//! Which images are kept, and what is done with them while nothing is asked for, is in `keeper`; how
//! the host is asked about a generation, on a thread of its own again, in `judge`.

use crate::arriving::Arriving;
use crate::filling::{Fault, Intake};
use crate::held::Held;
use crate::judge::{Judge, Verdict, Waiting};
use crate::keeper::Keeper;
use downbeat_core::effect::Verified;
use downbeat_core::ids::{Digest, Generation};
use downbeat_core::message::{Route, Veto};
use downbeat_image::{Image, WriteError};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, mpsc};
use tokio::sync::mpsc::UnboundedSender;

/// What the worker is asked for, done in order.
pub(crate) enum Job {
    /// A generation is going to arrive by this route, which may start from the image `base`; what
    /// arrived of another one is dropped.
    Begin { target: Generation, route: Box<Route>, base: Option<Digest> },
    /// The next bytes of its objects.
    Bytes(Vec<u8>),
    /// All of it has arrived: is it whole, and will the host take it?
    Verify { number: u64, target: Generation },
    /// What the host says of what it was asked about by that verification.
    Judged { number: u64, verdict: Verdict },
    /// This one is served, if any is known to be live, and these are needed.
    Settle { good: Option<Generation>, held: Vec<Digest> },
    /// Something is damaged: nothing is kept but `keep`.
    Forget { keep: Option<Generation> },
    /// Nobody will ask any more.
    End,
}

/// What the driver asks by. Dropped, it ends the worker.
pub(crate) struct Jobs(mpsc::Sender<Job>);

impl Jobs {
    pub(crate) fn new(jobs: mpsc::Sender<Job>) -> Jobs {
        Jobs(jobs)
    }

    /// Asks for something. False where the worker has ended.
    pub(crate) fn ask(&self, job: Job) -> bool {
        self.0.send(job).is_ok()
    }
}

impl Drop for Jobs {
    fn drop(&mut self) {
        // The host's thread can send, too, so that the channel doesn't end with this sender.
        self.ask(Job::End);
    }
}

/// What came of a job, or of what the worker did by itself.
pub(crate) enum Outcome {
    /// Of [`Job::Verify`].
    Verified {
        number: u64,
        target: Generation,
        found: Verified,
        /// Where it is whole and taken.
        held: Option<Arc<Held>>,
        /// Why it isn't.
        cause: Option<String>,
    },
    /// The disk couldn't be written; the agent goes on without.
    Warning(String),
    /// An image is damaged, which shows on it too.
    Damaged(String),
    /// The same generation as one file, to be read instead.
    Compacted { of: Arc<Held>, held: Arc<Held>, warning: Option<String> },
}

impl Outcome {
    /// The text of a warning.
    pub(crate) fn warning(self) -> Option<String> {
        match self {
            Outcome::Warning(text) => Some(text),
            _ => None,
        }
    }
}

pub(crate) struct Worker {
    pub(crate) intake: Arc<Intake>,
    /// Before the keeper: it reads nothing any more once the directory is given up.
    pub(crate) judge: Judge,
    pub(crate) jobs: mpsc::Receiver<Job>,
    pub(crate) outcomes: UnboundedSender<Outcome>,
    pub(crate) keeper: Keeper,
    /// A job that was taken and is still to be done.
    pub(crate) next: Option<Job>,
    /// What came of what has arrived.
    pub(crate) filled: Option<(Generation, Result<Image, Fault>)>,
}

impl Worker {
    /// Works until nobody can ask any more.
    pub(crate) fn run(mut self) {
        while let Some(job) = self.next_job() {
            match job {
                Job::Begin { target, route, base } => self.begin(target, &route, base),
                Job::Verify { number, target } => {
                    let outcome = self.verify(number, target);
                    self.tell_verified(outcome);
                }
                Job::End => return,
                job => self.keep_house(job),
            }
        }
    }

    /// The next job; while there is none, what can wait, and what the host took too long for.
    fn next_job(&mut self) -> Option<Job> {
        if let Some(job) = self.next.take() {
            return Some(job);
        }
        loop {
            let wait = self.judge.left().into_iter().chain(self.keeper.idle_after()).min();
            let Some(wait) = wait else { return self.jobs.recv().ok() };
            match self.jobs.recv_timeout(wait) {
                Ok(job) => return Some(job),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if let Some((asked, cause)) = self.judge.overdue() {
                let (number, target) = (asked.number, asked.target);
                self.tell_verified(Some(refused(
                    number,
                    target,
                    Verified::Vetoed(Veto::Invalid),
                    Some(cause),
                )));
            } else {
                let outcome = self.keeper.idle();
                self.tell(outcome);
            }
        }
    }

    /// A job that needn't wait for what is arriving.
    pub(crate) fn keep_house(&mut self, job: Job) {
        let outcome = match job {
            Job::Settle { good, held } => self.keeper.settle(good, &held),
            Job::Forget { keep } => {
                if self.judge.withdraw().is_some() {
                    self.keeper.set_writing(false);
                }
                self.keeper.forget(keep)
            }
            Job::Judged { number, verdict } => {
                let outcome = self.judged(number, verdict);
                return self.tell_verified(outcome);
            }
            // Bytes of something that was given up.
            Job::Bytes(_) | Job::Begin { .. } | Job::Verify { .. } | Job::End => None,
        };
        self.tell(outcome);
    }

    /// What came of a verification. `None`: the host is asked first.
    fn tell_verified(&mut self, outcome: Option<Outcome>) {
        if outcome.is_some() {
            self.keeper.set_writing(false);
        }
        self.tell(outcome);
    }

    fn tell(&self, outcome: Option<Outcome>) {
        // A driver that has ended needs nothing; the next job doesn't come.
        let _ = outcome.map(|outcome| self.outcomes.send(outcome));
    }

    fn begin(&mut self, target: Generation, route: &Route, base: Option<Digest>) {
        self.filled = None;
        if let Some(asked) = self.judge.withdraw() {
            let text = format!("epoch {} is retrieved anew before the host has judged it", asked.epoch);
            self.tell(Some(Outcome::Warning(text)));
        }
        self.keeper.set_writing(true);
        let base = base.and_then(|digest| self.keeper.of(digest));
        let intake = self.intake.clone();
        let mut arriving = Arriving::new(self);
        let result = intake.fill(target, route, base.as_deref().map(|held| &held.image), &mut arriving);
        if !arriving.is_abandoned() {
            self.filled = Some((target, result));
        }
    }

    fn verify(&mut self, number: u64, target: Generation) -> Option<Outcome> {
        let Some((_, result)) = self.filled.take().filter(|(filled, _)| *filled == target) else {
            // Nothing of it is here: it is asked for again.
            return Some(refused(number, target, Verified::Mismatch, None));
        };
        match result {
            Ok(image) => {
                let image = self.judge.ask(number, target, image)?;
                Some(self.taken(number, target, Held::new(image, None)))
            }
            Err(fault) => Some(refused(number, target, found(&fault), Some(fault.to_string()))),
        }
    }

    /// The host has given its verdict; on something that nobody waits for any more it counts for nothing.
    fn judged(&mut self, number: u64, verdict: Verdict) -> Option<Outcome> {
        let Waiting { target, image, .. } = self.judge.answered(number)?;
        Some(match verdict {
            // Whatever the host found, it hadn't the generation before it.
            Err(cause) if image.is_damaged() => refused(number, target, Verified::Mismatch, Some(cause)),
            Err(cause) => refused(number, target, Verified::Vetoed(Veto::Invalid), Some(cause)),
            Ok(view) => self.taken(number, target, Held::new(image, view)),
        })
    }

    fn taken(&mut self, number: u64, target: Generation, held: Held) -> Outcome {
        let held = Arc::new(held);
        self.keeper.add(held.clone());
        Outcome::Verified { number, target, found: Verified::Whole, held: Some(held), cause: None }
    }
}

fn refused(number: u64, target: Generation, found: Verified, cause: Option<String>) -> Outcome {
    Outcome::Verified { number, target, found, held: None, cause }
}

/// What a generation is that has a fault.
fn found(fault: &Fault) -> Verified {
    match fault {
        Fault::TooLarge { .. } => Verified::Vetoed(Veto::TooLarge),
        Fault::Image(WriteError::Io(_) | WriteError::Open(_)) => Verified::Vetoed(Veto::Storage),
        _ => Verified::Mismatch,
    }
}
