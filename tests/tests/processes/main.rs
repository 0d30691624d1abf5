//! Real processes: killed, restarted, cut off, judged by what readers saw.

mod agents;
mod boots;
mod connections;
mod everything;
mod servers;
mod together;

use downbeat_tests::farm::Programs;

fn programs() -> Programs {
    Programs {
        server: env!("CARGO_BIN_EXE_test-server").into(),
        agent: env!("CARGO_BIN_EXE_test-agent").into(),
    }
}
