//! A link for datagrams between agents and a server on this host, that delays, loses and repeats them at
//! random: where the kernel has nothing that does.

use downbeat_tests::random::Random;
use std::cmp::Reverse;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BinaryHeap};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// The longest datagram that is passed on, in bytes.
const LONGEST: usize = 1_024;
/// How long a thread may be unaware that the link is gone.
const LOOK: Duration = Duration::from_millis(100);

/// One direction of a link.
#[derive(Clone, Copy)]
pub(crate) struct Way {
    /// How long a datagram takes: evenly spread between the two. Later ones overtake.
    pub(crate) least: Duration,
    pub(crate) most: Duration,
    /// The shares that are lost, and that come twice.
    pub(crate) lost: f64,
    pub(crate) twice: f64,
}

impl Way {
    /// One that only delays.
    pub(crate) fn between(least: Duration, most: Duration) -> Way {
        Way { least, most, lost: 0.0, twice: 0.0 }
    }
}

/// A link, until it is dropped.
pub(crate) struct Link {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Link {
    /// A link to a server.
    pub(crate) fn start(server: SocketAddr, there: Way, back: Way) -> io::Result<Link> {
        let agents = Arc::new(bound()?);
        let link = Link { address: agents.local_addr()?, stop: Arc::default() };
        let (up, down) = (delayed(there, 1), delayed(back, 2));
        let stop = link.stop.clone();
        std::thread::spawn(move || listen(&agents, server, &up, &down, &stop));
        Ok(link)
    }

    /// Where agents send to.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

fn bound() -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_read_timeout(Some(LOOK))?;
    Ok(socket)
}

/// What is to be sent by a socket to an address.
type Parcel = (Arc<UdpSocket>, SocketAddr, Vec<u8>);

/// Takes what agents send; each has a socket of its own to the server, as behind a router.
fn listen(
    agents: &Arc<UdpSocket>,
    server: SocketAddr,
    up: &Sender<Parcel>,
    down: &Sender<Parcel>,
    stop: &Arc<AtomicBool>,
) {
    let mut known: BTreeMap<SocketAddr, Arc<UdpSocket>> = BTreeMap::new();
    let mut bytes = [0; LONGEST];
    while !stop.load(Ordering::Relaxed) {
        let Ok((len, from)) = agents.recv_from(&mut bytes) else { continue };
        let socket = match known.entry(from) {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(new) => {
                let Ok(socket) = bound().map(Arc::new) else { continue };
                let (agents, down, stop) = (agents.clone(), down.clone(), stop.clone());
                let answers = socket.clone();
                std::thread::spawn(move || bring_back(&answers, (&agents, from), &down, &stop));
                new.insert(socket).clone()
            }
        };
        let _ = up.send((socket, server, bytes[..len].to_vec()));
    }
}

/// Takes what the server answers to one agent.
fn bring_back(
    answers: &UdpSocket,
    (agents, to): (&Arc<UdpSocket>, SocketAddr),
    down: &Sender<Parcel>,
    stop: &AtomicBool,
) {
    let mut bytes = [0; LONGEST];
    while !stop.load(Ordering::Relaxed) {
        if let Ok((len, _)) = answers.recv_from(&mut bytes) {
            // Its thread ends with the last sender.
            let _ = down.send((agents.clone(), to, bytes[..len].to_vec()));
        }
    }
}

/// A thread that sends what it is given later.
fn delayed(way: Way, seed: u64) -> Sender<Parcel> {
    let (sender, parcels) = channel();
    std::thread::spawn(move || pass_on(way, &parcels, seed));
    sender
}

fn pass_on(way: Way, parcels: &Receiver<Parcel>, seed: u64) {
    let mut random = Random::new(seed);
    // From 0 to 1, in millionths.
    let mut drawn = || random.below(1_000_000) as f64 / 1e6;
    let mut waiting: BinaryHeap<Reverse<(Instant, u64)>> = BinaryHeap::new();
    let mut held: BTreeMap<u64, Parcel> = BTreeMap::new();
    let mut number = 0;
    loop {
        let due = waiting.peek().map(|Reverse((at, _))| at.saturating_duration_since(Instant::now()));
        match parcels.recv_timeout(due.unwrap_or(LOOK)) {
            Ok(parcel) => {
                let times = match drawn() {
                    share if share < way.lost => 0,
                    share if share < way.lost + way.twice => 2,
                    _ => 1,
                };
                for _ in 0..times {
                    number += 1;
                    let takes = way.least + (way.most - way.least).mul_f64(drawn());
                    waiting.push(Reverse((Instant::now() + takes, number)));
                    held.insert(number, parcel.clone());
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        while let Some(Reverse((at, _))) = waiting.peek()
            && *at <= Instant::now()
        {
            if let Some(Reverse((_, number))) = waiting.pop()
                && let Some((socket, to, bytes)) = held.remove(&number)
            {
                // A datagram may be lost.
                let _ = socket.send_to(&bytes, to);
            }
        }
    }
}
