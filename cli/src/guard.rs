//! `downbeat guard`: limits on what a promotion may change, and letting one candidate through.

use crate::failure::Failure;
use crate::records::bytes;
use crate::remote::{Remote, Sent};
use crate::show;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use std::path::PathBuf;

/// Shows what keeps bad content from going live, sets it, or lets one candidate through
#[derive(Args, Debug)]
#[command(
    after_help = "A guard is 'change' or 'vanish' (a share of the records that are staged), 'records' or 'bytes' (a \
    most), each for the farm or for a dataset ('prices/vanish'), or the schema of a dataset ('prices/schema'). \
    Content that breaks one is not staged: what was live last stays live, and 'downbeat status' says why."
)]
pub(crate) struct Guard {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Lists the guards, what the next candidate breaks, and overrides
    List,
    /// Sets a guard
    Set(Set),
    /// Takes a guard away
    Remove {
        /// Its name: 'vanish', 'prices/schema'
        name: String,
    },
    /// Lets exactly the candidate of now through a guard, once; what is edited later waits for the one after it
    Override(Override),
}

#[derive(Args, Debug)]
struct Set {
    /// Its name: 'change', 'vanish', 'records', 'bytes', or for a dataset 'prices/vanish', 'prices/schema'
    name: String,
    /// For change and vanish: at most this share of the records that are staged, in percent
    #[arg(long)]
    percent: Option<f64>,
    /// For change and vanish: so many records always may, so that a small dataset isn't stuck
    #[arg(long, requires = "percent", value_name = "RECORDS")]
    floor: Option<u64>,
    /// For records and bytes: at most so many
    #[arg(long, conflicts_with = "percent")]
    most: Option<u64>,
    /// For a schema: a file with a JSON Schema (draft 2020-12) that every changed or new value has to fit
    #[arg(long, conflicts_with_all = ["percent", "most"])]
    file: Option<PathBuf>,
}

#[derive(Args, Debug)]
struct Override {
    /// The guard's name
    name: String,
    /// Who says so
    #[arg(long, env = "USER")]
    by: String,
    /// Only if this is the candidate's digest
    #[arg(long)]
    digest: Option<String>,
}

impl Guard {
    pub(crate) fn run(&self, remote: &Remote, as_json: bool) -> Result<(), Failure> {
        match &self.action {
            None | Some(Action::List) => list(remote, as_json),
            Some(Action::Set(set)) => set.run(remote, as_json),
            Some(Action::Remove { name }) => remove(remote, name, as_json),
            Some(Action::Override(once)) => once.run(remote, as_json),
        }
    }
}

fn list(remote: &Remote, as_json: bool) -> Result<(), Failure> {
    let told = remote.get(&remote.of_farm("/guards"))?;
    if as_json {
        show::json(&told);
        return Ok(());
    }
    let mut table = show::table(&["guard", "allows"]);
    for guard in told["guards"].as_array().into_iter().flatten() {
        table.add_row([show::plain(&guard["name"]), limit(guard)]);
    }
    if table.is_empty() {
        println!("There is no guard. Set one: downbeat guard set vanish --percent 10 --floor 100");
    } else {
        println!("{table}");
    }
    print_reasons("The next candidate would be kept back:", &told["broken"]);
    for once in told["overrides"].as_array().into_iter().flatten() {
        let at = show::nanos(&once["at"]).map_or(String::new(), show::local);
        let used = match once["used_by_epoch"].as_u64() {
            Some(epoch) => format!("used by epoch {epoch}"),
            None => format!("waits for candidate {}", show::short(&once["digest"])),
        };
        println!(
            "{} was overridden by {} at {at}; {used}.",
            show::plain(&once["guard"]),
            show::plain(&once["by"])
        );
    }
    Ok(())
}

/// What a guard allows, in words.
fn limit(guard: &Value) -> String {
    if let Some(percent) = guard["percent"].as_f64() {
        return format!("{percent} % of what is staged, or {} records where that is more", guard["floor"]);
    }
    match guard["most"].as_u64() {
        Some(most) => format!("at most {most}"),
        None => format!("changed and new values that fit {}", guard["schema"]),
    }
}

/// Why a candidate is or was kept back; nothing where there is no reason.
pub(crate) fn print_reasons(head: &str, reasons: &Value) {
    let reasons: Vec<_> = reasons.as_array().into_iter().flatten().collect();
    if reasons.is_empty() {
        return;
    }
    println!("{head}");
    for reason in reasons {
        let text = |name: &str| show::plain(&reason[name]);
        println!("  {}: {}; {}", text("guard"), text("limit"), text("found"));
        for example in reason["examples"].as_array().into_iter().flatten() {
            let why = example["why"].as_str().map_or(String::new(), |why| format!(": {why}"));
            println!("    {} {}{why}", show::plain(&example["dataset"]), bytes(example, "key"));
        }
        println!("    what helps: {}", text("cure"));
    }
}

impl Set {
    fn run(&self, remote: &Remote, as_json: bool) -> Result<(), Failure> {
        let mut body = Map::new();
        body.insert("name".into(), self.name.as_str().into());
        for (name, value) in [
            ("percent", self.percent.map(Value::from)),
            ("floor", self.floor.map(Value::from)),
            ("most", self.most.map(Value::from)),
            ("schema", self.schema()?),
        ] {
            if let Some(value) = value {
                body.insert(name.into(), value);
            }
        }
        let told = remote.send("PUT", &remote.of_farm("/guards"), &Sent::Json(&body.into()))?;
        if as_json {
            show::json(&told);
            return Ok(());
        }
        println!("The guard {} counts from the next promotion on.", self.name);
        if let Some(misfits) = told["misfits"].as_u64().filter(|misfits| *misfits > 0) {
            let more = if told["more"] == true { " or more" } else { "" };
            println!(
                "{misfits}{more} records of production don't fit; they keep nothing back as long as they don't change:"
            );
            for example in told["examples"].as_array().into_iter().flatten() {
                println!("    {}: {}", bytes(example, "key"), show::plain(&example["why"]));
            }
        }
        Ok(())
    }

    fn schema(&self) -> Result<Option<Value>, Failure> {
        let Some(path) = &self.file else { return Ok(None) };
        let shown = path.display();
        let text = std::fs::read_to_string(path).map_err(|error| {
            Failure::Usage(format!("the schema {shown} can't be read ({error}); name a file that can"))
        })?;
        let schema = serde_json::from_str(&text).map_err(|error| {
            Failure::Usage(format!("the schema {shown} is no JSON ({error}); correct it"))
        })?;
        Ok(Some(schema))
    }
}

fn remove(remote: &Remote, name: &str, as_json: bool) -> Result<(), Failure> {
    let told = remote.delete(&remote.of_farm("/guards"), Some(&json!({ "name": name })))?;
    if as_json {
        show::json(&told);
    } else if told["removed"] == true {
        println!("The guard {name} is gone.");
    } else {
        println!("There was no guard {name}.");
    }
    Ok(())
}

impl Override {
    fn run(&self, remote: &Remote, as_json: bool) -> Result<(), Failure> {
        let body = json!({ "name": self.name, "by": self.by, "digest": self.digest });
        let told = remote.send("POST", &remote.of_farm("/guards/override"), &Sent::Json(&body))?;
        if as_json {
            show::json(&told);
            return Ok(());
        }
        let candidate = &told["candidate"];
        println!(
            "{} doesn't count for candidate {} ({} changed records). It is frozen: what is edited from now on waits for the one after it.",
            self.name,
            show::short(&candidate["digest"]),
            candidate["changes"]
        );
        print_reasons("It is kept back by others still:", &told["broken"]);
        Ok(())
    }
}
