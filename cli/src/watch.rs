//! `downbeat watch`: what happens in a farm, as it happens, up to the switch on every agent.

use crate::failure::Failure;
use crate::gate::judge_line;
use crate::operate::{name, span_text};
use crate::remote::{Remote, Told};
use crate::show;
use clap::Args;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Shows what is edited and staged, and how it goes live on every agent
#[derive(Args, Debug)]
pub(crate) struct Watch {
    /// Ends once so many epochs have gone live
    #[arg(long)]
    epochs: Option<u64>,
}

impl Watch {
    pub(crate) fn run(&self, remote: &Remote, as_json: bool) -> Result<(), Failure> {
        let mut seen = Seen::default();
        let mut left = self.epochs;
        for told in remote.events()? {
            if as_json {
                show::json(&json!({ "event": told.name, "data": told.data }));
            } else if let Some(text) = seen.line(&told) {
                let now = show::nanos(&told.data["now"]).map_or(String::new(), show::local);
                println!("{now}  {text}");
            }
            if told.name == "activated" {
                left = left.map(|left| left.saturating_sub(1));
            }
            if left == Some(0) {
                return Ok(());
            }
        }
        Err(Failure::Unreachable(
            "the server ended the stream of events; watch again once it is back".to_owned(),
        ))
    }
}

/// What a watcher remembers: who is connected, and who has switched to the newest epoch.
#[derive(Default)]
struct Seen {
    connected: BTreeSet<String>,
    phases: std::collections::BTreeMap<String, String>,
    epoch: u64,
    switched: BTreeSet<String>,
}

impl Seen {
    /// An event for people; `None` where it says nothing new.
    fn line(&mut self, told: &Told) -> Option<String> {
        let data = &told.data;
        let now = &data["now"];
        Some(match told.name.as_str() {
            "status" => {
                let verb = if data["live"] == true { "went live" } else { "goes live" };
                let at = show::instant(&data["activation"], now);
                format!("epoch {} {verb} {at}; agents: {}", data["epoch"], data["agents"]["connected"])
            }
            "cycle" => {
                let at = show::instant(&data["activation"], now);
                format!("a cycle begins: epoch {} is to go live {at}", data["epoch"])
            }
            "staged" => {
                let at = show::instant(&data["activation"], now);
                format!(
                    "epoch {} is staged (digest {}), goes live {at}",
                    data["epoch"],
                    show::short(&data["digest"])
                )
            }
            "activated" => format!("epoch {} is live", data["epoch"]),
            "edited" => {
                format!("production was edited: {} written, {} deleted", data["written"], data["deleted"])
            }
            "held" => "the farm is held".to_owned(),
            "unheld" => "the hold is over".to_owned(),
            "settings" => "settings were changed; the next cycle takes them up".to_owned(),
            "candidate" => format!(
                "candidate {} ({} changed records) is frozen for a verdict",
                show::plain(&data["digest"]),
                data["changes"]
            ),
            "verdict" => judge_line(data),
            "blocked" => {
                let mut text = format!("KEPT BACK: epoch {} is the content of before", data["epoch"]);
                for reason in data["reasons"].as_array().into_iter().flatten() {
                    let part = |name: &str| show::plain(&reason[name]);
                    text += &format!("\n    {}: {}; {}", part("guard"), part("limit"), part("found"));
                }
                text
            }
            "overridden" => {
                format!(
                    "the guard {} is overridden by {}",
                    show::plain(&data["guard"]),
                    show::plain(&data["by"])
                )
            }
            "missed" => format!("{} events were missed: this watcher is too slow", data["events"]),
            "agent" => return self.agent(data),
            "switched" => self.switch(data),
            _ => return None,
        })
    }

    fn agent(&mut self, agent: &Value) -> Option<String> {
        let (id, name) = (show::plain(&agent["agent"]), name(agent));
        let connected = agent["connected"] == true;
        if connected != self.connected.contains(&id) {
            if connected {
                self.connected.insert(id);
                return Some(format!("agent {name} is connected"));
            }
            self.connected.remove(&id);
            return Some(format!("agent {name} is gone"));
        }
        let phase = agent["phase"].as_str()?.to_owned();
        let before = self.phases.insert(id, phase.clone());
        let armed = phase == "armed" && before.as_deref() != Some("armed");
        armed.then(|| format!("agent {name} is armed with epoch {}", show::plain(&agent["staged"]["epoch"])))
    }

    fn switch(&mut self, agent: &Value) -> String {
        let switched = &agent["switched"];
        let epoch = switched["epoch"].as_u64().unwrap_or(0);
        if epoch > self.epoch {
            self.epoch = epoch;
            self.switched.clear();
        }
        let id = show::plain(&agent["agent"]);
        self.connected.insert(id.clone());
        self.switched.insert(id);
        let at = show::nanos(&switched["at"]).map_or(String::new(), show::local);
        let epsilon = switched["epsilon"].as_str().map_or(String::new(), span_text);
        let (done, all) = (self.switched.len(), self.connected.len());
        format!("agent {} went live with epoch {epoch} at {at} ± {epsilon}  [{done} of {all}]", name(agent))
    }
}
