//! Real processes: killed, restarted, cut off, judged by what readers saw.

mod agents;
mod boots;
mod connections;
mod everything;
mod servers;
mod together;
