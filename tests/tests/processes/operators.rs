//! A farm that is operated: a scheduled record, other settings, a hold; with an agent and the server killed
//! and restarted, and another boot. All of it is traced and has to be core's, line by line.
//! `DOWNBEAT_CORPUS=FOLDER` keeps the traces: `trace/corpus/` is such a run.

use downbeat_agent::Clock;
use downbeat_core::ids::{Digest, Generation, Name};
use downbeat_core::time::ServerTime;
use downbeat_tests::looker::Looker;
use downbeat_tests::manage::{ask, call};
use downbeat_tests::processes::{Process, eventually};
use downbeat_tests::program::downbeat;
use downbeat_trace::{Line, Recorder};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const FARM: &str = "eu";
const NOTICE: &str = "notice";
/// The farm's interval, in nanoseconds.
const INTERVAL: i64 = 1_300_000_000;
const FILES: [&str; 4] = ["server.trace", "strict.trace", "prompt.trace", "looks.trace"];

/// What runs.
struct Play {
    folder: PathBuf,
    control: SocketAddr,
    http: SocketAddr,
    server: Option<Process>,
    looks: Recorder,
}

impl Play {
    /// Starts the server where it was, on a boot of that name.
    fn serve(&mut self, boot: &str) -> bool {
        let mut command = Command::new(downbeat());
        command.arg("serve").arg("--data").arg(self.folder.join("data")).args(["--farm", FARM, "--json"]);
        command.arg("--control").arg(self.control.to_string()).args(["--http", "127.0.0.1:0"]);
        command.args([
            "--interval",
            "1300ms",
            "--lead",
            "450ms",
            "--lease",
            "150ms",
            "--round-trip",
            "100ms",
        ]);
        command.args(["--retrieve", "150ms", "--stagger", "50ms", "--sample-window", "10ms"]);
        command.args(["--no-own-agent", "--boot-id", boot, "--trace"]).arg(self.folder.join("server.trace"));
        let (process, line) =
            Process::start(command, &self.folder.join("errors.txt")).expect("the server starts");
        let said: Value = serde_json::from_str(&line).expect("the server says JSON");
        let address = |name: &str| {
            let text = said[name].as_str().unwrap_or_default().trim_start_matches("http://");
            text.parse::<SocketAddr>().expect("an address")
        };
        (self.control, self.http, self.server) = (address("control"), address("http"), Some(process));
        said["continued"] == true
    }

    fn kill_server(&mut self) {
        self.server.take().expect("the server runs").kill();
    }

    fn agent(&self, mode: &str, offset: &str) -> Process {
        let mut command = Command::new(downbeat());
        command.args(["agent", "--json", "--farm", FARM, "--mode", mode, "--start-wait", "1s"]);
        command.args(["--longest-back-off", "400ms", "--silence-limit", "1500ms"]);
        command.arg("--server").arg(self.control.to_string()).arg(format!("--clock-offset={offset}"));
        command.arg("--state-dir").arg(self.folder.join(mode));
        command.arg("--trace").arg(self.folder.join(format!("{mode}.trace")));
        let (printed, errors) = (self.folder.join(format!("{mode}.txt")), self.folder.join("errors.txt"));
        Process::printing(command, &printed, &errors).expect("the agent starts")
    }

    fn does(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let path = format!("/v1/farms/{FARM}{path}");
        eventually(&path, || {
            ask(self.http, method, &path, body.as_bytes()).filter(|(status, _)| *status < 300)
        })
        .1
    }

    /// The farm's status, once its staged epoch is at least that.
    fn until(&self, epoch: u64) -> Value {
        let found = eventually(&format!("epoch {epoch}"), || {
            let status = self.does("GET", "", &Value::Null);
            (status["epoch"].as_u64() >= Some(epoch)).then_some(status)
        });
        let looker = Looker::connect(self.control, FARM, self.looks.clone());
        assert!(looker.and_then(|mut looker| looker.look()).is_some(), "the table can be looked at");
        found
    }

    /// Enters a scheduled record that counts from between two regular activations on, for three of them.
    fn schedule(&self, status: &Value) {
        let ns = status["activation"]["ns"].as_i64().expect("an instant");
        let (from, until) = (ns + INTERVAL + INTERVAL / 4 * 3, ns + INTERVAL * 4);
        let record =
            json!({ "dataset": NOTICE, "key": "k", "value": "v", "effective_at": from, "expires_at": until });
        self.does("POST", "/scheduled", &record);
        let after = status["epoch"].as_u64().expect("an epoch");
        self.looks.tell(|| Line::Scheduled {
            at: Clock::host().now(),
            farm: Name::new(FARM).expect("a name"),
            record: NOTICE.to_owned(),
            from: ServerTime::from_nanos(from),
            until: Some(ServerTime::from_nanos(until)),
            after,
        });
    }

    /// Tells in which generations the scheduled record is, of those that the server keeps.
    fn tell_shown(&self) {
        let answer = self.does("GET", "/generations", &Value::Null);
        for kept in answer["generations"].as_array().expect("generations") {
            let epoch = kept["epoch"].as_u64().expect("an epoch");
            let digest: Digest = serde_json::from_value(kept["digest"].clone()).expect("a digest");
            let path = format!("/v1/farms/{FARM}/records/{NOTICE}/k?epoch={epoch}");
            let (status, _) = eventually(&path, || call(self.http, "GET", &path, b""));
            self.looks.tell(|| Line::Shown {
                at: Clock::host().now(),
                farm: Name::new(FARM).expect("a name"),
                record: NOTICE.to_owned(),
                generation: Generation { epoch, digest },
                shown: status == 200,
            });
        }
    }
}

fn wait(millis: u64) {
    std::thread::sleep(Duration::from_millis(millis));
}

fn play(folder: &Path) {
    let looks = Recorder::append(&folder.join("looks.trace")).expect("a trace");
    let any = "127.0.0.1:0".parse().expect("an address");
    let mut farm = Play { folder: folder.to_owned(), control: any, http: any, server: None, looks };
    assert!(!farm.serve("one"));
    let strict = farm.agent("strict", "7200s");
    let prompt = farm.agent("prompt", "-431s");
    let status = farm.until(2);
    farm.does("PUT", "/records/page/a", &json!("one"));
    farm.schedule(&status);
    farm.until(3);
    strict.kill();
    let strict = farm.agent("strict", "3600s");
    farm.does("PUT", "/settings", &json!({ "early_limit": "40ms" }));
    farm.kill_server();
    assert!(farm.serve("one"), "the line goes on within a boot");
    farm.until(4);
    farm.does("PUT", "/hold", &json!({ "until": "+1s" }));
    wait(100);
    farm.does("DELETE", "/hold", &Value::Null);
    farm.tell_shown();
    farm.kill_server();
    assert!(!farm.serve("two"), "another boot is another line");
    let epoch = farm.until(4)["epoch"].as_u64().expect("an epoch");
    farm.until(epoch + 1);
    wait(1_300);
    strict.kill();
    prompt.terminate();
    farm.server.take().expect("the server runs").terminate();
    farm.looks.end(Clock::host().now());
}

#[test]
fn what_operators_do_is_traced_and_is_core_s() {
    let folder = tempfile::tempdir().unwrap();
    play(folder.path());
    let traces = FILES.map(|file| folder.path().join(file));
    if let Some(corpus) = std::env::var_os("DOWNBEAT_CORPUS") {
        for (trace, file) in traces.iter().zip(FILES) {
            std::fs::copy(trace, Path::new(&corpus).join(file)).expect("the trace is kept");
        }
    }
    let replayed = downbeat_trace::files(&traces).expect("traces can be read");
    assert_eq!(replayed.faults, [], "{}", std::fs::read_to_string(folder.path().join("errors.txt")).unwrap());
    assert!(replayed.notes.is_empty() && replayed.killed == 4, "{replayed:?}");
    assert!(replayed.steps > 20 && replayed.reads > 10 && replayed.enclosed > 40, "{replayed:?}");
}
