#![forbid(unsafe_code)]
#![doc = include_str!("../README.md")]

pub mod check;
pub mod farm;
pub mod history;
pub mod log;
pub mod looker;
pub mod manage;
pub mod processes;
pub mod program;
pub mod random;
pub mod relay;
pub mod server_time;
pub mod witness;
