//! The generations that an agent holds, by digest, and how its readers come to them (items 200 and
//! 202 of Fig. 2; PROTOCOL §6): besides core's cell, all of the read path that is concurrent.
//!
//! Three rules make a plan and the content that it names one value, though they lie apart:
//! - Content is put on the shelf before a plan names it.
//! - It is taken away after a plan was published that doesn't name it ([`publish`]).
//! - So a reader that misses what its plan names holds a plan that was replaced: it looks again, at
//!   the plan and at the clock, and at most once more for each publish ([`Finder::read`]).
//!
//! What a content is doesn't matter here, nor does waiting. core/tests/loom_read.rs takes this file
//! as it is under every interleaving; each seeded bug (`downbeat_bug`) must be refuted there.

use downbeat_core::cell::{PlanCell, PlanReader, PlanWriter};
use downbeat_core::ids::{Digest, Generation};
use downbeat_core::serving::{Serving, SwitchPlan};
use downbeat_core::time::LocalTime;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, PoisonError};

#[cfg(downbeat_loom)]
use loom::sync::{Mutex, MutexGuard};
#[cfg(not(downbeat_loom))]
use std::sync::{Mutex, MutexGuard};

/// How often a plan is looked at again whose content was taken away; each time it was replaced.
const LOOKS: u32 = if cfg!(downbeat_bug = "one_look") { 1 } else { 64 };

/// The generations that an agent holds, by digest.
pub(crate) struct Shelf<C> {
    held: Mutex<Held<C>>,
}

struct Held<C> {
    contents: HashMap<Digest, Arc<C>>,
    /// What was served last, newest first: for pinned reads.
    served: VecDeque<Generation>,
    kept: usize,
}

impl<C> Shelf<C> {
    /// A shelf that keeps so many generations that were served, the one being served included.
    pub(crate) fn new(kept: usize) -> Shelf<C> {
        let (contents, served) = (HashMap::new(), VecDeque::new());
        Shelf { held: Mutex::new(Held { contents, served, kept: kept.max(1) }) }
    }

    /// Nothing that is done under this lock can leave the maps half changed.
    fn held(&self) -> MutexGuard<'_, Held<C>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn put(&self, digest: Digest, content: Arc<C>) {
        self.held().contents.insert(digest, content);
    }

    pub(crate) fn get(&self, digest: Digest) -> Option<Arc<C>> {
        self.held().contents.get(&digest).cloned()
    }

    /// The digests of all that is held.
    pub(crate) fn digests(&self) -> impl Iterator<Item = Digest> + use<C> {
        self.held().contents.keys().copied().collect::<Vec<_>>().into_iter()
    }

    /// A generation that was served and is still kept.
    fn served(&self, generation: Generation) -> Option<Arc<C>> {
        let held = self.held();
        held.served.contains(&generation).then(|| held.contents.get(&generation.digest).cloned()).flatten()
    }

    /// Notes what is being served, and takes away what nobody needs any more and no pinned read may
    /// ask for.
    fn sweep(&self, served: Option<Generation>, needed: impl Fn(Digest) -> bool) {
        let mut held = self.held();
        let Held { contents, served: list, kept } = &mut *held;
        if let Some(served) = served {
            list.retain(|before| *before != served);
            list.push_front(served);
            list.truncate(*kept);
        }
        let is_kept = |digest: Digest| needed(digest) || list.iter().any(|kept| kept.digest == digest);
        let swept: Vec<Arc<C>> =
            contents.extract_if(|digest, _| !is_kept(*digest)).map(|(_, content)| content).collect();
        // What is large takes a while to be given back, and a reader may wait for the lock.
        drop(held);
        drop(swept);
    }
}

/// Publishes a plan whose content stands on the shelf, and takes away what it doesn't name, `needed`
/// doesn't say is needed, and no pinned read may ask for.
pub(crate) fn publish<C>(
    writer: &mut PlanWriter<Arc<PlanCell>>,
    shelf: &Shelf<C>,
    plan: &SwitchPlan,
    needed: impl Fn(Digest) -> bool,
) {
    let named = |digest| [plan.active, plan.staged].iter().flatten().any(|named| named.digest == digest);
    let sweep = || {
        shelf.sweep(plan.active.filter(|_| !plan.stale), |digest| named(digest) || needed(digest));
    };
    if cfg!(downbeat_bug = "swept_first") {
        sweep();
        writer.publish(plan);
        return;
    }
    writer.publish(plan);
    sweep();
}

/// A reader's way to the published plan and the content that it names. While no plan is published
/// it touches nothing that other threads write.
pub(crate) struct Finder<C> {
    plan: PlanReader<Arc<PlanCell>>,
    shelf: Arc<Shelf<C>>,
    /// What was used last; the other one is what the plan names beside it.
    held: [Option<(Digest, Arc<C>)>; 2],
}

impl<C> Clone for Finder<C> {
    fn clone(&self) -> Finder<C> {
        Finder { plan: self.plan.clone(), shelf: self.shelf.clone(), held: self.held.clone() }
    }
}

/// A look, and what it justifies.
pub(crate) struct Found<C> {
    /// What the read gets.
    pub(crate) serving: Serving,
    /// The instant of the look.
    pub(crate) at: LocalTime,
    /// The content of what is served: there is one exactly if a generation is served.
    pub(crate) content: Option<Arc<C>>,
}

impl<C> Finder<C> {
    pub(crate) fn new(cell: Arc<PlanCell>, shelf: Arc<Shelf<C>>) -> Finder<C> {
        Finder { plan: PlanReader::new(cell), shelf, held: [None, None] }
    }

    /// The published plan, as of this call.
    pub(crate) fn plan(&mut self) -> &SwitchPlan {
        self.plan.plan()
    }

    /// One look without the content: loads the plan, then asks for the time.
    pub(crate) fn look(&mut self, now: impl FnOnce() -> LocalTime) -> Serving {
        self.plan.look(now)
    }

    /// The caller keeps what the last [`Finder::read`] or [`Finder::look`] got.
    pub(crate) fn keep(&mut self) {
        self.plan.keep();
    }

    /// Whether a look now would get what is kept; if nothing is, it wouldn't.
    #[inline(always)]
    pub(crate) fn is_unchanged(
        &mut self,
        latest: impl FnOnce() -> Option<LocalTime>,
        now: impl FnOnce() -> LocalTime,
    ) -> bool {
        self.plan.is_unchanged(latest, now)
    }

    /// One look with its content. Where that is missing the plan was replaced (see the head), and
    /// the next look counts, with an instant of its own; where each look misses, it is a hold.
    pub(crate) fn read(&mut self, mut now: impl FnMut() -> LocalTime) -> Found<C> {
        let mut at = LocalTime::MIN;
        for _ in 0..LOOKS {
            let serving = self.plan.look(|| {
                at = now();
                at
            });
            let Some(generation) = serving.generation() else { return Found { serving, at, content: None } };
            if let Some(content) = self.content_of(generation.digest) {
                return Found { serving, at, content: Some(content) };
            }
        }
        Found { serving: Serving::Hold, at, content: None }
    }

    /// The content of a generation that is served now, or that was served and is kept. `None` where
    /// it isn't held any more, or is not live yet.
    pub(crate) fn pinned(&mut self, generation: Generation, serving: Serving) -> Option<Arc<C>> {
        if serving.generation() == Some(generation) {
            self.content_of(generation.digest)
        } else {
            self.shelf.served(generation)
        }
    }

    /// The content of a digest. A digest names one content, so instants and generations are of one
    /// plan however late this is asked.
    fn content_of(&mut self, digest: Digest) -> Option<Arc<C>> {
        let found = self.held.iter().flatten().find(|(held, _)| *held == digest);
        if let Some((_, content)) = found {
            return Some(content.clone());
        }
        // The plan's both generations at once, so that the switch itself finds its content here.
        let plan = *self.plan.plan();
        self.held = [plan.active, plan.staged].map(|generation| {
            let digest = generation?.digest;
            Some((digest, self.shelf.get(digest)?))
        });
        self.shelf.get(digest)
    }
}

#[cfg(all(test, not(downbeat_loom)))]
mod tests {
    use super::*;
    use downbeat_core::ids::BootId;
    use downbeat_core::serving::{Activation, Mode};

    fn generation(number: u8) -> Generation {
        Generation { epoch: number as u64, digest: Digest([number; 32]) }
    }

    #[test]
    fn what_is_served_or_needed_is_kept() {
        let shelf = Shelf::new(2);
        for number in 1..=4 {
            shelf.put(generation(number).digest, Arc::new(()));
            shelf.sweep(Some(generation(number)), |_| true);
        }
        shelf.put(generation(9).digest, Arc::default());
        shelf.sweep(None, |digest| digest == generation(1).digest);
        let held = |number: u8| shelf.get(generation(number).digest).is_some();
        assert_eq!([1, 2, 3, 4, 9].map(held), [true, false, true, true, false]);
        assert!(shelf.served(generation(3)).is_some());
        assert!(shelf.served(generation(1)).is_none(), "needed, and not one of the last two served");
    }

    #[test]
    fn what_a_published_plan_names_stays_whatever_else_is_needed() {
        let nothing = SwitchPlan::nothing(BootId(1), Mode::Prompt, Activation::Switch);
        let cell = Arc::new(PlanCell::new(&nothing));
        let mut writer = PlanWriter::new(cell).unwrap();
        let shelf = Shelf::new(1);
        for number in 1..=3 {
            shelf.put(generation(number).digest, Arc::new(()));
        }
        let named =
            SwitchPlan { active: Some(generation(1)), stale: true, staged: Some(generation(2)), ..nothing };
        publish(&mut writer, &shelf, &named, |_| false);
        let held = |number: u8| shelf.get(generation(number).digest).is_some();
        assert_eq!([1, 2, 3].map(held), [true, true, false]);
        assert!(shelf.served(generation(1)).is_none(), "what is stale is not noted as served");
    }
}
