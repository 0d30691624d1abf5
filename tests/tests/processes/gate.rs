//! A validator on the agents that takes something good for bad. All strict agents refuse the generation that
//! has it, and at T all of them are fenced: an outage of the whole farm. With a gate, a canary with the same
//! validator refuses the candidate, and the farm goes on with what it had.

use downbeat_tests::manage::{ask, call};
use downbeat_tests::processes::{Process, eventually};
use downbeat_tests::program::downbeat;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tempfile::TempDir;

const FARM: &str = "eu";
/// What the validator, by mistake, takes for bad.
const ODD: &str = "0.00";

/// A server and two strict agents.
struct Play {
    folder: TempDir,
    http: SocketAddr,
    server: Process,
    agents: Vec<Process>,
}

/// Starts a server in a folder: itself, and where agents and people connect.
fn serve(folder: &TempDir, more: &[&str]) -> (Process, SocketAddr, SocketAddr) {
    let at = |name: &str| folder.path().join(name);
    let mut command = Command::new(downbeat());
    command.arg("serve").arg("--data").arg(at("data")).args(["--farm", FARM, "--json"]);
    command.args(["--control", "127.0.0.1:0", "--http", "127.0.0.1:0", "--boot-id", "one"]);
    command.args(["--interval", "3s", "--lead", "1s", "--lease", "300ms", "--round-trip", "200ms"]);
    command.args(["--retrieve", "300ms", "--stagger", "50ms", "--sample-window", "60ms"]);
    command.arg("--trace").arg(at("server.trace")).args(more);
    let (server, line) = Process::start(command, &at("errors.txt")).expect("the server starts");
    let said: Value = serde_json::from_str(&line).expect("the server says JSON");
    let address = |name: &str| {
        let text = said[name].as_str().unwrap_or_default().trim_start_matches("http://");
        text.parse::<SocketAddr>().expect("an address")
    };
    (server, address("control"), address("http"))
}

impl Play {
    fn start(agents: usize, more: &[&str]) -> Play {
        let folder = TempDir::new().expect("a folder");
        let (server, control, http) = serve(&folder, more);
        let at = |name: &str| folder.path().join(name);
        let agent = |number: usize| {
            let mut command = Command::new(downbeat());
            command.args(["agent", "--json", "--farm", FARM, "--mode", "strict", "--check"]);
            command.arg(format!("! grep -F {ODD} >&2"));
            command.args(["--longest-back-off", "400ms", "--silence-limit", "1500ms"]);
            command.arg("--server").arg(control.to_string()).arg("--trace").arg(at(&trace(number)));
            Process::printing(command, &at(&number.to_string()), &at("errors.txt")).expect("an agent starts")
        };
        let agents = (0..agents).map(agent).collect();
        Play { folder, http, server, agents }
    }

    fn does(&self, method: &str, path: &str, body: &[u8]) -> Value {
        let path = format!("/v1/farms/{FARM}{path}");
        eventually(&path, || ask(self.http, method, &path, body).filter(|(status, _)| *status < 300)).1
    }

    fn put(&self, key: &str, value: &str) {
        self.does("PUT", &format!("/records/prices/{key}"), value.as_bytes());
    }

    fn status(&self) -> Value {
        self.does("GET", "", b"")
    }

    /// What an agent's reader saw so far, in its order.
    fn seen(&self, agent: usize) -> Vec<Value> {
        let text = std::fs::read_to_string(self.folder.path().join(agent.to_string())).expect("its output");
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }

    /// Waits until every agent serves a generation as live that has this value.
    fn until_served(&self, key: &str, value: &str) {
        for agent in 0..self.agents.len() {
            eventually(&format!("{value} on agent {agent}"), || {
                let last = self.seen(agent).pop()?;
                let epoch = last["epoch"].as_u64().filter(|_| last["state"] == "current")?;
                let path = format!("/v1/farms/{FARM}/records/prices/{key}?epoch={epoch}");
                let (status, found) = call(self.http, "GET", &path, b"")?;
                (status == 200 && found == value.as_bytes()).then_some(())
            });
        }
    }

    /// How often an agent's reader was answered with an error, from a line on.
    fn fenced(&self, agent: usize, from: usize) -> usize {
        self.seen(agent).iter().skip(from).filter(|line| line["state"] == "fenced").count()
    }

    /// `kill -9` on the server, and another one in its place.
    fn restart(&mut self, more: &[&str]) {
        let Play { folder, server, http, .. } = self;
        server.kill_now();
        (*server, _, *http) = serve(folder, more);
    }

    /// Ends everything; all of it has to be core's, and every property has to hold.
    fn replay(self) {
        let agents = (0..self.agents.len()).map(trace);
        let traces: Vec<PathBuf> = std::iter::once("server.trace".to_owned())
            .chain(agents)
            .map(|name| self.folder.path().join(name))
            .collect();
        self.agents.into_iter().for_each(Process::kill);
        self.server.terminate();
        let replayed = downbeat_trace::files(&traces).expect("traces can be read");
        assert_eq!(replayed.faults, []);
        assert!(replayed.steps > 10 && (traces.len() == 1 || replayed.reads > 5), "{replayed:?}");
    }
}

fn trace(agent: usize) -> String {
    format!("agent-{agent}.trace")
}

/// A canary: takes each candidate whole, probes it with the agents' validator, and says what came of it.
fn canary(http: SocketAddr, stop: Arc<AtomicBool>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(20));
            let gate = ask(http, "GET", &format!("/v1/farms/{FARM}/gate"), b"");
            let Some((200, told)) = gate else { continue };
            let candidate = &told["gate"]["candidate"];
            let waiting = told["gate"]["judges"][0]["verdict"] == "waiting" && candidate["changes"] != 0;
            let Some(digest) = candidate["digest"].as_str().filter(|_| waiting) else { continue };
            let path = format!("/v1/farms/{FARM}/export?candidate={digest}&format=jsonl");
            let Some((200, whole)) = call(http, "GET", &path, b"") else { continue };
            let approve = !String::from_utf8_lossy(&whole).contains(ODD);
            let said =
                json!({ "as": "canary", "digest": digest, "approve": approve, "why": "it would not start" });
            // Where it is another candidate by now, that one is looked at next.
            let _ = ask(http, "POST", &format!("/v1/farms/{FARM}/gate/verdict"), said.to_string().as_bytes());
        }
    })
}

/// Somebody who edits all the time, so that production is never the candidate for long; how often.
fn editor(http: SocketAddr, stop: Arc<AtomicBool>) -> JoinHandle<u64> {
    std::thread::spawn(move || {
        let mut edits = 0;
        while !stop.load(Ordering::Relaxed) {
            let path = format!("/v1/farms/{FARM}/records/other/{}", edits % 100);
            edits += u64::from(call(http, "PUT", &path, format!("edit {edits}").as_bytes()).is_some());
            std::thread::sleep(Duration::from_millis(30));
        }
        edits
    })
}

#[test]
fn without_a_gate_a_bad_validator_is_an_outage_of_the_farm() {
    let farm = Play::start(2, &[]);
    farm.put("apple", "1.20");
    farm.until_served("apple", "1.20");
    let before: Vec<_> = (0..2).map(|agent| farm.seen(agent).len()).collect();
    farm.put("pear", ODD);
    for (agent, before) in before.iter().enumerate() {
        eventually("a fenced agent", || (farm.fenced(agent, *before) > 0).then_some(()));
    }
    // All of them at once, and for as long as that content is live.
    std::thread::sleep(Duration::from_secs(4));
    for agent in 0..2 {
        assert_eq!(farm.seen(agent).last().expect("a line")["state"], "fenced", "agent {agent}");
    }
    farm.replay();
}

#[test]
fn with_a_gate_the_farm_goes_on_with_what_it_had() {
    let farm = Play::start(2, &[]);
    farm.put("apple", "1.20");
    farm.until_served("apple", "1.20");
    farm.does("PUT", "/gate", json!({ "judges": ["canary"], "window": "1500ms" }).to_string().as_bytes());
    let stop = Arc::new(AtomicBool::new(false));
    let canary = canary(farm.http, stop.clone());
    let editor = editor(farm.http, stop.clone());
    // What is good goes through, on exactly what was approved.
    farm.put("apple", "1.30");
    farm.until_served("apple", "1.30");
    let before: Vec<_> = (0..2).map(|agent| farm.seen(agent).len()).collect();
    farm.put("pear", ODD);
    let blocked = eventually("a candidate that is kept back", || {
        let status = farm.status();
        (!status["blocked"].is_null()).then_some(status)
    });
    let reason = &blocked["blocked"]["reasons"][0];
    assert_eq!(reason["guard"], "gate");
    // Two more promises over the same content.
    let epoch = blocked["epoch"].as_u64().expect("an epoch");
    let later = eventually("two more epochs", || {
        let status = farm.status();
        (status["epoch"].as_u64() >= Some(epoch + 2) && status["live"] == true).then_some(status)
    });
    assert_eq!(later["digest"], blocked["digest"], "the content of before");
    let why = &later["blocked"]["reasons"][0]["found"];
    assert!(why.as_str().is_some_and(|why| why.contains("canary refuses it: it would not start")), "{why}");
    farm.until_served("apple", "1.30");
    for (agent, before) in before.iter().enumerate() {
        // A host that gives an agent no time may fence it for a moment; what is no moment is an epoch.
        let (fenced, seen) = (farm.fenced(agent, *before), farm.seen(agent).len() - before);
        assert!(2 * fenced < seen, "agent {agent} was fenced at {fenced} of {seen} switches");
    }
    // The cure: production is corrected, and what else was edited goes live.
    farm.does("DELETE", "/records/prices/pear", b"");
    farm.put("apple", "1.40");
    farm.until_served("apple", "1.40");
    eventually("nothing kept back", || farm.status()["blocked"].is_null().then_some(()));
    stop.store(true, Ordering::Relaxed);
    canary.join().expect("the canary");
    let edits = editor.join().expect("the editor");
    assert!(edits > 50, "{edits} edits: production did not change all the time");
    farm.replay();
}

/// Killed after the approval, and while its command judges: what was said stays said, of exactly that
/// candidate; and what was not said holds nobody up for ever.
#[test]
fn a_server_that_is_killed_promotes_what_was_approved_and_nothing_else() {
    let window = json!({ "judges": ["canary"], "window": "2s" }).to_string();
    let mut farm = Play::start(0, &[]);
    farm.does("PUT", "/gate", window.as_bytes());
    farm.does("POST", "/apply", &lines(&[("apple", "1"), ("pear", "1")]));
    let waiting = |farm: &Play| {
        eventually("a candidate to judge", || {
            let gate = farm.does("GET", "/gate", b"")["gate"].clone();
            let asked = gate["candidate"]["changes"] != 0 && gate["judges"][0]["verdict"] == "waiting";
            gate["candidate"]["digest"].as_str().filter(|_| asked).map(str::to_owned)
        })
    };
    let mut approved = None;
    for _ in 0..20 {
        let digest = waiting(&farm);
        let said = json!({ "as": "canary", "digest": digest, "approve": true }).to_string();
        let path = format!("/v1/farms/{FARM}/gate/verdict");
        // On a slow host T may be past by now; the next candidate is the same content.
        if matches!(ask(farm.http, "POST", &path, said.as_bytes()), Some((200, _))) {
            approved = Some(digest);
            break;
        }
    }
    let approved = approved.expect("a verdict that was in time");
    // One transaction that came after it: none of it may be staged with it.
    farm.does("POST", "/apply", &lines(&[("apple", "2"), ("plum", "2")]));
    farm.restart(&[]);
    let status = eventually("what was approved", || {
        let status = farm.status();
        (status["digest"] == *approved).then_some(status)
    });
    assert_eq!(status["records"], 2);
    // Now the server's own command, which the first server never hears.
    farm.does("PUT", "/gate", json!({ "judges": [] }).to_string().as_bytes());
    farm.restart(&["--gate", "sleep 5"]);
    eventually("a candidate that the command is asked about", || {
        let gate = farm.does("GET", "/gate", b"")["gate"].clone();
        (gate["judges"][0]["judge"] == "command" && gate["candidate"]["changes"].as_u64() > Some(0))
            .then_some(())
    });
    std::thread::sleep(Duration::from_millis(600));
    farm.restart(&["--gate", "true"]);
    let staged = eventually("both edits of the transaction", || {
        let status = farm.status();
        (status["records"] == 3).then_some(status)
    });
    for (key, value) in [("apple", "2"), ("pear", "1"), ("plum", "2")] {
        let path = format!("/v1/farms/{FARM}/records/prices/{key}?epoch={}", staged["epoch"]);
        assert_eq!(call(farm.http, "GET", &path, b""), Some((200, value.as_bytes().to_vec())), "{key}");
    }
    farm.replay();
}

/// Edits that are one transaction.
fn lines(records: &[(&str, &str)]) -> Vec<u8> {
    let line = |(key, value): &(&str, &str)| {
        format!("{}\n", json!({ "op": "put", "dataset": "prices", "key": key, "value": value }))
    };
    records.iter().map(line).collect::<String>().into_bytes()
}
