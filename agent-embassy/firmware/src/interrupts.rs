//! Which interrupt is whose: the board's part of the vector table.

use crate::clock;
#[cfg(feature = "serial")]
use crate::serial;

/// An interrupt of the board, by its number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Interrupt(u16);

/// Serial line 0: a byte has come.
#[cfg(feature = "serial")]
pub(crate) const LINE_RECEIVED: Interrupt = Interrupt(0);
/// Serial line 0: there is room for a byte again.
#[cfg(feature = "serial")]
pub(crate) const LINE_SENT: Interrupt = Interrupt(1);
/// Serial line 1: a byte has come.
#[cfg(feature = "serial")]
pub(crate) const CONSOLE_RECEIVED: Interrupt = Interrupt(2);
/// Serial line 1: there is room for a byte again.
#[cfg(feature = "serial")]
pub(crate) const CONSOLE_SENT: Interrupt = Interrupt(3);
/// Timer 0 has run around.
pub(crate) const TIMER_0: Interrupt = Interrupt(8);
/// Timer 1 has run out.
pub(crate) const TIMER_1: Interrupt = Interrupt(9);

// SAFETY: the numbers above are those of the board's lines, all below the 32 of its table.
unsafe impl cortex_m::interrupt::InterruptNumber for Interrupt {
    fn number(self) -> u16 {
        self.0
    }
}

impl Interrupt {
    /// Lets it interrupt.
    pub(crate) fn unmask(self) {
        // SAFETY: no critical section here relies on a mask of one interrupt; all of them mask all.
        unsafe { cortex_m::peripheral::NVIC::unmask(self) }
    }

    /// Keeps it waiting until it is unmasked.
    #[cfg(feature = "serial")]
    pub(crate) fn mask(self) {
        cortex_m::peripheral::NVIC::mask(self);
    }
}

unsafe extern "C" {
    fn DefaultHandler();
}

/// The board's part of the vector table, where cortex-m-rt's linker script looks for it.
#[unsafe(link_section = ".vector_table.interrupts")]
#[unsafe(no_mangle)]
pub static __INTERRUPTS: [unsafe extern "C" fn(); 32] = {
    let mut table = [DefaultHandler as unsafe extern "C" fn(); 32];
    #[cfg(feature = "serial")]
    {
        table[LINE_RECEIVED.0 as usize] = serial::line_received;
        table[LINE_SENT.0 as usize] = serial::line_sent;
        table[CONSOLE_RECEIVED.0 as usize] = serial::console_received;
        table[CONSOLE_SENT.0 as usize] = serial::console_sent;
    }
    table[TIMER_0.0 as usize] = clock::timer_0;
    table[TIMER_1.0 as usize] = clock::timer_1;
    table
};
