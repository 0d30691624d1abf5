//! The relay's datagrams: time exchanges, passed on beside the connections.

use super::{Shared, lock};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

/// Whoever wants both has to try: a port that is free for one may be taken for the other.
pub(super) fn bind_both() -> std::io::Result<(TcpListener, UdpSocket)> {
    let mut left = 16;
    loop {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        left -= 1;
        match UdpSocket::bind(listener.local_addr()?) {
            Ok(datagrams) => return Ok((listener, datagrams)),
            Err(error) if left == 0 => return Err(error),
            Err(_) => {}
        }
    }
}

/// Passes time exchanges in datagrams on, as late as everything else. There is one agent, which has a socket
/// for each connection: an answer goes to whichever asked last. While stalled or refusing they are lost.
pub(super) fn pass(shared: &Arc<Shared>, agent: &UdpSocket) {
    let asked: Arc<Mutex<Option<SocketAddr>>> = Arc::default();
    let mut above: Option<(SocketAddr, Arc<UdpSocket>)> = None;
    let mut bytes = [0; 1_024];
    let mut turn = 0;
    while let Ok((len, from)) = agent.recv_from(&mut bytes) {
        *lock(&asked) = Some(from);
        let Some(server) = *lock(&shared.server) else { continue };
        if above.as_ref().is_none_or(|(known, _)| *known != server) {
            let Ok((socket, down)) = way_to(server).and_then(|socket| Ok((socket, agent.try_clone()?)))
            else {
                continue;
            };
            let socket = Arc::new(socket);
            let (shared, asked, answers) = (shared.clone(), asked.clone(), socket.clone());
            std::thread::spawn(move || pass_answers(&shared, &answers, &down, &asked));
            above = Some((server, socket));
        }
        if let Some((_, socket)) = &above
            && passes(shared, &mut turn)
        {
            // A datagram may be lost.
            let _ = socket.send(&bytes[..len]);
        }
    }
}

fn way_to(server: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.connect(server)?;
    Ok(socket)
}

fn pass_answers(shared: &Shared, above: &UdpSocket, agent: &UdpSocket, asked: &Mutex<Option<SocketAddr>>) {
    let mut bytes = [0; 1_024];
    let mut turn = 1;
    loop {
        // While no server listens there an error comes, once for each datagram.
        let Ok(len) = above.recv(&mut bytes) else { continue };
        let to = *lock(asked);
        if let Some(to) = to
            && passes(shared, &mut turn)
        {
            let _ = agent.send_to(&bytes[..len], to);
        }
    }
}

/// Waits as long as what passes is delayed; false where it is lost.
fn passes(shared: &Shared, turn: &mut u64) -> bool {
    shared.wait(turn, 1);
    !shared.stalled.load(Ordering::Relaxed) && !shared.refusing.load(Ordering::Relaxed)
}
