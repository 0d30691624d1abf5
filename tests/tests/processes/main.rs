//! Real processes: killed, restarted, cut off, judged by what readers saw.

mod agents;
mod bad_input;
mod boots;
mod broken_clock;
mod checked;
mod clocks;
mod connections;
mod damage;
mod everything;
mod gate;
// The program in C asks Linux for its clocks.
#[cfg(target_os = "linux")]
mod linked_in_c;
mod operators;
mod servers;
mod together;
