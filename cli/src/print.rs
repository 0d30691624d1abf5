//! Printing to standard output, in place of the standard macros: where the reader has gone (`| head`),
//! the program ends quietly instead of with a panic.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write, stdout};

macro_rules! print {
    ($($text:tt)*) => { $crate::print::text(format_args!($($text)*)) };
}
macro_rules! println {
    () => { $crate::print::text(format_args!("\n")) };
    ($($text:tt)*) => { $crate::print::text(format_args!("{}\n", format_args!($($text)*))) };
}

/// Prints, or ends the program where nobody reads any more.
pub(crate) fn text(text: Arguments<'_>) {
    if let Err(error) = stdout().lock().write_fmt(text)
        && error.kind() == ErrorKind::BrokenPipe
    {
        std::process::exit(0);
    }
}
