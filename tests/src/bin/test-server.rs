//! A data server as a process of its own, for tests that kill it: the library behind `downbeat serve`,
//! on free ports, without an agent of its own (so that the agents begin the cycles), and on a boot of
//! the host that the test names. Prints one line with its two addresses and whether it continued the
//! line, then runs until it is killed.
//!
//! `test-server DATABASE BOOT`

use downbeat_server::{Config, Server, SystemClock};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [database, boot] = arguments.as_slice() else {
        eprintln!("test-server DATABASE BOOT");
        return ExitCode::from(2);
    };
    let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let clock = match SystemClock::new(Some(boot)) {
        Ok(clock) => clock,
        Err(error) => {
            eprintln!("no clock: {error}");
            return ExitCode::FAILURE;
        }
    };
    let config = Config {
        control: free,
        http: free,
        own_agent: false,
        clock: Some(Arc::new(clock)),
        ..Config::new(database)
    };
    match Server::start(config) {
        Ok(server) => {
            println!("{} {} {}", server.control(), server.http(), server.continued());
            loop {
                std::thread::park();
            }
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
