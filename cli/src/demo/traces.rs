//! The traces of a run: one of the server, one of each agent, one of the readers, who also tell what the
//! demo fed and what they found. `downbeat-trace` replays and judges them at the end: what it says is
//! all that the demo knows of properties. Here that is told, with the agents' names.

use super::cast::Member;
use crate::failure::Failure;
use downbeat_trace::{Fault, Recorder, Replayed};
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

    /// Replays and judges all of them. Everybody who writes has ended.
    ///
    /// # Errors
    /// They can't be read.
    pub(crate) fn judge(&self, names: &Names) -> Result<Told, Failure> {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = files.iter().filter_map(|file| Some(file.metadata().ok()?.len())).sum();
        let mut replayed = downbeat_trace::files(&files).map_err(Failure::own)?;
        let mut broken = std::mem::take(&mut replayed.faults);
        broken.sort_by_key(|fault| rank(fault.check));
        broken.iter_mut().for_each(|fault| fault.detail = names.named(&fault.detail));
        Ok(Told { broken, replayed, bytes })
    }
}

/// The number of a property; what is none comes after all of them.
fn number(check: &str) -> u32 {
    let property = check.split_once(' ').and_then(|(id, _)| id.strip_prefix('S'));
    property.and_then(|number| number.parse().ok()).unwrap_or(u32::MAX)
}

/// In which order broken properties are named: S12 first, because an agent's others stand on its
/// enclosure; then by number; last what is no property, as a clock beyond its bound.
fn rank(check: &str) -> u32 {
    Some(number(check)).filter(|number| *number != 12).unwrap_or(0)
}

/// The agents' names: traces have their ids only.
pub(crate) struct Names(Vec<(String, String)>);

impl Names {
    /// Of those who play.
    pub(crate) fn of(members: &[Member]) -> Names {
        let both = |member: &Member| {
            let id: String = member.agent.id().0.iter().map(|byte| format!("{byte:02x}")).collect();
            let life = format!("agent {}, life {:016x}", &id[..8], member.agent.incarnation().0);
            [(life, member.role.name.clone()), (id, member.role.name.clone())]
        };
        Names(members.iter().flat_map(both).collect())
    }

    fn named(&self, detail: &str) -> String {
        self.0.iter().fold(detail.to_owned(), |text, (id, name)| text.replace(id, name))
    }
}

/// What the judge said.
pub(crate) struct Told {
    /// What is wrong, what is to be named first at the beginning.
    pub(crate) broken: Vec<Fault>,
    replayed: Replayed,
    bytes: u64,
}

impl Told {
    /// For people.
    pub(crate) fn text(&self) -> String {
        let Replayed { lines, inputs, steps, reads, .. } = &self.replayed;
        let looked: Vec<String> = self.judged().map(|(id, _, times)| format!("{id} {times}x")).collect();
        let broken = match self.broken.len() {
            0 => "no property was broken".to_owned(),
            1 => "one thing is wrong".to_owned(),
            more => format!("{more} things are wrong"),
        };
        format!(
            "Replayed {lines} lines of traces ({} kB): core gave the same answers to {inputs} inputs of agents and \
             {steps} requests of the server; {reads} reads were compared with the plans.\n\
             Judged by them: {}; {broken}.",
            self.bytes / 1_000,
            looked.join(", ")
        )
    }

    /// What is wrong, for programs.
    pub(crate) fn violations(&self) -> Vec<Value> {
        let told = |fault: &Fault| {
            let (id, name) = match fault.property() {
                Some((id, name)) => (id, Some(name)),
                None => (fault.check, None),
            };
            json!({ "property": id, "name": name, "detail": fault.detail })
        };
        self.broken.iter().map(told).collect()
    }

    /// How it was found, for programs.
    pub(crate) fn json(&self) -> Value {
        let judged: serde_json::Map<_, _> =
            self.judged().map(|(id, _, times)| (id.to_owned(), times.into())).collect();
        json!({
            "lines": self.replayed.lines,
            "bytes": self.bytes,
            "inputs": self.replayed.inputs,
            "steps": self.replayed.steps,
            "reads": self.replayed.reads,
            "judged": judged,
        })
    }

    /// The properties that were looked at, by number: id, name, how often.
    fn judged(&self) -> impl Iterator<Item = (&str, &str, u64)> {
        let mut judged: Vec<_> = self.replayed.judged.iter().collect();
        judged.sort_by_key(|(check, _)| number(check));
        judged.into_iter().filter_map(|(check, times)| {
            let (id, name) = check.split_once(' ')?;
            Some((id, name, *times))
        })
    }
}
