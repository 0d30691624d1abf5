//! Some 32-bit words as one atomic value, for one writer and any number of readers. No `unsafe`,
//! no 64-bit atomics (a Cortex-M has none), nobody waits: the only concurrent code of this crate.
//! What the words mean is in `layout`, who may write in the module above.
//!
//! A version word names the current one of two blocks: version v stands in block v mod 2. Publish
//! v + 1 writes the *other* block, and then the version. So the current block is never touched, and
//! a reader can be disturbed only where two publishes begin while it reads; then it reads again.
//! A writer that dies at any store leaves the version, and with it the value, as they were.
//!
//! How a reader sees that its block was overwritten, without a fence:
//! - A publish first stores the block's serial, then its words, all with `Release`; a reader loads
//!   the words with `Acquire` and the serial after them. A reader that saw any word of a later
//!   publish therefore sees that publish's serial, too.
//! - The block's checksum is over its serial and its words. It tells the same by itself, for
//!   readers outside of this memory model: processes in other languages, a page on a disk.
//!
//! Each seeded bug (`downbeat_bug`) is refuted by tests/loom_cell.rs; see `.ci/loom`.

use crate::frame::CRC;
use crate::sync::{AtomicU32, Ordering, spin_loop};
use core::iter::once;

const WORDS_ORDER: (Ordering, Ordering) = if cfg!(downbeat_bug = "relaxed_words") {
    (Ordering::Relaxed, Ordering::Relaxed)
} else {
    (Ordering::Release, Ordering::Acquire)
};

/// `N` words that are read and published as one value. The layout is the control page's.
#[repr(C)]
pub struct WordCell<const N: usize> {
    version: AtomicU32,
    blocks: [Block<N>; 2],
}

#[repr(C)]
struct Block<const N: usize> {
    /// The version that the words are of.
    serial: AtomicU32,
    words: [AtomicU32; N],
    checksum: AtomicU32,
}

impl<const N: usize> Block<N> {
    fn new(serial: u32, words: &[u32; N], checksum: u32) -> Block<N> {
        Block {
            serial: AtomicU32::new(serial),
            words: core::array::from_fn(|at| AtomicU32::new(words[at])),
            checksum: AtomicU32::new(checksum),
        }
    }
}

impl<const N: usize> WordCell<N> {
    /// A cell that holds these words as version 0.
    pub fn new(words: &[u32; N]) -> WordCell<N> {
        let current = Block::new(0, words, checksum(0, words));
        // No version has this parity and this serial until four billion publishes have passed.
        let empty = Block::new(u32::MAX, &[0; N], 0);
        WordCell { version: AtomicU32::new(0), blocks: [current, empty] }
    }

    /// The current version: one atomic load. It rises by one with each publish, and wraps.
    ///
    /// What the caller does afterwards (looking at a clock) isn't moved before this load.
    #[inline]
    pub fn version(&self) -> u32 {
        self.version.load(if cfg!(downbeat_bug = "relaxed_load") {
            Ordering::Relaxed
        } else {
            Ordering::Acquire
        })
    }

    /// The current words and their version; `None` where two publishes began meanwhile.
    pub fn try_load(&self) -> Option<(u32, [u32; N])> {
        self.try_load_as(self.version())
    }

    /// The words of this version, which was loaded before.
    fn try_load_as(&self, version: u32) -> Option<(u32, [u32; N])> {
        let block = self.block(version);
        let words = core::array::from_fn(|at| block.words[at].load(WORDS_ORDER.1));
        let sum = block.checksum.load(WORDS_ORDER.1);
        // After the words: see the head of this file.
        let serial = block.serial.load(Ordering::Relaxed);
        // Seeded: whatever whole value stands in the block is taken, and it may not be published yet.
        let version = if cfg!(downbeat_bug = "by_serial") { serial } else { version };
        if cfg!(downbeat_bug = "restored_serial") && serial != version {
            // Seeded: a reader writes.
            block.serial.store(version, Ordering::Relaxed);
        }
        let same = serial == version || cfg!(downbeat_bug = "no_recheck");
        let whole = sum == checksum(version, &words) || cfg!(downbeat_bug = "no_checksum");
        (same && whole).then_some((version, words))
    }

    /// The current words and their version. Each further try means that the writer has published
    /// since; the writer never has to be waited for, so even an interrupt that stopped it in the
    /// middle of a publish loads at the first try.
    pub fn load(&self) -> (u32, [u32; N]) {
        let mut tries = 0u32;
        let mut version = self.version();
        loop {
            if let Some(loaded) = self.try_load_as(version) {
                return loaded;
            }
            // The checker can't end a loop that a seeded bug makes endless.
            tries = tries.saturating_add(1);
            assert!(!cfg!(downbeat_loom) || tries < 8, "a load that doesn't come back");
            spin_loop();
            // Seeded: the reader goes on looking for what is replaced.
            if !cfg!(downbeat_bug = "first_version") {
                version = self.version();
            }
        }
    }

    /// Publishes words and returns their version. One writer at a time; who that is, is the
    /// caller's to see to.
    pub fn publish(&self, words: &[u32; N]) -> u32 {
        self.stores(words).for_each(|(place, value, order)| place.store(value, order));
        self.version.load(Ordering::Relaxed)
    }

    /// A publish by a writer that dies after so many stores, for the checker. A whole publish has
    /// `N + 3`.
    #[cfg(downbeat_loom)]
    pub fn publish_and_die(&self, words: &[u32; N], stores: usize) {
        self.stores(words).take(stores).for_each(|(place, value, order)| place.store(value, order));
    }

    /// The stores of a publish, in their order.
    fn stores<'a>(&'a self, words: &'a [u32; N]) -> impl Iterator<Item = (&'a AtomicU32, u32, Ordering)> {
        let current = self.current();
        let next = current.wrapping_add(1);
        let block = self.block(if cfg!(downbeat_bug = "same_block") { current } else { next });
        let relaxed = cfg!(downbeat_bug = "relaxed_version");
        let version = (&self.version, next, if relaxed { Ordering::Relaxed } else { Ordering::Release });
        let (early, last) =
            if cfg!(downbeat_bug = "version_first") { (Some(version), None) } else { (None, Some(version)) };
        early
            .into_iter()
            .chain(once((&block.serial, next, WORDS_ORDER.0)))
            .chain(block.words.iter().zip(words).map(|(place, word)| (place, *word, WORDS_ORDER.0)))
            .chain(once((&block.checksum, checksum(next, words), WORDS_ORDER.0)))
            .chain(last)
    }

    /// The version that the next publish follows: the published one, whatever a writer that died has
    /// left in the other block.
    fn current(&self) -> u32 {
        let version = self.version.load(Ordering::Relaxed);
        let begun = version.wrapping_add(1);
        let is_begun = || self.block(begun).serial.load(Ordering::Relaxed) == begun;
        if cfg!(downbeat_bug = "continues_by_serial") && is_begun() { begun } else { version }
    }

    fn block(&self, version: u32) -> &Block<N> {
        &self.blocks[(version % 2) as usize]
    }
}

/// CRC-32 (as in a frame) over the serial and the words, each little endian.
fn checksum(serial: u32, words: &[u32]) -> u32 {
    let mut digest = CRC.digest();
    digest.update(&serial.to_le_bytes());
    words.iter().for_each(|word| digest.update(&word.to_le_bytes()));
    digest.finalize()
}
