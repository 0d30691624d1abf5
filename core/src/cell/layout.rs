//! A [`SwitchPlan`] as 32-bit words, in the cell and later in a control page (FORMATS "control
//! page"): 64-bit values low word first, digests as little-endian words, absent generations zero.

use crate::ids::{BootId, Digest, Generation};
use crate::serving::{Activation, Mode, SwitchPlan};
use crate::time::LocalTime;

/// Words of a plan.
pub const PLAN_WORDS: usize = 31;

const STRICT: u32 = 1;
const COPY: u32 = 1 << 1;
const ACTIVE: u32 = 1 << 2;
const STAGED: u32 = 1 << 3;
const STALE: u32 = 1 << 4;
const FLAGS: u32 = STRICT | COPY | ACTIVE | STAGED | STALE;

impl SwitchPlan {
    /// The plan as words.
    pub fn to_words(&self) -> [u32; PLAN_WORDS] {
        // All fields by name: one that is added must be put here, too.
        let SwitchPlan {
            serial,
            boot,
            mode,
            activation,
            active,
            stale,
            active_until,
            staged,
            staged_from,
            staged_until,
        } = *self;
        let flag = |set: bool, bit: u32| if set { bit } else { 0 };
        let flags = flag(mode == Mode::Strict, STRICT)
            | flag(activation == Activation::Copy, COPY)
            | flag(active.is_some(), ACTIVE)
            | flag(staged.is_some(), STAGED)
            | flag(stale, STALE);

        let words = [flags]
            .into_iter()
            .chain(of_long(serial))
            .chain(of_long(boot.0))
            .chain(of_generation(active))
            .chain(of_instant(active_until))
            .chain(of_generation(staged))
            .chain(of_instant(staged_from))
            .chain(of_instant(staged_until));
        let mut plan = [0; PLAN_WORDS];
        plan.iter_mut().zip(words).for_each(|(place, word)| *place = word);
        plan
    }

    /// The plan that the words are, or `None` where they are no plan of this layout.
    pub fn from_words(words: &[u32; PLAN_WORDS]) -> Option<SwitchPlan> {
        let mut words = words.iter().copied();
        let flags = words.next().filter(|flags| flags & !FLAGS == 0)?;
        let is = |bit: u32| flags & bit != 0;
        Some(SwitchPlan {
            serial: long(&mut words)?,
            boot: BootId(long(&mut words)?),
            mode: if is(STRICT) { Mode::Strict } else { Mode::Prompt },
            activation: if is(COPY) { Activation::Copy } else { Activation::Switch },
            stale: is(STALE),
            active: generation(&mut words, is(ACTIVE))?,
            active_until: instant(&mut words)?,
            staged: generation(&mut words, is(STAGED))?,
            staged_from: instant(&mut words)?,
            staged_until: instant(&mut words)?,
        })
    }
}

fn of_long(long: u64) -> [u32; 2] {
    [long as u32, (long >> 32) as u32]
}

fn of_instant(instant: LocalTime) -> [u32; 2] {
    of_long(instant.as_nanos() as u64)
}

fn of_generation(generation: Option<Generation>) -> impl Iterator<Item = u32> {
    let Generation { epoch, digest } = generation.unwrap_or_default();
    let (words, _) = digest.0.as_chunks::<4>();
    let mut digest = [0; 8];
    digest.iter_mut().zip(words).for_each(|(place, bytes)| *place = u32::from_le_bytes(*bytes));
    of_long(epoch).into_iter().chain(digest)
}

fn long(words: &mut impl Iterator<Item = u32>) -> Option<u64> {
    let low = words.next()?;
    let high = words.next()?;
    Some(u64::from(low) | u64::from(high) << 32)
}

fn instant(words: &mut impl Iterator<Item = u32>) -> Option<LocalTime> {
    Some(LocalTime::from_nanos(long(words)? as i64))
}

/// A generation where there is one; where there is none its words must be zero. The outer `None`
/// is for words that are neither.
fn generation(words: &mut impl Iterator<Item = u32>, present: bool) -> Option<Option<Generation>> {
    let epoch = long(words)?;
    let mut digest = Digest::default();
    for bytes in digest.0.as_chunks_mut::<4>().0 {
        *bytes = words.next()?.to_le_bytes();
    }
    let generation = Generation { epoch, digest };
    match present {
        true => Some(Some(generation)),
        false if generation == Generation::default() => Some(None),
        false => None,
    }
}
