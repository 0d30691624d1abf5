//! A server of another system, begun for a measurement. It ends when this process does, however that
//! comes: between the two stands this program again, which ends the server when its own input is closed.

use std::fs::File;
use std::io::{self, Read};
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The first word that makes this program the one between.
const WORD: &str = "as-keeper";
/// How long a server may take until it answers.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server that runs.
pub(crate) struct Program {
    name: String,
    keeper: Child,
    input: Option<ChildStdin>,
}

/// Whether a program is installed.
pub(crate) fn is_installed(name: &str) -> bool {
    let mut command = Command::new(name);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok()
}

/// A port that nobody listens on now.
pub(crate) fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

impl Program {
    pub(crate) fn begin(name: &str, words: &[&str]) -> io::Result<Program> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(WORD).arg(name).args(words).stdin(Stdio::piped());
        let mut keeper = command.spawn()?;
        let input = keeper.stdin.take();
        Ok(Program { name: name.to_string(), keeper, input })
    }

    /// Waits until it answers.
    pub(crate) fn wait(&mut self, mut answers: impl FnMut() -> io::Result<()>) -> io::Result<()> {
        let since = Instant::now();
        while let Err(error) = answers() {
            let ended = self.keeper.try_wait()?.is_some();
            if ended || since.elapsed() > PATIENCE {
                return Err(io::Error::other(format!("{} doesn't answer: {error}", self.name)));
            }
            sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.input.take());
        // It has ended already, or ends now.
        let _ = self.keeper.wait();
    }
}

/// Runs as the one between, where the first word says so.
pub(crate) fn run_if_asked() -> Option<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [word, name, words @ ..] = words.as_slice() else { return None };
    if word != WORD {
        return None;
    }
    Some(keep(name, words).map_or_else(
        |error| {
            eprintln!("{name}: {error}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    ))
}

fn keep(name: &str, words: &[String]) -> io::Result<()> {
    let nowhere = || File::options().write(true).open("/dev/null");
    let mut command = Command::new(name);
    let mut server =
        command.args(words).stdin(Stdio::null()).stdout(nowhere()?).stderr(nowhere()?).spawn()?;
    let read = io::stdin().read_to_end(&mut Vec::new());
    server.kill()?;
    server.wait()?;
    read.map(drop)
}
