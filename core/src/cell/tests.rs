use super::*;
use crate::ids::{BootId, Digest, Generation};
use crate::serving::{Activation, Mode};
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
