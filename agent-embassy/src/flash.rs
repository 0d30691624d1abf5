//! The last good generation in flash, so that a restarted device has something to serve within its
//! mode's rule (PROTOCOL §5, `start_wait`).

use downbeat_core::ids::{Digest, Generation, Name};

/// A generation as it is stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stored {
    /// Which one.
    pub generation: Generation,
    /// The name of the object that it came in.
    pub name: Digest,
    /// Bytes of that object.
    pub len: usize,
}

/// Where the last good generation is kept. An agent tells it what it holds and what is good, and gives
/// it moments to write in.
pub trait Storage {
    /// Reads the newest generation of this farm that `proves`, into the front of `buffer`.
    fn load(
        &mut self,
        farm: &Name,
        buffer: &mut [u8],
        proves: &dyn Fn(&Stored, &[u8]) -> bool,
    ) -> Option<Stored>;

    /// This generation is held as a whole and may be written ahead of time.
    fn prepare(&mut self, held: Stored);

    /// This generation is served as current: it is the last good one from now on.
    fn note(&mut self, good: Generation);

    /// The content that was to be written is no longer held.
    fn forget(&mut self, digest: Digest);

    /// What the next [`Storage::step`] needs; `None` where there is nothing to write.
    fn wants(&self) -> Option<Want>;

    /// Does one bounded piece of work: an erasure or a write. `piece` is what it wants.
    fn step(&mut self, piece: &[u8]) -> Step;
}

/// Bytes in the longest piece of content that a [`Storage`] may want at once.
pub const PIECE_MAX: usize = 128;

/// A piece of content that a [`Storage`] needs for its next step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Want {
    /// Of which generation.
    pub digest: Digest,
    /// The first byte.
    pub from: usize,
    /// How many, at most [`PIECE_MAX`]; none for a step that needs no content.
    pub len: usize,
}

/// What a step of a [`Storage`] came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// More is to come.
    Going,
    /// The last good generation is stored.
    Stored,
    /// The flash refused; what was stored before stands, and nothing more is tried for this generation.
    Failed,
}

/// For devices that keep nothing: after a restart they serve once they have retrieved.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoStorage;

impl Storage for NoStorage {
    fn load(&mut self, _: &Name, _: &mut [u8], _: &dyn Fn(&Stored, &[u8]) -> bool) -> Option<Stored> {
        None
    }
    fn prepare(&mut self, _: Stored) {}
    fn note(&mut self, _: Generation) {}
    fn forget(&mut self, _: Digest) {}
    fn wants(&self) -> Option<Want> {
        None
    }
    fn step(&mut self, _: &[u8]) -> Step {
        Step::Failed
    }
}
