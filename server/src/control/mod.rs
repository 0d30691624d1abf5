//! The control port: frames of the protocol over TCP. Here connections are taken in and counted; one
//! connection is in `connection`, what a request is answered in `answer`, and what comes in datagrams in
//! `time_exchange`.

mod answer;
mod connection;
mod time_exchange;

use crate::shared::Shared;
use connection::Connection;
use downbeat_core::ids::Incarnation;
use downbeat_core::message::{ErrorCode, ToAgent};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

pub(crate) use time_exchange::TimeExchange;

/// Takes connections in until the server ends.
pub(crate) async fn listen(shared: Arc<Shared>, listener: TcpListener, connections_max: usize) {
    let places = Arc::new(Semaphore::new(connections_max.min(Semaphore::MAX_PERMITS)));
    let mut stop = shared.stop.clone();
    loop {
        let accepted = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most often: those in use go on, new ones wait.
                tracing::warn!(%error, "a connection could not be taken in");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            tracing::warn!(%peer, "refused: as many connections as are allowed are open");
            tokio::spawn(turn_away(stream, shared.patience));
            continue;
        };
        let shared = shared.clone();
        tokio::spawn(async move {
            let mut stop = shared.stop.clone();
            let mut connection = Connection::new(shared, stream, peer);
            let why = tokio::select! {
                why = connection.run() => why,
                _ = stop.wait_for(|stop| *stop) => connection::Ended::Stopping,
            };
            connection.close(why);
            drop(place);
        });
    }
}

/// One connection too many: told so, and closed.
async fn turn_away(mut stream: TcpStream, patience: Duration) {
    let busy = ToAgent::<u16>::Error { incarnation: Incarnation::default(), code: ErrorCode::Busy };
    let mut frame = [0; downbeat_core::frame::FRAME_MAX];
    if let Ok(len) = downbeat_core::frame::encode(&busy, &mut frame) {
        let write = tokio::io::AsyncWriteExt::write_all(&mut stream, &frame[..len]);
        // It may be gone already.
        let _ = tokio::time::timeout(patience, write).await;
    }
}
