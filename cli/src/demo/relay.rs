//! A slow, jittery link on this host: bytes are passed on late, in order, and the link can be cut.
//! Datagrams go through it as well (`datagrams`).

mod datagrams;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

/// How long bytes take each way: evenly spread between the two.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delay {
    pub(crate) least: Duration,
    pub(crate) most: Duration,
}

impl Delay {
    /// The configured round trip: the mean of it.
    pub(crate) fn round_trip(self) -> Duration {
        self.least + self.most
    }

    /// One way of it; `random` is not zero.
    fn drawn(self, random: &mut u64) -> Duration {
        // xorshift: jitter needs no better.
        *random ^= *random << 13;
        *random ^= *random >> 7;
        *random ^= *random << 17;
        let part = (*random >> 40) as f64 / (1u64 << 24) as f64;
        self.least + (self.most - self.least).mul_f64(part)
    }
}

/// A relay to a server, until it is dropped.
#[derive(Debug)]
pub(crate) struct Relay {
    address: SocketAddr,
    cut: watch::Sender<bool>,
}

impl Relay {
    /// Listens on a free port of this host; inside a runtime.
    pub(crate) async fn start(server: SocketAddr, delay: Delay, seed: u64) -> io::Result<Relay> {
        let (listener, datagrams) = datagrams::bind_both().await?;
        let address = listener.local_addr()?;
        let (cut, is_cut) = watch::channel(false);
        tokio::spawn(datagrams::pass(datagrams, server, delay, seed, is_cut.clone()));
        tokio::spawn(async move {
            let mut seed = seed;
            // Ends when the relay was dropped: then nobody can be waiting for it.
            while let Ok((agent, _)) = listener.accept().await {
                seed = seed.wrapping_add(2);
                tokio::spawn(pass(agent, server, delay, seed, is_cut.clone()));
            }
        });
        Ok(Relay { address, cut })
    }

    /// Where the agent connects.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts the link for good: what is under way is lost, and new connections are closed at once.
    pub(crate) fn cut(&self) {
        self.cut.send_replace(true);
    }
}

/// One connection, both ways.
async fn pass(agent: TcpStream, server: SocketAddr, delay: Delay, seed: u64, mut cut: watch::Receiver<bool>) {
    let both = async {
        let server = TcpStream::connect(server).await?;
        server.set_nodelay(true)?;
        agent.set_nodelay(true)?;
        let (from_agent, to_agent) = agent.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::select! {
            done = one_way(from_agent, to_server, delay, seed) => done,
            done = one_way(from_server, to_agent, delay, seed + 1) => done,
        }
    };
    tokio::select! {
        // A broken connection is what a link does.
        _ = both => {}
        _ = cut.wait_for(|cut| *cut) => {}
    }
}

async fn one_way(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Delay, seed: u64) -> io::Result<()> {
    let (queue, mut waiting) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let late = async move {
        while let Some((at, bytes)) = waiting.recv().await {
            sleep_until(at).await;
            to.write_all(&bytes).await?;
        }
        Ok(())
    };
    let read = async move {
        let mut random = mixed(seed);
        let mut last = Instant::now();
        let mut buffer = [0; 4_096];
        loop {
            let len = from.read(&mut buffer).await?;
            let bytes = buffer.get(..len).unwrap_or_default().to_vec();
            // In order: a later piece never overtakes.
            last = last.max(Instant::now() + delay.drawn(&mut random));
            if len == 0 || queue.send((last, bytes)).is_err() {
                return Ok(());
            }
        }
    };
    tokio::try_join!(read, late).map(|_: ((), ())| ())
}

fn mixed(seed: u64) -> u64 {
    seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1
}
