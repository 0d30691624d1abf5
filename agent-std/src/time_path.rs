//! The agent's end of time exchanges in datagrams, beside a connection (PROTOCOL §2; bytes in core's
//! `datagram`): to the connection's own peer, under the key that came over it. What a sample means is
//! core's matter, when one is taken too.
//!
//! Whether datagrams get through only trying tells. Where they don't, samples go over the connection, and
//! now and then one is tried again.

use downbeat_core::datagram::{Key, REPLY_LEN, TimeReply, TimeRequest};
use downbeat_core::ids::Incarnation;
use downbeat_core::time::LocalTime;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};
use tokio::net::UdpSocket;

/// After so many in a row that were not answered, datagrams are taken not to get through.
const UNANSWERED_MAX: u32 = 3;
/// How long an answer is waited for awake.
const AWAKE: Duration = Duration::from_micros(100);
/// One in so many samples is tried all the same then.
const TRIED_AGAIN: u32 = 4;

/// A way for datagrams to a server.
pub(crate) struct TimePath {
    socket: UdpSocket,
    /// The same one, past the runtime, which notices only now and then what has arrived.
    awake: std::net::UdpSocket,
    incarnation: Incarnation,
    key: Key,
    /// Datagrams sent since the last answer, and samples that went over the connection meanwhile.
    unanswered: u32,
}

/// What arrived.
pub(crate) enum Arrived {
    /// An answer.
    Reply(TimeReply),
    /// Something else, which is used for nothing.
    Noise,
}

impl TimePath {
    /// A way to a server, for one life of the agent; inside a runtime.
    ///
    /// # Errors
    /// The host gives no socket, or has no way there.
    pub(crate) fn open(server: SocketAddr, incarnation: Incarnation, key: Key) -> io::Result<TimePath> {
        let any: SocketAddr = match server {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = std::net::UdpSocket::bind(any)?;
        socket.connect(server)?;
        socket.set_nonblocking(true)?;
        let awake = socket.try_clone()?;
        Ok(TimePath { socket: UdpSocket::from_std(socket)?, awake, incarnation, key, unanswered: 0 })
    }

    /// Sends a request for a sample. False where it is to go over the connection.
    pub(crate) fn ask(
        &mut self,
        incarnation: Incarnation,
        number: u64,
        now: impl FnOnce() -> LocalTime,
    ) -> bool {
        if incarnation != self.incarnation {
            return false;
        }
        let gets_through = self.unanswered < UNANSWERED_MAX || self.unanswered.is_multiple_of(TRIED_AGAIN);
        self.unanswered = self.unanswered.wrapping_add(1);
        // As late as can be, so that the enclosure's upper end ages as little as can be.
        let sealed = || TimeRequest { incarnation, number, sent: now() }.seal(&self.key);
        // A host that can't send now, or was told that nobody listens, leaves it to the connection.
        gets_through && self.socket.try_send(&sealed()).is_ok()
    }

    /// Takes datagrams to get through, whatever came of those before.
    pub(crate) fn begin_anew(&mut self) {
        self.unanswered = 0;
    }

    /// Waits until something may have arrived. May be dropped at any time without losing anything.
    pub(crate) async fn readable(&self) {
        // An error shows at the next receive.
        let _ = self.socket.readable().await;
    }

    /// What has arrived, and when it was looked at; `None` where nothing is left.
    pub(crate) fn receive<R>(&mut self, look: impl FnOnce() -> R) -> Option<(Arrived, R)> {
        // A byte more than any answer has, so that a longer one is told from it.
        let mut bytes = [0; REPLY_LEN + 1];
        let received = self.socket.try_recv(&mut bytes);
        // As early as can be: it has arrived by now.
        let looked = look();
        self.taken(received, &bytes, looked)
    }

    /// The same after waiting for it, awake, for a moment: an answer of a server that is near is there
    /// sooner than a thread that sleeps is woken, and on a busy host much sooner.
    pub(crate) fn receive_awake<R>(&mut self, look: impl FnOnce() -> R) -> Option<(Arrived, R)> {
        let mut bytes = [0; REPLY_LEN + 1];
        let began = Instant::now();
        let received = loop {
            match self.awake.recv(&mut bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && began.elapsed() < AWAKE => {
                    std::hint::spin_loop();
                }
                received => break received,
            }
        };
        let looked = look();
        self.taken(received, &bytes, looked)
    }

    fn taken<R>(&mut self, received: io::Result<usize>, bytes: &[u8], looked: R) -> Option<(Arrived, R)> {
        let len = match received {
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            // Nobody listens there; asked again it is gone.
            Err(_) => return Some((Arrived::Noise, looked)),
        };
        let reply = bytes.get(..len).and_then(|bytes| TimeReply::open(bytes, &self.key));
        let Some(reply) = reply else { return Some((Arrived::Noise, looked)) };
        self.unanswered = 0;
        Some((Arrived::Reply(reply), looked))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use downbeat_core::ids::TimelineId;
    use downbeat_core::message::Stamp;
    use downbeat_core::time::ServerTime;

    const LIFE: Incarnation = Incarnation(7);
    const KEY: Key = Key::new([3; 32]);

    fn reply(number: u64, key: &Key) -> [u8; REPLY_LEN] {
        let stamp = Stamp {
            timeline: TimelineId::default(),
            echo: LocalTime::from_nanos(4),
            received: ServerTime::from_nanos(5),
            answered: ServerTime::from_nanos(6),
        };
        TimeReply { incarnation: LIFE, number, stamp }.seal(key)
    }

    async fn asked(path: &mut TimePath, number: u64) -> bool {
        // That it can send is known only after the runtime has looked.
        path.socket.writable().await.unwrap();
        path.ask(LIFE, number, || LocalTime::from_nanos(4))
    }

    async fn arrived(path: &mut TimePath) -> Arrived {
        loop {
            path.readable().await;
            if let Some((arrived, ())) = path.receive(|| ()) {
                return arrived;
            }
        }
    }

    #[tokio::test]
    async fn an_answer_is_taken_and_noise_is_not() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut path = TimePath::open(server.local_addr().unwrap(), LIFE, KEY).unwrap();
        assert!(!path.ask(Incarnation(8), 1, || LocalTime::from_nanos(4)), "the key is of another life");
        assert!(asked(&mut path, 1).await);
        let mut bytes = [0; 512];
        let (len, from) = server.recv_from(&mut bytes).await.unwrap();
        let request = TimeRequest { incarnation: LIFE, number: 1, sent: LocalTime::from_nanos(4) };
        assert_eq!(bytes[..len], request.seal(&KEY));
        for noise in [&bytes[..len], &reply(1, &Key::new([4; 32])), &[0; 300], &[]] {
            server.send_to(noise, from).await.unwrap();
            assert!(matches!(arrived(&mut path).await, Arrived::Noise));
        }
        server.send_to(&reply(1, &KEY), from).await.unwrap();
        let Arrived::Reply(reply) = arrived(&mut path).await else { panic!("not taken") };
        assert_eq!((reply.incarnation, reply.number), (LIFE, 1));
        assert!(path.receive(|| ()).is_none());
    }

    #[tokio::test]
    async fn where_datagrams_don_t_get_through_the_connection_is_used_and_one_is_tried_now_and_then() {
        let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut path = TimePath::open(silent.local_addr().unwrap(), LIFE, KEY).unwrap();
        let mut sent = Vec::new();
        for number in 0..40 {
            if asked(&mut path, number).await {
                sent.push(number);
            }
        }
        assert_eq!(sent, [0, 1, 2, 4, 8, 12, 16, 20, 24, 28, 32, 36]);
        let mut bytes = [0; 512];
        let (_, from) = silent.recv_from(&mut bytes).await.unwrap();
        silent.send_to(&reply(36, &KEY), from).await.unwrap();
        assert!(matches!(arrived(&mut path).await, Arrived::Reply(_)));
        assert!(asked(&mut path, 41).await, "an answer says that they do");
    }
}
