//! What stands in a trace: one [`Line`] a line, as JSON (docs/formats.md). Types only; who writes lines
//! is in `recorder`, what they have to agree with in `replay`.
//!
//! `at` is always the host's undistorted clock in nanoseconds, which all processes of a host share
//! (but for what `begin` says): it says when, and no machine ever sees it. `now` is the reading that
//! the machine was given.

use downbeat_core::agent::{Agent, Config, Start};
use downbeat_core::effect::{Effects, Verified};
use downbeat_core::guard::Guards;
use downbeat_core::ids::{BootId, Digest, Epoch, Generation, Incarnation, Name, RequestId, TimelineId};
use downbeat_core::message::{ReplyBody, RequestBody, ToAgent};
use downbeat_core::server::{Effect, Verdict};
use downbeat_core::serving::Serving;
use downbeat_core::settings::Settings;
use downbeat_core::table::SyncTable;
use downbeat_core::time::{LocalTime, Rate, ServerTime, Span};
use downbeat_core::timeline::{Line as Slope, OldLine};
use serde::{Deserialize, Serialize};

/// The version of the format.
pub const VERSION: u8 = 1;

/// One line of a trace.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[expect(clippy::large_enum_variant, reason = "lines are handled one at a time")]
pub enum Line {
    /// A process begins to write; the first line of a file, and of each process that appended to it.
    Begin {
        /// Of the format.
        version: u8,
        /// The host's boot: traces of different boots or hosts share no clock.
        host: u64,
        /// How far the process sees the host's clock ahead of what it is: a time namespace of its own.
        #[serde(default, skip_serializing_if = "is_zero")]
        ahead: Span,
    },
    /// An agent's machine is made: a life begins.
    Agent {
        /// When.
        at: LocalTime,
        /// The farm that it belongs to.
        farm: Name,
        /// What it is set to.
        config: Config,
        /// What it starts with.
        start: Start,
    },
    /// An input of an agent's machine, and all that the machine asked for.
    In {
        /// When.
        at: LocalTime,
        /// Of which life.
        life: Incarnation,
        /// By the life's own clock.
        now: LocalTime,
        /// What came in.
        input: Input,
        /// What came out.
        out: Effects,
    },
    /// A server starts.
    Server {
        /// When.
        at: LocalTime,
        /// Its guards.
        guards: Guards,
        /// ρ_s.
        rate: Rate,
        /// Which boot it takes this for.
        boot: BootId,
    },
    /// The server's clock from here on: written before a time of it is given out.
    Clock {
        /// When, by the reading that it was made from.
        at: LocalTime,
        /// The timeline.
        timeline: TimelineId,
        /// How it came to be in force.
        how: How,
        /// The line.
        line: Slope,
    },
    /// A farm's table as a server found it at its start.
    Found {
        /// When.
        at: LocalTime,
        /// The table.
        table: SyncTable,
    },
    /// A farm's table goes over to a new timeline. Written before it is committed.
    Over {
        /// When.
        at: LocalTime,
        /// What is known of the old line.
        old: OldLine,
        /// The new line's reading.
        now: ServerTime,
        /// The table on the old line.
        before: SyncTable,
        /// The table on the new line.
        table: SyncTable,
    },
    /// A farm is made. Written before it is committed.
    Made {
        /// When.
        at: LocalTime,
        /// The server's reading.
        now: ServerTime,
        /// The first scheduled instant that counts.
        due: Option<ServerTime>,
        /// Its first table.
        table: SyncTable,
    },
    /// A request that was answered by a transaction. Written before it is committed.
    Transaction {
        /// When.
        at: LocalTime,
        /// Of which farm.
        farm: Name,
        /// The server's reading inside the transaction.
        now: ServerTime,
        /// Who asked.
        id: RequestId,
        /// What was asked.
        request: RequestBody,
        /// What core asked the content, and was told.
        facts: Vec<Fact>,
        /// What is answered.
        reply: ReplyBody<u16>,
        /// What happens to the content.
        effect: Effect,
        /// The table from then on; absent where it stays as it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        table: Option<SyncTable>,
    },
    /// A request that was answered from the table as last committed. Written before the answer leaves.
    Answer {
        /// When the clock was read.
        at: LocalTime,
        /// Of which farm.
        farm: Name,
        /// The server's reading.
        now: ServerTime,
        /// Who asked.
        id: RequestId,
        /// What was asked.
        request: RequestBody,
        /// What is answered.
        reply: ReplyBody<u16>,
    },
    /// What an operator did to a table. Written before it is committed.
    Operated {
        /// When.
        at: LocalTime,
        /// Of which farm.
        farm: Name,
        /// The server's reading inside the transaction.
        now: ServerTime,
        /// What was done.
        change: Change,
        /// The table from then on.
        table: SyncTable,
    },
    /// The last change of the farm's table is committed and published.
    Committed {
        /// After that.
        at: LocalTime,
        /// Of which farm.
        farm: Name,
    },
    /// The last change of the farm's table failed and was undone.
    Undone {
        /// After that.
        at: LocalTime,
        /// Of which farm.
        farm: Name,
    },
    /// A read of a reader. Between two neighbouring lines of a reader with the same outcome all its
    /// reads had that outcome.
    Read {
        /// The look at the clock that justified the read, on the host's clock.
        at: LocalTime,
        /// Of which life.
        life: Incarnation,
        /// Which of the life's readers.
        reader: u32,
        /// The same look on the life's own clock.
        now: LocalTime,
        /// What the read got.
        got: Serving,
        /// The digest of the records that were got, computed from them, where that was done.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        records: Option<Digest>,
    },
    /// A look at the table from outside, bracketed by the host's clock.
    Look {
        /// The earliest instant at which the server can have had the time below.
        from: LocalTime,
        /// The latest one.
        to: LocalTime,
        /// Of which farm.
        farm: Name,
        /// The timeline.
        timeline: TimelineId,
        /// The server's time.
        now: ServerTime,
        /// The staged generation.
        staged: Generation,
        /// When it goes live.
        activation: ServerTime,
    },
    /// Somebody entered a scheduled record, and was answered.
    Scheduled {
        /// After the answer.
        at: LocalTime,
        /// Of which farm.
        farm: Name,
        /// A name for it.
        record: String,
        /// From when it counts.
        from: ServerTime,
        /// Until when.
        until: Option<ServerTime>,
        /// The newest epoch that was staged before it was entered.
        after: Epoch,
    },
    /// Whether a scheduled record was seen in a generation.
    Shown {
        /// When.
        at: LocalTime,
        /// Of which farm.
        farm: Name,
        /// The record's name.
        record: String,
        /// The generation.
        generation: Generation,
        /// Whether it was there.
        shown: bool,
    },
    /// What production was made to hold by its only editor, and was answered.
    Fed {
        /// After the answer.
        at: LocalTime,
        /// Of which farm.
        farm: Name,
        /// The first epoch that can hold it, as the server answered.
        from: Epoch,
        /// The digest that a generation of these records alone has, scheduled ones left out.
        records: Digest,
    },
    /// What was found in a generation by a read that kept hold of it.
    Held {
        /// When.
        at: LocalTime,
        /// Of which life.
        life: Incarnation,
        /// The generation.
        generation: Generation,
        /// The digest of its records, computed from them.
        records: Digest,
        /// The same of those that are not scheduled.
        unscheduled: Digest,
    },
    /// The process ends in order; nothing of it follows.
    End {
        /// When.
        at: LocalTime,
    },
    /// Lines could not be written here; nothing of the process follows.
    Incomplete {
        /// When.
        at: LocalTime,
    },
}

fn is_zero(span: &Span) -> bool {
    *span == Span::ZERO
}

impl Line {
    /// The line of a process that saw the host's clock so far ahead of what it is, by the host's clock
    /// as it is. Only what is of that clock moves: readings of an agent's own clock stay.
    #[must_use]
    pub fn without(mut self, ahead: Span) -> Line {
        let take_off = |at: &mut LocalTime| *at = *at - ahead;
        match &mut self {
            Line::Begin { .. } => {}
            // A server's lines are made of the host's clock.
            Line::Clock { at, line, .. } => [at, &mut line.bend_local].into_iter().for_each(take_off),
            Line::Look { from, to, .. } => [from, to].into_iter().for_each(take_off),
            Line::Agent { at, .. }
            | Line::In { at, .. }
            | Line::Server { at, .. }
            | Line::Found { at, .. }
            | Line::Over { at, .. }
            | Line::Made { at, .. }
            | Line::Transaction { at, .. }
            | Line::Answer { at, .. }
            | Line::Operated { at, .. }
            | Line::Committed { at, .. }
            | Line::Undone { at, .. }
            | Line::Read { at, .. }
            | Line::Scheduled { at, .. }
            | Line::Shown { at, .. }
            | Line::Fed { at, .. }
            | Line::Held { at, .. }
            | Line::End { at }
            | Line::Incomplete { at } => take_off(at),
        }
        self
    }
}

/// How a server's clock came to be in force.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum How {
    /// A new timeline.
    Begun {
        /// The wall clock that it was begun from.
        wall: ServerTime,
    },
    /// The stored line of the same boot.
    Continued,
    /// A new mark, and perhaps a new slope.
    Renewed {
        /// The wall clock that it is slewed toward.
        wall: ServerTime,
    },
}

/// What an operator did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Change {
    /// Held the farm.
    Hold {
        /// H.
        until: Option<ServerTime>,
    },
    /// Ended the hold.
    Unhold,
    /// Changed the settings.
    Settings(Settings),
}

/// A question that core asked of the content within a transaction, and the answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fact {
    /// The first scheduled instant at or after one.
    FirstDue {
        /// At or after this.
        from: ServerTime,
        /// The answer.
        due: Option<ServerTime>,
    },
    /// Whether production may become the next generation.
    Verdict {
        /// As of this activation.
        activation: ServerTime,
        /// The answer.
        verdict: Verdict,
    },
}

/// An input of an agent's machine: all of them but its making.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "inputs are handled one at a time")]
pub enum Input {
    /// [`Agent::connected`].
    Connected,
    /// [`Agent::disconnected`].
    Disconnected,
    /// [`Agent::receive`].
    Receive(ToAgent<u16>),
    /// [`Agent::verified`].
    Verified {
        /// What was verified.
        target: Generation,
        /// What was found.
        found: Verified,
    },
    /// [`Agent::copied`].
    Copied,
    /// [`Agent::wake`].
    Wake,
    /// [`Agent::clock_broke`].
    ClockBroke,
    /// [`Agent::shut_down`].
    ShutDown,
}

impl Input {
    /// Hands the input to a machine: hosts and the replay alike do it here.
    pub fn give(&self, agent: &mut Agent, now: LocalTime) -> Effects {
        match self {
            Input::Connected => agent.connected(now),
            Input::Disconnected => agent.disconnected(now),
            Input::Receive(message) => agent.receive(now, message),
            Input::Verified { target, found } => agent.verified(now, *target, *found),
            Input::Copied => agent.copied(now),
            Input::Wake => agent.wake(now),
            Input::ClockBroke => agent.clock_broke(now),
            Input::ShutDown => agent.shut_down(now),
        }
    }
}
