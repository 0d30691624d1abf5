//! S1 to S4 over the steps of one farm's table: judged from the tables as they were recorded, not by
//! core's own checks, so that a fault of core is seen too.

use crate::fault::Fault;
use crate::file::Place;
use downbeat_core::ids::{Epoch, RequestId, TimelineId, Token};
use downbeat_core::message::{ReplyBody, RequestBody};
use downbeat_core::table::{SyncTable, TableView};
use downbeat_core::time::ServerTime;
use std::collections::BTreeMap;

const S1: &str = "S1 single_initiator";
const S2: &str = "S2 lock_exclusive";
const S3: &str = "S3 fenced_writes";
const S4: &str = "S4 activation_arithmetic";

/// What was seen of a farm.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    /// The highest token granted on each line.
    tokens: BTreeMap<TimelineId, Token>,
    /// The highest promise that left the server for the newest epoch that it told of.
    promised: Option<(TimelineId, Epoch, ServerTime)>,
    /// The newest epoch that was begun on each line.
    begun: BTreeMap<TimelineId, Epoch>,
}

impl Ledger {
    /// A request made `after` of `before` at `now`.
    #[expect(clippy::too_many_arguments, reason = "a step has that many parts")]
    pub(crate) fn step(
        &mut self,
        place: Place,
        before: &SyncTable,
        after: &SyncTable,
        (id, request): (RequestId, &RequestBody),
        now: ServerTime,
        reply: &ReplyBody<u16>,
        faults: &mut Vec<Fault>,
    ) {
        let mut find = |check, detail: String| faults.push(Fault::at(check, place, detail));
        if let Some(lock) = after.lock.filter(|lock| Some(*lock) != before.lock) {
            if let Some(live) = before.lock.filter(|live| now < live.expires && live.holder != id) {
                find(S2, format!("token {} is granted while {} is unexpired", lock.token, live.token));
            }
            let highest = self.tokens.entry(after.timeline).or_default();
            if lock.token <= *highest {
                find(S2, format!("token {} is granted after {highest}", lock.token));
            }
            *highest = lock.token.max(*highest);
            if now < before.activation {
                find(S1, format!("a grant {} ns before T", (before.activation - now).as_nanos()));
            }
        }
        if after.staged.epoch == before.staged.epoch {
            return;
        }
        let (epoch, grant) = (after.staged.epoch, before.lock);
        if epoch != before.staged.epoch + 1 {
            find(S1, format!("epoch {epoch} follows epoch {}", before.staged.epoch));
        }
        let RequestBody::Advance { token, .. } = request else {
            return find(S1, format!("epoch {epoch} is begun by another request than an advance"));
        };
        if let Some(newest) = self.begun.insert(after.timeline, epoch).filter(|newest| *newest >= epoch) {
            find(S1, format!("epoch {epoch} is begun after epoch {newest}"));
        }
        let Some(grant) = grant else { return find(S3, format!("epoch {epoch} is begun without a grant")) };
        if grant.token != *token || grant.expires <= now {
            find(S3, format!("epoch {epoch} is begun with token {token}, the grant is {grant:?} at {now:?}"));
        }
        if grant.granted_at < before.activation {
            find(S1, format!("epoch {epoch} is begun by a grant from before T"));
        }
        if after.activation < grant.granted_at + before.settings.lead {
            find(S4, format!("epoch {epoch} goes live less than the lead after its grant"));
        }
        if let Some((line, of, promise)) = self.promised
            && (line, of) == (before.timeline, before.staged.epoch)
            && after.activation < promise
        {
            let early = (promise - after.activation).as_nanos();
            find(S4, format!("epoch {epoch} goes live {early} ns before a promise"));
        }
        if after.next_earliest < after.activation + after.settings.lead {
            find(S4, format!("the promise of epoch {epoch} is shorter than the lead"));
        }
        if !matches!(reply, ReplyBody::Advanced(_)) {
            find(S1, format!("epoch {epoch} is begun and its initiator told {reply:?}"));
        }
    }

    /// What left the server of a promise.
    pub(crate) fn told(&mut self, reply: &ReplyBody<u16>, table: &SyncTable) {
        let Some(view) = view(reply) else { return };
        let told = (table.timeline, view.staged.epoch, view.next_earliest);
        self.promised = Some(match self.promised {
            Some((line, epoch, promise)) if line == told.0 && epoch > told.1 => (line, epoch, promise),
            Some((line, epoch, promise)) if (line, epoch) == (told.0, told.1) => {
                (line, epoch, promise.max(told.2))
            }
            _ => told,
        });
    }
}

/// The table in a reply.
fn view(reply: &ReplyBody<u16>) -> Option<&TableView> {
    match reply {
        ReplyBody::Table(table)
        | ReplyBody::Granted { table, .. }
        | ReplyBody::NotDue(table)
        | ReplyBody::Busy { table, .. }
        | ReplyBody::Advanced(table)
        | ReplyBody::Refused { table, .. } => Some(table),
        _ => None,
    }
}
