#![forbid(unsafe_code)]
#![doc = include_str!("../README.md")]

mod arriving;
mod builder;
pub mod clock;
mod coarse;
mod damage;
mod disk;
mod driver;
mod effects;
mod filling;
mod handle;
mod held;
mod judge;
mod keeper;
mod life;
mod line;
pub mod measure;
mod reader;
mod shelf;
mod start;
mod status;
mod time_path;
mod unpack;
mod view;
mod worker;

pub use builder::Builder;
pub use clock::Clock;
pub use downbeat_core as core;
pub use downbeat_image as image;
pub use downbeat_image::{Damaged, Dataset, Image};
pub use handle::Agent;
pub use judge::Offer;
pub use reader::{Look, ReadError, Reader};
pub use start::StartError;
pub use status::{Counters, Happening, Status, What};
pub use view::{Freshness, Guard, View};
