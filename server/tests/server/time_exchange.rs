//! Time exchanges in datagrams: who is answered, with what, and that nothing else is.

use crate::support::*;
use downbeat_core::datagram::{Key, REPLY_LEN, TimeReply, TimeRequest};
use downbeat_core::ids::Incarnation;
use downbeat_core::message::RequestBody;
use downbeat_core::time::LocalTime;
use downbeat_server::Handle;
use std::net::UdpSocket;
use std::time::Duration;

fn way_to(server: &Handle) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server.control()).unwrap();
    socket
}

/// A request is sent until its answer is there: a datagram may be lost.
fn exchange(socket: &UdpSocket, request: TimeRequest, key: &Key) -> TimeReply {
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    eventually("an answer", || {
        socket.send(&request.seal(key)).unwrap();
        let mut bytes = [0; REPLY_LEN + 1];
        let len = socket.recv(&mut bytes).ok()?;
        let reply = TimeReply::open(&bytes[..len], key).expect("a whole answer under this key");
        (reply.number == request.number).then_some(reply)
    })
}

#[test]
fn a_welcomed_agent_samples_the_same_time_in_datagrams_as_over_its_connection() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path());
    make_farm(&server, "eu");
    let (mut peer, welcome) = Peer::welcomed(&server, "eu");
    let before = peer.ask(RequestBody::Time);
    let key = peer.key.expect("the way is told right after the welcome");
    let socket = way_to(&server);
    let sent = LocalTime::from_nanos(-7);
    let request = TimeRequest { incarnation: peer.incarnation, number: 5, sent };
    let reply = exchange(&socket, request, &key);
    assert_eq!((reply.incarnation, reply.number), (peer.incarnation, 5));
    assert_eq!((reply.stamp.echo, reply.stamp.timeline), (sent, welcome.timeline));
    assert!(reply.stamp.received <= reply.stamp.answered);
    let after = peer.ask(RequestBody::Time);
    assert!(before.stamp.answered <= reply.stamp.received && reply.stamp.answered <= after.stamp.received);
    server.stop();
}

#[test]
fn what_is_not_under_a_life_s_own_key_is_counted_and_not_answered() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path());
    make_farm(&server, "eu");
    let (mut peer, _) = Peer::welcomed(&server, "eu");
    peer.ask(RequestBody::Time);
    let key = peer.key.unwrap();
    let socket = way_to(&server);
    let request =
        |number| TimeRequest { incarnation: peer.incarnation, number, sent: LocalTime::from_nanos(0) };
    let another = TimeRequest { incarnation: Incarnation(78), ..request(1) };
    let longer = [request(1).seal(&key).as_slice(), &[0]].concat();
    let noise: [&[u8]; 5] =
        [&[], &[0; 2_000], &longer, &another.seal(&key), &request(1).seal(&Key::new([0; 32]))];
    for bytes in noise {
        socket.send(bytes).unwrap();
    }
    // Datagrams from one socket to another on this host stay in order: an answer to what comes after says
    // that there was none to these.
    assert_eq!(exchange(&socket, request(9), &key).number, 9);
    let dropped = well(call(&server, "GET", "/v1/health", &serde_json::Value::Null));
    assert_eq!(dropped["frames_dropped"], 5, "{dropped}");
    server.stop();
}

#[test]
fn where_the_port_is_taken_for_datagrams_the_server_starts_and_says_nothing_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut config = config(folder.path());
    config.control = taken.local_addr().unwrap();
    let Ok(server) = downbeat_server::Server::start(config) else {
        // Another program has the same number for connections; that is not what is asked here.
        return;
    };
    make_farm(&server, "eu");
    let (mut peer, _) = Peer::welcomed(&server, "eu");
    peer.ask(RequestBody::Time);
    assert!(peer.key.is_none());
    server.stop();
}
