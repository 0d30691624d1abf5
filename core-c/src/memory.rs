//! What C gives, made into references: the one place that decides whether a pointer can be followed.
//! What a caller has to keep to, and nobody can check here, is in the header: memory is as long as is
//! said, stays where it is, and is used by one thread at a time.

use crate::code::Code;
use core::ffi::{CStr, c_char};

/// What lives in memory of the caller. It begins with its stamp, which says what it is.
///
/// # Safety
/// The type is `repr(C)`, and its first field is a `u32` that is [`Placed::STAMP`] from the moment on in
/// which all of it is written.
pub(crate) unsafe trait Placed: Sized {
    /// What its first four bytes are.
    const STAMP: u32;
}

/// Whether a value of this type can be put there.
pub(crate) fn check_room<T>(at: *mut T, len: usize) -> Result<(), Code> {
    check_pointer(at)?;
    if len < size_of::<T>() { Err(Code::MemoryTooShort) } else { Ok(()) }
}

fn check_pointer<T>(at: *const T) -> Result<(), Code> {
    if at.is_null() {
        Err(Code::NullPointer)
    } else if !at.is_aligned() {
        Err(Code::Misaligned)
    } else {
        Ok(())
    }
}

fn check_placed<T: Placed>(at: *const T) -> Result<(), Code> {
    check_pointer(at)?;
    // SAFETY: it is not null and aligned, and by the header's contract it points to as much memory as was
    // once given to an initialization, or to other memory of the caller that is no shorter.
    let stamp = unsafe { at.cast::<u32>().read() };
    if stamp == T::STAMP { Ok(()) } else { Err(Code::NotInitialized) }
}

/// Something placed before, for one thread at a time.
///
/// # Safety
/// `at` is null, misaligned, or points to memory of the caller that is large enough for a `T` and that
/// nobody else uses during `'a`. Its first bytes are the stamp only if a `T` was placed there.
pub(crate) unsafe fn exclusive<'a, T: Placed>(at: *mut T) -> Result<&'a mut T, Code> {
    check_placed(at)?;
    // SAFETY: it has the stamp, so a whole T was placed there; the caller vouches for the rest.
    Ok(unsafe { &mut *at })
}

/// Something placed before, that several threads may look at.
///
/// # Safety
/// As [`exclusive`], where others may use it too as long as nobody needs it for itself alone.
pub(crate) unsafe fn shared<'a, T: Placed>(at: *const T) -> Result<&'a T, Code> {
    check_placed(at)?;
    // SAFETY: as in `exclusive`.
    Ok(unsafe { &*at })
}

/// A value that the caller gives.
///
/// # Safety
/// `at` is null, misaligned, or points to a `T` in which any bytes are a value.
pub(crate) unsafe fn given<T: Copy>(at: *const T) -> Result<T, Code> {
    check_pointer(at)?;
    // SAFETY: the caller vouches for it.
    Ok(unsafe { at.read() })
}

/// The same where it may be left out.
///
/// # Safety
/// As [`given`].
pub(crate) unsafe fn given_or_none<T: Copy>(at: *const T) -> Result<Option<T>, Code> {
    if at.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller vouches for it.
    unsafe { given(at) }.map(Some)
}

/// Puts a result where the caller wants it.
///
/// # Safety
/// `at` is null, misaligned, or points to memory for a `T` that nobody else uses meanwhile.
pub(crate) unsafe fn put<T>(at: *mut T, value: T) -> Result<(), Code> {
    check_pointer(at)?;
    // SAFETY: the caller vouches for it.
    unsafe { at.write(value) };
    Ok(())
}

/// Bytes that the caller gives. None may be given as a null pointer.
///
/// # Safety
/// `at` is null or points to `len` bytes that don't change during `'a`.
pub(crate) unsafe fn bytes<'a>(at: *const u8, len: usize) -> Result<&'a [u8], Code> {
    if len == 0 {
        return Ok(&[]);
    }
    check_pointer(at)?;
    if len > isize::MAX as usize {
        return Err(Code::BadNumber);
    }
    // SAFETY: the caller vouches for it.
    Ok(unsafe { core::slice::from_raw_parts(at, len) })
}

/// A place for bytes, which are zero to begin with: C needn't have written anything there yet.
///
/// # Safety
/// `at` is null or points to `len` bytes that nobody else uses during `'a`.
pub(crate) unsafe fn room<'a>(at: *mut u8, len: usize) -> Result<&'a mut [u8], Code> {
    if len == 0 {
        return Ok(&mut []);
    }
    check_pointer(at)?;
    if len > isize::MAX as usize {
        return Err(Code::BadNumber);
    }
    // SAFETY: the caller vouches for it.
    unsafe { at.write_bytes(0, len) };
    // SAFETY: and all of it was written now.
    Ok(unsafe { core::slice::from_raw_parts_mut(at, len) })
}

/// A text with an end mark. A null pointer is the empty text.
///
/// # Safety
/// `at` is null or points to bytes with an end mark, which don't change during `'a`.
pub(crate) unsafe fn text<'a>(at: *const c_char) -> Result<&'a str, Code> {
    if at.is_null() {
        return Ok("");
    }
    // SAFETY: the caller vouches for it.
    unsafe { CStr::from_ptr(at) }.to_str().map_err(|_| Code::BadText)
}
