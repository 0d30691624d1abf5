//! Unpacking a packed object while it arrives (FORMATS "packed object"), in bounded memory: a window
//! of at most 8 MiB, and no more output than the head promises, which is within the agent's limit.

use crate::filling::Fault;
use downbeat_core::ids::Digest;
use downbeat_core::message::ObjectRef;
use downbeat_core::object::HeadReader;
use downbeat_core::object::packed::WINDOW_LOG_MAX;
use std::io::{self, BufRead, Read, Take};
use zstd::stream::read::Decoder;

/// The first bytes of an object's file, by which its form is told. Fewer, and zeros, where it ends.
pub(crate) fn form(file: &mut impl Read) -> io::Result<[u8; 8]> {
    let mut beginning = [0; 8];
    let mut len = 0;
    while let Some(rest @ [_, ..]) = beginning.get_mut(len..)
        && let more @ 1.. = file.read(rest)?
    {
        len += more;
    }
    Ok(beginning)
}

/// A packed object that is read as what is in it.
pub(crate) struct Packed<'a, R: BufRead> {
    name: Digest,
    object: ObjectRef,
    decoder: Decoder<'static, Hashed<Take<&'a mut R>>>,
}

impl<'a, R: BufRead> Packed<'a, R> {
    /// Begins with the file of this name, whose first bytes were read already. `most` is the
    /// longest object that is taken.
    pub(crate) fn begin(
        name: Digest,
        beginning: &[u8],
        file: Take<&'a mut R>,
        most: u64,
    ) -> Result<Packed<'a, R>, Fault> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(beginning);
        let mut file = Hashed { inner: file, hasher };
        let mut reader = HeadReader::new(most);
        let mut head = reader.next(&mut &*beginning)?;
        while head.is_none() {
            let mut piece = file.fill_buf()?;
            let len = piece.len();
            if len == 0 {
                return Err(reader.finish().into());
            }
            head = reader.next(&mut piece)?;
            let taken = len - piece.len();
            file.consume(taken);
        }
        let object = head.map(|head| head.object).ok_or_else(|| reader.finish())?;
        let mut decoder = Decoder::with_buffer(file)?.single_frame();
        decoder.window_log_max(WINDOW_LOG_MAX)?;
        Ok(Packed { name, object, decoder })
    }

    /// The object inside.
    pub(crate) fn object(&self) -> ObjectRef {
        self.object
    }

    /// All of what is inside was read, and proven: now the file has to be at its end, and have its
    /// name.
    pub(crate) fn finish(self) -> Result<(), Fault> {
        let mut file = self.decoder.finish();
        if !file.fill_buf()?.is_empty() {
            return Err(Fault::Stream("something follows its end".to_string()));
        }
        let name = Digest(*file.hasher.finalize().as_bytes());
        if name == self.name { Ok(()) } else { Err(Fault::Name) }
    }
}

impl<R: BufRead> Read for Packed<'_, R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        self.decoder.read(to)
    }
}

/// Hashes what is taken from it.
struct Hashed<R> {
    inner: R,
    hasher: blake3::Hasher,
}

impl<R: BufRead> Read for Hashed<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let len = self.inner.read(to)?;
        self.hasher.update(to.get(..len).unwrap_or_default());
        Ok(len)
    }
}

impl<R: BufRead> BufRead for Hashed<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, len: usize) {
        // What is consumed was given out by `fill_buf`, so this gives it again.
        if let Ok(bytes) = self.inner.fill_buf() {
            self.hasher.update(bytes.get(..len).unwrap_or_default());
        }
        self.inner.consume(len);
    }
}
