//! What a read sees: one generation, held for as long as the host wants it (a pinned read).

use crate::held::Held;
use downbeat_core::ids::{Digest, Epoch, Generation};
use downbeat_core::time::LocalTime;
use downbeat_image::{Damaged, Dataset, Image};
use std::error::Error;
use std::fmt;
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

/// What a host makes of a generation before it is served: an index, decoded values, a total. It is
/// made on a thread of its own while the generation is staged, long before T, and handed to
/// readers with the generation, so that both go live at one instant.
///
/// Asked for by [`Builder::view`](crate::Builder::view), read by [`Guard::view`].
pub trait View: Sized + Send + Sync + 'static {
    /// Makes it of a generation's records.
    ///
    /// # Errors
    /// The reason for which the host won't take the generation: it is refused, as by
    /// [`Builder::validate`](crate::Builder::validate).
    fn build(generation: Generation, image: &Image) -> Result<Self, Box<dyn Error + Send + Sync>>;
}

/// One read of one generation. It never changes: all of what is read through it is of one epoch,
/// however long it is kept. Cheap to clone, and independent of the agent.
#[derive(Clone)]
pub struct Guard {
    pub(crate) generation: Generation,
    pub(crate) freshness: Freshness,
    pub(crate) at: LocalTime,
    pub(crate) held: Arc<Held>,
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Guard { generation, freshness, at, .. } = self;
        f.debug_struct("Guard")
            .field("generation", generation)
            .field("freshness", freshness)
            .field("at", at)
            .finish_non_exhaustive()
    }
}

impl Guard {
    /// Of no generation, for where one is to come; no host ever gets it.
    pub(crate) fn nothing() -> Guard {
        Guard {
            generation: Generation::default(),
            freshness: Freshness::Stale,
            at: LocalTime::MIN,
            held: Held::nothing(),
        }
    }

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

    /// The value of a key; `None` where there is no such record. Allocates nothing.
    ///
    /// # Errors
    /// [`Damaged`]: the part of the image in which it would be isn't what was written. The agent
    /// finds out by itself: it stops serving the generation and retrieves it again, so a later
    /// read gets it.
    #[inline]
    pub fn get(&self, dataset: &str, key: impl AsRef<[u8]>) -> Result<Option<&[u8]>, Damaged> {
        self.held.image.get(dataset, key.as_ref())
    }

    /// A dataset, for many reads of it; `None` where it has no records.
    pub fn dataset(&self, name: &str) -> Option<&Dataset> {
        self.held.image.dataset(name)
    }

    /// The records of a dataset, ascending by key; none where there is no such dataset. After
    /// damage (see [`Guard::get`]) it ends.
    pub fn iter(&self, dataset: &str) -> impl Iterator<Item = Result<(&[u8], &[u8]), Damaged>> {
        self.dataset(dataset).into_iter().flat_map(Dataset::iter)
    }

    /// The records of a dataset whose keys begin with `prefix`, ascending by key. After damage
    /// (see [`Guard::get`]) it ends.
    pub fn prefix<'a>(
        &'a self,
        dataset: &str,
        prefix: &'a [u8],
    ) -> impl Iterator<Item = Result<(&'a [u8], &'a [u8]), Damaged>> {
        self.dataset(dataset).into_iter().flat_map(move |dataset| dataset.prefix(prefix))
    }

    /// What the host made of the generation while it was staged. `None` where the agent was built
    /// without [`Builder::view`](crate::Builder::view), or with another type's.
    pub fn view<V: View>(&self) -> Option<&V> {
        self.held.view.as_deref()?.downcast_ref()
    }

    /// All of it.
    pub fn image(&self) -> &Image {
        &self.held.image
    }
}
