//! The functions by which a host checks the content that came, and takes its records out: core's
//! `object::Reader` in memory of the caller.

use crate::code::{Code, told};
use crate::config::names;
use crate::layout::structure;
use crate::memory::{self, Placed, exclusive};
use crate::types::{Bytes, Generation};
use core::ffi::c_char;
use core::mem::offset_of;
use downbeat_core::ids::Digest;
use downbeat_core::object::{self, Reader};

/// The most datasets of one object.
pub const OBJECT_DATASETS: usize = 16;
/// Bytes of memory that the reading of an object takes on the largest target: what the header's type has.
pub const OBJECT_SIZE: usize = 7_680;
/// Its alignment.
pub const OBJECT_ALIGNMENT: usize = 8;

const _: () = assert!(size_of::<Reading>() <= OBJECT_SIZE && align_of::<Reading>() <= OBJECT_ALIGNMENT);

structure! {
    /// What an object must be to be taken.
    Expected = "downbeat_expected" {
        /// The generation that it leads to.
        target: Generation,
        /// Its name.
        object_name: [u8; 32],
        /// Datasets that must be whole; none means all.
        datasets: *const *const c_char,
        /// How many.
        dataset_count: usize,
    }
}

structure! {
    /// One record.
    Record = "downbeat_record" {
        /// The name of its dataset.
        dataset: Bytes,
        /// Its key.
        key: Bytes,
        /// Its value.
        value: Bytes,
    }
}

structure! {
    /// What a whole object was.
    Summary = "downbeat_summary" {
        /// The generation that it leads to.
        target: Generation,
        /// Its length in bytes.
        len: u64,
        /// Records that were given out.
        records: u64,
    }
}

/// The caller's place for one record.
struct Place {
    at: *mut u8,
    len: usize,
}

impl AsRef<[u8]> for Place {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: `downbeat_object_begin` has written all of it, and by the header's contract it is
        // nobody else's until the reading ends.
        unsafe { core::slice::from_raw_parts(self.at, self.len) }
    }
}

impl AsMut<[u8]> for Place {
    fn as_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and there is one reading for each place.
        unsafe { core::slice::from_raw_parts_mut(self.at, self.len) }
    }
}

/// An object that is being read.
#[repr(C)]
pub struct Reading {
    stamp: u32,
    reader: Reader<Place, OBJECT_DATASETS>,
}

// SAFETY: `repr(C)`, the stamp is first, and it is written last.
unsafe impl Placed for Reading {
    const STAMP: u32 = 0xd0b2_0b1e;
}

const _: () = assert!(offset_of!(Reading, stamp) == 0);

/// Bytes of memory that the reading of an object takes here.
#[unsafe(no_mangle)]
pub extern "C" fn downbeat_object_size() -> usize {
    size_of::<Reading>()
}

/// The alignment of that memory.
#[unsafe(no_mangle)]
pub extern "C" fn downbeat_object_alignment() -> usize {
    align_of::<Reading>()
}

/// Begins to read the object that is expected.
///
/// # Safety
/// The header's contract.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn downbeat_object_begin(
    object: *mut Reading,
    len: usize,
    expected: *const Expected,
    buffer: *mut u8,
    buffer_len: usize,
) -> Code {
    let begin = || {
        memory::check_room(object, len)?;
        // SAFETY: the header's contract.
        let expected = unsafe { memory::given(expected)? };
        // SAFETY: the header's contract.
        let datasets = unsafe { names(expected.datasets, expected.dataset_count)? };
        // SAFETY: the header's contract.
        let room = unsafe { memory::room(buffer, buffer_len)? };
        let place = Place { at: room.as_mut_ptr(), len: room.len() };
        let (name, target) = (Digest(expected.object_name), expected.target.into());
        let expected = object::Expected { name, base: None, target, datasets };
        // SAFETY: it is long enough and aligned, and nobody else's.
        unsafe {
            (&raw mut (*object).reader).write(Reader::new(expected, place));
            (&raw mut (*object).stamp).write(Reading::STAMP);
        }
        Ok(())
    };
    told(begin())
}

/// Takes bytes off the front of `rest` up to the end of the next record, and gives it.
///
/// # Safety
/// The header's contract.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn downbeat_object_next(
    object: *mut Reading,
    rest: *mut Bytes,
    record: *mut Record,
) -> Code {
    let next = || {
        if record.is_null() {
            return Err(Code::NullPointer);
        }
        // SAFETY: the header's contract.
        let Bytes { at, len } = unsafe { memory::given(rest)? };
        // SAFETY: the header's contract.
        let (reading, bytes) = unsafe { (exclusive(object)?, memory::bytes(at, len)?) };
        let mut left = bytes;
        let found = reading.reader.next(&mut left);
        let taken = len - left.len();
        // SAFETY: the header's contract; no more are taken than there are.
        unsafe { memory::put(rest, Bytes { at: at.wrapping_add(taken), len: left.len() })? };
        let found = found?.ok_or(Code::Done)?;
        let found = Record {
            dataset: Bytes::of(found.dataset.as_str().as_bytes()),
            key: Bytes::of(found.key),
            // A snapshot deletes nothing.
            value: Bytes::of(found.value.unwrap_or_default()),
        };
        // SAFETY: the header's contract.
        unsafe { memory::put(record, found) }
    };
    told(next())
}

/// Ends the reading.
///
/// # Safety
/// The header's contract.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn downbeat_object_end(object: *mut Reading, summary: *mut Summary) -> Code {
    let end = || {
        // SAFETY: the header's contract.
        let found = unsafe { exclusive(object)? }.reader.finish()?;
        if summary.is_null() {
            return Ok(());
        }
        let found = Summary { target: found.target.into(), len: found.len, records: found.records };
        // SAFETY: the header's contract.
        unsafe { memory::put(summary, found) }
    };
    told(end())
}
