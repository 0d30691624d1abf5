//! Whole cycles: by an agent that speaks the protocol itself, and by the server's own agent.

use crate::support::*;
use downbeat_core::content::{KEY_MAX, VALUE_MAX};
use downbeat_core::ids::{Digest, Generation};
use downbeat_core::message::{FETCH_MAX, Phase, ReplyBody, Report, RequestBody, Switched};
use downbeat_core::object::{Expected, Reader};
use downbeat_core::table::next_activation;
use downbeat_core::time::{ServerTime, Span};
use downbeat_server::{Config, Handle, Server};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Records of a generation, fetched frame by frame.
fn fetch(peer: &mut Peer, target: Generation) -> Vec<(String, Vec<u8>, Vec<u8>)> {
    let ReplyBody::Route(route) =
        peer.ask(RequestBody::Route { target, have: None, snapshots_only: true }).body
    else {
        panic!("no route")
    };
    let [object] = route.objects.as_slice() else { panic!("not one object") };
    let expected = Expected { name: object.name, base: None, target, datasets: heapless::Vec::new() };
    let mut reader = Reader::<_>::new(expected, vec![0; KEY_MAX + VALUE_MAX]);
    let (mut offset, mut records) = (0, Vec::new());
    while offset < object.len {
        let ask = RequestBody::Fetch { object: object.name, offset, len: FETCH_MAX as u16 };
        let ReplyBody::Bytes { offset: at, total, bytes } = peer.ask(ask).body else { panic!("no bytes") };
        assert_eq!((at, total), (offset, object.len));
        let mut rest = bytes.as_slice();
        while let Some(record) = reader.next(&mut rest).unwrap() {
            let value = record.value.unwrap().to_vec();
            records.push((record.dataset.as_str().to_owned(), record.key.to_vec(), value));
        }
        offset += bytes.len() as u64;
    }
    assert_eq!(reader.finish().unwrap().target, target);
    records
}

#[test]
fn an_agent_takes_the_lock_begins_a_cycle_and_retrieves_what_was_edited() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path());
    make_farm(&server, "eu");
    let (mut peer, welcome) = Peer::welcomed(&server, "eu");
    assert!(welcome.may_lock);

    let big = "x".repeat(5_000);
    let edited = well(call_raw(&server, "PUT", "/v1/farms/eu/records/prices/a%2Fb", big.as_bytes()));
    assert_eq!((&edited["written"], &edited["epoch"]), (&json!(1), &json!(2)));
    assert!(edited["earliest_live"]["ns"].is_i64());
    let unchanged = well(call_raw(&server, "PUT", "/v1/farms/eu/records/prices/a%2Fb", big.as_bytes()));
    assert_eq!((&unchanged["written"], &unchanged["unchanged"]), (&json!(0), &json!(1)));

    let read = peer.ask(RequestBody::Read);
    assert_eq!(read.stamp.timeline, welcome.timeline);
    assert_eq!(read.stamp.echo.as_nanos(), 1_001);
    assert!(read.stamp.received <= read.stamp.answered);
    let ReplyBody::Table(table) = read.body else { panic!("no table") };
    assert_eq!((table.staged.epoch, table.active), (1, None));
    assert!(table.activation.passed(read.stamp.answered), "a new farm is live at once");

    let ReplyBody::Granted { grant, table } = peer.ask(RequestBody::Lock).body else { panic!("no grant") };
    let activation = next_activation(&table, grant.due, grant.granted_at);
    let wrong = peer.ask(RequestBody::Advance { token: grant.token + 1, activation }).body;
    assert!(matches!(wrong, ReplyBody::Refused { .. }));
    let advance = RequestBody::Advance { token: grant.token, activation };
    let ReplyBody::Advanced(table) = peer.ask(advance).body else { panic!("not advanced") };
    assert_eq!((table.staged.epoch, table.activation), (2, activation));
    assert_eq!(edited["earliest_live"]["ns"], json!(activation.as_nanos()), "what the edit was told");
    assert!(matches!(peer.ask(RequestBody::Lock).body, ReplyBody::NotDue(_)));

    assert_eq!(fetch(&mut peer, table.staged), [("prices".into(), b"a/b".to_vec(), big.into_bytes())]);
    assert_eq!(fetch(&mut peer, table.active.unwrap()), []);
    let status = well(call(&server, "GET", "/v1/farms/eu", &Value::Null));
    assert_eq!(
        (&status["epoch"], &status["live"], &status["records"]),
        (&json!(2), &json!(false), &json!(1))
    );

    let at = |epoch| call_raw_status(&server, &format!("/v1/farms/eu/records/prices/a%2Fb?epoch={epoch}"));
    assert_eq!((at(1), at(2), at(3)), (404, 200, 404));

    let gone = Generation { epoch: 2, digest: Digest([1; 32]) };
    let route = RequestBody::Route { target: gone, have: None, snapshots_only: true };
    assert_eq!(peer.ask(route).body, ReplyBody::Gone);
    let fetch = RequestBody::Fetch { object: Digest([1; 32]), offset: 0, len: 1 };
    assert_eq!(peer.ask(fetch).body, ReplyBody::Gone);
}

#[test]
fn a_subscription_gets_its_datasets_only() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path());
    make_farm(&server, "eu");
    for dataset in ["a", "b", "c"] {
        well(call_raw(&server, "PUT", &format!("/v1/farms/eu/records/{dataset}/k"), b"v"));
    }
    let mut peer = Peer::connect(&server);
    let mut hello = peer.hello("eu", "");
    hello.datasets = heapless::Vec::from_slice(&[downbeat_core::ids::Name::new("b").unwrap()]).unwrap();
    peer.send(&downbeat_core::message::ToServer::Hello(hello));
    peer.hear();
    let ReplyBody::Granted { grant, table } = peer.ask(RequestBody::Lock).body else { panic!("no grant") };
    let activation = next_activation(&table, grant.due, grant.granted_at);
    let advance = RequestBody::Advance { token: grant.token, activation };
    let ReplyBody::Advanced(table) = peer.ask(advance).body else { panic!("not advanced") };
    let route = RequestBody::Route { target: table.staged, have: None, snapshots_only: true };
    let ReplyBody::Route(route) = peer.ask(route).body else { panic!("no route") };
    let object = route.objects[0];
    let ask = RequestBody::Fetch { object: object.name, offset: 0, len: FETCH_MAX as u16 };
    let ReplyBody::Bytes { bytes, .. } = peer.ask(ask).body else { panic!("no bytes") };
    let datasets = heapless::Vec::from_slice(&[downbeat_core::ids::Name::new("b").unwrap()]).unwrap();
    let expected = Expected { name: object.name, base: None, target: table.staged, datasets };
    let mut reader = Reader::<_>::new(expected, vec![0; 1_000]);
    let mut rest = bytes.as_slice();
    assert_eq!(reader.next(&mut rest).unwrap().unwrap().dataset.as_str(), "b");
    assert!(reader.next(&mut rest).unwrap().is_none());
    assert_eq!(reader.finish().unwrap().records, 1);
}

#[test]
fn reports_are_shown_to_people_and_watched() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path());
    make_farm(&server, "eu");
    let mut watch = TcpStream::connect(server.http()).unwrap();
    watch.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let host = server.http();
    write!(watch, "GET /v1/farms/eu/events HTTP/1.1\r\nHost: {host}\r\n\r\n").unwrap();
    let mut lines = BufReader::new(watch).lines().map(Result::unwrap);
    let mut event = |wanted: &str| {
        lines.find(|line| line == &format!("event: {wanted}")).unwrap();
        let data = lines.find(|line| line.starts_with("data: ")).unwrap();
        serde_json::from_str::<Value>(&data[6..]).unwrap()
    };
    assert_eq!(event("status")["epoch"], 1);

    let (mut peer, _) = Peer::welcomed(&server, "eu");
    assert_eq!(event("agent")["name"], "till 9");
    let switched = Switched {
        epoch: 1,
        at: ServerTime::from_nanos(5),
        epsilon: Span::from_micros(80),
        held: Span::ZERO,
    };
    let report = Report {
        phase: Phase::Current,
        active: None,
        staged: None,
        offset: -7,
        epsilon: Span::from_micros(90),
        switched: Some(switched),
        veto: None,
    };
    assert_eq!(peer.ask(RequestBody::Report(report)).body, ReplyBody::Noted);
    assert_eq!(event("switched")["switched"]["epsilon"], "80us");
    let agents = well(call(&server, "GET", "/v1/farms/eu/agents", &Value::Null));
    let agent = &agents["agents"][0];
    assert_eq!((&agent["phase"], &agent["offset_ns"]), (&json!("current"), &json!(-7)));
    assert_eq!((&agent["connected"], &agent["epsilon"]), (&json!(true), &json!("90us")));

    assert!(matches!(peer.ask(RequestBody::Lock).body, ReplyBody::Granted { .. }));
    assert_eq!(event("cycle")["epoch"], 2);
    drop(peer);
    assert_eq!(event("agent")["connected"], false);
    well(call(&server, "PUT", "/v1/farms/eu/hold", &Value::Null));
    assert_eq!(event("held")["until"], Value::Null);
}

/// A peer that is slow to be armed; the server was started to make room for it.
#[test]
fn a_lead_that_is_too_short_is_raised_where_that_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config { own_agent: true, raise_lead: true, ..config(folder.path()) };
    let server = Server::start(config).unwrap();
    let settings = json!({
        "interval": "5s", "lead": "500ms", "lease": "150ms", "round_trip": "100ms", "retrieve": "200ms",
        "stagger": "50ms",
    });
    well(call(&server, "POST", "/v1/farms", &json!({ "farm": "eu", "settings": settings })));
    let lead = || {
        let told = well(call(&server, "GET", "/v1/farms/eu/settings", &Value::Null));
        (told["settings"]["lead"].clone(), told["pending"]["lead"].clone())
    };
    let (mut peer, _) = Peer::welcomed(&server, "eu");
    let table = |peer: &mut Peer| {
        let ReplyBody::Table(table) = peer.ask(RequestBody::Read).body else { panic!("no table") };
        table
    };
    assert_eq!(lead(), (json!("500ms"), Value::Null), "nothing is known yet");
    // Where the host is so busy that a lead alone doesn't do, another cycle is tried.
    let raised = (0..5).any(|_| {
        let joined = table(&mut peer).staged.epoch;
        let staged =
            eventually("the next epoch", || Some(table(&mut peer).staged).filter(|now| now.epoch > joined));
        std::thread::sleep(Duration::from_millis(600));
        let holds = Report {
            phase: Phase::Armed,
            active: None,
            staged: Some(staged),
            offset: 0,
            epsilon: Span::from_micros(1),
            switched: None,
            veto: None,
        };
        assert_eq!(peer.ask(RequestBody::Report(holds)).body, ReplyBody::Noted);
        // Looked at once the next one is staged, and in force from the one after that on.
        let next = |epoch| move |now: &Generation| now.epoch > epoch;
        let first = eventually("the next epoch", || Some(table(&mut peer).staged).filter(next(staged.epoch)));
        eventually("the one after it", || Some(table(&mut peer).staged).filter(next(first.epoch)));
        lead().0 != json!("500ms")
    });
    assert!(raised, "{:?}", lead());
    let told = well(call(&server, "GET", "/v1/farms/eu/skew", &Value::Null));
    assert!(told["advice"].is_null(), "{told}");
}

/// A peer tells of its switch to what goes live next.
#[test]
fn who_goes_over_when_is_told_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let start = || Server::start(Config { own_agent: true, ..config(folder.path()) }).unwrap();
    let server = start();
    let settings = json!({
        "interval": "3s", "lead": "900ms", "lease": "200ms", "round_trip": "150ms", "retrieve": "500ms",
        "stagger": "50ms",
    });
    well(call(&server, "POST", "/v1/farms", &json!({ "farm": "eu", "settings": settings })));
    let report = |switched, veto| Report {
        phase: Phase::Current,
        active: None,
        staged: None,
        offset: 0,
        epsilon: Span::from_micros(1),
        switched,
        veto,
    };
    let (mut peer, _) = Peer::welcomed(&server, "eu");
    let status = |server: &_| well(call(server, "GET", "/v1/farms/eu", &Value::Null));
    // One that is staged while it is there: what it says before T can't be late then.
    let joined = status(&server)["epoch"].as_u64().unwrap();
    let epoch =
        eventually("the next epoch", || status(&server)["epoch"].as_u64().filter(|epoch| *epoch > joined));
    let activation = status(&server)["activation"]["ns"].as_i64().unwrap();
    let none = well(call(&server, "GET", "/v1/farms/eu/skew?limit=1", &Value::Null));
    assert!(none["activations"].as_array().unwrap().iter().all(|told| told["epoch"] != json!(epoch)));
    // It holds the generation eight tenths of a second after that was staged, and the lead is nine.
    let ReplyBody::Table(table) = peer.ask(RequestBody::Read).body else { panic!("no table") };
    std::thread::sleep(Duration::from_millis(800));
    let holds = Report { active: Some(table.staged), ..report(None, None) };
    assert_eq!(peer.ask(RequestBody::Report(holds)).body, ReplyBody::Noted);
    let tell = |peer: &mut Peer, after: i64| {
        let (at, epsilon) = (ServerTime::from_nanos(activation + after), Span::from_nanos(800));
        let switched = Switched { epoch, at, epsilon, held: Span::ZERO };
        assert_eq!(peer.ask(RequestBody::Report(report(Some(switched), None))).body, ReplyBody::Noted);
    };
    tell(&mut peer, 1_700);
    let skew = |server: &_| {
        let all = well(call(server, "GET", "/v1/farms/eu/skew", &Value::Null));
        let all = all["activations"].as_array().unwrap().clone();
        all.into_iter().find(|told| told["epoch"] == json!(epoch))
    };
    let told = eventually("T", || skew(&server));
    assert_eq!((&told["agents"], &told["switched"], &told["late"]), (&json!(1), &json!(1), &json!(1)));
    assert_eq!(
        (&told["p99_ns"], &told["spread_ns"], &told["bound_ns"]),
        (&json!(1_700), &json!(0), &json!(800))
    );
    assert_eq!(told["activation"]["ns"], activation);
    let named = &told["named"][0];
    assert_eq!(
        (&named["what"], &named["name"], &named["from_t_ns"]),
        (&json!("late"), &json!("till 9"), &json!(1_700))
    );
    refused(call(&server, "GET", "/v1/farms/eu/skew?lines=1", &Value::Null), 400);
    metrics_say_what_skew_says(&server);
    let advice = || well(call(&server, "GET", "/v1/farms/eu/skew?limit=1", &Value::Null))["advice"].clone();
    let advised = advice();
    let nanos = |name: &str| advised[name].as_i64();
    assert!(told["armed_p99_ns"].as_i64() >= Some(800_000_000), "{told}");
    assert!(nanos("slowest_ns") >= Some(800_000_000) && nanos("lead_ns") > Some(1_000_000_000), "{advised}");
    let mut changed = serde_json::Map::new();
    for (setting, name) in [("lead", "lead_ns"), ("interval", "interval_ns")] {
        nanos(name).map(|nanos| changed.insert(setting.into(), json!(format!("{nanos}ns"))));
    }
    well(call(&server, "PUT", "/v1/farms/eu/settings", &Value::Object(changed)));
    eventually("nothing to advise", || advice().is_null().then_some(()));
    drop(peer);
    server.stop();
    let server = start();
    assert_eq!(skew(&server), Some(told), "it is kept over a start");
}

/// Of the newest activation that has passed, whichever that is by now.
fn metrics_say_what_skew_says(server: &Handle) {
    let (status, text) = http(server.http(), "GET", "/metrics", "", &[]);
    assert_eq!(status, 200, "{text}");
    let figure = |name: &str| {
        let found = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
        found.unwrap_or_else(|| panic!("no {name} in\n{text}"))
    };
    let epoch = figure("downbeat_activation_epoch{farm=\"eu\"}");
    let all = well(call(server, "GET", "/v1/farms/eu/skew", &Value::Null));
    let told =
        all["activations"].as_array().unwrap().iter().find(|told| told["epoch"].as_f64() == Some(epoch));
    let told = told.unwrap_or_else(|| panic!("epoch {epoch} in {all}"));
    for outcome in ["switched", "late", "refused", "stale", "fenced", "silent"] {
        let name = format!("downbeat_activation_agents{{farm=\"eu\",outcome=\"{outcome}\"}}");
        assert_eq!(Some(figure(&name)), told[outcome].as_f64(), "{outcome}");
    }
    let at = figure("downbeat_activation_timestamp_seconds{farm=\"eu\"}") * 1e9;
    assert!((at - told["activation"]["ns"].as_f64().unwrap()).abs() < 1e3, "{text}");
    if let Some(largest) = told["max_ns"].as_f64() {
        let name = "downbeat_activation_distance_seconds{farm=\"eu\",quantile=\"1\"}";
        assert!((figure(name) * 1e9 - largest).abs() < 1.0, "{text}");
    }
    assert!(text.contains("# HELP downbeat_activation_spread") || told["spread_ns"].is_null(), "{text}");
}

#[test]
fn the_server_s_own_agent_gives_a_farm_of_readers_cycles() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(Config { own_agent: true, ..config(folder.path()) }).unwrap();
    make_fast_farm(&server, "eu");
    well(call_raw(&server, "PUT", "/v1/farms/eu/records/prices/k", b"1"));
    let status = || well(call(&server, "GET", "/v1/farms/eu", &Value::Null));
    eventually("the fourth epoch", || status()["epoch"].as_u64().filter(|epoch| *epoch >= 4));
    assert_eq!(status()["records"], 1);
    well(call(&server, "PUT", "/v1/farms/eu/hold", &Value::Null));
    let held = status();
    assert_eq!(held["earliest_live"], Value::Null);
    // Its T passes, and nothing newer is staged.
    eventually("T", || status()["live"].as_bool().filter(|live| *live));
    assert_eq!(status()["epoch"], held["epoch"]);
    well(call(&server, "DELETE", "/v1/farms/eu/hold", &Value::Null));
    eventually("the next epoch", || status()["epoch"].as_u64().filter(|epoch| json!(epoch) != held["epoch"]));
}
