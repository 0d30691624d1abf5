//! Compressing: how a packed object comes to be (FORMATS "packed object"), and which level that takes.
//!
//! What compresses well depends on what people keep: on values that look random (hexadecimal digests)
//! zstd's level 1 writes 8 % less than levels 6 to 15, on text each of these writes less than the one
//! before, level 12 a fifth less than level 1. From level 16 on (where zstd weighs what each way to write
//! bytes would cost) both come out well: on short JSON values a tenth less than level 12, on digests 3 %
//! less than level 1. That takes thirty times as long. So it is done for what ends within the trial, as
//! deltas do, by two threads, and where a sample says that it pays. Of what is longer a beginning is
//! compressed with two fast levels, and the better one does the rest. What is small is given more time.

use std::io::{self, Write};
use zstd::bulk::Compressor;
use zstd::stream::raw::CParameter;
use zstd::stream::write::Encoder;

/// Bytes of a longer object on which the levels are tried.
const TRIAL: usize = 2 << 20;
/// Objects up to so many bytes take milliseconds at any level.
const SMALL: usize = 128 << 10;
/// Percent that more time has to save of a sample.
const WORTH: usize = 6;
/// Bytes that one thread takes at once: the least that zstd allows.
const SHARE: u32 = 512 << 10;

/// The level of an object that ends within the trial. 1.3 MB of text take about half a second of
/// processor time, what looks random a tenth of that.
fn level_of_whole(bytes: &[u8]) -> io::Result<i32> {
    let Some(sample) = bytes.get(..SMALL).filter(|_| bytes.len() > SMALL) else { return Ok(19) };
    let len = |level| Ok::<_, io::Error>(Compressor::new(level)?.compress(sample)?.len());
    let (slow, fast) = (16, 1);
    Ok(if len(slow)? * 100 <= len(fast)? * (100 - WORTH) { slow } else { fast })
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
                out.write_all(&whole(&beginning)?)?;
                Ok(out)
            }
            State::Going(encoder) => encoder.finish(),
            State::Broken => Err(io::Error::other("compressing it failed before")),
        }
    }
}

/// What ends within the trial, compressed. The same bytes give the same, however many threads there are.
fn whole(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut compressor = Compressor::new(level_of_whole(bytes)?)?;
    if bytes.len() > SHARE as usize {
        compressor.set_parameter(CParameter::NbWorkers(2))?;
        compressor.set_parameter(CParameter::JobSize(SHARE))?;
    }
    compressor.compress(bytes)
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
        for len in [0, 1, SMALL, SMALL + 1, SHARE as usize + 1, TRIAL, TRIAL + 1, 3 * TRIAL] {
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
        assert_eq!(best(&text, LEVELS_OF_LONG).unwrap().0, 9);
        assert_eq!(best(&digests, LEVELS_OF_LONG).unwrap().0, 1);
        assert!(packed(&digests, 4_096).len() < digests.len() * 55 / 100);
    }

    #[test]
    fn time_is_given_to_what_it_pays_for() {
        assert_eq!(level_of_whole(&bytes(SMALL, true)).unwrap(), 19);
        assert_eq!(level_of_whole(&bytes(SMALL + 1, true)).unwrap(), 1);
        assert_eq!(level_of_whole(&bytes(SMALL + 1, false)).unwrap(), 16);
    }

    /// A delta of many short texts costs little more than it would with all the time in the world.
    #[test]
    fn what_a_cycle_changes_is_given_time() {
        for digests in [false, true] {
            let bytes = bytes(1_200_000, digests);
            let least = Compressor::new(19).unwrap().compress(&bytes).unwrap().len();
            let packed = packed(&bytes, 4_096).len();
            assert!(packed * 100 <= least * 105, "{packed} bytes, and {least} at level 19");
            let fast = Compressor::new(if digests { 12 } else { 1 }).unwrap().compress(&bytes).unwrap().len();
            assert!(packed * 100 < fast * 95, "{packed} bytes, and {fast} done fast");
        }
    }
}
