//! Child processes that are killed with `kill -9`, and with the test at the latest.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take that must come. Generous: it only ends a run that hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A process. Dropped, it is killed.
#[derive(Debug)]
pub struct Process(Child);

impl Process {
    /// Starts a program whose errors go to a file (appended), and returns its first line of output.
    ///
    /// # Errors
    /// The program ended, or said nothing, and what is in the file.
    pub fn start(mut command: Command, errors: &Path) -> Result<(Process, String), String> {
        let file =
            File::options().create(true).append(true).open(errors).map_err(|error| error.to_string())?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(file);
        let mut child = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
        let output = child.stdout.take();
        let process = Process(child);
        let mut line = String::new();
        if let Some(output) = output {
            let mut output = BufReader::new(output);
            // A program that says nothing more must not wait for somebody who listens.
            let _ = output.read_line(&mut line);
            std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
        }
        if line.is_empty() {
            let said = std::fs::read_to_string(errors).unwrap_or_default();
            return Err(format!("{command:?} ended: {said}"));
        }
        Ok((process, line.trim().to_owned()))
    }

    /// Starts a program whose output goes to one file and whose errors go to another (appended).
    ///
    /// # Errors
    /// It can't be started.
    pub fn printing(mut command: Command, output: &Path, errors: &Path) -> std::io::Result<Process> {
        let errors = File::options().create(true).append(true).open(errors)?;
        command.stdin(Stdio::null()).stdout(File::create(output)?).stderr(errors);
        command.spawn().map(Process)
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(mut self) {
        self.end();
    }

    /// The same for one whose place is taken by another.
    pub fn kill_now(&mut self) {
        self.end();
    }

    /// Asks it to end (SIGTERM), and waits until it has.
    pub fn terminate(mut self) {
        let asked = Command::new("kill").arg("-TERM").arg(self.0.id().to_string()).status();
        if asked.is_ok_and(|status| status.success()) {
            // An orderly end takes moments; where it takes longer, dropping this kills it.
            let until = Instant::now() + PATIENCE;
            while self.ended().is_none() && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    /// How it ended by itself, if it did.
    pub fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.0.try_wait().ok().flatten()
    }

    fn end(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// Waits for something that must come.
///
/// # Panics
/// It did not come within [`PATIENCE`].
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(since.elapsed() < PATIENCE, "{what} did not come within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
