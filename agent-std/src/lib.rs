#![forbid(unsafe_code)]
#![doc = include_str!("../README.md")]

mod builder;
pub mod clock;
mod content;
mod disk;
mod driver;
mod effects;
mod filling;
mod handle;
mod line;
mod reader;
mod shelf;
mod start;
mod status;
mod view;
mod worker;

pub use builder::Builder;
pub use clock::Clock;
pub use content::{Content, Dataset};
pub use downbeat_core as core;
pub use handle::Agent;
pub use reader::{Look, ReadError, Reader};
pub use start::StartError;
pub use status::{Counters, Happening, Status, What};
pub use view::{Freshness, Guard};
