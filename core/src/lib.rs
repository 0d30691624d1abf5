#![no_std]
#![forbid(unsafe_code)]
#![doc = include_str!("../README.md")]

pub mod abstraction;
pub mod agent;
pub mod cell;
pub mod clock;
pub mod content;
pub mod datagram;
pub mod effect;
pub mod frame;
pub mod guard;
pub mod ids;
pub mod message;
pub mod object;
pub mod operator;
mod plan;
pub mod server;
pub mod serving;
pub mod session;
pub mod settings;
mod spread;
mod step;
pub mod symmetry;
mod sync;
pub mod table;
pub mod time;
pub mod timeline;

#[cfg(test)]
extern crate std;
