//! The boundary in a board's reads against true time: between a look of the board's own reader that didn't
//! get the next generation and the next one, which did, beside T by the server's own trace.
//!
//! Where on the host's clock those two looks were the requests of the console tell: a request's look at the
//! board's clock lies within its bracket by the host's, and all looks are of one clock, whose rate is known,
//! so that each bracket narrows what is near it.

use super::console::Answer;
use super::observer::{Look, named};
use crate::history::{History, Mode};

/// A look whose place on the host's clock isn't known to within so much doesn't count, in nanoseconds.
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
    /// How the board treats what it can't prove.
    pub mode: Mode,
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
    /// What is promised, from T on (S7, S8): no later than 2ε after it; prompt no earlier than ε before it,
    /// strict no earlier than T. To that comes what a copy was late and took.
    fn promised(&self) -> (i64, i64) {
        let copy = self.copied.map_or(0, |(late, took)| late + took);
        (if self.mode == Mode::Prompt { -self.epsilon } else { 0 }, 2 * self.epsilon + copy)
    }

    /// Whether it can have been as near to T as a prompt agent comes that has decided by the middle of what
    /// it knew: ε to either side, and after T what a copy was late and took.
    pub fn may_be_by_the_middle(&self) -> bool {
        let copy = self.copied.map_or(0, |(late, took)| late + took);
        self.latest >= -self.epsilon && self.earliest <= self.epsilon + copy
    }

    /// Whether it can have been within what is promised.
    pub fn may_be_within(&self) -> bool {
        let (from, to) = self.promised();
        self.latest >= from && self.earliest <= to
    }

    /// Whether it was, wherever between its two ends.
    pub fn is_within(&self) -> bool {
        let (from, to) = self.promised();
        self.earliest >= from && self.latest <= to
    }
}

/// The boundaries of a life of which both looks have a narrow place. `rate` is by how many parts per million
/// the board's clock is fast.
pub fn boundaries(
    looks: &[Look],
    said: &[String],
    mode: Mode,
    rate: i32,
    history: &History,
) -> Vec<Boundary> {
    let reads: Vec<_> = looks.iter().filter_map(Read::of).collect();
    let place = |looked: i64| {
        let (earliest, latest) = Read { looked, bracket: (i64::MIN, i64::MAX) }.on_host(&reads, rate);
        (latest.checked_sub(earliest)? <= WIDEST).then_some((earliest, latest))
    };
    let found = said.iter().filter_map(|said| {
        let (epoch, told) = said.strip_prefix("switched ")?.split_once(' ')?;
        let epoch = epoch.parse().ok()?;
        let (activation, _) = history.activations(epoch)?;
        Some(Boundary {
            epoch,
            mode,
            earliest: place(named(told, "before")?)?.0 - activation,
            latest: place(named(told, "over")?)?.1 - activation,
            epsilon: named(told, "epsilon")?,
            copied: named(told, "late").zip(named(told, "copied")),
        })
    });
    found.collect()
}

/// A look at the board's clock, and where on the host's it was.
struct Read {
    looked: i64,
    bracket: (i64, i64),
}

impl Read {
    fn of(look: &Look) -> Option<Read> {
        let Answer::Served { looked, .. } = look.answer else { return None };
        Some(Read { looked, bracket: look.bracket })
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

    /// The board's clock is 5 s ahead and 200 ppm fast.
    fn on_board(at: i64) -> i64 {
        at + at / 5_000 + 5_000 * MILLI
    }

    /// A board's reads each millisecond around T; each bracket has another width and the look is somewhere
    /// in it.
    fn looks() -> Vec<Look> {
        let instants = (-100..100).map(|step| T + step * MILLI + 123);
        let look = |at: i64| {
            let (looked, part) = (on_board(at), at / MILLI % 7);
            let bracket = (at - 100_000 * (part + 1), at + 100_000 * (8 - part));
            let answer =
                Answer::Served { epoch: 1, stale: false, looked, value: "1".into(), generation: None };
            Look { bracket, answer }
        };
        instants.map(look).collect()
    }

    /// The reader on the board goes over `late` after T.
    fn found(late: i64, epsilon: i64, mode: Mode) -> Boundary {
        let live = GoesLive { timeline: "1".into(), epoch: 2, digest: "aa".into(), host: T };
        let history = History { live: vec![live], ..History::default() };
        let [before, over] = [-50_000, 50_000].map(|step| on_board(T + late + step));
        let told = format!("epsilon={epsilon} held=0 late=- copied=- before={before} over={over}");
        let found = boundaries(&looks(), &[format!("switched 2 at=0 {told}")], mode, 200, &history);
        assert_eq!(found.len(), 1);
        found[0]
    }

    #[test]
    fn the_boundary_is_where_it_was_made() {
        for late in [-30 * MILLI, 0, 4 * MILLI] {
            let found = found(late, MILLI, Mode::Prompt);
            assert!(found.earliest <= late && late <= found.latest, "{late}: {found:?}");
            // The gap between the two looks, and the narrowest brackets before and after them.
            assert!(found.latest - found.earliest < 2 * MILLI, "{late}: {found:?}");
        }
    }

    #[test]
    fn what_is_beyond_its_bound_is_found() {
        let within = |late, mode| {
            let found = found(late, 2 * MILLI, mode);
            (found.may_be_within(), found.is_within())
        };
        assert_eq!(within(0, Mode::Prompt), (true, true));
        assert_eq!(within(4 * MILLI, Mode::Prompt), (true, false), "its place isn't known so well");
        assert_eq!([-4, 6].map(|late| within(late * MILLI, Mode::Prompt)), [(false, false); 2]);
        let by_the_middle = |late| found(late, 2 * MILLI, Mode::Prompt).may_be_by_the_middle();
        assert_eq!([-4 * MILLI, 0, 4 * MILLI].map(by_the_middle), [false, true, false]);
        assert_eq!(within(2 * MILLI, Mode::Strict), (true, true));
        assert_eq!([-2, 6].map(|late| within(late * MILLI, Mode::Strict)), [(false, false); 2]);
        let copying =
            Boundary { copied: Some((MILLI, 3 * MILLI)), ..found(6 * MILLI, 2 * MILLI, Mode::Prompt) };
        assert!(copying.is_within());
    }

    #[test]
    fn a_look_without_a_narrow_place_doesn_t_count() {
        let live = GoesLive { timeline: "1".into(), epoch: 2, digest: "aa".into(), host: T };
        let history = History { live: vec![live], ..History::default() };
        let far = on_board(T + 2_000 * MILLI);
        let told = format!("switched 2 at=0 epsilon=1 held=0 late=- copied=- before={far} over={far}");
        assert_eq!(boundaries(&looks(), &[told], Mode::Prompt, 200, &history), []);
        let told = "switched 2 at=0 epsilon=1 held=0 late=- copied=- before=- over=-".to_owned();
        assert_eq!(boundaries(&looks(), &[told], Mode::Prompt, 200, &history), []);
    }
}
