//! Bad input: each gives one clear answer that names cause and cure, changes nothing and ends nothing.

use crate::support::*;
use downbeat_core::message::{ErrorCode, ReplyBody, RequestBody, ToAgent, ToServer};
use downbeat_server::{AccessToken, Config, Role, Server, StartError};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

#[test]
fn frames_that_are_none_are_dropped_and_the_connection_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path());
    make_farm(&server, "eu");
    let (mut peer, _) = Peer::welcomed(&server, "eu");
    peer.stream.write_all(&[0, 5, 1, 2, 3, 4, 0]).unwrap();
    peer.stream.write_all(&[7; 3_000]).unwrap();
    peer.stream.write_all(&[0]).unwrap();
    assert!(matches!(peer.ask(RequestBody::Read).body, ReplyBody::Table(_)));
    let health = well(call(&server, "GET", "/v1/health", &Value::Null));
    assert_eq!(health["frames_dropped"], 2);
    // One that is all noise is closed, and nobody else notices.
    let mut noise = Peer::connect(&server);
    for _ in 0..200 {
        if noise.stream.write_all(b"GET / HTTP/1.1\r\n\0").is_err() {
            break;
        }
    }
    let mut rest = Vec::new();
    // Closed with unread bytes, so it may end in a reset.
    let _ = noise.stream.read_to_end(&mut rest);
    assert!(matches!(peer.ask(RequestBody::Read).body, ReplyBody::Table(_)));
}

#[test]
fn random_bytes_end_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path());
    make_farm(&server, "eu");
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..40 {
        let mut peer = Peer::connect(&server);
        let bytes: Vec<u8> = (0..2_000)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state as u8
            })
            .collect();
        let _ = peer.stream.write_all(&bytes);
    }
    assert!(matches!(Peer::welcomed(&server, "eu").0.ask(RequestBody::Read).body, ReplyBody::Table(_)));
    assert_eq!(call(&server, "GET", "/v1/health", &Value::Null).0, 200);
}

#[test]
fn an_unknown_version_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path());
    make_farm(&server, "eu");
    let mut peer = Peer::connect(&server);
    // A whole frame of version 9, body "x".
    let mut packed = vec![9, b'x'];
    packed.extend_from_slice(&crc32(&packed).to_le_bytes());
    peer.stream.write_all(&stuffed(&packed)).unwrap();
    assert_eq!(peer.hear_error(), ErrorCode::Version);
    let old = downbeat_core::message::Hello { version: 0, ..peer.hello("eu", "") };
    peer.send(&ToServer::Hello(old));
    assert_eq!(peer.hear_error(), ErrorCode::Version);
}

/// CRC-32/ISO-HDLC, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
}

/// COBS of fewer than 254 bytes, and the end mark.
fn stuffed(bytes: &[u8]) -> Vec<u8> {
    let mut frame: Vec<u8> = bytes
        .split(|byte| *byte == 0)
        .flat_map(|run| std::iter::once(run.len() as u8 + 1).chain(run.iter().copied()))
        .collect();
    frame.push(0);
    frame
}

#[test]
fn a_request_before_hello_an_unknown_farm_and_an_unknown_token_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let token = AccessToken::new("reads", Role::Reader, None);
    let server = Server::start(Config { tokens: vec![token], ..config(folder.path()) }).unwrap();
    make_farm(&server, "eu");
    let mut peer = Peer::connect(&server);
    let first = peer.request(RequestBody::Read);
    peer.send(&first);
    assert_eq!(peer.hear_error(), ErrorCode::HelloFirst);
    for (farm, token, code) in [("us", "", ErrorCode::NoFarm), ("eu", "wrong", ErrorCode::Unauthorized)] {
        let hello = peer.hello(farm, token);
        peer.send(&ToServer::Hello(hello));
        assert_eq!(peer.hear_error(), code);
    }
    let hello = peer.hello("eu", "reads");
    peer.send(&ToServer::Hello(hello));
    assert!(matches!(peer.hear(), ToAgent::Welcome(welcome) if !welcome.may_lock));
    let lock = peer.request(RequestBody::Lock);
    peer.send(&lock);
    assert_eq!(peer.hear_error(), ErrorCode::Unauthorized);
    assert!(matches!(peer.ask(RequestBody::Read).body, ReplyBody::Table(_)));
    // Another life than the one that said hello.
    peer.incarnation = downbeat_core::ids::Incarnation(78);
    let other = peer.request(RequestBody::Read);
    peer.send(&other);
    assert_eq!(peer.hear_error(), ErrorCode::HelloFirst);
}

#[test]
fn connections_beyond_the_limit_and_slow_ones_are_told_or_closed() {
    let folder = tempfile::tempdir().unwrap();
    let patience = Duration::from_millis(300);
    let server = Server::start(Config { connections_max: 1, patience, ..config(folder.path()) }).unwrap();
    make_farm(&server, "eu");
    let mut slow = Peer::connect(&server);
    assert_eq!(Peer::connect(&server).hear_error(), ErrorCode::Busy);
    // It says nothing, is closed, and makes room.
    assert_eq!(slow.stream.read(&mut [0; 1]).unwrap(), 0);
    eventually("room", || {
        let mut peer = Peer::connect(&server);
        let hello = peer.hello("eu", "");
        peer.send(&ToServer::Hello(hello));
        matches!(peer.hear(), ToAgent::Welcome(_)).then_some(())
    });
}

#[test]
fn keys_and_values_over_the_limit_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path());
    make_farm(&server, "eu");
    let long_key = format!("/v1/farms/eu/records/d/{}", "k".repeat(513));
    assert!(refused(call_raw(&server, "PUT", &long_key, b"v"), 422).contains("513 bytes"));
    let value = vec![b'v'; 65_537];
    let error = refused(call_raw(&server, "PUT", "/v1/farms/eu/records/d/k", &value), 422);
    assert!(error.contains("65537 bytes"), "{error}");
    refused(call_raw(&server, "PUT", "/v1/farms/eu/records/d/k", &vec![b'v'; 3 << 20]), 413);
    assert!(refused(call_raw(&server, "PUT", "/v1/farms/eu/records/Prices/k", b"v"), 400).contains("Prices"));
    refused(call_raw(&server, "PUT", "/v1/farms/eu/records/d/%zz", b"v"), 400);
    refused(call_raw(&server, "GET", "/v1/farms/eu/records/d/k", b""), 404);
    refused(call_raw(&server, "PUT", "/v1/farms/us/records/d/k", b"v"), 404);
    refused(call_raw(&server, "GET", "/v1/nothing", b""), 404);
    refused(call_raw(&server, "POST", "/v1/farms/eu/settings", b""), 405);
    refused(call_raw(&server, "GET", "/v1/farms/eu/diff?from=x", b""), 400);
    assert!(
        refused(call_raw(&server, "GET", "/v1/farms/eu/diff?from=7&to=8", b""), 404).contains("not kept")
    );
}

#[test]
fn a_csv_is_taken_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path());
    make_farm(&server, "eu");
    let import = |query: &str, csv: &str| {
        call_raw(&server, "POST", &format!("/v1/farms/eu/import?{query}"), csv.as_bytes())
    };
    let error = refused(import("dataset=d&key_column=sku", "key,value\na,1\n"), 422);
    assert!(error.contains("no column \"sku\""), "{error}");
    let bad = import("dataset=d", "key,value\na,1\nb\nc,3\n");
    assert_eq!(bad.1["errors"][0]["line"], 3);
    assert!(refused(bad, 422).contains("nothing was changed"));
    let list = || well(call(&server, "GET", "/v1/farms/eu/records/d", &Value::Null));
    assert_eq!(list()["records"], json!([]));
    refused(import("dataset=d&unknown=1", "key,value\na,1\n"), 400);
    refused(import("replace=true", "dataset,key,value\nd,a,1\n"), 400);

    let partial = well(import("dataset=d&partial=true", "key,value\na,1\nb\nc,3\n"));
    assert_eq!((&partial["written"], &partial["refused"]), (&json!(2), &json!(1)));
    let again = well(import("dataset=d&replace=true", "key,value\na,1\nd,4\n"));
    assert_eq!(
        (&again["written"], &again["deleted"], &again["unchanged"]),
        (&json!(1), &json!(1), &json!(1))
    );
    let many = well(import("value_columns=value,x", "dataset,key,value,x\ne,a,1,2\nf,b,3,4\n"));
    assert_eq!(many["written"], 2);
    let (_, value) = http(server.http(), "GET", "/v1/farms/eu/records/f/b", "", b"");
    assert_eq!(value, r#"{"value":"3","x":"4"}"#);
}

#[test]
fn settings_and_holds_that_break_the_rules_say_what_would_do() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path());
    make_farm(&server, "eu");
    let put = |what: &str, body: &Value| call(&server, "PUT", &format!("/v1/farms/eu/{what}"), body);
    let short = put("settings", &json!({ "lead": "1s" }));
    let would_do = short.1["would_do"].clone();
    assert!(refused(short, 422).contains("lead"));
    let told = well(put("settings", &would_do));
    assert_eq!((&told["settings"]["lead"], &told["in_force_from_epoch"]), (&json!("1m"), &json!(2)));
    assert_eq!(told["pending"]["lead"], would_do["lead"]);
    refused(put("settings", &json!({ "lead": 60 })), 400);
    refused(put("settings", &json!({ "tempo": "1s" })), 400);
    refused(put("hold", &json!({ "until": "soon" })), 400);
    let long = put("hold", &json!({ "until": "+900d" }));
    assert!(long.1["would_do"]["until"]["ns"].is_i64());
    refused(long, 422);
    let broken = json!({ "farm": "us", "settings": { "interval": "1s" } });
    refused(call(&server, "POST", "/v1/farms", &broken), 422);
    refused(call(&server, "POST", "/v1/farms", &json!({ "farm": "eu" })), 409);
    refused(call(&server, "POST", "/v1/farms", &json!({ "farm": "EU" })), 400);
    refused(call_raw(&server, "POST", "/v1/farms", b"{"), 400);
}

#[test]
fn starts_that_can_t_be_say_why() {
    let folder = tempfile::tempdir().unwrap();
    let start = |config: Config| Server::start(config).unwrap_err();
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = taken.local_addr().unwrap();
    let error = start(Config { control: address, ..config(folder.path()) });
    assert!(matches!(error, StartError::PortInUse { what: "control", .. }), "{error}");
    assert!(!folder.path().join("downbeat.db").exists(), "a port in use changes nothing");

    let anywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let error = start(Config { control: anywhere, ..config(folder.path()) });
    assert!(error.to_string().contains("--listen"), "{error}");
    let error = start(Config { http: anywhere, beyond_loopback: true, ..config(folder.path()) });
    assert!(matches!(error, StartError::NoTokens { .. }), "{error}");

    let file = folder.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let error = start(config(&file));
    assert!(matches!(error, StartError::Folder { .. }), "{error}");

    let server = Server::start(config(folder.path())).unwrap();
    let error = start(config(folder.path()));
    assert!(matches!(error, StartError::InUse { .. }), "{error}");
    server.stop();
    let database = folder.path().join("downbeat.db");
    rusqlite::Connection::open(&database).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let error = start(config(folder.path()));
    assert!(error.to_string().contains("newer version of Downbeat"), "{error}");
    std::fs::write(&database, [b'x'; 5_000]).unwrap();
    for left in ["downbeat.db-wal", "downbeat.db-shm"] {
        let _ = std::fs::remove_file(folder.path().join(left));
    }
    let error = start(config(folder.path()));
    assert!(matches!(error, StartError::Store { .. }), "{error}");
}
