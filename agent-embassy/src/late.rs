//! A value that comes later than its memory.

/// Empty it is zero bits only, whatever the value would be: a static that holds it lies with all that
/// begins as zero, and costs the device no flash.
#[repr(u8)]
pub(crate) enum Late<T> {
    Empty = 0,
    Full(T) = 1,
}

impl<T> Late<T> {
    /// The value, made now where there is none yet.
    pub(crate) fn filled(&mut self, make: impl FnOnce() -> T) -> &mut T {
        if let Late::Empty = self {
            *self = Late::Full(make());
        }
        match self {
            Late::Full(value) => value,
            Late::Empty => unreachable!("filled above"),
        }
    }
}
