use super::*;
use crate::ids::{BootId, Digest, Generation};
use crate::serving::Activation;
use crate::time::Span;
use core::cell::Cell;
use proptest::option::of;
use proptest::prelude::*;
use std::sync::Arc;
use std::thread;

fn generation() -> impl Strategy<Value = Generation> {
    any::<(u64, [u8; 32])>().prop_map(|(epoch, digest)| Generation { epoch, digest: Digest(digest) })
}

fn plan() -> impl Strategy<Value = SwitchPlan> {
    (any::<(u64, u64, bool, bool, bool)>(), of(generation()), of(generation()), any::<[i64; 3]>()).prop_map(
        |((serial, boot, strict, copy, stale), active, staged, instants)| {
            let [active_until, staged_from, staged_until] = instants.map(LocalTime::from_nanos);
            SwitchPlan {
                serial,
                boot: BootId(boot),
                mode: if strict { Mode::Strict } else { Mode::Prompt },
                activation: if copy { Activation::Copy } else { Activation::Switch },
                active,
                stale,
                active_until,
                staged,
                staged_from,
                staged_until,
            }
        },
    )
}

/// A plan whose every field tells its number.
fn numbered(number: u64) -> SwitchPlan {
    let generation = Generation { epoch: number, digest: Digest([number as u8; 32]) };
    let instant = LocalTime::from_nanos(number as i64);
    SwitchPlan {
        serial: number,
        boot: BootId(number),
        mode: Mode::Strict,
        activation: Activation::Switch,
        active: Some(generation),
        stale: false,
        active_until: instant,
        staged: Some(generation),
        staged_from: instant,
        staged_until: instant,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_plan_survives_its_words(plan in plan()) {
        prop_assert_eq!(SwitchPlan::from_words(&plan.to_words()), Some(plan));
    }

    /// Words are a plan's or nobody's: what is accepted is written the same way again.
    #[test]
    fn words_that_are_no_plan_are_refused(mut words in any::<[u32; PLAN_WORDS]>(), flags in 0u32..64) {
        words[0] = flags;
        if let Some(plan) = SwitchPlan::from_words(&words) {
            prop_assert_eq!(plan.to_words(), words);
        }
        words[0] |= 1 << 5;
        prop_assert_eq!(SwitchPlan::from_words(&words), None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is published and however time goes on: what is said to be unchanged is what a look gets.
    #[test]
    fn what_is_unchanged_is_what_a_look_gets(
        steps in prop::collection::vec((of(near()), 0i64..4, 0i64..4, any::<bool>(), any::<bool>()), 1..40),
    ) {
        let cell = PlanCell::new(&SwitchPlan::nothing(BootId(1), Mode::Prompt, Activation::Switch));
        let mut writer = PlanWriter::new(&cell).unwrap();
        let mut reader = PlanReader::new(&cell);
        let (mut now, mut last) = (LocalTime::from_nanos(0), None);
        for (plan, elapsed, beyond, has_bound, other_looks) in steps {
            if let Some(plan) = plan {
                writer.publish(&plan);
            }
            now = now + Span::from_nanos(elapsed);
            let expected = serving(&cell.load().1, now);
            let (bound, asked) = (has_bound.then(|| now + Span::from_nanos(beyond)), Cell::new(0));
            let unchanged = reader.is_unchanged(
                || { asked.set(asked.get() + 1); bound },
                || { asked.set(asked.get() + 10); now },
            );
            if unchanged {
                prop_assert_eq!(Some(expected), last);
            }
            let plan = cell.load().1;
            if plan.mode == Mode::Strict {
                prop_assert_eq!(asked.get() % 10, 0, "a strict read goes by the time itself");
            }
            if !unchanged || other_looks {
                last = Some(reader.look(|| now));
                prop_assert_eq!(last, Some(expected));
                prop_assert!(!reader.is_unchanged(|| None, || now), "nothing is kept yet");
                reader.keep();
                let until = unchanged_until(&plan, now);
                prop_assert!(reader.is_unchanged(|| None, || now));
                prop_assert!(reader.is_unchanged(|| None, || until - Span::from_nanos(1)));
                let at_the_end = reader.is_unchanged(|| None, || until);
                prop_assert_eq!(at_the_end, until == LocalTime::MAX, "an instant has passed at its own");
            }
        }
    }
}

/// Plans whose instants are close to each other and to the clock's zero.
fn near() -> impl Strategy<Value = SwitchPlan> {
    let instant = prop_oneof![4 => (0i64..40).prop_map(LocalTime::from_nanos), 1 => Just(LocalTime::MAX)];
    (plan(), instant.clone(), instant.clone(), instant).prop_map(
        |(plan, active_until, staged_from, staged_until)| SwitchPlan {
            active_until,
            staged_from,
            staged_until,
            ..plan
        },
    )
}

#[test]
fn the_price_of_a_look_is_what_the_plan_asks_for() {
    let cell = PlanCell::new(&SwitchPlan { mode: Mode::Prompt, ..numbered(10) });
    let mut writer = PlanWriter::new(&cell).unwrap();
    let mut reader = PlanReader::new(&cell);
    let at = LocalTime::from_nanos;
    let price = |reader: &mut PlanReader<&PlanCell>, latest: i64, now: i64| {
        let asked = Cell::new("nothing");
        let unchanged = reader.is_unchanged(
            || {
                asked.set("a bound");
                Some(at(latest))
            },
            || {
                asked.set("the time");
                at(now)
            },
        );
        (unchanged, asked.get())
    };
    assert_eq!(price(&mut reader, 5, 5), (false, "nothing"), "there was no look yet");
    reader.look(|| at(5));
    assert_eq!(price(&mut reader, 5, 5), (false, "nothing"), "the look isn't kept");
    reader.keep();
    assert_eq!(price(&mut reader, 9, 6), (true, "a bound"));
    assert_eq!(price(&mut reader, 10, 9), (true, "the time"), "the bound doesn't do");
    assert_eq!(price(&mut reader, 9, 9), (true, "the time"), "and none is asked for again");
    assert_eq!(price(&mut reader, 10, 10), (false, "the time"));
    reader.look(|| at(10));
    reader.keep();
    assert_eq!(price(&mut reader, 99, 99), (true, "nothing"), "no instant is ahead");
    writer.publish(&numbered(20));
    assert_eq!(price(&mut reader, 5, 5), (false, "nothing"), "another plan");
    reader.look(|| at(11));
    reader.keep();
    assert_eq!(price(&mut reader, 12, 12), (true, "the time"), "strict");
    reader.look(|| at(11));
    writer.publish(&numbered(20));
    reader.plan();
    reader.keep();
    assert_eq!(price(&mut reader, 5, 5), (false, "nothing"), "the look was of the plan before");
}

#[test]
fn every_word_of_a_plan_is_used() {
    assert!(numbered(0x0101_0101_0101_0101).to_words().iter().all(|word| *word != 0));
}

#[test]
fn versions_rise_and_the_last_plan_is_read() {
    let cell = PlanCell::new(&numbered(0));
    let mut writer = PlanWriter::new(&cell).unwrap();
    for number in 0..5 {
        assert_eq!(cell.version(), number);
        assert_eq!(cell.try_load(), Some((number, numbered(number.into()))));
        assert_eq!(cell.load(), (number, numbered(number.into())));
        assert_eq!(writer.publish(&numbered(u64::from(number) + 1)), number + 1);
    }
}

#[test]
fn a_plan_that_is_published_again_is_looked_at_again() {
    let cell = PlanCell::new(&SwitchPlan { staged: None, ..numbered(7) });
    let mut writer = PlanWriter::new(&cell).unwrap();
    let mut reader = PlanReader::new(&cell);
    let now = || LocalTime::from_nanos(9);
    let got = reader.look(now);
    reader.keep();
    assert!(reader.is_unchanged(|| None, now));
    assert_eq!(writer.publish_again(), 1);
    assert!(!reader.is_unchanged(|| None, now));
    assert_eq!(reader.look(now), got);
    assert_eq!(cell.load().1, SwitchPlan { staged: None, ..numbered(7) });
}

#[test]
fn a_cell_has_one_writer_at_a_time() {
    let cell = PlanCell::new(&numbered(0));
    let mut first = PlanWriter::new(&cell).unwrap();
    assert!(PlanWriter::new(&cell).is_none());
    first.publish(&numbered(1));
    drop(first);
    assert_eq!(PlanWriter::new(&cell).unwrap().publish(&numbered(2)), 2);
}

#[test]
fn a_look_takes_the_newest_plan_and_then_the_time() {
    let cell = PlanCell::new(&SwitchPlan { staged: None, ..numbered(7) });
    let mut writer = PlanWriter::new(&cell).unwrap();
    let mut reader = PlanReader::new(&cell);
    let asked = Cell::new(0);
    let mut look = |at| {
        reader.look(|| {
            asked.set(asked.get() + 1);
            LocalTime::from_nanos(at)
        })
    };
    let named = |number| numbered(number).active.unwrap();
    assert_eq!(look(6), Serving::Active(named(7)));
    assert_eq!(look(7), Serving::Fenced);
    writer.publish(&SwitchPlan { staged: None, ..numbered(9) });
    assert_eq!(look(8), Serving::Active(named(9)));
    assert_eq!(asked.get(), 3);
}

/// On the real atomics; every interleaving, on few words, is loom's.
#[test]
fn threads_read_whole_plans_that_never_go_back() {
    let cell = Arc::new(PlanCell::new(&numbered(0)));
    let last = 20_000;
    let readers: [_; 3] = core::array::from_fn(|_| {
        let mut reader = PlanReader::new(Arc::clone(&cell));
        thread::spawn(move || {
            let mut seen = 0;
            while seen < last {
                let plan = *reader.plan();
                assert_eq!(plan, numbered(plan.serial), "half a plan");
                assert!(plan.serial >= seen, "went back");
                seen = plan.serial;
            }
        })
    });
    let mut writer = PlanWriter::new(Arc::clone(&cell)).unwrap();
    (1..=last).for_each(|number| {
        writer.publish(&numbered(number));
    });
    readers.into_iter().for_each(|reader| reader.join().unwrap());
}
