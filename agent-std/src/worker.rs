//! What may take long or block, on a thread of its own: checking a generation's digests, the host's
//! validation, and the disk. The driver goes on meanwhile, so that none of it costs time at T.

use crate::content::Content;
use crate::disk::Disk;
use crate::filling::{Fault, Filled, Filling};
use downbeat_core::effect::Verified;
use downbeat_core::ids::{Digest, Generation};
use downbeat_core::message::Veto;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use tokio::sync::mpsc::UnboundedSender;

/// The host's own check of a generation: `Err` with the reason refuses it.
pub(crate) type Validate = Box<dyn Fn(Generation, &Content) -> Result<(), String> + Send>;

/// What the worker is asked for, done in order.
pub(crate) enum Job {
    /// All of it has arrived: is it whole, and will the host take it?
    Verify { number: u64, filling: Box<Filling> },
    /// It is being served, so it is the last good one; `needed` are the others to be kept.
    Good { generation: Generation, needed: Vec<Digest> },
}

/// What came of a job.
pub(crate) enum Outcome {
    /// Of [`Job::Verify`].
    Verified {
        number: u64,
        target: Generation,
        found: Verified,
        /// Where it is whole.
        content: Option<Arc<Content>>,
        /// Why it isn't taken.
        cause: Option<String>,
    },
    /// The disk couldn't be written; the agent goes on without.
    Warning(String),
}

pub(crate) struct Worker {
    pub(crate) disk: Option<Disk>,
    pub(crate) validate: Option<Validate>,
    pub(crate) outcomes: UnboundedSender<Outcome>,
}

impl Worker {
    /// Works until nobody can ask any more.
    pub(crate) fn run(self, jobs: &mpsc::Receiver<Job>) {
        while let Ok(job) = jobs.recv() {
            let outcome = match job {
                Job::Verify { number, filling } => Some(self.verify(number, *filling)),
                Job::Good { generation, needed } => self.note_good(generation, &needed),
            };
            if outcome.is_some_and(|outcome| self.outcomes.send(outcome).is_err()) {
                return;
            }
        }
    }

    fn verify(&self, number: u64, filling: Filling) -> Outcome {
        let target = filling.target;
        let refused = |found, cause| Outcome::Verified { number, target, found, content: None, cause };
        let filled = match filling.finish() {
            Ok(filled) => filled,
            Err(fault @ Fault::TooLarge { .. }) => {
                return refused(Verified::Vetoed(Veto::TooLarge), Some(fault.to_string()));
            }
            Err(fault) => return refused(Verified::Mismatch, Some(fault.to_string())),
        };
        if let Err(cause) = self.validated(target, &filled.content) {
            return refused(Verified::Vetoed(Veto::Invalid), Some(cause));
        }
        if let Err(cause) = self.stored(target, &filled) {
            return refused(Verified::Vetoed(Veto::Storage), Some(cause));
        }
        let content = Some(Arc::new(filled.content));
        Outcome::Verified { number, target, found: Verified::Whole, content, cause: None }
    }

    fn validated(&self, target: Generation, content: &Content) -> Result<(), String> {
        let Some(validate) = &self.validate else { return Ok(()) };
        // A validation that panics has not found the generation good. It only looks at the content.
        catch_unwind(AssertUnwindSafe(|| validate(target, content)))
            .unwrap_or_else(|_| Err("the host's validation panicked; its output says where".to_string()))
    }

    fn stored(&self, target: Generation, filled: &Filled) -> Result<(), String> {
        let (Some(disk), Some((name, bytes))) = (&self.disk, &filled.object) else { return Ok(()) };
        disk.keep(target, *name, bytes).map_err(|error| {
            format!("the state directory can't keep the generation: {error}; make room or repair it")
        })
    }

    fn note_good(&self, generation: Generation, needed: &[Digest]) -> Option<Outcome> {
        let error = self.disk.as_ref()?.note_good(generation, needed).err()?;
        Some(Outcome::Warning(format!(
            "the state directory can't be kept up: {error}; what it held before stands, make room or repair it"
        )))
    }
}
