//! The head of a packed object: the form in which objects travel to whoever takes more than
//! uncompressed snapshots (FORMATS "packed object").
//!
//! Here are the head's bytes and their limits. What follows the head is compressed, and neither
//! compressing nor decompressing is here: core knows no compression. The object inside is read by
//! [`Reader`](super::Reader) as ever, with the inner name as the one that is expected.
//!
//! The bytes, all integers little endian:
//! ```text
//! "downpack"  u8 version = 1
//! u64 length of the object inside, 32 bytes its name      (BLAKE3-256 of its own bytes)
//! one zstd frame of the object's bytes; window at most 8 MiB, no dictionary; nothing follows
//! ```
//! A packed object is a file of its own: its name is BLAKE3-256 of *these* bytes, and that name is
//! what routes list, what is fetched, and what is checked while it arrives.

use super::MAGIC;
use crate::ids::Digest;
use crate::message::ObjectRef;
use core::fmt;
use heapless::Vec;

/// The version of the head that is written and read.
pub const PACKED_VERSION: u8 = 1;
/// Bytes in the head.
pub const PACKED_HEAD: usize = 49;
/// The zstd frame's window has at most 2 to this many bytes (8 MiB), which is what it costs to
/// decompress one.
pub const WINDOW_LOG_MAX: u32 = 23;
/// Bytes in the shortest object: a snapshot of nothing.
pub const OBJECT_MIN: u64 = 52;

const PACKED: &[u8; 8] = b"downpack";

/// In which form an object came, as its first eight bytes tell.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Form {
    /// The object's own bytes.
    Plain,
    /// A packed object.
    Packed,
}

impl Form {
    /// Of a file that begins with these bytes; `None` where that is neither, or fewer than eight
    /// bytes are given.
    pub fn of(beginning: &[u8]) -> Option<Form> {
        match beginning.first_chunk::<8>()? {
            MAGIC => Some(Form::Plain),
            PACKED => Some(Form::Packed),
            _ => None,
        }
    }
}

/// What the head of a packed object says. It is proven with the packed object's name only.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PackedHead {
    /// The object inside: its name, and its length uncompressed.
    pub object: ObjectRef,
}

impl PackedHead {
    /// The head's bytes.
    pub fn to_bytes(self) -> [u8; PACKED_HEAD] {
        let mut bytes = [0; PACKED_HEAD];
        bytes[..8].copy_from_slice(PACKED);
        bytes[8] = PACKED_VERSION;
        bytes[9..17].copy_from_slice(&self.object.len.to_le_bytes());
        bytes[17..].copy_from_slice(&self.object.name.0);
        bytes
    }

    /// The inverse of [`PackedHead::to_bytes`], for an object inside of at most `most` bytes.
    fn of(bytes: &[u8; PACKED_HEAD], most: u64) -> Result<PackedHead, PackedError> {
        let (magic, rest) = bytes.split_at(PACKED.len());
        let (version, rest) = rest.split_at(1);
        let (len, name) = rest.split_at(8);
        if magic != PACKED {
            return Err(PackedError::Magic);
        }
        if version != [PACKED_VERSION] {
            return Err(PackedError::Version { found: version.first().copied().unwrap_or(0) });
        }
        let len = len.iter().rev().fold(0, |number, byte| number << 8 | *byte as u64);
        if len < OBJECT_MIN {
            return Err(PackedError::TooShort { len });
        }
        if len > most {
            return Err(PackedError::TooLong { len, most });
        }
        let mut digest = Digest::default();
        digest.0.iter_mut().zip(name).for_each(|(to, from)| *to = *from);
        Ok(PackedHead { object: ObjectRef { name: digest, len } })
    }
}

/// Why a packed object is not taken. It is final: the object is thrown away.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum PackedError {
    /// It doesn't begin like a packed object.
    Magic,
    /// Its version is not read here.
    Version {
        /// The version found.
        found: u8,
    },
    /// No object is as short as the one inside is said to be.
    TooShort {
        /// The length found, in bytes.
        len: u64,
    },
    /// The object inside is longer than this receiver takes.
    TooLong {
        /// The length found, in bytes.
        len: u64,
        /// What is taken.
        most: u64,
    },
    /// The bytes ended within the head.
    Truncated,
}

impl fmt::Display for PackedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PackedError::Magic => f.write_str("these bytes are no packed object"),
            PackedError::Version { found } => {
                write!(f, "the packed object has version {found}, and {PACKED_VERSION} is what is read here")
            }
            PackedError::TooShort { len } => {
                write!(
                    f,
                    "the packed object is damaged: the object in it is said to have {len} bytes, and none has \
                     fewer than {OBJECT_MIN}"
                )
            }
            PackedError::TooLong { len, most } => {
                write!(f, "the object in the packed one has {len} bytes, and {most} is what is taken here")
            }
            PackedError::Truncated => f.write_str("the packed object ends within its head"),
        }
    }
}
impl core::error::Error for PackedError {}

/// Reads the head from pieces of any size.
///
/// Input: [`HeadReader::next`] for each piece until it gives the head; what it leaves of that piece,
/// and all that follows, is the zstd frame. An error is final and comes again.
#[derive(Clone, Debug)]
pub struct HeadReader {
    bytes: Vec<u8, PACKED_HEAD>,
    most: u64,
}

impl HeadReader {
    /// A reader that takes an object inside of at most `most` bytes.
    pub fn new(most: u64) -> HeadReader {
        HeadReader { bytes: Vec::new(), most }
    }

    /// Takes the head's bytes off the front of `input`; `None`: the input is used up, and more are
    /// needed.
    ///
    /// # Errors
    /// [`PackedError`], once enough bytes have come to tell; a wrong first byte is told at once.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<PackedHead>, PackedError> {
        let missing = PACKED_HEAD - self.bytes.len();
        let (taken, rest) = input.split_at(missing.min(input.len()));
        // No more is taken than there is room for.
        self.bytes.extend_from_slice(taken).map_err(|_| PackedError::Magic)?;
        *input = rest;
        let begun = self.bytes.len().min(PACKED.len());
        if self.bytes.get(..begun) != PACKED.get(..begun) {
            return Err(PackedError::Magic);
        }
        match <&[u8; PACKED_HEAD]>::try_from(self.bytes.as_slice()) {
            Ok(bytes) => PackedHead::of(bytes, self.most).map(Some),
            Err(_) => Ok(None),
        }
    }

    /// Ends the reading of a packed object whose head was not given yet.
    pub fn finish(&self) -> PackedError {
        PackedError::Truncated
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn head() -> PackedHead {
        PackedHead {
            object: ObjectRef { name: Digest(core::array::from_fn(|at| at as u8)), len: 0x0102_0304 },
        }
    }

    fn read(bytes: &[u8], cuts: &[usize], most: u64) -> Result<(PackedHead, usize), PackedError> {
        let mut reader = HeadReader::new(most);
        let mut rest = bytes;
        let mut cuts = cuts.iter().cycle();
        while !rest.is_empty() {
            let (mut piece, later) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
            if let Some(head) = reader.next(&mut piece)? {
                return Ok((head, piece.len() + later.len()));
            }
            assert!(piece.is_empty());
            rest = later;
        }
        Err(reader.finish())
    }

    /// Any change here is another format.
    #[test]
    fn golden_head() {
        let bytes = head().to_bytes();
        assert_eq!(&bytes[..17], b"downpack\x01\x04\x03\x02\x01\0\0\0\0");
        assert_eq!(bytes[17..], head().object.name.0);
    }

    #[test]
    fn what_is_no_head_is_refused() {
        let refused = |at: usize, byte: u8| {
            let mut bytes = head().to_bytes();
            bytes[at] = byte;
            read(&bytes, &[5], u64::MAX).map(drop)
        };
        assert_eq!(refused(0, b'D'), Err(PackedError::Magic));
        assert_eq!(refused(7, b'c'), Err(PackedError::Magic));
        assert_eq!(refused(8, 2), Err(PackedError::Version { found: 2 }));
        assert_eq!(read(b"x", &[1], u64::MAX), Err(PackedError::Magic));
        assert_eq!(read(&head().to_bytes()[..48], &[7], u64::MAX), Err(PackedError::Truncated));
        assert_eq!(read(&[], &[7], u64::MAX), Err(PackedError::Truncated));
    }

    #[test]
    fn the_length_inside_has_limits_on_both_sides() {
        let read = |len, most| {
            let object = ObjectRef { len, ..head().object };
            read(&PackedHead { object }.to_bytes(), &[49], most).map(|(head, _)| head.object.len)
        };
        assert_eq!(read(51, u64::MAX), Err(PackedError::TooShort { len: 51 }));
        assert_eq!(read(52, 52), Ok(52));
        assert_eq!(read(53, 52), Err(PackedError::TooLong { len: 53, most: 52 }));
        assert_eq!(read(u64::MAX, u64::MAX), Ok(u64::MAX));
    }

    #[test]
    fn the_form_is_told_by_the_first_eight_bytes() {
        assert_eq!(Form::of(&head().to_bytes()), Some(Form::Packed));
        assert_eq!(Form::of(b"downbeat\x01"), Some(Form::Plain));
        assert_eq!(Form::of(b"downbeat"), Some(Form::Plain));
        assert_eq!(Form::of(b"downbea"), None);
        assert_eq!(Form::of(b"downbeau\x01"), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_however_it_is_cut(
            len in OBJECT_MIN..,
            name in any::<[u8; 32]>(),
            after in 0usize..40,
            cuts in prop::collection::vec(1usize..60, 1..9),
        ) {
            let head = PackedHead { object: ObjectRef { name: Digest(name), len } };
            let mut bytes = head.to_bytes().to_vec();
            bytes.resize(PACKED_HEAD + after, 7);
            prop_assert_eq!(read(&bytes, &cuts, u64::MAX), Ok((head, after)));
        }

        /// No bytes whatever make a reader panic.
        #[test]
        fn arbitrary_bytes_are_taken_or_refused(
            bytes in prop::collection::vec(any::<u8>(), 0..99),
            keep in 0usize..=PACKED_HEAD,
        ) {
            let mut mixed = head().to_bytes()[..keep].to_vec();
            mixed.extend(bytes);
            if let Ok((head, _)) = read(&mixed, &[3], u64::MAX) {
                prop_assert_eq!(&head.to_bytes()[..], &mixed[..PACKED_HEAD]);
            }
        }
    }
}
