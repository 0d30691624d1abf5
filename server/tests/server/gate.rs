//! Guards and the gate over HTTP: who may do what, what a canary gets, what a hold does to a candidate.

use crate::support::*;
use downbeat_core::ids::Name;
use downbeat_server::{AccessToken, Config, Handle, Role, Server};
use serde_json::{Value, json};

fn gate(server: &Handle) -> Value {
    well(call(server, "GET", "/v1/farms/eu/gate", &Value::Null))["gate"].clone()
}

fn put(server: &Handle, key: &str, value: &str) -> Value {
    well(call_raw(server, "PUT", &format!("/v1/farms/eu/records/d/{key}"), value.as_bytes()))
}

/// The digest of a candidate with so many changes.
fn candidate(server: &Handle, changes: u64) -> String {
    eventually("a candidate", || {
        let gate = gate(server);
        let found = gate["candidate"]["changes"] == changes;
        gate["candidate"]["digest"].as_str().filter(|_| found).map(str::to_owned)
    })
}

#[test]
fn a_canary_gets_the_candidate_and_gives_its_verdict() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path());
    make_farm(&server, "eu");
    assert_eq!(gate(&server), Value::Null);
    let first = put(&server, "a", "1");
    // A window longer than the interval: frozen at once.
    let set = json!({ "judges": ["canary", "canary"], "window": "1d", "limit": "9s" });
    let told = well(call(&server, "PUT", "/v1/farms/eu/gate", &set))["gate"].clone();
    assert_eq!((&told["window"], &told["limit"]), (&json!("1d"), &json!("9s")));
    assert_eq!(told["judges"].as_array().map(Vec::len), Some(1));
    let digest = candidate(&server, 1);
    let later = put(&server, "b", "2");
    let (epoch, live) = (first["epoch"].as_u64(), first["earliest_live"]["ns"].as_i64());
    assert_eq!(later["epoch"].as_u64(), epoch.map(|epoch| epoch + 1), "it waits for the one after");
    assert!(later["earliest_live"]["ns"].as_i64() > live);

    let changes = format!("/v1/farms/eu/gate/changes?digest={digest}");
    let (status, lines) = http(server.http(), "GET", &changes, "", b"");
    assert_eq!(
        (status, lines.matches("\"after\":\"1\"").count(), lines.matches("after").count()),
        (200, 1, 1)
    );
    let whole = format!("/v1/farms/eu/export?candidate={digest}&format=jsonl");
    let (status, lines) = http(server.http(), "GET", &whole, "", b"");
    assert_eq!((status, lines.trim()), (200, r#"{"dataset":"d","key":"a","value":"1"}"#));
    let other = "7".repeat(64);
    refused(call(&server, "GET", &format!("/v1/farms/eu/gate/changes?digest={other}"), &Value::Null), 409);
    refused(call(&server, "GET", &format!("/v1/farms/eu/export?candidate={other}"), &Value::Null), 409);
    refused(call(&server, "GET", "/v1/farms/eu/export?candidate=7&epoch=1", &Value::Null), 400);

    let say = |judge: &str, digest: &str| {
        let said = json!({ "as": judge, "digest": digest, "approve": false, "why": "odd\u{7}" });
        call(&server, "POST", "/v1/farms/eu/gate/verdict", &said)
    };
    refused(say("canary", &other), 409);
    refused(say("canary", "77"), 400);
    refused(say("eve", &digest), 422);
    refused(say("command", &digest), 400);
    let told = well(say("canary", &digest))["gate"].clone();
    assert_eq!(
        (&told["judges"][0]["verdict"], &told["judges"][0]["why"]),
        (&json!("refused"), &json!("odd"))
    );
    assert!(told["waits_for"][0]["found"].as_str().unwrap().contains("odd"));
    // Anew: with what was edited since, and nothing said of it.
    let again = well(call(&server, "POST", "/v1/farms/eu/gate/again", &Value::Null));
    assert_eq!(again["candidate"]["changes"], 2);
    assert_eq!(gate(&server)["judges"][0]["verdict"], "waiting");

    // A hold gives the candidate up, so that it can be corrected.
    well(call(&server, "PUT", "/v1/farms/eu/hold", &Value::Null));
    eventually("no candidate", || gate(&server)["candidate"].is_null().then_some(()));
    refused(call(&server, "POST", "/v1/farms/eu/gate/again", &Value::Null), 409);
    put(&server, "c", "3");
    well(call(&server, "DELETE", "/v1/farms/eu/hold", &Value::Null));
    candidate(&server, 3);
    for bad in [json!({ "judges": ["command"] }), json!({ "window": "0s" }), json!({ "judges": ["A B"] })] {
        refused(call(&server, "PUT", "/v1/farms/eu/gate", &bad), 400);
    }
    well(call(&server, "PUT", "/v1/farms/eu/gate", &json!({ "judges": [] })));
    assert_eq!(gate(&server), Value::Null);
    refused(call(&server, "POST", "/v1/farms/eu/gate/again", &Value::Null), 409);
}

#[test]
fn guards_are_set_shown_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path());
    make_farm(&server, "eu");
    let path = "/v1/farms/eu/guards";
    let schema = json!({ "type": "number" });
    for good in [
        json!({ "name": "vanish", "percent": 0.5, "floor": 3 }),
        json!({ "name": "d/change", "percent": 100.0, "floor": 0 }),
        json!({ "name": "bytes", "most": 7 }),
        json!({ "name": "d/schema", "schema": schema }),
    ] {
        assert_eq!(well(call(&server, "PUT", path, &good))["guard"], good);
    }
    for (status, bad) in [
        (400, json!({ "name": "sing", "most": 7 })),
        (400, json!({ "name": "vanish", "most": 7 })),
        (400, json!({ "name": "vanish", "percent": 101 })),
        (400, json!({ "name": "vanish", "percent": -1 })),
        (400, json!({ "name": "records" })),
        (400, json!({ "name": "records", "most": u64::MAX })),
        (400, json!({ "name": "schema", "schema": schema })),
        (422, json!({ "name": "d/schema", "schema": { "type": "sing" } })),
        (422, json!({ "name": "d/schema", "schema": { "$ref": "http://127.0.0.1:9/x" } })),
    ] {
        refused(call(&server, "PUT", path, &bad), status);
    }
    put(&server, "a", "no number");
    let broken = eventually("what is broken", || {
        let told = well(call(&server, "GET", path, &Value::Null));
        (told["broken"].as_array().map(Vec::len) == Some(2)).then_some(told)
    });
    assert_eq!(broken["guards"].as_array().map(Vec::len), Some(4));
    let names: Vec<_> = broken["broken"].as_array().unwrap().iter().map(|reason| &reason["guard"]).collect();
    assert_eq!(names, ["bytes", "d/schema"]);
    let nobody = json!({ "name": "bytes", "by": "" });
    refused(call(&server, "POST", "/v1/farms/eu/guards/override", &nobody), 400);
    let fine = json!({ "name": "vanish", "by": "ann" });
    refused(call(&server, "POST", "/v1/farms/eu/guards/override", &fine), 422);
    let once = json!({ "name": "bytes", "by": "ann" });
    let told = well(call(&server, "POST", "/v1/farms/eu/guards/override", &once));
    assert_eq!(told["broken"][0]["guard"], "d/schema", "what is left of it: {told}");
    let status = well(call(&server, "GET", "/v1/farms/eu", &Value::Null));
    assert_eq!(status["overrides"][0]["by"], "ann");
    assert_eq!(status["gate"]["candidate"]["digest"], told["candidate"]["digest"], "it is frozen");
    for removed in [true, false] {
        let gone = well(call(&server, "DELETE", path, &json!({ "name": "d/schema" })));
        assert_eq!(gone["removed"], removed);
    }
}

#[test]
fn a_judge_judges_and_edits_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = vec![
        AccessToken::new("sees", Role::Viewer, None),
        AccessToken::judge("judges", Name::new("canary").unwrap(), None),
        AccessToken::new("owns", Role::Admin, None),
    ];
    let config = Config { tokens, open_on_loopback: false, ..config(folder.path()) };
    let server = Server::start(config).unwrap();
    let asks = |token: &str, method: &str, path: &str, body: &[u8]| {
        let bearer = format!("Authorization: Bearer {token}\r\n");
        http(server.http(), method, path, &bearer, body).0
    };
    assert_eq!(asks("owns", "POST", "/v1/farms", b"{\"farm\":\"eu\"}"), 201);
    let said = json!({ "as": "canary", "digest": "7".repeat(64), "approve": true }).to_string();
    let said = said.as_bytes();
    for (token, method, path, body, status) in [
        ("sees", "POST", "/v1/farms/eu/gate/verdict", said, 403),
        ("judges", "POST", "/v1/farms/eu/gate/verdict", said, 409),
        ("judges", "GET", "/v1/farms/eu/gate", b"", 200),
        ("judges", "PUT", "/v1/farms/eu/gate", b"{\"judges\":[]}", 403),
        ("judges", "PUT", "/v1/farms/eu/records/d/k", b"x", 403),
        ("judges", "PUT", "/v1/farms/eu/guards", b"{\"name\":\"bytes\",\"most\":1}", 403),
        ("judges", "POST", "/v1/farms/eu/compare", b"", 403),
        ("owns", "POST", "/v1/farms/eu/compare", b"", 200),
    ] {
        assert_eq!(asks(token, method, path, body), status, "{token} {method} {path}");
    }
}

#[test]
fn a_judges_token_gives_no_verdict_but_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let judge = |text: &str, name: &str| AccessToken::judge(text, Name::new(name).unwrap(), None);
    let tokens = vec![
        judge("of canary", "canary"),
        judge("of probe", "probe"),
        AccessToken::new("of nobody", Role::Judge, None),
        AccessToken::new("operates", Role::Operator, None),
        AccessToken::new("owns", Role::Admin, None),
    ];
    let config = Config { tokens, open_on_loopback: false, ..config(folder.path()) };
    let server = Server::start(config).unwrap();
    let asks = |token: &str, method: &str, path: &str, body: &Value| {
        let bearer = format!("Authorization: Bearer {token}\r\n");
        let (status, text) = http(server.http(), method, path, &bearer, body.to_string().as_bytes());
        (status, serde_json::from_str::<Value>(&text).unwrap())
    };
    well(asks("owns", "POST", "/v1/farms", &json!({ "farm": "eu" })));
    let judges = json!({ "judges": ["canary", "probe"], "window": "1d" });
    well(asks("operates", "PUT", "/v1/farms/eu/gate", &judges));
    well(asks("operates", "PUT", "/v1/farms/eu/records/d/a", &json!("1")));
    let candidate = || {
        let told = well(asks("operates", "POST", "/v1/farms/eu/gate/again", &json!({})));
        told["candidate"]["digest"].as_str().unwrap().to_owned()
    };
    let digest = eventually("a candidate that changes something", || {
        let digest = candidate();
        let told = asks("operates", "GET", "/v1/farms/eu/gate", &Value::Null).1;
        (told["gate"]["candidate"]["changes"] == 1).then_some(digest)
    });
    let say = |token: &str, judge: &str| {
        let said = json!({ "as": judge, "digest": digest, "approve": true });
        asks(token, "POST", "/v1/farms/eu/gate/verdict", &said)
    };
    let verdicts = |told: &Value| {
        let judges = told["gate"]["judges"].as_array().unwrap();
        judges.iter().map(|judge| judge["verdict"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let why = refused(say("of canary", "probe"), 403);
    assert_eq!(why, "the token speaks for canary, not for probe");
    let why = refused(say("of nobody", "canary"), 403);
    assert_eq!(why, "the token speaks for no judge, not for canary");
    let told = asks("of nobody", "GET", "/v1/farms/eu/gate", &Value::Null);
    assert_eq!(verdicts(&well(told)), ["waiting", "waiting"], "nothing was said by those who were refused");
    assert_eq!(verdicts(&well(say("of canary", "canary"))), ["approved", "waiting"]);
    // Whoever may set the gate may speak for anybody in it.
    assert_eq!(verdicts(&well(say("operates", "probe"))), ["approved", "approved"]);
    assert_eq!(verdicts(&well(say("owns", "probe"))), ["approved", "approved"]);
    refused(say("of probe", "eve"), 403);
    refused(say("operates", "eve"), 422);
}
