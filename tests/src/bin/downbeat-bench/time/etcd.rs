//! etcd as a peer: processes that watch a key through a stream of gRPC over HTTP/2, as its own clients do.
//! Only the fields that a watch of one key needs are written and read.

use super::grpc::{Field, Malformed, Messages, fields, framed, write};
use super::program::{Program, free_port};
use super::watcher::Watcher;
use bytes::Bytes;
use h2::client::{SendRequest, handshake};
use h2::{RecvStream, SendStream};
use http::Request;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};

/// The server's program.
pub(crate) const PROGRAM: &str = "etcd";
const KEY: &[u8] = b"price";
/// How long an answer to a put may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a watch says.
#[derive(PartialEq, Eq, Debug, Default)]
struct Watched {
    /// It stands.
    created: bool,
    /// It has ended.
    canceled: bool,
    /// What was put, in order.
    values: Vec<Vec<u8>>,
}

/// A `WatchRequest` that creates a watch of the key.
fn create() -> Vec<u8> {
    let (mut create, mut request) = (Vec::new(), Vec::new());
    write(1, KEY, &mut create);
    write(1, &create, &mut request);
    request
}

/// A `PutRequest`.
fn put(value: &[u8]) -> Vec<u8> {
    let mut request = Vec::new();
    write(1, KEY, &mut request);
    write(2, value, &mut request);
    request
}

/// Reads a `WatchResponse`.
fn watched(response: &[u8]) -> Result<Watched, Malformed> {
    let mut watched = Watched::default();
    for (number, field) in fields(response)? {
        match (number, field) {
            (3, Field::Number(number)) => watched.created = number != 0,
            (4, Field::Number(number)) => watched.canceled = number != 0,
            (11, Field::Bytes(event)) => watched.values.extend(put_by(event)?),
            _ => {}
        }
    }
    Ok(watched)
}

/// The value that an `Event` put; `None` where it deleted.
fn put_by(event: &[u8]) -> Result<Option<Vec<u8>>, Malformed> {
    let (mut deleted, mut value) = (false, Vec::new());
    for (number, field) in fields(event)? {
        match (number, field) {
            (1, Field::Number(kind)) => deleted = kind != 0,
            (2, Field::Bytes(record)) => {
                for (number, field) in fields(record)? {
                    if let (5, Field::Bytes(bytes)) = (number, field) {
                        value = bytes.to_vec();
                    }
                }
            }
            _ => {}
        }
    }
    Ok((!deleted).then_some(value))
}

async fn connect(address: &str) -> io::Result<SendRequest<Bytes>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (client, connection) = handshake(stream).await.map_err(io::Error::other)?;
    // Its end shows on the streams.
    tokio::spawn(connection);
    Ok(client)
}

/// Calls a method with one message; what the answer's messages come in, and, where more may be sent, what for.
async fn call(
    client: SendRequest<Bytes>,
    address: &str,
    method: &str,
    message: &[u8],
    ends: bool,
) -> io::Result<(SendStream<Bytes>, RecvStream)> {
    let mut client = client.ready().await.map_err(io::Error::other)?;
    let request = Request::post(format!("http://{address}/etcdserverpb.{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .map_err(io::Error::other)?;
    let (response, mut sends) = client.send_request(request, false).map_err(io::Error::other)?;
    sends.send_data(framed(message).into(), ends).map_err(io::Error::other)?;
    let response = response.await.map_err(io::Error::other)?;
    if !response.status().is_success() {
        return Err(io::Error::other(format!("etcd answers {}", response.status())));
    }
    Ok((sends, response.into_body()))
}

/// Some more bytes of an answer.
async fn more(body: &mut RecvStream) -> io::Result<Bytes> {
    let chunk = body.data().await.ok_or(io::ErrorKind::UnexpectedEof)?.map_err(io::Error::other)?;
    body.flow_control().release_capacity(chunk.len()).map_err(io::Error::other)?;
    Ok(chunk)
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// One that watches.
pub(crate) fn watch(watcher: Watcher) -> io::Result<()> {
    runtime()?.block_on(async {
        let client = connect(&watcher.address).await?;
        // What could be sent on is kept: without it the watch ends.
        let (_sends, mut body) = call(client, &watcher.address, "Watch/Watch", &create(), false).await?;
        let mut messages = Messages::default();
        loop {
            let chunk = more(&mut body).await?;
            let at = watcher.clock.now();
            messages.push(&chunk);
            while let Some(message) = messages.next()? {
                let watched = watched(&message)?;
                if watched.canceled {
                    return Err(io::Error::other("etcd ended the watch"));
                }
                if watched.created {
                    watcher.ready();
                }
                for value in watched.values {
                    let version = std::str::from_utf8(&value).ok().and_then(|text| text.parse().ok());
                    watcher.saw(version.ok_or(io::ErrorKind::InvalidData)?, at);
                }
            }
        }
    })
}

/// A connection that puts.
pub(crate) struct Putter {
    runtime: Runtime,
    client: SendRequest<Bytes>,
    address: String,
}

impl Putter {
    fn connect(address: &str) -> io::Result<Putter> {
        let runtime = runtime()?;
        let client = runtime.block_on(connect(address))?;
        Ok(Putter { runtime, client, address: address.to_string() })
    }

    /// Puts a version, until it is answered.
    pub(crate) fn put(&mut self, version: u64) -> io::Result<()> {
        let request = put(version.to_string().as_bytes());
        let answered = async {
            let (_, mut body) = call(self.client.clone(), &self.address, "KV/Put", &request, true).await?;
            let mut messages = Messages::default();
            while messages.next()?.is_none() {
                messages.push(&more(&mut body).await?);
            }
            Ok(())
        };
        let timed = async { tokio::time::timeout(PATIENCE, answered).await };
        self.runtime.block_on(timed).map_err(|_| io::ErrorKind::TimedOut)?
    }
}

/// Begins a server of our own; and a connection to it, with its address.
pub(crate) fn begin(folder: &Path) -> io::Result<(Program, Putter, SocketAddr)> {
    let (clients, peers) = (free_port()?, free_port()?);
    let [for_clients, for_peers] = [clients, peers].map(|port| format!("http://127.0.0.1:{port}"));
    let cluster = format!("default={for_peers}");
    let folder = folder.join("etcd").to_string_lossy().into_owned();
    let words = [
        "--data-dir",
        &folder,
        "--listen-client-urls",
        &for_clients,
        "--advertise-client-urls",
        &for_clients,
        "--listen-peer-urls",
        &for_peers,
        "--initial-advertise-peer-urls",
        &for_peers,
        "--initial-cluster",
        &cluster,
    ];
    let mut program = Program::begin(PROGRAM, &words)?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, clients));
    let mut putter = None;
    program.wait(|| {
        let mut connected = Putter::connect(&address.to_string())?;
        connected.put(0)?;
        putter = Some(connected);
        Ok(())
    })?;
    Ok((program, putter.ok_or(io::ErrorKind::NotConnected)?, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What etcd 3.4.23 said when the watch was created, and when "1" was put.
    const CREATED: &[u8] = &[
        0x0a, 0x1a, 0x08, 0xc2, 0x9c, 0xc9, 0x8b, 0xc3, 0xc9, 0xb5, 0x9e, 0xf4, 0x01, 0x10, 0xac, 0xd0, 0x98,
        0xbb, 0xa6, 0xbe, 0xc8, 0xf5, 0xb4, 0x01, 0x18, 0x02, 0x20, 0x02, 0x18, 0x01,
    ];
    const SAID: &[u8] = &[
        0x0a, 0x1a, 0x08, 0xc2, 0x9c, 0xc9, 0x8b, 0xc3, 0xc9, 0xb5, 0x9e, 0xf4, 0x01, 0x10, 0xac, 0xd0, 0x98,
        0xbb, 0xa6, 0xbe, 0xc8, 0xf5, 0xb4, 0x01, 0x18, 0x03, 0x20, 0x02, 0x5a, 0x12, 0x12, 0x10, 0x0a, 0x05,
        0x70, 0x72, 0x69, 0x63, 0x65, 0x10, 0x02, 0x18, 0x03, 0x20, 0x02, 0x2a, 0x01, 0x31,
    ];

    #[test]
    fn a_watch_tells_what_was_put() {
        let expected = Watched { values: vec![b"1".to_vec()], ..Watched::default() };
        assert_eq!(watched(SAID), Ok(expected));
        assert_eq!(watched(CREATED), Ok(Watched { created: true, ..Watched::default() }));
        assert_eq!(watched(&[0x20, 1]), Ok(Watched { canceled: true, ..Watched::default() }));
        // A deletion has a type, and no value that counts.
        assert_eq!(watched(&[0x5a, 2, 0x08, 1]), Ok(Watched::default()));
        assert_eq!(watched(&SAID[..SAID.len() - 1]), Err(Malformed));
        for at in 0..SAID.len() {
            for to in 0..=255 {
                let mut damaged = SAID.to_vec();
                damaged[at] = to;
                // Whatever it says then.
                let _ = watched(&damaged);
            }
        }
    }

    #[test]
    fn requests_name_the_key() {
        assert_eq!(create(), [0x0a, 7, 0x0a, 5, b'p', b'r', b'i', b'c', b'e']);
        assert_eq!(put(b"8"), [0x0a, 5, b'p', b'r', b'i', b'c', b'e', 0x12, 1, b'8']);
    }
}
