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
mod linked_in_c;
mod operators;
mod servers;
mod together;
