//! The driver: next input, hand it to core's machine, carry out what it asks for, wait until it wants
//! to be woken. Bounded work per turn: one read of a few bytes, one piece of work on the flash.
//!
//! How effects are carried out is in `effects`. No decision about epochs, times, locks or promises is
//! made here; a late timer delays nothing that readers see, because activation is a comparison.

use crate::clock;
use crate::effects::{Cause, Due, Host};
use crate::flash::{PIECE_MAX, Step, Storage};
use crate::late::Late;
use crate::memory::Memory;
use crate::settings::{Greeting, SEND_MAX, Settings};
use crate::status::count;
use crate::tell;
use core::fmt;
use core::future::{Future, pending};
use core::pin::{Pin, pin};
use downbeat_core::agent::{self, Accepts, Input, Start};
use downbeat_core::effect::{PollAt, Verified};
use downbeat_core::frame::Receiver;
use downbeat_core::ids::Generation;
use downbeat_core::message::{Reply, ReplyBody, ToAgent};
use downbeat_core::time::LocalTime;
use embassy_futures::select::{Either, Either3, select, select3};
use embassy_futures::yield_now;
use embassy_sync::blocking_mutex::raw::RawMutex;
use embassy_time::{Duration, Instant, Timer};
use embedded_io_async::{Read, Write};

/// Bytes read in one turn.
const READ_MAX: usize = 64;

/// Why a stream is no longer served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lost<R, W> {
    /// The stream has ended: the other side closed it.
    Ended,
    /// Reading failed.
    Read(R),
    /// Writing failed.
    Write(W),
    /// The server left requests unanswered for longer than the settings' `silence_limit`.
    Silent,
}

impl<R, W> fmt::Display for Lost<R, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Lost::Ended => "the server closed the connection",
            Lost::Read(_) => "the connection can't be read",
            Lost::Write(_) => "the connection can't be written",
            Lost::Silent => "the server no longer answers",
        })
    }
}

/// What of an agent is large and never moves.
pub(crate) struct Work {
    machine: Late<agent::Agent>,
    receiver: Receiver,
    /// The frame that is being sent.
    frame: [u8; SEND_MAX],
}

impl Work {
    pub(crate) const NEW: Work =
        Work { machine: Late::Empty, receiver: Receiver::new(), frame: [0; SEND_MAX] };
}

/// An agent: everything of it but its readers. One task drives it, over one stream after the other.
pub struct Agent<M: RawMutex + 'static, const BYTES: usize, S> {
    machine: &'static mut agent::Agent,
    receiver: &'static mut Receiver,
    host: Host<M, BYTES, S>,
    silence_limit: Option<Duration>,
    connected: bool,
    /// Since when nothing was heard while something was waited for.
    silent_since: Option<Instant>,
    last_now: LocalTime,
}

impl<M: RawMutex, const BYTES: usize, S: Storage> Agent<M, BYTES, S> {
    pub(crate) fn new(
        memory: &'static Memory<M, BYTES>,
        work: &'static mut Work,
        settings: &Settings,
        greeting: Greeting,
        start: Start,
        storage: S,
    ) -> Self {
        let mut config = settings.config;
        config.granularity = config.granularity.max(clock::GRANULARITY);
        config.accepts = Accepts::Snapshots;
        let Work { machine, receiver, frame } = work;
        Agent {
            machine: machine.filled(|| agent::Agent::new(config, start)),
            receiver,
            host: Host::new(memory, greeting, storage, frame),
            silence_limit: settings.silence_limit,
            connected: false,
            silent_since: None,
            last_now: start.now,
        }
    }

    /// Drives the agent over a byte stream until the stream ends, fails or is silent for too long.
    ///
    /// Between two streams the agent goes on by [`Agent::offline_until`]. The future may be dropped;
    /// the agent then takes the stream for lost. A read of the stream is never dropped half way while
    /// the future lives. Where a write blocks, nothing is read meanwhile.
    pub async fn run<R: Read, W: Write>(
        &mut self,
        input: &mut R,
        output: &mut W,
    ) -> Lost<R::Error, W::Error> {
        self.on_connected();
        let lost = self.converse(input, output).await;
        self.on_disconnected();
        lost
    }

    /// Drives the agent while there is no stream, until `connect` has made another one (or whatever
    /// else it waits for): a switch that is planned is made, last good generations are served in time.
    pub async fn offline_until<F: Future>(&mut self, connect: F) -> F::Output {
        self.on_disconnected();
        let mut connect = pin!(connect);
        loop {
            match select3(&mut connect, wait(self.machine.poll_at()), moment(self.stores())).await {
                Either3::First(connected) => return connected,
                Either3::Second(()) => self.wake(),
                Either3::Third(()) => self.store(),
            }
        }
    }

    async fn converse<R: Read, W: Write>(
        &mut self,
        input: &mut R,
        output: &mut W,
    ) -> Lost<R::Error, W::Error> {
        let mut chunk = [0; READ_MAX];
        loop {
            let taken = {
                let mut read = pin!(input.read(&mut chunk));
                self.next_read(read.as_mut(), output).await
            };
            match taken {
                Ok((_, Ok(0))) => return Lost::Ended,
                Ok((arrived, Ok(len))) => self.take_in(arrived, chunk.get(..len).unwrap_or_default()),
                Ok((_, Err(error))) => return Lost::Read(error),
                Err(lost) => return lost,
            }
        }
    }

    /// Waits until `read` is done, and does everything else meanwhile.
    async fn next_read<F: Future, W: Write, E>(
        &mut self,
        mut read: Pin<&mut F>,
        output: &mut W,
    ) -> Result<(LocalTime, F::Output), Lost<E, W::Error>> {
        loop {
            let frame = self.host.take_frame();
            if !frame.is_empty() {
                self.silent_since.get_or_insert_with(Instant::now);
                let mut write = pin!(send(output, frame));
                match select(&mut write, read.as_mut()).await {
                    Either::First(written) => written.map_err(Lost::Write)?,
                    Either::Second(read) => {
                        // Of which the arrival counts, not when it is looked at.
                        let arrived = clock::now();
                        write.await.map_err(Lost::Write)?;
                        return Ok((arrived, read));
                    }
                }
                continue;
            }
            let wait = self.wait();
            match select3(read.as_mut(), wait, moment(self.stores())).await {
                Either3::First(read) => return Ok((clock::now(), read)),
                Either3::Second(()) => self.wake(),
                Either3::Third(()) => self.store(),
            }
            if self.is_silent() {
                return Err(Lost::Silent);
            }
        }
    }

    /// Until the machine wants to be woken, or the silence is too long.
    fn wait(&self) -> impl Future<Output = ()> + use<M, BYTES, S> {
        let silent_at = self.silent_since.zip(self.silence_limit).map(|(since, limit)| since + limit);
        let poll_at = self.machine.poll_at();
        async move {
            match silent_at {
                Some(at) => {
                    select(wait(poll_at), Timer::at(at)).await;
                }
                None => wait(poll_at).await,
            }
        }
    }

    fn is_silent(&self) -> bool {
        let limit = self.silence_limit;
        self.silent_since.zip(limit).is_some_and(|(since, limit)| since.elapsed() >= limit)
    }

    fn on_connected(&mut self) {
        self.on_disconnected();
        *self.receiver = Receiver::new();
        // Not over this stream what was meant for the one before.
        self.host.drop_frame();
        self.connected = true;
        self.host.memory.with(|shared| count(&mut shared.board.counters.connections));
        let now = self.input_time();
        self.give(now, Input::Connected);
    }

    fn on_disconnected(&mut self) {
        self.silent_since = None;
        if core::mem::take(&mut self.connected) {
            let now = self.input_time();
            self.give(now, Input::Disconnected);
        }
    }

    fn wake(&mut self) {
        let now = self.input_time();
        self.give(now, Input::Wake);
    }

    /// The reading of an input. A clock that went back is no clock to go by; the machine is told so.
    fn input_time(&mut self) -> LocalTime {
        self.input_time_at(clock::now())
    }

    fn input_time_at(&mut self, now: LocalTime) -> LocalTime {
        let went_back = now < self.last_now;
        self.last_now = now;
        if went_back {
            tell::warning("the clock went back");
            self.give(now, Input::ClockBroke);
        }
        now
    }

    /// Takes what has arrived, frame by frame.
    fn take_in(&mut self, arrived: LocalTime, chunk: &[u8]) {
        self.silent_since = None;
        let now = self.input_time_at(arrived);
        let mut rest = chunk;
        while self.take_frame(now, &mut rest) {
            // Not below the frame that has the message: a device's stack is small.
            self.finish_input();
        }
        let dropped = self.receiver.dropped();
        self.host.memory.with(|shared| shared.board.counters.bad_frames = dropped);
    }

    /// Takes the next frame; false where there is none yet.
    #[inline(never)]
    fn take_frame(&mut self, now: LocalTime, rest: &mut &[u8]) -> bool {
        let (machine, host) = (&mut *self.machine, &mut self.host);
        let taken = self.receiver.with_next(rest, |received: Result<&ToAgent<&[u8]>, _>| {
            // Dropped and counted, where it is none.
            let Ok(message) = received else { return };
            let cause = match message {
                ToAgent::Reply(Reply { body: ReplyBody::Bytes { bytes, .. }, .. }) => {
                    Cause { bytes, object: None }
                }
                ToAgent::Reply(Reply { body: ReplyBody::Route(route), .. }) => Cause::route(route),
                _ => Cause::default(),
            };
            machine.input(now, Input::Receive(message), &mut |effect| host.carry_out(effect, &cause));
        });
        taken.is_some()
    }

    /// Gives the machine an input, and carries out what it asks for.
    fn give(&mut self, now: LocalTime, input: Input<'_, &[u8]>) {
        self.hand_in(now, input);
        self.finish_input();
    }

    /// Effects are carried out as they come: there is no room for all that one input may have.
    #[inline(never)]
    fn hand_in(&mut self, now: LocalTime, input: Input<'_, &[u8]>) {
        let (host, cause) = (&mut self.host, Cause::default());
        self.machine.input(now, input, &mut |effect| host.carry_out(effect, &cause));
    }

    /// Does what the input left to be done, and tells the machine what came of it.
    fn finish_input(&mut self) {
        while let Some(due) = self.host.take_due() {
            let answer = match due {
                Due::Begin => {
                    let machine = &*self.machine;
                    let kept = |digest| machine.keeps(Generation { epoch: 0, digest });
                    let veto = self.host.begin(&kept);
                    veto.map(|(target, why)| Input::Verified { target, found: Verified::Vetoed(why) })
                }
                Due::Verify => self.host.verify().map(|(target, found)| Input::Verified { target, found }),
                Due::Copy => {
                    self.host.copy(self.last_now);
                    Some(Input::Copied)
                }
            };
            self.last_now = clock::now().max(self.last_now);
            if let Some(answer) = answer {
                self.hand_in(self.last_now, answer);
            }
        }
        self.tell();
    }

    /// What the status shows.
    #[inline(never)]
    fn tell(&self) {
        self.host.memory.with(|shared| {
            shared.board.phase = self.machine.phase();
            shared.board.clock = Some(*self.machine.clock());
            shared.board.connected = self.connected;
        });
    }

    fn stores(&self) -> bool {
        self.host.storage.wants().is_some()
    }

    /// One piece of work on the flash. No reader is kept out while it is done.
    fn store(&mut self) {
        let Some(want) = self.host.storage.wants() else { return };
        let (mut piece, memory) = ([0; PIECE_MAX], self.host.memory);
        // For an erasure, or the header, nothing is copied; the content may be gone.
        let copied = if want.len == 0 {
            Some(())
        } else {
            memory.with(|shared| {
                let from = shared.content(want.digest)?.get(want.from..want.from + want.len)?;
                piece.get_mut(..want.len)?.copy_from_slice(from);
                Some(())
            })
        };
        let step = match copied {
            Some(()) => self.host.storage.step(piece.get(..want.len).unwrap_or_default()),
            None => {
                self.host.storage.forget(want.digest);
                Step::Going
            }
        };
        memory.with(|shared| match step {
            Step::Going => {}
            Step::Stored => count(&mut shared.board.counters.stored),
            Step::Failed => count(&mut shared.board.counters.storage_faults),
        });
    }
}

async fn send<W: Write>(output: &mut W, frame: &[u8]) -> Result<(), W::Error> {
    output.write_all(frame).await?;
    output.flush().await
}

/// Until the machine wants to be woken.
async fn wait(poll_at: PollAt) {
    match poll_at {
        // Never at once: a machine that wants to be woken again doesn't keep other tasks waiting.
        PollAt::At(at) => Timer::at(clock::instant(at).max(Instant::now() + Duration::from_ticks(1))).await,
        PollAt::Input => pending().await,
    }
}

/// The next moment in which nothing else is to be done, where one is wished for.
async fn moment(wished: bool) {
    if wished { yield_now().await } else { pending().await }
}
