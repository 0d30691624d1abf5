//! Generations through HTTP: what differs, what a record was, going back and taking that back, and how
//! many are kept.

use crate::support::*;
use downbeat_core::message::{Refusal, ReplyBody, RequestBody};
use downbeat_core::table::next_activation;
use downbeat_server::Handle;
use serde_json::{Value, json};

/// A farm with what brings it on.
struct Farm {
    server: Handle,
    peer: Peer,
    folder: tempfile::TempDir,
}

impl Farm {
    fn start() -> Farm {
        let folder = tempfile::tempdir().unwrap();
        let server = start(folder.path());
        make_fast_farm(&server, "eu");
        let (peer, _) = Peer::welcomed(&server, "eu");
        Farm { server, peer, folder }
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        call(&self.server, method, &format!("/v1/farms/eu{path}"), body)
    }

    fn get(&self, path: &str) -> Value {
        well(self.call("GET", path, &Value::Null))
    }

    fn put(&self, key: &str, value: &str) {
        well(call_raw(&self.server, "PUT", &format!("/v1/farms/eu/records/d/{key}"), value.as_bytes()));
    }

    /// A cycle as soon as T has passed; gives the epoch.
    fn promote(&mut self) -> u64 {
        eventually("a cycle", || {
            let ReplyBody::Granted { grant, table } = self.peer.ask(RequestBody::Lock).body else {
                return None;
            };
            let activation = next_activation(&table, grant.due, grant.granted_at);
            match self.peer.ask(RequestBody::Advance { token: grant.token, activation }).body {
                ReplyBody::Advanced(table) => Some(table.staged.epoch),
                // The lease is short, and the host may be slow.
                ReplyBody::Refused { why: Refusal::LeaseOver, .. } => None,
                other => panic!("not advanced: {other:?}"),
            }
        })
    }
}

#[test]
fn generations_are_compared_and_gone_back_to() {
    let mut farm = Farm::start();
    well(farm.call("PUT", "/retention", &json!({ "generations": 10 })));
    farm.put("a", "1");
    farm.put("b", "1");
    assert_eq!(farm.promote(), 2);
    farm.put("a", "2");
    well(farm.call("DELETE", "/records/d/b", &Value::Null));
    farm.put("c%2F", "1");
    assert_eq!(farm.promote(), 3);

    let diff = farm.get("/diff?from=2&to=3&limit=1");
    assert_eq!((&diff["added"], &diff["changed"], &diff["removed"]), (&json!(1), &json!(1), &json!(1)));
    assert_eq!((diff["changes"].as_array().map(Vec::len), &diff["more"]), (Some(1), &json!(true)));
    let history = farm.get("/history/d/a");
    assert_eq!(history["production"], "2");
    let versions = history["versions"].as_array().unwrap();
    let seen: Vec<_> = versions.iter().map(|v| (v["epoch"].as_u64(), v["value"].as_str())).collect();
    assert_eq!(seen, [(Some(3), Some("2")), (Some(2), Some("1"))]);
    assert!(versions[0]["activation"]["ns"].is_i64());
    assert_eq!(farm.get("/history/d/b")["production"], Value::Null);

    // Something that is not staged yet, and a record that will be in force.
    farm.put("a", "3");
    let scheduled = json!({ "dataset": "d", "key": "b", "effective_at": 5, "value": "always" });
    well(farm.call("POST", "/scheduled", &scheduled));
    let before = farm.get("/pending");
    let done = well(farm.call("POST", "/rollback", &json!({ "epoch": 2 })));
    assert_eq!((&done["written"], &done["deleted"], &done["unscheduled"]), (&json!(2), &json!(2), &json!(1)));
    assert!(done["earliest_live"]["ns"].is_i64() && done["epoch"].as_u64() >= Some(4), "{done}");
    assert_eq!(farm.get("/records/d")["records"].as_array().map(Vec::len), Some(2));
    let next = farm.promote();
    assert_eq!(farm.get(&format!("/diff?from=2&to={next}"))["changes"], json!([]));

    // What it undid is a file, and brings back exactly what was there.
    let name = done["undo"]["name"].as_str().unwrap();
    let listed = farm.get("/undo");
    assert_eq!(listed["undo"][0]["name"], name);
    assert!(farm.folder.path().join("undo/farm-eu").join(name).exists(), "beside the database");
    let (status, lines) = http(farm.server.http(), "GET", &format!("/v1/farms/eu/undo/{name}"), "", b"");
    assert_eq!(
        (status, lines.matches("\"op\"").count() as u64),
        (200, done["undo"]["edits"].as_u64().unwrap())
    );
    let lines = lines.lines().filter(|line| line.starts_with('{')).collect::<Vec<_>>().join("\n");
    well(call_raw(&farm.server, "POST", "/v1/farms/eu/apply", lines.as_bytes()));
    let epoch = farm.promote();
    let diff = farm.get(&format!("/diff?from=3&to={epoch}"));
    assert_eq!(diff["changes"], before["changes"], "as it would have been staged before");

    let nothing = well(farm.call("POST", "/rollback", &json!({ "epoch": epoch })));
    assert_eq!((&nothing["undo"], &nothing["written"]), (&Value::Null, &json!(0)));
}

/// A rollback is an edit like any other: what keeps bad content back keeps it back too.
#[test]
fn a_rollback_is_held_to_guards_and_gate_and_let_through_by_name() {
    let mut farm = Farm::start();
    well(farm.call("PUT", "/retention", &json!({ "generations": 50 })));
    farm.put("a", "1");
    let few = farm.promote();
    (0..9).for_each(|number| farm.put(&format!("more-{number}"), "1"));
    let many = farm.promote();
    let digest = farm.get("")["digest"].clone();
    well(farm.call("PUT", "/guards", &json!({ "name": "vanish", "percent": 10, "floor": 1 })));

    // Nine of ten records would vanish. The rollback itself is done; it isn't staged.
    assert_eq!(well(farm.call("POST", "/rollback", &json!({ "epoch": few })))["deleted"], 9);
    farm.promote();
    let status = farm.get("");
    assert_eq!((&status["digest"], &status["records"]), (&digest, &json!(10)), "{status}");
    let reason = &status["blocked"]["reasons"][0];
    assert_eq!((&reason["guard"], &reason["found"]), (&json!("vanish"), &json!("9 would")), "{status}");
    well(farm.call("POST", "/guards/override", &json!({ "name": "vanish", "by": "ann" })));
    farm.promote();
    let status = farm.get("");
    assert_eq!((&status["records"], &status["blocked"]), (&json!(1), &Value::Null), "{status}");
    assert!(status["overrides"].as_array().is_some_and(Vec::is_empty), "it is used up: {status}");

    // Forward again breaks no guard, and waits for its judge. (The gate comes second: it freezes what there
    // is at once.)
    assert_eq!(well(farm.call("POST", "/rollback", &json!({ "epoch": many })))["added"], 9);
    well(farm.call("PUT", "/gate", &json!({ "judges": ["canary"], "window": "1d" })));
    farm.promote();
    let status = farm.get("");
    assert_eq!((&status["records"], &status["blocked"]["reasons"][0]["guard"]), (&json!(1), &json!("gate")));
    let candidate = eventually("the rollback as a candidate", || {
        let candidate = farm.get("/gate")["gate"]["candidate"].clone();
        (candidate["changes"] == 9).then_some(candidate)
    });
    assert_eq!(candidate["digest"], digest);
    let said = json!({ "as": "canary", "digest": digest, "approve": true });
    well(farm.call("POST", "/gate/verdict", &said));
    farm.promote();
    assert_eq!(farm.get("")["digest"], digest);
}

#[test]
fn what_is_not_kept_is_told_with_what_is() {
    let mut farm = Farm::start();
    well(farm.call("PUT", "/retention", &json!({ "generations": 2 })));
    for value in ["1", "2", "3"] {
        farm.put("a", value);
        farm.promote();
    }
    let oldest = || farm.get("/generations")["generations"][0]["epoch"].as_u64().filter(|epoch| *epoch == 3);
    eventually("upkeep", oldest);
    for (method, path, body) in [
        ("GET", "/diff?from=1&to=4", Value::Null),
        ("GET", "/records/d/a?epoch=1", Value::Null),
        ("POST", "/rollback", json!({ "epoch": 1 })),
    ] {
        let said = refused(farm.call(method, path, &body), 404);
        assert!(said.contains("generation 1 is not kept, 3 to 4 are"), "{path}: {said}");
    }
    assert_eq!(farm.get("/undo"), json!({ "undo": [] }));
    for name in ["x.jsonl", "..%2Fdownbeat.db", "%2e%2e"] {
        refused(farm.call("GET", &format!("/undo/{name}"), &Value::Null), 404);
    }
}

#[test]
fn how_many_are_kept_is_asked_and_changed() {
    let farm = Farm::start();
    assert_eq!(farm.get("/retention"), json!({ "generations": 3, "age": null }));
    let put = |body: Value| farm.call("PUT", "/retention", &body);
    assert_eq!(well(put(json!({ "age": "30d" }))), json!({ "generations": 3, "age": "30d" }));
    assert_eq!(well(put(json!({ "generations": 5 }))), json!({ "generations": 5, "age": "30d" }));
    assert_eq!(well(put(json!({ "age": "0s" }))), json!({ "generations": 5, "age": null }));
    refused(put(json!({ "generations": 1 })), 422);
    refused(put(json!({ "age": "soon" })), 400);
    refused(put(json!({ "number": 1 })), 400);
    assert_eq!(farm.get("/retention"), json!({ "generations": 5, "age": null }));
}
