//! S1 to S4 over the steps of one farm's table: judged from the tables as they were recorded, not by
//! core's own checks, so that a fault of core is seen too.

use crate::fault::Verdicts;
use crate::file::Place;
use downbeat_core::ids::{Epoch, RequestId, TimelineId, Token};
use downbeat_core::message::{ReplyBody, RequestBody};
use downbeat_core::table::{Lock, SyncTable, TableView};
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

/// A request as it was carried out.
pub(crate) struct Step<'a> {
    /// The table before it, and after it.
    pub(crate) tables: (&'a SyncTable, &'a SyncTable),
    /// Who asked.
    pub(crate) id: RequestId,
    /// What.
    pub(crate) request: &'a RequestBody,
    /// By the server's clock.
    pub(crate) now: ServerTime,
    /// What it was answered.
    pub(crate) reply: &'a ReplyBody<u16>,
}

impl Ledger {
    /// Judges a step.
    pub(crate) fn step(&mut self, place: Place, step: &Step<'_>, verdicts: &mut Verdicts) {
        let (before, after) = step.tables;
        if let Some(lock) = after.lock.filter(|lock| Some(*lock) != before.lock) {
            self.granted(place, step, lock, verdicts);
        }
        if after.staged.epoch != before.staged.epoch {
            self.begun(place, step, verdicts);
        }
    }

    /// S1, S2: a grant.
    fn granted(&mut self, place: Place, step: &Step<'_>, lock: Lock, verdicts: &mut Verdicts) {
        let ((before, after), now) = (step.tables, step.now);
        let live = before.lock.filter(|live| now < live.expires && live.holder != step.id);
        verdicts.judge(S2, place, live.is_none(), || {
            let live = live.map_or(0, |live| live.token);
            format!("token {} is granted while {live} is unexpired", lock.token)
        });
        verdicts.judge(S2, place, before.held.is_none(), || {
            format!("token {} is granted while the farm is held", lock.token)
        });
        let highest = self.tokens.entry(after.timeline).or_default();
        verdicts.judge(S2, place, lock.token > *highest, || {
            format!("token {} is granted after {highest}", lock.token)
        });
        *highest = lock.token.max(*highest);
        verdicts.judge(S1, place, now >= before.activation, || {
            format!("a grant {} ns before T", (before.activation - now).as_nanos())
        });
    }

    /// S1, S3, S4: an epoch.
    fn begun(&mut self, place: Place, step: &Step<'_>, verdicts: &mut Verdicts) {
        let ((before, after), now) = (step.tables, step.now);
        let epoch = after.staged.epoch;
        verdicts.judge(S1, place, epoch == before.staged.epoch + 1, || {
            format!("epoch {epoch} follows epoch {}", before.staged.epoch)
        });
        let newest = self.begun.insert(after.timeline, epoch).filter(|newest| *newest >= epoch);
        verdicts.judge(S1, place, newest.is_none(), || {
            format!("epoch {epoch} is begun after epoch {}", newest.unwrap_or_default())
        });
        verdicts.judge(S1, place, matches!(step.reply, ReplyBody::Advanced(_)), || {
            format!("epoch {epoch} is begun and its initiator told {:?}", step.reply)
        });
        let token = match step.request {
            RequestBody::Advance { token, .. } => Some(*token),
            _ => None,
        };
        verdicts.judge(S1, place, token.is_some(), || {
            format!("epoch {epoch} is begun by another request than an advance")
        });
        verdicts
            .judge(S3, place, before.lock.is_some(), || format!("epoch {epoch} is begun without a grant"));
        let (Some(token), Some(grant)) = (token, before.lock) else { return };
        verdicts.judge(S3, place, grant.token == token && now < grant.expires, || {
            format!("epoch {epoch} is begun with token {token}, the grant is {grant:?} at {now:?}")
        });
        verdicts.judge(S1, place, grant.granted_at.min(now) >= before.activation, || {
            format!("epoch {epoch} is begun before T, at {now:?} by {grant:?}")
        });
        self.arithmetic(place, (before, after), grant, verdicts);
    }

    /// S4: T of a new epoch, and its promise.
    fn arithmetic(
        &self,
        place: Place,
        (before, after): (&SyncTable, &SyncTable),
        grant: Lock,
        verdicts: &mut Verdicts,
    ) {
        let (epoch, t) = (after.staged.epoch, after.activation);
        verdicts.judge(S4, place, t >= grant.granted_at + before.settings.lead, || {
            format!("epoch {epoch} goes live less than the lead after its grant")
        });
        let promise = self
            .promised
            .filter(|(line, of, _)| (*line, *of) == (before.timeline, before.staged.epoch))
            .map_or(ServerTime::MIN, |(_, _, promise)| promise);
        verdicts.judge(S4, place, t >= promise, || {
            format!("epoch {epoch} goes live {} ns before a promise", (promise - t).as_nanos())
        });
        let first = first_instant(before, grant);
        verdicts.judge(S4, place, t == first, || {
            let off = (t - first).as_nanos();
            format!("epoch {epoch} goes live {off} ns off the first instant that its grant left")
        });
        verdicts.judge(S4, place, after.next_earliest >= t + after.settings.lead, || {
            format!("the promise of epoch {epoch} is shorter than the lead")
        });
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

/// The first regular, due or landing instant that is neither before the promise nor within the lead of
/// the grant.
fn first_instant(table: &SyncTable, grant: Lock) -> ServerTime {
    let bound = table.next_earliest.max(grant.granted_at + table.settings.lead);
    let interval = i128::from(table.settings.interval.as_nanos().max(1));
    let after_grid = i128::from(bound.as_nanos()) - i128::from(table.grid.as_nanos());
    let slots = after_grid.div_euclid(interval) + i128::from(after_grid.rem_euclid(interval) > 0);
    let regular = i128::from(table.grid.as_nanos()) + slots * interval;
    let regular = ServerTime::from_nanos(i64::try_from(regular).unwrap_or(i64::MAX));
    let others = [grant.due, table.landing].into_iter().flatten().filter(|instant| *instant >= bound);
    others.fold(regular, ServerTime::min)
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
