//! The host's clocks as the server reads them (PROTOCOL §2, §8): its own monotonic time, the wall
//! clock, and which boot it is. How the farm's timeline is made of them is core's `timeline`; who
//! keeps it is in `line`.

use downbeat_core::ids::BootId;
use downbeat_core::time::{LocalTime, ServerTime};
use rustix::time::{ClockId, clock_gettime};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// The clocks of one host. Everything that asks the time in the server asks here, so that a test or
/// a demo can distort it.
pub trait HostClock: Send + Sync + 'static {
    /// Nanoseconds since the host's boot, running on while it is suspended; never goes back.
    fn local(&self) -> LocalTime;
    /// The wall clock. Only new lines and the slew look at it; it may step.
    fn wall(&self) -> ServerTime;
    /// Which boot of the host `local` belongs to.
    fn boot(&self) -> BootId;
}

/// The clocks of this host: CLOCK_MONOTONIC_RAW plus the time suspended (BOOTTIME − MONOTONIC),
/// because the other clocks are slewed by more than any ρ.
#[derive(Debug)]
pub struct SystemClock {
    boot: BootId,
    /// Nanoseconds suspended so far: a lower bound that is within a clock reading of the truth.
    suspended: AtomicI64,
}

impl SystemClock {
    /// The clocks of this host. `boot` names the boot in place of what the kernel says, for tests
    /// that restart a server "on another boot".
    ///
    /// # Errors
    /// The kernel doesn't tell the boot's id.
    pub fn new(boot: Option<&str>) -> std::io::Result<SystemClock> {
        let id = match boot {
            Some(text) => text.to_owned(),
            None => std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?,
        };
        // Local instants of two time namespaces are of two clocks, so they count as two boots.
        let namespace = std::fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default();
        let mut hasher = blake3::Hasher::new();
        hasher.update(id.trim().as_bytes()).update(namespace.as_bytes());
        let mut first = [0; 8];
        first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        let clock = SystemClock { boot: BootId(u64::from_le_bytes(first)), suspended: AtomicI64::new(0) };
        // A few readings, so that one that was interrupted does not stand.
        (0..5).for_each(|_| {
            clock.suspended();
        });
        Ok(clock)
    }

    /// BOOTTIME − MONOTONIC. The two can't be read at once: read in this order the difference is never
    /// too large. The largest one seen stands, so that local time neither jitters nor goes back.
    fn suspended(&self) -> i64 {
        let boot_time = nanos(ClockId::Boottime);
        let after = nanos(ClockId::Monotonic);
        let least = boot_time.saturating_sub(after);
        self.suspended.fetch_max(least, Ordering::Relaxed).max(least)
    }
}

impl HostClock for SystemClock {
    fn local(&self) -> LocalTime {
        LocalTime::from_nanos(nanos(ClockId::MonotonicRaw).saturating_add(self.suspended()))
    }
    fn wall(&self) -> ServerTime {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        ServerTime::from_nanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
    }
    fn boot(&self) -> BootId {
        self.boot
    }
}

fn nanos(clock: ClockId) -> i64 {
    let time = clock_gettime(clock);
    time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_time_never_goes_back_and_the_boot_can_be_named() {
        let clock = SystemClock::new(None).unwrap();
        let mut last = clock.local();
        for _ in 0..10_000 {
            let now = clock.local();
            assert!(now >= last);
            last = now;
        }
        let one = SystemClock::new(Some("one")).unwrap();
        assert_eq!(one.boot(), SystemClock::new(Some("one\n")).unwrap().boot());
        assert_ne!(one.boot(), SystemClock::new(Some("two")).unwrap().boot());
        assert_ne!(one.boot(), clock.boot());
    }
}
