//! What a run left behind, as facts: what readers saw, how the table was seen, which edits were
//! acknowledged. The checks judge it; nothing here does.
//!
//! Instants named `host` are nanoseconds of the host's undistorted clock, which all processes of a
//! run share and no agent goes by. Instants named `server` are nanoseconds of a farm's timeline.

use super::server_time;

/// How an agent treats what it can't prove.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Serves always, marks what may be out of date.
    Prompt,
    /// Serves only what is provably live.
    Strict,
}

/// Reads of one reader's thread that got the same answer one after the other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Span {
    /// The generation's number.
    pub epoch: u64,
    /// The generation's digest, in hexadecimal.
    pub digest: String,
    /// Whether the reads were marked stale.
    pub stale: bool,
    /// The host's instant of the look that justified the first of these reads.
    pub first: i64,
    /// The same of the last one that is known; a killed process may have made later ones.
    pub last: i64,
    /// What the reader found in the content.
    pub content: Content,
}

/// What was found in a generation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Content {
    /// All records of one edit, and nothing of another.
    Edit(u64),
    /// No edit was in it yet.
    Empty,
    /// Records of different edits, or damaged ones.
    Torn,
    /// The records have the generation's digest; which edit that is, the server's records tell.
    Whole,
    /// The reader got no hold of the records before they were replaced.
    Unseen,
}

/// One life of an agent's process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Life {
    /// Which agent: the same over its lives.
    pub agent: String,
    /// Its mode.
    pub mode: Mode,
    /// What its readers saw, each thread in its order.
    pub readers: Vec<Vec<Span>>,
    /// Its switches as it told them.
    pub switches: Vec<Switch>,
}

/// A switch that an agent told of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Switch {
    /// The generation that went live.
    pub epoch: u64,
    /// ε at the switch, in nanoseconds.
    pub epsilon: i64,
    /// The same as it was known when the plan was published by which its readers went over, in
    /// nanoseconds: larger where a later sample has put the switch before the instant at which it came.
    pub went_by: i64,
}

/// One look at the table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TableSeen {
    /// The timeline's counter and random part, as text.
    pub timeline: String,
    /// The staged generation's number.
    pub epoch: u64,
    /// Its digest.
    pub digest: String,
    /// T of it (server).
    pub activation: i64,
    /// The server's time at the look (server).
    pub now: i64,
    /// The host's instants before and after the look.
    pub host: (i64, i64),
}

/// When a generation went or goes live, exactly, by the server's own trace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GoesLive {
    /// The timeline on which it was staged.
    pub timeline: String,
    /// Its number.
    pub epoch: u64,
    /// Its digest.
    pub digest: String,
    /// T (host).
    pub host: i64,
}

/// A generation as the server keeps it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kept {
    /// Its number.
    pub epoch: u64,
    /// Its digest.
    pub digest: String,
    /// Which edit it holds, by the server's own records of it.
    pub content: Content,
}

/// An edit that was acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Acknowledged {
    /// Its number; they rise by one.
    pub edit: u64,
    /// The first epoch that holds it, as the server answered.
    pub epoch: u64,
}

/// All of a run.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct History {
    /// All lives of all agents.
    pub lives: Vec<Life>,
    /// How the table was seen, in the order of the looks.
    pub tables: Vec<TableSeen>,
    /// When generations went live, in the order in which they were staged; none where no server's trace
    /// tells.
    pub live: Vec<GoesLive>,
    /// The server's generations at the end, ascending.
    pub kept: Vec<Kept>,
    /// Acknowledged edits, ascending.
    pub edits: Vec<Acknowledged>,
    /// The edits whose own record is in production at the end.
    pub production: Vec<u64>,
    /// The farm's early limit, in nanoseconds.
    pub early_limit: i64,
}

impl History {
    /// All spans of one mode, or of both.
    pub fn spans(&self, mode: Option<Mode>) -> impl Iterator<Item = (&Life, &Span)> {
        let lives = self.lives.iter().filter(move |life| mode.is_none_or(|mode| life.mode == mode));
        lives.flat_map(|life| life.readers.iter().flatten().map(move |span| (life, span)))
    }

    /// The generation's earliest T and latest T on the host's clock, over all timelines on which it was
    /// staged: a new timeline may only put a T later that had not passed, but agents go by what they
    /// knew. By the server's own trace, else by looks from outside.
    pub fn activations(&self, epoch: u64) -> Option<(i64, i64)> {
        let exact = self.live.iter().filter(|live| live.epoch == epoch).map(|live| (live.host, live.host));
        let widest = |(earliest, latest): (i64, i64), (other, another): (i64, i64)| {
            (earliest.min(other), latest.max(another))
        };
        exact.reduce(widest).or_else(|| server_time::activations(&self.tables, epoch))
    }
}
