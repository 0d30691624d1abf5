//! The bytes around a message (FORMATS "frame"), the same on TCP and on a serial line: version
//! byte, postcard body, CRC-32 (ISO-HDLC, little endian), COBS, 0x00.
//!
//! [`encode`] writes one frame; a [`Receiver`] takes the bytes of a stream, however they are cut,
//! and yields messages. What arrives may be anything: a frame that doesn't parse is dropped,
//! counted by its [`Fault`] and told to the caller, and the next 0x00 begins anew. Nothing here
//! panics, waits or allocates. What a message means is not decided here.

use crate::message::VERSION;
use core::fmt;
use postcard::Serializer;
use postcard::ser_flavors::{Cobs, Flavor, Slice};
use serde::{Deserialize, Serialize};

/// Bytes in the largest body of a frame (FORMATS "limits").
pub const BODY_MAX: usize = 1024;
/// Bytes in the largest frame, its closing 0x00 included: what a buffer for [`encode`] needs.
pub const FRAME_MAX: usize = stuffed(PACKED_MAX) + 1;

/// The CRC of frames, and of the blocks of `cell`: CRC-32/ISO-HDLC, which every language has.
pub(crate) const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);

/// The checksum of frames (CRC-32/ISO-HDLC) of other bytes: for what a host writes down and must know to
/// be whole.
pub fn checksum(bytes: &[u8]) -> u32 {
    CRC.checksum(bytes)
}

const VERSION_LEN: usize = 1;
const CRC_LEN: usize = 4;
/// Version byte, body and CRC, before they are stuffed.
const PACKED_MAX: usize = VERSION_LEN + BODY_MAX + CRC_LEN;

/// The most bytes that COBS makes of `len` bytes, which is at least 1.
const fn stuffed(len: usize) -> usize {
    len + len.div_ceil(254)
}

/// Whether messages of a version can be read here. A server speaks N and N − 1 (FORMATS
/// "evolution"); 1 is the first version, so it is the only one.
pub const fn is_spoken(version: u8) -> bool {
    version == VERSION
}

/// Why a message could not be put into a frame. Nothing was sent; both are the caller's fault.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum EncodeError {
    /// Its body is longer than [`BODY_MAX`].
    BodyTooLarge,
    /// The buffer is shorter than the frame.
    BufferTooSmall,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EncodeError::BodyTooLarge => {
                write!(f, "the message is longer than {BODY_MAX} bytes; send less content in one frame")
            }
            EncodeError::BufferTooSmall => {
                write!(f, "the buffer is too short for the frame; give it {FRAME_MAX} bytes")
            }
        }
    }
}
impl core::error::Error for EncodeError {}

/// Writes a message as one frame, its closing 0x00 included, to the front of `buffer`, and returns
/// the frame's length in bytes. [`FRAME_MAX`] bytes are always enough.
///
/// # Errors
/// [`EncodeError`]; what stands in `buffer` is then no frame.
pub fn encode<T: Serialize>(message: &T, buffer: &mut [u8]) -> Result<usize, EncodeError> {
    let cobs = Cobs::try_new(Slice::new(buffer)).map_err(|_| EncodeError::BufferTooSmall)?;
    let mut serializer = Serializer { output: Body { cobs, digest: CRC.digest(), left: BODY_MAX + 1 } };
    serializer.output.put(VERSION).map_err(|_| EncodeError::BufferTooSmall)?;
    // The types of `message` have no other way to fail: all their sequences know their length.
    message.serialize(&mut serializer).map_err(|_| match serializer.output.left {
        0 => EncodeError::BodyTooLarge,
        _ => EncodeError::BufferTooSmall,
    })?;
    serializer.output.finalize().map_err(|_| EncodeError::BufferTooSmall)
}

/// Where the body of a frame goes as it is made: stuffed at once, so that no second buffer holds it.
struct Body<'a> {
    cobs: Cobs<Slice<'a>>,
    digest: crc::Digest<'static, u32>,
    /// Bytes that the body may still have, and one: at 0 it had too many.
    left: usize,
}

impl Body<'_> {
    fn put(&mut self, byte: u8) -> postcard::Result<()> {
        self.digest.update(&[byte]);
        self.cobs.try_push(byte)
    }
}

impl Flavor for Body<'_> {
    type Output = usize;

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.left = self.left.saturating_sub(1);
        if self.left == 0 { Err(postcard::Error::SerializeBufferFull) } else { self.put(byte) }
    }

    /// The frame's length, its closing 0x00 included.
    fn finalize(self) -> postcard::Result<usize> {
        let Body { mut cobs, digest, .. } = self;
        digest.finalize().to_le_bytes().into_iter().try_for_each(|byte| cobs.try_push(byte))?;
        cobs.finalize().map(|frame| frame.len())
    }
}

/// Why a frame was dropped. The receiver is ready for the next frame in every case.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Fault {
    /// Longer than any frame: a peer with other limits, or noise (no 0x00 for too long).
    Oversized,
    /// Cut, or changed on the way: COBS or the CRC doesn't agree. Normal on a serial line, and
    /// for the first frame of somebody who listens from the middle.
    Garbled,
    /// Whole, of a version that is not spoken here. A server answers `Error { Version }`: the
    /// version byte is in the same place in every version, so that a `Hello` of any can be told.
    Version(u8),
    /// Whole, of a version spoken here, and still no message of the expected kind: a peer's bug.
    Malformed,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Oversized => {
                write!(f, "a frame longer than {FRAME_MAX} bytes; is the other end a Downbeat peer?")
            }
            Fault::Garbled => {
                f.write_str("a frame that was cut or changed on the way; it will be sent again")
            }
            Fault::Version(version) => {
                write!(f, "a frame of version {version}, spoken here is {VERSION}; upgrade the older end")
            }
            Fault::Malformed => {
                f.write_str("a whole frame that is no message; the other end is broken or misused")
            }
        }
    }
}
impl core::error::Error for Fault {}

/// Frames that were dropped, by [`Fault`]. The counts stay at their largest value.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Dropped {
    /// See [`Fault::Oversized`].
    pub oversized: u32,
    /// See [`Fault::Garbled`].
    pub garbled: u32,
    /// See [`Fault::Version`].
    pub version: u32,
    /// See [`Fault::Malformed`].
    pub malformed: u32,
}

impl Dropped {
    /// All of them, whatever the reason.
    pub fn total(&self) -> u32 {
        [self.oversized, self.garbled, self.version, self.malformed].into_iter().fold(0, u32::saturating_add)
    }
    fn count(&mut self, fault: Fault) {
        let count = match fault {
            Fault::Oversized => &mut self.oversized,
            Fault::Garbled => &mut self.garbled,
            Fault::Version(_) => &mut self.version,
            Fault::Malformed => &mut self.malformed,
        };
        *count = count.saturating_add(1);
    }
}

/// The receiving end of one stream of frames.
///
/// Input: [`Receiver::next`] or [`Receiver::with_next`]. Queries: [`Receiver::dropped`], [`Receiver::is_between_frames`].
/// Bytes may come one at a time or many frames at once; the messages are the same:
/// ```
/// use downbeat_core::{frame::Receiver, message::ToAgent};
/// # fn handle(_: ToAgent<&[u8]>) {}
/// let mut receiver = Receiver::new();
/// # let chunk: &[u8] = &[0, 1, 2, 0];
/// let mut rest = chunk; // as read from the line
/// while let Some(received) = receiver.next::<ToAgent<&[u8]>>(&mut rest) {
///     match received {
///         Ok(message) => handle(message),
///         Err(_fault) => { /* dropped and counted */ }
///     }
/// }
/// assert_eq!(receiver.dropped().garbled, 1);
/// ```
#[derive(Clone, Debug)]
pub struct Receiver {
    /// The frame so far, still stuffed, without its 0x00.
    buffer: [u8; FRAME_MAX - 1],
    len: usize,
    /// The frame so far was longer than the buffer: all until the next 0x00 is dropped.
    oversized: bool,
    dropped: Dropped,
}

impl Default for Receiver {
    fn default() -> Receiver {
        Receiver::new()
    }
}

impl Receiver {
    /// A receiver at the beginning of a stream.
    pub const fn new() -> Receiver {
        Receiver {
            buffer: [0; FRAME_MAX - 1],
            len: 0,
            oversized: false,
            dropped: Dropped { oversized: 0, garbled: 0, version: 0, malformed: 0 },
        }
    }

    /// Takes bytes off the front of `input`, up to the end of the next frame, and gives that
    /// frame's message, which borrows from the receiver. `None` once `input` is used up: what it
    /// held of an unfinished frame is kept. Empty frames (a 0x00 after another, with which a sender
    /// may cut off noise) are passed over.
    ///
    /// # Errors
    /// [`Fault`], where a frame was dropped (and counted).
    pub fn next<'a, T: Deserialize<'a>>(&'a mut self, input: &mut &[u8]) -> Option<Result<T, Fault>> {
        let collected = self.collect(input)?;
        let Receiver { buffer, dropped, .. } = self;
        let received = collected.and_then(|len| decode(&mut buffer[..len]));
        if let Err(fault) = received {
            dropped.count(fault);
        }
        Some(received)
    }

    /// As [`Receiver::next`], and `act` sees the message where it was made: for hosts with a small stack,
    /// which have no room for it twice.
    pub fn with_next<'a, T: Deserialize<'a>, R>(
        &'a mut self,
        input: &mut &[u8],
        act: impl FnOnce(Result<&T, Fault>) -> R,
    ) -> Option<R> {
        let collected = self.collect(input)?;
        let Receiver { buffer, dropped, .. } = self;
        let fault = match collected {
            Ok(len) => match &decode::<T>(&mut buffer[..len]) {
                Ok(message) => return Some(act(Ok(message))),
                Err(fault) => *fault,
            },
            Err(fault) => fault,
        };
        dropped.count(fault);
        Some(act(Err(fault)))
    }

    /// The frames that were dropped since the beginning.
    pub fn dropped(&self) -> Dropped {
        self.dropped
    }

    /// Whether nothing of an unfinished frame is held: a stream that ends here was not cut.
    pub fn is_between_frames(&self) -> bool {
        self.len == 0 && !self.oversized
    }

    /// Moves bytes from `input` to the buffer until a frame is whole, and gives its length.
    fn collect(&mut self, input: &mut &[u8]) -> Option<Result<usize, Fault>> {
        loop {
            let end = input.iter().position(|byte| *byte == 0);
            let (part, rest) = input.split_at(end.unwrap_or(input.len()));
            self.keep(part);
            *input = rest.get(1..).unwrap_or(&[]);
            end?;
            let len = core::mem::take(&mut self.len);
            if core::mem::take(&mut self.oversized) {
                return Some(Err(Fault::Oversized));
            }
            if len > 0 {
                return Some(Ok(len));
            }
        }
    }

    fn keep(&mut self, part: &[u8]) {
        match self.buffer.get_mut(self.len..self.len + part.len()) {
            Some(place) => {
                place.copy_from_slice(part);
                self.len += part.len();
            }
            None => self.oversized = true,
        }
    }
}

/// Decodes one frame in place, given without its 0x00. The message borrows from it.
///
/// # Errors
/// [`Fault`]; never [`Fault::Oversized`].
// Out of the frame of whoever goes on with the message: a device's stack is small.
#[inline(never)]
pub fn decode<'a, T: Deserialize<'a>>(frame: &'a mut [u8]) -> Result<T, Fault> {
    let len = cobs::decode_in_place(frame).map_err(|_| Fault::Garbled)?;
    let packed: &'a [u8] = frame.get(..len).ok_or(Fault::Garbled)?;
    let (checked, checksum) = packed.split_last_chunk::<CRC_LEN>().ok_or(Fault::Garbled)?;
    if CRC.checksum(checked) != u32::from_le_bytes(*checksum) {
        return Err(Fault::Garbled);
    }
    let (version, body) = checked.split_first().ok_or(Fault::Garbled)?;
    if !is_spoken(*version) {
        return Err(Fault::Version(*version));
    }
    match postcard::take_from_bytes(body) {
        Ok((message, [])) => Ok(message),
        Ok(_) | Err(_) => Err(Fault::Malformed),
    }
}

#[cfg(test)]
mod tests;
