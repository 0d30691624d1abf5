//! What may take long or block, on a thread of its own: writing a generation's image while it
//! arrives, the host's validation and view, and the disk. The driver goes on meanwhile, so that none
//! of it costs time at T.
//!
//! Which images are kept, and what is done with them while nothing is asked for, is in `keeper`.

use crate::arriving::Arriving;
use crate::filling::{Fault, Intake};
use crate::held::{Held, MadeView};
use crate::keeper::Keeper;
use downbeat_core::effect::Verified;
use downbeat_core::ids::{Digest, Generation};
use downbeat_core::message::{Route, Veto};
use downbeat_image::{Image, WriteError};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, mpsc};
use tokio::sync::mpsc::UnboundedSender;

/// The host's own check of a generation: `Err` with the reason refuses it.
pub(crate) type Validate = Box<dyn Fn(Generation, &Image) -> Result<(), String> + Send>;
/// What makes the host's view.
pub(crate) type MakeView = fn(Generation, &Image) -> Result<MadeView, String>;

/// What the worker is asked for, done in order.
pub(crate) enum Job {
    /// A generation is going to arrive by this route, which may start from the image `base`; what
    /// arrived of another one is dropped.
    Begin { target: Generation, route: Box<Route>, base: Option<Digest> },
    /// The next bytes of its objects.
    Bytes(Vec<u8>),
    /// All of it has arrived: is it whole, and will the host take it?
    Verify { number: u64, target: Generation },
    /// This one is served, if any is known to be live, and these are needed.
    Settle { good: Option<Generation>, held: Vec<Digest> },
    /// Something is damaged: nothing is kept but `keep`.
    Forget { keep: Option<Generation> },
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
    pub(crate) validate: Option<Validate>,
    pub(crate) make_view: Option<MakeView>,
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
                    self.keeper.set_writing(false);
                    self.tell(Some(outcome));
                }
                job => self.keep_house(job),
            }
        }
    }

    /// The next job; while there is none, what can wait.
    fn next_job(&mut self) -> Option<Job> {
        if let Some(job) = self.next.take() {
            return Some(job);
        }
        loop {
            let Some(idle_after) = self.keeper.idle_after() else { return self.jobs.recv().ok() };
            match self.jobs.recv_timeout(idle_after) {
                Ok(job) => return Some(job),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => {
                    let outcome = self.keeper.idle();
                    self.tell(outcome);
                }
            }
        }
    }

    /// A job that needn't wait for what is arriving.
    pub(crate) fn keep_house(&mut self, job: Job) {
        let outcome = match job {
            Job::Settle { good, held } => self.keeper.settle(good, &held),
            Job::Forget { keep } => self.keeper.forget(keep),
            // Bytes of something that was given up.
            Job::Bytes(_) | Job::Begin { .. } | Job::Verify { .. } => None,
        };
        self.tell(outcome);
    }

    fn tell(&self, outcome: Option<Outcome>) {
        // A driver that has ended needs nothing; the next job doesn't come.
        let _ = outcome.map(|outcome| self.outcomes.send(outcome));
    }

    fn begin(&mut self, target: Generation, route: &Route, base: Option<Digest>) {
        self.filled = None;
        self.keeper.set_writing(true);
        let base = base.and_then(|digest| self.keeper.of(digest));
        let intake = self.intake.clone();
        let mut arriving = Arriving::new(self);
        let result = intake.fill(target, route, base.as_deref().map(|held| &held.image), &mut arriving);
        if !arriving.is_abandoned() {
            self.filled = Some((target, result));
        }
    }

    fn verify(&mut self, number: u64, target: Generation) -> Outcome {
        let refused = |found, cause| Outcome::Verified { number, target, found, held: None, cause };
        let Some((_, result)) = self.filled.take().filter(|(filled, _)| *filled == target) else {
            // Nothing of it is here: it is asked for again.
            return refused(Verified::Mismatch, None);
        };
        let image = match result {
            Ok(image) => image,
            Err(fault) => return refused(found(&fault), Some(fault.to_string())),
        };
        let made = self.validated(target, &image).and_then(|()| made_view(self.make_view, target, &image));
        match made {
            // Whatever the host found, it hadn't the generation before it.
            Err(cause) if image.is_damaged() => refused(Verified::Mismatch, Some(cause)),
            Err(cause) => refused(Verified::Vetoed(Veto::Invalid), Some(cause)),
            Ok(view) => {
                let held = Arc::new(Held::new(image, view));
                self.keeper.add(held.clone());
                let held = Some(held);
                Outcome::Verified { number, target, found: Verified::Whole, held, cause: None }
            }
        }
    }

    fn validated(&self, target: Generation, image: &Image) -> Result<(), String> {
        let Some(validate) = &self.validate else { return Ok(()) };
        // A validation that panics has not found the generation good. It only looks at the image.
        catch_unwind(AssertUnwindSafe(|| validate(target, image)))
            .unwrap_or_else(|_| Err("the host's validation panicked; its output says where".to_string()))
    }
}

/// The host's view of a generation, where it asks for one.
pub(crate) fn made_view(
    make: Option<MakeView>,
    target: Generation,
    image: &Image,
) -> Result<Option<MadeView>, String> {
    let Some(make) = make else { return Ok(None) };
    catch_unwind(AssertUnwindSafe(|| make(target, image)))
        .unwrap_or_else(|_| Err("the host's view panicked; its output says where".to_string()))
        .map(Some)
}

/// What a generation is that has a fault.
fn found(fault: &Fault) -> Verified {
    match fault {
        Fault::TooLarge { .. } => Verified::Vetoed(Veto::TooLarge),
        Fault::Image(WriteError::Io(_) | WriteError::Open(_)) => Verified::Vetoed(Veto::Storage),
        _ => Verified::Mismatch,
    }
}
