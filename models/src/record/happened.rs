//! What a step can have brought about, so that `sometimes` can see that a check had something to check.

use crate::world::World;
use downbeat_core::ids::{Epoch, TimelineId};

/// Things that happened in the last step, so that a check can be seen to have had something to check.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Happened {
    /// A holder was refused because its lease was over.
    LeaseOver,
    /// A holder was refused because the lock was another's.
    NotHolder,
    /// The lock was busy.
    Busy,
    /// The promise was renewed.
    Renewed,
    /// A cycle began with the scheduled record's instant as its activation.
    Landed,
    /// A cycle began without a change of content.
    Unchanged,
    /// A prompt agent served a generation before its T.
    Early,
    /// A prompt agent still served the old generation after T.
    Late,
    /// A read was held.
    Held,
    /// A read was fenced after others had been served.
    Fenced,
    /// A read was marked stale.
    Stale,
    /// An agent that was started again served for the first time.
    Rejoined,
    /// A reader that had been suspended across a switch answered.
    Resumed,
    /// A reader answered by a plan that had been replaced since it was loaded.
    Republished,
    /// A clock jumped beyond its bound.
    ClockStepped,
    /// An agent found out that a clock had broken its bound.
    Detected,
    /// A read broke what is promised, by a clock that had broken its bound and nobody knew yet.
    Excused,
    /// An agent was woken though nobody had asked for it.
    Spurious,
    /// A cycle began that leaves out a regular activation time and more.
    SkippedSlots,
    /// An agent learned of a generation more than two epochs after the last that it knew.
    LongAway,
    /// Settings were changed while others were pending.
    PendingReplaced,
    /// A cycle took up a shorter interval, or another lead, lease or early limit.
    TookUp,
    /// A line was begun without a mark.
    MarkLost,
    /// A pinned generation was read after a switch away from it.
    PinRead,
    /// A pinned generation was asked for and no longer kept.
    PinDropped,
    /// A reading of the database's clock was outside of a server's enclosure of it.
    ReadingOutside,
}

impl World {
    /// The epoch that an agent was last told of, with its line.
    pub(crate) fn epoch_known(&self, index: usize) -> Option<(TimelineId, Epoch)> {
        let agent = &self.hosts[index].agent;
        Some((agent.timeline()?, agent.table()?.staged.epoch))
    }

    /// Notes that an agent was away for more than two epochs.
    pub(crate) fn note_long_away(&mut self, index: usize, before: Option<(TimelineId, Epoch)>) {
        if let (Some((line, epoch)), Some((now, newer))) = (before, self.epoch_known(index))
            && line == now
            && newer > epoch + 2
        {
            self.record.note(Happened::LongAway);
        }
    }
}
