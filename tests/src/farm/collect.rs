//! A run's history, put together from the agents' logs, the server's own records of its generations,
//! and what the attendants noted.

use super::{EARLY_LIMIT, FARM, Farm, place};
use crate::history::{Content, History, Kept, Life};
use crate::log::parse;
use crate::manage::{ask, call};
use crate::processes::eventually;
use crate::witness::{LEDGER, PAGE, judge, ledger_key};
use downbeat_core::ids::Name;
use serde_json::Value;
use std::sync::PoisonError;
use std::time::Instant;

/// Keys of a page, ascending: what the server is asked for in each generation.
const PAGE_KEYS: [&str; 6] = ["checksum", "row-0", "row-1", "row-2", "row-3", "row-4"];

impl Farm {
    /// What the server has on record. It runs still; the agents and the attendants have ended.
    pub(super) fn collect(&self) -> History {
        History {
            kept: self.kept(),
            edits: self.edits.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            production: self.production(),
            early_limit: EARLY_LIMIT,
            ..History::default()
        }
    }

    /// All of what was seen, from the traces of all processes, which are fed to core again; and what is
    /// wrong with them. Everything has ended.
    pub(super) fn replay(&self, records: History) -> (History, Vec<String>) {
        let lives = (0..self.agents.len())
            .flat_map(|agent| (1..=self.agents[agent].lives).map(move |life| (agent, life)))
            .map(|(agent, life)| self.life_trace(agent, life));
        let servers = (1..=self.servers).map(|life| self.server_trace(life));
        let mut traces: Vec<_> = servers.chain(lives).collect();
        traces.push(self.folder().join("attendants.trace"));
        // A process that was killed at its start may have written nothing.
        traces.retain(|trace| trace.metadata().is_ok_and(|file| file.len() > 0));
        let began = Instant::now();
        let replayed = downbeat_trace::files(&traces).expect("traces can be read");
        let bytes: u64 = traces.iter().filter_map(|trace| Some(trace.metadata().ok()?.len())).sum();
        eprintln!(
            "replayed {} lines, {} kB of {} processes ({} killed, {} in a line) in {:?}: {} inputs, {} steps, {} reads, {} enclosures",
            replayed.lines,
            bytes / 1_000,
            traces.len(),
            replayed.killed,
            replayed.torn,
            began.elapsed(),
            replayed.inputs,
            replayed.steps,
            replayed.reads,
            replayed.enclosed
        );
        let place = |fault: &downbeat_trace::Fault| match fault.line {
            Some((file, line)) => format!("{fault} ({}:{line})", traces[file].display()),
            None => fault.to_string(),
        };
        let faults = replayed.faults.iter().map(place).collect();
        let History { kept, edits, production, early_limit, .. } = records;
        // The server has a farm of its own beside, which is judged by the replay alone.
        let mut histories = replayed.histories;
        let seen = Name::new(FARM).ok().and_then(|farm| histories.remove(&farm)).unwrap_or_default();
        (History { kept, edits, production, early_limit, ..seen }, faults)
    }

    /// What one life of an agent wrote down so far.
    pub(super) fn life(&self, agent: usize, number: u32) -> Life {
        // A process that ended at its start wrote nothing.
        let text = std::fs::read_to_string(self.life_file(agent, number)).unwrap_or_default();
        let printed = parse(&text).expect("an agent's log");
        Life {
            agent: format!("agent-{agent}"),
            mode: self.agents[agent].setup.mode,
            readers: vec![printed.spans],
            switches: printed.switches,
        }
    }

    fn get(&self, path: &str) -> Value {
        let path = format!("/v1/farms/{FARM}/{path}");
        eventually(&path, || match ask(place(&self.http)?, "GET", &path, b"")? {
            (200, answer) => Some(answer),
            _ => None,
        })
    }

    fn kept(&self) -> Vec<Kept> {
        let answer = self.get("generations");
        let list = answer["generations"].as_array().cloned().unwrap_or_default();
        let kept = list.iter().filter_map(|generation| {
            let epoch = generation["epoch"].as_u64()?;
            let digest = generation["digest"].as_str()?.to_owned();
            Some(Kept { epoch, digest, content: self.content(epoch) })
        });
        kept.collect()
    }

    /// What the server's records of a generation amount to.
    fn content(&self, epoch: u64) -> Content {
        let page: Vec<_> = PAGE_KEYS
            .iter()
            .filter_map(|key| Some((key.as_bytes(), self.value(PAGE, key, epoch)?)))
            .collect();
        judge(page.iter().map(|(key, value)| (*key, value.as_slice())), |edit| {
            self.value(LEDGER, &ledger_key(edit), epoch).is_some()
        })
    }

    fn value(&self, dataset: &str, key: &str, epoch: u64) -> Option<Vec<u8>> {
        let path = format!("/v1/farms/{FARM}/records/{dataset}/{key}?epoch={epoch}");
        eventually(&path, || match call(place(&self.http)?, "GET", &path, b"")? {
            (200, value) => Some(Some(value)),
            (404, _) => Some(None),
            _ => None,
        })
    }

    /// The edits whose own record is in production.
    fn production(&self) -> Vec<u64> {
        let mut edits = Vec::new();
        let mut after = String::new();
        loop {
            let answer = self.get(&format!("records/{LEDGER}?limit=1000{after}"));
            let records = answer["records"].as_array().cloned().unwrap_or_default();
            let mut keys = records.iter().filter_map(|record| record["key"].as_str());
            edits.extend(keys.clone().filter_map(|key| key.parse::<u64>().ok()));
            match keys.next_back() {
                Some(last) if answer["more"] == true => after = format!("&after={last}"),
                _ => return edits,
            }
        }
    }
}
