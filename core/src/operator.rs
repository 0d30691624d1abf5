//! What operators do to the table, and what they are told of it (PROTOCOL §3 hold and settings).
//! Pure like `server`: a store runs these inside its own transaction.

use crate::guard::{Guard, Guards};
use crate::server::Facts;
use crate::settings::{Settings, SettingsError};
use crate::table::{Hold, SyncTable, next_activation};
use crate::time::ServerTime;
use core::fmt;

/// Why a hold is refused; the table is unchanged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HoldError {
    /// H is further ahead than the farm's limit.
    TooLong {
        /// The latest H that would do.
        most: ServerTime,
    },
}

impl fmt::Display for HoldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HoldError::TooLong { most } = self;
        write!(
            f,
            "a hold can't be announced further ahead than the farm's max_hold; until {} ns of the farm's \
             timeline would do, or hold without an end",
            most.as_nanos()
        )
    }
}
impl core::error::Error for HoldError {}

/// Holds the farm: clears the lock, stops further grants, and where H is given raises the promise
/// to it, all at once. k still goes live at T_k.
///
/// # Errors
/// H beyond now + max_hold.
pub fn hold(
    table: &SyncTable,
    until: Option<ServerTime>,
    now: ServerTime,
    guards: Guards,
) -> Result<SyncTable, HoldError> {
    let most = now + table.limits.max_hold;
    let mut table = table.clone();
    if let Some(until) = until {
        if until > most {
            return Err(HoldError::TooLong { most });
        }
        table.next_earliest =
            if guards.on(Guard::HoldOnlyRaises) { table.next_earliest.max(until) } else { until };
    }
    if guards.on(Guard::HoldClearsLock) {
        table.lock = None;
    }
    table.held = Some(Hold { until });
    Ok(table)
}

/// Ends a hold, before or after its H. Lowers nothing: k + 1 may be staged at once and goes live at
/// the first slot from the promise on.
pub fn unhold(table: &SyncTable) -> SyncTable {
    SyncTable { held: None, ..table.clone() }
}

/// Settings that the next advance takes up: T_{k+1} by the old ones, P_{k+1} by the new.
///
/// # Errors
/// The first relation of PROTOCOL §3 that doesn't hold, with the value that would do.
pub fn change_settings(table: &SyncTable, settings: Settings) -> Result<SyncTable, SettingsError> {
    settings.check(&table.limits)?;
    let pending = Some(settings).filter(|settings| *settings != table.settings);
    Ok(SyncTable { pending, ..table.clone() })
}

/// The earliest instant at which a change to production made now can be live: the activation that
/// the next advance will name, if that begins as soon as it can. A held farm has none.
pub fn earliest_live(table: &SyncTable, facts: &impl Facts, now: ServerTime) -> Option<ServerTime> {
    if table.held.is_some() {
        return None;
    }
    if let Some(lock) = table.live_lock(now) {
        return Some(lock.next);
    }
    let grant = now.max(table.activation);
    Some(next_activation(table, facts.first_due(table.next_bound(grant)), grant))
}

/// Until when the farm stays as it is with the server gone: strict agents serve until then, and
/// prompt ones are not marked stale.
pub fn safe_until(table: &SyncTable) -> ServerTime {
    table.next_earliest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Digest, Name, RequestId, TimelineId};
    use crate::server::Verdict;
    use crate::settings::Limits;
    use crate::table::Lock;
    use crate::time::Span;

    struct Nothing;
    impl Facts for Nothing {
        fn first_due(&self, _: ServerTime) -> Option<ServerTime> {
            None
        }
        fn verdict(&self, _: ServerTime) -> Verdict {
            Verdict::Unchanged
        }
    }

    fn secs(secs: i64) -> ServerTime {
        ServerTime::from_nanos(secs * 1_000_000_000)
    }
    fn table() -> SyncTable {
        SyncTable::new_farm(
            Name::new("f").unwrap(),
            TimelineId::default(),
            Digest::default(),
            Settings::default(),
            Limits::default(),
            None,
            secs(1_000),
        )
        .unwrap()
    }
    fn lock(next: ServerTime) -> Lock {
        Lock {
            holder: RequestId::default(),
            token: 1,
            granted_at: secs(1_100),
            expires: secs(1_105),
            due: None,
            next,
        }
    }

    #[test]
    fn a_hold_clears_the_lock_and_raises_the_promise_once() {
        let table = SyncTable { lock: Some(lock(secs(1_200))), ..table() };
        let held = hold(&table, Some(secs(5_000)), secs(1_101), Guards::ALL).unwrap();
        assert_eq!((held.lock, held.next_earliest), (None, secs(5_000)));
        let free = unhold(&held);
        assert_eq!((free.held, free.next_earliest), (None, secs(5_000)));
        let lower = hold(&free, Some(secs(2_000)), secs(1_101), Guards::ALL).unwrap();
        assert_eq!(lower.next_earliest, secs(5_000), "nothing lowers a promise");
    }

    #[test]
    fn a_hold_beyond_the_limit_says_what_would_do() {
        let table = table();
        let Err(HoldError::TooLong { most }) = hold(&table, Some(ServerTime::MAX), secs(1_100), Guards::ALL)
        else {
            panic!("a hold for ever was accepted")
        };
        assert!(hold(&table, Some(most), secs(1_100), Guards::ALL).is_ok());
    }

    #[test]
    fn settings_are_pending_until_the_next_advance() {
        let table = table();
        let faster = Settings { interval: Span::from_secs(300), ..table.settings };
        let changed = change_settings(&table, faster).unwrap();
        assert_eq!((changed.settings, changed.pending), (table.settings, Some(faster)));
        assert_eq!(change_settings(&changed, table.settings).unwrap().pending, None);
        let broken = Settings { lease: Span::ZERO, ..faster };
        assert!(change_settings(&table, broken).is_err());
    }

    #[test]
    fn a_change_made_now_is_live_at_the_next_advance_s_activation() {
        let table = table(); // T = 1000 s, promise 1200 s, grid of 600 s
        assert_eq!(earliest_live(&table, &Nothing, secs(900)), Some(secs(1_200)));
        assert_eq!(earliest_live(&table, &Nothing, secs(1_150)), Some(secs(1_800)));
        let locked = SyncTable { lock: Some(lock(secs(1_201))), ..table.clone() };
        assert_eq!(earliest_live(&locked, &Nothing, secs(1_101)), Some(secs(1_201)));
        let held = hold(&table, None, secs(1_101), Guards::ALL).unwrap();
        assert_eq!(earliest_live(&held, &Nothing, secs(1_101)), None);
        assert_eq!(safe_until(&table), secs(1_200));
    }
}
