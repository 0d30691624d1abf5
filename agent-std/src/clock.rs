//! The agent's local clock (PROTOCOL §2): nanoseconds that run on while the host is suspended and
//! that nobody slews or steps, and the second source by which a clock that broke is found.
//!
//! On Linux it is CLOCK_MONOTONIC_RAW plus the time suspended (BOOTTIME − MONOTONIC), because the
//! other clocks are slewed. A host may also give a *distorted* clock, to see that agents with wrong
//! clocks agree all the same. What the readings mean is decided in core.

use downbeat_core::ids::BootId;
use downbeat_core::time::{LocalTime, Span};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The step in which the clock is taken to be read. The time suspended is known to no better than
/// the gap between two readings of it, which is below this.
pub const GRANULARITY: Span = Span::from_nanos(500);

/// How a distorted clock differs from the host's: local = host + offset + elapsed · rate + steps.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Distortion {
    /// How far it is ahead from the beginning on.
    pub offset: Span,
    /// How much faster it runs, in parts per billion (150 ppm is 150,000); negative for slower.
    /// More than ±500,000,000 is taken as that.
    pub rate_ppb: i64,
}

/// One look at the clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reading {
    /// What the agent goes by.
    pub local: LocalTime,
    /// The same look on the host's undistorted clock, for whoever judges the agent from outside.
    /// The agent itself never sees it.
    pub host: LocalTime,
}

/// An agent's local clock; clones are the same clock.
#[derive(Clone, Debug)]
pub struct Clock {
    distorted: Option<Arc<Distorted>>,
}

#[derive(Debug)]
struct Distorted {
    /// The host's clock when the distortion began.
    began: i64,
    distortion: Distortion,
    steps: AtomicI64,
}

impl Default for Clock {
    fn default() -> Clock {
        Clock::host()
    }
}

impl Clock {
    /// The host's own clock: what everything but demonstrations and tests runs on.
    pub fn host() -> Clock {
        Clock { distorted: None }
    }

    /// A clock that is wrong on purpose, from now on.
    pub fn distorted(distortion: Distortion) -> Clock {
        let rate_ppb = distortion.rate_ppb.clamp(-500_000_000, 500_000_000);
        let distortion = Distortion { rate_ppb, ..distortion };
        let steps = AtomicI64::new(0);
        Clock { distorted: Some(Arc::new(Distorted { began: host_nanos(), distortion, steps })) }
    }

    /// Steps a distorted clock by so much: the fault that no bound of PROTOCOL §2 covers. The
    /// host's own clock can't be stepped; then it returns false.
    pub fn step(&self, by: Span) -> bool {
        let Some(distorted) = &self.distorted else { return false };
        distorted.steps.fetch_add(by.as_nanos(), Ordering::SeqCst);
        true
    }

    /// The agent's local time.
    #[inline]
    pub fn now(&self) -> LocalTime {
        self.read().local
    }

    /// One look at the clock.
    #[inline]
    pub fn read(&self) -> Reading {
        let host = host_nanos();
        let local = self.distorted.as_ref().map_or(host, |distorted| distorted.local(host));
        Reading { local: LocalTime::from_nanos(local), host: LocalTime::from_nanos(host) }
    }

    /// How long a host has to sleep at `now` so that the clock shows `at` afterwards; zero where it
    /// does already. Good for housekeeping only: a step of the clock isn't foreseen.
    pub fn sleep_until(&self, at: LocalTime, now: LocalTime) -> Duration {
        let local = (at - now).or_zero().as_nanos() as i128;
        let rate = self.distorted.as_ref().map_or(0, |distorted| distorted.distortion.rate_ppb as i128);
        let host = (local * BILLION).div_euclid(BILLION + rate);
        Duration::from_nanos(u64::try_from(host).unwrap_or(u64::MAX))
    }
}

const BILLION: i128 = 1_000_000_000;

impl Distorted {
    fn local(&self, host: i64) -> i64 {
        let elapsed = host.saturating_sub(self.began) as i128;
        let gained = (elapsed * self.distortion.rate_ppb as i128).div_euclid(BILLION) as i64;
        host.saturating_add(self.distortion.offset.as_nanos())
            .saturating_add(gained)
            .saturating_add(self.steps.load(Ordering::SeqCst))
    }
}

/// Finds jumps of one clock against another: the wall clock against the local one (PROTOCOL §2, "a
/// bound can be confident and wrong"). It only ever takes trust away.
#[derive(Debug)]
pub(crate) struct SecondSource {
    last: Option<(LocalTime, i64)>,
}

/// What two clocks may differ by between two looks: a preempted look, and …
const STEP_MIN: i64 = 100_000_000;
/// … a tenth of the time between them: a wall clock may be slewed by 83,333 ppm.
const SLEW_PART: i64 = 10;

impl SecondSource {
    pub(crate) fn new() -> SecondSource {
        SecondSource { last: None }
    }

    /// Whether one of the two clocks jumped since the last look. `wall` is in nanoseconds.
    pub(crate) fn jumped(&mut self, local: LocalTime, wall: i64) -> bool {
        let Some((last_local, last_wall)) = self.last.replace((local, wall)) else { return false };
        let elapsed = (local - last_local).as_nanos();
        let difference = wall.saturating_sub(last_wall).saturating_sub(elapsed).saturating_abs();
        elapsed < 0 || difference > STEP_MIN.saturating_add(elapsed / SLEW_PART)
    }
}

/// The wall clock, in nanoseconds; before 1970 it is zero.
pub(crate) fn wall_nanos() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// The identity of this boot of the host. Where the host names none it is this process's own, so
/// that nothing of before is ever believed.
pub(crate) fn boot_id() -> BootId {
    let named = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
    let namespace = std::fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default();
    named.map_or_else(random_boot, |boot| boot_of(&boot, &namespace))
}

/// Local instants of two time namespaces are of two clocks, so they count as two boots.
fn boot_of(boot: &str, namespace: &str) -> BootId {
    let mut hasher = blake3::Hasher::new();
    hasher.update(boot.trim().as_bytes()).update(namespace.as_bytes());
    let mut first = [0; 8];
    hasher.finalize_xof().fill(&mut first);
    BootId(u64::from_le_bytes(first))
}

fn random_boot() -> BootId {
    use std::sync::OnceLock;
    static BOOT: OnceLock<u64> = OnceLock::new();
    BootId(*BOOT.get_or_init(|| getrandom::u64().unwrap_or(wall_nanos() as u64)))
}

#[cfg(target_os = "linux")]
fn host_nanos() -> i64 {
    linux::nanos()
}

/// Elsewhere the monotonic clock of std does; whether it runs on in suspension depends on the host.
#[cfg(not(target_os = "linux"))]
fn host_nanos() -> i64 {
    use std::sync::OnceLock;
    use std::time::Instant;
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    i64::try_from(BEGAN.get_or_init(Instant::now).elapsed().as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(target_os = "linux")]
mod linux {
    use rustix::time::{ClockId, clock_gettime};
    use std::sync::atomic::{AtomicI64, Ordering};

    /// The time suspended since boot, as measured last; it only ever rises.
    static SUSPENDED: AtomicI64 = AtomicI64::new(UNKNOWN);
    const UNKNOWN: i64 = -1;
    /// A reading whose own measurement took longer than this, in nanoseconds, could hide a suspension: one
    /// takes longer than this to go through.
    const BRIEF: i64 = 1_000_000;
    /// A measurement is good if the two readings around it are no further apart, in nanoseconds.
    const GOOD: i64 = super::GRANULARITY.as_nanos() / 2;
    const TRIES: u32 = 64;

    fn read(clock: ClockId) -> i64 {
        let time = clock_gettime(clock);
        time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec)
    }

    /// Bounds of the time suspended: it is a difference of two clocks that are read one after the
    /// other, and this thread may be stopped in between.
    fn suspended() -> (i64, i64) {
        let before = read(ClockId::Monotonic);
        let boot = read(ClockId::Boottime);
        let after = read(ClockId::Monotonic);
        (boot.saturating_sub(after), boot.saturating_sub(before))
    }

    pub(super) fn nanos() -> i64 {
        // First the clock that stands still in suspension: a suspension right after it is then
        // counted in, and the reading is never before the truth by one.
        let raw = read(ClockId::MonotonicRaw);
        let known = SUSPENDED.load(Ordering::Acquire);
        let (least, most) = suspended();
        // While nothing was suspended the true difference is constant, so what was measured well
        // once stands, and no reading jumps with the noise of another measurement.
        let is_brief = most.saturating_sub(least) <= BRIEF;
        if known != UNKNOWN && known + GOOD >= least && known <= most.saturating_add(GOOD) && is_brief {
            return raw.saturating_add(known);
        }
        raw.saturating_add(measured())
    }

    fn measured() -> i64 {
        let mut best = suspended();
        for _ in 0..TRIES {
            if best.1 - best.0 <= GOOD {
                break;
            }
            let (least, most) = suspended();
            if most - least < best.1 - best.0 {
                best = (least, most);
            }
        }
        // The lower bound: never negative, and at most the granularity short.
        let found = best.0.max(0);
        SUSPENDED.fetch_max(found, Ordering::AcqRel).max(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_clock_never_goes_back() {
        let clock = Clock::host();
        let mut last = clock.now();
        for _ in 0..20_000 {
            let now = clock.now();
            assert!(now >= last, "{last:?} then {now:?}");
            last = now;
        }
    }

    #[test]
    fn a_distorted_clock_is_the_host_s_by_its_own_formula() {
        let offset = Span::from_secs(-7_200);
        let clock = Clock::distorted(Distortion { offset, rate_ppb: 150_000 });
        let Reading { local, host } = clock.read();
        let began = clock.distorted.as_ref().unwrap().began;
        let elapsed = host.as_nanos() - began;
        assert_eq!((local - host).as_nanos(), offset.as_nanos() + elapsed * 150_000 / 1_000_000_000);
        assert!(clock.step(Span::from_secs(3)));
        let after = clock.read();
        assert!((after.local - after.host).as_nanos() >= (local - host).as_nanos() + 3_000_000_000);
        assert!(!Clock::host().step(Span::from_secs(3)));
    }

    #[test]
    fn sleeping_takes_the_rate_into_account() {
        let fast = Clock::distorted(Distortion { offset: Span::ZERO, rate_ppb: 250_000_000 });
        let at = |nanos| LocalTime::from_nanos(nanos);
        assert_eq!(fast.sleep_until(at(1_250), at(0)), Duration::from_nanos(1_000));
        assert_eq!(fast.sleep_until(at(0), at(9)), Duration::ZERO);
        assert_eq!(Clock::host().sleep_until(at(5), at(0)), Duration::from_nanos(5));
        assert!(Clock::host().sleep_until(LocalTime::MAX, LocalTime::MIN) > Duration::from_secs(1 << 33));
    }

    #[test]
    fn the_second_source_tells_a_jump_from_a_slew() {
        let at = |millis: i64| LocalTime::from_nanos(millis * 1_000_000);
        let mut source = SecondSource::new();
        assert!(!source.jumped(at(0), 5_000_000_000));
        assert!(!source.jumped(at(1_000), 6_080_000_000), "83,333 ppm is a slew");
        assert!(source.jumped(at(1_500), 7_500_000_000), "a second ahead is a step");
        assert!(!source.jumped(at(2_500), 8_500_000_000), "and it is told once");
        assert!(source.jumped(at(2_400), 8_400_000_000), "the local clock went back");
    }

    #[test]
    fn a_boot_has_one_id_in_each_time_namespace() {
        assert_eq!(boot_id(), boot_id());
        let offsets =
            |secs: i64| format!("monotonic  {secs:>10}         0\nboottime   {secs:>10}         0\n");
        let here = boot_of("51d5-1\n", &offsets(0));
        assert_eq!(here, boot_of("51d5-1", &offsets(0)));
        assert_ne!(here, boot_of("51d5-2", &offsets(0)));
        assert_ne!(here, boot_of("51d5-1", &offsets(-7_200)));
    }
}
