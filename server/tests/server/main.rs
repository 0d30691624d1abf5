//! The server as others meet it: started on free ports over a temporary folder, driven by raw frames
//! and raw HTTP.

mod bad_input;
mod bulk;
mod cycle;
mod fetching;
mod gate;
mod history;
mod manage;
mod objects;
mod restart;
mod support;
mod time_exchange;
