#![forbid(unsafe_code)]
#![doc = include_str!("../README.md")]

mod fault;
mod file;
pub mod judge;
mod line;
mod recorder;
mod replay;

pub use fault::Fault;
pub use line::{Change, Fact, How, Input, Line, VERSION};
pub use recorder::{Recorder, Traced};
pub use replay::{Replayed, files, texts_of};
