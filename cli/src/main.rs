#![forbid(unsafe_code)]
#![doc = include_str!("../README.md")]

#[macro_use]
mod print;
mod agent;
mod bulk;
mod check;
mod demo;
mod digest;
mod failure;
mod gate;
mod guard;
mod history;
mod operate;
mod progress;
mod records;
mod remote;
mod serve;
mod show;
mod skew;
mod watch;

use clap::{Parser, Subcommand};
use failure::Failure;
use remote::{Remote, Target};
use std::process::ExitCode;

/// Keeps one data set identical on every machine that serves it, and switches all of them at the same instant
#[derive(Parser, Debug)]
#[command(
    name = "downbeat",
    version,
    after_help = "Exit codes: 0 done; 1 refused, or a property was broken; 2 wrong usage; 3 the server can't be reached."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Demo(demo::Demo),
    Serve(Box<serve::Serve>),
    Agent(agent::Run),
    /// Commands that talk to a server
    #[command(flatten)]
    Manage(Manage),
}

/// What is asked of a server over its management API.
#[derive(Subcommand, Debug)]
enum Manage {
    Put(Managed<records::Put>),
    Get(Managed<records::Get>),
    Delete(Managed<records::Delete>),
    Import(Managed<bulk::Import>),
    Export(Managed<bulk::Export>),
    Apply(Managed<bulk::Apply>),
    Schedule(Managed<records::Schedule>),
    Diff(Managed<history::Diff>),
    History(Managed<history::History>),
    Rollback(Managed<history::Rollback>),
    Retention(Managed<history::Retention>),
    Status(Managed<operate::Status>),
    Agents(Managed<operate::Agents>),
    Skew(Managed<skew::Skew>),
    Watch(Managed<watch::Watch>),
    Compare(Managed<operate::Compare>),
    Guard(Managed<guard::Guard>),
    Gate(Managed<gate::Gate>),
    Settings(Managed<operate::Settings>),
    Hold(Managed<operate::Hold>),
    Unhold(Managed<operate::Unhold>),
}

// A command, and the server that it is for. (A doc comment here would be every command's help.)
#[derive(clap::Args, Debug)]
struct Managed<T: clap::Args> {
    #[command(flatten)]
    command: T,
    #[command(flatten)]
    target: Target,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let (json, done) = match cli.command {
        Command::Demo(demo) => (false, demo.run()),
        Command::Serve(serve) => {
            log("info");
            (false, serve.run())
        }
        Command::Agent(agent) => {
            log("warn");
            (false, agent.run())
        }
        Command::Manage(command) => manage(command),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Failure::Broken { text, told } = &failure {
                if *told { eprintln!("{text}") } else { println!("{text}") }
            } else if json {
                eprintln!("{}", failure.json());
            } else {
                eprintln!("downbeat: {failure}");
            }
            ExitCode::from(failure.code())
        }
    }
}

fn manage(command: Manage) -> (bool, Result<(), Failure>) {
    macro_rules! run {
        ($managed:expr) => {{
            let Managed { command, target } = $managed;
            (target.json, Remote::new(&target).and_then(|remote| command.run(&remote, target.json)))
        }};
    }
    match command {
        Manage::Put(managed) => run!(managed),
        Manage::Get(managed) => run!(managed),
        Manage::Delete(managed) => run!(managed),
        Manage::Import(managed) => run!(managed),
        Manage::Export(managed) => run!(managed),
        Manage::Apply(managed) => run!(managed),
        Manage::Schedule(managed) => run!(managed),
        Manage::Diff(managed) => run!(managed),
        Manage::History(managed) => run!(managed),
        Manage::Rollback(managed) => run!(managed),
        Manage::Retention(managed) => run!(managed),
        Manage::Status(managed) => run!(managed),
        Manage::Agents(managed) => run!(managed),
        Manage::Skew(managed) => run!(managed),
        Manage::Watch(managed) => run!(managed),
        Manage::Compare(managed) => run!(managed),
        Manage::Guard(managed) => run!(managed),
        Manage::Gate(managed) => run!(managed),
        Manage::Settings(managed) => run!(managed),
        Manage::Hold(managed) => run!(managed),
        Manage::Unhold(managed) => run!(managed),
    }
}

/// Logs on standard error; DOWNBEAT_LOG says how much (`warn`, `info`, `debug`, …).
fn log(default: &str) {
    use tracing_subscriber::EnvFilter;
    let asked = EnvFilter::try_from_env("DOWNBEAT_LOG");
    let filter = asked.unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).init();
}
