//! Time exchanges over datagrams, at the control port's own address and number: answered by a thread that
//! does nothing else, ahead of whatever the connections are busy with (PROTOCOL §2; bytes in core's
//! `datagram`). Whoever gets no answer here, because a datagram is lost or a firewall lets none through,
//! asks over its connection.

use crate::line::Time;
use crate::shared::Shared;
use downbeat_core::datagram::{Key, REPLY_LEN, TimeReply, TimeRequest};
use downbeat_core::message::Stamp;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::watch;

/// How long the thread may be unaware that the server ends.
const LOOK: Duration = Duration::from_millis(100);
/// How much the thread is preferred to the host's others, where the server may ask for that.
const PREFERRED: i32 = -10;

/// The server's end of the datagrams.
pub(crate) struct TimeExchange {
    socket: UdpSocket,
    key: Key,
}

impl TimeExchange {
    /// Takes the datagrams of an address.
    ///
    /// # Errors
    /// The port is taken for datagrams, or the host gives no random key.
    pub(crate) fn bind(address: SocketAddr) -> io::Result<TimeExchange> {
        let mut random = [0; 32];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let socket = UdpSocket::bind(address)?;
        socket.set_read_timeout(Some(LOOK))?;
        Ok(TimeExchange { socket, key: Key::new(random) })
    }

    /// The server's own key, of which each life's is made.
    pub(crate) fn key(&self) -> Key {
        self.key
    }

    /// Answers on a thread of its own until the server ends.
    ///
    /// # Errors
    /// The host gives no thread.
    pub(crate) fn start(self, shared: &Shared) -> io::Result<JoinHandle<()>> {
        let (time, dropped, stop) = (shared.time.clone(), shared.frames_dropped.clone(), shared.stop.clone());
        std::thread::Builder::new()
            .name("downbeat-time".into())
            .spawn(move || self.answer(&time, &dropped, &stop))
    }

    fn answer(&self, time: &Time, dropped: &Arc<AtomicU64>, stop: &watch::Receiver<bool>) {
        // Without the right to it the thread has its turn like any other.
        let _ = rustix::process::nice(PREFERRED);
        // A byte more than any request has, so that a longer one is told from it.
        let mut bytes = [0; REPLY_LEN];
        while !*stop.borrow() {
            let arrived = self.socket.recv_from(&mut bytes);
            let received = time.local();
            let (len, from) = match arrived {
                Ok(arrived) => arrived,
                Err(error)
                    if [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut].contains(&error.kind()) =>
                {
                    continue;
                }
                // Whatever is wrong with the host, it is not asked in a loop.
                Err(_) => {
                    std::thread::sleep(LOOK);
                    continue;
                }
            };
            let Some(request) = TimeRequest::open(&bytes[..len], &self.key) else {
                dropped.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            let key = self.key.of(request.incarnation);
            let received = time.at(received);
            let answered = time.reading();
            if !answered.allowed {
                continue;
            }
            let stamp =
                Stamp { timeline: answered.timeline, echo: request.sent, received, answered: answered.time };
            let reply = TimeReply { incarnation: request.incarnation, number: request.number, stamp };
            // A datagram may be lost anyway.
            let _ = self.socket.send_to(&reply.seal(&key), from);
        }
    }
}
