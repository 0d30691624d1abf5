//! The commands against a real `downbeat serve` and real agents: an edit, what is said of it, and how it
//! goes live; and what is refused, each with one line that names cause and cure.

use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use tempfile::TempDir;

/// A process that ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server, and how it is reached.
struct Farm {
    _server: Process,
    control: String,
    url: String,
    folder: TempDir,
}

fn downbeat() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_downbeat"));
    for name in ["URL", "FARM", "TOKEN", "SERVER", "DATA", "MODE", "LOG", "GATE"] {
        command.env_remove(format!("DOWNBEAT_{name}"));
    }
    command
}

fn lines(process: &mut Process) -> BufReader<ChildStdout> {
    BufReader::new(process.0.stdout.take().expect("its output is piped"))
}

const SHORT: [&str; 12] = [
    "--interval",
    "2s",
    "--lead",
    "900ms",
    "--lease",
    "200ms",
    "--round-trip",
    "150ms",
    "--retrieve",
    "500ms",
    "--stagger",
    "50ms",
];

impl Farm {
    fn start(more: &[&str]) -> Farm {
        let folder = TempDir::new().expect("a folder");
        let mut command = downbeat();
        command.args(["serve", "--json", "--control", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
        command.args(SHORT).args(more).arg("--data").arg(folder.path());
        let server = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
        let mut server = Process(server);
        let mut line = String::new();
        lines(&mut server).read_line(&mut line).expect("a line");
        let told: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        let text = |name: &str| told[name].as_str().expect("text").to_owned();
        Farm { _server: server, control: text("control"), url: text("http"), folder }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        downbeat().args(arguments).args(["--url", &self.url]).output().expect("it runs")
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let mut all = arguments.to_vec();
        all.push("--json");
        let output = self.run(&all);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}"))
    }

    /// The one line that a refusal is told in.
    fn refused(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        assert_eq!(text.lines().count(), 1, "{arguments:?}: {text}");
        text
    }
}

/// Waits for something that must come.
fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let since = std::time::Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(since.elapsed() < std::time::Duration::from_secs(60), "{what} did not come");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

#[test]
fn an_edit_goes_live_on_an_agent_in_the_epoch_that_was_told() {
    let farm = Farm::start(&[]);
    let mut command = downbeat();
    command.args(["agent", "--json", "--mode", "strict", "--clock-offset", "-7h", "--server", &farm.control]);
    let mut agent = Process(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts"));
    let mut sights = lines(&mut agent).lines().map(|line| line.expect("a line"));
    let mut next = || -> Value { serde_json::from_str(&sights.next().expect("a sight")).expect("JSON") };
    while next()["state"] != "current" {}

    let edit = farm.json(&["put", "prices", "EUR", "1.09"]);
    let epoch = edit["epoch"].as_u64().expect("an epoch");
    assert_eq!(edit["written"], 1);
    assert!(edit["earliest_live"]["ns"].is_i64(), "{edit}");
    assert!(farm.json(&["status"])["epoch"].as_u64() < Some(epoch), "it is not staged yet");
    let (mut last, mut until) = (0, 0);
    let seen = loop {
        let sight = next();
        if sight["state"] != "current" {
            continue;
        }
        let (now, host) =
            (sight["epoch"].as_u64().expect("an epoch"), sight["host_ns"].as_i64().expect("ns"));
        assert!(now >= last && host > until, "S9: {sight} after epoch {last}");
        (last, until) = (now, host);
        if now >= epoch {
            break sight;
        }
        assert_eq!(sight["records"], 0, "not before its epoch: {sight}");
    };
    assert_eq!((seen["epoch"].as_u64(), seen["records"].as_u64()), (Some(epoch), Some(1)));

    let got = farm.json(&["get", "prices", "EUR", "--epoch", &epoch.to_string()]);
    assert_eq!(got["value"], "1.09");
    let output = farm.run(&["get", "prices", "EUR"]);
    assert_eq!(output.stdout, b"1.09\n");
    let agents = farm.json(&["agents"]);
    assert_eq!(agents["agents"][0]["connected"], true, "{agents}");
    let deleted = farm.json(&["delete", "prices", "EUR"]);
    assert_eq!(deleted["deleted"], 1);
}

#[test]
fn watch_tells_of_an_edit_up_to_the_switch() {
    let farm = Farm::start(&[]);
    let mut command = downbeat();
    command.args(["agent", "--display", "till", "--server", &farm.control]);
    let _agent = Process(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts"));
    let mut command = downbeat();
    command.args(["watch", "--url", &farm.url]);
    let mut watch = Process(command.stdout(Stdio::piped()).spawn().expect("it starts"));
    let mut told = lines(&mut watch).lines().map(|line| line.expect("a line"));
    let mut until = |text: &str| while !told.next().expect("more is told").contains(text) {};
    until("epoch");
    let edit = farm.json(&["put", "prices", "EUR", "1.09"]);
    until("production was edited");
    until(&format!("epoch {} is staged", edit["epoch"]));
    until(&format!("agent till went live with epoch {}", edit["epoch"]));
    let all = farm.json(&["skew"]);
    let told = all["activations"].as_array().expect("activations").iter();
    let told =
        told.clone().find(|told| told["epoch"] == edit["epoch"]).expect("the epoch that it went live with");
    assert_eq!((&told["agents"], &told["switched"]), (&1.into(), &1.into()), "{told}");
    assert!(told["max_ns"].as_i64().is_some() && told["bound_ns"].as_i64() > Some(0), "{told}");
    assert!(told["armed_p99_ns"].as_i64() > Some(0) && all.get("advice").is_some(), "{all}");
    let output = farm.run(&["skew", "--limit", "1"]);
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success() && text.contains("spread"), "{text}");
}

#[test]
fn a_hold_and_settings_are_told_and_kept() {
    let farm = Farm::start(&[]);
    assert!(farm.json(&["hold", "--until", "+1h"])["held"].is_object());
    let status = farm.json(&["status"]);
    assert!(status["earliest_live"].is_null() && status["held"].is_object(), "{status}");
    assert!(farm.json(&["put", "a", "b", "c"])["earliest_live"].is_null());
    assert!(farm.json(&["unhold"])["held"].is_null());
    assert_eq!(farm.json(&["settings", "--interval", "3s"])["pending"]["interval"], "3s");
    let entered = farm.json(&["schedule", "a", "b", "later", "--at", "+2h"]);
    assert_eq!(entered["written"], 1);
    assert_eq!(farm.json(&["schedule"])["scheduled"][0]["key"], "b");
    for command in ["status", "agents", "settings", "schedule"] {
        let output = farm.run(&[command]);
        assert!(output.status.success() && !output.stdout.is_empty(), "{command}");
    }
}

#[test]
fn a_csv_is_taken_in_whole_or_refused_with_its_line() {
    let farm = Farm::start(&[]);
    let file = farm.folder.path().join("prices.csv");
    let path = file.to_str().expect("a path");
    let import = ["import", path, "--dataset", "prices"];
    std::fs::write(&file, "key,value\nEUR,1.09\nUSD,1\n").expect("written");
    assert_eq!(farm.json(&import)["written"], 2);
    std::fs::write(&file, "code,value\nGBP,1\n").expect("written");
    assert!(farm.refused(1, &import).contains("no column \"key\""));
    std::fs::write(&file, "key,value\nGBP,1\nCHF\n").expect("written");
    assert!(farm.refused(1, &import).contains("line 3"));
    assert!(farm.refused(1, &["get", "prices", "GBP"]).contains("no such record"), "nothing was changed");
    let nowhere = farm.refused(2, &["import", "/nowhere.csv", "--dataset", "prices"]);
    assert!(nowhere.contains("can't be read"), "{nowhere}");
}

#[test]
fn what_is_exported_is_imported_and_replaced() {
    let farm = Farm::start(&[]);
    let path = |name: &str| farm.folder.path().join(name).to_str().expect("a path").to_owned();
    let lines = "{\"dataset\":\"a\",\"key\":\"x,\\\"1\\\"\",\"value\":\"two\\nlines\"}\n\
        {\"dataset\":\"a\",\"key\":\"y\",\"value_hex\":\"ff00\"}\n{\"dataset\":\"b\",\"key\":\"\",\"value\":\"\"}\n";
    std::fs::write(path("in.jsonl"), lines).expect("written");
    let told = farm.json(&["import", &path("in.jsonl")]);
    assert_eq!((&told["added"], &told["changed"], &told["refused"]), (&3.into(), &0.into(), &0.into()));
    for (file, more) in [("out.csv", &[][..]), ("out.jsonl", &[]), ("a.csv", &["--dataset", "a"])] {
        let out = path(file);
        let told = farm.json(&[&["export", &out], more].concat());
        assert_eq!(told["bytes"].as_u64(), std::fs::metadata(&out).ok().map(|of| of.len()), "{file}");
        let again = farm.json(&[&["import", &out], more].concat());
        assert_eq!((&again["written"], &again["refused"]), (&0.into(), &0.into()), "{file}: {again}");
    }
    assert_eq!(std::fs::read(path("out.jsonl")).expect("read"), lines.as_bytes());
    let output = farm.run(&["export", "--format", "jsonl"]);
    assert_eq!(output.stdout, lines.as_bytes());
    // Production is made equal to the file; scheduled records stay, and that is said.
    farm.json(&["schedule", "a", "later", "1", "--at", "+2h"]);
    std::fs::write(path("new.csv"), "key,value\ny,1\nz,2\n").expect("written");
    let output = farm.run(&["import", &path("new.csv"), "--dataset", "a", "--replace"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("1 added, 1 changed, 1 removed, 0 as they were, 0 refused"), "{text}");
    assert!(text.contains("1 scheduled records of the dataset stay"), "{text}");
    let told = farm.json(&["import", &path("new.csv"), "--dataset", "a", "--replace"]);
    assert_eq!((&told["written"], &told["deleted"]), (&0.into(), &0.into()));
    // What is refused is told with its line, and nothing is half done.
    std::fs::write(path("new.csv"), "key,value\ny,1\nq,2\ny,3\n").expect("written");
    assert!(farm.refused(1, &["import", &path("new.csv"), "--dataset", "a"]).contains("line 4"));
    assert!(farm.refused(1, &["get", "a", "q"]).contains("no such record"));
    assert!(
        farm.refused(1, &["import", &path("new.csv"), "--dataset", "a", "--farm", "x"]).contains("no farm x")
    );
    assert!(farm.refused(1, &["export", &path("gone.csv"), "--epoch", "999"]).contains("is not kept"));
    assert!(!farm.folder.path().join("gone.csv").exists());
}

#[test]
fn scheduled_records_are_listed_changed_moved_and_cancelled() {
    let farm = Farm::start(&[]);
    for (dataset, key, at) in
        [("a", "x", "2099-01-01T00:00:00Z"), ("a", "y", "2099-01-02T00:00:00Z"), ("b", "x", "+9h")]
    {
        assert_eq!(farm.json(&["schedule", dataset, key, "1", "--at", at])["written"], 1);
    }
    let count = |arguments: &[&str]| {
        let told = farm.json(&[&["schedule"], arguments].concat());
        told["scheduled"].as_array().map(Vec::len)
    };
    assert_eq!((count(&[]), count(&["a"]), count(&["a", "y"])), (Some(3), Some(2), Some(1)));
    farm.json(&[
        "schedule",
        "a",
        "x",
        "2",
        "--at",
        "2099-01-01T00:00:00Z",
        "--until",
        "2099-03-01T00:00:00Z",
    ]);
    let moved =
        ["schedule", "a", "y", "1", "--at", "2099-01-05T00:00:00Z", "--instead-of", "2099-01-02T00:00:00Z"];
    let told = farm.json(&moved);
    assert_eq!((&told["written"], &told["deleted"]), (&1.into(), &1.into()));
    let listed = farm.json(&["schedule", "a"]);
    assert_eq!((&listed["scheduled"][0]["value"], count(&["a"])), (&"2".into(), Some(2)));
    assert_eq!(listed["scheduled"][1]["effective_at"]["utc"], "2099-01-05T00:00:00.000000000Z");
    assert_eq!(farm.json(&["schedule", "b", "x", "--at", &show(&farm), "--remove"])["deleted"], 1);
    assert_eq!(count(&[]), Some(2));

    fn show(farm: &Farm) -> String {
        farm.json(&["schedule", "b"])["scheduled"][0]["effective_at"]["utc"]
            .as_str()
            .expect("an instant")
            .to_owned()
    }
}

#[test]
fn a_generation_is_gone_back_to_and_that_taken_back() {
    let farm = Farm::start(&[]);
    assert_eq!(farm.json(&["retention", "--generations", "50", "--age", "1h"])["age"], "1h");
    let staged_with = |edit: Value| -> String {
        let epoch = edit["epoch"].as_u64().expect("an epoch");
        while farm.json(&["status"])["epoch"].as_u64() < Some(epoch) {
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        epoch.to_string()
    };
    let first = staged_with(farm.json(&["put", "prices", "EUR", "1.09"]));
    farm.json(&["put", "prices", "USD", "1"]);
    let second = staged_with(farm.json(&["put", "prices", "EUR", "1.10"]));
    let diff = farm.json(&["diff", &first, &second]);
    assert_eq!((&diff["added"], &diff["changed"], &diff["removed"]), (&1.into(), &1.into(), &0.into()));
    let text = String::from_utf8(farm.run(&["diff", &first, &second]).stdout).expect("text");
    assert!(text.contains("1.09") && text.contains("1 added, 1 changed, 0 removed"), "{text}");
    let history = farm.json(&["history", "prices", "EUR"]);
    assert_eq!(
        (&history["versions"][0]["value"], &history["versions"][1]["value"]),
        (&"1.10".into(), &"1.09".into())
    );
    let text = String::from_utf8(farm.run(&["history", "prices", "EUR"]).stdout).expect("text");
    assert!(
        text.lines().nth(2).is_some_and(|line| line.contains(&second) && line.contains("1.10")),
        "{text}"
    );

    let file = farm.folder.path().join("back.jsonl");
    let path = file.to_str().expect("a path");
    let output = farm.run(&["rollback", &first, "--undo", path]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains(&format!("downbeat apply {path}")));
    assert_eq!(farm.json(&["get", "prices", "EUR"])["value"], "1.09");
    assert!(farm.refused(1, &["get", "prices", "USD"]).contains("no such record"));
    assert_eq!(std::fs::read_to_string(&file).expect("the file").lines().count(), 2);
    assert_eq!(farm.json(&["apply", path])["written"], 2);
    assert_eq!(farm.json(&["get", "prices", "EUR"])["value"], "1.10");

    let text = farm.refused(1, &["rollback", "999"]);
    assert!(text.contains("is not kept") && text.contains("downbeat retention"), "{text}");
    std::fs::write(&file, "{\"op\":\"delete\",\"dataset\":\"prices\",\"key\":\"EUR\"}\nnonsense\n")
        .expect("written");
    assert!(farm.refused(1, &["apply", path]).contains("line 2"));
    assert_eq!(farm.json(&["get", "prices", "EUR"])["value"], "1.10", "all of it or nothing");
    for command in [&["diff"][..], &["retention"]] {
        let output = farm.run(command);
        assert!(output.status.success() && !output.stdout.is_empty(), "{command:?}");
    }
}

#[test]
fn a_guard_keeps_content_back_says_why_and_is_overridden_once() {
    let farm = Farm::start(&[]);
    let told = farm.json(&["guard", "set", "prices/vanish", "--percent", "10", "--floor", "1"]);
    assert_eq!((&told["guard"]["percent"], &told["guard"]["floor"]), (&Value::from(10.0), &Value::from(1)));
    for key in ["a", "b", "c"] {
        farm.json(&["put", "prices", key, "1"]);
    }
    let live = |count: u64| {
        eventually("a generation with those records", || {
            let status = farm.json(&["status"]);
            (status["records"] == count).then_some(status)
        })
    };
    live(3);
    let file = farm.folder.path().join("gone.jsonl");
    let lines = ["a", "b"].map(|key| format!(r#"{{"op":"delete","dataset":"prices","key":"{key}"}}"#));
    std::fs::write(&file, lines.join("\n")).expect("written");
    farm.json(&["apply", file.to_str().expect("a path")]);
    let status = eventually("what is kept back", || {
        let status = farm.json(&["status"]);
        (!status["blocked"].is_null()).then_some(status)
    });
    let reason = &status["blocked"]["reasons"][0];
    assert_eq!(
        (&reason["guard"], &reason["found"]),
        (&Value::from("prices/vanish"), &Value::from("2 would"))
    );
    assert_eq!((&status["records"], &reason["examples"][0]["key"]), (&Value::from(3), &Value::from("a")));
    let text = String::from_utf8_lossy(&farm.run(&["status"]).stdout).into_owned();
    for words in ["KEPT BACK", "prices/vanish", "at most 1 of", "downbeat guard override prices/vanish"] {
        assert!(text.contains(words), "{words:?} is not in {text}");
    }
    eventually("what is broken, gathered again", || {
        (farm.json(&["diff"])["broken"][0]["guard"] == "prices/vanish").then_some(())
    });
    let wrong = "00".repeat(32);
    let text = farm.refused(1, &["guard", "override", "prices/vanish", "--by", "ann", "--digest", &wrong]);
    assert!(text.contains("is not the candidate"), "{text}");
    farm.json(&["guard", "override", "prices/vanish", "--by", "ann"]);
    live(1);
    let told = farm.json(&["guard"]);
    assert_eq!(told["overrides"][0]["by"], "ann");
    assert!(told["overrides"][0]["used_by_epoch"].is_u64(), "{told}");
    assert_eq!(farm.json(&["guard", "remove", "prices/vanish"])["removed"], true);
}

#[test]
fn a_schema_says_which_records_do_not_fit_it() {
    let farm = Farm::start(&[]);
    farm.json(&["put", "prices", "old", "about 3"]);
    let file = farm.folder.path().join("schema.json");
    let path = file.to_str().expect("a path");
    std::fs::write(&file, r#"{"type":"number","minimum":0}"#).expect("written");
    let told = farm.json(&["guard", "set", "prices/schema", "--file", path]);
    assert_eq!((&told["misfits"], &told["examples"][0]["key"]), (&Value::from(1), &Value::from("old")));
    let broken = eventually("the pending record that doesn't fit", || {
        let told = farm.json(&["guard"]);
        let broken = told["broken"][0].clone();
        (broken["guard"] == "prices/schema").then_some(broken)
    });
    assert!(broken["examples"][0]["why"].as_str().is_some_and(|why| why.contains("no JSON")), "{broken}");
    farm.json(&["put", "prices", "old", "3"]);
    eventually("its correction", || (farm.json(&["guard"])["broken"] == serde_json::json!([])).then_some(()));
    std::fs::write(&file, r#"{"$ref":"http://127.0.0.1:9/elsewhere"}"#).expect("written");
    let text = farm.refused(1, &["guard", "set", "prices/schema", "--file", path]);
    assert!(text.contains("can't be used"), "{text}");
}

#[test]
fn a_command_of_the_server_judges_every_candidate() {
    let told = TempDir::new().expect("a folder");
    let seen = told.path().join("seen");
    let seen = seen.to_str().expect("a path");
    // Refuses a price of 0, and writes down what it was given.
    let command = format!(
        "(echo $DOWNBEAT_FARM $DOWNBEAT_EPOCH $DOWNBEAT_DIGEST; cat) >>{seen}; tail -1 {seen} | \
         grep -q '\"after\":\"0\"' && {{ echo that price is nothing >&2; exit 1; }}; exit 0"
    );
    let farm = Farm::start(&["--gate", &command]);
    farm.json(&["gate", "set", "--window", "900ms", "--limit", "5s"]);
    farm.json(&["put", "prices", "apple", "1"]);
    let records = |count: u64| {
        eventually("a generation with so many records", || {
            (farm.json(&["status"])["records"] == count).then_some(())
        });
    };
    records(1);
    let given = std::fs::read_to_string(seen).expect("what it was given");
    let (head, change) = given.split_once('\n').expect("two lines");
    let words: Vec<_> = head.split(' ').collect();
    assert_eq!((words[0], words[2].len()), ("main", 64), "{given}");
    let change: Value = serde_json::from_str(change.lines().next().expect("a line")).expect("JSON");
    assert_eq!((&change["key"], &change["after"]), (&Value::from("apple"), &Value::from("1")));
    farm.json(&["put", "prices", "pear", "0"]);
    let reason = eventually("a candidate that is kept back", || {
        let reason = farm.json(&["status"])["blocked"]["reasons"][0].clone();
        reason["found"]
            .as_str()
            .is_some_and(|found| found.contains("that price is nothing"))
            .then_some(reason)
    });
    assert_eq!(reason["guard"], "gate");
    assert_eq!(farm.json(&["status"])["records"], 1);
    farm.json(&["delete", "prices", "pear"]);
    farm.json(&["put", "prices", "plum", "2"]);
    records(2);
    let text = farm.refused(1, &["gate", "approve", &"00".repeat(32), "--as", "eve"]);
    assert!(text.contains("is not the candidate"), "{text}");
    assert!(farm.json(&["compare"])["keys"].as_u64() >= Some(2));
}

#[test]
fn what_is_refused_names_cause_and_cure() {
    let farm = Farm::start(&[]);
    let large = "x".repeat(65_537);
    for (code, arguments, words) in [
        (1, &["put", "prices", "EUR", &large][..], "limit is 65536"),
        (1, &["put", "Prices", "EUR", "1"], "is no name of a dataset"),
        (1, &["settings", "--lead", "9s"], "would do"),
        (1, &["settings", "--lead", "soon"], "no span of time"),
        (1, &["hold", "--until", "tomorrow"], "is no instant"),
        (1, &["status", "--farm", "nowhere"], "no farm nowhere"),
        (1, &["status", "--token", "wrong"], "token is not known"),
        (2, &["schedule", "a", "b", "--at", "+1h"], "needs a value"),
    ] {
        let text = farm.refused(code, arguments);
        assert!(text.contains(words), "{words:?} is not in {text:?}");
    }
    let output = downbeat().args(["status", "--url", "http://127.0.0.1:1"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&output.stderr).contains("can't be reached"));
    let output = downbeat().args(["status", "--url", "https://localhost"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_server_that_cannot_start_says_why() {
    let farm = Farm::start(&["--token", "admin:open sesame", "--closed"]);
    assert!(farm.refused(1, &["status"]).contains("a token is needed"));
    assert_eq!(farm.json(&["status", "--token", "open sesame"])["farm"], "main");
    let data = farm.folder.path().to_str().expect("a path");
    let elsewhere = TempDir::new().expect("a folder");
    let other = elsewhere.path().to_str().expect("a path");
    let any = "127.0.0.1:0";
    for (code, arguments, words) in [
        (1, ["--data", data, "--control", any, "--http", any], "another server serves the database"),
        (1, ["--data", other, "--control", &farm.control, "--http", any], "is in use"),
        (1, ["--data", other, "--control", "0.0.0.0:0", "--http", any], "ask for that by name"),
        (2, ["--token", "king:x", "--control", any, "--http", any], "the roles are"),
    ] {
        let output = downbeat().arg("serve").args(arguments).output().expect("it runs");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains(words), "{words:?} is not in {text:?}");
        assert!(!text.contains("panicked"), "{text}");
    }
}

#[test]
fn a_server_goes_on_where_it_was() {
    let folder = TempDir::new().expect("a folder");
    let mut continued = Vec::new();
    for boot in ["one", "one", "two"] {
        let mut command = downbeat();
        command.args([
            "serve",
            "--json",
            "--control",
            "127.0.0.1:0",
            "--http",
            "127.0.0.1:0",
            "--boot-id",
            boot,
        ]);
        command.args(SHORT).arg("--data").arg(folder.path());
        let server = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
        let mut server = Process(server);
        let mut line = String::new();
        lines(&mut server).read_line(&mut line).expect("a line");
        let told: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        continued.push(told["continued"].as_bool().expect("a flag"));
    }
    assert_eq!(continued, [false, true, false], "killed twice, and once on another boot");
}

#[test]
fn help_names_the_exit_codes() {
    let mut child = downbeat().arg("--help").stdout(Stdio::piped()).spawn().expect("it runs");
    let mut text = String::new();
    child.stdout.take().expect("piped").read_to_string(&mut text).expect("text");
    assert!(child.wait().expect("it ends").success());
    assert!(text.contains("Exit codes"), "{text}");
}
