//! Where the program under test is: `DOWNBEAT_BINARY`, or what cargo builds now from this workspace.

use serde_json::Value;
use std::path::PathBuf;
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
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--workspace", "--bin", "downbeat", "--message-format", "json"]);
    command.args(["--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml")]);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let messages = String::from_utf8_lossy(&output.stdout).into_owned();
    let executable = messages.lines().find_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        let ours = message["target"]["name"] == "downbeat";
        ours.then(|| message["executable"].as_str().map(PathBuf::from))?
    });
    executable.expect("cargo names the program that it built")
}
