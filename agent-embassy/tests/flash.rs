//! The last good generation and the counter of lives in a flash whose power is cut at every write of a
//! word and at every erasure: what was stored before is still there, or what was being stored is.

mod common;

use common::nor::{Nor, SECTOR};
use downbeat_core::ids::{Digest, Generation, Name};
use downbeat_embassy::flash::{Flash, FlashError, Step, Storage, Stored, next_incarnation};

const LEN: usize = 700;
/// A slot: 96 bytes and the longest content, in whole sectors.
const SLOT: usize = 4;

fn farm() -> Name {
    Name::new("farm").unwrap()
}

/// Content `number`, and what is known of it; the digest stands for the content.
fn content(number: u8) -> (Stored, Vec<u8>) {
    let len = LEN - usize::from(number) * 7;
    let digest = Digest([number; 32]);
    let generation = Generation { epoch: u64::from(number), digest };
    (Stored { generation, name: Digest([number ^ 0x80; 32]), len }, vec![number; len])
}

/// As at every start: what is there is looked at first.
fn open(nor: &Nor, slots: usize) -> Flash<Nor> {
    let mut flash = Flash::new(nor.clone(), 0..(slots * SLOT * SECTOR) as u32, slots as u32).unwrap();
    load(&mut flash);
    flash
}

/// What a restarted device finds.
fn load(flash: &mut Flash<Nor>) -> Option<u8> {
    let mut buffer = [0; 1_000];
    let proves = |stored: &Stored, bytes: &[u8]| {
        let number = stored.generation.digest.0[0];
        let (expected, content) = content(number);
        (stored, bytes) == (&expected, &content[..])
    };
    let stored = flash.load(&farm(), &mut buffer, &proves)?;
    let number = stored.generation.digest.0[0];
    assert_eq!(buffer[..stored.len], content(number).1);
    Some(number)
}

/// Works until nothing is to be done or the flash refuses.
fn work(flash: &mut Flash<Nor>, content: &[u8]) -> Option<Step> {
    let mut last = None;
    while let Some(want) = flash.wants() {
        last = Some(flash.step(&content[want.from..want.from + want.len]));
        if last == Some(Step::Failed) {
            break;
        }
    }
    last
}

/// Content is held, then served as current.
fn store(flash: &mut Flash<Nor>, number: u8) -> Option<Step> {
    let (stored, bytes) = content(number);
    flash.prepare(stored);
    let prepared = work(flash, &bytes);
    flash.note(stored.generation);
    work(flash, &bytes).or(prepared)
}

#[test]
fn what_was_served_is_there_after_a_restart_and_nothing_else() {
    let nor = Nor::new(2 * SLOT);
    assert_eq!(load(&mut open(&nor, 2)), None);
    for number in 1..9 {
        let mut flash = open(&nor, 2);
        load(&mut flash);
        flash.prepare(content(number).0);
        work(&mut flash, &content(number).1);
        let before = (number > 1).then_some(number - 1);
        assert_eq!(load(&mut open(&nor, 2)), before, "verified is not served");
        assert_eq!(store(&mut flash, number), Some(Step::Stored));
        assert_eq!(load(&mut open(&nor, 2)), Some(number));
    }
    let mut other = open(&nor, 2);
    let of_another = other.load(&Name::new("other").unwrap(), &mut [0; 1_000], &|_, _| true);
    assert_eq!(of_another, None, "of another farm");
}

#[test]
fn content_that_is_stored_is_not_written_again() {
    let nor = Nor::new(2 * SLOT);
    let mut flash = open(&nor, 2);
    store(&mut flash, 1);
    let done = nor.done();
    let (stored, _) = content(1);
    flash.prepare(stored);
    flash.note(Generation { epoch: 9, ..stored.generation });
    assert_eq!((flash.wants(), nor.done()), (None, done));
}

#[test]
fn a_cut_at_any_write_or_erasure_leaves_a_good_one() {
    for slots in [2, 3] {
        // The flash as it is after some cycles, so that slots hold older content.
        let before = Nor::new(slots * SLOT);
        let mut flash = open(&before, slots);
        for number in 1..=4 {
            store(&mut flash, number);
        }
        let begun = before.done();
        let whole = before.copy();
        let mut flash = open(&whole, slots);
        load(&mut flash);
        assert_eq!(store(&mut flash, 5), Some(Step::Stored));
        let operations = whole.done();
        assert!(begun > 0 && operations > LEN / common::nor::WORD, "{operations}");

        let mut found = [0, 0];
        for operation in 0..operations {
            let nor = before.copy();
            let mut flash = open(&nor, slots);
            assert_eq!(load(&mut flash), Some(4));
            nor.cut_after(operation);
            assert_eq!(store(&mut flash, 5), Some(Step::Failed), "cut at operation {operation}");
            assert!(nor.is_off());
            nor.power_on();
            let mut flash = open(&nor, slots);
            let stored = load(&mut flash);
            assert!(matches!(stored, Some(4 | 5)), "cut at operation {operation}: {stored:?}");
            found[usize::from(stored == Some(5))] += 1;
            // And it goes on from there: nothing is written onto what isn't erased.
            assert_eq!(store(&mut flash, 6), Some(Step::Stored), "after a cut at operation {operation}");
            assert_eq!(load(&mut open(&nor, slots)), Some(6));
        }
        assert_eq!(found[0] + found[1], operations);
        assert!(found[0] > operations / 2, "{found:?}");
    }
}

#[test]
fn two_cuts_one_after_the_other_leave_a_good_one() {
    let before = Nor::new(2 * SLOT);
    let mut flash = open(&before, 2);
    for number in 1..=2 {
        store(&mut flash, number);
    }
    for first in (0..90).step_by(3) {
        for second in (0..90).step_by(7) {
            let nor = before.copy();
            for (number, operation) in [(3, first), (4, second)] {
                let mut flash = open(&nor, 2);
                assert!(load(&mut flash).is_some());
                nor.cut_after(operation);
                store(&mut flash, number);
                nor.power_on();
            }
            let stored = load(&mut open(&nor, 2));
            assert!(matches!(stored, Some(2..=4)), "cuts at {first} and {second}: {stored:?}");
        }
    }
}

#[test]
fn what_has_aged_is_not_taken_and_the_one_before_it_is() {
    let nor = Nor::new(2 * SLOT);
    let mut flash = open(&nor, 2);
    store(&mut flash, 1);
    store(&mut flash, 2);
    for at in (SLOT * SECTOR)..(SLOT * SECTOR + 96 + content(2).0.len) {
        let aged = nor.copy();
        aged.flip(at, 0x10);
        assert_eq!(load(&mut open(&aged, 2)), Some(1), "byte {at}");
    }
}

#[test]
fn the_last_good_one_is_written_before_the_next() {
    let nor = Nor::new(2 * SLOT);
    let mut flash = open(&nor, 2);
    // A joining device: what is live is served at once, and the next one arrives while it is written.
    let ((first, bytes), (second, next)) = (content(1), content(2));
    flash.prepare(first);
    flash.note(first.generation);
    assert_eq!(flash.step(&[]), Step::Going);
    flash.prepare(second);
    while flash.wants().is_some_and(|want| want.digest == first.generation.digest) {
        let want = flash.wants().unwrap();
        flash.step(&bytes[want.from..want.from + want.len]);
    }
    assert_eq!(load(&mut open(&nor, 2)), Some(1));
    work(&mut flash, &next);
    assert_eq!(load(&mut open(&nor, 2)), Some(1), "not served yet");
    flash.note(second.generation);
    assert_eq!(work(&mut flash, &next), Some(Step::Stored));
    assert_eq!(load(&mut open(&nor, 2)), Some(2));
}

#[test]
fn content_that_is_gone_or_too_long_is_left_out() {
    let nor = Nor::new(2 * SLOT);
    let mut flash = open(&nor, 2);
    store(&mut flash, 1);
    let (stored, _) = content(2);
    flash.prepare(stored);
    flash.step(&[]);
    flash.forget(stored.generation.digest);
    assert_eq!(flash.wants(), None);
    flash.prepare(Stored { len: SLOT * SECTOR - 95, ..stored });
    flash.note(stored.generation);
    assert_eq!(flash.step(&[]), Step::Failed);
    assert_eq!((flash.wants(), load(&mut open(&nor, 2))), (None, Some(1)));
}

#[test]
fn only_whole_sectors_are_a_region() {
    let nor = Nor::new(8);
    let sector = SECTOR as u32;
    for (region, slots) in [(0..sector, 2), (8..8 + 2 * sector, 2), (0..9 * sector, 2), (0..8 * sector, 1)] {
        let refused = Flash::new(nor.clone(), region.clone(), slots).err();
        assert_eq!(refused, Some(FlashError::Region), "{region:?}");
    }
    assert_eq!(next_incarnation(&mut nor.clone(), 0..sector), Err(FlashError::Region));
}

#[test]
fn no_life_has_a_number_twice_wherever_the_power_is_cut() {
    let region = SECTOR as u32..4 * SECTOR as u32;
    let nor = Nor::new(4);
    let mut last = 0;
    let (mut cuts, mut given) = (0, 0);
    // Operations of one number: up to an erasure and four words.
    for turn in 0..400 {
        nor.cut_after(turn % 7);
        match next_incarnation(&mut nor.clone(), region.clone()) {
            Ok(number) => {
                assert!(number > last, "{number} after {last}");
                (last, given) = (number, given + 1);
            }
            Err(error) => {
                assert_eq!(error, FlashError::Driver(common::nor::Off));
                cuts += 1;
            }
        }
        nor.power_on();
    }
    assert!(cuts > 50 && given > 50, "{cuts} cuts, {given} numbers");
    assert!(nor.erased() > 5, "went round all sectors: {}", nor.erased());
    assert!(nor.erased() < 400 / 4, "most numbers need no erasure: {}", nor.erased());
}
