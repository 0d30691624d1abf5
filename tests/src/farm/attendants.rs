//! Who edits and who looks on while a farm runs. Both go on through every end of the server: an edit
//! is sent again until it is acknowledged, as people do.

use super::{FARM, Farm, Place, place};
use crate::history::{Acknowledged, TableSeen};
use crate::looker::Looker;
use crate::manage::ask;
use crate::witness::records;
use downbeat_agent::Clock;
use downbeat_trace::Recorder;
use serde_json::json;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Between two looks at the table.
const LOOKING: Duration = Duration::from_millis(40);
/// Between two tries while there is no server.
const WAITING: Duration = Duration::from_millis(5);

impl Farm {
    pub(super) fn attend(&mut self) {
        let (http, stop, edits) = (self.http.clone(), self.stop.clone(), self.edits.clone());
        let editing = self.contents.editing;
        self.attendants.push(std::thread::spawn(move || edit(&http, &stop, &edits, editing)));
        let recorder = Recorder::append(&self.folder().join("attendants.trace")).expect("a trace of looks");
        let (control, stop, tables) = (self.control.clone(), self.stop.clone(), self.tables.clone());
        self.attendants.push(std::thread::spawn(move || look_on(&control, &stop, &tables, &recorder)));
    }
}

/// Makes edit after edit, each acknowledged before the next, and some time between them.
fn edit(http: &Place, stop: &AtomicBool, edits: &Arc<Mutex<Vec<Acknowledged>>>, editing: Duration) {
    for edit in 1.. {
        let lines: String = records(edit)
            .into_iter()
            .map(|(dataset, key, value)| {
                format!("{}\n", json!({ "op": "put", "dataset": dataset, "key": key, "value": value }))
            })
            .collect();
        let answer = loop {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let answer = place(http)
                .and_then(|http| ask(http, "POST", &format!("/v1/farms/{FARM}/apply"), lines.as_bytes()));
            match answer {
                Some((200, answer)) => break answer,
                // Nobody there, ended in the middle, or busy: it is sent again.
                None | Some((503, _)) => std::thread::sleep(WAITING),
                Some(refused) => panic!("edit {edit} was refused: {refused:?}"),
            }
        };
        let epoch = answer["epoch"].as_u64().expect("the answer to an edit names an epoch");
        edits.lock().unwrap_or_else(PoisonError::into_inner).push(Acknowledged { edit, epoch });
        std::thread::sleep(editing);
    }
}

/// Looks at the table again and again.
fn look_on(control: &Place, stop: &AtomicBool, tables: &Arc<Mutex<Vec<TableSeen>>>, recorder: &Recorder) {
    let mut looker = None;
    while !stop.load(Ordering::Relaxed) {
        looker = looker.or_else(|| Looker::connect(place(control)?, FARM, recorder.clone()));
        if let Some(look) = looker.as_mut().and_then(Looker::look) {
            tables.lock().unwrap_or_else(PoisonError::into_inner).push(look);
            std::thread::sleep(LOOKING);
        } else {
            looker = None;
            std::thread::sleep(WAITING);
        }
    }
    recorder.end(Clock::host().now());
}
