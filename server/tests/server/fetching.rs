//! Objects over HTTP, by real requests: caches, ranges, resuming, chunks.

use crate::support::*;
use downbeat_core::ids::{Digest, Name};
use downbeat_core::message::{ObjectRef, ReplyBody, RequestBody};
use downbeat_core::object::chunks::{CHUNK, ListCheck, chunks_of, is_chunk};
use downbeat_core::table::next_activation;
use downbeat_server::{AccessToken, Config, Handle, Role, Server};
use std::io::{Read, Write};
use std::net::TcpStream;

/// An answer: its status, its head in small letters, its body.
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// What comes back for a request, up to so many bytes; then the connection is closed.
fn bytes_for(server: &Handle, method: &str, path: &str, headers: &str, most: u64) -> Vec<u8> {
    let to = server.http();
    let mut stream = TcpStream::connect(to).unwrap();
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n{headers}\r\n").unwrap();
    let mut all = Vec::new();
    stream.take(most).read_to_end(&mut all).unwrap();
    all
}

/// Where a head ends and the body begins; none where not even a head came.
fn end_of_head(all: &[u8]) -> Option<usize> {
    all.windows(4).position(|bytes| bytes == b"\r\n\r\n")
}

/// A request whose answer is read up to so many bytes, then the connection is closed.
fn ask_for(server: &Handle, method: &str, path: &str, headers: &str, most: u64) -> Answer {
    let all = bytes_for(server, method, path, headers, most);
    let end = end_of_head(&all).expect("an HTTP answer");
    let head = String::from_utf8(all[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
    Answer { status, head: head.to_lowercase(), body: all[end + 4..].to_vec() }
}

fn get(server: &Handle, path: &str, headers: &str) -> Answer {
    ask_for(server, "GET", path, headers, u64::MAX)
}

/// A farm whose staged generation is an object of several chunks.
fn with_object(server: &Handle) -> (ObjectRef, String) {
    make_farm(server, "eu");
    let line = |n: u32| {
        let value = blake3::hash(&n.to_le_bytes()).to_hex();
        format!("{{\"op\":\"put\",\"dataset\":\"d\",\"key\":\"k{n:05}\",\"value\":\"{value}\"}}\n")
    };
    let lines: String = (0..6_000).map(line).collect();
    well(call_raw(server, "POST", "/v1/farms/eu/apply", lines.as_bytes()));
    let (mut peer, _) = Peer::welcomed(server, "eu");
    let ReplyBody::Granted { grant, table } = peer.ask(RequestBody::Lock).body else { panic!("no grant") };
    let activation = next_activation(&table, grant.due, grant.granted_at);
    let advance = RequestBody::Advance { token: grant.token, activation };
    let ReplyBody::Advanced(table) = peer.ask(advance).body else { panic!("not advanced") };
    let ask = RequestBody::Route { target: table.staged, have: None, snapshots_only: false };
    let ReplyBody::Route(route) = peer.ask(ask).body else { panic!("no route") };
    let object = route.objects[0];
    assert!(chunks_of(object.len) > 2, "{} bytes", object.len);
    (object, format!("/v1/farms/eu/objects/{}", object.name))
}

fn is_named(bytes: &[u8], name: Digest) -> bool {
    *blake3::hash(bytes).as_bytes() == name.0
}

#[test]
fn an_object_may_be_kept_for_ever_and_is_not_sent_again_to_who_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path());
    let (object, path) = with_object(&server);
    let whole = get(&server, &path, "");
    assert_eq!(whole.status, 200);
    assert!(is_named(&whole.body, object.name));
    let tag = format!("\"{}\"", object.name);
    assert_eq!(whole.header("etag"), Some(tag.as_str()));
    assert_eq!(whole.header("cache-control"), Some("public, max-age=31536000, immutable"));
    assert_eq!(whole.header("accept-ranges"), Some("bytes"));
    assert_eq!(whole.header("content-length"), Some(object.len.to_string().as_str()));
    let head = ask_for(&server, "HEAD", &path, "", u64::MAX);
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), Some(object.len.to_string().as_str()));
    for known in [tag.as_str(), "*", &format!("\"other\", W/{tag}")] {
        let again = get(&server, &path, &format!("If-None-Match: {known}\r\n"));
        assert_eq!((again.status, again.body.len()), (304, 0), "{known}");
        assert_eq!(again.header("etag"), Some(tag.as_str()));
        assert_eq!(again.header("cache-control"), Some("public, max-age=31536000, immutable"));
    }
    assert_eq!(get(&server, &path, "If-None-Match: \"other\"\r\n").status, 200);
    let nothing = format!("/v1/farms/eu/objects/{}", Digest([7; 32]));
    assert_eq!(get(&server, &nothing, "").status, 404);
    assert_eq!(get(&server, "/v1/farms/eu/objects/7", "").status, 400);
    assert_eq!(get(&server, &format!("/v1/farms/us/objects/{}", object.name), "").status, 404);
}

#[test]
fn a_download_that_was_cut_is_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path());
    let (object, path) = with_object(&server);
    let mut got = ask_for(&server, "GET", &path, "", 100_000).body;
    assert!(got.len() > 90_000 && (got.len() as u64) < object.len);
    let tag = object.name;
    let rest = get(&server, &path, &format!("Range: bytes={}-\r\nIf-Range: \"{tag}\"\r\n", got.len()));
    assert_eq!(rest.status, 206);
    let range = format!("bytes {}-{}/{}", got.len(), object.len - 1, object.len);
    assert_eq!(rest.header("content-range"), Some(range.as_str()));
    got.extend_from_slice(&rest.body);
    assert!(is_named(&got, object.name));
    for (asked, from, to) in [
        ("0-0", 0, 1),
        ("65530-65545", 65_530, 65_546),
        ("-7", object.len as usize - 7, object.len as usize),
        ("65536-99999999999", 65_536, object.len as usize),
    ] {
        let part = get(&server, &path, &format!("Range: bytes={asked}\r\n"));
        assert_eq!(part.status, 206, "{asked}");
        assert!(part.body == got[from..to], "{asked}");
    }
    let another = get(&server, &path, "Range: bytes=5-9\r\nIf-Range: \"another\"\r\n");
    assert_eq!((another.status, another.body.len() as u64), (200, object.len));
    let beyond = get(&server, &path, &format!("Range: bytes={}-\r\n", object.len));
    assert_eq!(beyond.status, 416);
    assert_eq!(beyond.header("content-range"), Some(format!("bytes */{}", object.len).as_str()));
    for odd in ["bytes=0-1,9-12", "lines=1-2"] {
        assert_eq!(get(&server, &path, &format!("Range: {odd}\r\n")).status, 200, "{odd}");
    }
}

#[test]
fn a_damaged_chunk_is_found_at_its_place_and_fetched_again_alone() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path());
    let (object, path) = with_object(&server);
    let list = get(&server, &format!("{path}/chunks"), "");
    assert_eq!(list.header("cache-control"), Some("public, max-age=31536000, immutable"));
    let tag = list.header("etag").unwrap().to_owned();
    assert_ne!(tag, format!("\"{}\"", object.name));
    let known = get(&server, &format!("{path}/chunks"), &format!("If-None-Match: {tag}\r\n"));
    assert_eq!(known.status, 304);
    let values: Vec<Digest> = list.body.chunks(32).map(|value| Digest(value.try_into().unwrap())).collect();
    let mut check = ListCheck::new(object.len);
    values.iter().for_each(|value| check.push(*value).unwrap());
    check.finish(object.name).unwrap();

    let mut got = get(&server, &path, "").body;
    got[CHUNK as usize + 1_000] ^= 4;
    let damaged: Vec<usize> = got
        .chunks(CHUNK as usize)
        .enumerate()
        .filter(|(index, chunk)| !is_chunk(object.len, *index as u64, values[*index], chunk))
        .map(|(index, _)| index)
        .collect();
    assert_eq!(damaged, [1]);
    let again = get(&server, &path, &format!("Range: bytes={CHUNK}-{}\r\n", 2 * CHUNK - 1));
    assert!(is_chunk(object.len, 1, values[1], &again.body));
    got[CHUNK as usize..2 * CHUNK as usize].copy_from_slice(&again.body);
    assert!(is_named(&got, object.name));
}

/// The disk under a running server goes bad: what is damaged is not sent as if it were whole.
#[test]
fn a_file_that_is_damaged_while_it_is_served_is_cut_off_and_built_again() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path());
    let (object, path) = with_object(&server);
    let file = folder.path().join(format!("objects/downbeat.db/farm-eu/all/{}", object.name));
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[CHUNK as usize + 9] ^= 1;
    // In place, as a disk would.
    std::fs::OpenOptions::new().write(true).open(&file).unwrap().write_all(&bytes).unwrap();
    // The cut may come before even the head has left the server.
    let cut = bytes_for(&server, "GET", &path, "", u64::MAX);
    let body = end_of_head(&cut).map_or(0, |end| cut.len() - end - 4);
    assert!(body as u64 <= CHUNK, "{body} bytes came");
    assert_eq!(get(&server, &path, "").status, 404, "it is forgotten");
    let (mut peer, _) = Peer::welcomed(&server, "eu");
    let ReplyBody::Table(table) = peer.ask(RequestBody::Read).body else { panic!("no table") };
    let ask = RequestBody::Route { target: table.staged, have: None, snapshots_only: false };
    let ReplyBody::Route(route) = peer.ask(ask).body else { panic!("no route") };
    let again = get(&server, &format!("/v1/farms/eu/objects/{}", route.objects[0].name), "");
    assert!(again.status == 200 && is_named(&again.body, route.objects[0].name));
}

#[test]
fn a_readers_token_is_enough_and_then_no_shared_cache_keeps_it() {
    let folder = tempfile::tempdir().unwrap();
    let eu = || Some(Name::new("eu").unwrap());
    let tokens = vec![
        AccessToken::new("reads", Role::Reader, eu()),
        AccessToken::new("reads elsewhere", Role::Reader, Some(Name::new("us").unwrap())),
    ];
    let server = Server::start(Config { tokens, ..config(folder.path()) }).unwrap();
    let (object, path) = with_object(&server);
    for path in [path.clone(), format!("{path}/chunks")] {
        let read = get(&server, &path, "Authorization: Bearer reads\r\n");
        assert_eq!(read.status, 200);
        assert_eq!(read.header("cache-control"), Some("private, max-age=31536000, immutable"));
        for wrong in ["Bearer reads elsewhere", "Bearer nobody"] {
            assert_eq!(get(&server, &path, &format!("Authorization: {wrong}\r\n")).status, 401, "{wrong}");
        }
    }
    let records = get(&server, "/v1/farms/eu/records/d", "Authorization: Bearer reads\r\n");
    assert_eq!(records.status, 401, "a reader reads objects only");
    assert!(is_named(&get(&server, &path, "Authorization: Bearer reads\r\n").body, object.name));
}
