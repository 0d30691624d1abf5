//! `downbeat agent --check COMMAND`: the host's own judgement of a generation before it is staged. The
//! command gets its records on standard input; its exit status is the verdict, and what it says last
//! on standard error the reason.

use downbeat_agent::{Image, Offer};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use serde_json::{Map, Value};
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// Bytes of what the command said last that become the reason.
const REASON_MAX: u64 = 1_000;
/// How often it is looked whether the command has ended.
const LOOK: Duration = Duration::from_millis(10);

/// A command that judges generations.
#[derive(Debug)]
pub(crate) struct Check {
    /// For `/bin/sh`.
    pub(crate) command: String,
    /// The agent's farm.
    pub(crate) farm: String,
}

impl Check {
    /// Asks the command; `Err` with the reason where it refuses the generation or can't be run. Once
    /// nobody waits for the verdict it is ended.
    pub(crate) fn judge(&self, offer: &Offer<'_>) -> Result<(), String> {
        let (generation, image) = (offer.generation(), offer.image());
        let failed = |error: io::Error| format!("the check's command could not be run ({error})");
        let said = tempfile::tempfile().map_err(failed)?;
        let child = Command::new("/bin/sh")
            .args(["-c", &self.command])
            .env("DOWNBEAT_FARM", &self.farm)
            .env("DOWNBEAT_EPOCH", generation.epoch.to_string())
            .env("DOWNBEAT_DIGEST", generation.digest.to_string())
            .env("DOWNBEAT_RECORDS", image.len().to_string())
            .stdin(Stdio::piped())
            // Standard output is the agent's own, for whoever reads its lines.
            .stdout(Stdio::null())
            .stderr(Stdio::from(said.try_clone().map_err(failed)?))
            // What it starts ends with it.
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let mut group = Group(child);
        let input = group.0.stdin.take();
        let (judged, status, written) = std::thread::scope(|scope| {
            // Ends when all is written, or nobody is left who could read more.
            let writing = scope.spawn(|| input.map_or(Ok(()), |input| write(image, input)));
            let judged = wait(&group, offer);
            (judged, group.end(), writing.join())
        });
        judged?;
        if let Ok(Err(damaged)) = written {
            return Err(damaged);
        }
        let status = status.map_err(failed)?;
        if status.success() {
            return Ok(());
        }
        let reason = last_words(said).unwrap_or_default();
        Err(if reason.is_empty() { format!("the check's command ended with {status}") } else { reason })
    }
}

/// Waits until the command has ended, or must.
fn wait(group: &Group, offer: &Offer<'_>) -> Result<(), String> {
    loop {
        match group.has_ended() {
            Ok(true) => return Ok(()),
            Ok(false) if offer.is_withdrawn() => return Err("the check's command was ended".to_string()),
            Ok(false) => std::thread::sleep(LOOK),
            Err(error) => return Err(format!("the check's command is lost ({error})")),
        }
    }
}

/// A process and those that it started.
struct Group(Child);

impl Group {
    /// Whether the first of them has ended. Its id stays its own: it is not waited for.
    fn has_ended(&self) -> io::Result<bool> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        Ok(waitid(WaitId::Pid(Pid::from_child(&self.0)), options)?.is_some())
    }

    /// Ends whatever of them is left, and says how the first one ended.
    fn end(&mut self) -> io::Result<ExitStatus> {
        // The group has the id of its first process. Where all have ended there is nobody to kill.
        let _ = kill_process_group(Pid::from_child(&self.0), Signal::KILL);
        self.0.wait()
    }
}

/// Writes all records as JSON objects, one a line, as `downbeat export` does. A command need not read
/// them all.
fn write(image: &Image, to: impl Write) -> Result<(), String> {
    let mut out = BufWriter::with_capacity(64 << 10, to);
    for dataset in image.datasets() {
        for record in dataset.iter() {
            let (key, value) = record.map_err(|damaged| damaged.to_string())?;
            let mut object = Map::new();
            object.insert("dataset".into(), dataset.name().as_str().into());
            put(&mut object, "key", key);
            put(&mut object, "value", value);
            if writeln!(out, "{}", Value::Object(object)).is_err() {
                return Ok(());
            }
        }
    }
    // As above.
    let _ = out.flush();
    Ok(())
}

/// Text as it is, other bytes as hexadecimal digits.
fn put(object: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => drop(object.insert(name.into(), text.into())),
        Err(_) => {
            let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            drop(object.insert(format!("{name}_hex"), digits.into()));
        }
    }
}

/// The end of what it wrote to standard error.
fn last_words(mut said: File) -> io::Result<String> {
    let end = said.seek(SeekFrom::End(0))?;
    said.seek(SeekFrom::Start(end.saturating_sub(REASON_MAX)))?;
    let mut bytes = Vec::new();
    said.take(REASON_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use downbeat_agent::image::{Place, SnapshotWriter};
    use downbeat_core::content::{DatasetSum, generation_digest, record_digest};
    use downbeat_core::ids::{Generation, Name};
    use downbeat_core::object::ManifestEntry;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn image(records: u32) -> (Generation, Image) {
        let dataset = Name::new("prices").unwrap();
        let record = |number: u32| (number.to_be_bytes(), if number == 0 { b"\xff\x00" } else { b"v1" });
        let mut sum = DatasetSum::EMPTY;
        (0..records).map(record).for_each(|(key, value)| sum.add(record_digest(&dataset, &key, value)));
        let digest = generation_digest([(&dataset, &sum)]).unwrap();
        let mut writer = SnapshotWriter::new(&Place::Memory, digest, &[]).unwrap();
        (0..records).map(record).for_each(|(key, value)| writer.push(&dataset, &key, value).unwrap());
        (Generation { epoch: 7, digest }, writer.finish(&[ManifestEntry { dataset, sum }]).unwrap())
    }

    fn judged(command: &str, records: u32) -> Result<(), String> {
        let check = Check { command: command.to_string(), farm: "eu".to_string() };
        let (generation, image) = image(records);
        check.judge(&Offer::new(generation, &image, &AtomicBool::new(false)))
    }

    #[test]
    fn the_command_gets_the_records_and_says_why_not() {
        assert_eq!(judged("true", 5), Ok(()));
        assert_eq!(judged("test $(wc -l) = 5 && test $DOWNBEAT_RECORDS = 5", 5), Ok(()));
        let told = "cat >&2; echo $DOWNBEAT_FARM $DOWNBEAT_EPOCH >&2; false";
        let hex = r#"{"dataset":"prices","key":"\u0000\u0000\u0000\u0000","value_hex":"ff00"}"#;
        assert_eq!(judged(told, 1), Err(format!("{hex}\neu 7")));
        assert_eq!(judged("exit 3", 1), Err("the check's command ended with exit status: 3".to_string()));
        let wordy = judged("yes words | head -5000 >&2; false", 1).unwrap_err();
        assert!(wordy.ends_with("words") && wordy.len() <= 1_000, "{}", wordy.len());
    }

    #[test]
    fn a_command_that_reads_nothing_of_much_may_approve() {
        assert_eq!(judged("true", 20_000), Ok(()));
        assert_eq!(judged("head -1 >&2", 20_000), Ok(()));
    }

    #[test]
    fn a_command_whose_verdict_nobody_waits_for_is_ended_with_all_that_it_started() {
        let ended = Err("the check's command was ended".to_string());
        let check = Check { command: "sleep 600 & sleep 600; true".to_string(), farm: String::new() };
        let (generation, image) = image(20_000);
        let withdrawn = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let judging = scope.spawn(|| check.judge(&Offer::new(generation, &image, &withdrawn)));
            std::thread::sleep(Duration::from_millis(100));
            assert!(!judging.is_finished(), "it is waited for");
            withdrawn.store(true, Ordering::Relaxed);
            assert_eq!(judging.join().unwrap(), ended);
        });
        assert_eq!(check.judge(&Offer::new(generation, &image, &withdrawn)), ended);
    }
}
