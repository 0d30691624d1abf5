//! The firmware in QEMU, as one more agent of a farm: it is provisioned, started, reset, and loses its
//! supply; its serial line goes to wherever it is led, its console is asked (`console`) and looked at
//! again and again (`observer`). Its chip (`chip`) outlives it.

pub mod boundary;
mod chip;
mod console;
pub mod noise;
pub mod observer;

pub use chip::{Busy, Doing, Provisioning};
pub use console::{Answer, Asked, Console};
pub use observer::{Look, Observer};

use crate::processes::{Process, eventually};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// What names the firmware that is tested: a file that QEMU loads.
pub const FIRMWARE: &str = "DOWNBEAT_FIRMWARE";
const QEMU: &str = "qemu-system-arm";

/// The firmware to be tested: that of [`FIRMWARE`], or none where that isn't set, which is told.
///
/// # Panics
/// It is named, and isn't there, or QEMU isn't: then nothing is left out.
pub fn firmware(test: &str) -> Option<PathBuf> {
    let Some(path) = std::env::var_os(FIRMWARE).map(PathBuf::from) else {
        eprintln!("LEFT OUT: {test}: {FIRMWARE} names no firmware; .ci/run firmware builds it and runs this");
        return None;
    };
    assert!(path.is_file(), "{FIRMWARE} is {}, and there is no such file", path.display());
    let asked = Command::new(QEMU).arg("--version").stdout(Stdio::null()).status();
    assert!(
        asked.is_ok_and(|status| status.success()),
        "{QEMU} can't be run; install it: apt-get install {QEMU}"
    );
    Some(path)
}

/// A board.
#[derive(Debug)]
pub struct Device {
    firmware: PathBuf,
    folder: TempDir,
    line: SocketAddr,
    provisioning: Provisioning,
    qemu: Option<Process>,
    console: Console,
}

impl Device {
    /// A board whose chip holds a page and nothing else, and whose serial line leads to an address. It is
    /// off.
    ///
    /// # Panics
    /// The host has no room for it.
    pub fn provisioned(firmware: &Path, line: SocketAddr, provisioning: Provisioning) -> Device {
        let folder = tempfile::Builder::new().prefix("downbeat-device-").tempdir().expect("a folder");
        chip::make(&folder.path().join("chip"), &provisioning).expect("a chip");
        let console = Console::default();
        Device { firmware: firmware.to_owned(), folder, line, provisioning, qemu: None, console }
    }

    /// What it was provisioned with.
    pub fn provisioning(&self) -> &Provisioning {
        &self.provisioning
    }

    /// Its serial line leads elsewhere from its next start on.
    pub fn lead_to(&mut self, line: SocketAddr) {
        self.line = line;
    }

    /// Its console. It answers while the board is on.
    pub fn console(&self) -> Console {
        self.console.clone()
    }

    /// What its chip is doing, by the chip's own status register.
    pub fn doing(&self) -> Option<Busy> {
        chip::busy(&self.chip()).expect("a chip can be read")
    }

    /// Changes bytes of the chip while the board is off.
    ///
    /// # Panics
    /// The board is on.
    pub fn damage(&self, change: impl FnOnce(&mut [u8])) {
        assert!(self.qemu.is_none(), "the board is on");
        let mut bytes = std::fs::read(self.chip()).expect("a chip can be read");
        change(&mut bytes);
        std::fs::write(self.chip(), bytes).expect("a chip can be written");
    }

    /// Switches it on, and waits for its first word.
    ///
    /// # Panics
    /// It is on, or says nothing.
    pub fn start(&mut self) {
        assert!(self.qemu.is_none(), "the board is on");
        let (console, monitor) = (self.folder.path().join("console"), self.folder.path().join("monitor"));
        for socket in [&console, &monitor] {
            let _ = std::fs::remove_file(socket);
        }
        let mut command = Command::new(QEMU);
        let chip = self.chip();
        command.arg("-object").arg(format!(
            "memory-backend-file,id=chip,size={},mem-path={},share=on",
            chip::MEMORY,
            chip.display()
        ));
        command.args(["-machine", "mps2-an386,memory-backend=chip", "-display", "none", "-monitor", "none"]);
        let (host, port) = (self.line.ip(), self.line.port());
        command.arg("-chardev").arg(format!("socket,id=line,host={host},port={port},reconnect=1,nodelay=on"));
        command.args(["-serial", "chardev:line"]);
        let socket = |path: &Path| format!("path={},server=on,wait=off", path.display());
        command.arg("-chardev").arg(format!("socket,id=console,{}", socket(&console)));
        command.args(["-serial", "chardev:console"]);
        command.arg("-qmp").arg(format!("unix:{}", socket(&monitor).trim_start_matches("path=")));
        // It is to wait until somebody listens to its console.
        command.arg("-S").arg("-kernel").arg(&self.firmware);
        let errors = self.folder.path().join("errors.txt");
        let output = self.folder.path().join("output.txt");
        let qemu = Process::printing(command, &output, &errors).expect("QEMU starts");
        self.qemu = Some(qemu);
        let stream = eventually("a console", || {
            self.assert_on();
            UnixStream::connect(&console).ok()
        });
        let heard = self.console.connect(stream);
        self.monitor("cont");
        self.console.wait_for_boot(heard);
    }

    /// The board runs.
    ///
    /// # Panics
    /// It is off, or QEMU ended by itself.
    pub fn assert_on(&mut self) {
        let ended = self.qemu.as_mut().expect("the board is on").ended();
        let said = || std::fs::read_to_string(self.folder.path().join("errors.txt")).unwrap_or_default();
        assert!(ended.is_none(), "QEMU ended by itself, {ended:?}: {}", said());
        self.console.assert_sound();
    }

    /// Its reset line is pulled: the chip stays as it is at that instant, and it starts again.
    ///
    /// # Panics
    /// It is off.
    pub fn reset(&mut self) {
        self.assert_on();
        self.monitor("system_reset");
    }

    /// Its supply is cut (`kill -9` on QEMU): the chip stays as it is at that instant.
    ///
    /// # Panics
    /// It is off.
    pub fn cut_supply(&mut self) {
        self.qemu.take().expect("the board is on").kill();
        self.console.disconnect();
    }

    fn chip(&self) -> PathBuf {
        self.folder.path().join("chip")
    }

    /// Lets QEMU carry out a command of its monitor.
    fn monitor(&self, command: &str) {
        let path = self.folder.path().join("monitor");
        let stream = eventually("QEMU's monitor", || UnixStream::connect(&path).ok());
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a limit");
        let mut lines = BufReader::new(&stream).lines();
        let mut answered = |what: &str| {
            let found = lines.by_ref().flatten().find(|line| line.contains(what));
            assert!(found.is_some(), "QEMU's monitor doesn't answer {command}");
        };
        answered("\"QMP\"");
        for command in ["qmp_capabilities", command] {
            writeln!(&stream, "{{\"execute\": \"{command}\"}}").expect("QEMU's monitor listens");
            answered("\"return\"");
        }
    }
}
