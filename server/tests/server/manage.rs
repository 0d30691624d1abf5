//! Management: edits in all forms, scheduled records, what will change, and who may ask.

use crate::support::*;
use downbeat_server::{AccessToken, Config, Role, Server};
use serde_json::{Value, json};

#[test]
fn records_are_put_listed_and_deleted_with_any_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path());
    make_farm(&server, "eu");
    for key in ["", "a", "a%2F1", "%FF%00", "b%20c"] {
        let path = format!("/v1/farms/eu/records/d/{key}");
        assert_eq!(well(call_raw(&server, "PUT", &path, b"\xfe"))["written"], 1, "{key}");
        assert_eq!(http(server.http(), "GET", &path, "", b"").0, 200, "{key}");
    }
    let list = |query: &str| {
        let path = format!("/v1/farms/eu/records/d?{query}");
        well(call(&server, "GET", &path, &Value::Null))
    };
    let keys = |list: &Value| -> Vec<Value> {
        let records = list["records"].as_array().unwrap().iter();
        records.map(|r| r.get("key").or(r.get("key_hex")).unwrap().clone()).collect()
    };
    assert_eq!(keys(&list("")), ["", "a", "a/1", "b c", "ff00"]);
    assert_eq!(list("")["records"][0]["value_hex"], "fe");
    assert_eq!(keys(&list("prefix=a")), ["a", "a/1"]);
    let first = list("limit=2");
    assert_eq!((keys(&first).len(), &first["more"]), (2, &json!(true)));
    assert_eq!(keys(&list("after=a")), ["a/1", "b c", "ff00"]);
    assert_eq!(well(call(&server, "DELETE", "/v1/farms/eu/records/d/a%2F1", &Value::Null))["deleted"], 1);
    assert_eq!(well(call(&server, "DELETE", "/v1/farms/eu/records/d/a%2F1", &Value::Null))["unchanged"], 1);
    let datasets = well(call(&server, "GET", "/v1/farms/eu/datasets", &Value::Null));
    assert_eq!(datasets, json!({ "datasets": ["d"] }));
    assert_eq!(well(call(&server, "GET", "/v1/farms", &Value::Null)), json!({ "farms": ["eu"] }));
}

#[test]
fn a_batch_is_one_transaction() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path());
    make_farm(&server, "eu");
    let apply = |lines: &str| call_raw(&server, "POST", "/v1/farms/eu/apply", lines.as_bytes());
    let bad =
        apply("{\"op\":\"put\",\"dataset\":\"d\",\"key\":\"a\",\"value\":\"1\"}\n\n{\"op\":\"sing\"}\n");
    assert_eq!(bad.1["errors"][0]["line"], 3);
    refused(bad, 422);
    let good = well(apply(
        "{\"op\":\"put\",\"dataset\":\"d\",\"key\":\"a\",\"value\":\"1\"}\n\
         {\"op\":\"put\",\"dataset\":\"d\",\"key_hex\":\"ff\",\"value_hex\":\"00\"}\n\
         {\"op\":\"delete\",\"dataset\":\"d\",\"key\":\"gone\"}\n\
         {\"op\":\"schedule\",\"dataset\":\"d\",\"key\":\"s\",\"effective_at\":\"+1h\",\"value\":\"2\"}\n",
    ));
    assert_eq!((&good["written"], &good["unchanged"]), (&json!(3), &json!(1)));
    let pending = well(call(&server, "GET", "/v1/farms/eu/pending", &Value::Null));
    assert_eq!(pending["changes"].as_array().map(Vec::len), Some(2), "not the scheduled one: {pending}");
    assert_eq!(pending["changes"][0]["before"], Value::Null);
}

#[test]
fn scheduled_records_are_entered_listed_and_taken_away() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path());
    make_farm(&server, "eu");
    let path = "/v1/farms/eu/scheduled";
    let record = json!({
        "dataset": "d", "key": "k", "effective_at": "2099-01-01T00:00:00Z",
        "expires_at": "2099-02-01T00:00:00Z", "value": "new year",
    });
    assert_eq!(well(call(&server, "POST", path, &record))["written"], 1);
    let listed = well(call(&server, "GET", path, &Value::Null));
    assert_eq!(listed["scheduled"][0]["effective_at"]["utc"], "2099-01-01T00:00:00.000000000Z");
    let backwards = json!({
        "dataset": "d", "key": "k", "effective_at": "2099-01-01T00:00:00Z", "expires_at": 5, "delete": true,
    });
    refused(call(&server, "POST", path, &backwards), 422);
    let neither = json!({ "dataset": "d", "key": "k", "effective_at": 5 });
    refused(call(&server, "POST", path, &neither), 400);
    let named = json!({ "dataset": "d", "key": "k", "effective_at": listed["scheduled"][0]["effective_at"] });
    assert_eq!(well(call(&server, "DELETE", path, &named))["deleted"], 1);
    assert_eq!(well(call(&server, "GET", path, &Value::Null))["scheduled"], json!([]));
}

#[test]
fn who_may_ask_what() {
    let folder = tempfile::tempdir().unwrap();
    let eu = downbeat_core::ids::Name::new("eu").unwrap();
    let tokens = vec![
        AccessToken::new("sees", Role::Viewer, Some(eu)),
        AccessToken::new("edits", Role::Operator, None),
        AccessToken::new("owns", Role::Admin, None),
    ];
    let config = Config { tokens, open_on_loopback: false, ..config(folder.path()) };
    let server = Server::start(config).unwrap();
    let as_with = |token: &str, method: &str, path: &str, body: &[u8]| {
        let bearer = format!("Authorization: Bearer {token}\r\n");
        http(server.http(), method, path, if token.is_empty() { "" } else { &bearer }, body).0
    };
    assert_eq!(as_with("edits", "POST", "/v1/farms", b"{\"farm\":\"eu\"}"), 403);
    assert_eq!(as_with("owns", "POST", "/v1/farms", b"{\"farm\":\"eu\"}"), 201);
    assert_eq!(as_with("owns", "POST", "/v1/farms", b"{\"farm\":\"us\"}"), 201);
    for (token, method, path, status) in [
        ("", "GET", "/v1/farms/eu", 401),
        ("wrong", "GET", "/v1/farms/eu", 401),
        ("sees", "GET", "/v1/farms/eu", 200),
        ("sees", "GET", "/v1/farms/us", 401),
        ("sees", "PUT", "/v1/farms/eu/records/d/k", 403),
        ("edits", "PUT", "/v1/farms/eu/records/d/k", 200),
        ("", "GET", "/v1/health", 200),
    ] {
        assert_eq!(as_with(token, method, path, b"x"), status, "{token:?} {method} {path}");
    }
}

#[test]
fn a_web_page_s_requests_are_not_taken_for_a_person_s() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path());
    make_farm(&server, "eu");
    let page = "Origin: https://example.org\r\n";
    assert_eq!(http(server.http(), "PUT", "/v1/farms/eu/records/d/k", page, b"v").0, 403);
    assert_eq!(http(server.http(), "PUT", "/v1/farms/eu/records/d/k", "", b"v").0, 200);
}
