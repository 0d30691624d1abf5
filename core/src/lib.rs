#![no_std]
#![forbid(unsafe_code)]
#![doc = include_str!("../README.md")]

pub mod clock;
pub mod content;
pub mod frame;
pub mod guard;
pub mod ids;
pub mod message;
pub mod object;
pub mod serving;
pub mod settings;
pub mod table;
pub mod time;

#[cfg(test)]
extern crate std;
