//! Every request against every condition of PROTOCOL §3 and §4. Grouped by request; `table` is a
//! farm in the middle of its life, with T = 1000, P = 1100 and nobody holding the lock.

use super::*;
use crate::ids::{AgentId, Generation, Incarnation, Name, TimelineId};
use crate::operator::{change_settings, hold, unhold};
use crate::settings::{Limits, Settings};
use crate::table::{Hold, TableView};

const OLD: Digest = Digest([4; 32]);
const NOW_STAGED: Digest = Digest([5; 32]);
const NEXT: Digest = Digest([6; 32]);

/// Production, with scheduled records at these instants.
struct Content {
    due: &'static [i64],
    verdict: Verdict,
}
impl Facts for Content {
    fn first_due(&self, at_or_after: ServerTime) -> Option<ServerTime> {
        self.due.iter().map(|due| at(*due)).find(|due| *due >= at_or_after)
    }
    fn verdict(&self, _: ServerTime) -> Verdict {
        self.verdict
    }
}
const CHANGED: Content = Content { due: &[], verdict: Verdict::Promote(NEXT) };

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
    let farm = Name::new("f").unwrap();
    let limits = Limits::default();
    let new = SyncTable::new_farm(farm, TimelineId::default(), OLD, settings(), limits, None, at(930));
    SyncTable {
        staged: Generation { epoch: 5, digest: NOW_STAGED },
        active: Some(Generation { epoch: 4, digest: OLD }),
        activation: at(1_000),
        next_earliest: at(1_100),
        last_token: 7,
        ..new.unwrap()
    }
}
/// The same with the lock granted to agent 1's first request at 1003, so until 1008.
fn locked() -> SyncTable {
    ask(&table(), id(1, 1), RequestBody::Lock, 1_003, &CHANGED).table
}
fn id(agent: u8, number: u64) -> RequestId {
    RequestId { agent: AgentId([agent; 16]), incarnation: Incarnation(9), number }
}
fn ask(table: &SyncTable, id: RequestId, body: RequestBody, now: i64, facts: &impl Facts) -> Transition<u16> {
    let done = transition(table, id, &body, at(now), facts, Guards::ALL).expect("a request of the table");
    assert_eq!(view_of(&done.reply).cloned().unwrap_or(done.table.view()), done.table.view());
    done
}
fn view_of(reply: &ReplyBody<u16>) -> Option<&TableView> {
    match reply {
        ReplyBody::Table(table)
        | ReplyBody::NotDue(table)
        | ReplyBody::Advanced(table)
        | ReplyBody::Granted { table, .. }
        | ReplyBody::Busy { table, .. }
        | ReplyBody::Refused { table, .. } => Some(table),
        _ => None,
    }
}
fn advance(token: u64, activation: i64) -> RequestBody {
    RequestBody::Advance { token, activation: at(activation) }
}
/// Nothing but a reply: what is in the table stays.
fn assert_unchanged(done: &Transition<u16>, table: &SyncTable) {
    assert_eq!((&done.table, done.effect), (table, Effect::None));
}
fn assert_refused(done: &Transition<u16>, table: &SyncTable, expected: Refusal) {
    assert_unchanged(done, table);
    assert!(matches!(done.reply, ReplyBody::Refused { why, .. } if why == expected), "{:?}", done.reply);
}

// Read

#[test]
fn a_read_before_t_changes_nothing() {
    assert_unchanged(&ask(&table(), id(1, 1), RequestBody::Read, 999, &CHANGED), &table());
}

#[test]
fn a_read_renews_the_promise_from_t_on_and_clears_an_expired_lock() {
    let due = ask(&table(), id(1, 1), RequestBody::Read, 1_090, &CHANGED).table;
    assert_eq!(due.next_earliest, at(1_110));
    let expired = SyncTable { next_earliest: at(1_010), ..locked() };
    let cleared = ask(&expired, id(2, 1), RequestBody::Read, 1_008, &CHANGED).table;
    assert_eq!((cleared.lock, cleared.next_earliest), (None, at(1_028)));
    assert_eq!(cleared.last_token, 8, "tokens outlive their lock");
}

#[test]
fn no_promise_is_raised_while_a_grant_is_live() {
    let live = SyncTable { next_earliest: at(1_010), ..locked() };
    assert_unchanged(&ask(&live, id(2, 1), RequestBody::Read, 1_007, &CHANGED), &live);
    let busy = ask(&live, id(2, 1), RequestBody::Lock, 1_007, &CHANGED);
    assert_unchanged(&busy, &live);
}

#[test]
fn a_promise_is_renewed_a_few_times_per_lead_only() {
    let mut table = SyncTable { next_earliest: at(1_000), ..table() };
    let mut writes = 0;
    for now in 1_000..1_100 {
        let read = ask(&table, id(1, 1), RequestBody::Read, now, &CHANGED).table;
        writes += (read != table) as u32;
        table = read;
        let left = table.next_earliest - at(now);
        assert!(left >= settings().lead - settings().lead.part(4), "{now}: {left:?}");
    }
    assert!((5..=20).contains(&writes), "{writes} writes in five leads");
}

#[test]
fn a_promise_beyond_now_plus_lead_is_left() {
    assert_unchanged(&ask(&table(), id(1, 1), RequestBody::Read, 1_050, &CHANGED), &table());
}

#[test]
fn a_snapshot_answers_what_needs_no_write() {
    let quiet = answer_from_snapshot::<u16>(&table(), &RequestBody::Read, at(1_050));
    assert_eq!(quiet, Some(ReplyBody::Table(table().view())));
    assert_eq!(answer_from_snapshot::<u16>(&table(), &RequestBody::Read, at(1_090)), None, "a renewal");
    assert_eq!(answer_from_snapshot::<u16>(&table(), &RequestBody::Lock, at(900)), None);
    assert_eq!(answer_from_snapshot::<u16>(&locked(), &advance(8, 1_100), at(1_004)), None);
}

// Lock

#[test]
fn before_t_no_lock_is_granted() {
    let early = ask(&table(), id(1, 1), RequestBody::Lock, 999, &CHANGED);
    assert_unchanged(&early, &table());
    assert!(matches!(early.reply, ReplyBody::NotDue(_)));
    let without = Guards::ALL.without(Guard::DueCheck);
    let twin = transition::<u16>(&table(), id(1, 1), &RequestBody::Lock, at(999), &CHANGED, without).unwrap();
    assert!(matches!(twin.reply, ReplyBody::Granted { .. }), "the twin grants");
}

#[test]
fn at_t_itself_the_lock_is_granted() {
    let done = ask(&table(), id(1, 1), RequestBody::Lock, 1_000, &CHANGED);
    let lock = done.table.lock.unwrap();
    assert_eq!(
        lock,
        Lock {
            holder: id(1, 1),
            token: 8,
            granted_at: at(1_000),
            expires: at(1_005),
            due: None,
            next: at(1_100)
        }
    );
    assert_eq!((done.effect, done.table.last_token), (Effect::None, 8));
    let ReplyBody::Granted { grant, table } = done.reply else { panic!("{:?}", done.reply) };
    assert_eq!(grant, Grant { token: 8, granted_at: at(1_000), due: None });
    assert_eq!(next_activation(&table, grant.due, grant.granted_at), lock.next, "both compute the same T");
}

#[test]
fn the_same_request_gets_the_same_grant() {
    let first = ask(&table(), id(1, 1), RequestBody::Lock, 1_003, &CHANGED);
    let again = ask(&first.table, id(1, 1), RequestBody::Lock, 1_006, &CHANGED);
    assert_eq!(again.reply, first.reply);
    assert_unchanged(&again, &first.table);
}

#[test]
fn a_live_lock_keeps_everybody_else_out_the_holder_s_next_request_too() {
    for other in [id(2, 1), id(1, 2), RequestId { incarnation: Incarnation(8), ..id(1, 1) }] {
        let busy = ask(&locked(), other, RequestBody::Lock, 1_006, &CHANGED);
        assert_unchanged(&busy, &locked());
        assert!(matches!(busy.reply, ReplyBody::Busy { retry_after, .. } if retry_after == span(2)));
    }
}

#[test]
fn an_expired_lock_is_granted_anew_under_a_higher_token() {
    let at_its_end = ask(&locked(), id(2, 1), RequestBody::Lock, 1_008, &CHANGED).table.lock.unwrap();
    assert_eq!((at_its_end.holder, at_its_end.token, at_its_end.expires), (id(2, 1), 9, at(1_013)));
    let own = ask(&locked(), id(1, 1), RequestBody::Lock, 1_008, &CHANGED).table.lock.unwrap();
    assert_eq!(own.token, 9, "an old request asked again is a new grant");
}

#[test]
fn a_grant_late_in_the_promise_raises_it_first() {
    let done = ask(&table(), id(1, 1), RequestBody::Lock, 1_090, &CHANGED);
    assert_eq!(done.table.next_earliest, at(1_110));
    assert_eq!(done.table.lock.unwrap().next, at(1_200));
}

#[test]
fn a_held_farm_grants_nothing_and_still_renews() {
    let held = hold(&table(), None, at(1_010), Guards::ALL).unwrap();
    let asked = ask(&held, id(1, 1), RequestBody::Lock, 1_090, &CHANGED);
    assert!(matches!(&asked.reply, ReplyBody::NotDue(view) if view.held));
    assert_eq!((asked.table.lock, asked.table.next_earliest), (None, at(1_110)));
    let read = ask(&held, id(1, 1), RequestBody::Read, 1_090, &CHANGED);
    assert_eq!(read.table.next_earliest, at(1_110));
}

#[test]
fn a_hold_ends_by_unhold_and_not_at_h() {
    let held = hold(&table(), Some(at(1_250)), at(1_010), Guards::ALL).unwrap();
    let after_h = ask(&held, id(1, 1), RequestBody::Lock, 1_300, &CHANGED);
    assert!(matches!(after_h.reply, ReplyBody::NotDue(_)));
    let free = ask(&unhold(&held), id(1, 1), RequestBody::Lock, 1_020, &CHANGED);
    assert_eq!(free.table.lock.unwrap().next, at(1_300), "the first slot from H on");
}

#[test]
fn a_hold_takes_a_live_grant_s_write_away() {
    let held = hold(&locked(), None, at(1_004), Guards::ALL).unwrap();
    assert_refused(&ask(&held, id(1, 2), advance(8, 1_100), 1_005, &CHANGED), &held, Refusal::NotHolder);
    let twin =
        hold(&locked(), Some(at(1_250)), at(1_004), Guards::ALL.without(Guard::HoldClearsLock)).unwrap();
    let broken = ask(&twin, id(1, 2), advance(8, 1_100), 1_005, &CHANGED).table;
    assert!(broken.activation < at(1_250), "the twin breaks the promise that it made");
}

// Scheduled records

#[test]
fn due_records_are_fixed_by_the_grant() {
    let scheduled = Content { due: &[1_150], ..CHANGED };
    let table = SyncTable { next_earliest: at(1_050), ..table() };
    let early = Content { due: &[1_063, 1_150], ..CHANGED };
    let granted = ask(&table, id(1, 1), RequestBody::Lock, 1_003, &early);
    let lock = granted.table.lock.unwrap();
    assert_eq!((lock.due, lock.next), (Some(at(1_063)), at(1_063)));
    // The record is taken back, others are entered: T stays what was granted.
    let done = ask(&granted.table, id(1, 2), advance(8, 1_063), 1_005, &scheduled).table;
    assert_eq!(done.activation, at(1_063));
    assert_eq!(done.next_earliest, at(1_100), "the next slot comes before the record");
}

#[test]
fn a_promise_is_made_so_that_an_activation_can_land_on_a_scheduled_record() {
    let scheduled = Content { due: &[1_063, 1_150], ..CHANGED };
    let done = ask(&locked(), id(1, 2), advance(8, 1_100), 1_005, &scheduled).table;
    assert_eq!((done.activation, done.next_earliest), (at(1_100), at(1_150)));
}

#[test]
fn a_record_due_less_than_a_lead_after_t_waits_for_the_next_activation() {
    let scheduled = Content { due: &[1_110], ..CHANGED };
    let done = ask(&locked(), id(1, 2), advance(8, 1_100), 1_005, &scheduled).table;
    assert_eq!(done.next_earliest, at(1_200));
}

// Advance

#[test]
fn an_advance_moves_staged_to_active_and_releases_the_lock() {
    let done = ask(&locked(), id(1, 2), advance(8, 1_100), 1_005, &CHANGED);
    assert_eq!(done.effect, Effect::Promote);
    assert_eq!(
        done.table,
        SyncTable {
            staged: Generation { epoch: 6, digest: NEXT },
            active: Some(Generation { epoch: 5, digest: NOW_STAGED }),
            activation: at(1_100),
            next_earliest: at(1_200),
            last_token: 8,
            last_advance: id(1, 2),
            lock: None,
            ..table()
        }
    );
}

#[test]
fn the_effect_follows_the_verdict_and_the_epoch_always_rises() {
    let cases = [
        (Verdict::Promote(NEXT), Effect::Promote, NEXT),
        (Verdict::Promote(NOW_STAGED), Effect::PromoteUnchanged, NOW_STAGED),
        (Verdict::Unchanged, Effect::PromoteUnchanged, NOW_STAGED),
        (Verdict::Blocked, Effect::PromoteUnchanged, NOW_STAGED),
    ];
    for (verdict, effect, digest) in cases {
        let facts = Content { verdict, ..CHANGED };
        let done = ask(&locked(), id(1, 2), advance(8, 1_100), 1_005, &facts);
        assert_eq!((done.effect, done.table.staged), (effect, Generation { epoch: 6, digest }));
    }
}

#[test]
fn the_same_advance_asked_again_is_answered_and_does_nothing() {
    let first = ask(&locked(), id(1, 2), advance(8, 1_100), 1_005, &CHANGED);
    for now in [1_005, 1_900] {
        let again = ask(&first.table, id(1, 2), advance(8, 1_100), now, &CHANGED);
        assert_eq!(again.reply, first.reply);
        assert_unchanged(&again, &first.table);
    }
    let other = ask(&first.table, id(1, 3), advance(8, 1_100), 1_006, &CHANGED);
    assert_refused(&other, &first.table, Refusal::NotHolder);
}

#[test]
fn an_advance_without_a_lock_or_with_another_token_is_refused() {
    assert_refused(
        &ask(&table(), id(1, 2), advance(7, 1_100), 1_005, &CHANGED),
        &table(),
        Refusal::NotHolder,
    );
    for token in [0, 7, 9, u64::MAX] {
        let done = ask(&locked(), id(1, 2), advance(token, 1_100), 1_005, &CHANGED);
        assert_refused(&done, &locked(), Refusal::NotHolder);
    }
}

#[test]
fn an_advance_is_refused_from_the_instant_at_which_the_lease_ends() {
    assert_eq!(ask(&locked(), id(1, 2), advance(8, 1_100), 1_007, &CHANGED).effect, Effect::Promote);
    for now in [1_008, 1_009, 5_000] {
        let late = ask(&locked(), id(1, 2), advance(8, 1_100), now, &CHANGED);
        assert_refused(&late, &locked(), Refusal::LeaseOver);
    }
}

#[test]
fn an_advance_names_the_activation_of_its_grant() {
    for activation in [1_099, 1_101, 1_200, i64::MAX, i64::MIN] {
        let done = ask(&locked(), id(1, 2), advance(8, activation), 1_005, &CHANGED);
        assert_refused(&done, &locked(), Refusal::WrongActivation);
    }
}

#[test]
fn a_table_with_a_grant_from_before_t_is_not_written_on() {
    // No table that this core wrote is like this.
    let lock = locked().lock.map(|lock| Lock { granted_at: at(999), ..lock });
    let broken = SyncTable { lock, ..locked() };
    let done = ask(&broken, id(1, 2), advance(8, 1_100), 1_005, &CHANGED);
    assert_refused(&done, &broken, Refusal::GrantedEarly);
}

#[test]
fn where_the_clock_went_back_behind_t_a_grant_waits_for_t_again() {
    let advance = |now| ask(&locked(), id(1, 2), advance(8, 1_100), now, &CHANGED);
    let t = locked().activation.as_nanos();
    assert_refused(&advance(t - 1), &locked(), Refusal::GrantedEarly);
    assert_eq!(advance(t).effect, Effect::Promote);
}

#[test]
fn each_check_of_the_advance_has_a_twin_that_lets_it_through() {
    let cases = [
        (Guard::TokenCheck, advance(3, 1_100), 1_005),
        (Guard::LeaseCheck, advance(8, 1_100), 1_020),
        (Guard::ActivationCheck, advance(8, 1_050), 1_005),
    ];
    for (guard, body, now) in cases {
        let refused = ask(&locked(), id(1, 2), body.clone(), now, &CHANGED);
        assert!(matches!(refused.reply, ReplyBody::Refused { .. }));
        let without = Guards::ALL.without(guard);
        let twin = transition::<u16>(&locked(), id(1, 2), &body, at(now), &CHANGED, without).unwrap();
        assert_eq!(twin.effect, Effect::Promote, "{guard:?}");
        let RequestBody::Advance { activation, .. } = body else { panic!("{body:?}") };
        assert_eq!(twin.table.activation, activation, "{guard:?}: what was asked for");
    }
}

#[test]
fn pending_settings_count_from_the_next_promise_on() {
    let slower = Settings { interval: span(300), ..settings() };
    let changed = change_settings(&locked(), slower).unwrap();
    let done = ask(&changed, id(1, 2), advance(8, 1_100), 1_005, &CHANGED).table;
    assert_eq!(done.activation, at(1_100), "T by the old ones");
    assert_eq!(done.next_earliest, at(1_400), "P by the new ones, from the last regular time");
    assert_eq!((done.settings, done.pending), (slower, None));
}

// Unlock, and what touches no table

#[test]
fn an_unlock_needs_the_token_only_and_is_answered_in_any_case() {
    let mine = ask(&locked(), id(1, 9), RequestBody::Unlock { token: 8 }, 1_005, &CHANGED);
    assert_eq!(mine.table, SyncTable { lock: None, ..locked() });
    assert_eq!((mine.reply, mine.effect), (ReplyBody::Unlocked, Effect::None));
    for table in [locked(), table()] {
        let other = ask(&table, id(2, 1), RequestBody::Unlock { token: 7 }, 1_005, &CHANGED);
        assert_unchanged(&other, &table);
        assert_eq!(other.reply, ReplyBody::Unlocked);
    }
}

#[test]
fn content_and_reports_touch_no_table() {
    let target = Generation::default();
    for body in [
        RequestBody::Route { target, have: None, snapshots_only: true },
        RequestBody::Fetch { object: OLD, offset: 0, len: 1 },
    ] {
        assert!(transition::<u16>(&table(), id(1, 1), &body, at(1), &CHANGED, Guards::ALL).is_none());
    }
}

// Several of them in a row

/// Whatever comes, in whatever order: tokens rise, epochs rise by one, T and P hold (S1, S2, S4).
#[test]
fn any_order_of_requests_keeps_what_was_promised() {
    let mut table = table();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let mut now = 990;
    let (mut advances, mut lost) = (0, 0);
    for number in 1..40_000 {
        now += random(6) as i64;
        let token = table.last_token.saturating_sub(random(2));
        let body = match random(12) {
            0..5 => RequestBody::Lock,
            5..9 => RequestBody::Advance { token, activation: table.lock.map_or(at(0), |lock| lock.next) },
            9 => RequestBody::Unlock { token },
            _ => RequestBody::Read,
        };
        if random(400) == 0 {
            let until = (random(2) == 0).then(|| at(now) + span(random(200) as i64));
            table = hold(&table, until, at(now), Guards::ALL).unwrap();
        } else if table.held.is_some() && random(20) == 0 {
            table = unhold(&table);
        }
        let before = table.clone();
        table = ask(&table, id(random(3) as u8, number), body, now, &Content { due: &[], ..CHANGED }).table;
        assert!(table.last_token == before.last_token || table.last_token == before.last_token + 1);
        assert!(before.live_lock(at(now)).is_none() || table.lock == before.lock || table.lock.is_none());
        if table.epoch() == before.epoch() {
            assert!(table.activation == before.activation && table.next_earliest >= before.next_earliest);
            lost += (table.lock.is_some() && table.lock != before.lock && before.lock.is_some()) as u32;
            continue;
        }
        let lock = before.lock.expect("only a holder advances");
        assert_eq!((table.epoch(), table.lock), (before.epoch() + 1, None));
        assert!(before.activation.passed(lock.granted_at) && !lock.expires.passed(at(now)));
        assert!(table.activation >= before.next_earliest.max(lock.granted_at + settings().lead));
        assert!(table.next_earliest >= table.activation + settings().lead);
        advances += 1;
    }
    assert!(advances > 100 && lost > 50, "{advances} advances, {lost} locks lost: the run shows little");
}

#[test]
fn a_hold_keeps_its_h_in_the_table_for_people() {
    let held = hold(&table(), Some(at(1_250)), at(1_010), Guards::ALL).unwrap();
    assert_eq!(held.held, Some(Hold { until: Some(at(1_250)) }));
}

/// The longest promise that a lost store can have made: the grant comes late, its T is a scheduled
/// instant just before a slot, and a changed interval puts the first slot of the promise far off.
#[test]
fn a_restore_waits_for_the_longest_promise_though_holds_are_short() {
    use crate::timeline::{OldLine, begin_line};
    let limits = Limits { max_interval: span(100), max_lead: span(40), max_hold: Span::ZERO };
    let lead = Settings { lead: span(40), ..settings() };
    let backup = SyncTable { limits, settings: lead, ..table() };
    let changed = change_settings(&backup, Settings { interval: span(69), ..lead }).unwrap();
    let scheduled = Content { due: &[1_199], ..CHANGED };
    let stopped = 1_061;
    let granted = ask(&changed, id(1, 1), RequestBody::Lock, stopped, &scheduled).table;
    let advance = RequestBody::Advance { token: 8, activation: at(1_199) };
    let lost = ask(&granted, id(1, 2), advance, stopped, &scheduled).table;
    assert_eq!((lost.activation, lost.next_earliest), (at(1_199), at(1_307)));

    let restored = begin_line(
        &backup,
        TimelineId { counter: 2, random: 1 },
        OldLine::Unknown,
        at(stopped),
        crate::time::Rate::ZERO,
        Guards::ALL,
    );
    assert!(restored.activation >= lost.next_earliest, "k goes live again beside the lost k + 1");
}

#[test]
fn a_promise_is_renewed_from_a_quarter_of_the_lead_behind() {
    // The lead is 20: at 1085 the promise would be 5 later.
    assert_unchanged(&ask(&table(), id(1, 1), RequestBody::Read, 1_084, &CHANGED), &table());
    assert_eq!(ask(&table(), id(1, 1), RequestBody::Read, 1_085, &CHANGED).table.next_earliest, at(1_105));
}
