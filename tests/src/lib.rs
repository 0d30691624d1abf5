#![forbid(unsafe_code)]
#![doc = include_str!("../README.md")]

pub mod device;
pub mod farm;
pub mod host_view;
pub mod log;
pub mod looker;
pub mod manage;
pub mod processes;
pub mod program;
pub mod random;
pub mod relay;
pub mod tail;
pub mod witness;

pub use downbeat_trace::judge::{self as check, history, server_time};
