use super::*;
use crate::ids::Digest;

fn at(nanos: i64) -> ServerTime {
    ServerTime::from_nanos(nanos)
}
fn span(nanos: i64) -> Span {
    Span::from_nanos(nanos)
}
fn settings() -> Settings {
    Settings {
        interval: span(100),
        lead: span(20),
        lease: span(5),
        round_trip: span(2),
        retrieve: span(8),
        stagger: span(5),
        early_limit: span(1),
        sample_window: span(4),
    }
}
fn table() -> SyncTable {
    SyncTable::new_farm(
        Name::new("f").unwrap(),
        TimelineId::default(),
        Digest::default(),
        settings(),
        Limits::default(),
        None,
        at(1_030),
    )
    .unwrap()
}
fn lock(next: i64) -> Lock {
    Lock {
        holder: RequestId::default(),
        token: 1,
        granted_at: at(next - 20),
        expires: at(next),
        due: None,
        next: at(next),
    }
}

#[test]
fn a_new_farm_is_live_at_once_and_its_promise_is_the_first_slot_that_leaves_the_lead() {
    let table = table();
    assert_eq!((table.epoch(), table.active, table.activation), (1, None, at(1_030)));
    assert_eq!(table.next_earliest, at(1_100));
}

#[test]
fn with_no_outage_the_next_activation_is_one_interval_later() {
    let table = SyncTable { activation: at(1_100), next_earliest: at(1_200), ..table() };
    assert_eq!(next_activation(&table, None, at(1_101)), at(1_200));
}

#[test]
fn after_an_outage_it_is_the_first_slot_that_leaves_the_lead() {
    let table = SyncTable { activation: at(1_100), next_earliest: at(1_200), ..table() };
    assert_eq!(next_activation(&table, None, at(5_479)), at(5_500));
    assert_eq!(next_activation(&table, None, at(5_480)), at(5_500));
    assert_eq!(next_activation(&table, None, at(5_481)), at(5_600));
}

#[test]
fn a_due_record_between_regular_times_is_landed_on_exactly() {
    let table = SyncTable { activation: at(1_100), next_earliest: at(1_150), ..table() };
    assert_eq!(next_activation(&table, Some(at(1_163)), at(1_110)), at(1_163));
    assert_eq!(next_activation(&table, Some(at(1_149)), at(1_110)), at(1_200), "before the promise");
    assert_eq!(next_activation(&table, Some(at(1_260)), at(1_110)), at(1_200), "after the slot");
}

#[test]
fn before_the_grid_s_zero_slots_are_found_too() {
    let table = SyncTable { grid: at(1_000_037), next_earliest: at(-950), ..table() };
    assert_eq!(next_activation(&table, None, at(-1_000)), at(-863));
}

#[test]
fn pending_settings_are_taken_up_by_the_advance() {
    let slower = Settings { interval: span(1_000), lead: span(30), ..settings() };
    let table = SyncTable { next_earliest: at(1_200), pending: Some(slower), ..table() };
    let after = table.advanced(&lock(1_250), Digest([2; 32]), |_| None, Guards::ALL);
    // T by the old ones, P by the new, counted from the last regular time at or before T.
    assert_eq!(after.activation, at(1_250));
    assert_eq!(after.grid, at(1_200));
    assert_eq!(after.next_earliest, at(2_200));
    assert_eq!((after.settings, after.pending), (slower, None));
    assert_eq!(after.active, Some(Generation { epoch: 1, digest: Digest::default() }));
    assert_eq!(after.lock, None);
}

#[test]
fn at_the_ends_of_time_nothing_overflows() {
    let table = SyncTable { next_earliest: ServerTime::MAX, ..table() };
    assert_eq!(next_activation(&table, None, ServerTime::MAX), ServerTime::MAX);
    let table = SyncTable { next_earliest: ServerTime::MIN, grid: ServerTime::MAX, ..table };
    assert!(next_activation(&table, None, ServerTime::MIN) >= ServerTime::MIN);
}

#[test]
fn the_bound_of_the_next_activation_leaves_the_promise_and_the_lead() {
    let table = SyncTable { next_earliest: at(1_200), ..table() };
    assert_eq!((table.next_bound(at(1_100)), table.next_bound(at(1_190))), (at(1_200), at(1_210)));
}

#[test]
fn a_changed_interval_counts_from_the_last_regular_time_of_any_grid() {
    let slower = Settings { interval: span(1_000), ..settings() };
    let table = SyncTable { grid: at(37), pending: Some(slower), ..table() };
    assert_eq!(table.advanced(&lock(1_250), Digest([2; 32]), |_| None, Guards::ALL).grid, at(1_237));
    assert_eq!(table.advanced(&lock(1_237), Digest([2; 32]), |_| None, Guards::ALL).grid, at(1_237));
}

#[test]
fn a_promise_leaves_the_lead_and_the_twin_s_does_not() {
    let table = SyncTable { next_earliest: at(1_100), ..table() };
    let due = |_| Some(at(1_270));
    assert_eq!(table.advanced(&lock(1_250), Digest([2; 32]), due, Guards::ALL).next_earliest, at(1_270));
    let twin = Guards::ALL.without(Guard::PromiseCoversLead);
    assert_eq!(table.advanced(&lock(1_250), Digest([2; 32]), due, twin).next_earliest, at(1_251));
}
