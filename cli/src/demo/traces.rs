//! The traces of a run: one of the server, one of each agent, one of the readers; and their replay at
//! its end, by which the demo's own checks are checked.

use crate::failure::Failure;
use downbeat_trace::{Recorder, Replayed};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The traces of a run, in its folder.
#[derive(Debug)]
pub(crate) struct Traces {
    folder: PathBuf,
    files: Mutex<Vec<PathBuf>>,
}

impl Traces {
    pub(crate) fn new(folder: &Path) -> Traces {
        Traces { folder: folder.to_owned(), files: Mutex::default() }
    }

    /// A trace of somebody.
    ///
    /// # Errors
    /// It can't be written.
    pub(crate) fn of(&self, who: &str) -> Result<Recorder, Failure> {
        let path = self.folder.join(format!("{who}.trace"));
        let recorder = Recorder::append(&path)
            .map_err(|error| Failure::own(format!("a trace can't be written ({error}); free some space")))?;
        self.files.lock().unwrap_or_else(PoisonError::into_inner).push(path);
        Ok(recorder)
    }

    /// Feeds all of them to core again. Everybody who writes has ended.
    ///
    /// # Errors
    /// They can't be read.
    pub(crate) fn replay(&self) -> Result<Told, Failure> {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = files.iter().filter_map(|file| Some(file.metadata().ok()?.len())).sum();
        let replayed = downbeat_trace::files(&files).map_err(Failure::own)?;
        Ok(Told { replayed, bytes })
    }
}

/// What the replay came to.
pub(crate) struct Told {
    pub(crate) replayed: Replayed,
    bytes: u64,
}

impl Told {
    /// For people.
    pub(crate) fn text(&self) -> String {
        let Replayed { lines, inputs, steps, enclosed, .. } = &self.replayed;
        let wrong = match self.replayed.faults.len() {
            0 => "nothing is wrong".to_owned(),
            faults => format!("{faults} things are wrong"),
        };
        format!(
            "Replayed {lines} lines of traces ({} kB): core gave the same answers to {inputs} inputs of agents and \
             {steps} requests of the server; the true time was in {enclosed} enclosures; {wrong}.",
            self.bytes / 1_000
        )
    }

    /// For programs.
    pub(crate) fn json(&self) -> Value {
        let faults: Vec<_> = self.replayed.faults.iter().map(ToString::to_string).collect();
        json!({
            "lines": self.replayed.lines,
            "bytes": self.bytes,
            "inputs": self.replayed.inputs,
            "steps": self.replayed.steps,
            "reads": self.replayed.reads,
            "enclosures": self.replayed.enclosed,
            "faults": faults,
        })
    }
}
