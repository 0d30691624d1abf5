//! Board support for QEMU's `mps2-an386` (Cortex-M4): the vector table, embassy's clock and executor, the
//! serial lines, the flash chip and what is provisioned in it. What the firmware does with them is in
//! `bin/downbeat.rs`; the agent is `downbeat-embassy`.
#![no_std]

#[cfg(feature = "console")]
pub mod boundary;
pub mod chip;
pub mod clock;
#[cfg(feature = "console")]
pub mod console;
pub mod executor;
pub mod interrupts;
pub mod provisioning;
pub mod registers;
#[cfg(feature = "serial")]
pub mod serial;
pub mod stack;
pub mod text;

use core::panic::PanicInfo;

/// A last word, and another start. Nothing of the text that a panic brings is formatted: the code for that
/// is as large as the rest.
#[panic_handler]
fn panicked(_: &PanicInfo<'_>) -> ! {
    cortex_m::interrupt::disable();
    #[cfg(feature = "serial")]
    serial::CONSOLE.send_now(b"\n* panic\n");
    cortex_m::peripheral::SCB::sys_reset()
}
