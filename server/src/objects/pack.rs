//! Compressing: how a packed object comes to be (FORMATS "packed object"), and which level that takes.
//!
//! What compresses well depends on what people keep: on values that look random (hexadecimal digests)
//! zstd's level 1 writes 7 % less than level 9 and takes a fifth of the time, on text level 9 writes a
//! sixth less than level 1. So a beginning of each object is compressed with both, and the better one
//! does the rest. What is small enough is given more time.

use std::io::{self, Write};
use zstd::bulk::Compressor;
use zstd::stream::write::Encoder;

/// Bytes of an object on which the levels are tried; what isn't longer is compressed by the trial.
const TRIAL: usize = 2 << 20;
/// Objects up to so many bytes take milliseconds at any level.
const SMALL: usize = 128 << 10;

/// Levels for an object that ends within the trial, by its length: 0.15 s for 1.2 MB.
fn levels_of_whole(len: usize) -> &'static [i32] {
    if len <= SMALL { &[19] } else { &[1, 12] }
}

/// Levels for what is longer: 15 to 20 MB a second.
const LEVELS_OF_LONG: &[i32] = &[1, 9];

/// Compresses an object as it is written, into one zstd frame.
pub(super) struct Packer<W: Write> {
    state: State<W>,
}

enum State<W: Write> {
    /// Nothing was compressed yet.
    Trying { beginning: Vec<u8>, out: W },
    /// The level is chosen.
    Going(Encoder<'static, W>),
    /// An error ended it.
    Broken,
}

impl<W: Write> Packer<W> {
    pub(super) fn new(out: W) -> Packer<W> {
        Packer { state: State::Trying { beginning: Vec::new(), out } }
    }

    /// Takes the object's next bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        match std::mem::replace(&mut self.state, State::Broken) {
            State::Trying { mut beginning, out } if beginning.len() + bytes.len() <= TRIAL => {
                beginning.extend_from_slice(bytes);
                self.state = State::Trying { beginning, out };
            }
            State::Trying { beginning, out } => {
                let (level, _) = best(&beginning, LEVELS_OF_LONG)?;
                let mut encoder = Encoder::new(out, level)?;
                encoder.write_all(&beginning)?;
                encoder.write_all(bytes)?;
                self.state = State::Going(encoder);
            }
            State::Going(mut encoder) => {
                encoder.write_all(bytes)?;
                self.state = State::Going(encoder);
            }
            State::Broken => return Err(io::Error::other("compressing it failed before")),
        }
        Ok(())
    }

    /// Ends the frame.
    pub(super) fn finish(self) -> io::Result<W> {
        match self.state {
            State::Trying { beginning, mut out } => {
                let (_, packed) = best(&beginning, levels_of_whole(beginning.len()))?;
                out.write_all(&packed)?;
                Ok(out)
            }
            State::Going(encoder) => encoder.finish(),
            State::Broken => Err(io::Error::other("compressing it failed before")),
        }
    }
}

/// The level that makes the fewest bytes of these, and the bytes.
fn best(bytes: &[u8], levels: &[i32]) -> io::Result<(i32, Vec<u8>)> {
    let mut best: Option<(i32, Vec<u8>)> = None;
    for &level in levels {
        let packed = Compressor::new(level)?.compress(bytes)?;
        if best.as_ref().is_none_or(|(_, least)| packed.len() < least.len()) {
            best = Some((level, packed));
        }
    }
    best.ok_or_else(|| io::Error::other("no level to compress with"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use downbeat_core::object::packed::WINDOW_LOG_MAX;
    use std::io::Read;

    /// Text as prices are, or digests in hexadecimal digits.
    fn bytes(len: usize, digests: bool) -> Vec<u8> {
        let mut bytes = Vec::new();
        for n in 0u64.. {
            let digest = blake3::hash(&n.to_le_bytes());
            let [a, b, c, ..] = *digest.as_bytes();
            let price = format!("{{\"price\":\"{a}.{b:02}\",\"currency\":\"EUR\",\"stock\":{c}}}");
            let text = if digests { digest.to_hex().to_string() } else { price };
            bytes.extend_from_slice(text.as_bytes());
            if bytes.len() >= len {
                break;
            }
        }
        bytes.truncate(len);
        bytes
    }

    fn packed(bytes: &[u8], piece: usize) -> Vec<u8> {
        let mut packer = Packer::new(Vec::new());
        bytes.chunks(piece).for_each(|piece| packer.push(piece).unwrap());
        packer.finish().unwrap()
    }

    /// With a window no larger than the format allows, around every length at which something changes.
    #[test]
    fn what_is_compressed_is_decompressed_with_the_formats_window() {
        for len in [0, 1, SMALL, SMALL + 1, TRIAL, TRIAL + 1, 3 * TRIAL] {
            for digests in [false, true] {
                let bytes = bytes(len, digests);
                let packed = packed(&bytes, 70_001);
                let mut decoder = zstd::stream::read::Decoder::new(packed.as_slice()).unwrap();
                decoder.window_log_max(WINDOW_LOG_MAX).unwrap();
                let mut found = Vec::new();
                decoder.single_frame().read_to_end(&mut found).unwrap();
                assert!(found == bytes, "{len} bytes came back as {}", found.len());
            }
        }
    }

    #[test]
    fn the_level_that_suits_the_bytes_is_taken() {
        let (text, digests) = (bytes(1 << 20, false), bytes(1 << 20, true));
        assert_eq!(best(&text, &[1, 12]).unwrap().0, 12);
        assert_eq!(best(&digests, &[1, 12]).unwrap().0, 1);
        assert!(packed(&digests, 4_096).len() < digests.len() * 55 / 100);
    }
}
