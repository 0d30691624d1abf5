//! The laboratory (`downbeat-bench time`): when many processes see new data, by the clock of the host that
//! all of them are on. Its parts are functions here, a file or more of `time/` each.
//!
//! - `together`: N processes of each system and the spread between the first and the last that sees the
//!   new; and what readers in them see (the control).
//! - `exchange`: what samples in datagrams tell of the server's clock, beside the truth, over links of all
//!   kinds.

mod agents;
mod etcd;
mod exchange;
mod farm;
mod fleet;
mod grpc;
mod link;
mod plot;
mod program;
mod readings;
mod redis;
mod resp;
mod run;
mod sleeping;
mod summary;
mod together;
mod told;
mod watcher;

pub(crate) use exchange::exchange;
pub(crate) use together::together;

use std::process::ExitCode;

/// Runs as one of the laboratory's other processes, where the first word says so.
pub(crate) fn run_if_asked() -> Option<ExitCode> {
    watcher::run_if_asked().or_else(program::run_if_asked)
}
