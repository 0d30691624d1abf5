//! The agent's local clock (PROTOCOL §2): embassy-time's ticks as nanoseconds, and instants to wait
//! for as ticks. What the readings mean is decided in core.
//!
//! The clock must run on in every sleep mode that the application uses, and never be set back or
//! slewed: what it loses while it stands is lost to every bound that a plan is built on, and a strict
//! device would serve old data. Its rate error is [`Settings::config`](crate::Settings)`.rate`.

use downbeat_core::time::{LocalTime, Span};
use embassy_time::{Instant, TICK_HZ};

const NANOS: u64 = 1_000_000_000;

/// The step of the clock, rounded up: what a reading may lag behind.
pub(crate) const GRANULARITY: Span = Span::from_nanos(NANOS.div_ceil(TICK_HZ) as i64);

/// The local clock now.
pub(crate) fn now() -> LocalTime {
    local(Instant::now().as_ticks())
}

/// What the clock shows at a tick.
fn local(ticks: u64) -> LocalTime {
    let (seconds, rest) = (ticks / TICK_HZ, ticks % TICK_HZ);
    let nanos = seconds.saturating_mul(NANOS).saturating_add(rest * NANOS / TICK_HZ);
    LocalTime::from_nanos(i64::try_from(nanos).unwrap_or(i64::MAX))
}

/// The first tick at which the clock shows `at` or more.
pub(crate) fn instant(at: LocalTime) -> Instant {
    let nanos = u64::try_from(at.as_nanos()).unwrap_or(0);
    let (seconds, rest) = (nanos / NANOS, nanos % NANOS);
    Instant::from_ticks(seconds.saturating_mul(TICK_HZ).saturating_add((rest * TICK_HZ).div_ceil(NANOS)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_reached_when_its_tick_is() {
        for nanos in [0, 1, 999, 1_000, 1_001, 999_999_999, 1_000_000_000, 12_345_678_901, i64::MAX / 2] {
            let at = LocalTime::from_nanos(nanos);
            let tick = instant(at).as_ticks();
            assert!(at.passed(local(tick)), "{nanos}");
            assert!(tick == 0 || !at.passed(local(tick - 1)), "{nanos}: a tick too late");
        }
        assert_eq!(instant(LocalTime::from_nanos(-5)), Instant::from_ticks(0));
        assert_eq!(local(u64::MAX), LocalTime::MAX);
    }

    #[test]
    fn no_tick_is_longer_than_the_granularity() {
        for ticks in [0, 1, 2, TICK_HZ - 1, TICK_HZ, 7 * TICK_HZ + 5] {
            let step = local(ticks + 1) - local(ticks);
            assert!(step > Span::ZERO && step <= GRANULARITY, "{ticks}: {step:?}");
        }
    }
}
