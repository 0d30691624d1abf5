//! How messages hold the bytes of a fetch: borrowed from their frame, or as their number only, which is
//! all that a machine looks at. Content never enters it (PROTOCOL §5).

use super::{Reply, ReplyBody, ToAgent};

/// How a message holds the bytes of a fetch. A machine asks for their number only.
pub trait Piece: Clone {
    /// Their number.
    fn length(&self) -> u16;
}

impl Piece for u16 {
    fn length(&self) -> u16 {
        *self
    }
}

impl Piece for &[u8] {
    fn length(&self) -> u16 {
        // A frame's body is at most 1,024 bytes, so nothing is ever cut.
        u16::try_from(self.len()).unwrap_or(u16::MAX)
    }
}

impl<B> ReplyBody<B> {
    /// The same answer with its bytes held in another way.
    pub fn map_bytes<C>(self, hold: impl FnOnce(B) -> C) -> ReplyBody<C> {
        match self {
            ReplyBody::Table(table) => ReplyBody::Table(table),
            ReplyBody::Granted { grant, table } => ReplyBody::Granted { grant, table },
            ReplyBody::NotDue(table) => ReplyBody::NotDue(table),
            ReplyBody::Busy { table, retry_after } => ReplyBody::Busy { table, retry_after },
            ReplyBody::Advanced(table) => ReplyBody::Advanced(table),
            ReplyBody::Refused { why, table } => ReplyBody::Refused { why, table },
            ReplyBody::Unlocked => ReplyBody::Unlocked,
            ReplyBody::Route(route) => ReplyBody::Route(route),
            ReplyBody::Bytes { offset, total, bytes } => {
                ReplyBody::Bytes { offset, total, bytes: hold(bytes) }
            }
            ReplyBody::Gone => ReplyBody::Gone,
            ReplyBody::Noted => ReplyBody::Noted,
            ReplyBody::Time => ReplyBody::Time,
        }
    }
}

impl ReplyBody<&[u8]> {
    /// What the agent's machine is told: the number of the bytes in their place. Content never
    /// enters a machine (PROTOCOL §5); the host has put the bytes into its store before.
    pub fn without_content(self) -> ReplyBody<u16> {
        self.map_bytes(|bytes| bytes.length())
    }
}

impl<B> Reply<B> {
    /// The same reply with its bytes held in another way.
    pub fn map_bytes<C>(self, hold: impl FnOnce(B) -> C) -> Reply<C> {
        let Reply { incarnation, number, stamp, body } = self;
        Reply { incarnation, number, stamp, body: body.map_bytes(hold) }
    }
}

impl Reply<&[u8]> {
    /// See [`ReplyBody::without_content`].
    pub fn without_content(self) -> Reply<u16> {
        let Reply { incarnation, number, stamp, body } = self;
        Reply { incarnation, number, stamp, body: body.without_content() }
    }
}

impl<B> ToAgent<B> {
    /// The same message with its bytes held in another way.
    pub fn map_bytes<C>(self, hold: impl FnOnce(B) -> C) -> ToAgent<C> {
        match self {
            ToAgent::Welcome(welcome) => ToAgent::Welcome(welcome),
            ToAgent::Reply(reply) => ToAgent::Reply(reply.map_bytes(hold)),
            ToAgent::Error { incarnation, code } => ToAgent::Error { incarnation, code },
            ToAgent::TimePath { incarnation, key } => ToAgent::TimePath { incarnation, key },
        }
    }
}

impl ToAgent<&[u8]> {
    /// See [`ReplyBody::without_content`].
    pub fn without_content(self) -> ToAgent<u16> {
        match self {
            ToAgent::Reply(reply) => ToAgent::Reply(reply.without_content()),
            ToAgent::Welcome(welcome) => ToAgent::Welcome(welcome),
            ToAgent::Error { incarnation, code } => ToAgent::Error { incarnation, code },
            ToAgent::TimePath { incarnation, key } => ToAgent::TimePath { incarnation, key },
        }
    }
}
