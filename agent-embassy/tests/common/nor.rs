//! A NOR flash in memory that holds its users to the rules: whole words onto erased flash, whole sectors
//! to erase. Its power can be cut in the middle of any write of a word and of any erasure.

use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash};
use std::sync::{Arc, Mutex, MutexGuard};

pub(crate) const SECTOR: usize = 256;
pub(crate) const WORD: usize = 8;

#[derive(Debug)]
struct Cells {
    bytes: Vec<u8>,
    /// Words and erasures until the power is cut; `None`: it isn't.
    left: Option<usize>,
    off: bool,
    /// Words written and sectors erased since the beginning.
    done: usize,
    erased: usize,
}

/// A flash; clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Nor(Arc<Mutex<Cells>>);

/// The power is off.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Off;

impl NorFlashError for Off {
    fn kind(&self) -> NorFlashErrorKind {
        NorFlashErrorKind::Other
    }
}

impl Nor {
    pub(crate) fn new(sectors: usize) -> Nor {
        let bytes = vec![0xff; sectors * SECTOR];
        Nor(Arc::new(Mutex::new(Cells { bytes, left: None, off: false, done: 0, erased: 0 })))
    }
    /// Another flash with the same bytes, which has power.
    pub(crate) fn copy(&self) -> Nor {
        let bytes = self.cells().bytes.clone();
        Nor(Arc::new(Mutex::new(Cells { bytes, left: None, off: false, done: 0, erased: 0 })))
    }
    fn cells(&self) -> MutexGuard<'_, Cells> {
        self.0.lock().unwrap()
    }
    /// The power is cut in the middle of the operation after so many.
    pub(crate) fn cut_after(&self, operations: usize) {
        self.cells().left = Some(operations);
    }
    pub(crate) fn power_on(&self) {
        let mut cells = self.cells();
        (cells.left, cells.off) = (None, false);
    }
    pub(crate) fn is_off(&self) -> bool {
        self.cells().off
    }
    pub(crate) fn done(&self) -> usize {
        self.cells().done
    }
    pub(crate) fn erased(&self) -> usize {
        self.cells().erased
    }
    /// Any byte of the flash, as it ages.
    pub(crate) fn flip(&self, at: usize, bits: u8) {
        self.cells().bytes[at] ^= bits;
    }
}

impl Cells {
    /// Whether the power lasts for one more operation.
    fn lasts(&mut self) -> Result<bool, Off> {
        if self.off {
            return Err(Off);
        }
        self.off = self.left == Some(0);
        self.left = self.left.map(|left| left.saturating_sub(1));
        self.done += 1;
        Ok(!self.off)
    }
}

fn are_whole(unit: usize, offset: usize, len: usize) -> bool {
    offset.is_multiple_of(unit) && len.is_multiple_of(unit)
}

impl ErrorType for Nor {
    type Error = Off;
}

impl ReadNorFlash for Nor {
    const READ_SIZE: usize = 4;
    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Off> {
        assert!(are_whole(Self::READ_SIZE, offset as usize, bytes.len()), "whole words");
        let cells = self.cells();
        if cells.off {
            return Err(Off);
        }
        bytes.copy_from_slice(&cells.bytes[offset as usize..offset as usize + bytes.len()]);
        Ok(())
    }
    fn capacity(&self) -> usize {
        self.cells().bytes.len()
    }
}

impl NorFlash for Nor {
    const WRITE_SIZE: usize = WORD;
    const ERASE_SIZE: usize = SECTOR;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Off> {
        assert!(are_whole(SECTOR, from as usize, to as usize) && from < to, "whole sectors");
        let mut cells = self.cells();
        for sector in (from as usize..to as usize).step_by(SECTOR) {
            let whole = cells.lasts()?;
            cells.erased += 1;
            // Cut off, it is erased here and there.
            let erased = cells.bytes[sector..sector + SECTOR].iter_mut().enumerate();
            erased.filter(|(at, _)| whole || at % 3 != 0).for_each(|(_, byte)| *byte = 0xff);
            if !whole {
                return Err(Off);
            }
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Off> {
        assert!(are_whole(WORD, offset as usize, bytes.len()), "whole words");
        let mut cells = self.cells();
        for (number, word) in bytes.chunks(WORD).enumerate() {
            let whole = cells.lasts()?;
            let at = offset as usize + number * WORD;
            let cell = &mut cells.bytes[at..at + WORD];
            assert!(cell.iter().all(|byte| *byte == 0xff), "a word at {at} is written twice");
            // Cut off, some of its bits are set already.
            let torn = |(at, byte): (usize, &u8)| byte | if at < WORD / 2 { 0x5a } else { 0xff };
            if whole {
                cell.copy_from_slice(word);
            } else {
                cell.iter_mut().zip(word.iter().enumerate().map(torn)).for_each(|(to, from)| *to = from);
                return Err(Off);
            }
        }
        Ok(())
    }
}
