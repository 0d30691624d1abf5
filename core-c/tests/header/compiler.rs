//! The host's C compiler: `cc`, or what `CC` names. This repository can't be built without one.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What every C file of this crate has to be clean under.
pub(crate) const STRICT: [&str; 4] = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"];

/// A folder for a test, and the compiler.
pub(crate) struct Compiler {
    folder: tempfile::TempDir,
}

impl Compiler {
    pub(crate) fn new() -> Compiler {
        Compiler { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    /// A file with this text.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).expect("a file in a temporary folder");
        path
    }

    /// Runs the compiler on a file, with the header's folder.
    pub(crate) fn run(&self, arguments: &[&str], file: &Path) -> Output {
        let mut command = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
        command.args(STRICT).arg("-I").arg(concat!(env!("CARGO_MANIFEST_DIR"), "/include"));
        command.args(arguments).arg(file).current_dir(self.folder.path());
        command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; install a C compiler"))
    }

    /// What a C file prints when it is compiled and run.
    pub(crate) fn printed(&self, arguments: &[&str], text: &str) -> String {
        let program = self.folder.path().join("program");
        let output = ["-o", program.to_str().expect("a path of text")];
        let compiled = self.run(&[arguments, &output].concat(), &self.file("program.c", text));
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        let ran = Command::new(program).output().expect("it runs");
        assert!(ran.status.success(), "{ran:?}");
        String::from_utf8(ran.stdout).expect("it prints text")
    }
}
