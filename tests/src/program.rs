//! Where the program under test is: `DOWNBEAT_BINARY`, or what cargo builds now from this workspace. And
//! programs in C, linked with the static library that cargo builds from it.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The real `downbeat`, built as the tests are: optimized where they are.
///
/// # Panics
/// It can't be built; cargo says why.
pub fn downbeat() -> PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| std::env::var_os("DOWNBEAT_BINARY").map_or_else(build, PathBuf::from)).clone()
}

/// Of the whole workspace, so that what the tests were built with is used again.
fn build() -> PathBuf {
    let made = cargo_build(&["--workspace", "--bin", "downbeat"]);
    let ours = made.iter().find(|made| made["target"]["name"] == "downbeat");
    let executable = ours.and_then(|made| made["executable"].as_str().map(PathBuf::from));
    executable.expect("cargo names the program that it built")
}

/// What cargo says that it made, by its messages.
fn cargo_build(what: &[&str]) -> Vec<Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--message-format", "json"]).args(what);
    command.args(["--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml")]);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let messages = String::from_utf8_lossy(&output.stdout).into_owned();
    messages.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// The static library of `core-c`, built as whoever links it builds it: by itself, so that what other
/// crates of the workspace ask of common dependencies isn't in it.
fn static_library() -> PathBuf {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        let made = cargo_build(&["-p", "downbeat-core-c", "--lib"]);
        let ours = made.iter().find(|made| made["target"]["name"] == "downbeat_core_c");
        let files = ours.and_then(|made| made["filenames"].as_array()).into_iter().flatten();
        let mut archives = files.filter_map(Value::as_str).filter(|file| file.ends_with(".a"));
        archives.next().map(PathBuf::from).expect("cargo names the library that it built")
    };
    LIBRARY.get_or_init(build).clone()
}

/// A program made of C files below `core-c`, linked with its static library, with the checks of the
/// sanitizers where the compiler has them.
///
/// # Panics
/// It doesn't compile.
pub fn in_c(name: &str, folder: &str, files: &[&str]) -> PathBuf {
    let library = static_library();
    let program = library.with_file_name(name);
    // Under a name of this process's own first: another run may be starting the one that is there.
    let made = library.with_file_name(format!("{name}-{}", std::process::id()));
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core-c");
    let files: Vec<_> = files.iter().map(|file| here.join(folder).join(file)).collect();
    let compile = |checks: &[&str]| {
        let mut command = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
        command.args(["-std=c11", "-O1", "-g", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]).args(checks);
        command.arg("-I").arg(here.join("include")).args(&files).arg(&library);
        // What the standard library of Rust stands on, for its panic handler.
        command.args(["-lpthread", "-ldl", "-lm", "-o"]).arg(&made);
        command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; install a C compiler"))
    };
    let sanitized = compile(&["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]);
    if !sanitized.status.success() {
        let plain = compile(&[]);
        assert!(plain.status.success(), "{}", String::from_utf8_lossy(&plain.stderr));
        let why = String::from_utf8_lossy(&sanitized.stderr);
        eprintln!("LEFT OUT: address and undefined behaviour sanitizers: {}", why.trim());
    }
    std::fs::rename(&made, &program).expect("the program gets its name");
    program
}
