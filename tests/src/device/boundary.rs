//! The boundary in a board's reads against true time: between its last read of one generation and its
//! first of the next, seen from outside, beside T by the server's own trace.
//!
//! A read's look at the board's clock lies within its bracket; and all looks are of one clock, whose
//! rate is known, so that each bracket narrows those near it.

use super::console::Answer;
use super::observer::{Look, named};
use crate::history::History;

/// A bracket that is wider once it is narrowed doesn't count, in nanoseconds.
pub const WIDEST: i64 = 2_000_000;
/// How far on the board's clock a bracket narrows others, in nanoseconds.
const NEAR: i64 = 250_000_000;
/// What the two clocks' rates may differ by besides what the board was told to: QEMU goes by a clock that
/// its host may slew. One part in so many (500 ppm).
const SLEW_PART: i64 = 2_000;

/// A boundary, in nanoseconds from T.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Boundary {
    /// The generation that went live.
    pub epoch: u64,
    /// The earliest instant at which it can have been.
    pub earliest: i64,
    /// The latest one.
    pub latest: i64,
    /// The board's own ε at this switch.
    pub epsilon: i64,
    /// How late a copy was begun and how long it took, where there was one.
    pub copied: Option<(i64, i64)>,
}

impl Boundary {
    /// Whether it can have been within what is promised: ε to either side, and after T what the copy was late and took.
    pub fn may_be_within(&self) -> bool {
        self.latest >= -self.epsilon
            && self.earliest <= self.epsilon + self.copied.map_or(0, |(late, took)| late + took)
    }
}

/// The boundaries of a life whose brackets come to be narrow enough. `rate` is by how many parts per million
/// the board's clock is fast.
pub fn boundaries(looks: &[Look], said: &[String], rate: i32, history: &History) -> Vec<Boundary> {
    let reads: Vec<_> = looks.iter().filter_map(Read::of).collect();
    let narrowed = reads.iter().map(|read| (read.epoch, read.on_host(&reads, rate)));
    let counted: Vec<_> = narrowed.filter(|(_, (earliest, latest))| latest - earliest <= WIDEST).collect();
    let pairs = counted.windows(2).filter(|pair| pair[0].0 + 1 == pair[1].0);
    let found = pairs.filter_map(|pair| {
        let (epoch, (_, latest)) = pair[1];
        let (activation, _) = history.activations(epoch)?;
        let told = said.iter().find_map(|said| said.strip_prefix(&format!("switched {epoch} ")))?;
        Some(Boundary {
            epoch,
            earliest: pair[0].1.0 - activation,
            latest: latest - activation,
            epsilon: named(told, "epsilon")?,
            copied: named(told, "late").zip(named(told, "copied")),
        })
    });
    found.collect()
}

/// A read that was served something current.
struct Read {
    epoch: u64,
    looked: i64,
    bracket: (i64, i64),
}

impl Read {
    fn of(look: &Look) -> Option<Read> {
        let Answer::Served { epoch, looked, stale: false, .. } = look.answer else { return None };
        Some(Read { epoch, looked, bracket: look.bracket })
    }

    /// When on the host's clock its look was: no earlier and no later than.
    fn on_host(&self, all: &[Read], rate: i32) -> (i64, i64) {
        // They are in the order of the board's clock.
        let from = all.partition_point(|other| other.looked < self.looked - NEAR);
        let near = all[from..].iter().take_while(|other| other.looked <= self.looked + NEAR);
        near.fold(self.bracket, |(earliest, latest), other| {
            let local = self.looked - other.looked;
            let between = local - local * i64::from(rate) / (1_000_000 + i64::from(rate));
            // A look is shown a tick of a microsecond late at most, either of them.
            let slack = between.abs() / SLEW_PART + 1_000;
            let (before, after) = other.bracket;
            (earliest.max(before + between - slack), latest.min(after + between + slack))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::GoesLive;

    const MILLI: i64 = 1_000_000;
    /// T of epoch 2.
    const T: i64 = 1_000 * MILLI;

    /// A board's reads each millisecond around T, with a clock that is 5 s ahead and 200 ppm fast. It goes
    /// over `late` after T; each bracket has another width and the look is somewhere in it.
    fn looks(late: i64) -> Vec<Look> {
        let instants = (-100..100).map(|step| T + step * MILLI + 123);
        let look = |at: i64| {
            let (epoch, part) = (if at < T + late { 1 } else { 2 }, at / MILLI % 7);
            let looked = at + at / 5_000 + 5_000 * MILLI;
            let bracket = (at - 100_000 * (part + 1), at + 100_000 * (8 - part));
            let answer = Answer::Served { epoch, stale: false, looked, value: "1".into(), generation: None };
            Look { bracket, answer }
        };
        instants.map(look).collect()
    }

    fn found(late: i64, epsilon: i64) -> Boundary {
        let live = GoesLive { timeline: "1".into(), epoch: 2, digest: "aa".into(), host: T };
        let history = History { live: vec![live], ..History::default() };
        let said = [format!("switched 2 at=0 epsilon={epsilon} held=0 late=- copied=-")];
        let found = boundaries(&looks(late), &said, 200, &history);
        assert_eq!(found.len(), 1);
        found[0]
    }

    #[test]
    fn the_boundary_is_where_it_was_made() {
        for late in [-30 * MILLI, 0, 4 * MILLI] {
            let found = found(late, MILLI);
            assert!(found.earliest <= late && late <= found.latest, "{late}: {found:?}");
            // The gap between two reads, and the narrowest brackets at both of its ends.
            assert!(found.latest - found.earliest < 2 * MILLI, "{late}: {found:?}");
        }
    }

    #[test]
    fn what_is_beyond_epsilon_is_found() {
        assert!(found(0, MILLI).may_be_within());
        assert!(!found(-4 * MILLI, MILLI).may_be_within());
        assert!(!found(4 * MILLI, MILLI).may_be_within());
        let copying = Boundary { copied: Some((MILLI, 3 * MILLI)), ..found(4 * MILLI, MILLI) };
        assert!(copying.may_be_within());
    }
}
