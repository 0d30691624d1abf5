//! Which of the generations that went live, or will, can still matter to the judgement of a read.

use crate::world::World;
use downbeat_core::serving::SwitchPlan;
use downbeat_core::time::LocalTime;

/// The part of the record of what goes live that is still looked at.
pub(super) struct Past {
    /// Place of its first entry.
    pub(super) first: usize,
}

impl Past {
    /// From the first entry on that is live, is still to go live, or can still be served as current by
    /// a plan that somebody reads. A read of something older would be judged as broken with these
    /// entries as well as without them.
    pub(super) fn of(world: &World) -> Past {
        let entries = &world.record.goes_live;
        let live = world.live_at(world.now);
        let to_come = entries.iter().position(|live| world.real(live) > world.now);
        let mut first = [live, to_come].into_iter().flatten().min().unwrap_or(0);
        for (index, host) in world.hosts.iter().enumerate() {
            let now = world.local_now(index);
            let plans = [Some(&host.page), host.overlap.as_ref(), host.old_page.as_ref()];
            let read = host.reader.as_ref().map(|reader| &reader.plan);
            for plan in plans.into_iter().flatten().chain(read) {
                for generation in may_be_current(plan, now).into_iter().flatten() {
                    let known = entries.iter().position(|live| live.generation == generation);
                    first = first.min(known.unwrap_or(first));
                }
            }
        }
        Past { first }
    }
}

/// What a plan can still serve as current, at `now` or later.
fn may_be_current(plan: &SwitchPlan, now: LocalTime) -> [Option<downbeat_core::ids::Generation>; 2] {
    [
        plan.active.filter(|_| !plan.stale && !plan.active_until.passed(now)),
        plan.staged.filter(|_| !plan.staged_until.passed(now)),
    ]
}
