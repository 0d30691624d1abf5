#![doc = include_str!("../README.md")]

pub mod actions;
mod canonical;
pub mod chart;
pub mod checks;
pub mod configuration;
pub mod coverage;
mod fixed_point;
pub mod properties;
pub mod record;
pub mod recover;
pub mod redundant;
pub mod renaming;
pub mod replay;
pub mod report;
pub mod search;
pub mod second_opinion;
pub mod simulate;
pub mod twins;
pub mod world;
