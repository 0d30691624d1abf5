//! The messages of PROTOCOL §4, as they stand in a frame. Types only: what a request does is in
//! `server`, what a reply does in `agent` and `step`, the bytes around them in `frame`.
//!
//! A version is a whole set of types (FORMATS "evolution"): variants are only appended, and no
//! existing type ever gets another field. The order of variants and fields *is* the wire format;
//! golden vectors in tests/ hold it still.

mod piece;

use crate::datagram::Key;
use crate::ids::{AgentId, Digest, Epoch, Generation, Incarnation, Name, TimelineId, Token};
use crate::settings::Limits;
use crate::table::TableView;
use crate::time::{LocalTime, Rate, ServerTime, Span};
use heapless::{String, Vec};
pub use piece::Piece;
use serde::{Deserialize, Serialize};

/// Version of this set of types.
pub const VERSION: u8 = 1;
/// Bytes in the longest access token.
pub const TOKEN_MAX: usize = 64;
/// Bytes of content in the longest `Fetch` reply.
pub const FETCH_MAX: usize = 768;
/// Objects in the longest route.
pub const ROUTE_MAX: usize = 8;
/// Datasets that an agent can subscribe to by name.
pub const DATASETS_MAX: usize = 8;

/// The first message of a connection, and of each life of a device on a serial line.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Hello {
    /// The highest version of the protocol that the agent speaks.
    pub version: u8,
    /// The farm that it belongs to.
    pub farm: Name,
    /// Who it is.
    pub agent: AgentId,
    /// A name for people.
    pub display: String<{ crate::ids::NAME_MAX }>,
    /// In which life it is.
    pub incarnation: Incarnation,
    /// Its access token; empty where none is asked for.
    pub token: String<TOKEN_MAX>,
    /// Datasets that it subscribes to; empty means all of the farm.
    pub datasets: Vec<Name, DATASETS_MAX>,
}

/// The answer to a [`Hello`] that was accepted.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Welcome {
    /// Echo of the incarnation that said hello.
    pub incarnation: Incarnation,
    /// The version spoken from here on.
    pub version: u8,
    /// The farm's timeline.
    pub timeline: TimelineId,
    /// ρ_s: the largest rate error of the server's clock.
    pub server_rate: Rate,
    /// The farm's limits.
    pub limits: Limits,
    /// Whether this agent may ask for the lock.
    pub may_lock: bool,
}

/// A request with its id (the agent's id is the connection's).
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Request {
    /// The life of the agent that asks.
    pub incarnation: Incarnation,
    /// Number within that life.
    pub number: u64,
    /// `a`: when this transmission left, by the agent's clock. A host sets it as late as it can.
    pub sent: LocalTime,
    /// What is asked.
    pub body: RequestBody,
}

/// What an agent asks for.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum RequestBody {
    /// The table, as one snapshot; its answer is a time sample, as every answer is. Agents ask this first.
    Read,
    /// The lock (step 220), by an agent that saw T passed.
    Lock,
    /// A new cycle (steps 226 to 232).
    Advance {
        /// Of the grant.
        token: Token,
        /// T, as the initiator computed it.
        activation: ServerTime,
    },
    /// The lock back, without a change (step 232).
    Unlock {
        /// Of the grant.
        token: Token,
    },
    /// Which objects lead to a generation.
    Route {
        /// The generation that is wanted.
        target: Generation,
        /// What the agent has, for a delta.
        have: Option<Generation>,
        /// Whether it takes uncompressed snapshots only.
        snapshots_only: bool,
    },
    /// Bytes of an object (step 234).
    Fetch {
        /// Its name.
        object: Digest,
        /// First byte.
        offset: u64,
        /// Bytes wanted, at most [`FETCH_MAX`].
        len: u16,
    },
    /// What the agent does, for operators. Never decides what is live.
    Report(Report),
    /// A time sample and nothing else (PROTOCOL §2). It touches no table, so it may travel in a datagram
    /// (`datagram`), past whatever the connection is busy with.
    Time,
}

/// What an agent tells operators (PROTOCOL §4 `Report`).
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Where it is in its cycle.
    pub phase: Phase,
    /// What its plan names as active.
    pub active: Option<Generation>,
    /// What its plan names as staged.
    pub staged: Option<Generation>,
    /// Its estimate of server time less local time, in nanoseconds.
    pub offset: i64,
    /// ε at the report.
    pub epsilon: Span,
    /// Its last switch.
    pub switched: Option<Switched>,
    /// Why it refused the staged generation, where it did.
    pub veto: Option<Veto>,
}

/// A switch as the agent's plan had it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Switched {
    /// To which epoch.
    pub epoch: Epoch,
    /// When, by the agent's estimate of the server's clock.
    pub at: ServerTime,
    /// ε of that estimate.
    pub epsilon: Span,
    /// How long reads were held for it.
    pub held: Span,
}

/// Where an agent is in its cycle (PROTOCOL §5), as told to people.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Phase {
    /// Not yet welcomed.
    Greeting,
    /// Reads the table.
    Reading,
    /// Asks for the lock.
    Locking,
    /// Begins the next cycle.
    Advancing,
    /// Retrieves a generation.
    Retrieving,
    /// Holds the staged generation and waits for T.
    Armed,
    /// Copies staged to active.
    Activating,
    /// T has passed and nothing newer is staged.
    Current,
    /// Waits before it tries again.
    Waiting,
    /// What its readers get is marked stale (prompt, PROTOCOL §6). Told in place of where it is.
    Stale,
    /// Its readers get an error (strict, PROTOCOL §6). Told in place of where it is.
    Fenced,
}

/// Why an agent won't stage a generation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Veto {
    /// It doesn't fit where it must be kept.
    TooLarge,
    /// The host's own validation refuses it.
    Invalid,
    /// The host can't keep it (a full or broken disk).
    Storage,
}

/// What belongs to the *transmission* of an answer, made anew each time it is sent (PROTOCOL §2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Stamp {
    /// The line of the two instants.
    pub timeline: TimelineId,
    /// `a`, as it came with the request.
    pub echo: LocalTime,
    /// `r`: when the request arrived; an upper bound of the server's clock then.
    pub received: ServerTime,
    /// `s`: when this answer leaves; a lower bound of the server's clock then.
    pub answered: ServerTime,
}

/// A reply with the id of its request.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Reply<B> {
    /// The life of the agent that asked.
    pub incarnation: Incarnation,
    /// Number of the request.
    pub number: u64,
    /// The times of this transmission.
    pub stamp: Stamp,
    /// What is answered.
    pub body: ReplyBody<B>,
}

/// Lock granted (steps 220, 222): what the initiator needs to compute T.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Grant {
    /// Fencing token.
    pub token: Token,
    /// When it was granted, by the server's clock.
    pub granted_at: ServerTime,
    /// The scheduled instant to take into account.
    pub due: Option<ServerTime>,
}

/// Answers to requests. `B` is how the bytes of a fetch are held: borrowed from a frame, or only
/// their number, as the agent's machine is told (content never enters a machine).
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum ReplyBody<B> {
    /// To `Read`.
    Table(TableView),
    /// To `Lock`: it is yours.
    Granted {
        /// The grant.
        grant: Grant,
        /// The table as granted.
        table: TableView,
    },
    /// To `Lock`: T has not passed at the server, or the farm is held (the table says which).
    NotDue(TableView),
    /// To `Lock`: somebody else holds it.
    Busy {
        /// The table.
        table: TableView,
        /// When the lease ends, from now.
        retry_after: Span,
    },
    /// To `Advance`: the cycle has begun.
    Advanced(TableView),
    /// To `Advance`: nothing was changed.
    Refused {
        /// Why.
        why: Refusal,
        /// The table.
        table: TableView,
    },
    /// To `Unlock`.
    Unlocked,
    /// To `Route`.
    Route(Route),
    /// To `Fetch`.
    Bytes {
        /// First byte.
        offset: u64,
        /// Length of the whole object.
        total: u64,
        /// The bytes.
        bytes: B,
    },
    /// To `Route` and `Fetch`: superseded; read the table again.
    Gone,
    /// To `Report`.
    Noted,
    /// To `Time`: all that it says is in the stamp.
    Time,
}

/// The objects that lead to a generation, in the order in which they are applied.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Route {
    /// Names and lengths in bytes.
    pub objects: Vec<ObjectRef, ROUTE_MAX>,
}

/// One object of a route.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct ObjectRef {
    /// Its name: BLAKE3 of its bytes, as they are fetched.
    pub name: Digest,
    /// Their number.
    pub len: u64,
}

/// Why an `Advance` was refused. The table is unchanged in every case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Refusal {
    /// No lock, or another token than the lock's: a holder that was too slow (normal).
    NotHolder,
    /// The lease ended (normal).
    LeaseOver,
    /// Another activation than the one fixed at the grant (the initiator's fault).
    WrongActivation,
    /// T has not passed by the server's clock: it went back after the grant. (Granted before T: can't
    /// happen to a table that this core wrote, but a fault of the store ends here too.)
    GrantedEarly,
}

/// Why a connection is refused; the state is unchanged.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum ErrorCode {
    /// A request came before a `Hello`, or of another life than the one that said it.
    HelloFirst,
    /// The version is not spoken here.
    Version,
    /// The token is not known, or not good for this farm.
    Unauthorized,
    /// There is no such farm here.
    NoFarm,
    /// Something is longer than a limit allows.
    TooLarge,
    /// Too much to do; try again later.
    Busy,
}

/// Everything that an agent sends.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "no allocator to box with; one message is held at a time")]
pub enum ToServer {
    /// First of all.
    Hello(Hello),
    /// Then these.
    Request(Request),
}

/// The same, borrowed: its bytes are those of the [`ToServer`] that it would be. For hosts with a small
/// stack, on which a request need not take the room of a `Hello`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize)]
pub enum ToServerRef<'a> {
    /// First of all.
    Hello(&'a Hello),
    /// Then these.
    Request(&'a Request),
}

/// Everything that a server sends.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "no allocator to box with; one message is held at a time")]
pub enum ToAgent<B> {
    /// To a `Hello`.
    Welcome(Welcome),
    /// To a request.
    Reply(Reply<B>),
    /// To what can't be answered otherwise.
    Error {
        /// The life that it is for; zero where none is known.
        incarnation: Incarnation,
        /// Why.
        code: ErrorCode,
    },
    /// After a `Welcome`, where the server takes datagrams at the connection's own address and port: the
    /// key of this life's. The host keeps it; machines have no use for it.
    TimePath {
        /// The life that it is for.
        incarnation: Incarnation,
        /// What its datagrams are authenticated with.
        key: Key,
    },
}
