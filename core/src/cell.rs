//! The read path (DESIGN §2; items 200 and 202 of Fig. 2, as readers see them): the one published
//! [`SwitchPlan`] of an agent, for one writer and any number of readers, none of which ever waits.
//!
//! What a plan says of a read is in `serving`; how the words become one atomic value is in
//! [`words`], which plan is published is decided in `plan`. Handles to the generations that a plan
//! names, and waiting out a hold, are the host's.

use crate::serving::{Mode, Serving, SwitchPlan, serving, unchanged_until};
use crate::sync::{AtomicBool, Ordering};
use crate::time::LocalTime;
use core::ops::Deref;
use words::WordCell;

// The checker's plans are two words; all else is as it ships.
#[cfg(not(downbeat_loom))]
mod layout;
#[cfg(downbeat_loom)]
#[path = "cell/compact.rs"]
mod layout;
pub mod words;

pub use layout::PLAN_WORDS;

/// Orders by which a claim is given up and taken: the next writer knows the version of the last one.
const CLAIM_ORDER: (Ordering, Ordering) = if cfg!(downbeat_bug = "relaxed_claim") {
    (Ordering::Relaxed, Ordering::Relaxed)
} else {
    (Ordering::Release, Ordering::Acquire)
};

/// The published plan. Written through the one [`PlanWriter`], read through [`PlanReader`]s; both
/// hold it as the host likes: by reference, in an `Arc`, in a static.
pub struct PlanCell {
    words: WordCell<PLAN_WORDS>,
    /// Whether a [`PlanWriter`] exists.
    claimed: AtomicBool,
}

impl PlanCell {
    /// A cell that holds this plan as version 0.
    pub fn new(plan: &SwitchPlan) -> PlanCell {
        PlanCell { words: WordCell::new(&plan.to_words()), claimed: AtomicBool::new(false) }
    }

    /// The version of the published plan: one atomic load. It rises by one with each publish, and
    /// wraps after four billion; unlike the plan's serial it is this cell's alone.
    #[inline]
    pub fn version(&self) -> u32 {
        self.words.version()
    }

    /// The published plan and its version; `None` where two publishes began meanwhile.
    pub fn try_load(&self) -> Option<(u32, SwitchPlan)> {
        let (version, words) = self.words.try_load()?;
        Some((version, SwitchPlan::from_words(&words)?))
    }

    /// The published plan and its version. Never waits for the writer: see [`WordCell::load`].
    pub fn load(&self) -> (u32, SwitchPlan) {
        loop {
            // Only plans are ever published here, so the words always are one.
            let (version, words) = self.words.load();
            if let Some(plan) = SwitchPlan::from_words(&words) {
                return (version, plan);
            }
        }
    }
}

/// The one writer of a cell (PROTOCOL §6: a plan has one writer for its life). Dropped, it makes
/// room for another.
pub struct PlanWriter<C: Deref<Target = PlanCell>> {
    cell: C,
}

impl<C: Deref<Target = PlanCell>> PlanWriter<C> {
    /// The writer of this cell, or `None` where there is one already.
    pub fn new(cell: C) -> Option<PlanWriter<C>> {
        let claimed = if cfg!(downbeat_bug = "torn_claim") {
            let claimed = cell.claimed.load(Ordering::Acquire);
            cell.claimed.store(true, Ordering::Relaxed);
            claimed
        } else {
            // Acquire: what the writer before has stored is seen by this one.
            cell.claimed.swap(true, CLAIM_ORDER.1)
        };
        (!claimed).then(|| PlanWriter { cell })
    }

    /// Publishes a plan and returns its version. Readers get it, whole, from their next look on;
    /// if this thread dies meanwhile, they keep the plan before.
    pub fn publish(&mut self, plan: &SwitchPlan) -> u32 {
        self.cell.words.publish(&plan.to_words())
    }

    /// Publishes the published plan as a new version and returns that: readers look again. For a host
    /// that has another content of what the plan names.
    pub fn publish_again(&mut self) -> u32 {
        let (_, plan) = self.cell.load();
        self.publish(&plan)
    }

    /// The cell.
    pub fn cell(&self) -> &PlanCell {
        &self.cell
    }
}

impl<C: Deref<Target = PlanCell>> Drop for PlanWriter<C> {
    fn drop(&mut self) {
        self.cell.claimed.store(false, CLAIM_ORDER.0);
    }
}

/// One reader's handle, with a copy of the plan of its own: while no plan is published a look at
/// the plan is one atomic load. Cloned for each thread.
#[derive(Clone)]
pub struct PlanReader<C: Deref<Target = PlanCell>> {
    cell: C,
    version: u32,
    plan: SwitchPlan,
    /// Until when reads of `plan` get what the last look got.
    until: LocalTime,
    /// The version of `plan`, where it was looked at since it was loaded; otherwise no version.
    looked: u64,
    // Each is the version of `plan` or no version: one comparison with the published one tells the case, and
    // that the plan still is that one.
    /// The look is kept, and `until` is never.
    for_ever: u64,
    /// It is kept, and a bound of the time may do to see that `until` is ahead: in prompt, until one didn't.
    far: u64,
    /// It is kept, and the time itself tells.
    near: u64,
}

/// Above all versions.
const NO_VERSION: u64 = u64::MAX;

impl<C: Deref<Target = PlanCell>> PlanReader<C> {
    /// A reader of this cell.
    pub fn new(cell: C) -> PlanReader<C> {
        let (version, plan) = cell.load();
        let (until, none) = (LocalTime::MIN, NO_VERSION);
        PlanReader { cell, version, plan, until, looked: none, for_ever: none, far: none, near: none }
    }

    /// What a read gets now (Fig. 6, step 252; S7, S9): loads the plan, or sees that its version is
    /// unchanged, *then* asks `now` for the agent's local time, then answers by [`serving`]. `now`
    /// is called exactly once, and is the instant of the read.
    pub fn look(&mut self, now: impl FnOnce() -> LocalTime) -> Serving {
        if cfg!(downbeat_bug = "clock_first") {
            let now = now();
            return serving(self.plan(), now);
        }
        self.forget();
        self.plan();
        let now = now();
        self.until = unchanged_until(&self.plan, now);
        self.looked = self.version.into();
        serving(&self.plan, now)
    }

    /// The caller keeps what the last [`PlanReader::look`] got: from now on, until the next look,
    /// [`PlanReader::is_unchanged`] says whether it stands.
    pub fn keep(&mut self) {
        if self.until == LocalTime::MAX {
            self.for_ever = self.looked;
            return;
        }
        self.near = self.looked;
        if self.plan.mode == Mode::Prompt {
            self.far = self.looked;
        }
    }

    /// Nothing is kept, and no look is to be.
    fn forget(&mut self) {
        (self.looked, self.for_ever, self.far, self.near) = (NO_VERSION, NO_VERSION, NO_VERSION, NO_VERSION);
    }

    /// Whether a look now would get what was kept of the last one ([`PlanReader::keep`]; S7, S9), at the
    /// least price (PROTOCOL §6): one atomic load; the time only where an instant of the plan is ahead.
    /// `latest` is a bound from above of the agent's local time, by a coarse clock, or `None`; a strict
    /// read doesn't ask for it. `now` is the local time itself, asked for where the bound doesn't do.
    /// Both are called after the load. Where the answer is false, look; it is where nothing is kept.
    // A read costs a nanosecond, and a call as much: the whole look is compiled into whatever reads.
    #[inline(always)]
    pub fn is_unchanged(
        &mut self,
        latest: impl FnOnce() -> Option<LocalTime>,
        now: impl FnOnce() -> LocalTime,
    ) -> bool {
        let version = if cfg!(downbeat_bug = "kept_look") { self.version } else { self.cell.version() };
        u64::from(version) == self.for_ever || self.stands(version.into(), latest, now)
    }

    #[inline(always)]
    fn stands(
        &mut self,
        version: u64,
        latest: impl FnOnce() -> Option<LocalTime>,
        now: impl FnOnce() -> LocalTime,
    ) -> bool {
        if version == self.far {
            if latest().is_some_and(|latest| !self.until.passed(latest)) {
                return true;
            }
            // A later bound does no better.
            self.far = NO_VERSION;
        }
        version == self.near && !self.until.passed(now())
    }

    /// The published plan, as of this call.
    pub fn plan(&mut self) -> &SwitchPlan {
        if self.cell.version() != self.version && !cfg!(downbeat_bug = "kept_plan") {
            (self.version, self.plan) = self.cell.load();
            self.forget();
        }
        &self.plan
    }
}

// The checker's atomics live in its models only.
#[cfg(all(test, not(downbeat_loom)))]
mod tests;
