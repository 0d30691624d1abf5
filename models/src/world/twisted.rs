//! What a broken server or host makes of what it is given: the twins that lie outside of core. Each
//! function gives back what it was given where no twist of its own is on.

use super::{Content, Scheduled, Store, World};
use crate::configuration::{Configuration, Twist};
use downbeat_core::message::RequestBody;
use downbeat_core::server::{Facts, Verdict};
use downbeat_core::serving::SwitchPlan;
use downbeat_core::table::SyncTable;
use downbeat_core::time::{ServerTime, Span};

const TICK: Span = Span::from_nanos(1);

/// The content as a server asks it within a transaction at `now`.
pub(crate) struct Asked<'a> {
    pub(crate) store: &'a Store,
    pub(crate) twist: Option<Twist>,
    pub(crate) now: ServerTime,
}

impl Asked<'_> {
    fn visible(&self, record: Scheduled, activation: ServerTime) -> bool {
        let Scheduled { effective, expires } = record;
        match self.twist {
            Some(Twist::DueExcluded) => {
                Scheduled { effective: effective + TICK, expires }.visible(activation)
            }
            Some(Twist::ExpiryIncluded) => {
                Scheduled { effective, expires: expires.map(|at| at + TICK) }.visible(activation)
            }
            Some(Twist::ContentAsOfNow) => record.visible(self.now),
            _ => record.visible(activation),
        }
    }
}

impl Facts for Asked<'_> {
    fn first_due(&self, at_or_after: ServerTime) -> Option<ServerTime> {
        let late = if self.twist == Some(Twist::DueAfterBound) { TICK } else { Span::ZERO };
        self.store.first_due(at_or_after + late)
    }
    fn verdict(&self, activation: ServerTime) -> Verdict {
        let scheduled = self.store.scheduled.is_some_and(|record| self.visible(record, activation));
        let digest = Content { version: self.store.production, scheduled }.digest();
        if digest == self.store.table.staged.digest { Verdict::Unchanged } else { Verdict::Promote(digest) }
    }
}

impl World {
    /// The table as a broken server sees it.
    pub(crate) fn twisted_table(
        &self,
        config: &Configuration,
        request: &RequestBody,
        now: ServerTime,
    ) -> SyncTable {
        let mut table = self.server.store.table.clone();
        let Some(twist) = config.twist else { return table };
        let asks = matches!(request, RequestBody::Lock);
        let writes = matches!(request, RequestBody::Advance { .. });
        let live = table.live_lock(now).is_some();
        let lead = table.settings.lead;
        match twist {
            Twist::SecondGrant if asks => table.lock = None,
            Twist::EternalLock => move_end(&mut table, |end| end.passed(now), now + TICK),
            Twist::LockBusyAtEnd if asks => move_end(&mut table, |end| end == now, now + TICK),
            Twist::LeaseAliveAtEnd if writes => move_end(&mut table, |end| end == now, now + TICK),
            Twist::LeaseEndsEarly if asks => move_end(&mut table, |end| end == now + TICK, now),
            Twist::GrantsInHold if asks => table.held = None,
            Twist::TokenAgain if asks && !live => table.last_token = table.last_token.saturating_sub(1),
            Twist::PromiseForgotten if asks => table.next_earliest = ServerTime::MIN,
            Twist::SlotAfterBound if asks => {
                table.next_earliest = table.next_earliest.max(now + lead) + TICK;
            }
            Twist::LeadFromActivation if asks => {
                table.next_earliest = table.next_earliest.max(table.activation + lead);
                table.settings.lead = Span::ZERO;
            }
            Twist::RenewalOverGrant if live && !asks && !writes => {
                table.next_earliest = table.next_earliest.max(now + lead);
            }
            Twist::DueATickEarly if (asks || writes) && table.activation == now + TICK => {
                table.activation = now;
            }
            _ => {}
        }
        table
    }

    /// The table that such a server keeps: what it only saw wrongly is as it was.
    pub(crate) fn kept_table(&self, config: &Configuration, mut table: SyncTable) -> SyncTable {
        let known = &self.server.store.table;
        let same = table.epoch() == known.epoch();
        match config.twist {
            Some(Twist::LockBusyAtEnd | Twist::LeaseAliveAtEnd) if same => {
                if let (Some(lock), Some(known)) = (&mut table.lock, known.lock)
                    && lock.token == known.token
                {
                    lock.expires = known.expires;
                }
            }
            Some(Twist::GrantsInHold) => table.held = known.held,
            Some(Twist::TokenAgain) if table.lock.is_none() => table.last_token = known.last_token,
            Some(Twist::PromiseForgotten) if same => {
                table.next_earliest = table.next_earliest.max(known.next_earliest);
            }
            Some(Twist::SlotAfterBound) if same && table.lock.is_none() => {
                table.next_earliest = known.next_earliest;
            }
            Some(Twist::LeadFromActivation) => table.settings.lead = known.settings.lead,
            Some(Twist::DueATickEarly) if same => table.activation = known.activation,
            _ => {}
        }
        table
    }

    /// The content as this server asks it.
    pub(crate) fn asked(&self, config: &Configuration, now: ServerTime) -> Asked<'_> {
        Asked { store: &self.server.store, twist: config.twist, now }
    }
}

/// A lease's end is seen elsewhere, where it is such a one.
fn move_end(table: &mut SyncTable, which: impl Fn(ServerTime) -> bool, to: ServerTime) {
    if let Some(lock) = &mut table.lock
        && which(lock.expires)
    {
        lock.expires = to;
    }
}

/// A plan as readers go by it whose look at the clock is off by a tick: `PassedIsAfter` takes an
/// instant for passed only after it, `ReadsAhead` rounds the clock up.
pub(crate) fn as_read(config: &Configuration, plan: SwitchPlan) -> SwitchPlan {
    let off = match config.twist {
        Some(Twist::PassedIsAfter) => TICK,
        Some(Twist::ReadsAhead) => Span::ZERO - TICK,
        _ => return plan,
    };
    SwitchPlan {
        active_until: plan.active_until + off,
        staged_from: plan.staged_from + off,
        staged_until: plan.staged_until + off,
        ..plan
    }
}
