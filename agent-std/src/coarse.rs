//! The cheap look at an agent's local clock (PROTOCOL §6): a bound from above of what it shows, for
//! prompt readers while T is far. What such a bound decides is in core's `cell`.
//!
//! The system's coarse clock is a word that the kernel writes once in a tick, and again when it goes to
//! sleep. So the first look in each tick is a precise one, and until the word changes the local time is
//! taken to be at most [`STALL`] after that. Strict readers never go by it.

use crate::clock::Clock;
use downbeat_core::time::{LocalTime, Span};

/// How long the coarse clock is taken to stand still at most while a thread runs. A tick has 1 to
/// 10 ms; on a host that shares its processors the one that keeps the time may be away for longer.
/// Within this of one of its plan's instants a prompt reader takes a precise look each time.
const STALL: Span = Span::from_secs(1);

/// One reader's cheap look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Coarse {
    /// The coarse clock at the last precise look.
    tick: Tick,
    latest: LocalTime,
}

/// What the coarse clock shows: seconds since some zero, and nanoseconds.
type Tick = (i64, i64);

impl Default for Coarse {
    fn default() -> Coarse {
        // No clock shows a second that has not begun.
        Coarse { tick: (0, -1), latest: LocalTime::MAX }
    }
}

impl Coarse {
    /// An instant that the clock doesn't show yet; `None` where the host has no coarse clock.
    #[inline(always)]
    pub(crate) fn latest(&mut self, clock: &Clock) -> Option<LocalTime> {
        let tick = tick()?;
        if tick != self.tick {
            // Read before the clock: whatever happens in between is counted in.
            *self = Coarse { tick, latest: clock.now() + STALL };
        }
        Some(self.latest)
    }
}

/// The coarse clock.
#[cfg(target_os = "linux")]
#[inline(always)]
fn tick() -> Option<Tick> {
    use rustix::time::{ClockId, clock_gettime};
    let time = clock_gettime(ClockId::MonotonicCoarse);
    Some((time.tv_sec, time.tv_nsec))
}

#[cfg(not(target_os = "linux"))]
fn tick() -> Option<Tick> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Distortion;
    use std::thread::sleep;
    use std::time::Duration;

    #[test]
    fn the_bound_is_ahead_of_the_clock_and_goes_with_it() {
        for clock in [
            Clock::host(),
            Clock::distorted(Distortion { offset: Span::from_secs(9), rate_ppb: -400_000_000 }),
        ] {
            let mut coarse = Coarse::default();
            let Some(first) = coarse.latest(&clock) else { return };
            for _ in 0..50 {
                let latest = coarse.latest(&clock).unwrap();
                let now = clock.now();
                assert!(latest > now, "{latest:?} at {now:?}");
                assert!(latest >= first && latest <= now + STALL);
                sleep(Duration::from_millis(1));
            }
            assert!(coarse.latest(&clock).unwrap() > first, "it stands still");
        }
    }
}
