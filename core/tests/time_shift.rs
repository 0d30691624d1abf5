//! Nothing in the protocol depends on where a clock's zero is: shifting every instant (the grid
//! too) by the same span and then stepping is the same as stepping and then shifting.

use downbeat_core::guard::Guards;
use downbeat_core::ids::{AgentId, Digest, Generation, Incarnation, Name, RequestId, TimelineId};
use downbeat_core::message::{Grant, ReplyBody, RequestBody};
use downbeat_core::operator::{earliest_live, hold};
use downbeat_core::server::{Facts, Transition, Verdict, transition};
use downbeat_core::settings::{Limits, Settings};
use downbeat_core::table::{Hold, Lock, SyncTable, TableView, next_activation};
use downbeat_core::time::{ServerTime, Span};
use proptest::prelude::*;

#[derive(Debug)]
struct Content {
    due: Vec<ServerTime>,
    verdict: Verdict,
}
impl Facts for Content {
    fn first_due(&self, from: ServerTime) -> Option<ServerTime> {
        self.due.iter().copied().filter(|due| *due >= from).min()
    }
    fn verdict(&self, _: ServerTime) -> Verdict {
        self.verdict
    }
}

/// The same value, seen on a clock whose zero is `by` earlier.
trait Shift {
    fn shifted(&self, by: Span) -> Self;
}
impl Shift for ServerTime {
    fn shifted(&self, by: Span) -> ServerTime {
        *self + by
    }
}
impl<T: Shift> Shift for Option<T> {
    fn shifted(&self, by: Span) -> Option<T> {
        self.as_ref().map(|value| value.shifted(by))
    }
}
impl Shift for Lock {
    fn shifted(&self, by: Span) -> Lock {
        Lock {
            granted_at: self.granted_at + by,
            expires: self.expires + by,
            due: self.due.shifted(by),
            next: self.next + by,
            ..*self
        }
    }
}
impl Shift for Hold {
    fn shifted(&self, by: Span) -> Hold {
        Hold { until: self.until.shifted(by) }
    }
}
impl Shift for SyncTable {
    fn shifted(&self, by: Span) -> SyncTable {
        SyncTable {
            activation: self.activation + by,
            next_earliest: self.next_earliest + by,
            grid: self.grid + by,
            landing: self.landing.shifted(by),
            held: self.held.shifted(by),
            lock: self.lock.shifted(by),
            ..self.clone()
        }
    }
}
impl Shift for TableView {
    fn shifted(&self, by: Span) -> TableView {
        TableView {
            activation: self.activation + by,
            next_earliest: self.next_earliest + by,
            grid: self.grid + by,
            landing: self.landing.shifted(by),
            ..self.clone()
        }
    }
}
impl Shift for RequestBody {
    fn shifted(&self, by: Span) -> RequestBody {
        match self {
            RequestBody::Advance { token, activation } => {
                RequestBody::Advance { token: *token, activation: *activation + by }
            }
            other => other.clone(),
        }
    }
}
impl Shift for ReplyBody<u16> {
    fn shifted(&self, by: Span) -> ReplyBody<u16> {
        match self.clone() {
            ReplyBody::Table(table) => ReplyBody::Table(table.shifted(by)),
            ReplyBody::NotDue(table) => ReplyBody::NotDue(table.shifted(by)),
            ReplyBody::Advanced(table) => ReplyBody::Advanced(table.shifted(by)),
            ReplyBody::Refused { why, table } => ReplyBody::Refused { why, table: table.shifted(by) },
            ReplyBody::Busy { table, retry_after } => {
                ReplyBody::Busy { table: table.shifted(by), retry_after }
            }
            ReplyBody::Granted { grant, table } => ReplyBody::Granted {
                grant: Grant {
                    granted_at: grant.granted_at + by,
                    due: grant.due.shifted(by),
                    token: grant.token,
                },
                table: table.shifted(by),
            },
            other => other,
        }
    }
}
impl Shift for Content {
    fn shifted(&self, by: Span) -> Content {
        Content { due: self.due.iter().map(|due| *due + by).collect(), verdict: self.verdict }
    }
}

fn at(nanos: i64) -> ServerTime {
    ServerTime::from_nanos(nanos)
}
fn settings(interval: i64) -> Settings {
    Settings {
        interval: Span::from_nanos(interval),
        lead: Span::from_nanos(20),
        lease: Span::from_nanos(5),
        round_trip: Span::from_nanos(2),
        retrieve: Span::from_nanos(8),
        stagger: Span::from_nanos(5),
        early_limit: Span::from_nanos(1),
        sample_window: Span::from_nanos(4),
    }
}
fn generation(epoch: u64) -> Generation {
    Generation { epoch, digest: Digest([epoch as u8; 32]) }
}
fn holder(agent: u8) -> RequestId {
    RequestId { agent: AgentId([agent; 16]), incarnation: Incarnation(1), number: 1 }
}

/// Instants around the present, which is 0.
fn instant() -> impl Strategy<Value = ServerTime> {
    (-300i64..300).prop_map(at)
}
fn lock() -> impl Strategy<Value = Lock> {
    (0u8..2, 0u64..2, -10i64..1, prop::option::of(instant()), 1i64..200).prop_map(
        |(agent, token, granted, due, next)| Lock {
            holder: holder(agent),
            token,
            granted_at: at(granted),
            expires: at(granted + 5),
            due,
            next: at(next),
        },
    )
}
/// Every table that can be written down, whether or not this core would ever write it.
fn table() -> impl Strategy<Value = SyncTable> {
    let times = (instant(), instant(), instant(), prop::option::of(instant()));
    let state = (
        prop::option::of(lock()),
        prop::option::of(prop::option::of(instant())),
        28i64..200,
        prop::option::of(28i64..200),
    );
    (times, state).prop_map(
        |((activation, next_earliest, grid, landing), (lock, held, interval, pending))| SyncTable {
            farm: Name::new("f").unwrap(),
            timeline: TimelineId::default(),
            staged: generation(5),
            active: Some(generation(4)),
            activation,
            next_earliest,
            grid,
            landing,
            settings: settings(interval),
            pending: pending.map(settings),
            held: held.map(|until| Hold { until }),
            limits: Limits::default(),
            last_token: 1,
            last_advance: holder(9),
            lock,
        },
    )
}
fn request() -> impl Strategy<Value = RequestBody> {
    prop_oneof![
        Just(RequestBody::Read),
        Just(RequestBody::Lock),
        (0u64..2, 1i64..200).prop_map(|(token, next)| RequestBody::Advance { token, activation: at(next) }),
        (0u64..2).prop_map(|token| RequestBody::Unlock { token }),
    ]
}
fn content() -> impl Strategy<Value = Content> {
    let verdict = prop_oneof![
        Just(Verdict::Promote(Digest([6; 32]))),
        Just(Verdict::Unchanged),
        Just(Verdict::Blocked)
    ];
    (prop::collection::vec(instant(), 0..4), verdict).prop_map(|(due, verdict)| Content { due, verdict })
}
/// Nearly as far as the clock goes, so that nothing saturates on one side only.
fn far() -> impl Strategy<Value = Span> {
    let most = i64::MAX - 1_000_000_000_000_000;
    (-most..most).prop_map(Span::from_nanos)
}
/// An advance that names what was granted, in most cases.
fn meant(table: &SyncTable, body: RequestBody, right: bool) -> RequestBody {
    match (body, table.lock) {
        (RequestBody::Advance { .. }, Some(lock)) if right => {
            RequestBody::Advance { token: lock.token, activation: lock.next }
        }
        (body, _) => body,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_step_commutes_with_a_shift(
        table in table(), body in request(), right in any::<bool>(), content in content(),
        now in 0i64..20, by in far(),
    ) {
        let (now, id) = (at(now), holder(0));
        let body = meant(&table, body, right);
        let step = |table: &SyncTable, body: &RequestBody, now, content: &Content| -> Transition<u16> {
            transition(table, id, body, now, content, Guards::ALL).unwrap()
        };
        let here = step(&table, &body, now, &content);
        let there = step(&table.shifted(by), &body.shifted(by), now + by, &content.shifted(by));
        prop_assert_eq!(there.table, here.table.shifted(by));
        prop_assert_eq!(there.reply, here.reply.shifted(by));
        prop_assert_eq!(there.effect, here.effect);
    }

    #[test]
    fn the_next_activation_commutes_with_a_shift(
        table in table(), due in prop::option::of(instant()), now in instant(), by in far(),
    ) {
        let here = next_activation(&table, due, now);
        prop_assert_eq!(next_activation(&table.shifted(by), due.shifted(by), now + by), here + by);
        prop_assert_eq!(next_activation(&table.view(), due, now), here);
    }

    #[test]
    fn what_operators_do_and_see_commutes_with_a_shift(
        table in table(), content in content(), until in prop::option::of(instant()), now in instant(),
        by in far(),
    ) {
        let (there, shifted) = (now + by, table.shifted(by));
        let live = earliest_live(&table, &content, now);
        prop_assert_eq!(earliest_live(&shifted, &content.shifted(by), there), live.shifted(by));
        let held = hold(&table, until, now, Guards::ALL).unwrap();
        prop_assert_eq!(hold(&shifted, until.shifted(by), there, Guards::ALL).unwrap(), held.shifted(by));
    }

    #[test]
    fn the_next_activation_is_the_first_one_allowed(
        table in table(), due in prop::option::of(instant()), now in instant(),
    ) {
        let bound = table.next_bound(now);
        let next = next_activation(&table, due, now);
        prop_assert!(next >= bound);
        let step = table.settings.interval.as_nanos();
        let regular = |at: ServerTime| (at - table.grid).as_nanos().rem_euclid(step) == 0;
        let allowed = |at: ServerTime| regular(at) || Some(at) == due || Some(at) == table.landing;
        prop_assert!(allowed(next));
        let before = (bound.as_nanos()..next.as_nanos()).map(at).find(|at| allowed(*at));
        prop_assert_eq!(before, None);
    }
}

/// The shifts above would show little if every step were refused.
#[test]
fn the_random_steps_do_everything_that_a_step_can() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut seen = std::collections::BTreeMap::<&str, u32>::new();
    for _ in 0..8_000 {
        let inputs = (table(), request(), any::<bool>(), content(), 0i64..5);
        let (table, body, right, content, now) = inputs.new_tree(&mut runner).unwrap().current();
        let body = meant(&table, body, right);
        let done: Transition<u16> =
            transition(&table, holder(0), &body, at(now), &content, Guards::ALL).unwrap();
        let what = match done.reply {
            ReplyBody::Table(_) if done.table != table => "renewed",
            ReplyBody::Table(_) => "table",
            ReplyBody::Granted { .. } => "granted",
            ReplyBody::NotDue(_) => "not due",
            ReplyBody::Busy { .. } => "busy",
            ReplyBody::Advanced(_) => "advanced",
            ReplyBody::Refused { .. } => "refused",
            _ => "unlocked",
        };
        *seen.entry(what).or_default() += 1;
    }
    assert_eq!(seen.len(), 8, "{seen:?}");
    assert!(seen.values().all(|count| *count > 20), "{seen:?}");
}
