//! The last good generation in flash, so that a restarted device has something to serve within its
//! mode's rule (PROTOCOL §5, `start_wait`). The counter of a device's lives is in `counter`.
//!
//! The rule is the reference agent's: content may be written once it is verified, and is the last good
//! generation once it is published as active and not stale. So it is written in two steps, into slots
//! that take turns:
//! ```text
//! 96 bytes of header, written last:
//!     "dbg1"  u32 CRC of the farm's name  u64 sequence  u64 epoch  32 bytes digest
//!     32 bytes name of the object  u32 its length  u32 CRC of all this
//! the object
//! ```
//! The header's sector is the first to be erased and the header the last to be written, and the newest
//! slot is never touched: wherever the power is cut, a generation that was stored before is still there.
//! What is read is proven by its digests as if it came from the server. All integers are little endian.

mod counter;

pub use counter::next_incarnation;

use core::fmt;
use core::ops::Range;
use downbeat_core::frame::checksum;
use downbeat_core::ids::{Digest, Generation, Name};
use embedded_storage::nor_flash::NorFlash;

const HEADER: usize = 96;
const MAGIC: &[u8; 4] = b"dbg1";
/// The largest word that flash may be written or read in; header and pieces are multiples of it.
const WORD_MAX: usize = 32;

/// A generation as it is stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stored {
    /// Which one.
    pub generation: Generation,
    /// The name of the object that it came in.
    pub name: Digest,
    /// Bytes of that object.
    pub len: usize,
}

/// Where the last good generation is kept. An agent tells it what it holds and what is good, and gives
/// it moments to write in.
pub trait Storage {
    /// Reads the newest generation of this farm that `proves` takes, into the front of `buffer`.
    fn load(
        &mut self,
        farm: &Name,
        buffer: &mut [u8],
        proves: &dyn Fn(&Stored, &[u8]) -> bool,
    ) -> Option<Stored>;

    /// This generation is held as a whole and may be written ahead of time.
    fn prepare(&mut self, held: Stored);

    /// This generation is served as current: it is the last good one from now on.
    fn note(&mut self, good: Generation);

    /// The content that was to be written is no longer held.
    fn forget(&mut self, digest: Digest);

    /// What the next [`Storage::step`] needs; `None` where there is nothing to write.
    fn wants(&self) -> Option<Want>;

    /// Does one bounded piece of work: an erasure or a write. `piece` is what it wants.
    fn step(&mut self, piece: &[u8]) -> Step;
}

/// Bytes in the longest piece of content that a [`Storage`] may want at once.
pub const PIECE_MAX: usize = 128;

/// A piece of content that a [`Storage`] needs for its next step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Want {
    /// Of which generation.
    pub digest: Digest,
    /// The first byte.
    pub from: usize,
    /// How many, at most [`PIECE_MAX`]; none for a step that needs no content.
    pub len: usize,
}

/// What a step of a [`Storage`] came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// More is to come.
    Going,
    /// The last good generation is stored.
    Stored,
    /// The flash refused; what was stored before stands, and nothing more is tried for this generation.
    Failed,
}

/// For devices that keep nothing: after a restart they serve once they have retrieved.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoStorage;

impl Storage for NoStorage {
    fn load(&mut self, _: &Name, _: &mut [u8], _: &dyn Fn(&Stored, &[u8]) -> bool) -> Option<Stored> {
        None
    }
    fn prepare(&mut self, _: Stored) {}
    fn note(&mut self, _: Generation) {}
    fn forget(&mut self, _: Digest) {}
    fn wants(&self) -> Option<Want> {
        None
    }
    fn step(&mut self, _: &[u8]) -> Step {
        Step::Failed
    }
}

/// Why a part of a flash can't be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FlashError<E> {
    /// It isn't whole erase sectors of the flash, or too few of them.
    Region,
    /// It is read or written in words of more than 32 bytes, or of a size that doesn't divide 32.
    Word,
    /// The driver's error.
    Driver(E),
}

impl<E> fmt::Display for FlashError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FlashError::Region => {
                "the region must be whole erase sectors of the flash, at least one for each slot"
            }
            FlashError::Word => "the flash must be read and written in words whose size divides 32",
            FlashError::Driver(_) => "the flash can't be read or written",
        })
    }
}

/// Checks that a region is whole sectors, and how many.
fn sectors<F: NorFlash>(flash: &F, region: &Range<u32>) -> Result<u32, FlashError<F::Error>> {
    let sector = F::ERASE_SIZE as u32;
    let divides = |size: usize| size > 0 && WORD_MAX.is_multiple_of(size);
    if !divides(F::WRITE_SIZE) || !divides(F::READ_SIZE) {
        return Err(FlashError::Word);
    }
    let whole = region.start.is_multiple_of(sector) && region.end.is_multiple_of(sector);
    if !whole || region.start > region.end || region.end as usize > flash.capacity() {
        return Err(FlashError::Region);
    }
    Ok((region.end - region.start) / sector)
}

/// Reads bytes in words of the flash. `at` is a multiple of [`WORD_MAX`].
fn read<F: NorFlash>(flash: &mut F, at: u32, into: &mut [u8]) -> Result<(), F::Error> {
    let (words, rest) = into.split_at_mut(into.len() - into.len() % WORD_MAX);
    flash.read(at, words)?;
    if !rest.is_empty() {
        let mut word = [0; WORD_MAX];
        flash.read(at + words.len() as u32, &mut word)?;
        rest.iter_mut().zip(word).for_each(|(to, from)| *to = from);
    }
    Ok(())
}

/// Keeps the last good generation in a part of a NOR flash: two slots or more, which take turns.
///
/// Each new content costs one erasure of every sector of a slot that it needs; content that was stored
/// already is not written again, whatever its epoch. An erasure blocks the agent's task for as long as
/// the flash takes, one sector at a time, never a reader on another executor; it comes after a
/// generation is verified, not at its activation, when only the header is written.
#[derive(Debug)]
pub struct Flash<F> {
    flash: F,
    start: u32,
    slots: u32,
    slot_len: u32,
    /// The CRC of the farm's name.
    farm: u32,
    sequence: u64,
    newest: Option<(u32, Digest)>,
    next: u32,
    good: Option<Generation>,
    work: Option<Work>,
    /// To be written once what is being written is the last good one.
    queued: Option<Stored>,
}

/// A generation that is being written.
#[derive(Clone, Copy, Debug)]
struct Work {
    stored: Stored,
    slot: u32,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// From this byte of the slot on.
    Erasing(u32),
    /// From this byte of the object on.
    Writing(usize),
    /// All but the header is written.
    Written,
}

impl<F: NorFlash> Flash<F> {
    /// Uses a region of the flash, in bytes, divided into so many slots of whole erase sectors. A slot
    /// holds a content buffer and 96 bytes; more slots spread the wear.
    ///
    /// # Errors
    /// [`FlashError::Region`], also for fewer than two slots; [`FlashError::Word`].
    pub fn new(flash: F, region: Range<u32>, slots: u32) -> Result<Flash<F>, FlashError<F::Error>> {
        let sectors = sectors(&flash, &region)?;
        let of_each = sectors.checked_div(slots).unwrap_or(0);
        if slots < 2 || of_each == 0 {
            return Err(FlashError::Region);
        }
        Ok(Flash {
            flash,
            start: region.start,
            slots,
            slot_len: of_each * F::ERASE_SIZE as u32,
            farm: 0,
            sequence: 0,
            newest: None,
            next: 0,
            good: None,
            work: None,
            queued: None,
        })
    }

    fn begin(&mut self, stored: Stored) {
        if self.newest.is_some_and(|(slot, _)| slot == self.next) {
            self.next = (self.next + 1) % self.slots;
        }
        self.work = Some(Work { stored, slot: self.next, stage: Stage::Erasing(0) });
    }

    fn header(&mut self, slot: u32) -> Option<(u64, Stored)> {
        let mut header = [0; HEADER];
        read(&mut self.flash, self.start + slot * self.slot_len, &mut header).ok()?;
        let (checked, crc) = header.split_last_chunk::<4>()?;
        let mut fields = Fields(checked);
        let (magic, farm): ([u8; 4], [u8; 4]) = (fields.take()?, fields.take()?);
        let (sequence, epoch) = (u64::from_le_bytes(fields.take()?), u64::from_le_bytes(fields.take()?));
        let (digest, name) = (Digest(fields.take()?), Digest(fields.take()?));
        let len = usize::try_from(u32::from_le_bytes(fields.take()?)).ok()?;
        let good = magic == *MAGIC
            && u32::from_le_bytes(*crc) == checksum(checked)
            && u32::from_le_bytes(farm) == self.farm
            && len <= (self.slot_len as usize).saturating_sub(HEADER);
        good.then_some((sequence, Stored { generation: Generation { epoch, digest }, name, len }))
    }

    fn write_header(&mut self, work: Work, good: Generation) -> Result<(), F::Error> {
        let mut header = [0; HEADER];
        let parts: [&[u8]; 7] = [
            MAGIC,
            &self.farm.to_le_bytes(),
            &(self.sequence + 1).to_le_bytes(),
            &good.epoch.to_le_bytes(),
            &good.digest.0,
            &work.stored.name.0,
            &(work.stored.len as u32).to_le_bytes(),
        ];
        header.iter_mut().zip(parts.into_iter().flatten()).for_each(|(to, from)| *to = *from);
        if let Some((checked, crc)) = header.split_last_chunk_mut::<4>() {
            *crc = checksum(checked).to_le_bytes();
        }
        self.flash.write(self.start + work.slot * self.slot_len, &header)
    }

    /// One erasure or write; what comes next.
    fn proceed(&mut self, work: Work, piece: &[u8]) -> Result<Stage, F::Error> {
        let base = self.start + work.slot * self.slot_len;
        match work.stage {
            Stage::Erasing(at) => {
                let end = at + F::ERASE_SIZE as u32;
                self.flash.erase(base + at, base + end)?;
                let over = end as usize >= HEADER + work.stored.len;
                Ok(if over { Stage::Writing(0) } else { Stage::Erasing(end) })
            }
            Stage::Writing(at) => {
                // The last word is filled up with what erased flash is.
                let mut words = [0xff; PIECE_MAX];
                words.iter_mut().zip(piece).for_each(|(to, from)| *to = *from);
                let len = piece.len().next_multiple_of(F::WRITE_SIZE).min(PIECE_MAX);
                self.flash.write(base + (HEADER + at) as u32, words.get(..len).unwrap_or_default())?;
                let end = at + piece.len();
                Ok(if end >= work.stored.len { Stage::Written } else { Stage::Writing(end) })
            }
            Stage::Written => Ok(Stage::Written),
        }
    }
}

impl<F: NorFlash> Storage for Flash<F> {
    fn load(
        &mut self,
        farm: &Name,
        buffer: &mut [u8],
        proves: &dyn Fn(&Stored, &[u8]) -> bool,
    ) -> Option<Stored> {
        self.farm = checksum(farm.as_str().as_bytes());
        let mut before = u64::MAX;
        loop {
            let older = (0..self.slots).filter_map(|slot| Some((slot, self.header(slot)?)));
            let (slot, (sequence, stored)) = older
                .filter(|(_, (sequence, _))| *sequence < before)
                .max_by_key(|(_, (sequence, _))| *sequence)?;
            self.sequence = self.sequence.max(sequence);
            before = sequence;
            let Some(content) = buffer.get_mut(..stored.len) else { continue };
            let from = self.start + slot * self.slot_len + HEADER as u32;
            if read(&mut self.flash, from, content).is_ok() && proves(&stored, content) {
                self.newest = Some((slot, stored.generation.digest));
                self.good = Some(stored.generation);
                return Some(stored);
            }
        }
    }

    fn prepare(&mut self, held: Stored) {
        let digest = held.generation.digest;
        if self.newest.is_some_and(|(_, newest)| newest == digest) {
            return;
        }
        match &mut self.work {
            Some(work) if work.stored.generation.digest == digest => {}
            // It is the last good one, and not stored yet.
            Some(work) if self.good.is_some_and(|good| good.digest == work.stored.generation.digest) => {
                self.queued = Some(held);
            }
            _ => self.begin(held),
        }
    }

    fn note(&mut self, good: Generation) {
        self.good = Some(good);
    }

    fn forget(&mut self, digest: Digest) {
        self.queued = self.queued.filter(|queued| queued.generation.digest != digest);
        if self.work.is_some_and(|work| work.stored.generation.digest == digest) {
            self.work = None;
            if let Some(queued) = self.queued.take() {
                self.begin(queued);
            }
        }
    }

    fn wants(&self) -> Option<Want> {
        let Work { stored, stage, .. } = self.work?;
        let digest = stored.generation.digest;
        match stage {
            Stage::Erasing(_) => Some(Want { digest, from: 0, len: 0 }),
            Stage::Writing(from) => Some(Want { digest, from, len: PIECE_MAX.min(stored.len - from) }),
            Stage::Written if self.good.is_some_and(|good| good.digest == digest) => {
                Some(Want { digest, from: 0, len: 0 })
            }
            Stage::Written => None,
        }
    }

    fn step(&mut self, piece: &[u8]) -> Step {
        let Some(work) = self.work else { return Step::Failed };
        let fits = HEADER + work.stored.len <= self.slot_len as usize;
        let done = match (work.stage, self.good) {
            (Stage::Written, Some(good)) => self.write_header(work, good).map(|()| None),
            _ if fits => self.proceed(work, piece).map(Some),
            _ => {
                self.forget(work.stored.generation.digest);
                return Step::Failed;
            }
        };
        match done {
            Ok(Some(stage)) => {
                self.work = Some(Work { stage, ..work });
                Step::Going
            }
            Ok(None) => {
                self.sequence += 1;
                self.newest = Some((work.slot, work.stored.generation.digest));
                self.forget(work.stored.generation.digest);
                Step::Stored
            }
            Err(_) => {
                // Another slot for what comes next; this one may be worn out.
                self.next = (work.slot + 1) % self.slots;
                self.forget(work.stored.generation.digest);
                Step::Failed
            }
        }
    }
}

/// Takes fields off the front of bytes.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const LEN: usize>(&mut self) -> Option<[u8; LEN]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }
}
