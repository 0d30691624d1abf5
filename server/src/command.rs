//! The server's command that judges candidates (`serve --gate`): given what would change on its standard
//! input, and ended when its time is over. Its exit status is the verdict.

use crate::http::change_json;
use crate::shared::Shared;
use crate::store::{Frozen, Gatekeeping, SqliteStore, StoreError};
use downbeat_core::ids::Name;
use rustix::process::{Pid, Signal, kill_process_group};
use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};

/// Bytes of what the command said last that become the reason.
const REASON_MAX: u64 = 1_000;

/// A question to the command.
pub(crate) struct Asked<'a> {
    pub(crate) command: &'a str,
    pub(crate) patience: Duration,
    pub(crate) farm: &'a Name,
    pub(crate) candidate: Frozen,
}

/// Asks the command; why not, where it doesn't approve.
pub(crate) async fn ask(shared: &Shared, asked: Asked<'_>) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("the gate's command could not be run ({error})");
    let changes = changes(shared, &asked).await?;
    let said = tempfile::tempfile().map_err(failed)?;
    let digest = asked.candidate.digest.to_string();
    let base = shared.base();
    let whole = format!("{base}/v1/farms/{}/export?candidate={digest}&format=jsonl", asked.farm);
    let child = Command::new("/bin/sh")
        .args(["-c", asked.command])
        .env("DOWNBEAT_FARM", asked.farm.as_str())
        .env("DOWNBEAT_EPOCH", asked.candidate.epoch.to_string())
        .env("DOWNBEAT_DIGEST", &digest)
        .env("DOWNBEAT_URL", &base)
        .env("DOWNBEAT_CANDIDATE", whole)
        .stdin(Stdio::from(changes))
        .stdout(Stdio::null())
        .stderr(Stdio::from(said.try_clone().map_err(failed)?))
        // What it starts ends with it.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let mut group = Group(child);
    match tokio::time::timeout(asked.patience, group.0.wait()).await {
        Err(_) => Err(format!("the gate's command gave no verdict within {:?}", asked.patience)),
        Ok(Err(error)) => Err(failed(error)),
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => {
            let reason = last_words(said).unwrap_or_default();
            Err(if reason.is_empty() { format!("the gate's command ended with {status}") } else { reason })
        }
    }
}

/// A process that takes those that it started with it, where it is not waited for to its end.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        // No id any more: it ended by itself and was waited for.
        let id = self.0.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
        if let Some(Err(error)) = id.map(|id| kill_process_group(id, Signal::KILL)) {
            tracing::debug!(%error, "the gate's command has ended already");
        }
    }
}

/// What the candidate changes, as JSON lines in a file that is at its start.
async fn changes(shared: &Shared, asked: &Asked<'_>) -> Result<File, String> {
    let (database, farm) = (shared.database.clone(), asked.farm.clone());
    let digest = asked.candidate.digest;
    let write = move || -> Result<File, StoreError> {
        let mut store = SqliteStore::open(&database)?;
        let mut file = BufWriter::new(tempfile::tempfile().map_err(StoreError::Sink)?);
        store.candidate_changes(&farm, digest, &mut |change| {
            writeln!(file, "{}", change_json(&change)).map_err(StoreError::Sink)
        })?;
        let mut file = file.into_inner().map_err(|error| StoreError::Sink(error.into_error()))?;
        file.seek(SeekFrom::Start(0)).map_err(StoreError::Sink)?;
        Ok(file)
    };
    let written = tokio::task::spawn_blocking(write).await;
    written.map_err(|_| "the server ends".to_owned())?.map_err(|error| error.to_string())
}

/// The end of what it wrote to standard error.
fn last_words(mut said: File) -> std::io::Result<String> {
    let end = said.seek(SeekFrom::End(0))?;
    said.seek(SeekFrom::Start(end.saturating_sub(REASON_MAX)))?;
    let mut bytes = Vec::new();
    said.take(REASON_MAX).read_to_end(&mut bytes)?;
    // It is shown on terminals.
    let text = String::from_utf8_lossy(&bytes);
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    Ok(plain.trim().to_owned())
}
