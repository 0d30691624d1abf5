//! Files of records through HTTP: what is refused with its line, what is taken all the same, and that an
//! export is what an import takes.

use crate::support::*;
use downbeat_server::Handle;
use serde_json::{Value, json};

fn import(server: &Handle, query: &str, file: &[u8]) -> (u16, Value) {
    call_raw(server, "POST", &format!("/v1/farms/eu/import?{query}"), file)
}

fn export(server: &Handle, query: &str) -> String {
    let (status, text) = http(server.http(), "GET", &format!("/v1/farms/eu/export?{query}"), "", b"");
    assert_eq!(status, 200, "{text}");
    text
}

#[test]
fn rows_are_refused_with_their_lines_or_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path());
    make_farm(&server, "eu");
    let csv = b"key,value\nb,1\na,2\nb,3\nc\na,4\n";
    let bad = import(&server, "dataset=d", csv);
    assert_eq!(bad.1["errors"], json!([{ "line": 5, "error": bad.1["errors"][0]["error"] }]));
    refused(bad, 422);
    let twice = import(&server, "dataset=d", b"key,value\nb,1\na,2\nb,3\n");
    assert_eq!(twice.1["errors"][0]["line"], 4);
    refused(twice, 422);
    assert_eq!(export(&server, ""), "dataset,key,value\n", "nothing was changed");
    let partial = well(import(&server, "dataset=d&partial=true", csv));
    assert_eq!((&partial["added"], &partial["refused"]), (&json!(2), &json!(3)), "{partial}");
    assert_eq!(export(&server, "dataset=d"), "key,value\na,2\nb,1\n", "the first of a key's rows counts");
    let lines = b"{\"key\":\"a\",\"value\":\"5\"}\n{\"key\":\"e\"}\n";
    let bad = import(&server, "dataset=d&format=jsonl", lines);
    assert_eq!(bad.1["errors"][0]["line"], 2);
    refused(bad, 422);
    let good = well(import(&server, "dataset=d&format=jsonl", &lines[..24]));
    assert_eq!((&good["added"], &good["changed"], &good["unchanged"]), (&json!(0), &json!(1), &json!(0)));
    refused(import(&server, "dataset=d&format=xml", b""), 400);
    refused(import(&server, "replace=true", b"dataset,key,value\n"), 400);
    refused(call(&server, "GET", "/v1/farms/eu/export?epoch=9", &Value::Null), 404);
}

#[test]
fn a_file_of_any_order_and_size_replaces_a_dataset() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path());
    make_farm(&server, "eu");
    // Longer than any body that is taken whole, and in no order.
    let rows = |from: u32, value: &str| -> Vec<u8> {
        let rows = (from..from + 30_000)
            .map(|n| format!("k{:09},{value}{:>90}\n", n.wrapping_mul(2_654_435_761), n));
        std::iter::once("key,value\n".to_owned()).chain(rows).collect::<String>().into_bytes()
    };
    let first = rows(0, "a");
    assert!(first.len() > 3_000_000);
    assert_eq!(well(import(&server, "dataset=d", &first))["added"], 30_000);
    assert_eq!(well(import(&server, "dataset=d&replace=true", &first))["unchanged"], 30_000);
    well(call_raw(&server, "PUT", "/v1/farms/eu/records/e/k", b"stays"));
    let scheduled =
        json!({ "dataset": "d", "key": "k", "effective_at": "2099-01-01T00:00:00Z", "value": "1" });
    well(call(&server, "POST", "/v1/farms/eu/scheduled", &scheduled));
    let told = well(import(&server, "dataset=d&replace=true", &rows(10_000, "a")));
    assert_eq!((&told["added"], &told["changed"]), (&json!(10_000), &json!(0)));
    assert_eq!((&told["deleted"], &told["unchanged"]), (&json!(10_000), &json!(20_000)));
    assert_eq!(told["scheduled"], 1, "what is scheduled stays, and that is told");
    let whole = export(&server, "format=jsonl");
    assert_eq!(whole.lines().count(), 30_001, "the other dataset is as it was");
    assert_eq!(well(import(&server, "format=jsonl", whole.as_bytes()))["unchanged"], 30_001);
    // Nothing stays beside the database of what came and went.
    let files = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(files.into_iter().all(|name| name.to_string_lossy().starts_with("downbeat.db")));
}
