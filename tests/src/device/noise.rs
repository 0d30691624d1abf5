//! A noisy serial line: what stands between a board and its relay, and puts bytes into the stream that
//! nobody sent, in both directions, also in the middle of frames.

use crate::random::Random;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Between two bursts of noise, at most.
const PAUSE_MS: u64 = 60;
/// Bytes in the longest burst.
const BURST: u64 = 48;

/// The line. It listens until the process ends.
#[derive(Clone, Debug)]
pub struct NoisyLine {
    address: SocketAddr,
    noisy: Arc<AtomicBool>,
    bursts: Arc<AtomicU64>,
}

impl NoisyLine {
    /// A line to an address, without noise at first.
    ///
    /// # Panics
    /// The host has no free port.
    pub fn start(to: SocketAddr, seed: u64) -> NoisyLine {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let line = NoisyLine { address, noisy: Arc::default(), bursts: Arc::default() };
        let of_streams = line.clone();
        std::thread::spawn(move || {
            let mut random = Random::new(seed);
            for board in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(to) else { continue };
                let _ = (board.set_nodelay(true), server.set_nodelay(true));
                of_streams.join(board, server, &mut random);
            }
        });
        line
    }

    /// Where the board connects.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on there is noise, or none.
    pub fn make_noise(&self, noisy: bool) {
        self.noisy.store(noisy, Ordering::Relaxed);
    }

    /// How many bursts were put into streams.
    pub fn bursts(&self) -> u64 {
        self.bursts.load(Ordering::Relaxed)
    }

    fn join(&self, board: TcpStream, server: TcpStream, random: &mut Random) {
        for (from, to) in [(&board, &server), (&server, &board)] {
            let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else { return };
            // Both write whole pieces only; between any two of them there may be noise.
            let to = Arc::new(Mutex::new(to));
            let (end, line, seed) = (to.clone(), self.clone(), random.next_number());
            std::thread::spawn(move || line.disturb(&end, &mut Random::new(seed)));
            std::thread::spawn(move || pass(from, &to));
        }
    }

    fn disturb(&self, to: &Mutex<TcpStream>, random: &mut Random) {
        loop {
            std::thread::sleep(Duration::from_millis(random.below(PAUSE_MS)));
            // An end of a frame is likelier than any other byte.
            let byte =
                |random: &mut Random| (random.next_number() >> 3) as u8 * u8::from(random.below(8) > 0);
            let burst: Vec<u8> = (0..=random.below(BURST)).map(|_| byte(random)).collect();
            let mut to = lock(to);
            if self.noisy.load(Ordering::Relaxed) {
                if to.write_all(&burst).is_err() {
                    return;
                }
                self.bursts.fetch_add(1, Ordering::Relaxed);
            } else if to.peer_addr().is_err() {
                return;
            }
        }
    }
}

/// Passes bytes on, a few at a time, so that noise gets into the middle of frames.
fn pass(mut from: TcpStream, to: &Mutex<TcpStream>) {
    let mut piece = [0; 40];
    while let Ok(len @ 1..) = from.read(&mut piece) {
        if lock(to).write_all(&piece[..len]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = lock(to).shutdown(Shutdown::Both);
}

fn lock(stream: &Mutex<TcpStream>) -> MutexGuard<'_, TcpStream> {
    stream.lock().unwrap_or_else(PoisonError::into_inner)
}
