//! The link's datagrams: each is passed on late, for itself, so that one may overtake another.

use super::{Delay, mixed};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;
use tokio::time::sleep;

/// The longest that is passed on, in bytes.
const LONGEST: usize = 1_024;
/// Ports that are tried until one is free for connections and for datagrams.
const PORTS_TRIED: u32 = 16;

/// A free port of this host for both.
pub(super) async fn bind_both() -> io::Result<(TcpListener, UdpSocket)> {
    let mut left = PORTS_TRIED;
    loop {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        left -= 1;
        match UdpSocket::bind(listener.local_addr()?).await {
            Ok(datagrams) => return Ok((listener, datagrams)),
            Err(error) if left == 0 => return Err(error),
            Err(_) => {}
        }
    }
}

/// Passes datagrams on, both ways, until the link is cut or its relay dropped. There is one agent; an answer
/// goes to the socket that asked last.
pub(super) async fn pass(
    agent: UdpSocket,
    server: SocketAddr,
    delay: Delay,
    seed: u64,
    mut cut: watch::Receiver<bool>,
) {
    let both = async {
        let (agent, above) = (Arc::new(agent), Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?));
        above.connect(server).await?;
        let mut random = mixed(seed);
        let mut asked = None;
        let (mut up, mut down) = ([0; LONGEST], [0; LONGEST]);
        loop {
            tokio::select! {
                came = agent.recv_from(&mut up) => {
                    let (len, from) = came?;
                    asked = Some(from);
                    let bytes = up.get(..len).unwrap_or_default().to_vec();
                    let (above, takes) = (above.clone(), delay.drawn(&mut random));
                    tokio::spawn(async move {
                        sleep(takes).await;
                        // A datagram may be lost.
                        let _ = above.send(&bytes).await;
                    });
                }
                came = above.recv(&mut down) => {
                    // While no server listens there an error comes for each datagram.
                    let (Ok(len), Some(to)) = (came, asked) else { continue };
                    let bytes = down.get(..len).unwrap_or_default().to_vec();
                    let (agent, takes) = (agent.clone(), delay.drawn(&mut random));
                    tokio::spawn(async move {
                        sleep(takes).await;
                        let _ = agent.send_to(&bytes, to).await;
                    });
                }
            }
        }
    };
    tokio::select! {
        // Without it samples go over the connection.
        () = async { let _: io::Result<()> = both.await; } => {}
        _ = cut.wait_for(|cut| *cut) => {}
    }
}
