//! Commands that edit production and look into it, a record at a time: put, get, delete, schedule.

use crate::failure::Failure;
use crate::guard::print_reasons;
use crate::remote::{Remote, Sent, percent};
use crate::show;
use clap::Args;
use serde_json::{Map, Value, json};
use std::io::{Read, Write};

/// Changes a record, or makes it
#[derive(Args, Debug)]
pub(crate) struct Put {
    dataset: String,
    key: String,
    /// The value; '-' reads it from standard input
    #[arg(allow_hyphen_values = true)]
    value: String,
}

/// Prints a record as it stands in production, or a dataset's records
#[derive(Args, Debug)]
pub(crate) struct Get {
    dataset: String,
    /// Without it, the dataset's records are listed
    key: Option<String>,
    /// As it is in this generation (the last few are kept)
    #[arg(long, requires = "key")]
    epoch: Option<u64>,
    /// Lists records whose keys begin so
    #[arg(long, conflicts_with = "key", default_value = "")]
    prefix: String,
    /// Lists at most so many
    #[arg(long, conflicts_with = "key", default_value_t = 100)]
    limit: u32,
}

/// Deletes a record
#[derive(Args, Debug)]
pub(crate) struct Delete {
    dataset: String,
    key: String,
}

/// Lists scheduled records, enters one that counts from an instant on, changes it or takes it away
#[derive(Args, Debug)]
#[command(
    after_help = "Without --at it lists: all of them, those of a dataset, or those of a key. The same key and \
    instant again changes the entry; --instead-of moves it to another instant; --remove takes it away."
)]
pub(crate) struct Schedule {
    dataset: Option<String>,
    key: Option<String>,
    /// The value; without it see --delete and --remove
    #[arg(allow_hyphen_values = true, requires = "at")]
    value: Option<String>,
    /// From when it counts: 2026-11-22T13:00:00Z, or +10m from now
    #[arg(long, requires = "key")]
    at: Option<String>,
    /// Takes the key's entry for this instant away in the same transaction
    #[arg(long, value_name = "INSTANT", requires = "at", conflicts_with = "remove")]
    instead_of: Option<String>,
    /// Until when it counts
    #[arg(long)]
    until: Option<String>,
    /// It hides the key instead of giving it a value
    #[arg(long, conflicts_with = "value", requires = "at")]
    delete: bool,
    /// Takes the entry for that instant away
    #[arg(long, conflicts_with_all = ["value", "delete", "until"], requires = "at")]
    remove: bool,
    /// Lists at most so many
    #[arg(long, conflicts_with = "at", default_value_t = 1_000)]
    limit: u32,
}

impl Put {
    pub(crate) fn run(&self, remote: &Remote, json: bool) -> Result<(), Failure> {
        let value = if self.value == "-" { standard_input()? } else { self.value.clone().into_bytes() };
        let path = record(remote, &self.dataset, &self.key);
        edited(&remote.send("PUT", &path, &Sent::Bytes(&value))?, json);
        Ok(())
    }
}

impl Delete {
    pub(crate) fn run(&self, remote: &Remote, json: bool) -> Result<(), Failure> {
        edited(&remote.delete(&record(remote, &self.dataset, &self.key), None)?, json);
        Ok(())
    }
}

impl Get {
    pub(crate) fn run(&self, remote: &Remote, json: bool) -> Result<(), Failure> {
        match &self.key {
            Some(key) => self.one(remote, key, json),
            None => self.list(remote, json),
        }
    }

    fn one(&self, remote: &Remote, key: &str, as_json: bool) -> Result<(), Failure> {
        let query = self.epoch.map_or(String::new(), |epoch| format!("?epoch={epoch}"));
        let value = remote.get_bytes(&(record(remote, &self.dataset, key) + &query))?;
        if as_json {
            let mut told = json!({ "dataset": self.dataset, "key": key, "epoch": self.epoch });
            match String::from_utf8(value) {
                Ok(text) => told["value"] = text.into(),
                Err(bytes) => {
                    let hex: String = bytes.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
                    told["value_hex"] = hex.into();
                }
            }
            show::json(&told);
            return Ok(());
        }
        let mut out = std::io::stdout();
        let end: &[u8] = if value.ends_with(b"\n") { b"" } else { b"\n" };
        out.write_all(&value)
            .and_then(|()| out.write_all(end))
            .map_err(|error| Failure::own(format!("standard output takes no more ({error})")))
    }

    fn list(&self, remote: &Remote, as_json: bool) -> Result<(), Failure> {
        let (dataset, prefix) = (percent(self.dataset.as_bytes()), percent(self.prefix.as_bytes()));
        let path = format!("/records/{dataset}?prefix={prefix}&limit={}", self.limit);
        let told = remote.get(&remote.of_farm(&path))?;
        if as_json {
            show::json(&told);
            return Ok(());
        }
        let mut table = show::table(&["key", "value"]);
        for record in told["records"].as_array().into_iter().flatten() {
            table.add_row([bytes(record, "key"), bytes(record, "value")]);
        }
        println!("{table}");
        if told["more"] == true {
            println!("There are more; see --limit and --prefix.");
        }
        Ok(())
    }
}

impl Schedule {
    pub(crate) fn run(&self, remote: &Remote, as_json: bool) -> Result<(), Failure> {
        let path = remote.of_farm("/scheduled");
        let (Some(dataset), Some(key), Some(at)) = (&self.dataset, &self.key, &self.at) else {
            return self.list(remote, as_json);
        };
        let mut body = Map::new();
        body.insert("dataset".into(), dataset.as_str().into());
        body.insert("key".into(), key.as_str().into());
        body.insert("effective_at".into(), at.as_str().into());
        if self.remove {
            edited(&remote.delete(&path, Some(&Value::Object(body)))?, as_json);
            return Ok(());
        }
        match &self.value {
            Some(value) => body.insert("value".into(), value.as_str().into()),
            None if self.delete => body.insert("delete".into(), true.into()),
            None => {
                let text = "a scheduled record needs a value; give one, or --delete to hide the key then";
                return Err(Failure::Usage(text.to_owned()));
            }
        };
        if let Some(until) = &self.until {
            body.insert("expires_at".into(), until.as_str().into());
        }
        let told = match &self.instead_of {
            None => remote.send("POST", &path, &Sent::Json(&Value::Object(body)))?,
            Some(old) => {
                let gone = json!({ "op": "unschedule", "dataset": dataset, "key": key, "effective_at": old });
                body.insert("op".into(), "schedule".into());
                let lines = format!("{gone}\n{}\n", Value::Object(body));
                remote.send("POST", &remote.of_farm("/apply"), &Sent::Bytes(lines.as_bytes()))?
            }
        };
        edited(&told, as_json);
        if self.instead_of.is_some() && told["deleted"] == 0 && !as_json {
            println!("There was no entry for the instant that it should have been instead of.");
        }
        Ok(())
    }

    fn list(&self, remote: &Remote, as_json: bool) -> Result<(), Failure> {
        let filter = [("dataset", &self.dataset), ("key", &self.key)];
        let mut query = format!("/scheduled?limit={}", self.limit);
        for (name, value) in filter.iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
            query += &format!("&{name}={}", percent(value.as_bytes()));
        }
        let told = remote.get(&remote.of_farm(&query))?;
        if as_json {
            show::json(&told);
            return Ok(());
        }
        let mut table = show::table(&["dataset", "key", "counts from", "until", "value"]);
        for entry in told["scheduled"].as_array().into_iter().flatten() {
            let value =
                if entry["delete"] == true { "(no record)".to_owned() } else { bytes(entry, "value") };
            let at = |name: &str| show::nanos(&entry[name]).map_or("-".to_owned(), show::local);
            let dataset = show::plain(&entry["dataset"]);
            table.add_row([dataset, bytes(entry, "key"), at("effective_at"), at("expires_at"), value]);
        }
        println!("{table}");
        if told["more"] == true {
            println!("There are more; see --limit, or name a dataset.");
        }
        Ok(())
    }
}

/// Says what an edit did, and when it can be live.
pub(crate) fn edited(told: &Value, as_json: bool) {
    if as_json {
        show::json(told);
        return;
    }
    let count = |name: &str| told[name].as_u64().unwrap_or(0);
    let mut parts = Vec::new();
    for (name, text) in [("written", "written"), ("deleted", "deleted"), ("unchanged", "as it was already")] {
        if count(name) > 0 {
            parts.push(format!("{} {text}", count(name)));
        }
    }
    let done = if parts.is_empty() { "nothing to change".to_owned() } else { parts.join(", ") };
    match show::nanos(&told["earliest_live"]) {
        Some(at) => {
            println!("{done}; live with epoch {}, {} at the earliest", told["epoch"], show::local(at))
        }
        None => println!("{done}; the farm is held: it can be live after 'downbeat unhold'"),
    }
    print_reasons("The last candidate was kept back, and this waits with it:", &told["blocked"]["reasons"]);
}

fn record(remote: &Remote, dataset: &str, key: &str) -> String {
    let (dataset, key) = (percent(dataset.as_bytes()), percent(key.as_bytes()));
    remote.of_farm(&format!("/records/{dataset}/{key}"))
}

/// A key or a value as it is told: text, or hexadecimal.
pub(crate) fn bytes(object: &Value, name: &str) -> String {
    let hex = object.get(format!("{name}_hex")).and_then(Value::as_str);
    hex.map_or_else(|| show::plain(&object[name]), |hex| format!("0x{hex}"))
}

fn standard_input() -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = std::io::stdin().read_to_end(&mut bytes);
    read.map_err(|error| Failure::Usage(format!("standard input can't be read ({error})")))?;
    Ok(bytes)
}
