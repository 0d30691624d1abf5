//! `downbeat gate`: who has to approve a candidate before it is staged, how that stands, and verdicts.

use crate::failure::Failure;
use crate::guard::print_reasons;
use crate::remote::{Remote, Sent};
use crate::show;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

/// Shows who has to approve the next candidate, or says who has to; approves or refuses it
#[derive(Args, Debug)]
#[command(
    after_help = "With a gate the candidate is frozen a while before T (--window); what is edited later waits for the \
    next one. 'downbeat export --candidate DIGEST' writes it whole. Without every approval in time nothing changes.\n\n\
    A verdict takes the token of the judge that it is of (serve --token judge/NAME:TOKEN), an operator's or an admin's; on \
    the server's own host none, unless it was started with --closed."
)]
pub(crate) struct Gate {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Shows the candidate, and what was said of it
    Show,
    /// Says who has to approve (the server's own command is set with 'serve --gate')
    Set(Set),
    /// Nobody but the server's own command has to approve
    Off,
    /// Approves a candidate
    Approve(Verdict),
    /// Refuses a candidate
    Refuse(Verdict),
    /// Freezes the candidate anew, as production is now, and has it judged anew
    Again,
}

#[derive(Args, Debug)]
struct Set {
    /// A name that has to approve; may be given several times, and replaces those from before
    #[arg(long = "judge", value_name = "NAME")]
    judges: Vec<String>,
    /// How long before T the candidate is frozen
    #[arg(long, value_name = "SPAN")]
    window: Option<String>,
    /// How long the server's own command may take
    #[arg(long, value_name = "SPAN")]
    limit: Option<String>,
}

#[derive(Args, Debug)]
struct Verdict {
    /// The candidate's digest: a verdict is of exactly one
    digest: String,
    /// Whose verdict this is: with a judge's token, the judge that it names
    #[arg(long = "as", value_name = "NAME")]
    judge: String,
    /// Why
    #[arg(long, default_value = "")]
    why: String,
}

impl Gate {
    pub(crate) fn run(&self, remote: &Remote, as_json: bool) -> Result<(), Failure> {
        let path = remote.of_farm("/gate");
        let told = match &self.action {
            None | Some(Action::Show) => remote.get(&path)?,
            Some(Action::Set(set)) => remote.send("PUT", &path, &Sent::Json(&set.json()))?,
            Some(Action::Off) => remote.send("PUT", &path, &Sent::Json(&json!({ "judges": [] })))?,
            Some(Action::Approve(verdict)) => verdict.send(remote, true)?,
            Some(Action::Refuse(verdict)) => verdict.send(remote, false)?,
            Some(Action::Again) => {
                remote.send("POST", &remote.of_farm("/gate/again"), &Sent::Json(&json!({})))?;
                remote.get(&path)?
            }
        };
        if as_json {
            show::json(&told);
        } else {
            print(&told["gate"]);
        }
        Ok(())
    }
}

fn print(gate: &Value) {
    if gate.is_null() {
        println!("There is no gate. Name who has to approve: downbeat gate set --judge NAME");
        return;
    }
    println!("{}", line(gate));
    for judge in gate["judges"].as_array().into_iter().flatten() {
        println!("  {}", judge_line(judge));
    }
    print_reasons("Not staged as it stands:", &gate["waits_for"]);
}

/// The gate in a line: the candidate, or when one is frozen.
pub(crate) fn line(gate: &Value) -> String {
    let candidate = &gate["candidate"];
    match candidate["digest"].as_str() {
        Some(digest) if candidate["changes"] == 0 => {
            format!("nothing has changed for epoch {} (digest {digest})", candidate["epoch"])
        }
        Some(digest) => format!(
            "candidate {digest} for epoch {}, {} changed records",
            candidate["epoch"], candidate["changes"]
        ),
        None => format!("the next candidate is frozen {} before T", show::plain(&gate["window"])),
    }
}

/// What a judge said, or that it is waited for.
pub(crate) fn judge_line(judge: &Value) -> String {
    let name = show::plain(&judge["judge"]);
    match judge["verdict"].as_str() {
        Some("approved") => format!("{name} approved it"),
        Some("refused") => format!("{name} refused it: {}", show::plain(&judge["why"])),
        Some(_) => format!("waiting for the verdict of {name}"),
        None => format!("{name} has nothing to judge yet"),
    }
}

impl Set {
    fn json(&self) -> Value {
        let mut body = Map::new();
        if !self.judges.is_empty() {
            body.insert("judges".into(), self.judges.clone().into());
        }
        for (name, value) in [("window", &self.window), ("limit", &self.limit)] {
            if let Some(value) = value {
                body.insert(name.into(), value.as_str().into());
            }
        }
        body.into()
    }
}

impl Verdict {
    fn send(&self, remote: &Remote, approve: bool) -> Result<Value, Failure> {
        let body = json!({ "as": self.judge, "digest": self.digest, "approve": approve, "why": self.why });
        remote.send("POST", &remote.of_farm("/gate/verdict"), &Sent::Json(&body))
    }
}
