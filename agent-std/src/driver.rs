//! The driver: next input, hand it to core's machine, carry out what it asks for, wait until it
//! wants to be woken. Bounded work per turn: one read of at most a few frames.
//!
//! How effects are carried out is in `effects`. No decision about epochs, times, locks or promises
//! is made here; a late timer delays nothing that readers see, because activation is a comparison.

use crate::clock::{Clock, Reading, SecondSource, wall_nanos};
use crate::effects::Cause;
use crate::held::Held;
use crate::life::Life;
use crate::line::{BackOff, Line, Link, LinkEvent, never};
use crate::shelf::Shelf;
use crate::status::{Board, What};
use crate::time_path::Arrived;
use crate::worker::{Jobs, Outcome};
use downbeat_core::agent::Config;
use downbeat_core::cell::{PlanCell, PlanWriter};
use downbeat_core::datagram::{Key, TimeReply};
use downbeat_core::effect::PollAt;
use downbeat_core::frame::Receiver;
use downbeat_core::ids::{Digest, Generation, Incarnation};
use downbeat_core::message::{Hello, Reply, ReplyBody, ToAgent};
use downbeat_core::time::{LocalTime, Span};
use downbeat_trace::{Input as Given, Traced};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{mpsc as channel, oneshot};
use tokio::time::{Instant, sleep};

/// The longest sleep: the second source is looked at as often, and whether a reader met damage.
const LONGEST_SLEEP: Duration = Duration::from_millis(500);
/// Datagrams read in one turn.
const DATAGRAMS_MAX: usize = 16;
/// Bytes read in one turn.
const READ_MAX: usize = 4_096;
/// Two looks at one clock that are further apart than this say nothing about another one between.
const SAME_MOMENT: Span = Span::from_millis(10);
/// How long the last messages may take.
const DRAIN_LIMIT: Duration = Duration::from_millis(200);

/// Everything that one agent is made of, but its readers.
pub(crate) struct Driver {
    pub(crate) agent: Traced,
    /// What the machine is set to, for the next life.
    pub(crate) config: Config,
    pub(crate) life: Arc<Life>,
    pub(crate) clock: Clock,
    pub(crate) board: Arc<Board>,
    pub(crate) shelf: Arc<Shelf<Held>>,
    pub(crate) plan: PlanWriter<Arc<PlanCell>>,
    pub(crate) hello: Hello,
    pub(crate) server: String,
    pub(crate) link: Link,
    pub(crate) back_off: BackOff,
    /// How long a server may leave requests unanswered before the connection is made anew.
    pub(crate) silence_limit: Duration,
    /// What the last route was asked from.
    pub(crate) have: Option<Generation>,
    /// Content that the worker hasn't got yet, so that it gets larger pieces.
    pub(crate) arrived: Vec<u8>,
    /// The number of the newest verification; the outcome of another one is used for nothing.
    pub(crate) verification: u64,
    /// What is being verified.
    pub(crate) verifying: Option<Digest>,
    pub(crate) last_good: Option<Generation>,
    /// A time sample was asked for in a datagram, and is not yet waited for.
    pub(crate) awaits_datagram: bool,
    /// What the worker was told last of what is served and needed.
    pub(crate) settled: Option<(Option<Generation>, Vec<Digest>)>,
    pub(crate) copied: bool,
    pub(crate) jobs: Jobs,
    pub(crate) outcomes: channel::UnboundedReceiver<Outcome>,
    pub(crate) stop: oneshot::Receiver<()>,
    /// `None` where a checker took it away.
    pub(crate) second_source: Option<SecondSource>,
    pub(crate) last_now: LocalTime,
    pub(crate) receiver: Option<Box<Receiver>>,
}

enum Input {
    Wake,
    Link(LinkEvent),
    Outcome(Outcome),
    Stop,
}

impl Driver {
    /// Runs the agent until its handle stops it or is dropped.
    pub(crate) async fn run(mut self) {
        loop {
            match self.next_input().await {
                Input::Wake => self.on_wake(),
                Input::Link(event) => self.on_link(event),
                Input::Outcome(outcome) => self.on_outcome(outcome),
                Input::Stop => return self.on_stop().await,
            }
            self.await_datagrams();
            self.finish_turn();
        }
    }

    async fn next_input(&mut self) -> Input {
        let wait = match self.agent.poll_at() {
            PollAt::At(at) => self.clock.sleep_until(at, self.clock.now()).min(LONGEST_SLEEP),
            PollAt::Input => LONGEST_SLEEP,
        };
        tokio::select! {
            biased;
            event = self.link.event() => Input::Link(event),
            outcome = self.outcomes.recv() => match outcome {
                Some(outcome) => Input::Outcome(outcome),
                None => never().await,
            },
            _ = &mut self.stop => Input::Stop,
            // Never zero: a machine that wants to be woken again at once doesn't take the whole core.
            () = sleep(wait.max(Duration::from_micros(1))) => Input::Wake,
        }
    }

    /// The reading of an input. Where the clock broke, the machine is told so before anything
    /// else: what was asked before the jump is then not taken for a sample.
    pub(crate) fn input_time(&mut self) -> Reading {
        self.input_time_at(self.clock.read())
    }

    /// The same where the clock was read a moment ago.
    fn input_time_at(&mut self, reading: Reading) -> Reading {
        let now = reading.local;
        let Some(source) = &mut self.second_source else { return reading };
        let wall = wall_nanos();
        let same_moment = self.clock.now() - now <= SAME_MOMENT;
        let went_back = now < self.last_now;
        self.last_now = now;
        if went_back || (same_moment && source.jumped(now, wall)) {
            self.board.tell(now, What::ClockJumped);
            self.give(reading, &Given::ClockBroke, &Cause::default());
        }
        reading
    }

    /// Gives the machine an input, and carries out what it asks for.
    pub(crate) fn give(&mut self, reading: Reading, input: &Given, cause: &Cause<'_>) {
        let effects = self.agent.give(reading.host, reading.local, input);
        self.carry_out(reading, effects, cause);
    }

    fn on_wake(&mut self) {
        let reading = self.input_time();
        self.give(reading, &Given::Wake, &Cause::default());
        if let Link::Up(line) = &self.link
            && line.silent_since.is_some_and(|since| since.elapsed() > self.silence_limit)
        {
            self.lost(io::Error::new(io::ErrorKind::TimedOut, "the server no longer answers"));
        }
    }

    fn on_link(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Dial => self.link = Link::dial(self.server.clone()),
            LinkEvent::Dialed(Ok(stream)) => self.on_connected(stream),
            LinkEvent::Dialed(Err(error)) | LinkEvent::Ready(Err(error)) => self.lost(error),
            LinkEvent::Datagram => self.read_datagrams(),
            LinkEvent::Ready(Ok(ready)) => {
                let Link::Up(line) = &mut self.link else { return };
                let flushed = if ready.is_writable() { line.flush() } else { Ok(()) };
                if let Err(error) = flushed.and_then(|()| self.read()) {
                    self.lost(error);
                }
            }
        }
    }

    fn on_connected(&mut self, stream: TcpStream) {
        let reading = self.input_time();
        self.link = Link::Up(Line::new(stream));
        self.receiver = Some(Box::default());
        self.board.tell(reading.local, What::Connected);
        self.give(reading, &Given::Connected, &Cause::default());
    }

    /// The connection is gone, or none could be made.
    fn lost(&mut self, error: io::Error) {
        let reading = self.input_time();
        let was_up = matches!(self.link, Link::Up(_));
        self.link = Link::Down { until: Instant::now() + self.back_off.next() };
        self.board.tell(reading.local, What::Disconnected(error.to_string()));
        if was_up {
            self.give(reading, &Given::Disconnected, &Cause::default());
        }
    }

    /// Takes what has arrived, frame by frame.
    fn read(&mut self) -> io::Result<()> {
        let Link::Up(line) = &mut self.link else { return Ok(()) };
        let mut buffer = [0; READ_MAX];
        let Some(len) = line.read(&mut buffer)? else { return Ok(()) };
        // As early as can be: all of it has arrived by now.
        let reading = self.input_time();
        let mut rest = buffer.get(..len).unwrap_or_default();
        let Some(mut receiver) = self.receiver.take() else { return Ok(()) };
        while let Some(received) = receiver.next::<ToAgent<&[u8]>>(&mut rest) {
            match received {
                Ok(message) => self.on_message(reading, message),
                Err(fault) => self.board.tell(reading.local, What::BadFrame(fault)),
            }
        }
        self.receiver = Some(receiver);
        Ok(())
    }

    /// Takes the time samples that have arrived in datagrams.
    fn read_datagrams(&mut self) {
        // Bounded, so that a flood of them doesn't keep the rest waiting.
        for _ in 0..DATAGRAMS_MAX {
            let Link::Up(line) = &mut self.link else { return };
            let Some(path) = &mut line.time_path else { return };
            let Some((arrived, read)) = path.receive(|| self.clock.read()) else { return };
            self.on_datagram(arrived, read);
        }
    }

    /// One sample is asked for after the other: while they are answered at once, all are taken in one turn.
    fn await_datagrams(&mut self) {
        while std::mem::take(&mut self.awaits_datagram) {
            let Link::Up(line) = &mut self.link else { return };
            let Some(path) = &mut line.time_path else { return };
            let Some((arrived, read)) = path.receive_awake(|| self.clock.read()) else { return };
            self.on_datagram(arrived, read);
        }
    }

    fn on_datagram(&mut self, arrived: Arrived, read: Reading) {
        let reading = self.input_time_at(read);
        if let Arrived::Reply(TimeReply { incarnation, number, stamp }) = arrived {
            let reply = Reply { incarnation, number, stamp, body: ReplyBody::Time };
            self.give(reading, &Given::Receive(ToAgent::Reply(reply)), &Cause::default());
        }
    }

    /// Where datagrams are taken, and the key of this life's. It is the host's: no trace has it.
    fn on_time_path(&mut self, reading: Reading, incarnation: Incarnation, key: Key) {
        let Link::Up(line) = &mut self.link else { return };
        if incarnation == self.hello.incarnation
            && let Err(error) = line.open_time_path(incarnation, key)
        {
            let text = format!("time is sampled over the connection: no way for datagrams ({error})");
            self.board.tell(reading.local, What::Warning(text));
        }
    }

    fn on_message(&mut self, reading: Reading, message: ToAgent<&[u8]>) {
        if let ToAgent::TimePath { incarnation, key } = message {
            return self.on_time_path(reading, incarnation, key);
        }
        let bytes = match &message {
            ToAgent::Reply(Reply { body: ReplyBody::Bytes { bytes, .. }, .. }) => *bytes,
            _ => &[],
        };
        if matches!(message, ToAgent::Welcome(_)) {
            self.back_off.reset();
        }
        let input = Given::Receive(message.without_content());
        let route = match &input {
            Given::Receive(ToAgent::Reply(Reply { body: ReplyBody::Route(route), .. })) => Some(route),
            _ => None,
        };
        self.give(reading, &input, &Cause { bytes, route });
    }

    fn on_outcome(&mut self, outcome: Outcome) {
        let reading = self.input_time();
        match outcome {
            Outcome::Warning(text) => self.board.tell(reading.local, What::Warning(text)),
            Outcome::Verified { number, .. } if number != self.verification => {}
            Outcome::Verified { target, found, held, cause, .. } => {
                self.on_verified(reading, target, found, held, cause);
            }
            Outcome::Compacted { of, held, warning } => {
                warning.into_iter().for_each(|text| self.board.tell(reading.local, What::Warning(text)));
                self.on_compacted(reading.local, &of, held);
            }
            // It shows on the image, which is looked at when the turn ends.
            Outcome::Damaged(text) => self.board.tell(reading.local, What::Warning(text)),
        }
    }

    /// What every turn ends with.
    fn finish_turn(&mut self) {
        let reading = self.clock.read();
        while std::mem::take(&mut self.copied) {
            self.give(reading, &Given::Copied, &Cause::default());
        }
        self.look_for_damage(reading);
        self.board.note(reading.local, self.agent.phase(), self.agent.clock(), self.agent.table());
    }

    async fn on_stop(&mut self) {
        let reading = self.input_time();
        self.give(reading, &Given::ShutDown, &Cause::default());
        if let Link::Up(line) = &mut self.link {
            line.drain(DRAIN_LIMIT).await;
        }
    }
}
