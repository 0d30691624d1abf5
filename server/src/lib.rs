#![forbid(unsafe_code)]
#![doc = include_str!("../README.md")]

mod access;
mod agents;
mod attend;
mod clock;
mod command;
mod config;
mod control;
mod error;
mod events;
mod farm;
mod gatekeeper;
mod http;
mod initiator;
mod lead;
mod line;
mod objects;
mod shared;
mod skew;
mod sql;
mod start;
pub mod store;
mod told;
mod tuning;
mod witness;

pub use access::{AccessToken, Role};
pub use clock::{HostClock, SystemClock};
pub use config::{Config, StartAs};
pub use error::StartError;
pub use objects::build_packed;
pub use start::{Handle, Server};
