//! The checkers over Downbeat's core as it ships.

pub mod actions;
mod canonical;
pub mod configuration;
pub mod properties;
pub mod record;
pub mod recover;
pub mod search;
pub mod twins;
pub mod world;
