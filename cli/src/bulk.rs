//! Commands that move many records at once: import, export, apply. Files need not fit memory.

use crate::failure::Failure;
use crate::progress::{self, Progress};
use crate::records::edited;
use crate::remote::{Remote, percent};
use crate::show;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// How records stand in a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Format {
    /// A header, then a row for each record
    Csv,
    /// A JSON object a line: {"dataset", "key", "value"}, or key_hex and value_hex
    Jsonl,
}

impl Format {
    /// The one that is asked for, or what the file's name says.
    fn of(asked: Option<Format>, file: &Path) -> &'static str {
        let ends = |end: &str| file.extension().is_some_and(|found| found.eq_ignore_ascii_case(end));
        match asked {
            Some(Format::Jsonl) => "jsonl",
            None if ends("jsonl") || ends("ndjson") => "jsonl",
            _ => "csv",
        }
    }
}

/// Takes in a file of records, CSV or JSON lines, all of it in one transaction
#[derive(Args, Debug)]
#[command(
    after_help = "Only what differs from production is written. With --replace the dataset becomes exactly the \
    file; its scheduled records stay, and go on to count at their instants (see 'downbeat schedule')."
)]
pub(crate) struct Import {
    /// The file; '-' is standard input
    file: PathBuf,
    /// [default: what the file's name ends with, else csv]
    #[arg(long)]
    format: Option<Format>,
    /// The dataset of all rows; without it, a column names it
    #[arg(long)]
    dataset: Option<String>,
    /// The column that names the dataset
    #[arg(long, conflicts_with = "dataset")]
    dataset_column: Option<String>,
    /// The column of keys [default: key]
    #[arg(long)]
    key_column: Option<String>,
    /// The columns of values; several, separated by commas, become one JSON object [default: value]
    #[arg(long)]
    value_columns: Option<String>,
    /// Takes the good rows even if others are refused
    #[arg(long)]
    partial: bool,
    /// Also deletes the dataset's other records
    #[arg(long)]
    replace: bool,
}

/// Writes production, a generation or the candidate that is judged into a file that an import takes
#[derive(Args, Debug)]
#[command(after_help = "Scheduled records are not part of it; see 'downbeat schedule --json'.")]
pub(crate) struct Export {
    /// The file, put in place once it is whole; '-' is standard output
    #[arg(default_value = "-")]
    file: PathBuf,
    /// Only this dataset
    #[arg(long)]
    dataset: Option<String>,
    /// A generation, in place of production (the last few are kept)
    #[arg(long)]
    epoch: Option<u64>,
    /// The candidate that is judged, in place of production: its digest ('downbeat gate')
    #[arg(long, conflicts_with = "epoch", value_name = "DIGEST")]
    candidate: Option<String>,
    /// [default: what the file's name ends with, else csv]
    #[arg(long)]
    format: Option<Format>,
}

/// Carries out the edits of a file, all of them in one transaction: JSON objects, one a line, as in
/// {"op":"put","dataset":"prices","key":"EUR","value":"1.09"}
#[derive(Args, Debug)]
#[command(
    after_help = "The other operations are delete, schedule (effective_at, expires_at, value or delete) and \
    unschedule; bytes that are no text stand under key_hex and value_hex."
)]
pub(crate) struct Apply {
    /// The file; '-' is standard input
    file: PathBuf,
}

impl Import {
    pub(crate) fn run(&self, remote: &Remote, json: bool) -> Result<(), Failure> {
        let options = [
            ("dataset", &self.dataset),
            ("dataset_column", &self.dataset_column),
            ("key_column", &self.key_column),
            ("value_columns", &self.value_columns),
        ];
        let given =
            options.iter().filter_map(|(name, value)| Some((*name, percent(value.as_ref()?.as_bytes()))));
        let flags = [("partial", self.partial), ("replace", self.replace)];
        let set = flags.iter().filter(|(_, on)| *on).map(|(name, _)| (*name, "true".to_owned()));
        let format = [("format", Format::of(self.format, &self.file).to_owned())];
        let all = given.chain(set).chain(format);
        let query: Vec<String> = all.map(|(name, value)| format!("{name}={value}")).collect();
        let told = send(remote, &format!("/import?{}", query.join("&")), &self.file)?;
        if json {
            show::json(&told);
        } else {
            self.tell(&told);
        }
        let refused = told["refused"].as_u64().unwrap_or(0);
        if refused == 0 {
            return Ok(());
        }
        for error in told["errors"].as_array().into_iter().flatten().take(10) {
            eprintln!("line {}: {}", error["line"], show::plain(&error["error"]));
        }
        Err(Failure::refused(format!("{refused} rows were refused"), "correct them and import them again"))
    }

    fn tell(&self, told: &Value) {
        println!(
            "{} added, {} changed, {} removed, {} as they were, {} refused",
            told["added"], told["changed"], told["deleted"], told["unchanged"], told["refused"]
        );
        edited(told, false);
        if self.replace && told["scheduled"].as_u64() > Some(0) {
            println!(
                "{} scheduled records of the dataset stay and count at their instants; see 'downbeat schedule'.",
                told["scheduled"]
            );
        }
    }
}

impl Apply {
    pub(crate) fn run(&self, remote: &Remote, json: bool) -> Result<(), Failure> {
        edited(&send(remote, "/apply", &self.file)?, json);
        Ok(())
    }
}

/// Sends a file to a route of the farm, and shows how far it is.
fn send(remote: &Remote, route: &str, file: &Path) -> Result<Value, Failure> {
    let unreadable = |error: std::io::Error| {
        Failure::Usage(format!("{} can't be read ({error}); name a file that can", file.display()))
    };
    let (mut from, len): (Box<dyn Read>, _) = match file.as_os_str() == "-" {
        true => (Box::new(std::io::stdin()), None),
        false => {
            let opened = File::open(file).map_err(unreadable)?;
            let metadata = opened.metadata().map_err(unreadable)?;
            if metadata.is_dir() {
                return Err(unreadable(std::io::ErrorKind::IsADirectory.into()));
            }
            (Box::new(opened), Some(metadata.len()).filter(|_| metadata.is_file()))
        }
    };
    let bar = progress::of_bytes(len, "sending");
    let sent = remote.send_reader(&remote.of_farm(route), &mut Progress::new(&mut from, &bar));
    bar.finish_and_clear();
    sent
}

impl Export {
    pub(crate) fn run(&self, remote: &Remote, as_json: bool) -> Result<(), Failure> {
        let mut query = vec![format!("format={}", Format::of(self.format, &self.file))];
        query.extend(self.dataset.as_ref().map(|name| format!("dataset={}", percent(name.as_bytes()))));
        query.extend(self.epoch.map(|epoch| format!("epoch={epoch}")));
        query.extend(
            self.candidate.as_ref().map(|digest| format!("candidate={}", percent(digest.as_bytes()))),
        );
        let (body, len) = remote.get_body(&remote.of_farm(&format!("/export?{}", query.join("&"))))?;
        let bar = progress::of_bytes(len, "receiving");
        let mut body = Progress::new(body, &bar);
        let written = match self.file.as_os_str() == "-" {
            true => copy(&mut body, &mut std::io::stdout().lock(), len),
            false => self.put_in_place(&mut body, len),
        };
        bar.finish_and_clear();
        let bytes = match written {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
            written => written.map_err(|error| {
                Failure::refused(
                    format!("{} could not be written whole ({error}), and is as it was", self.file.display()),
                    "see that the server answers and that there is room, and try again",
                )
            })?,
        };
        if self.file.as_os_str() != "-" {
            match as_json {
                true => show::json(&json!({ "file": self.file.display().to_string(), "bytes": bytes })),
                false => println!("{bytes} bytes in {}", self.file.display()),
            }
        }
        Ok(())
    }

    /// Writes the file aside, then gives it its name.
    fn put_in_place(&self, body: &mut dyn Read, len: Option<u64>) -> std::io::Result<u64> {
        let mut aside = self.file.clone().into_os_string();
        aside.push(".part");
        let mut file = File::create(&aside)?;
        let done = copy(body, &mut file, len).and_then(|bytes| {
            file.sync_all()?;
            std::fs::rename(&aside, &self.file)?;
            Ok(bytes)
        });
        if done.is_err() {
            // The error is told; what is left of the file is worth nothing.
            let _ = std::fs::remove_file(&aside);
        }
        done
    }
}

/// Copies a body; less than its length is an error.
fn copy(body: &mut dyn Read, to: &mut dyn Write, len: Option<u64>) -> std::io::Result<u64> {
    let bytes = std::io::copy(body, to)?;
    to.flush()?;
    match len.is_some_and(|len| len != bytes) {
        true => Err(std::io::ErrorKind::UnexpectedEof.into()),
        false => Ok(bytes),
    }
}
