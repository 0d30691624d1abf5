//! What a process sees of its host's clocks, changed from outside: a time namespace of its own, in which
//! the clocks that run from the boot on are others (the kernel's; needs root), and a wall clock that
//! steps while the process runs (libfaketime, preloaded).
//!
//! libfaketime changes what a program asks the C library: here the wall clock, and what timers go by,
//! which it is told to leave true. The clocks that a plan's instants are of are read past that library
//! (rustix asks the kernel's page or the kernel itself), so they stay true in any case.

use crate::processes::UNSHARE;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a process sees. By default what is there.
#[derive(Clone, Debug, Default)]
pub struct HostView {
    /// How many seconds its monotonic and boot clocks are ahead, in a time namespace of its own.
    pub ahead: Option<i64>,
    /// The wall clock that it sees.
    pub wall: Option<WallClock>,
}

impl HostView {
    /// Whether time namespaces can be made here; otherwise why not.
    ///
    /// # Errors
    /// They can't: not root, an older kernel or util-linux.
    pub fn has_namespaces() -> Result<(), String> {
        let mut command = HostView { ahead: Some(1), wall: None }.command(Path::new("true"));
        match command.stdin(Stdio::null()).output() {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => Err(format!(
                "no time namespace can be made ({}); run it as root, with util-linux 2.36 and Linux 5.6 or newer",
                String::from_utf8_lossy(&output.stderr).trim()
            )),
            Err(error) => {
                Err(format!("unshare can't be run ({error}); install it: apt-get install util-linux"))
            }
        }
    }

    /// What runs a program that sees this; its arguments are to follow.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let Some(ahead) = self.ahead else {
            let mut command = Command::new(program);
            self.wall.iter().for_each(|wall| {
                command.envs(wall.environment());
            });
            return command;
        };
        let mut command = Command::new(UNSHARE);
        command.args(["--time", "--fork", "--kill-child"]);
        command.arg(format!("--monotonic={ahead}")).arg(format!("--boottime={ahead}"));
        // Not for unshare itself, which has no use for it.
        command.arg("env");
        for (name, value) in self.wall.iter().flat_map(WallClock::environment) {
            command.arg(format!("{name}={value}"));
        }
        command.arg(program);
        command
    }
}

/// A wall clock that processes see in place of the host's, all at once. Clones are the same clock.
#[derive(Clone, Debug)]
pub struct WallClock {
    /// What libfaketime reads at each look.
    file: PathBuf,
    library: PathBuf,
}

impl WallClock {
    /// A wall clock that is right until it is stepped. It is kept in a file of this name.
    ///
    /// # Errors
    /// There is no libfaketime here.
    pub fn new(file: &Path) -> Result<WallClock, String> {
        let library =
            library().ok_or("there is no libfaketime here; install it: apt-get install faketime")?;
        let clock = WallClock { file: file.to_owned(), library };
        clock.set_ahead(0);
        Ok(clock)
    }

    /// Steps it: from now on it is so many seconds ahead of the host's.
    ///
    /// # Panics
    /// Its file can't be written.
    pub fn set_ahead(&self, seconds: i64) {
        // Never half a file for who looks just now.
        let aside = self.file.with_extension("part");
        let written = std::fs::write(&aside, format!("{seconds:+}\n"));
        written.and_then(|()| std::fs::rename(&aside, &self.file)).expect("a wall clock's file");
    }

    fn environment(&self) -> [(&'static str, String); 5] {
        [
            ("LD_PRELOAD", self.library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.display().to_string()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            // The other clocks that the C library is asked for, for timers, stay true.
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("NO_FAKE_STAT", "1".to_owned()),
        ]
    }
}

/// Removes what libfaketime makes for a process that it is preloaded into, and leaves behind.
pub(crate) fn clear_away(process: u32) {
    for name in ["faketime_shm_", "sem.faketime_sem_"] {
        // Most processes have none.
        let _ = std::fs::remove_file(format!("/dev/shm/{name}{process}"));
    }
}

/// Where Debian puts it, on whatever architecture.
fn library() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?.flatten();
    let libraries = folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
    libraries.into_iter().find(|library| library.exists())
}

/// Says that a part of a test could not be done here, so that nobody takes it for passed: past what
/// captures a test's output.
pub fn left_out(what: &str, why: &str) {
    // Where nobody listens there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "LEFT OUT: {what}: {why}");
}
