//! The one place that chooses between core's atomics and those of the checker loom. The switch is
//! a cfg of this crate's own, `downbeat_loom`, since a global `--cfg loom` also changes others.

#[cfg(not(downbeat_loom))]
pub(crate) use core::{
    hint::spin_loop,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
};

#[cfg(downbeat_loom)]
pub(crate) use loom::{
    hint::spin_loop,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
};
