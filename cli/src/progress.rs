//! How far a long transfer is: shown on standard error, where that is a terminal.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::Read;
use std::time::Duration;

/// A bar for so many bytes, or a count of them where their number is not known.
pub(crate) fn of_bytes(len: Option<u64>, what: &'static str) -> ProgressBar {
    let bar = len.map_or_else(ProgressBar::no_length, ProgressBar::new).with_message(what);
    let form = match len {
        Some(_) => "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec}",
        None => "{msg} {spinner} {bytes} {bytes_per_sec}",
    };
    if let Ok(style) = ProgressStyle::with_template(form) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// What is read through this moves the bar.
pub(crate) struct Progress<'b, R> {
    from: R,
    bar: &'b ProgressBar,
}

impl<'b, R: Read> Progress<'b, R> {
    pub(crate) fn new(from: R, bar: &'b ProgressBar) -> Progress<'b, R> {
        Progress { from, bar }
    }
}

impl<R: Read> Read for Progress<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let len = self.from.read(into)?;
        self.bar.inc(len as u64);
        if len == 0 && !into.is_empty() {
            self.bar.set_message("waiting for the server");
        }
        Ok(len)
    }
}
