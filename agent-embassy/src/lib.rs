#![no_std]
#![forbid(unsafe_code)]
#![doc = include_str!("../README.md")]

mod clock;
mod driver;
mod effects;
pub mod flash;
mod late;
mod memory;
mod reader;
mod records;
mod settings;
mod status;
mod tell;

pub use driver::{Agent, Lost};
pub use flash::{Flash, NoStorage, Storage};
pub use memory::Memory;
pub use reader::{Freshness, Reader, Seen, Unserved};
pub use records::{Records, ValueError};
pub use settings::{Settings, StartError};
pub use status::{Copied, Counters, Status};

/// The crate whose types appear here: names, modes, spans, what a farm is.
pub use downbeat_core as core;
