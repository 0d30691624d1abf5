//! A [`SwitchPlan`] as two words, one of names and one of instants, for the checker's builds only:
//! each word multiplies the executions that loom tries. What it takes the place of is `layout`;
//! everything else of the cell is as it ships.
//!
//! Only small plans fit: numbers of generations below 256, digests that repeat the number, boots and
//! serials below 256, instants from 0 to 253 ns or without end. Any other panics.

use crate::ids::{BootId, Digest, Generation};
use crate::serving::{Activation, Mode, SwitchPlan};
use crate::time::LocalTime;

/// Words of a plan.
pub const PLAN_WORDS: usize = 2;

const NONE: u32 = 255;
const FIRST: u32 = 254;
const LAST: u32 = 255;

impl SwitchPlan {
    /// The plan as words.
    pub fn to_words(&self) -> [u32; PLAN_WORDS] {
        let flags = u32::from(self.mode == Mode::Strict)
            | u32::from(self.activation == Activation::Copy) << 1
            | u32::from(self.stale) << 2;
        let names = [small(self.serial), of_generation(self.active), of_generation(self.staged), flags];
        let boot = small(self.boot.0);
        let instants =
            [of_instant(self.active_until), of_instant(self.staged_from), of_instant(self.staged_until)];
        [names, [instants[0], instants[1], instants[2], boot]]
            .map(|bytes| bytes.iter().rev().fold(0, |word, byte| word << 8 | byte))
    }

    /// The plan that the words are.
    pub fn from_words(words: &[u32; PLAN_WORDS]) -> Option<SwitchPlan> {
        let [[serial, active, staged, flags], [until, from, staged_until, boot]] =
            words.map(|word| [0, 8, 16, 24].map(|shift| word >> shift & 0xff));
        Some(SwitchPlan {
            serial: serial.into(),
            boot: BootId(boot.into()),
            mode: if flags & 1 == 0 { Mode::Prompt } else { Mode::Strict },
            activation: if flags & 2 == 0 { Activation::Switch } else { Activation::Copy },
            stale: flags & 4 != 0,
            active: generation(active),
            staged: generation(staged),
            active_until: instant(until),
            staged_from: instant(from),
            staged_until: instant(staged_until),
        })
    }
}

fn small(number: u64) -> u32 {
    assert!(number < 256, "too large for a plan of the checker: {number}");
    number as u32
}

fn of_generation(generation: Option<Generation>) -> u32 {
    let Some(Generation { epoch, digest }) = generation else { return NONE };
    assert!(digest == Digest([epoch as u8; 32]) && epoch < NONE.into(), "not a generation of the checker");
    epoch as u32
}

fn generation(byte: u32) -> Option<Generation> {
    (byte != NONE).then(|| Generation { epoch: byte.into(), digest: Digest([byte as u8; 32]) })
}

fn of_instant(instant: LocalTime) -> u32 {
    match instant {
        LocalTime::MIN => FIRST,
        LocalTime::MAX => LAST,
        instant => {
            let nanos = instant.as_nanos();
            assert!((0..FIRST.into()).contains(&nanos), "not an instant of the checker: {nanos}");
            nanos as u32
        }
    }
}

fn instant(byte: u32) -> LocalTime {
    match byte {
        FIRST => LocalTime::MIN,
        LAST => LocalTime::MAX,
        nanos => LocalTime::from_nanos(nanos.into()),
    }
}
