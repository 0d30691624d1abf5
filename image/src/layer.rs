//! One open layer: what is proven at opening, and what at the first touch.
//!
//! **At opening**: length, magic, version, the tail against the layer's id (a BLAKE3 digest), all
//! positions against the file's bounds, and the sums against the generation's digest. That costs
//! the tail's length, a five-hundredth of the file, so a file that was cut off, or is not the
//! one that was named, is never opened.
//!
//! **At the first touch**: the checksum of each block before anything of it is given out. A bit for
//! each block remembers that it was found good. What is mapped and was proven isn't looked at
//! again: memory that goes bad later, or a disk that gives other bytes when a page is read a second
//! time, is not noticed here.

use crate::error::{Damaged, OpenError};
use crate::format::{BLOCK, END_MAGIC, LINE_BYTES, LayerId, MAGIC, PREAMBLE, TRAILER, VERSION, checksum};
use crate::map::Bytes;
use crate::tail::Tail;
use std::fmt;
use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A file, open and mapped.
pub(crate) struct Layer {
    bytes: Bytes,
    id: LayerId,
    tail: Tail,
    /// Where the tail begins, so how much of the file is in blocks.
    body: usize,
    checksums_at: usize,
    /// A bit for each block that was found good. It publishes nothing but itself: the blocks never
    /// change, so a reader that sees an old bit only looks once more.
    good: Box<[AtomicU64]>,
    /// All of them were, which makes a read shorter.
    all_good: AtomicBool,
    damaged: AtomicBool,
}

impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layer").field("id", &self.id).field("len", &self.len()).finish_non_exhaustive()
    }
}

impl Layer {
    /// Opens the file that has to be the layer of this id.
    pub(crate) fn open(path: &Path, id: LayerId) -> Result<Layer, OpenError> {
        let io = |error| OpenError::Io(path.to_path_buf(), error);
        let bytes = Bytes::map(&File::open(path).map_err(io)?).map_err(io)?;
        Layer::of(bytes, id, path)
    }

    /// Opens bytes; `path` is for errors.
    pub(crate) fn of(bytes: Bytes, id: LayerId, path: &Path) -> Result<Layer, OpenError> {
        let damaged = |cause| OpenError::Damaged(path.to_path_buf(), cause);
        let all = bytes.get();
        let preamble = all.get(..PREAMBLE).ok_or_else(|| damaged("it is cut off"))?;
        let (magic, rest) = preamble.split_at(MAGIC.len());
        let version = u32::from_le_bytes(*rest.first_chunk().ok_or_else(|| damaged("it is cut off"))?);
        if magic != MAGIC {
            return Err(damaged("it doesn't begin like an image"));
        }
        if version != VERSION {
            return Err(OpenError::Version(path.to_path_buf(), version));
        }
        let (tail, body, checksums_at) = find_tail(all, id).map_err(damaged)?;
        let good = (0..body.div_ceil(BLOCK).div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        Ok(Layer {
            bytes,
            id,
            tail,
            body,
            checksums_at,
            good,
            all_good: AtomicBool::new(false),
            damaged: AtomicBool::new(false),
        })
    }

    pub(crate) fn id(&self) -> LayerId {
        self.id
    }

    pub(crate) fn tail(&self) -> &Tail {
        &self.tail
    }

    /// Bytes of the whole file.
    pub(crate) fn len(&self) -> usize {
        self.bytes.get().len()
    }

    /// Whether something in it was found damaged so far.
    pub(crate) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Relaxed)
    }

    /// Bytes of the body, proven. Out of bounds is damage too.
    #[inline]
    pub(crate) fn read(&self, from: usize, len: usize) -> Result<&[u8], Damaged> {
        let end = from.saturating_add(len);
        if end > self.body {
            return Err(self.damage(from));
        }
        if !self.all_good.load(Ordering::Relaxed) {
            self.prove_range(from, end)?;
        }
        self.bytes.get().get(from..end).ok_or_else(|| self.damage(from))
    }

    /// A line of the index, proven, where it lies: a copy would make the processor wait for it.
    #[inline]
    pub(crate) fn read_line(&self, from: usize) -> Result<&[u8; LINE_BYTES], Damaged> {
        self.read(from, LINE_BYTES)?.first_chunk().ok_or_else(|| self.damage(from))
    }

    /// Eight bytes of the body, proven.
    #[inline]
    pub(crate) fn read_u64(&self, from: usize) -> Result<u64, Damaged> {
        let bytes = self.read(from, 8)?;
        bytes.first_chunk().map(|bytes| u64::from_le_bytes(*bytes)).ok_or_else(|| self.damage(from))
    }

    fn is_good(&self, block: usize) -> bool {
        self.good.get(block / 64).is_some_and(|word| word.load(Ordering::Relaxed) >> (block % 64) & 1 != 0)
    }

    /// Proves the blocks of a range that aren't known to be good.
    #[inline(never)]
    fn prove_range(&self, from: usize, end: usize) -> Result<(), Damaged> {
        let mut blocks = from / BLOCK..end.div_ceil(BLOCK);
        blocks.try_for_each(|block| if self.is_good(block) { Ok(()) } else { self.prove(block) })
    }

    /// Compares all blocks with their checksums, once.
    pub(crate) fn prove_all(&self) -> Result<(), Damaged> {
        if self.all_good.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.bytes.expect_all();
        (0..self.body.div_ceil(BLOCK)).try_for_each(|block| self.prove(block))?;
        self.all_good.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Compares a block with its checksum.
    fn prove(&self, block: usize) -> Result<(), Damaged> {
        let all = self.bytes.get();
        let from = block * BLOCK;
        let to = self.body.min(from.saturating_add(BLOCK));
        let sum_at = self.checksums_at + block * 8;
        let expected =
            all.get(sum_at..).and_then(|sums| sums.first_chunk()).map(|sum| u64::from_le_bytes(*sum));
        let found = all.get(from..to).map(checksum);
        if found.is_none() || found != expected {
            return Err(self.damage(from));
        }
        if let Some(word) = self.good.get(block / 64) {
            word.fetch_or(1 << (block % 64), Ordering::Relaxed);
        }
        Ok(())
    }

    /// Notes that something is damaged, for whoever asks later.
    #[cold]
    pub(crate) fn damage(&self, at: usize) -> Damaged {
        self.damaged.store(true, Ordering::Relaxed);
        Damaged { layer: self.id, at: at as u64 }
    }
}

/// The tail, where it begins, and where its checksums do.
fn find_tail(all: &[u8], id: LayerId) -> Result<(Tail, usize, usize), &'static str> {
    let trailer_at = all.len().checked_sub(TRAILER).filter(|at| *at >= PREAMBLE).ok_or("it is cut off")?;
    let (front, trailer) = all.split_at(trailer_at);
    let (tail_at, rest) = trailer.split_first_chunk::<8>().ok_or("it is cut off")?;
    let (named, end) = rest.split_first_chunk::<16>().ok_or("it is cut off")?;
    if end != END_MAGIC {
        return Err("it doesn't end like an image, so it is cut off");
    }
    let tail_at = usize::try_from(u64::from_le_bytes(*tail_at)).map_err(|_| "its tail is out of bounds")?;
    let tail = front.get(tail_at..).filter(|_| tail_at >= PREAMBLE).ok_or("its tail is out of bounds")?;
    if LayerId(*named) != id || LayerId::of_tail(tail) != id {
        return Err("its tables aren't those of the file that was named");
    }
    let (tail, checksums) = Tail::decode(tail, tail_at)?;
    Ok((tail, tail_at, tail_at + checksums))
}
