//! Child processes that are killed with `kill -9`, and with the test at the latest. They can be stopped
//! where they are (SIGSTOP), and go on later.

use crate::host_view::clear_away;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take that must come. Generous: it only ends a run that hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What runs a program in namespaces of its own: the program is its only child.
pub(crate) const UNSHARE: &str = "unshare";

/// A process. Dropped, it is killed.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// Whether the child is [`UNSHARE`], and the program a child of it.
    wrapped: bool,
}

impl Process {
    /// Starts a program whose errors go to a file (appended), and returns its first line of output.
    ///
    /// # Errors
    /// The program ended, or said nothing, and what is in the file.
    pub fn start(mut command: Command, errors: &Path) -> Result<(Process, String), String> {
        let file =
            File::options().create(true).append(true).open(errors).map_err(|error| error.to_string())?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(file);
        let mut process = Process::spawn(&mut command).map_err(|error| format!("{command:?}: {error}"))?;
        let output = process.child.stdout.take();
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
        Process::spawn(&mut command)
    }

    fn spawn(command: &mut Command) -> std::io::Result<Process> {
        let wrapped = command.get_program() == UNSHARE;
        Ok(Process { child: command.spawn()?, wrapped })
    }

    /// The program's own process.
    fn program(&self) -> Option<Pid> {
        let id = self.child.id();
        if !self.wrapped {
            return Pid::from_raw(id.cast_signed());
        }
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?;
        Pid::from_raw(children.split_whitespace().next()?.parse().ok()?)
    }

    fn signal(&self, signal: Signal) -> bool {
        self.program().is_some_and(|program| kill_process(program, signal).is_ok())
    }

    /// Stops it (SIGSTOP), and waits until all of its threads stand still.
    ///
    /// # Panics
    /// It is gone, or doesn't stop.
    pub fn stop(&self) {
        assert!(self.signal(Signal::STOP), "{self:?} can't be stopped");
        eventually(&format!("{self:?} stopped"), || self.is_stopped().then_some(()));
    }

    /// Lets it go on after [`Process::stop`].
    ///
    /// # Panics
    /// It is gone.
    pub fn go_on(&self) {
        assert!(self.signal(Signal::CONT), "{self:?} can't go on");
    }

    /// Whether all of its threads are stopped.
    fn is_stopped(&self) -> bool {
        let Some(program) = self.program() else { return false };
        let threads = std::fs::read_dir(format!("/proc/{}/task", program.as_raw_nonzero()));
        let stands = |thread: std::fs::DirEntry| {
            // The state follows the name, which is in parentheses.
            let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('T'))
        };
        threads.is_ok_and(|threads| threads.flatten().all(stands))
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(mut self) {
        self.end();
    }

    /// The same for one whose place is taken by another.
    pub fn kill_now(&mut self) {
        self.end();
    }

    /// Asks it to end (SIGTERM), waits until it has, and returns how it did; `None` where it had to be killed.
    pub fn terminate(mut self) -> Option<std::process::ExitStatus> {
        if self.signal(Signal::TERM) {
            // An orderly end takes moments; where it takes longer, dropping this kills it.
            let until = Instant::now() + PATIENCE;
            while self.ended().is_none() && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        self.ended()
    }

    /// How it ended by itself, if it did.
    pub fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    fn end(&mut self) {
        let program = self.program();
        // It may have ended already. What it was wrapped in ends with it, and not before it.
        if !(self.wrapped && self.signal(Signal::KILL)) {
            let _ = self.child.kill();
        }
        program.into_iter().for_each(|program| clear_away(program.as_raw_nonzero().get().unsigned_abs()));
        let _ = self.child.wait();
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
