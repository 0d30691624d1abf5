//! What a read sees: one generation, held for as long as the host wants it (a pinned read).

use crate::content::{Content, Dataset};
use downbeat_core::ids::{Digest, Epoch, Generation};
use downbeat_core::time::LocalTime;
use std::sync::Arc;

/// Whether what was read is known to be live.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Freshness {
    /// It is live, within what the agent's mode promises.
    Current,
    /// It may be out of date (prompt only): the promise ran out and nothing newer is known.
    Stale,
    /// It was asked for by its name, whatever is live.
    Pinned,
}

/// One read of one generation. It never changes: all of what is read through it is of one epoch,
/// however long it is kept. Cheap to clone, and independent of the agent.
#[derive(Clone, Debug)]
pub struct Guard {
    pub(crate) generation: Generation,
    pub(crate) freshness: Freshness,
    pub(crate) at: LocalTime,
    pub(crate) content: Arc<Content>,
}

impl Guard {
    /// The number of the generation, on its timeline.
    pub fn epoch(&self) -> Epoch {
        self.generation.epoch
    }

    /// The digest of the generation: the same wherever the content is the same (S6).
    pub fn digest(&self) -> Digest {
        self.generation.digest
    }

    /// Number and digest, by which another agent can be asked for the same one
    /// ([`Reader::pinned`](crate::Reader::pinned)).
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Whether it is known to be live.
    pub fn freshness(&self) -> Freshness {
        self.freshness
    }

    /// The instant of the look at the agent's clock that justified this read.
    pub fn looked_at(&self) -> LocalTime {
        self.at
    }

    /// The value of a key; `None` where there is no such record.
    pub fn get(&self, dataset: &str, key: impl AsRef<[u8]>) -> Option<&[u8]> {
        self.content.get(dataset, key.as_ref())
    }

    /// The records of a dataset, ascending by key; none where there is no such dataset.
    pub fn iter(&self, dataset: &str) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.content.dataset(dataset).into_iter().flat_map(Dataset::iter)
    }

    /// The records of a dataset whose keys begin with `prefix`, ascending by key.
    pub fn prefix<'a>(
        &'a self,
        dataset: &str,
        prefix: &'a [u8],
    ) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        self.content.dataset(dataset).into_iter().flat_map(move |dataset| dataset.prefix(prefix))
    }

    /// All of it.
    pub fn content(&self) -> &Content {
        &self.content
    }
}
