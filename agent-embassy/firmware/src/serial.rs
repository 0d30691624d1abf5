//! The board's serial lines: bytes come by interrupt into a pipe, and go out as the line takes them.
//! What the bytes are is none of its concern.
//!
//! Where the pipe is full the interrupt is masked and the byte stays in the line's register, which
//! holds back the other end; so none is lost, however long nobody reads.

use crate::interrupts::{CONSOLE_RECEIVED, CONSOLE_SENT, Interrupt, LINE_RECEIVED, LINE_SENT};
use crate::registers::{Peripheral, Register};
use core::convert::Infallible;
use core::future::poll_fn;
use core::task::Poll;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::pipe::Pipe;
use embassy_sync::waitqueue::AtomicWaker;
use embedded_io_async::{ErrorType, Read, Write};

const DATA: Register = Register::number(0);
const STATE: Register = Register::number(1);
const CONTROL: Register = Register::number(2);
const INTERRUPT: Register = Register::number(3);
const DIVISOR: Register = Register::number(4);
/// Of [`STATE`]: no room for a byte to be sent.
const SEND_FULL: u32 = 1;
/// Of [`STATE`]: a byte has come.
const RECEIVED: u32 = 1 << 1;
/// Of [`CONTROL`]: both directions, and an interrupt for what comes.
const BOTH: u32 = 1 | 1 << 1 | 1 << 3;
/// Of [`CONTROL`]: an interrupt for what has gone.
const TELL_SENT: u32 = 1 << 2;
/// Of [`INTERRUPT`].
const OF_SENT: u32 = 1;
/// Of [`INTERRUPT`].
const OF_RECEIVED: u32 = 1 << 1;

/// The line to the server's control port.
pub static LINE: Serial<64> = Serial {
    // SAFETY: the address of the board's serial line 0.
    registers: unsafe { Peripheral::at(0x4000_4000) },
    received: LINE_RECEIVED,
    sent: LINE_SENT,
    pipe: Pipe::new(),
    room: AtomicWaker::new(),
};

/// The line on which people and tests ask.
pub static CONSOLE: Serial<32> = Serial {
    // SAFETY: the address of the board's serial line 1.
    registers: unsafe { Peripheral::at(0x4000_5000) },
    received: CONSOLE_RECEIVED,
    sent: CONSOLE_SENT,
    pipe: Pipe::new(),
    room: AtomicWaker::new(),
};

/// A serial line that keeps up to `N` bytes which nobody has read yet.
pub struct Serial<const N: usize> {
    registers: Peripheral,
    received: Interrupt,
    sent: Interrupt,
    pipe: Pipe<CriticalSectionRawMutex, N>,
    room: AtomicWaker,
}

impl<const N: usize> Serial<N> {
    /// Begins to take bytes in.
    pub fn start(&self) {
        // As fast as it can; QEMU doesn't go by it.
        self.registers.write(DIVISOR, 16);
        self.registers.write(CONTROL, BOTH);
        self.received.unmask();
        self.sent.unmask();
    }

    /// Sends without waiting for anybody, interrupts or tasks: for a last word.
    pub fn send_now(&self, bytes: &[u8]) {
        for byte in bytes {
            while self.registers.read(STATE) & SEND_FULL != 0 {}
            self.registers.write(DATA, u32::from(*byte));
        }
    }

    async fn send(&self, byte: u8) {
        poll_fn(|context| {
            if self.registers.read(STATE) & SEND_FULL == 0 {
                return Poll::Ready(());
            }
            self.room.register(context.waker());
            critical_section::with(|_| self.registers.write(CONTROL, BOTH | TELL_SENT));
            // It may have gone meanwhile, before it was to be told.
            if self.registers.read(STATE) & SEND_FULL == 0 { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        self.registers.write(DATA, u32::from(byte));
    }

    fn on_received(&self) {
        loop {
            if self.pipe.is_full() {
                // Not acknowledged: it comes again as soon as there is room and it is unmasked.
                self.received.mask();
                return;
            }
            self.registers.write(INTERRUPT, OF_RECEIVED);
            if self.registers.read(STATE) & RECEIVED == 0 {
                return;
            }
            let byte = self.registers.read(DATA) as u8;
            // There is room: nobody else writes into the pipe.
            let _ = self.pipe.try_write(&[byte]);
        }
    }

    fn on_sent(&self) {
        critical_section::with(|_| self.registers.write(CONTROL, BOTH));
        self.registers.write(INTERRUPT, OF_SENT);
        self.room.wake();
    }
}

impl<const N: usize> ErrorType for &Serial<N> {
    type Error = Infallible;
}

impl<const N: usize> Read for &Serial<N> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        let len = self.pipe.read(buffer).await;
        self.received.unmask();
        Ok(len)
    }
}

impl<const N: usize> Write for &Serial<N> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        for byte in bytes {
            self.send(*byte).await;
        }
        Ok(bytes.len())
    }

    /// What was written is on the line already.
    async fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

pub(crate) unsafe extern "C" fn line_received() {
    LINE.on_received();
}

pub(crate) unsafe extern "C" fn line_sent() {
    LINE.on_sent();
}

pub(crate) unsafe extern "C" fn console_received() {
    CONSOLE.on_received();
}

pub(crate) unsafe extern "C" fn console_sent() {
    CONSOLE.on_sent();
}
