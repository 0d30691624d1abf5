//! Access to the board's registers, and the board's clock frequency. What they mean is said where they
//! are used.

/// What the processor, the timers and the serial lines run at, in hertz.
pub const CLOCK_HZ: u32 = 25_000_000;

/// A peripheral: the address of its registers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peripheral(usize);

impl Peripheral {
    /// # Safety
    /// `address` is that of a peripheral of this board whose registers may be read and written in any
    /// order without harm to memory, for 4 KiB from there on.
    pub(crate) const unsafe fn at(address: usize) -> Peripheral {
        Peripheral(address)
    }

    /// Reads the register that is so many bytes from the beginning.
    #[inline(always)]
    pub(crate) fn read(self, register: Register) -> u32 {
        // SAFETY: by the promise of whoever made this; `Register` is below 4 KiB and aligned.
        unsafe { ((self.0 + register.0 as usize) as *const u32).read_volatile() }
    }

    /// Writes it.
    #[inline(always)]
    pub(crate) fn write(self, register: Register, value: u32) {
        // SAFETY: as above.
        unsafe { ((self.0 + register.0 as usize) as *mut u32).write_volatile(value) }
    }
}

/// A register's place within its peripheral.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Register(u16);

impl Register {
    /// The register of that number, four bytes each.
    pub(crate) const fn number(number: u8) -> Register {
        Register(number as u16 * 4)
    }
}
