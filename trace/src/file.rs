//! Trace files as they are read: every line of them is understood, or the trace is refused. The one
//! exception is the last line of a process that was killed while it wrote.

use crate::fault::{FORMAT, Fault};
use crate::line::{Line, VERSION};
use downbeat_core::time::{LocalTime, Span};

/// Where a line stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Place {
    /// Which of the files.
    pub(crate) file: usize,
    /// Which line of it, from 1.
    pub(crate) number: usize,
}

/// What one process wrote.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) lines: Vec<(Place, Line)>,
    /// Whether its last line is torn.
    pub(crate) torn: bool,
    /// Whether it ended in order.
    pub(crate) ended: bool,
}

impl Process {
    /// When it began.
    pub(crate) fn begin(&self) -> LocalTime {
        self.lines.iter().find_map(|(_, line)| line.at()).unwrap_or(LocalTime::MAX)
    }

    /// Whether it is a server.
    pub(crate) fn serves(&self) -> bool {
        self.lines.iter().any(|(_, line)| matches!(line, Line::Server { .. }))
    }
}

/// Takes a file apart.
pub(crate) fn read(file: usize, text: &str, host: &mut Option<u64>, faults: &mut Vec<Fault>) -> Vec<Process> {
    let mut processes: Vec<Process> = Vec::new();
    let mut torn: Option<(Place, String)> = None;
    let mut off = Span::ZERO;
    for (index, text) in text.lines().enumerate() {
        let place = Place { file, number: index + 1 };
        let line = match serde_json::from_str::<Line>(text) {
            Ok(line) => line,
            Err(error) => {
                if let Some((place, cause)) = torn.replace((place, error.to_string())) {
                    faults.push(Fault::at(FORMAT, place, cause));
                }
                continue;
            }
        };
        if let Line::Begin { version, host: of, ahead } = line {
            off = ahead;
            if version != VERSION {
                faults.push(Fault::at(FORMAT, place, format!("version {version} is not understood")));
                return Vec::new();
            }
            if *host.get_or_insert(of) != of {
                let text = "another host or boot than the traces before: they share no clock".to_owned();
                faults.push(Fault::at(FORMAT, place, text));
            }
            match (torn.take(), processes.last_mut()) {
                (Some(_), Some(process)) if !process.ended => process.torn = true,
                (Some((place, cause)), _) => faults.push(Fault::at(FORMAT, place, cause)),
                (None, _) => {}
            }
            processes.push(Process { lines: Vec::new(), torn: false, ended: false });
            continue;
        }
        if let Line::Incomplete { .. } = line {
            // It says why the one before it is torn.
            torn = None;
        }
        if let Some((place, cause)) = torn.take() {
            faults.push(Fault::at(FORMAT, place, cause));
        }
        let Some(process) = processes.last_mut() else {
            faults.push(Fault::at(FORMAT, place, "a trace begins with its begin".to_owned()));
            return Vec::new();
        };
        if process.ended {
            faults.push(Fault::at(FORMAT, place, "a line after the end of its process".to_owned()));
        }
        if let Line::Incomplete { .. } = line {
            let text = "lines are missing: the process could not write them".to_owned();
            faults.push(Fault::at(FORMAT, place, text));
        }
        process.ended = matches!(line, Line::End { .. });
        process.lines.push((place, line.without(off)));
    }
    match (torn, processes.last_mut()) {
        // Only what isn't even a whole line.
        (Some(_), Some(process)) if !process.ended && !text.ends_with('\n') => process.torn = true,
        (Some((place, cause)), _) => faults.push(Fault::at(FORMAT, place, cause)),
        (None, None) => {
            let place = Place { file, number: 0 };
            faults.push(Fault::at(FORMAT, place, "there is nothing in it".to_owned()));
        }
        (None, Some(_)) => {}
    }
    processes
}
