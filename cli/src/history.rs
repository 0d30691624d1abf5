//! Commands over generations: what differs, what a record was, going back to one, how many are kept.

use crate::failure::Failure;
use crate::guard::print_reasons;
use crate::records::{bytes, edited};
use crate::remote::{Remote, Sent, percent};
use crate::show;
use clap::Args;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// Shows what differs between two generations; without them, what the next one would change
#[derive(Args, Debug)]
pub(crate) struct Diff {
    /// The first generation's epoch
    #[arg(requires = "to")]
    from: Option<u64>,
    /// The second one's
    to: Option<u64>,
    /// Lists at most so many records
    #[arg(long, default_value_t = 100)]
    limit: u32,
}

/// Shows the values that a record had in the generations that are kept, the newest first
#[derive(Args, Debug)]
pub(crate) struct History {
    dataset: String,
    key: String,
    /// Lists at most so many
    #[arg(long, default_value_t = 100)]
    limit: u32,
}

/// Makes production equal to a generation again, in one transaction, and keeps what that undoes
#[derive(Args, Debug)]
#[command(
    after_help = "What it undoes is kept as a file that 'downbeat apply' takes: by the server in its folder \
    'undo', and here. Scheduled records that are in force and say otherwise are taken away, those that begin \
    later stay.\n\nIt is an edit of production: guards and the gate apply to it as to any other. Where it changes more than \
    a guard allows it is kept back at the promotion; 'downbeat guard' says so before, and 'downbeat guard override \
    NAME --by YOU' lets exactly that candidate through."
)]
pub(crate) struct Rollback {
    /// The generation's epoch (the last few are kept)
    epoch: u64,
    /// Where what it undoes is written [default: undo-FROM-to-EPOCH-TIME.jsonl in this folder]
    #[arg(long, value_name = "FILE")]
    undo: Option<PathBuf>,
}

/// Shows which generations are kept, or says how many are to be
#[derive(Args, Debug)]
pub(crate) struct Retention {
    /// So many of the newest, the staged one included (at least 2)
    #[arg(long, value_name = "NUMBER")]
    generations: Option<u64>,
    /// Beyond those, every one that was live not longer ago than this; 0s: the number alone decides
    #[arg(long, value_name = "SPAN")]
    age: Option<String>,
}

impl Diff {
    pub(crate) fn run(&self, remote: &Remote, as_json: bool) -> Result<(), Failure> {
        let path = match (self.from, self.to) {
            (Some(from), Some(to)) => format!("/diff?from={from}&to={to}&limit={}", self.limit),
            _ => format!("/pending?limit={}", self.limit),
        };
        let told = remote.get(&remote.of_farm(&path))?;
        if as_json {
            show::json(&told);
            return Ok(());
        }
        let mut table = show::table(&["", "dataset", "key", "before", "after"]);
        for change in told["changes"].as_array().into_iter().flatten() {
            let (before, after) = (bytes(change, "before"), bytes(change, "after"));
            let kind = match (has(change, "before"), has(change, "after")) {
                (false, _) => "added",
                (_, false) => "removed",
                _ => "changed",
            };
            let dataset = show::plain(&change["dataset"]);
            table.add_row([kind.to_owned(), dataset, bytes(change, "key"), before, after]);
        }
        if !table.is_empty() {
            println!("{table}");
        }
        if told["more"] == true {
            println!("There are more; see --limit.");
        }
        match (self.from, self.to) {
            (Some(from), Some(to)) => println!(
                "From epoch {from} to {to}: {} added, {} changed, {} removed.",
                told["added"], told["changed"], told["removed"]
            ),
            _ if table.is_empty() => println!("The next generation would change nothing."),
            _ => println!(
                "Epoch {} would change this, live {} at the earliest.",
                told["epoch"],
                show::nanos(&told["earliest_live"]).map_or("after 'downbeat unhold'".to_owned(), show::local)
            ),
        }
        print_reasons("It would be kept back:", &told["broken"]);
        Ok(())
    }
}

/// Whether an object has bytes under this name, in either form.
fn has(object: &Value, name: &str) -> bool {
    !object[name].is_null() || object.get(format!("{name}_hex")).is_some()
}

impl History {
    pub(crate) fn run(&self, remote: &Remote, as_json: bool) -> Result<(), Failure> {
        let (dataset, key) = (percent(self.dataset.as_bytes()), percent(self.key.as_bytes()));
        let path = format!("/history/{dataset}/{key}?limit={}", self.limit);
        let told = remote.get(&remote.of_farm(&path))?;
        if as_json {
            show::json(&told);
            return Ok(());
        }
        let value = |object: &Value, name: &str| match has(object, name) {
            true => bytes(object, name),
            false => "(no record)".to_owned(),
        };
        let mut table = show::table(&["from epoch", "live from", "value"]);
        table.add_row(["production".to_owned(), "-".to_owned(), value(&told, "production")]);
        for version in told["versions"].as_array().into_iter().flatten() {
            let live = show::nanos(&version["activation"]).map_or("earlier".to_owned(), show::local);
            table.add_row([show::plain(&version["epoch"]), live, value(version, "value")]);
        }
        println!("{table}");
        let rest = if told["more"] == true { " There are more; see --limit." } else { "" };
        println!("Generations from epoch {} on are kept.{rest}", told["oldest_kept"]);
        Ok(())
    }
}

impl Rollback {
    pub(crate) fn run(&self, remote: &Remote, as_json: bool) -> Result<(), Failure> {
        let body = json!({ "epoch": self.epoch });
        let mut told = remote.send("POST", &remote.of_farm("/rollback"), &Sent::Json(&body))?;
        let file = match told["undo"]["name"].as_str() {
            Some(name) => Some(self.keep(remote, name)?),
            None => None,
        };
        told["undo_file"] = file.as_deref().map(|file| file.display().to_string()).into();
        edited(&told, as_json);
        if as_json {
            return Ok(());
        }
        if let Some(file) = file {
            println!("What this undoes is in {0}; to take it back: downbeat apply {0}", file.display());
        }
        let count = |name: &str| told[name].as_u64().unwrap_or(0);
        if count("unscheduled") > 0 {
            println!(
                "{} scheduled records in force said otherwise and were taken away.",
                told["unscheduled"]
            );
        }
        if count("scheduled_to_come") > 0 {
            println!(
                "{} scheduled records begin later and stay; see 'downbeat schedule'.",
                told["scheduled_to_come"]
            );
        }
        Ok(())
    }

    /// Copies the server's file to here.
    fn keep(&self, remote: &Remote, name: &str) -> Result<PathBuf, Failure> {
        let file = self.undo.clone().unwrap_or_else(|| PathBuf::from(format!("undo-{name}")));
        let write = |file: &Path| -> Result<(), Failure> {
            let (mut body, _) =
                remote.get_body(&remote.of_farm(&format!("/undo/{}", percent(name.as_bytes()))))?;
            let made = std::fs::File::create(file).and_then(|mut made| {
                std::io::copy(&mut body, &mut made)?;
                made.sync_all()
            });
            made.map_err(Failure::own)
        };
        write(&file).map(|()| file.clone()).map_err(|failure| {
            Failure::refused(
                format!("the rollback is done; what it undoes could not be written to {} ({failure})", file.display()),
                format!("the server keeps it in its folder 'undo' as {name}; copy it from there, or GET …/undo/{name}"),
            )
        })
    }
}

impl Retention {
    pub(crate) fn run(&self, remote: &Remote, as_json: bool) -> Result<(), Failure> {
        let mut given = Map::new();
        if let Some(generations) = self.generations {
            given.insert("generations".into(), generations.into());
        }
        if let Some(age) = &self.age {
            given.insert("age".into(), age.as_str().into());
        }
        let path = remote.of_farm("/retention");
        let mut told = match given.is_empty() {
            true => remote.get(&path)?,
            false => remote.send("PUT", &path, &Sent::Json(&Value::Object(given)))?,
        };
        let kept = remote.get(&remote.of_farm("/generations"))?;
        if as_json {
            told["kept"] = kept["generations"].clone();
            show::json(&told);
            return Ok(());
        }
        let mut table = show::table(&["epoch", "live from", "records", "changed", "digest"]);
        for generation in kept["generations"].as_array().into_iter().flatten() {
            table.add_row([
                show::plain(&generation["epoch"]),
                show::nanos(&generation["activation"]).map_or("-".to_owned(), show::local),
                show::plain(&generation["records"]),
                show::plain(&generation["changes"]),
                show::short(&generation["digest"]),
            ]);
        }
        println!("{table}");
        match told["age"].as_str() {
            Some(age) => println!(
                "The newest {} are kept, and every one that was live less than {age} ago.",
                told["generations"]
            ),
            None => println!("The newest {} are kept.", told["generations"]),
        }
        Ok(())
    }
}
