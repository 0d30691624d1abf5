//! A time exchange in two datagrams (PROTOCOL §2, FORMATS "datagram"): what bulk data on the connection
//! can't delay. Only `Time` requests and their answers travel so; everything else is a `frame`.
//!
//! A datagram has a fixed length and ends with a keyed digest of all before it, because anybody can send
//! one: the key came over the connection (`TimePath`), whose access was checked. Whoever can read the
//! connection has the key; encrypting that is the connection's matter. A repeated, delayed or lost
//! datagram is what any message may be, and does no harm.

use crate::ids::{Incarnation, TimelineId};
use crate::message::{Stamp, VERSION};
use crate::time::{LocalTime, ServerTime};
use core::fmt;
use serde::{Deserialize, Serialize};

/// Bytes of a request.
pub const REQUEST_LEN: usize = HEAD_LEN + 8 + DIGEST_LEN;
/// Bytes of an answer.
pub const REPLY_LEN: usize = HEAD_LEN + 5 * 8 + DIGEST_LEN;

/// Version, kind, incarnation, number.
const HEAD_LEN: usize = 2 + 8 + 8;
const DIGEST_LEN: usize = blake3::OUT_LEN;
/// A request sent back to whoever made it is no answer.
const REQUEST: u8 = 1;
const REPLY: u8 = 2;

/// What the datagrams of one life of an agent are authenticated with.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Key([u8; 32]);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // It is a secret, and logs are read by others.
        f.write_str("Key(…)")
    }
}

impl Key {
    /// A key of so many random bytes: a server draws one at its start.
    pub const fn new(random: [u8; 32]) -> Key {
        Key(random)
    }

    /// The key of one life, made of the server's own: so a server keeps nothing for each agent.
    pub fn of(&self, incarnation: Incarnation) -> Key {
        Key(*blake3::keyed_hash(&self.0, &incarnation.0.to_le_bytes()).as_bytes())
    }
}

/// A request for a time sample.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimeRequest {
    /// The life of the agent that asks.
    pub incarnation: Incarnation,
    /// Number of the request within that life.
    pub number: u64,
    /// `a`: when it leaves, by the agent's clock.
    pub sent: LocalTime,
}

/// Its answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimeReply {
    /// The life of the agent that asked.
    pub incarnation: Incarnation,
    /// Number of the request.
    pub number: u64,
    /// The times of this transmission.
    pub stamp: Stamp,
}

impl TimeRequest {
    /// Its bytes, under the key of its life.
    pub fn seal(&self, key: &Key) -> [u8; REQUEST_LEN] {
        let mut bytes = [0; REQUEST_LEN];
        let rest = head(&mut bytes, REQUEST, self.incarnation, self.number);
        put(rest, &[self.sent.as_nanos().to_le_bytes()]);
        seal(&mut bytes, key);
        bytes
    }

    /// What `bytes` say, if they are a whole request under the key of the life that they name, which is
    /// made of the server's own; `None` for whatever else a network brings.
    pub fn open(bytes: &[u8], server: &Key) -> Option<TimeRequest> {
        let (incarnation, number) = begin(bytes, REQUEST, REQUEST_LEN)?;
        let [sent] = open(bytes, &server.of(incarnation))?;
        Some(TimeRequest { incarnation, number, sent: LocalTime::from_nanos(i64::from_le_bytes(sent)) })
    }
}

impl TimeReply {
    /// Its bytes, under the key of the life that asked.
    pub fn seal(&self, key: &Key) -> [u8; REPLY_LEN] {
        let Stamp { timeline, echo, received, answered } = self.stamp;
        let mut bytes = [0; REPLY_LEN];
        let rest = head(&mut bytes, REPLY, self.incarnation, self.number);
        let fields = [
            timeline.counter.to_le_bytes(),
            timeline.random.to_le_bytes(),
            echo.as_nanos().to_le_bytes(),
            received.as_nanos().to_le_bytes(),
            answered.as_nanos().to_le_bytes(),
        ];
        put(rest, &fields);
        seal(&mut bytes, key);
        bytes
    }

    /// What `bytes` say, if they are a whole answer under this life's key; `None` for whatever else a
    /// network brings.
    pub fn open(bytes: &[u8], key: &Key) -> Option<TimeReply> {
        let (incarnation, number) = begin(bytes, REPLY, REPLY_LEN)?;
        let [counter, random, echo, received, answered] = open(bytes, key)?;
        let instant = i64::from_le_bytes;
        let stamp = Stamp {
            timeline: TimelineId { counter: u64::from_le_bytes(counter), random: u64::from_le_bytes(random) },
            echo: LocalTime::from_nanos(instant(echo)),
            received: ServerTime::from_nanos(instant(received)),
            answered: ServerTime::from_nanos(instant(answered)),
        };
        Some(TimeReply { incarnation, number, stamp })
    }
}

/// Writes what both kinds begin with, and returns the room after it.
fn head(bytes: &mut [u8], kind: u8, incarnation: Incarnation, number: u64) -> &mut [u8] {
    let (head, rest) = bytes.split_at_mut(HEAD_LEN);
    head[..2].copy_from_slice(&[VERSION, kind]);
    put(&mut head[2..], &[incarnation.0.to_le_bytes(), number.to_le_bytes()]);
    rest
}

fn put(bytes: &mut [u8], fields: &[[u8; 8]]) {
    for (to, field) in bytes.chunks_exact_mut(8).zip(fields) {
        to.copy_from_slice(field);
    }
}

fn seal(bytes: &mut [u8], key: &Key) {
    let (said, digest) = bytes.split_at_mut(bytes.len() - DIGEST_LEN);
    digest.copy_from_slice(blake3::keyed_hash(&key.0, said).as_bytes());
}

/// Which life and number bytes name that have the length and the head of their kind.
fn begin(bytes: &[u8], kind: u8, len: usize) -> Option<(Incarnation, u64)> {
    if bytes.len() != len || !bytes.starts_with(&[VERSION, kind]) {
        return None;
    }
    let [incarnation, number] = fields(bytes.get(2..HEAD_LEN)?)?;
    Some((Incarnation(u64::from_le_bytes(incarnation)), u64::from_le_bytes(number)))
}

/// The fields after the head, if the digest agrees.
fn open<const N: usize>(bytes: &[u8], key: &Key) -> Option<[[u8; 8]; N]> {
    let (said, digest) = bytes.split_at_checked(bytes.len().checked_sub(DIGEST_LEN)?)?;
    // Compared in constant time.
    let agrees = blake3::keyed_hash(&key.0, said) == <[u8; DIGEST_LEN]>::try_from(digest).ok()?;
    agrees.then(|| fields(said.get(HEAD_LEN..)?)).flatten()
}

fn fields<const N: usize>(bytes: &[u8]) -> Option<[[u8; 8]; N]> {
    let mut fields = [[0; 8]; N];
    for (field, from) in fields.iter_mut().zip(bytes.chunks_exact(8)) {
        field.copy_from_slice(from);
    }
    (bytes.len() == N * 8).then_some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: Key = Key::new([7; 32]);

    fn request() -> TimeRequest {
        TimeRequest { incarnation: Incarnation(u64::MAX - 1), number: 300, sent: LocalTime::from_nanos(-5) }
    }
    fn reply() -> TimeReply {
        let stamp = Stamp {
            timeline: TimelineId { counter: 3, random: 4 },
            echo: LocalTime::from_nanos(-5),
            received: ServerTime::from_nanos(1 << 60),
            answered: ServerTime::from_nanos((1 << 60) + 9),
        };
        TimeReply { incarnation: Incarnation(u64::MAX - 1), number: 300, stamp }
    }

    #[test]
    fn what_was_sealed_is_opened_under_its_own_key_only() {
        let (request, reply) = (request(), reply());
        let key = SERVER.of(request.incarnation);
        assert_eq!(TimeRequest::open(&request.seal(&key), &SERVER), Some(request));
        assert_eq!(TimeReply::open(&reply.seal(&key), &key), Some(reply));
        let other = SERVER.of(Incarnation(1));
        assert_eq!(TimeRequest::open(&request.seal(&other), &SERVER), None);
        assert_eq!(TimeReply::open(&reply.seal(&key), &other), None);
        assert_eq!(TimeReply::open(&request.seal(&key), &key), None, "a request that came back");
    }

    #[test]
    fn a_changed_bit_or_another_length_makes_it_nothing() {
        let key = SERVER.of(request().incarnation);
        let (request, reply) = (request().seal(&key), reply().seal(&key));
        for bit in 0..REQUEST_LEN * 8 {
            let mut changed = request;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(TimeRequest::open(&changed, &SERVER), None, "bit {bit}");
        }
        for bit in 0..REPLY_LEN * 8 {
            let mut changed = reply;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(TimeReply::open(&changed, &key), None, "bit {bit}");
        }
        for len in 0..REPLY_LEN {
            assert_eq!(TimeReply::open(&reply[..len], &key), None, "{len} bytes");
            assert_eq!(TimeRequest::open(&reply[..len], &SERVER), None, "{len} bytes");
        }
    }

    #[test]
    fn its_bytes_stay_as_they_are() {
        let key = Key::new([7; 32]).of(Incarnation(1));
        let bytes = TimeRequest { incarnation: Incarnation(1), number: 2, sent: LocalTime::from_nanos(3) };
        let bytes = bytes.seal(&key);
        let said = [[1, 0, 0, 0, 0, 0, 0, 0], [2, 0, 0, 0, 0, 0, 0, 0], [3, 0, 0, 0, 0, 0, 0, 0]].concat();
        assert_eq!(bytes[..2], [1, 1]);
        assert_eq!(bytes[2..REQUEST_LEN - DIGEST_LEN], said);
        let digest: std::string::String =
            bytes[REQUEST_LEN - 8..].iter().map(|byte| std::format!("{byte:02x}")).collect();
        assert_eq!(digest, "6b574bc818f0b514");
    }
}
