#![deny(unsafe_code)]
#![doc = include_str!("../README.md")]

mod compact;
mod error;
mod format;
mod image;
mod layer;
mod map;
mod output;
mod place;
mod scan;
mod section;
mod slots;
mod stage;
mod tail;
mod writer;

pub use compact::{COMPACT_AT, compact, compact_unless};
pub use error::{Damaged, OpenError, WriteError};
pub use format::{BLOCK, LAYERS_MAX, LayerId};
pub use image::{Dataset, Image};
pub use place::{EXTENSION, Place};
pub use scan::Scan;
pub use stage::Stager;
pub use writer::SnapshotWriter;
