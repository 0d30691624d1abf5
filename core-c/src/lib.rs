#![no_std]
#![doc = include_str!("../README.md")]

pub mod agent;
pub mod code;
pub mod config;
pub mod effects;
pub mod layout;
pub mod machine;
mod memory;
pub mod object;
pub mod page;
pub mod panic;
pub mod types;

use core::ffi::c_char;
use layout::Numbers;

// Its panic handler; nothing else is taken of it.
#[cfg(not(target_os = "none"))]
extern crate std;

/// The number of this interface. It changes with every change that an old header doesn't fit.
pub const ABI: u32 = 1;

/// Its number: what the header says, where the two fit.
#[unsafe(no_mangle)]
pub extern "C" fn downbeat_abi() -> u32 {
    ABI
}

/// The version of this library as text, with an end mark.
#[unsafe(no_mangle)]
pub extern "C" fn downbeat_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// All enumerations of the header.
pub const ENUMERATIONS: &[Numbers] = &[
    code::Code::NUMBERS,
    types::Mode::NUMBERS,
    types::Activation::NUMBERS,
    types::State::NUMBERS,
    types::Found::NUMBERS,
    types::Phase::NUMBERS,
    effects::EffectKind::NUMBERS,
    effects::Buffer::NUMBERS,
    effects::EventKind::NUMBERS,
    effects::Refusal::NUMBERS,
];

/// All constants of the header.
pub const CONSTANTS: &[(&str, usize)] = &[
    ("DOWNBEAT_ABI", ABI as usize),
    ("DOWNBEAT_AGENT_SIZE", agent::AGENT_SIZE),
    ("DOWNBEAT_PAGE_SIZE", page::PAGE_SIZE),
    ("DOWNBEAT_OBJECT_SIZE", object::OBJECT_SIZE),
    ("DOWNBEAT_OBJECT_DATASETS", object::OBJECT_DATASETS),
    ("DOWNBEAT_DATASETS_MAX", downbeat_core::message::DATASETS_MAX),
    ("DOWNBEAT_TEXT_MAX", downbeat_core::ids::NAME_MAX),
    ("DOWNBEAT_FRAME_MAX", downbeat_core::frame::FRAME_MAX),
    ("DOWNBEAT_FETCH_MAX", downbeat_core::message::FETCH_MAX),
    ("DOWNBEAT_KEY_MAX", downbeat_core::content::KEY_MAX),
    ("DOWNBEAT_VALUE_MAX", downbeat_core::content::VALUE_MAX),
    ("DOWNBEAT_RECORD_MAX", downbeat_core::content::KEY_MAX + downbeat_core::content::VALUE_MAX),
];
