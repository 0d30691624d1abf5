//! The synchronization table (Fig. 4, item 210), its promise, and [`next_activation`] (Fig. 5,
//! step 226), PROTOCOL §3.
//!
//! What requests do to the table is in `server`, what operators do to it in `operator`, how it goes
//! over to another line in `timeline`. Here is only what it *is*: its fields, the one function
//! that computes activation times, and the relations between its fields.

use crate::guard::{Guard, Guards};
use crate::ids::{Epoch, Generation, Name, RequestId, TimelineId, Token};
use crate::settings::{Limits, Settings};
use crate::time::{ServerTime, Span};
use serde::{Deserialize, Serialize};

/// The lock's grant (steps 220 and 232). `granted_at`, `due` and `next` are kept with it, so that
/// what is entered between grant and advance doesn't change T.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Lock {
    /// The request that it was granted to; the same request asked again gets the same grant.
    pub holder: RequestId,
    /// Fencing token.
    pub token: Token,
    /// When it was granted, by the server's clock; at or after T of the staged epoch (S1).
    pub granted_at: ServerTime,
    /// When the lease ends. At this instant it is over (S3, R2).
    pub expires: ServerTime,
    /// The first scheduled record's instant that [`next_activation`] took into account.
    pub due: Option<ServerTime>,
    /// The activation that the holder's advance must name.
    pub next: ServerTime,
}

impl Lock {
    /// Whether the lease is alive at `now`.
    pub fn is_live(&self, now: ServerTime) -> bool {
        !self.expires.passed(now)
    }
}

/// A farm held by its operator: k still goes live at T_k, and no next cycle is begun.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Hold {
    /// H, the promise that was made with it; not a timer, a hold ends by unhold only.
    pub until: Option<ServerTime>,
}

/// The synchronization table (Fig. 4, item 210).
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct SyncTable {
    /// The farm that it is of.
    pub farm: Name,
    /// The line that its instants, epochs and tokens belong to.
    pub timeline: TimelineId,
    /// The generation in the server's staged cache (Fig. 4, item 206); its epoch is k.
    pub staged: Generation,
    /// The generation in the server's active cache (item 208), k − 1; none on a new farm and on a
    /// new timeline, until k + 1 is staged.
    pub active: Option<Generation>,
    /// T_k: when the staged generation goes live everywhere.
    pub activation: ServerTime,
    /// P_k, the promise: no later generation goes live before it.
    pub next_earliest: ServerTime,
    /// Regular activation times are `grid` + m·interval.
    pub grid: ServerTime,
    /// An instant off the grid at which the next activation may land once (a new line's promise).
    pub landing: Option<ServerTime>,
    /// Settings in force.
    pub settings: Settings,
    /// Settings that the next advance takes up.
    pub pending: Option<Settings>,
    /// Whether the farm is held.
    pub held: Option<Hold>,
    /// Fixed when the farm was made.
    pub limits: Limits,
    /// The highest token ever granted on this line.
    pub last_token: Token,
    /// The id of the last accepted `Advance`.
    pub last_advance: RequestId,
    /// The grant, live or expired.
    pub lock: Option<Lock>,
}

impl SyncTable {
    /// The table of a new farm: epoch 1 is production as it is, live at once, with no active
    /// generation (PROTOCOL §3, FORMATS "first table"). `due` is the first scheduled instant at or
    /// after `now + lead`.
    ///
    /// # Errors
    /// Settings that break §3; nothing is made.
    pub fn new_farm(
        farm: Name,
        timeline: TimelineId,
        production: crate::ids::Digest,
        settings: Settings,
        limits: Limits,
        due: Option<ServerTime>,
        now: ServerTime,
    ) -> Result<SyncTable, crate::settings::SettingsError> {
        settings.check(&limits)?;
        let mut table = SyncTable {
            farm,
            timeline,
            staged: Generation { epoch: 1, digest: production },
            active: None,
            activation: now,
            next_earliest: now,
            grid: ServerTime::from_nanos(0),
            landing: None,
            settings,
            pending: None,
            held: None,
            limits,
            last_token: 0,
            last_advance: RequestId::default(),
            lock: None,
        };
        table.next_earliest = next_activation(&table, due, now);
        Ok(table)
    }

    /// k: the number of the staged generation.
    pub fn epoch(&self) -> Epoch {
        self.staged.epoch
    }

    /// The lock, where its lease is alive at `now`.
    pub fn live_lock(&self, now: ServerTime) -> Option<&Lock> {
        self.lock.as_ref().filter(|lock| lock.is_live(now))
    }

    /// The bound from which on the next activation may be: what `due` is asked for.
    pub fn next_bound(&self, now: ServerTime) -> ServerTime {
        self.next_earliest.max(now + self.settings.lead)
    }

    /// The table with a new staged generation (steps 226 to 230 and 232): active := staged,
    /// staged := `production`, T := the granted `next`, pending settings taken up, a new promise,
    /// and the lock released. `due` is the first scheduled instant at or after the new T + the new
    /// lead.
    pub(crate) fn advanced(
        &self,
        lock: &Lock,
        production: crate::ids::Digest,
        due: impl FnOnce(ServerTime) -> Option<ServerTime>,
        guards: Guards,
    ) -> SyncTable {
        let mut table = self.clone();
        table.active = Some(self.staged);
        table.staged = Generation { epoch: self.staged.epoch + 1, digest: production };
        table.activation = lock.next;
        table.landing = None;
        if let Some(settings) = table.pending.take() {
            if settings.interval != table.settings.interval {
                table.grid = last_regular(&table, lock.next);
            }
            table.settings = settings;
        }
        // The promise: next_activation as it would be at now = T_{k+1}.
        table.next_earliest = lock.next;
        table.next_earliest = if guards.on(Guard::PromiseCoversLead) {
            next_activation(&table, due(table.next_bound(lock.next)), lock.next)
        } else {
            lock.next + Span::from_nanos(1)
        };
        table.last_advance = lock.holder;
        table.lock = None;
        table
    }

    /// The view that agents are given.
    pub fn view(&self) -> TableView {
        TableView {
            staged: self.staged,
            active: self.active,
            activation: self.activation,
            next_earliest: self.next_earliest,
            grid: self.grid,
            landing: self.landing,
            settings: self.settings,
            held: self.held.is_some(),
        }
    }
}

/// What an agent is told of the table: one atomic snapshot (PROTOCOL §4 `Table`).
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct TableView {
    /// See [`SyncTable::staged`].
    pub staged: Generation,
    /// See [`SyncTable::active`].
    pub active: Option<Generation>,
    /// See [`SyncTable::activation`].
    pub activation: ServerTime,
    /// See [`SyncTable::next_earliest`].
    pub next_earliest: ServerTime,
    /// See [`SyncTable::grid`].
    pub grid: ServerTime,
    /// See [`SyncTable::landing`].
    pub landing: Option<ServerTime>,
    /// See [`SyncTable::settings`].
    pub settings: Settings,
    /// Whether the farm is held: no lock is granted.
    pub held: bool,
}

/// What [`next_activation`] needs: a table, or what an agent was told of it.
pub trait Schedule {
    /// P_k.
    fn next_earliest(&self) -> ServerTime;
    /// An instant off the grid that counts once.
    fn landing(&self) -> Option<ServerTime>;
    /// Zero of the regular times.
    fn grid(&self) -> ServerTime;
    /// Interval between the regular times.
    fn interval(&self) -> Span;
    /// Least time from a grant to its activation.
    fn lead(&self) -> Span;
}

macro_rules! schedule {
    ($kind:ident) => {
        impl Schedule for $kind {
            fn next_earliest(&self) -> ServerTime {
                self.next_earliest
            }
            fn landing(&self) -> Option<ServerTime> {
                self.landing
            }
            fn grid(&self) -> ServerTime {
                self.grid
            }
            fn interval(&self) -> Span {
                self.settings.interval
            }
            fn lead(&self) -> Span {
                self.settings.lead
            }
        }
    };
}
schedule!(SyncTable);
schedule!(TableView);

/// The next activation time (Fig. 5, step 226): the first instant on the grid, or `due`, that is at
/// least max(next_earliest, now + lead). With no outage and nothing scheduled it is T_k + interval,
/// as in the seed. Pure; the initiator computes it and the server compares (S4).
///
/// `due` is the first instant at which a scheduled record counts that is not before that bound.
pub fn next_activation(table: &impl Schedule, due: Option<ServerTime>, now: ServerTime) -> ServerTime {
    let bound = table.next_earliest().max(now + table.lead());
    let regular = first_regular(table.grid(), table.interval(), bound);
    [due, table.landing()]
        .into_iter()
        .flatten()
        .filter(|instant| *instant >= bound)
        .fold(regular, ServerTime::min)
}

/// The first instant grid + m·interval at or after `bound`.
fn first_regular(grid: ServerTime, interval: Span, bound: ServerTime) -> ServerTime {
    let step = interval.as_nanos().max(1) as i128;
    let distance = bound.as_nanos() as i128 - grid.as_nanos() as i128;
    let back = (-distance).rem_euclid(step);
    ServerTime::from_nanos((bound.as_nanos() as i128 + back).min(i64::MAX as i128) as i64)
}

/// The last regular time at or before `instant`: from where a changed interval counts.
fn last_regular(table: &impl Schedule, instant: ServerTime) -> ServerTime {
    let step = table.interval().as_nanos().max(1) as i128;
    let distance = instant.as_nanos() as i128 - table.grid().as_nanos() as i128;
    ServerTime::from_nanos(
        (instant.as_nanos() as i128 - distance.rem_euclid(step)).max(i64::MIN as i128) as i64
    )
}

#[cfg(test)]
mod tests;
