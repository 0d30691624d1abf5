//! Golden byte vectors: every message of version 1 in both directions, compared both ways with
//! the committed frames in `golden/version-1.txt`. They stay for ever (FORMATS "evolution"): where
//! this test fails, a message that is already out there would be read wrongly. A new variant gets
//! a new line; no line is ever changed.

use downbeat_core::datagram::Key;
use downbeat_core::frame::{self, FRAME_MAX, Receiver};
use downbeat_core::ids::{AgentId, Digest, Generation, Incarnation, Name, TimelineId};
use downbeat_core::message::*;
use downbeat_core::settings::{Limits, Settings};
use downbeat_core::table::TableView;
use downbeat_core::time::{LocalTime, Rate, ServerTime, Span};
use serde::Serialize;

const GOLDEN: &str = include_str!("golden/version-1.txt");
const OBJECT: Digest = Digest([0xd1; 32]);

fn generation(epoch: u64) -> Generation {
    Generation { epoch, digest: Digest([epoch as u8; 32]) }
}

fn hello() -> Hello {
    Hello {
        version: 1,
        farm: Name::new("prices-eu").unwrap(),
        agent: AgentId([0xa0; 16]),
        display: "till 7".try_into().unwrap(),
        incarnation: Incarnation(0x0123_4567_89ab_cdef),
        token: "secret".try_into().unwrap(),
        datasets: [Name::new("rates").unwrap(), Name::new("tax.v2").unwrap()].into_iter().collect(),
    }
}

fn welcome() -> Welcome {
    Welcome {
        incarnation: Incarnation(5),
        version: 1,
        timeline: TimelineId { counter: 3, random: u64::MAX },
        server_rate: Rate::from_ppm(100),
        limits: Limits::default(),
        may_lock: true,
    }
}

fn table() -> TableView {
    TableView {
        staged: generation(8),
        active: Some(generation(7)),
        activation: ServerTime::from_nanos(1_795_000_000_000_000_000),
        next_earliest: ServerTime::from_nanos(1_795_000_600_000_000_000),
        grid: ServerTime::from_nanos(-1),
        landing: Some(ServerTime::MIN),
        settings: Settings::default(),
        held: false,
    }
}

fn new_farm() -> TableView {
    TableView { active: None, landing: None, held: true, ..table() }
}

fn report() -> Report {
    Report {
        phase: Phase::Armed,
        active: Some(generation(7)),
        staged: Some(generation(8)),
        offset: i64::MIN,
        epsilon: Span::from_micros(40),
        switched: Some(Switched {
            epoch: 7,
            at: ServerTime::from_nanos(1_794_999_400_000_000_000),
            epsilon: Span::from_micros(35),
            held: Span::ZERO,
        }),
        veto: None,
    }
}

fn requests() -> Vec<(String, RequestBody)> {
    let mut bodies = vec![
        ("read".to_string(), RequestBody::Read),
        ("lock".into(), RequestBody::Lock),
        ("advance".into(), RequestBody::Advance { token: 300, activation: ServerTime::MAX }),
        ("unlock".into(), RequestBody::Unlock { token: 300 }),
        (
            "route/delta".into(),
            RequestBody::Route { target: generation(8), have: Some(generation(7)), snapshots_only: false },
        ),
        (
            "route/snapshot".into(),
            RequestBody::Route { target: generation(8), have: None, snapshots_only: true },
        ),
        ("fetch".into(), RequestBody::Fetch { object: OBJECT, offset: 65_536, len: 768 }),
        ("time".into(), RequestBody::Time),
    ];
    use Phase::*;
    let phases = [
        Greeting, Reading, Locking, Advancing, Retrieving, Armed, Activating, Current, Waiting, Stale, Fenced,
    ];
    for phase in phases {
        bodies.push((format!("report/{phase:?}"), RequestBody::Report(Report { phase, ..report() })));
    }
    for veto in [Veto::TooLarge, Veto::Invalid, Veto::Storage] {
        let refused =
            Report { active: None, staged: None, switched: None, veto: Some(veto), offset: 0, ..report() };
        bodies.push((format!("report/{veto:?}"), RequestBody::Report(refused)));
    }
    bodies
}

fn replies(content: &[u8]) -> Vec<(String, ReplyBody<&[u8]>)> {
    let grant = |due| Grant { token: 301, granted_at: ServerTime::from_nanos(9), due };
    let route = |len| Route { objects: (0..len).map(|len: u64| ObjectRef { name: OBJECT, len }).collect() };
    let mut bodies = vec![
        ("table".to_string(), ReplyBody::Table(table())),
        ("table/new-farm".into(), ReplyBody::Table(new_farm())),
        ("granted".into(), ReplyBody::Granted { grant: grant(None), table: table() }),
        (
            "granted/due".into(),
            ReplyBody::Granted { grant: grant(Some(ServerTime::from_nanos(10))), table: table() },
        ),
        ("not-due".into(), ReplyBody::NotDue(table())),
        ("busy".into(), ReplyBody::Busy { table: table(), retry_after: Span::from_secs(5) }),
        ("advanced".into(), ReplyBody::Advanced(table())),
        ("unlocked".into(), ReplyBody::Unlocked),
        ("route/empty".into(), ReplyBody::Route(route(0))),
        ("route/full".into(), ReplyBody::Route(route(ROUTE_MAX as u64))),
        ("bytes".into(), ReplyBody::Bytes { offset: 65_536, total: 1 << 40, bytes: content }),
        ("bytes/none".into(), ReplyBody::Bytes { offset: 0, total: 0, bytes: &[] }),
        ("gone".into(), ReplyBody::Gone),
        ("noted".into(), ReplyBody::Noted),
        ("time".into(), ReplyBody::Time),
    ];
    use Refusal::*;
    for why in [NotHolder, LeaseOver, WrongActivation, GrantedEarly] {
        bodies.push((format!("refused/{why:?}"), ReplyBody::Refused { why, table: table() }));
    }
    bodies
}

fn to_server() -> Vec<(String, ToServer)> {
    let mut messages = vec![("to-server/hello".to_string(), ToServer::Hello(hello()))];
    for (name, body) in requests() {
        let request = Request {
            incarnation: Incarnation(u64::MAX),
            number: 128,
            sent: LocalTime::from_nanos(86_400_000_000_000),
            body,
        };
        messages.push((format!("to-server/{name}"), ToServer::Request(request)));
    }
    messages
}

fn to_agent(content: &[u8]) -> Vec<(String, ToAgent<&[u8]>)> {
    let mut messages = vec![("to-agent/welcome".to_string(), ToAgent::Welcome(welcome()))];
    for (name, body) in replies(content) {
        let stamp = Stamp {
            timeline: TimelineId { counter: 3, random: 4 },
            echo: LocalTime::from_nanos(-86_400_000_000_000),
            received: ServerTime::from_nanos(1_794_999_999_000_000_000),
            answered: ServerTime::from_nanos(1_794_999_999_000_020_000),
        };
        let reply = Reply { incarnation: Incarnation(5), number: 1, stamp, body };
        messages.push((format!("to-agent/{name}"), ToAgent::Reply(reply)));
    }
    use ErrorCode::*;
    for code in [HelloFirst, Version, Unauthorized, NoFarm, TooLarge, Busy] {
        let error = ToAgent::Error { incarnation: Incarnation(0), code };
        messages.push((format!("to-agent/error/{code:?}"), error));
    }
    let path = ToAgent::TimePath { incarnation: Incarnation(5), key: Key::new([0xa5; 32]) };
    messages.push(("to-agent/time-path".into(), path));
    messages
}

/// Content with zeros and runs, so that stuffing has something to do.
fn content() -> Vec<u8> {
    (0..FETCH_MAX).map(|at| if at < 300 { 1 + (at % 255) as u8 } else { (at % 7) as u8 }).collect()
}

fn line<T: Serialize>(name: &str, message: &T) -> String {
    let mut buffer = [0; FRAME_MAX];
    let len = frame::encode(message, &mut buffer).unwrap();
    let hex: String = buffer[..len].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{name} {hex}")
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn golden(name: &str) -> Vec<u8> {
    let found = GOLDEN.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    bytes(found.unwrap_or_else(|| panic!("no golden vector for {name}")))
}

/// The frame's message, received in one piece; the receiver lends it to `check`.
fn received(name: &str, check: impl FnOnce(&mut Receiver, &[u8])) {
    let mut receiver = Receiver::new();
    check(&mut receiver, &golden(name));
    assert!(receiver.is_between_frames(), "{name}");
    assert_eq!(receiver.dropped().total(), 0, "{name}");
}

#[test]
fn encoding_gives_the_golden_bytes() {
    let content = content();
    let server = to_server().into_iter().map(|(name, message)| line(&name, &message));
    let agent = to_agent(&content).into_iter().map(|(name, message)| line(&name, &message));
    let encoded: Vec<String> = server.chain(agent).collect();
    let golden: Vec<&str> = GOLDEN.lines().filter(|line| !line.starts_with('#')).collect();
    let other: Vec<&str> = encoded.iter().map(String::as_str).filter(|line| !golden.contains(line)).collect();
    assert!(other.is_empty(), "not among the golden vectors:\n{}\n", other.join("\n"));
    assert_eq!(encoded.len(), golden.len(), "a golden vector that nothing here encodes");
}

#[test]
fn the_golden_bytes_decode_to_the_messages() {
    for (name, message) in to_server() {
        received(&name, |receiver, frame| {
            assert_eq!(receiver.next::<ToServer>(&mut &frame[..]), Some(Ok(message)), "{name}");
        });
    }
    let content = content();
    for (name, message) in to_agent(&content) {
        received(&name, |receiver, frame| {
            assert_eq!(receiver.next::<ToAgent<&[u8]>>(&mut &frame[..]), Some(Ok(message)), "{name}");
        });
    }
}

/// A new variant doesn't compile here until it is named, and isn't accepted until it has a vector.
#[test]
fn every_variant_has_a_vector() {
    for (name, message) in to_server() {
        let variant = match &message {
            ToServer::Hello(_) => "hello",
            ToServer::Request(request) => match &request.body {
                RequestBody::Read => "read",
                RequestBody::Lock => "lock",
                RequestBody::Advance { .. } => "advance",
                RequestBody::Unlock { .. } => "unlock",
                RequestBody::Route { .. } => "route",
                RequestBody::Fetch { .. } => "fetch",
                RequestBody::Report(_) => "report",
                RequestBody::Time => "time",
            },
        };
        assert_eq!(name.split('/').nth(1), Some(variant));
    }
    for (name, message) in to_agent(&[]) {
        let variant = match &message {
            ToAgent::Welcome(_) => "welcome",
            ToAgent::Error { .. } => "error",
            ToAgent::TimePath { .. } => "time-path",
            ToAgent::Reply(reply) => match &reply.body {
                ReplyBody::Table(_) => "table",
                ReplyBody::Granted { .. } => "granted",
                ReplyBody::NotDue(_) => "not-due",
                ReplyBody::Busy { .. } => "busy",
                ReplyBody::Advanced(_) => "advanced",
                ReplyBody::Refused { .. } => "refused",
                ReplyBody::Unlocked => "unlocked",
                ReplyBody::Route(_) => "route",
                ReplyBody::Bytes { .. } => "bytes",
                ReplyBody::Gone => "gone",
                ReplyBody::Noted => "noted",
                ReplyBody::Time => "time",
            },
        };
        assert_eq!(name.split('/').nth(1), Some(variant));
    }
    let mut variants: Vec<&str> = GOLDEN
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(' ').next()?.split('/').nth(1))
        .collect();
    variants.sort_unstable();
    variants.dedup();
    let mut all = [
        "hello",
        "read",
        "lock",
        "advance",
        "unlock",
        "route",
        "fetch",
        "report",
        "welcome",
        "error",
        "table",
        "granted",
        "not-due",
        "busy",
        "advanced",
        "refused",
        "unlocked",
        "bytes",
        "gone",
        "noted",
        "time",
        "time-path",
    ];
    all.sort_unstable();
    assert_eq!(variants, all);
}
