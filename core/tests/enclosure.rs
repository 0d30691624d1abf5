//! The clock enclosure (PROTOCOL §2, S12) against true time: two clocks that drift as they like
//! within their rates, a network that delays as it likes, and samples in any order.
//!
//! A *world* is a run of pieces, in each of which both clocks have a rate of their own. Local
//! instants are read in steps of the granularity. For every look at the enclosure the server's true
//! time must be inside; what is found by inversion must be sound, and no looser than it has to be.
//! Each guard that makes this true is switched off in turn, and the same search must then find a
//! world in which it fails: otherwise it would show nothing.

use downbeat_core::clock::{Enclosure, Sample, Sampled};
use downbeat_core::guard::{Guard, Guards};
use downbeat_core::time::{LocalTime, Rate, ServerTime, Span};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

const BILLION: i128 = 1_000_000_000;

/// For `len` nanoseconds of true time each clock runs wrong by this share of its largest error.
#[derive(Clone, Debug)]
struct Piece {
    len: i64,
    local: i8,
    server: i8,
}

/// A request sent at `at`, and how long it, the server and the answer take; then, how much later
/// the enclosure is looked at. All in true nanoseconds.
#[derive(Clone, Debug)]
struct Exchange {
    at: i64,
    there: i64,
    work: i64,
    back: i64,
    look_after: i64,
    /// The request was sent before, this much earlier, and only the last sending was answered.
    sent_before: i64,
}

#[derive(Clone, Debug)]
struct World {
    local_rate: Rate,
    server_rate: Rate,
    granularity: i64,
    local_zero: i64,
    server_zero: i64,
    pieces: Vec<Piece>,
    exchanges: Vec<Exchange>,
}

/// A sum of nanoseconds times parts per billion: exact.
type Fine = i128;

impl World {
    /// What both clocks show at a true time, in billionths of a nanosecond.
    fn fine(&self, at: i64) -> (Fine, Fine) {
        let (mut local, mut server) = (self.local_zero as Fine * BILLION, self.server_zero as Fine * BILLION);
        let mut left = at;
        let rest = Piece { len: i64::MAX, local: 0, server: 0 };
        for piece in self.pieces.iter().chain([&rest]) {
            let len = left.min(piece.len);
            let share = |rate: Rate, part: i8| BILLION + rate.as_ppb() as Fine * part as Fine / 100;
            local += len as Fine * share(self.local_rate, piece.local);
            server += len as Fine * share(self.server_rate, piece.server);
            left -= len;
            if left == 0 {
                break;
            }
        }
        (local, server)
    }
    /// As it is read: in steps of the granularity.
    fn local(&self, at: i64) -> LocalTime {
        let shown = self.fine(at).0.div_euclid(BILLION);
        let step = self.granularity.max(1) as Fine;
        LocalTime::from_nanos((shown - shown.rem_euclid(step)) as i64)
    }
    fn server(&self, at: i64) -> ServerTime {
        ServerTime::from_nanos(self.fine(at).1.div_euclid(BILLION) as i64)
    }
    fn enclosure(&self, guards: Guards) -> Enclosure {
        Enclosure::new(self.local_rate, self.server_rate, Span::from_nanos(self.granularity + 1), guards)
    }

    /// What went wrong, if anything did. One nanosecond is what reading the server's clock rounds.
    fn run(&self, guards: Guards) -> Result<(), String> {
        let mut clock = self.enclosure(guards);
        let mut arrivals: Vec<&Exchange> = self.exchanges.iter().collect();
        arrivals.sort_by_key(|exchange| exchange.at + exchange.there + exchange.work + exchange.back);
        for exchange in arrivals {
            let received = exchange.at + exchange.there;
            let arrived = received + exchange.work + exchange.back;
            // The answer is to the first sending; `a` is its own, unless the guard is off.
            let first = exchange.at;
            let last = (exchange.at + exchange.sent_before).min(arrived);
            let sent = if guards.on(Guard::EchoedSendInstant) { first } else { last };
            let sample = Sample {
                sent: self.local(sent),
                received: self.server(received),
                answered: self.server(received + exchange.work),
                arrived: self.local(arrived),
            };
            match clock.sample(sample) {
                Sampled::Broken => return Err(format!("crossed at {arrived}")),
                Sampled::Impossible => return Err("impossible".into()),
                Sampled::First | Sampled::Narrowed | Sampled::Kept => {}
            }
            for look in [arrived, arrived + exchange.look_after] {
                self.contains(&clock, look)?;
            }
        }
        Ok(())
    }

    fn contains(&self, clock: &Enclosure, at: i64) -> Result<(), String> {
        let (local, truth, tick) = (self.local(at), self.server(at), Span::from_nanos(1));
        let (Some(earliest), Some(latest)) = (clock.earliest(local), clock.latest(local)) else {
            return Err("no sample".into());
        };
        if earliest <= truth && truth <= latest + tick {
            Ok(())
        } else {
            Err(format!("at {at}: {truth:?} is not in {earliest:?} to {latest:?}"))
        }
    }
}

fn rate() -> impl Strategy<Value = Rate> {
    prop_oneof![
        Just(Rate::ZERO),
        Just(Rate::from_ppm(250)),
        Just(Rate::from_ppb(u32::MAX)),
        any::<u32>().prop_map(|ppb| Rate::from_ppb(ppb % 500_000_000)),
        (0u32..1_000).prop_map(Rate::from_ppm),
    ]
}
/// Shares of the largest error, the ends among them often.
fn share() -> impl Strategy<Value = i8> {
    prop_oneof![Just(-100i8), Just(100), Just(0), -100i8..=100]
}
/// Lengths of every order from nanoseconds to days.
fn length() -> impl Strategy<Value = i64> {
    (0u32..47, any::<u64>()).prop_map(|(bits, random)| (random % (1 << bits)) as i64)
}
fn world() -> impl Strategy<Value = World> {
    let piece = (length(), share(), share()).prop_map(|(len, local, server)| Piece { len, local, server });
    let exchange = (length(), length(), length(), length(), length(), length()).prop_map(
        |(at, there, work, back, look_after, sent_before)| Exchange {
            at,
            there,
            work,
            back,
            look_after,
            sent_before,
        },
    );
    (
        (rate(), rate(), prop_oneof![Just(0i64), 0i64..2_000_000]),
        (-(1i64 << 60)..1 << 60, -(1i64 << 60)..1 << 60),
        prop::collection::vec(piece, 0..5),
        prop::collection::vec(exchange, 1..6),
    )
        .prop_map(
            |((local_rate, server_rate, granularity), (local_zero, server_zero), pieces, exchanges)| World {
                local_rate,
                server_rate,
                granularity,
                local_zero,
                server_zero,
                pieces,
                exchanges,
            },
        )
}
fn any_clock(guards: Guards) -> impl Strategy<Value = (Enclosure, Sample, i64)> {
    let instants = (-(1i64 << 61)..1 << 61, -(1i64 << 61)..1 << 61, length(), length());
    (rate(), rate(), prop_oneof![Just(0i64), 0i64..2_000_000], instants).prop_map(
        move |(own, server, granularity, (local_zero, server_zero, trip, work))| {
            let mut clock = Enclosure::new(own, server, Span::from_nanos(granularity), guards);
            let sample = Sample {
                sent: LocalTime::from_nanos(local_zero),
                received: ServerTime::from_nanos(server_zero),
                answered: ServerTime::from_nanos(server_zero) + Span::from_nanos(work.min(trip) / 4),
                arrived: LocalTime::from_nanos(local_zero) + Span::from_nanos(trip),
            };
            let _ = clock.sample(sample);
            (clock, sample, granularity)
        },
    )
}

/// Before the instant found for it, a time has certainly not come: what ends a strict agent's active.
fn until_is_sound(clock: &Enclosure, instant: ServerTime) -> bool {
    let until = clock.possibly_reached(instant).unwrap();
    clock.latest(until - Span::from_nanos(1)).unwrap() < instant
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// S12.
    #[test]
    fn the_server_s_time_is_inside(world in world()) {
        if let Err(why) = world.run(Guards::ALL) {
            prop_assert!(false, "{why}");
        }
    }

    /// Every order of the same samples gives an enclosure that contains what the others contain.
    #[test]
    fn samples_taken_in_late_still_hold(world in world(), keys in prop::collection::vec(any::<u32>(), 6)) {
        let mut order: Vec<usize> = (0..world.exchanges.len()).collect();
        order.sort_by_key(|index| keys[*index]);
        let mut clock = world.enclosure(Guards::ALL);
        let mut latest = 0;
        for index in order {
            let exchange = &world.exchanges[index];
            let received = exchange.at + exchange.there;
            let arrived = received + exchange.work + exchange.back;
            let sampled = clock.sample(Sample {
                sent: world.local(exchange.at),
                received: world.server(received),
                answered: world.server(received + exchange.work),
                arrived: world.local(arrived),
            });
            prop_assert!(!matches!(sampled, Sampled::Broken | Sampled::Impossible));
            latest = latest.max(arrived);
            prop_assert_eq!(world.contains(&clock, latest + exchange.look_after), Ok(()));
        }
    }

    /// What a plan is made of: sound, and not a tick looser than the enclosure itself.
    #[test]
    fn the_instants_found_by_inversion_are_sound_and_tight(
        (clock, sample, granularity) in any_clock(Guards::ALL), ahead in length(), back in any::<bool>(),
    ) {
        prop_assume!(clock.is_known());
        let tick = Span::from_nanos(1);
        let ahead = Span::from_nanos(if back { -ahead } else { ahead });
        let instant = sample.received + ahead;
        let until = clock.possibly_reached(instant).unwrap();
        let from = clock.certainly_reached(instant).unwrap();
        // Where a bound saturates, or a rate lets time stand still, there is nothing to be tight against.
        let expressible = |local: LocalTime| local.as_nanos().unsigned_abs() < i64::MAX as u64 / 2;
        if expressible(until) {
            prop_assert!(until_is_sound(&clock, instant), "sound");
            prop_assert!(clock.latest(until + tick).unwrap() >= instant, "tight");
        }
        if expressible(from) {
            prop_assert!(clock.earliest(from).unwrap() >= instant, "sound");
            let moves = clock.surely_reached(tick) - Span::ZERO;
            let before = from - tick - moves;
            prop_assert!(clock.earliest(before).unwrap() < instant || granularity < 0, "tight");
        }
        prop_assert!(until <= from);
    }

    /// At the ends of i64 nothing panics and no bound turns round.
    #[test]
    fn nothing_turns_round_at_the_ends_of_time(
        own in rate(), server in rate(), granularity in 0i64..1_000,
        corner in prop::collection::vec(prop_oneof![
            Just(i64::MIN), Just(i64::MIN + 1), Just(-1i64), Just(0), Just(1), Just(i64::MAX - 1), Just(i64::MAX),
            any::<i64>(),
        ], 6),
    ) {
        let mut clock = Enclosure::new(own, server, Span::from_nanos(granularity), Guards::ALL);
        let sampled = clock.sample(Sample {
            sent: LocalTime::from_nanos(corner[0]),
            received: ServerTime::from_nanos(corner[1]),
            answered: ServerTime::from_nanos(corner[2]),
            arrived: LocalTime::from_nanos(corner[3]),
        });
        prop_assert!(corner[3] >= corner[0] || sampled == Sampled::Impossible);
        let local = LocalTime::from_nanos(corner[4]);
        if let (Some(earliest), Some(latest)) = (clock.earliest(local), clock.latest(local)) {
            if local.as_nanos() >= corner[3] && corner[1] <= corner[2] {
                prop_assert!(earliest <= latest);
            }
            let _ = (clock.midpoint(local), clock.epsilon(local));
            let instant = ServerTime::from_nanos(corner[5]);
            let until = clock.possibly_reached(instant).unwrap();
            let from = clock.certainly_reached(instant).unwrap();
            let before = until - Span::from_nanos(1);
            if before < until && instant > ServerTime::MIN {
                prop_assert!(until == LocalTime::MAX || clock.latest(before).unwrap() < instant);
            }
            // Far in the past the lower end itself can't be expressed, and is the widest one.
            let earliest = clock.earliest(from).unwrap();
            prop_assert!(from == LocalTime::MAX || earliest >= instant || earliest == ServerTime::MIN);
        }
        prop_assert_eq!(clock.possibly_reached(ServerTime::MAX).unwrap_or(LocalTime::MAX), LocalTime::MAX);
    }
}

/// The search of the first property, with a guard off: how many worlds out of `most` it takes.
fn worlds_until_broken(guard: Guard, most: u32) -> Option<u32> {
    let mut runner = TestRunner::deterministic();
    let strategy = world();
    (1..=most).find(|_| {
        let world = strategy.new_tree(&mut runner).unwrap().current();
        assert_eq!(world.run(Guards::ALL), Ok(()), "{world:?}");
        world.run(Guards::ALL.without(guard)).is_err()
    })
}

#[test]
fn without_aging_the_enclosure_is_left() {
    assert!(worlds_until_broken(Guard::Aging, 200).is_some());
}

#[test]
fn without_the_product_of_the_rates_the_enclosure_is_left() {
    assert!(worlds_until_broken(Guard::DriftProduct, 2_000).is_some());
}

#[test]
fn aging_the_upper_end_from_the_arrival_leaves_the_enclosure() {
    assert!(worlds_until_broken(Guard::UpperAgesFromSend, 200).is_some());
}

#[test]
fn pairing_an_answer_with_the_last_sending_leaves_the_enclosure() {
    assert!(worlds_until_broken(Guard::EchoedSendInstant, 200).is_some());
}

#[test]
fn rounding_the_inverse_inward_makes_it_unsound() {
    let mut runner = TestRunner::deterministic();
    let guards = Guards::ALL.without(Guard::RoundsOutward);
    let clocks = (any_clock(guards), length());
    let unsound = (0..2_000).any(|_| {
        let ((clock, sample, _), ahead) = clocks.new_tree(&mut runner).unwrap().current();
        let instant = sample.received + Span::from_nanos(ahead);
        let expressible = |local: LocalTime| local.as_nanos().unsigned_abs() < i64::MAX as u64 / 2;
        clock.possibly_reached(instant).is_some_and(expressible) && !until_is_sound(&clock, instant)
    });
    assert!(unsound);
}
