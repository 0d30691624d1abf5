//! The specification in `spec/murphi/`, made into a verifier by rumur and a C compiler, and run.

use super::configurations::Guards;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

/// The specification, in the order in which its parts build on each other.
const PARTS: [&str; 6] = [
    include_str!("../../../spec/murphi/state.m"),
    include_str!("../../../spec/murphi/server.m"),
    include_str!("../../../spec/murphi/plan.m"),
    include_str!("../../../spec/murphi/agent.m"),
    include_str!("../../../spec/murphi/steps.m"),
    include_str!("../../../spec/murphi/properties.m"),
];

/// What the verifier found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Found {
    /// Every state was visited, and nothing is broken.
    Counts {
        /// Distinct states.
        states: usize,
        /// Steps between them.
        steps: usize,
    },
    /// This property is broken.
    Broken(String),
}

/// A folder that is removed at the end.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // What can't be removed is left to whoever cleans the temporary folder.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs the specification with these constants.
///
/// # Errors
/// A tool is missing or fails, or its output is not understood.
pub fn run(constants: &str, guards: &Guards) -> Result<Found, String> {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    let run = RUNS.fetch_add(1, Ordering::Relaxed);
    let name = format!("downbeat-second-opinion-{}-{run}", std::process::id());
    let folder = Folder(std::env::temp_dir().join(name));
    let failed = |what: &str, error| format!("{what} in {} failed: {error}", folder.0.display());
    std::fs::create_dir_all(&folder.0).map_err(|error| failed("making a folder", error))?;
    let source = [constants, &guards.constants(), &PARTS.concat()].concat();
    std::fs::write(folder.0.join("farm.m"), source).map_err(|error| failed("writing", error))?;
    // Without symmetry and without bound: every state counts.
    let options = "--quiet --threads 1 --deadlock-detection off --symmetry-reduction off";
    let mut rumur = Command::new("rumur");
    rumur.args(options.split(' ')).args(["--output", "farm.c", "farm.m"]);
    good("rumur", "apt-get install rumur", rumur.current_dir(&folder.0))?;
    let mut cc = Command::new("cc");
    cc.args(["-std=c11", "-O1", "-w", "farm.c", "-o", "farm", "-lpthread"]);
    if cfg!(target_arch = "x86_64") {
        // The verifier exchanges two words at once.
        cc.arg("-mcx16");
    }
    good("cc", "apt-get install gcc", cc.current_dir(&folder.0))?;
    let verifier = folder.0.join("farm");
    let output = output("the verifier", "run this again", &mut Command::new(verifier))?;
    found(&String::from_utf8_lossy(&output.stdout), output.status.success())
}

fn output(tool: &str, cure: &str, command: &mut Command) -> Result<Output, String> {
    command.output().map_err(|error| match error.kind() {
        ErrorKind::NotFound => format!("{tool} is not installed; {cure}"),
        _ => format!("{tool} could not be run: {error}"),
    })
}

fn good(tool: &str, cure: &str, command: &mut Command) -> Result<(), String> {
    let output = output(tool, cure, command)?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{tool} failed: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

/// Reads the verifier's report.
fn found(report: &str, success: bool) -> Result<Found, String> {
    let mut lines = report.lines().map(str::trim);
    if !success {
        lines.find(|line| line.starts_with("The following is the error trace"));
        let property = lines.find(|line| !line.is_empty());
        return property
            .map(|property| Found::Broken(property.to_owned()))
            .ok_or_else(|| "the verifier failed without a reason".to_owned());
    }
    let summary = lines.rfind(|line| line.contains(" states, ") && line.contains(" rules fired in "));
    let numbers: Vec<usize> =
        summary.unwrap_or_default().split_whitespace().filter_map(|word| word.parse().ok()).collect();
    match numbers.as_slice() {
        [states, steps, ..] => Ok(Found::Counts { states: *states, steps: *steps }),
        _ => Err(format!("the verifier's report is not understood: {report}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_read() {
        let good = "\nStatus:\n\n\tNo error found.\n\n\t1224 states, 1980 rules fired in 1s.\n";
        assert_eq!(found(good, true), Ok(Found::Counts { states: 1224, steps: 1980 }));
        let bad = "The following is the error trace for the error:\n\n\tinvariant \"S7\" failed\n";
        assert_eq!(found(bad, false), Ok(Found::Broken("invariant \"S7\" failed".to_owned())));
        assert!(found("1000 states explored in 1s, with 7 rules fired", true).is_err());
        assert!(found("", false).is_err());
    }
}
