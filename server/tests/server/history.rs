//! Generations through HTTP: what differs, what a record was, going back and taking that back, and how
//! many are kept.

use crate::support::*;
use downbeat_core::message::{ReplyBody, RequestBody};
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
        let (grant, table) = eventually("a grant", || match self.peer.ask(RequestBody::Lock).body {
            ReplyBody::Granted { grant, table } => Some((grant, table)),
            _ => None,
        });
        let activation = next_activation(&table, grant.due, grant.granted_at);
        match self.peer.ask(RequestBody::Advance { token: grant.token, activation }).body {
            ReplyBody::Advanced(table) => table.staged.epoch,
            other => panic!("not advanced: {other:?}"),
        }
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
