//! Random numbers from a seed, so that a run that failed can be made again.

/// A small generator (SplitMix64): the same seed gives the same numbers everywhere.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The numbers that follow from a seed.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The next number.
    pub fn next_number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is at least 1.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next_number() % end.max(1)
    }
}

/// The seed of a test: `DOWNBEAT_SEED` where it is set, else `fixed`. Printed, since a failure needs it.
///
/// # Panics
/// `DOWNBEAT_SEED` is no number.
pub fn seed(test: &str, fixed: u64) -> u64 {
    let seed = match std::env::var("DOWNBEAT_SEED") {
        Ok(text) => text.parse().expect("DOWNBEAT_SEED is a number"),
        Err(_) => fixed,
    };
    eprintln!("{test}: seed {seed} (DOWNBEAT_SEED={seed} repeats it)");
    seed
}

/// How much longer than usual the tests run: `DOWNBEAT_LONGER`, at least 1.
///
/// # Panics
/// `DOWNBEAT_LONGER` is no number.
pub fn longer() -> u64 {
    std::env::var("DOWNBEAT_LONGER").map_or(1, |text| text.parse::<u64>().expect("a number").max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_and_another_differs() {
        let numbers = |seed| {
            let mut random = Random::new(seed);
            [0; 8].map(|_: u64| random.below(1_000_000))
        };
        assert_eq!(numbers(7), numbers(7));
        assert_ne!(numbers(7), numbers(8));
    }
}
