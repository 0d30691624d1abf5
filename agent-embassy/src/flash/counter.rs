//! A device's lives, counted in flash, for devices that have no randomness to draw an incarnation from.
//!
//! Each number is an entry of 32 bytes (`"dbn1"`, u64 number, u32 CRC of both, the rest as erased), written
//! behind the one before; where a sector is full the next one is erased. An entry that was cut off has no
//! good CRC and its place is passed over: its number was never given out.

use super::{Fields, FlashError, WORD_MAX, read, sectors};
use core::ops::Range;
use downbeat_core::frame::checksum;
use embedded_storage::nor_flash::NorFlash;

const ENTRY: usize = WORD_MAX;
const MAGIC: &[u8; 4] = b"dbn1";

/// What stands in a place for an entry.
enum Place {
    Erased,
    Number(u64),
    Torn,
}

/// The number of this life: higher than every one that was given out from this region before, whenever
/// the power was cut. It is stored before it is given out. The region is two erase sectors or more, and
/// serves nothing else.
///
/// A region that is lost, or copied to another device with the same agent id, gives numbers out again: to
/// the server that is the same life, and what it remembers of that may be taken for an answer. So where
/// there is any randomness, draw from that.
///
/// # Errors
/// [`FlashError`]; the flash may be worn out.
pub fn next_incarnation<F: NorFlash>(flash: &mut F, region: Range<u32>) -> Result<u64, FlashError<F::Error>> {
    let count = sectors(flash, &region)?;
    let sector_len = F::ERASE_SIZE as u32;
    if count < 2 || !F::ERASE_SIZE.is_multiple_of(ENTRY) {
        return Err(FlashError::Region);
    }
    let base = |sector: u32| region.start + sector * sector_len;
    let (mut newest, mut at) = (0, None);
    for sector in 0..count {
        let (number, free) = scan(flash, base(sector))?;
        if number > newest {
            (newest, at) = (number, Some((sector, free)));
        }
    }
    let number = newest + 1;
    let (mut sector, free) = at.unwrap_or((count - 1, None));
    if let Some(free) = free
        && write(flash, base(sector) + free, number)?
    {
        return Ok(number);
    }
    // Never the sector of the newest.
    for _ in 1..count {
        sector = (sector + 1) % count;
        flash.erase(base(sector), base(sector) + sector_len).map_err(FlashError::Driver)?;
        if write(flash, base(sector), number)? {
            return Ok(number);
        }
    }
    Err(FlashError::Region)
}

/// The highest number of a sector, and the first place after all that isn't erased.
fn scan<F: NorFlash>(flash: &mut F, base: u32) -> Result<(u64, Option<u32>), FlashError<F::Error>> {
    let (mut newest, mut free) = (0, None);
    for at in (0..F::ERASE_SIZE as u32).step_by(ENTRY) {
        match place(flash, base + at)? {
            Place::Erased => free = free.or(Some(at)),
            Place::Number(number) => (newest, free) = (newest.max(number), None),
            Place::Torn => free = None,
        }
    }
    Ok((newest, free))
}

fn place<F: NorFlash>(flash: &mut F, at: u32) -> Result<Place, FlashError<F::Error>> {
    let mut entry = [0; ENTRY];
    read(flash, at, &mut entry).map_err(FlashError::Driver)?;
    if entry.iter().all(|byte| *byte == 0xff) {
        return Ok(Place::Erased);
    }
    let parse = || {
        let mut fields = Fields(&entry);
        let (magic, number, crc): ([u8; 4], [u8; 8], [u8; 4]) =
            (fields.take()?, fields.take()?, fields.take()?);
        let good = magic == *MAGIC && u32::from_le_bytes(crc) == checksum(entry.get(..12)?);
        good.then_some(u64::from_le_bytes(number))
    };
    Ok(parse().map_or(Place::Torn, Place::Number))
}

/// Writes an entry. False where it doesn't stand there afterwards.
fn write<F: NorFlash>(flash: &mut F, at: u32, number: u64) -> Result<bool, FlashError<F::Error>> {
    let mut entry = [0xff; ENTRY];
    let bytes = MAGIC.iter().copied().chain(number.to_le_bytes());
    entry.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    let crc = checksum(entry.get(..12).unwrap_or_default());
    entry.iter_mut().skip(12).zip(crc.to_le_bytes()).for_each(|(to, from)| *to = from);
    flash.write(at, &entry).map_err(FlashError::Driver)?;
    Ok(matches!(place(flash, at)?, Place::Number(written) if written == number))
}
