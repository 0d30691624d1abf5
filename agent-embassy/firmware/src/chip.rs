//! The flash chip: the first MiB of the board's PSRAM, which QEMU keeps in a file of its host, with the
//! rules of NOR flash over it. Erased by sectors to ones, written by words that must be erased, and
//! neither at once: each word takes its time, so that a reset or a lost supply hits the middle.
//!
//! After the array lies a status register, as such chips have one: it says what is being done, and after
//! a start what was not finished. Nothing here knows what is stored.

use crate::clock::cycles;
use crate::registers::CLOCK_HZ;
use core::ops::Range;
use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash};

/// How large the array is, in bytes.
pub const SIZE: u32 = 1 << 20;
/// What is erased at once, in bytes.
pub const SECTOR: u32 = 4096;
/// What is written at once, in bytes.
pub const WORD: u32 = 4;
/// What an erased word holds.
pub const ERASED: u32 = u32::MAX;

/// Where the array begins in the processor's memory.
const ARRAY: usize = 0x2100_0000;
/// Where the status register is: behind the array.
const STATUS: usize = ARRAY + SIZE as usize;
/// The status register's first word, while nothing is being done.
const IDLE: u32 = 0;
const ERASING: u32 = 0x4553_4152;
const WRITING: u32 = 0x4554_5257;

/// How long the chip takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Speed {
    /// Microseconds to write a word.
    pub word_us: u32,
    /// Microseconds to erase a sector.
    pub sector_us: u32,
}

impl Default for Speed {
    /// Of usual chips: 256 bytes in 0.8 ms, a sector in 45 ms.
    fn default() -> Speed {
        Speed { word_us: 12, sector_us: 45_000 }
    }
}

/// Why the chip refuses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// Not at the beginning of a word or a sector, or not whole ones. Nothing was changed.
    NotAligned,
    /// Beyond the end. Nothing was changed.
    OutOfBounds,
    /// A word to be written is not erased. What is before it is written.
    NotErased,
}

impl NorFlashError for Error {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            Error::NotAligned => NorFlashErrorKind::NotAligned,
            Error::OutOfBounds => NorFlashErrorKind::OutOfBounds,
            Error::NotErased => NorFlashErrorKind::Other,
        }
    }
}

/// What a start found unfinished.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interrupted {
    /// A sector was being erased, and some of its words still hold what they held.
    Erasing,
    /// Some of the words were not written.
    Writing,
}

/// A part of the chip, whole sectors, which is all that its owner can reach.
#[derive(Debug)]
pub struct Part {
    from: u32,
    len: u32,
    speed: Speed,
}

/// The whole chip, given out once.
#[derive(Debug)]
pub struct Chip {
    speed: Speed,
    interrupted: Option<Interrupted>,
}

impl Chip {
    /// The chip, if nobody has taken it.
    pub fn take() -> Option<Chip> {
        static TAKEN: critical_section::Mutex<core::cell::Cell<bool>> =
            critical_section::Mutex::new(core::cell::Cell::new(false));
        if critical_section::with(|section| TAKEN.borrow(section).replace(true)) {
            return None;
        }
        let interrupted = match read_word(STATUS) {
            ERASING => Some(Interrupted::Erasing),
            WRITING => Some(Interrupted::Writing),
            _ => None,
        };
        write_word(STATUS, IDLE);
        Some(Chip { speed: Speed::default(), interrupted })
    }

    /// What was being done when the board was reset or lost its supply.
    pub fn interrupted(&self) -> Option<Interrupted> {
        self.interrupted
    }

    /// What was written into the first sector where the board was provisioned. Nothing here writes there.
    pub fn provisioned(&self) -> &'static [u8] {
        // SAFETY: memory of the board as long as it runs, and no `Part` reaches into it, so that nobody
        // changes it.
        unsafe { core::slice::from_raw_parts(ARRAY as *const u8, SECTOR as usize) }
    }

    /// The chip takes this long from now on. It is told to parts that are taken afterwards.
    pub fn set_speed(&mut self, speed: Speed) {
        self.speed = speed;
    }

    /// The sectors of a range, as a chip of their own; from the second on, and at most up to the chip's
    /// end.
    pub fn part(&self, sectors: Range<u32>) -> Part {
        let from = sectors.start.clamp(1, SIZE / SECTOR) * SECTOR;
        let to = sectors.end.min(SIZE / SECTOR) * SECTOR;
        Part { from, len: to.saturating_sub(from), speed: self.speed }
    }
}

impl ErrorType for Part {
    type Error = Error;
}

impl ReadNorFlash for Part {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Error> {
        let at = self.place(offset, bytes.len())?;
        for (byte, at) in bytes.iter_mut().zip(at..) {
            *byte = read_word(at & !3).to_le_bytes()[at & 3];
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.len as usize
    }
}

impl NorFlash for Part {
    const WRITE_SIZE: usize = WORD as usize;
    const ERASE_SIZE: usize = SECTOR as usize;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Error> {
        let len = to.checked_sub(from).ok_or(Error::OutOfBounds)?;
        let at = self.place(from, len as usize)?;
        aligned(from, len, SECTOR)?;
        // The words of a sector are done one after the other, in the time that it takes as a whole.
        let a_word = micros(self.speed.sector_us) / u64::from(SECTOR / WORD);
        self.do_words(ERASING, at, len, a_word, |_| Ok(ERASED))
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Error> {
        let at = self.place(offset, bytes.len())?;
        aligned(offset, bytes.len() as u32, WORD)?;
        let (words, _) = bytes.as_chunks();
        let mut words = words.iter();
        self.do_words(WRITING, at, bytes.len() as u32, micros(self.speed.word_us), |held| {
            if held != ERASED {
                return Err(Error::NotErased);
            }
            Ok(words.next().map_or(ERASED, |word| u32::from_le_bytes(*word)))
        })
    }
}

impl Part {
    /// Where a range of this part is in memory.
    fn place(&self, offset: u32, len: usize) -> Result<usize, Error> {
        let end = u32::try_from(len).ok().and_then(|len| offset.checked_add(len));
        if end.is_none_or(|end| end > self.len) {
            return Err(Error::OutOfBounds);
        }
        Ok(ARRAY + (self.from + offset) as usize)
    }

    /// Gives each word in a range the value that `make` makes of what it holds, one after the other, each
    /// after so many cycles. The status register says so meanwhile.
    fn do_words(
        &self,
        what: u32,
        at: usize,
        len: u32,
        a_word: u64,
        mut make: impl FnMut(u32) -> Result<u32, Error>,
    ) -> Result<(), Error> {
        write_word(STATUS + 4, (at - ARRAY) as u32);
        write_word(STATUS + 8, len);
        write_word(STATUS, what);
        let began = cycles();
        let mut done = Ok(());
        for (at, number) in (at..at + len as usize).step_by(WORD as usize).zip(1..) {
            while cycles() - began < number * a_word {}
            match make(read_word(at)) {
                Ok(word) => write_word(at, word),
                Err(error) => {
                    done = Err(error);
                    break;
                }
            }
        }
        write_word(STATUS, IDLE);
        done
    }
}

/// So many microseconds in cycles of the board's crystal.
fn micros(micros: u32) -> u64 {
    u64::from(micros) * u64::from(CLOCK_HZ / 1_000_000)
}

fn aligned(offset: u32, len: u32, unit: u32) -> Result<(), Error> {
    if offset.is_multiple_of(unit) && len.is_multiple_of(unit) { Ok(()) } else { Err(Error::NotAligned) }
}

/// Reads a word of the chip.
fn read_word(at: usize) -> u32 {
    // SAFETY: private to this file, which gives addresses of the PSRAM only, aligned to words: it is
    // memory that no object of the language lies in.
    unsafe { (at as *const u32).read_volatile() }
}

/// Writes a word of the chip.
fn write_word(at: usize, word: u32) {
    // SAFETY: as above.
    unsafe { (at as *mut u32).write_volatile(word) }
}
