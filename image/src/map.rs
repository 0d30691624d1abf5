//! The bytes of a layer: a mapped file, or memory where there is no directory. The only `unsafe` of
//! this crate is here.

use memmap2::Mmap;
use std::fs::File;
use std::io;

/// Bytes that don't change.
pub(crate) enum Bytes {
    Mapped(Mmap),
    Held(Vec<u8>),
}

impl Bytes {
    /// Maps a whole file.
    pub(crate) fn map(file: &File) -> io::Result<Bytes> {
        #[expect(unsafe_code, reason = "a mapping is the point of this crate")]
        // SAFETY: what is mapped must not change or be cut off while it is. An image gets its name
        // only when it is whole, and whoever writes images never opens a named one for writing
        // again, only deletes it, which leaves the mapping as it is. Somebody else's process that
        // writes into the file breaks this; the directory belongs to one agent, which holds its
        // lock. The README says what such a write can do (limits).
        let map = unsafe { Mmap::map(file) }?;
        // Without this a first read waits for megabytes around what it reads.
        #[cfg(unix)]
        let _ = map.advise(memmap2::Advice::Random);
        Ok(Bytes::Mapped(map))
    }

    /// All of it is about to be read: in pieces as large as the system can make them, which spare a
    /// random read later most of what it costs to find where the memory is. Where the system has no
    /// large pages for files, it refuses, and goes on with small ones.
    pub(crate) fn expect_all(&self) {
        #[cfg(unix)]
        if let Bytes::Mapped(map) = self {
            let _ = map.advise(memmap2::Advice::Normal);
            #[cfg(target_os = "linux")]
            let _ = map.advise(memmap2::Advice::HugePage);
        }
    }

    #[inline]
    pub(crate) fn get(&self) -> &[u8] {
        match self {
            Bytes::Mapped(map) => map,
            Bytes::Held(bytes) => bytes,
        }
    }
}
