//! An agent in a process of its own, which is this program again: what it is told and tells goes over
//! its standard input and output, a line at a time.

use crate::data::DATASET;
use crate::machine;
use downbeat_agent::{Agent, Guard, Reader, What};
use downbeat_core::message::Phase;
use std::hint::black_box;
use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::time::Duration;

/// The first word that makes this program one.
const WORD: &str = "as-agent";
/// How often it looks whether there is something to read.
const LOOK: Duration = Duration::from_micros(100);

/// As whoever began it sees it.
pub(crate) struct Follower {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Follower {
    /// Begins an agent that reads a key as soon as it can, and then ends or follows.
    pub(crate) fn spawn(server: SocketAddr, state: &Path, key: &[u8], follows: bool) -> io::Result<Follower> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(WORD).arg(server.to_string()).arg(state).arg(String::from_utf8_lossy(key).as_ref());
        command.args(follows.then_some("follow"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let output = BufReader::new(child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?);
        Ok(Follower { child, input, output })
    }

    /// Waits for its first read; the KiB that it had read from disks by then.
    pub(crate) fn first(&mut self) -> io::Result<f64> {
        self.number("first")
    }

    /// Has it take the next generation. It holds the one before when this returns.
    pub(crate) fn go_on(&mut self) -> io::Result<()> {
        self.input.write_all(b"next\n")?;
        self.number("holds").map(drop)
    }

    /// What it tells next, which has to be this.
    pub(crate) fn number(&mut self, of: &str) -> io::Result<f64> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        let number = line.trim().strip_prefix(of).and_then(|number| number.trim().parse().ok());
        number.ok_or_else(|| io::Error::other(format!("the agent says {line:?} in place of {of:?}")))
    }

    /// Ends it.
    pub(crate) fn end(self) -> io::Result<()> {
        let Follower { mut child, input, .. } = self;
        drop(input);
        let status = child.wait()?;
        if status.success() { Ok(()) } else { Err(io::Error::other(format!("the agent: {status}"))) }
    }
}

/// Runs as an agent, where the first word says so.
pub(crate) fn run_if_asked() -> Option<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [word, server, state, key, rest @ ..] = words.as_slice() else { return None };
    if word != WORD {
        return None;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let ran = runtime.and_then(|runtime| runtime.block_on(run(server, state, key, !rest.is_empty())));
    Some(ran.map_or_else(
        |error| {
            eprintln!("the agent: {error}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    ))
}

fn tell(what: &str, number: f64) -> io::Result<()> {
    let mut output = io::stdout();
    writeln!(output, "{what} {number}")?;
    output.flush()
}

async fn run(server: &str, state: &str, key: &str, follows: bool) -> io::Result<()> {
    let before = machine::resident()?;
    let agent = Agent::builder().server(server).farm("main").state_dir(state).start().await;
    let agent = agent.map_err(io::Error::other)?;
    let mut reader = agent.reader();
    let first = loop {
        if let Ok(guard) = reader.read_async().await
            && guard.get(DATASET, key).map_err(io::Error::other)?.is_some()
        {
            break guard;
        }
        tokio::time::sleep(LOOK).await;
    };
    tell("first", machine::read_from_disk()? as f64 / 1024.0)?;
    if follows {
        read_all(&first)?;
        tell("one", machine::resident()? - before)?;
        drop(first);
        while follow(&agent, &mut reader, before).await? {}
    }
    agent.stop().await;
    Ok(())
}

/// One generation after another, for as long as that is asked for.
async fn follow(agent: &Agent, reader: &mut Reader, before: f64) -> io::Result<bool> {
    if io::stdin().read_line(&mut String::new())? == 0 {
        return Ok(false);
    }
    let mut happenings = agent.happenings();
    let old = reader.read_async().await.map_err(io::Error::other)?;
    machine::forget_peak()?;
    tell("holds", 0.0)?;
    let mut asked = None;
    let staged = loop {
        let Ok(happening) = happenings.recv().await else { continue };
        match happening.what {
            What::Phase(Phase::Retrieving) => asked = Some(happening.at),
            What::Published(plan) if plan.staged.is_some_and(|staged| staged.digest != old.digest()) => {
                break asked.map_or(f64::NAN, |asked| (happening.at - asked).as_nanos() as f64 / 1e6);
            }
            _ => {}
        }
    };
    tell("staged", staged)?;
    let new = loop {
        match reader.read_async().await {
            Ok(guard) if guard.digest() != old.digest() => break guard,
            _ => tokio::time::sleep(LOOK).await,
        }
    };
    read_all(&old)?;
    read_all(&new)?;
    tell("both", machine::peak()? - before)?;
    Ok(true)
}

/// Reads every record, in order and by its hash, so that every page is in use.
fn read_all(guard: &Guard) -> io::Result<()> {
    for record in guard.iter(DATASET) {
        let (key, value) = record.map_err(io::Error::other)?;
        black_box(value.iter().map(|byte| u64::from(*byte)).sum::<u64>());
        black_box(guard.get(DATASET, key).map_err(io::Error::other)?);
    }
    Ok(())
}
