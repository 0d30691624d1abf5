//! N processes that watch one system, as whoever began them sees them. Each is this program again as a
//! child (`watcher`); what they are told and tell goes over standard input and output, a line at a time.
//! A child ends when its input is closed, which it also is where this process dies.

use super::told::Told;
use super::watcher;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// Open files that this process may need for N children: two pipes each, a connection of each to an
/// embedded server, and its own.
fn files_for(processes: usize) -> u64 {
    processes as u64 * 4 + 200
}

/// Lets this process have so many open files, where the system does.
fn allow_files(wanted: u64) -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    if limit.maximum.is_some_and(|most| most < wanted) {
        let text = format!("{wanted} open files are needed; raise the limit (ulimit -n) and try again");
        return Err(io::Error::other(text));
    }
    Ok(setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum })?)
}

struct Member {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Member {
    fn begin(words: &[String]) -> io::Result<Member> {
        let mut command = Command::new(std::env::current_exe()?);
        let mut child =
            command.arg(watcher::WORD).args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let output = BufReader::new(child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?);
        Ok(Member { child, input, output })
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            return Err(io::Error::other("a process of the laboratory ended too early; it says why above"));
        }
        Ok(line)
    }

    /// What it tells, up to the line that ends it.
    fn told(&mut self) -> io::Result<Told> {
        let mut told = Told::default();
        loop {
            let line = self.line()?;
            if line.trim_end() == watcher::END {
                return Ok(told);
            }
            if !told.read(&line) {
                return Err(io::Error::other(format!("a process of the laboratory says {line:?}")));
            }
        }
    }
}

/// All of them.
pub(crate) struct Fleet(Vec<Member>);

impl Fleet {
    /// Begins so many processes that watch a system at an address, and waits until each of them does.
    pub(crate) fn begin(system: &str, address: &str, processes: usize) -> io::Result<Fleet> {
        allow_files(files_for(processes))?;
        let member = |index: usize| {
            Member::begin(&[system.into(), index.to_string(), processes.to_string(), address.into()])
        };
        let mut fleet = Fleet((0..processes).map(member).collect::<io::Result<_>>()?);
        for member in &mut fleet.0 {
            let line = member.line()?;
            if line.trim_end() != watcher::READY {
                return Err(io::Error::other(format!("a process of the laboratory says {line:?}")));
            }
        }
        Ok(fleet)
    }

    /// Tells all of them something.
    pub(crate) fn tell(&mut self, line: &str) -> io::Result<()> {
        self.0.iter_mut().try_for_each(|member| writeln!(member.input, "{line}"))
    }

    /// Asks each of them something, one after the other.
    pub(crate) fn ask(&mut self, line: &str) -> io::Result<Vec<Told>> {
        let one = |member: &mut Member| {
            writeln!(member.input, "{line}")?;
            member.told()
        };
        self.0.iter_mut().map(one).collect()
    }

    /// Ends all of them.
    pub(crate) fn end(self) -> io::Result<()> {
        let ended: Vec<Child> = self.0.into_iter().map(|member| member.child).collect();
        for mut child in ended {
            let status = child.wait()?;
            if !status.success() {
                return Err(io::Error::other(format!("a process of the laboratory: {status}")));
            }
        }
        Ok(())
    }
}
