//! Every interleaving of the reference agent's read path, plan and content together: its
//! `agent-std/src/shelf.rs` as it ships, over core's cell, through two switches with reclamation.
//! Run by `.ci/loom`, which also seeds bugs that must be refuted. Bounds: two readers of one read
//! each (or one that reads, pins and looks), one writer that publishes two plans and takes away what
//! they replace, a clock with three instants; preemptions as written at each test.
#![cfg(downbeat_loom)]

use downbeat_core::cell::{PlanCell, PlanWriter};
use downbeat_core::ids::{BootId, Digest, Generation};
use downbeat_core::serving::{Activation, Mode, Serving, SwitchPlan};
use downbeat_core::time::LocalTime;
use loom::model::Builder;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;
use shelf::{Finder, Shelf, publish};
use std::mem::ManuallyDrop;
use std::sync::Arc;

#[path = "../../agent-std/src/shelf.rs"]
#[allow(dead_code, reason = "what only the agent's worker and its own tests need")]
mod shelf;

/// T of the second and of the third generation.
const SWITCHES: [u32; 2] = [10, 20];

fn at(nanos: u32) -> LocalTime {
    LocalTime::from_nanos(nanos.into())
}

fn generation(number: u8) -> Generation {
    Generation { epoch: number.into(), digest: Digest([number; 32]) }
}

/// Which generation is live at an instant.
fn live(now: LocalTime) -> u64 {
    1 + SWITCHES.iter().filter(|t| at(**t).passed(now)).count() as u64
}

/// The plan that is in force once so many switches are over: a clock without error, in strict.
fn plan(over: usize) -> SwitchPlan {
    let t = |number: usize| SWITCHES.get(number).map_or(LocalTime::MAX, |t| at(*t));
    SwitchPlan {
        serial: over as u64,
        active: Some(generation(over as u8 + 1)),
        active_until: t(over),
        staged: SWITCHES.get(over).map(|_| generation(over as u8 + 2)),
        staged_from: t(over),
        staged_until: t(over + 1),
        ..SwitchPlan::nothing(BootId(1), Mode::Strict, Activation::Switch)
    }
}

/// An agent's writer. It is given back with care: where a claim falls loom unwinds the other threads,
/// and a drop that touches an atomic there never ends.
type Writer = ManuallyDrop<PlanWriter<Arc<PlanCell>>>;

/// What an agent shares with its readers. A content is its number.
struct Farm {
    shelf: Arc<Shelf<u8>>,
    clock: AtomicU32,
    /// The newest generation that any reader got.
    come_to: AtomicU32,
}

impl Farm {
    /// The first generation is live, the second staged, and so many readers have the plan.
    fn new<const READERS: usize>(kept: usize) -> (Arc<Farm>, Writer, [Finder<u8>; READERS]) {
        let cell = Arc::new(PlanCell::new(&plan(0)));
        let farm =
            Farm { shelf: Arc::new(Shelf::new(kept)), clock: AtomicU32::new(5), come_to: AtomicU32::new(0) };
        farm.put(1);
        farm.put(2);
        let mut writer = ManuallyDrop::new(PlanWriter::new(cell.clone()).unwrap());
        publish(&mut writer, &farm.shelf, &plan(0), |_| false);
        let finders = std::array::from_fn(|_| Finder::new(cell.clone(), farm.shelf.clone()));
        (Arc::new(farm), writer, finders)
    }

    /// Time goes on, for whoever is the first to say so.
    fn pass(&self, switch: usize) {
        self.clock.fetch_max(SWITCHES[switch] + 2, Ordering::AcqRel);
    }

    fn now(&self) -> LocalTime {
        at(self.clock.load(Ordering::Relaxed))
    }

    fn put(&self, number: u8) {
        self.shelf.put(generation(number).digest, Arc::new(number));
    }

    fn holds(&self) -> [bool; 3] {
        [1, 2, 3].map(|number| self.shelf.get(generation(number).digest).is_some())
    }

    /// What the agent does while its readers read: twice a T passes, it publishes the plan that
    /// follows, and before that puts on the shelf what the plan names and isn't there yet.
    fn two_switches(&self, mut writer: Writer) {
        let late = cfg!(downbeat_bug = "put_late");
        for over in 1..=2 {
            self.pass(over - 1);
            let next = (over == 1).then_some(3);
            next.filter(|_| !late).into_iter().for_each(|number| self.put(number));
            // Seeded: a host that says of everything that it is still needed.
            let needed = |_| cfg!(downbeat_bug = "all_needed");
            publish(&mut writer, &self.shelf, &plan(over), needed);
            next.filter(|_| late).into_iter().for_each(|number| self.put(number));
        }
        drop(ManuallyDrop::into_inner(writer));
    }
}

/// A read: the generation that readers had come to before it, what it got, how often it looked.
struct Saw {
    before: u32,
    serving: Serving,
    at: LocalTime,
    content: Option<u8>,
    looks: u32,
}

fn read(farm: &Farm, finder: &mut Finder<u8>, before: u32) -> Saw {
    let mut looks = 0;
    let found = finder.read(|| {
        looks += 1;
        farm.now()
    });
    let content = found.content.map(|content| *content);
    Saw { before, serving: found.serving, at: found.at, content, looks }
}

/// One read, in strict: whole (S5, S6), live (S7), not behind another reader (S9), and with at most
/// one more look for each publish.
fn judge(saw: &Saw) {
    let Saw { before, serving, at, content, looks } = saw;
    if *serving == Serving::Fenced {
        // Normal for a reader that is two switches behind: its plan ends where the third generation
        // begins.
        return assert!(at >= &self::at(SWITCHES[1]), "fenced at {at:?}");
    }
    let generation = serving.current().unwrap_or_else(|| panic!("a read got {serving:?} at {at:?}"));
    assert_eq!(content.map(u64::from), Some(generation.epoch), "S5: another generation's content");
    assert_eq!(generation.epoch, live(*at), "S7: {serving:?} at {at:?}");
    assert!(generation.epoch >= u64::from(*before), "S9: {serving:?} at {at:?}, after {before}");
    assert!(*looks <= 3, "{looks} looks beside two publishes: a plan in force names what isn't there");
}

fn model(preemptions: usize, claim: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 10_000;
    builder.check(claim);
}

/// Only what is being served is kept: each switch takes away what was served before it. The second
/// reader may hear from the first. At most two preemptions.
#[test]
fn readers_get_what_their_plan_names_through_two_switches() {
    model(2, || {
        let (farm, writer, finders) = Farm::new::<2>(1);
        let mut is_first = true;
        let readers = finders.map(|mut finder| {
            let (farm, speaks) = (farm.clone(), std::mem::take(&mut is_first));
            thread::spawn(move || {
                let before = if speaks {
                    // The agent may be late, and its plan is not.
                    farm.pass(1);
                    0
                } else {
                    farm.come_to.load(Ordering::Acquire)
                };
                let saw = read(&farm, &mut finder, before);
                if speaks {
                    let got = saw.serving.generation().map_or(0, |generation| generation.epoch as u32);
                    farm.come_to.store(got, Ordering::Release);
                }
                saw
            })
        });
        farm.two_switches(writer);
        readers.map(|reader| reader.join().unwrap()).iter().for_each(judge);
    });
}

/// What was replaced is gone from the shelf once both switches are over, whatever a reader beside them
/// holds. At most two preemptions.
#[test]
fn what_two_switches_replace_is_taken_away() {
    model(2, || {
        let (farm, writer, [mut finder]) = Farm::new::<1>(1);
        let reader = {
            let farm = farm.clone();
            thread::spawn(move || read(&farm, &mut finder, 0))
        };
        farm.two_switches(writer);
        judge(&reader.join().unwrap());
        assert_eq!(farm.holds(), [false, false, true]);
    });
}

/// Two generations are kept: what a read got can be pinned until two newer ones are served, so a
/// sweep that is too early shows only at the second switch. At most three preemptions.
#[test]
fn a_pin_holds_until_two_newer_generations_are_served() {
    model(3, || {
        let (farm, writer, [mut finder]) = Farm::new::<1>(2);
        let reader = {
            let farm = farm.clone();
            thread::spawn(move || {
                let saw = read(&farm, &mut finder, 0);
                let first = saw.serving.generation();
                let serving = finder.look(|| farm.now());
                let pinned = first.and_then(|first| finder.pinned(first, serving)).map(|content| *content);
                (saw, pinned, finder.plan().active.unwrap().epoch)
            })
        };
        farm.two_switches(writer);
        let (saw, pinned, newest) = reader.join().unwrap();
        judge(&saw);
        let Some(Generation { epoch: first, .. }) = saw.serving.generation() else { return };
        match pinned {
            Some(content) => assert_eq!(u64::from(content), first, "S5: another generation was pinned"),
            None => assert!(newest >= first + 2, "{first} is gone while {newest} is served"),
        }
    });
}
