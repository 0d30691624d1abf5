//! Who edits and who looks on while a farm runs. Both go on through every end of the server: an edit
//! is sent again until it is acknowledged, as people do.

use super::{FARM, Farm, Place, place};
use crate::history::{Acknowledged, TableSeen};
use crate::manage::{ask, nanos};
use crate::witness::records;
use downbeat_agent::Clock;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Between two edits.
const EDITING: Duration = Duration::from_millis(130);
/// Between two looks at the table.
const LOOKING: Duration = Duration::from_millis(40);
/// Between two tries while there is no server.
const WAITING: Duration = Duration::from_millis(5);

impl Farm {
    pub(super) fn attend(&mut self) {
        let (http, stop, edits) = (self.http.clone(), self.stop.clone(), self.edits.clone());
        self.attendants.push(std::thread::spawn(move || edit(&http, &stop, &edits)));
        let (http, stop, tables) = (self.http.clone(), self.stop.clone(), self.tables.clone());
        self.attendants.push(std::thread::spawn(move || look_on(&http, &stop, &tables)));
    }
}

/// Makes edit after edit, each acknowledged before the next.
fn edit(http: &Place, stop: &AtomicBool, edits: &Arc<Mutex<Vec<Acknowledged>>>) {
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
        std::thread::sleep(EDITING);
    }
}

/// Looks at the table again and again.
fn look_on(http: &Place, stop: &AtomicBool, tables: &Arc<Mutex<Vec<TableSeen>>>) {
    let clock = Clock::host();
    let path = format!("/v1/farms/{FARM}");
    while !stop.load(Ordering::Relaxed) {
        let before = clock.now().as_nanos();
        let answer = place(http).and_then(|http| ask(http, "GET", &path, b""));
        let after = clock.now().as_nanos();
        if let Some((200, status)) = answer {
            let look = table(&status, (before, after)).expect("a status is whole");
            tables.lock().unwrap_or_else(PoisonError::into_inner).push(look);
            std::thread::sleep(LOOKING);
        } else {
            std::thread::sleep(WAITING);
        }
    }
}

fn table(status: &Value, host: (i64, i64)) -> Option<TableSeen> {
    let timeline = &status["timeline"];
    Some(TableSeen {
        timeline: format!("{}-{}", timeline["counter"], timeline["random"].as_str()?),
        epoch: status["epoch"].as_u64()?,
        digest: status["digest"].as_str()?.to_owned(),
        activation: nanos(&status["activation"])?,
        safe_until: nanos(&status["safe_until"])?,
        now: nanos(&status["now"])?,
        host,
    })
}
