//! The three kinds of time of PROTOCOL §2, which cannot be mixed by accident.
//!
//! [`ServerTime`] is an instant on the farm's timeline, [`LocalTime`] one on an agent's own
//! monotonic clock, [`Span`] the difference of two of one kind. All are nanoseconds in an `i64`.
//! Instants saturate at the ends of `i64`: a bound that can't be expressed becomes the widest one.
//! Rates and the two roundings of a span by a rate live here too; the enclosure that uses them
//! is in `clock`, and nothing here ever asks a clock.
//!
//! The kinds don't mix:
//! ```compile_fail
//! use downbeat_core::time::{LocalTime, ServerTime};
//! let _ = ServerTime::from_nanos(1) < LocalTime::from_nanos(2);
//! ```
//! ```compile_fail
//! use downbeat_core::time::{LocalTime, ServerTime};
//! let _ = ServerTime::from_nanos(2) - LocalTime::from_nanos(1);
//! ```

use core::ops::{Add, Sub};
use serde::{Deserialize, Serialize};

/// A difference of two instants of one kind, in nanoseconds; may be negative.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Span(i64);

/// An instant on the farm's timeline: nanoseconds, starts as Unix time without leap seconds
/// (PROTOCOL §2, §8). Instants of two timelines are of one type but never comparable: whoever
/// keeps one keeps the timeline's id beside it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct ServerTime(i64);

/// An instant on one agent's own monotonic clock: nanoseconds since a zero of its own, running on
/// while the host is suspended (PROTOCOL §2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct LocalTime(i64);

impl Span {
    /// No time at all.
    pub const ZERO: Span = Span(0);
    /// The longest span: about 292 years.
    pub const MAX: Span = Span(i64::MAX);
    /// The longest span backwards.
    pub const MIN: Span = Span(i64::MIN);

    /// A span of so many nanoseconds.
    pub const fn from_nanos(nanos: i64) -> Span {
        Span(nanos)
    }
    /// A span of so many microseconds, saturating.
    pub const fn from_micros(micros: i64) -> Span {
        Span(micros.saturating_mul(1_000))
    }
    /// A span of so many milliseconds, saturating.
    pub const fn from_millis(millis: i64) -> Span {
        Span(millis.saturating_mul(1_000_000))
    }
    /// A span of so many seconds, saturating.
    pub const fn from_secs(secs: i64) -> Span {
        Span(secs.saturating_mul(1_000_000_000))
    }
    /// The span in nanoseconds.
    pub const fn as_nanos(self) -> i64 {
        self.0
    }
    /// This span `factor` times, saturating.
    pub const fn times(self, factor: i64) -> Span {
        Span(self.0.saturating_mul(factor))
    }
    /// An equal part of this span, rounded toward zero. `parts` is at least 1.
    pub const fn part(self, parts: i64) -> Span {
        Span(self.0 / if parts < 1 { 1 } else { parts })
    }
    /// This span, or zero where it is negative.
    pub const fn or_zero(self) -> Span {
        if self.0 < 0 { Span(0) } else { self }
    }
}

impl Add for Span {
    type Output = Span;
    fn add(self, other: Span) -> Span {
        Span(self.0.saturating_add(other.0))
    }
}
impl Sub for Span {
    type Output = Span;
    fn sub(self, other: Span) -> Span {
        Span(self.0.saturating_sub(other.0))
    }
}

macro_rules! instant {
    ($kind:ident) => {
        impl $kind {
            /// Before every instant that a clock can show.
            pub const MIN: $kind = $kind(i64::MIN);
            /// After every instant that a clock can show: "never".
            pub const MAX: $kind = $kind(i64::MAX);
            /// The instant so many nanoseconds after the clock's zero.
            pub const fn from_nanos(nanos: i64) -> $kind {
                $kind(nanos)
            }
            /// Nanoseconds after the clock's zero.
            pub const fn as_nanos(self) -> i64 {
                self.0
            }
            /// Whether this instant has *passed* at `now`: now ≥ T, everywhere (PROTOCOL §2).
            pub const fn passed(self, now: $kind) -> bool {
                now.0 >= self.0
            }
        }
        impl Add<Span> for $kind {
            type Output = $kind;
            fn add(self, span: Span) -> $kind {
                $kind(self.0.saturating_add(span.0))
            }
        }
        impl Sub<Span> for $kind {
            type Output = $kind;
            fn sub(self, span: Span) -> $kind {
                $kind(self.0.saturating_sub(span.0))
            }
        }
        impl Sub<$kind> for $kind {
            type Output = Span;
            fn sub(self, earlier: $kind) -> Span {
                Span(self.0.saturating_sub(earlier.0))
            }
        }
    };
}
instant!(ServerTime);
instant!(LocalTime);

/// A clock's largest rate error, in parts per billion (250 ppm is 250,000).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Rate(u32);

const BILLION: i128 = 1_000_000_000;

impl Rate {
    /// A perfect clock.
    pub const ZERO: Rate = Rate(0);
    /// A rate error of so many parts per billion. A clock that may lose half of its time or more
    /// is no clock: anything from 500,000,000 on is taken as 499,999,999.
    pub const fn from_ppb(ppb: u32) -> Rate {
        Rate(if ppb < 500_000_000 { ppb } else { 499_999_999 })
    }
    /// A rate error of so many parts per million.
    pub const fn from_ppm(ppm: u32) -> Rate {
        Rate::from_ppb(ppm.saturating_mul(1_000))
    }
    /// Parts per billion.
    pub const fn as_ppb(self) -> u32 {
        self.0
    }
}

/// How far two clocks with rate errors can drift apart, in parts per billion of what the first one
/// shows: ρ' = (ρ + ρ_s)/(1 − ρ), rounded up (PROTOCOL §2). The plain sum is short by the product.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Drift(u64);

impl Drift {
    /// The drift of the clock `other` against the clock `own`, as read on `own`.
    pub const fn between(own: Rate, other: Rate) -> Drift {
        let sum = (own.0 as u128) + (other.0 as u128);
        let rest = 1_000_000_000u128 - own.0 as u128;
        Drift((sum * 1_000_000_000u128).div_ceil(rest) as u64)
    }
    /// The sum of the two rates, which is too small: a broken twin (PROTOCOL §11).
    pub const fn sum(own: Rate, other: Rate) -> Drift {
        Drift(own.0 as u64 + other.0 as u64)
    }
    /// Two clocks that run alike: a broken twin, or a test.
    pub const fn none() -> Drift {
        Drift(0)
    }
    /// Parts per billion.
    pub const fn as_ppb(self) -> u64 {
        self.0
    }
    const fn fast(self) -> i128 {
        BILLION + self.0 as i128
    }
    /// Never negative: time doesn't run backwards however bad a rate is.
    const fn slow(self) -> i128 {
        if self.0 as i128 >= BILLION { 0 } else { BILLION - self.0 as i128 }
    }

    /// The most that the other clock can advance while this one advances `span`, rounded up.
    /// For a negative span: the least negative change, so always an upper bound.
    pub const fn at_most(self, span: Span) -> Span {
        scale_up(span, if span.0 >= 0 { self.fast() } else { self.slow() }, BILLION)
    }
    /// The least that the other clock advances while this one advances `span`, rounded down;
    /// always a lower bound.
    pub const fn at_least(self, span: Span) -> Span {
        scale_down(span, if span.0 >= 0 { self.slow() } else { self.fast() }, BILLION)
    }
    /// The longest local span in which the other clock is sure to advance by no more than `span`
    /// (the inverse of [`Drift::at_most`]), rounded down.
    pub const fn surely_within(self, span: Span) -> Span {
        scale_down(span, BILLION, if span.0 >= 0 { self.fast() } else { self.slow() })
    }
    /// The same rounded up, which is too long: a broken twin (`Guard::RoundsOutward`).
    pub(crate) const fn rounded_inward(self, span: Span) -> Span {
        scale_up(span, BILLION, if span.0 >= 0 { self.fast() } else { self.slow() })
    }
    /// The shortest local span in which the other clock is sure to advance by at least `span`
    /// (the inverse of [`Drift::at_least`]), rounded up.
    pub const fn surely_reached(self, span: Span) -> Span {
        scale_up(span, BILLION, if span.0 >= 0 { self.slow() } else { self.fast() })
    }
}

/// `span · numerator / denominator`, rounded toward the future, saturating. The one place that
/// rounds up. A zero denominator is a clock that may stand still, and comes with no negative span:
/// whatever takes time is never sure to be reached.
const fn scale_up(span: Span, numerator: i128, denominator: i128) -> Span {
    if denominator == 0 {
        return if span.0 > 0 { Span::MAX } else { Span::ZERO };
    }
    let product = span.0 as i128 * numerator;
    let floor = product.div_euclid(denominator);
    clamp(if product.rem_euclid(denominator) == 0 { floor } else { floor + 1 })
}

/// `span · numerator / denominator`, rounded toward the past, saturating. The one place that
/// rounds down. A zero denominator comes with a negative span only: a clock that may stand still
/// shows the same for any time before.
const fn scale_down(span: Span, numerator: i128, denominator: i128) -> Span {
    if denominator == 0 {
        return Span::MIN;
    }
    clamp((span.0 as i128 * numerator).div_euclid(denominator))
}

const fn clamp(wide: i128) -> Span {
    if wide > i64::MAX as i128 {
        Span(i64::MAX)
    } else if wide < i64::MIN as i128 {
        Span(i64::MIN)
    } else {
        Span(wide as i64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passed_includes_the_instant_itself() {
        let t = ServerTime::from_nanos(5);
        assert!(!t.passed(ServerTime::from_nanos(4)));
        assert!(t.passed(ServerTime::from_nanos(5)));
    }

    #[test]
    fn drift_is_longer_than_the_sum_by_the_product() {
        let own = Rate::from_ppb(250_000);
        let other = Rate::from_ppb(100_000);
        assert_eq!(Drift::sum(own, other).as_ppb(), 350_000);
        // 350_000 / (1 - 0.00025) = 350_087.52..., rounded up.
        assert_eq!(Drift::between(own, other).as_ppb(), 350_088);
    }

    #[test]
    fn rounding_is_outward_on_both_sides_of_zero() {
        let drift = Drift(100_000_000); // 10 %
        let span = Span::from_nanos;
        assert_eq!(drift.at_most(span(15)), span(17));
        assert_eq!(drift.at_most(span(-15)), span(-13));
        assert_eq!(drift.at_least(span(15)), span(13));
        assert_eq!(drift.at_least(span(-15)), span(-17));
        assert_eq!(drift.surely_within(span(15)), span(13));
        assert_eq!(drift.surely_within(span(-15)), span(-17));
        assert_eq!(drift.surely_reached(span(15)), span(17));
        assert_eq!(drift.surely_reached(span(-15)), span(-13));
        let twin = [15, -15].map(|nanos| drift.rounded_inward(span(nanos)));
        assert_eq!(twin, [span(14), span(-16)], "the twin rounds the other way");
    }

    #[test]
    fn rounding_at_the_ends_of_i64() {
        let drift = Drift::between(Rate::from_ppb(u32::MAX), Rate::from_ppb(u32::MAX));
        for span in [Span(i64::MAX), Span(i64::MIN), Span(i64::MAX - 1), Span(i64::MIN + 1)] {
            assert!(drift.at_most(span) >= drift.at_least(span));
            assert!(drift.surely_reached(span) >= drift.surely_within(span));
        }
        assert_eq!(drift.at_most(Span::MAX), Span::MAX);
        assert_eq!(Drift::none().at_most(Span(i64::MIN)), Span(i64::MIN));
        assert_eq!(Drift::none().surely_reached(Span::MAX), Span::MAX);
        assert_eq!(ServerTime::MAX + Span::MAX, ServerTime::MAX);
        assert_eq!(ServerTime::MIN - ServerTime::MAX, Span(i64::MIN));
    }

    #[test]
    fn the_inverses_are_the_inverses() {
        let drift = Drift::between(Rate::from_ppm(250), Rate::from_ppm(100));
        for nanos in [0, 1, 7, 999, 1_000_000_007, 3_600_000_000_000] {
            let span = Span(nanos);
            assert!(drift.at_most(drift.surely_within(span)) <= span);
            assert!(drift.at_least(drift.surely_reached(span)) >= span);
            // One more nanosecond and it would no longer be sure.
            assert!(drift.at_most(drift.surely_within(span) + Span(1)) > span || nanos == 0);
        }
    }

    #[test]
    fn spans_saturate_and_are_divided_by_one_part_at_least() {
        let span = Span::from_nanos;
        assert_eq!((span(7).times(3), span(-7).times(2)), (span(21), span(-14)));
        assert_eq!((Span::MAX.times(2), Span::MAX.times(-2)), (Span::MAX, Span::MIN));
        assert_eq!((span(7).part(2), span(-7).part(2), span(7).part(1)), (span(3), span(-3), span(7)));
        assert_eq!((span(7).part(0), span(7).part(-2)), (span(7), span(7)));
        assert_eq!(
            (span(7).or_zero(), span(-7).or_zero(), Span::ZERO.or_zero()),
            (span(7), Span::ZERO, Span::ZERO)
        );
        assert_eq!((Span::from_micros(2), Span::from_millis(2)), (span(2_000), span(2_000_000)));
        assert_eq!((Span::from_secs(2), Span::from_secs(i64::MAX)), (span(2_000_000_000), Span::MAX));
    }

    #[test]
    fn a_clock_that_may_lose_half_of_its_time_is_taken_as_one_that_may_just_not() {
        assert_eq!(Rate::from_ppb(499_999_999).as_ppb(), 499_999_999);
        assert_eq!(Rate::from_ppb(500_000_000).as_ppb(), 499_999_999);
        assert_eq!(Rate::from_ppm(250).as_ppb(), 250_000);
    }

    #[test]
    fn against_a_clock_that_may_stand_still_nothing_is_sure() {
        let worst = Rate::from_ppb(u32::MAX);
        let drift = Drift::between(worst, worst);
        assert!(drift.as_ppb() > 1_000_000_000);
        let span = Span::from_nanos;
        assert_eq!(drift.at_least(span(1_000)), Span::ZERO);
        assert_eq!(drift.at_most(span(-1_000)), Span::ZERO);
        assert_eq!(drift.surely_reached(span(1)), Span::MAX);
        assert_eq!(drift.surely_reached(Span::ZERO), Span::ZERO);
        assert_eq!(drift.surely_within(span(-1)), Span::MIN);
        assert_eq!(drift.surely_within(Span::ZERO), Span::ZERO);
        assert_eq!(drift.at_least(Span::MIN), Span::MIN, "cut to what can be expressed");
    }
}
