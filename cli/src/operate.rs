//! Commands that look at a farm and steer it: status, agents, settings, hold, unhold.

use crate::failure::Failure;
use crate::gate;
use crate::guard::print_reasons;
use crate::remote::{Remote, Sent};
use crate::serve::GivenSettings;
use crate::show;
use clap::Args;
use serde_json::{Value, json};

/// Shows what is staged, when it goes live, and the earliest instant for a change made now
#[derive(Args, Debug)]
pub(crate) struct Status {}

/// Shows every agent that the server knows
#[derive(Args, Debug)]
pub(crate) struct Agents {}

/// Shows a farm's settings, or changes those that are given
#[derive(Args, Debug)]
pub(crate) struct Settings {
    #[command(flatten)]
    given: GivenSettings,
}

/// Stops further cycles; what is staged already still goes live
#[derive(Args, Debug)]
pub(crate) struct Hold {
    /// Promises that nothing newer goes live before: 2026-11-22T13:00:00Z, or +2h
    #[arg(long)]
    until: Option<String>,
}

/// Ends a hold
#[derive(Args, Debug)]
pub(crate) struct Unhold {}

/// Has the next promotion compare all of production with what is staged, after a repair by hand
#[derive(Args, Debug)]
#[command(
    after_help = "Edits by any tool are noted by triggers, so this is needed only after those were not in force: \
    a copy of tables, a dropped trigger. It costs in proportion to all records, once."
)]
pub(crate) struct Compare {}

impl Compare {
    pub(crate) fn run(&self, remote: &Remote, as_json: bool) -> Result<(), Failure> {
        let told = remote.send("POST", &remote.of_farm("/compare"), &Sent::Json(&json!({})))?;
        if as_json {
            show::json(&told);
        } else {
            println!("{} keys are compared for the next promotion.", told["keys"]);
        }
        Ok(())
    }
}

impl Status {
    pub(crate) fn run(&self, remote: &Remote, as_json: bool) -> Result<(), Failure> {
        let mut status = remote.get(&remote.of_farm(""))?;
        let agents = remote.get(&remote.of_farm("/agents"))?;
        if as_json {
            status["agent_list"] = agents["agents"].clone();
            show::json(&status);
            return Ok(());
        }
        let now = &status["now"];
        let at = |name: &str| show::instant(&status[name], now);
        let mut pairs = show::pairs();
        pairs.add_row(["farm", &show::plain(&status["farm"])]);
        let digest = show::short(&status["digest"]);
        let content = format!("{} records, {} changed", status["records"], status["changes"]);
        let epoch = format!("epoch {} (digest {digest}, {content})", status["epoch"]);
        let live = status["live"] == true;
        pairs.add_row([if live { "live" } else { "staged" }, &epoch]);
        pairs.add_row([if live { "went live" } else { "goes live" }, &at("activation")]);
        if let Some(lock) = status["lock"].as_object() {
            let next = show::instant(&lock["next_activation"], now);
            pairs.add_row(["next cycle", &format!("is being made, live {next}")]);
        }
        let earliest = match status["earliest_live"].is_null() {
            true => "not before 'downbeat unhold'".to_owned(),
            false => at("earliest_live"),
        };
        pairs.add_row(["a change now", &earliest]);
        pairs.add_row(["safe without the server until", &at("safe_until")]);
        if let Some(hold) = status["held"].as_object() {
            let until = hold.get("until").filter(|until| !until.is_null());
            let text = until.map_or("yes".to_owned(), |until| show::instant(until, now));
            pairs.add_row(["held", &text]);
        }
        pairs.add_row(["interval", &show::plain(&status["settings"]["interval"])]);
        if !status["pending_settings"].is_null() {
            pairs.add_row(["settings", "others wait for the next cycle; see 'downbeat settings'"]);
        }
        if let Some(gate) = Some(&status["gate"]).filter(|gate| !gate.is_null()) {
            pairs.add_row(["gate", &gate::line(gate)]);
            for judge in gate["judges"].as_array().into_iter().flatten() {
                pairs.add_row(["", &gate::judge_line(judge)]);
            }
        }
        for once in status["overrides"].as_array().into_iter().flatten() {
            let candidate = show::short(&once["digest"]);
            let by = show::plain(&once["by"]);
            let text = format!("{} by {by}, for candidate {candidate}", show::plain(&once["guard"]));
            pairs.add_row(["overridden", &text]);
        }
        println!("{pairs}\n");
        kept_back(&status);
        print_agents(&agents, status["epoch"].as_u64());
        Ok(())
    }
}

impl Agents {
    pub(crate) fn run(&self, remote: &Remote, as_json: bool) -> Result<(), Failure> {
        let agents = remote.get(&remote.of_farm("/agents"))?;
        if as_json {
            show::json(&agents);
        } else {
            print_agents(&agents, None);
        }
        Ok(())
    }
}

/// What was kept back, and what would be.
fn kept_back(status: &Value) {
    let blocked = &status["blocked"];
    if !blocked.is_null() {
        let at = show::instant(&blocked["at"], &status["now"]);
        let head = format!(
            "KEPT BACK: a candidate was not staged with epoch {} ({at}); what was live stays live, the edits stay in production:",
            blocked["epoch"]
        );
        print_reasons(&head, &blocked["reasons"]);
    }
    print_reasons("The next candidate would be kept back:", &status["broken"]);
    if !blocked.is_null() || status["broken"].as_array().is_some_and(|broken| !broken.is_empty()) {
        println!();
    }
}

fn print_agents(told: &Value, staged: Option<u64>) {
    let agents = told["agents"].as_array().map(Vec::as_slice).unwrap_or_default();
    if agents.is_empty() {
        println!("No agent has connected since the server started. Start one: downbeat agent --print");
        return;
    }
    let mut table = show::table(&[
        "agent",
        "",
        "phase",
        "active",
        "staged",
        "clock known to",
        "last switch",
        "last seen",
    ]);
    for agent in agents {
        let epoch = |name: &str| show::plain(&agent[name]["epoch"]);
        let staged_text = match (agent["staged"]["epoch"].as_u64(), staged) {
            (Some(has), Some(staged)) if has == staged => format!("{has} ready"),
            _ => epoch("staged"),
        };
        let clock =
            agent["epsilon"].as_str().map_or("-".to_owned(), |epsilon| format!("± {}", span_text(epsilon)));
        let switched = &agent["switched"];
        let switch = match switched["epoch"].as_u64() {
            Some(epoch) => {
                format!("{epoch} {}", show::nanos(&switched["at"]).map_or(String::new(), show::local))
            }
            None => "-".to_owned(),
        };
        let veto = agent["veto"].as_str().map_or(String::new(), |veto| format!(", refuses: {veto}"));
        table.add_row([
            name(agent),
            if agent["connected"] == true { "connected" } else { "gone" }.to_owned(),
            show::plain(&agent["phase"]) + &veto,
            epoch("active"),
            staged_text,
            clock,
            switch,
            show::nanos(&agent["seen"])
                .zip(show::nanos(&told["now"]))
                .map_or("-".to_owned(), |(seen, now)| show::distance((seen - now).min(-1))),
        ]);
    }
    println!("{table}");
}

/// An agent's display name, or the first digits of its id.
pub(crate) fn name(agent: &Value) -> String {
    match agent["name"].as_str() {
        Some(name) if !name.is_empty() => name.to_owned(),
        _ => agent["agent"].as_str().unwrap_or("-").chars().take(8).collect(),
    }
}

/// A span of the API, rounded for people.
pub(crate) fn span_text(text: &str) -> String {
    show::parse_span(text).map_or_else(|_| text.to_owned(), show::span)
}

impl Settings {
    pub(crate) fn run(&self, remote: &Remote, as_json: bool) -> Result<(), Failure> {
        let given = self.given.json();
        let path = remote.of_farm("/settings");
        let told = if given.is_empty() {
            remote.get(&path)?
        } else {
            remote.send("PUT", &path, &Sent::Json(&Value::Object(given)))?
        };
        if as_json {
            show::json(&told);
            return Ok(());
        }
        let pending = told["pending"].as_object();
        let mut table = show::table(&["setting", "now", "from the next cycle on"]);
        for (setting, value) in told["settings"].as_object().into_iter().flatten() {
            let next = pending.and_then(|pending| pending.get(setting)).filter(|next| *next != value);
            table.add_row([setting.clone(), show::plain(value), next.map_or(String::new(), show::plain)]);
        }
        println!("{table}");
        if pending.is_some() {
            println!("The new ones are taken up as epoch {} is staged.", told["in_force_from_epoch"]);
        }
        Ok(())
    }
}

impl Hold {
    pub(crate) fn run(&self, remote: &Remote, as_json: bool) -> Result<(), Failure> {
        let body = json!({ "until": self.until });
        let told = remote.send("PUT", &remote.of_farm("/hold"), &Sent::Json(&body))?;
        held(&told, as_json);
        Ok(())
    }
}

impl Unhold {
    pub(crate) fn run(&self, remote: &Remote, as_json: bool) -> Result<(), Failure> {
        held(&remote.delete(&remote.of_farm("/hold"), None)?, as_json);
        Ok(())
    }
}

fn held(told: &Value, as_json: bool) {
    if as_json {
        show::json(told);
        return;
    }
    let at = |name: &str| show::nanos(&told[name]).map_or("-".to_owned(), show::local);
    let state = if told["held"].is_null() { "not held" } else { "held" };
    println!(
        "The farm is {state}. Epoch {} goes live at {}; nothing newer before {}.",
        told["epoch"],
        at("activation"),
        at("safe_until")
    );
}
