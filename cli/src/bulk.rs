//! Commands that take many edits at once: import, apply.

use crate::failure::Failure;
use crate::records::{edited, standard_input};
use crate::remote::{Remote, Sent, percent};
use crate::show;
use clap::Args;
use std::path::{Path, PathBuf};

/// Takes in a CSV file, all of it in one transaction
#[derive(Args, Debug)]
pub(crate) struct Import {
    /// The file; '-' is standard input
    file: PathBuf,
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
        let csv = read(&self.file)?;
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
        let query: Vec<String> = given.chain(set).map(|(name, value)| format!("{name}={value}")).collect();
        let path = remote.of_farm(&format!("/import?{}", query.join("&")));
        let told = remote.send("POST", &path, &Sent::Bytes(&csv))?;
        edited(&told, json);
        let refused = told["refused"].as_u64().unwrap_or(0);
        if refused == 0 {
            return Ok(());
        }
        for error in told["errors"].as_array().into_iter().flatten().take(10) {
            eprintln!("line {}: {}", error["line"], show::plain(&error["error"]));
        }
        Err(Failure::refused(format!("{refused} rows were refused"), "correct them and import them again"))
    }
}

impl Apply {
    pub(crate) fn run(&self, remote: &Remote, json: bool) -> Result<(), Failure> {
        let lines = read(&self.file)?;
        edited(&remote.send("POST", &remote.of_farm("/apply"), &Sent::Bytes(&lines))?, json);
        Ok(())
    }
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    if file.as_os_str() == "-" {
        return standard_input();
    }
    std::fs::read(file).map_err(|error| {
        Failure::Usage(format!("{} can't be read ({error}); name a file that can", file.display()))
    })
}
