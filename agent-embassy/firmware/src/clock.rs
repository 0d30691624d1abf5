//! embassy's time on the board's two timers, in microseconds since the start. Timer 0 runs freely and
//! is the clock; timer 1 rings for the next of embassy's timers.
//!
//! The clock can be made to run wrong by so many parts per million, as the clock of a cheap board does:
//! for tests of what the protocol makes of it. What time means is decided in core.

use crate::interrupts::{TIMER_0, TIMER_1};
use crate::registers::{CLOCK_HZ, Peripheral, Register};
use core::cell::{Cell, RefCell};
use core::task::Waker;
use critical_section::{CriticalSection, Mutex};
use embassy_time_driver::{Driver, TICK_HZ};
use embassy_time_queue_utils::Queue;

// SAFETY: the addresses of the board's two timers.
const FREE: Peripheral = unsafe { Peripheral::at(0x4000_0000) };
// SAFETY: as above.
const ALARM: Peripheral = unsafe { Peripheral::at(0x4000_1000) };
const CONTROL: Register = Register::number(0);
const VALUE: Register = Register::number(1);
const RELOAD: Register = Register::number(2);
const INTERRUPT: Register = Register::number(3);
/// Of [`CONTROL`]: runs, and interrupts where it reaches zero.
const RUNS: u32 = 1 | 1 << 3;

/// The most by which the clock may be made wrong, in parts per million.
pub const RATE_ERROR_MAX: i32 = 500_000;

struct Timers {
    /// How often timer 0 has run around.
    rounds: Mutex<Cell<u32>>,
    /// Ticks in a second of the board's crystal.
    ticks_a_second: Mutex<Cell<u32>>,
    queue: Mutex<RefCell<Queue>>,
}

embassy_time_driver::time_driver_impl!(static TIMERS: Timers = Timers {
    rounds: Mutex::new(Cell::new(0)),
    ticks_a_second: Mutex::new(Cell::new(TICK_HZ as u32)),
    queue: Mutex::new(RefCell::new(Queue::new())),
});

/// Starts the clock. It runs `rate_error` parts per million fast; beyond ±[`RATE_ERROR_MAX`] is taken
/// as that. To be called once, before anything asks for the time.
pub fn start(rate_error: i32) {
    let rate_error = rate_error.clamp(-RATE_ERROR_MAX, RATE_ERROR_MAX);
    let ticks = (TICK_HZ as u32).wrapping_add_signed(rate_error * (TICK_HZ / 1_000_000) as i32);
    critical_section::with(|section| TIMERS.ticks_a_second.borrow(section).set(ticks));
    FREE.write(CONTROL, 0);
    FREE.write(RELOAD, u32::MAX);
    FREE.write(VALUE, u32::MAX);
    FREE.write(INTERRUPT, 1);
    FREE.write(CONTROL, RUNS);
    TIMER_0.unmask();
    TIMER_1.unmask();
}

/// Cycles of the board's crystal since the start: not what anybody goes by, but what chips take.
pub(crate) fn cycles() -> u64 {
    critical_section::with(|section| TIMERS.cycles(section))
}

impl Timers {
    fn cycles(&self, section: CriticalSection) -> u64 {
        let rounds = self.rounds.borrow(section).get();
        let value = FREE.read(VALUE);
        let (rounds, value) = if FREE.read(INTERRUPT) & 1 == 0 {
            (rounds, value)
        } else {
            // It has run around and its interrupt is still to come: the value may be of either round.
            (rounds.wrapping_add(1), FREE.read(VALUE))
        };
        u64::from(rounds) << 32 | u64::from(u32::MAX - value)
    }

    fn now(&self, section: CriticalSection) -> u64 {
        let ticks = u64::from(self.ticks_a_second.borrow(section).get());
        let cycles = self.cycles(section);
        let (seconds, rest) = (cycles / u64::from(CLOCK_HZ), cycles % u64::from(CLOCK_HZ));
        seconds * ticks + rest * ticks / u64::from(CLOCK_HZ)
    }

    /// How many cycles of the crystal it takes until so many ticks have gone by, or more.
    fn cycles_of(&self, section: CriticalSection, ticks: u64) -> u64 {
        let a_second = u64::from(self.ticks_a_second.borrow(section).get());
        // What is further away than timer 1 can count is looked at again on the way.
        let ticks = ticks.min(100 * TICK_HZ);
        (ticks * u64::from(CLOCK_HZ)).div_ceil(a_second)
    }

    /// Lets timer 1 ring for the first timer of the queue.
    fn arm(&self, section: CriticalSection, queue: &mut Queue) {
        loop {
            let now = self.now(section);
            let next = queue.next_expiration(now);
            ALARM.write(CONTROL, 0);
            ALARM.write(INTERRUPT, 1);
            if next == u64::MAX {
                return;
            }
            let left = next.saturating_sub(self.now(section));
            if left > 0 {
                // It rings once: there is nothing to reload.
                ALARM.write(RELOAD, 0);
                ALARM.write(VALUE, u32::try_from(self.cycles_of(section, left)).unwrap_or(u32::MAX));
                ALARM.write(CONTROL, RUNS);
                return;
            }
        }
    }
}

impl Driver for Timers {
    fn now(&self) -> u64 {
        critical_section::with(|section| Timers::now(self, section))
    }

    fn schedule_wake(&self, at: u64, waker: &Waker) {
        critical_section::with(|section| {
            let mut queue = self.queue.borrow(section).borrow_mut();
            if queue.schedule_wake(at, waker) {
                self.arm(section, &mut queue);
            }
        });
    }
}

/// Timer 0 has run around, every 172 seconds.
pub(crate) unsafe extern "C" fn timer_0() {
    critical_section::with(|section| {
        FREE.write(INTERRUPT, 1);
        let rounds = TIMERS.rounds.borrow(section);
        rounds.set(rounds.get().wrapping_add(1));
    });
}

/// Timer 1 has run out.
pub(crate) unsafe extern "C" fn timer_1() {
    critical_section::with(|section| TIMERS.arm(section, &mut TIMERS.queue.borrow(section).borrow_mut()));
}
