//! Names and numbers by which things are told apart. Compared, never interpreted; the rules for
//! drawing them (what must be random, what must rise) stand with each type.

mod hex;

use core::fmt;
use heapless::String;
use serde::{Deserialize, Serialize};

/// Bytes in the longest farm or dataset name, and in an agent's display name.
pub const NAME_MAX: usize = 64;

/// The name of a farm or a dataset: 1 to 64 bytes of `[a-z0-9._-]`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String<NAME_MAX>")]
pub struct Name(String<NAME_MAX>);

impl Name {
    /// Checks a name.
    ///
    /// # Errors
    /// [`InvalidName`] where it is empty, longer than 64 bytes, or has a byte outside `[a-z0-9._-]`.
    pub fn new(text: &str) -> Result<Name, InvalidName> {
        String::try_from(text).map_err(|_| InvalidName)?.try_into()
    }
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String<NAME_MAX>> for Name {
    type Error = InvalidName;
    fn try_from(text: String<NAME_MAX>) -> Result<Name, InvalidName> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-');
        if text.is_empty() || !text.bytes().all(allowed) {
            return Err(InvalidName);
        }
        Ok(Name(text))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A farm or dataset name that breaks the rule for names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InvalidName;

impl fmt::Display for InvalidName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name is 1 to 64 characters of a-z, 0-9, '.', '_' and '-'")
    }
}
impl core::error::Error for InvalidName {}

/// Number of a generation; rises by one at every cycle. Belongs to its timeline.
pub type Epoch = u64;

/// Fencing token of a grant; rises by one at every grant and is never used again on its timeline.
pub type Token = u64;

/// An agent's id: 16 random bytes made at installation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct AgentId(#[serde(with = "hex")] pub [u8; 16]);

/// One start of one agent: a random 64-bit number drawn at every start, compared for equality
/// only. A counter that can be lost with a disk is a trap (PROTOCOL §11).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Incarnation(pub u64);

/// A request's id: (agent, incarnation, n). `Lock`, `Advance` and `Unlock` are idempotent by it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct RequestId {
    /// Who asks.
    pub agent: AgentId,
    /// In which of its lives.
    pub incarnation: Incarnation,
    /// Number of the request within the incarnation, from 1; 0 is nobody's.
    pub number: u64,
}

/// Identity of the farm's timeline: a counter and 64 random bits, since a restore sets the counter
/// back (PROTOCOL §8). Another id is another line; epochs and tokens belong to their line.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct TimelineId {
    /// Rises by one with each new line of the same store. For people; never compared for order.
    pub counter: u64,
    /// Drawn anew for each line.
    pub random: u64,
}

/// BLAKE3-256 of a record, a generation or an object, as `content` and `object` compute it. The
/// protocol's machines only compare digests.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Digest(#[serde(with = "hex")] pub [u8; 32]);

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A generation: one immutable data set, all datasets of the farm at one epoch. Two generations
/// with one digest have the same content; one epoch number may name two contents on two timelines.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Generation {
    /// Its number on its timeline.
    pub epoch: Epoch,
    /// Its content.
    pub digest: Digest,
}

/// Identity of one boot of a host. Published plans and local instants are void in another boot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct BootId(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(Name::new("eu-prices.v2_x").unwrap().as_str(), "eu-prices.v2_x");
        for bad in ["", "Prices", "a b", "ü", &"x".repeat(65)[..]] {
            assert_eq!(Name::new(bad), Err(InvalidName), "{bad:?}");
        }
        assert!(Name::new(&"x".repeat(64)).is_ok());
    }
}
