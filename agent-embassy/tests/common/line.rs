//! A line between a device and a server: two queues of bytes with an async end and a blocking end. It
//! can be cut, be dead without anybody noticing, and bring garbage; what the device says is looked at.

use downbeat_core::frame::{FRAME_MAX, Receiver, decode, encode};
use downbeat_core::message::{Reply, ReplyBody, Request, RequestBody, ToAgent, ToServer};
use embedded_io_async::{ErrorKind, ErrorType};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::task::{Poll, Waker};
use std::time::Duration;

#[derive(Default)]
struct Queue {
    bytes: VecDeque<u8>,
    closed: bool,
    /// Whoever writes writes to nobody.
    dead: bool,
    /// The next blocking read ends its session, and the queue goes on.
    session_over: bool,
    /// Of so many of the next pieces of content a bit is changed, under a good checksum.
    spoil: usize,
    /// How many pieces of content still come through before nothing does any more.
    pieces_left: Option<usize>,
    /// How long what the server says is on its way.
    delay: Duration,
    waker: Option<Waker>,
}

#[derive(Clone, Default)]
struct Pipe(Arc<(Mutex<Queue>, Condvar)>);

impl Pipe {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.0.lock().unwrap()
    }
    fn change(&self, change: impl FnOnce(&mut Queue)) {
        let mut queue = self.queue();
        change(&mut queue);
        if let Some(waker) = queue.waker.take() {
            waker.wake();
        }
        self.0.1.notify_all();
    }
    fn push(&self, bytes: &[u8]) {
        self.change(|queue| {
            if !queue.dead {
                queue.bytes.extend(bytes);
            }
        });
    }
    fn take(queue: &mut Queue, into: &mut [u8]) -> usize {
        let len = into.len().min(queue.bytes.len());
        into.iter_mut().zip(queue.bytes.drain(..len)).for_each(|(to, byte)| *to = byte);
        len
    }
}

/// What a device has said over a line.
#[derive(Default)]
struct Said {
    receiver: Receiver,
    messages: Vec<ToServer>,
}

/// A line; clones are the same one.
#[derive(Clone, Default)]
pub(crate) struct Line {
    to_device: Pipe,
    to_server: Pipe,
    said: Arc<Mutex<Said>>,
}

impl Line {
    pub(crate) fn new() -> Line {
        Line::default()
    }
    pub(crate) fn agent_end(&self) -> (Input, Output) {
        (Input(self.to_device.clone()), Output(self.to_server.clone(), self.said.clone()))
    }
    pub(crate) fn server_end(&self) -> ServerEnd {
        ServerEnd { input: self.to_server.clone(), output: self.to_device.clone() }
    }

    /// Both ends notice.
    pub(crate) fn cut(&self) {
        self.to_device.change(|queue| queue.closed = true);
        self.to_server.change(|queue| queue.closed = true);
    }
    /// Nothing comes through any more, and nobody notices; or again.
    pub(crate) fn set_dead(&self, dead: bool) {
        self.to_device.change(|queue| queue.dead = dead);
        self.to_server.change(|queue| queue.dead = dead);
    }
    /// Of the next pieces of content so many are not what the server sent.
    pub(crate) fn spoil(&self, pieces: usize) {
        self.to_device.change(|queue| queue.spoil = pieces);
    }
    /// After so many pieces of content nothing comes to the device any more.
    pub(crate) fn die_after(&self, pieces: usize) {
        self.to_device.change(|queue| queue.pieces_left = Some(pieces));
    }
    /// What the server says is on its way for so long, from now on.
    pub(crate) fn set_delay(&self, delay: Duration) {
        self.to_device.change(|queue| queue.delay = delay);
    }
    /// The session that serves the line ends; the device doesn't notice.
    pub(crate) fn end_session(&self) {
        self.to_server.change(|queue| queue.session_over = true);
    }
    /// These bytes come in between to the device.
    pub(crate) fn inject(&self, bytes: &[u8]) {
        self.to_device.push(bytes);
    }
    /// What the device has said, as `pick` takes it.
    pub(crate) fn said<T>(&self, pick: impl FnMut(&ToServer) -> Option<T>) -> Vec<T> {
        self.said.lock().unwrap().messages.iter().filter_map(pick).collect()
    }
    /// From where on the device asked for content, each time.
    pub(crate) fn fetches(&self) -> Vec<u64> {
        self.said(|said| match said {
            ToServer::Request(Request { body: RequestBody::Fetch { offset, .. }, .. }) => Some(*offset),
            _ => None,
        })
    }
    pub(crate) fn hellos(&self) -> usize {
        self.said(|said| matches!(said, ToServer::Hello(_)).then_some(())).len()
    }
}

/// What a device reads from.
pub(crate) struct Input(Pipe);
/// What a device writes to.
pub(crate) struct Output(Pipe, Arc<Mutex<Said>>);

impl ErrorType for Input {
    type Error = Infallible;
}
impl ErrorType for Output {
    type Error = ErrorKind;
}

impl embedded_io_async::Read for Input {
    async fn read(&mut self, into: &mut [u8]) -> Result<usize, Infallible> {
        poll_fn(|context| {
            let mut queue = self.0.queue();
            if queue.bytes.is_empty() && !queue.closed {
                queue.waker = Some(context.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(Ok(Pipe::take(&mut queue, into)))
        })
        .await
    }
}

impl embedded_io_async::Write for Output {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        if self.0.queue().closed {
            return Err(ErrorKind::BrokenPipe);
        }
        self.0.push(bytes);
        let (mut said, mut rest) = (self.1.lock().unwrap(), bytes);
        let Said { receiver, messages } = &mut *said;
        while let Some(message) = receiver.next::<ToServer>(&mut rest) {
            messages.push(message.expect("a device sends good frames"));
        }
        Ok(bytes.len())
    }
    async fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

/// What a server reads and writes.
pub(crate) struct ServerEnd {
    input: Pipe,
    output: Pipe,
}

impl io::Read for ServerEnd {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut queue = self.input.queue();
        while queue.bytes.is_empty() && !queue.closed && !queue.session_over {
            queue = self.input.0.1.wait(queue).unwrap();
        }
        if std::mem::take(&mut queue.session_over) {
            return Ok(0);
        }
        Ok(Pipe::take(&mut queue, into))
    }
}

impl io::Write for ServerEnd {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let delay = self.output.queue().delay;
        std::thread::sleep(delay);
        // Each write is a whole frame.
        let mut frame = bytes[..bytes.len() - 1].to_vec();
        let message = decode::<ToAgent<&[u8]>>(&mut frame).expect("a server sends good frames");
        let content = match &message {
            ToAgent::Reply(Reply { body: ReplyBody::Bytes { bytes, .. }, .. }) => bytes.to_vec(),
            _ => Vec::new(),
        };
        if content.is_empty() {
            self.output.push(bytes);
            return Ok(bytes.len());
        }
        let (mut spoiled, mut dies) = (false, false);
        self.output.change(|queue| {
            spoiled = queue.spoil > 0;
            queue.spoil = queue.spoil.saturating_sub(1);
            dies = queue.pieces_left == Some(0);
            queue.pieces_left = queue.pieces_left.map(|left| left.saturating_sub(1));
            queue.dead |= dies;
        });
        if spoiled {
            let mut other = content;
            *other.last_mut().unwrap() ^= 1;
            let mut frame = [0; FRAME_MAX];
            let len = encode(&message.map_bytes(|_| &other[..]), &mut frame).unwrap();
            self.output.push(&frame[..len]);
        } else {
            self.output.push(bytes);
        }
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
