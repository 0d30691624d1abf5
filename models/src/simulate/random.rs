//! Where the choices of a random run come from: numbers that a seed determines (SplitMix64), or numbers that
//! somebody else drew, such as a property test that makes a failing list of them shorter.

use std::vec::IntoIter;

/// A source of choices.
pub(super) enum Random {
    /// Any number of them, by a seed.
    Seed(u64),
    /// These, and then noughts.
    Given(IntoIter<u64>),
}

impl Random {
    fn next(&mut self) -> u64 {
        match self {
            Random::Seed(state) => {
                *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                mixed ^ (mixed >> 31)
            }
            Random::Given(numbers) => numbers.next().unwrap_or(0),
        }
    }

    /// Whether no more choices are left.
    pub(super) fn is_over(&self) -> bool {
        matches!(self, Random::Given(numbers) if numbers.len() == 0)
    }

    /// One of 0 to `bound` − 1.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    /// One of `least` to `most`.
    pub(super) fn between(&mut self, least: i64, most: i64) -> i64 {
        least + (self.next() as i128 % (most as i128 - least as i128 + 1)) as i64
    }

    /// One of 1 to `most`, of any order of magnitude alike.
    pub(super) fn magnitude(&mut self, most: i64) -> i64 {
        let bits = self.below(most.max(1).ilog2() as usize + 1);
        self.between(1 << bits, 2 << bits).clamp(1, most.max(1))
    }

    /// One of these.
    pub(super) fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}
