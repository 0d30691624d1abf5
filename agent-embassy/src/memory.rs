//! The memory of one agent: its two content buffers (Fig. 4, items 200 and 202), and the published
//! plan beside what readers may be given.
//!
//! A buffer belongs either to the agent's task, which fills and proves it without any lock, or to what
//! readers share, behind a blocking mutex. A plan and what it names change together, in one short
//! closure; and what is in the task's hands no reader can see.

use crate::clock;
use crate::driver::{Agent, Work};
use crate::flash::{Storage, Stored};
use crate::late::Late;
use crate::reader::Reader;
use crate::settings::{SEND_MAX, Settings, StartError};
use crate::status::Board;
use core::cell::RefCell;
use downbeat_core::agent::Start;
use downbeat_core::ids::{BootId, Digest, Generation, Incarnation};
use downbeat_core::object::in_place;
use downbeat_core::serving::{Activation, Mode, SwitchPlan};
use embassy_sync::blocking_mutex::Mutex;
use embassy_sync::blocking_mutex::raw::RawMutex;
use static_cell::ConstStaticCell;

/// Bytes that are copied at once while readers are kept out.
const PIECE: usize = 512;

/// The memory of one agent: a `static` of the application.
///
/// `BYTES` is the size of each of the two content buffers: the largest snapshot that the agent takes
/// (about 60 bytes, 42 and its name for each dataset of the farm, 2 and its name for each dataset
/// subscribed to, and 7 for each record besides its key and value). `M` is the mutex around what
/// readers share: `CriticalSectionRawMutex` where a reader runs on another executor, another core or in
/// an interrupt, `NoopRawMutex` where all run on one executor (the memory is then no `static`, but made
/// once with `StaticCell`).
pub struct Memory<M: RawMutex, const BYTES: usize> {
    buffers: [ConstStaticCell<[u8; BYTES]>; 2],
    work: ConstStaticCell<Work>,
    shared: Mutex<M, RefCell<Late<Shared<BYTES>>>>,
}

impl<M: RawMutex, const BYTES: usize> Memory<M, BYTES> {
    /// Empty memory, all of it zero: it costs no flash.
    #[expect(clippy::new_without_default, reason = "made once, as the value of a static")]
    pub const fn new() -> Memory<M, BYTES> {
        Memory {
            buffers: [ConstStaticCell::new([0; BYTES]), ConstStaticCell::new([0; BYTES])],
            work: ConstStaticCell::new(Work::NEW),
            shared: Mutex::new(RefCell::new(Late::Empty)),
        }
    }

    /// Makes the agent of this memory, and the reader that any number of tasks may copy.
    ///
    /// `incarnation` is the number of this life: drawn at random at every start, or counted in flash
    /// ([`flash::next_incarnation`](crate::flash::next_incarnation)) where the device has no randomness;
    /// never used twice. The last good generation is read from `storage` here.
    ///
    /// # Errors
    /// [`StartError`]; after [`StartError::Taken`] nothing was changed, after another the memory is
    /// as before, too.
    pub fn take<S: Storage>(
        &'static self,
        settings: Settings,
        incarnation: u64,
        mut storage: S,
    ) -> Result<(Agent<M, BYTES, S>, Reader<M, BYTES>), StartError> {
        let incarnation = Incarnation(incarnation);
        let greeting = settings.greeting(incarnation);
        greeting.encode(&mut [0; SEND_MAX])?;
        let [first, second] = &self.buffers;
        let first = first.try_take().ok_or(StartError::Taken)?;
        let second = second.try_take().ok_or(StartError::Taken)?;
        let work = self.work.try_take().ok_or(StartError::Taken)?;

        let proves = |stored: &Stored, bytes: &[u8]| {
            in_place::prove(bytes, stored.name, stored.generation, &|name| greeting.expects(name)).is_ok()
        };
        let stored = storage.load(&settings.farm, first, &proves);
        let boot = BootId(incarnation.0);
        let (mode, activation) = (settings.config.mode, settings.config.activation);
        self.with(|shared| {
            shared.plan = SwitchPlan::nothing(boot, mode, activation);
            shared.board.incarnation = incarnation;
            shared.held = [
                Some(Held {
                    bytes: first,
                    len: stored.map_or(0, |stored| stored.len),
                    digest: stored.map(|stored| stored.generation.digest),
                }),
                Some(Held { bytes: second, len: 0, digest: None }),
            ];
        });
        let last_good = stored.map(|stored| stored.generation);
        let start = Start { incarnation, boot, now: clock::now(), page: None, last_good };
        let agent = Agent::new(self, work, &settings, greeting, start, storage);
        Ok((agent, Reader::new(self)))
    }

    /// A look at what readers share; `None` before there is an agent.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Shared<BYTES>) -> T) -> Option<T> {
        self.shared.lock(|shared| match &*shared.borrow() {
            Late::Full(shared) => Some(look(shared)),
            Late::Empty => None,
        })
    }

    /// What readers share, for a moment. Not from within a look at it.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut Shared<BYTES>) -> T) -> T {
        self.shared.lock(|shared| act(shared.borrow_mut().filled(Shared::new)))
    }
}

/// A content buffer and what is in it.
pub(crate) struct Held<const BYTES: usize> {
    pub(crate) bytes: &'static mut [u8; BYTES],
    pub(crate) len: usize,
    /// `None` while it is no whole generation.
    pub(crate) digest: Option<Digest>,
}

impl<const BYTES: usize> Held<BYTES> {
    pub(crate) fn content(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// What the agent's task and readers share.
pub(crate) struct Shared<const BYTES: usize> {
    pub(crate) plan: SwitchPlan,
    /// The buffers that are not in the task's hands. With copy activation readers are only ever given
    /// the first one.
    held: [Option<Held<BYTES>>; 2],
    pub(crate) board: Board,
}

impl<const BYTES: usize> Shared<BYTES> {
    pub(crate) fn new() -> Shared<BYTES> {
        let plan = SwitchPlan::nothing(BootId(0), Mode::Strict, Activation::Switch);
        Shared { plan, held: [None, None], board: Board::new() }
    }

    /// A generation's content, if it is here as a whole.
    pub(crate) fn content(&self, digest: Digest) -> Option<&[u8]> {
        let held = self.held.iter().flatten().find(|held| held.digest == Some(digest))?;
        Some(held.content())
    }

    /// Takes out a buffer that nobody needs, to be filled: not one that the plan names, and rather one
    /// that the machine doesn't keep either.
    pub(crate) fn take_free(&mut self, kept: &dyn Fn(Digest) -> bool) -> Option<Held<BYTES>> {
        let plan = &self.plan;
        let named = |digest: Digest| {
            [&plan.active, &plan.staged].into_iter().flatten().any(|named| named.digest == digest)
        };
        let places = if plan.activation == Activation::Copy { 1..2 } else { 0..2 };
        let empty = |held: &Held<BYTES>| held.digest.is_none();
        let unkept = |held: &Held<BYTES>| held.digest.is_none_or(|digest| !kept(digest) && !named(digest));
        let unnamed = |held: &Held<BYTES>| held.digest.is_none_or(|digest| !named(digest));
        let wishes: [&dyn Fn(&Held<BYTES>) -> bool; 3] = [&empty, &unkept, &unnamed];
        let held = self.held.get_mut(places)?;
        let at =
            wishes.iter().find_map(|wish| held.iter().position(|held| held.as_ref().is_some_and(wish)))?;
        let mut taken = held.get_mut(at)?.take()?;
        taken.digest = None;
        Some(taken)
    }

    /// Takes a buffer back.
    pub(crate) fn give_back(&mut self, held: Held<BYTES>) {
        // There are as many places as buffers, and the first is filled last where it is fixed.
        if let Some(place) = self.held.iter_mut().rev().find(|place| place.is_none()) {
            *place = Some(held);
        }
    }

    /// Publishes a plan. Readers go by it from the next read on.
    pub(crate) fn publish(&mut self, plan: &SwitchPlan) {
        if plan.activation == Activation::Copy
            && let Some(active) = plan.active
        {
            // A joining agent's first content: not staged, so that no copy is asked for.
            self.begin_copy(active);
            while self.copy_piece(active) {}
        }
        self.plan = *plan;
    }

    /// Before a copy: what was in the first buffer is no generation any more.
    pub(crate) fn begin_copy(&mut self, generation: Generation) {
        let [Some(to), Some(from)] = &mut self.held else { return };
        if to.digest != Some(generation.digest) && from.digest == Some(generation.digest) {
            (to.digest, to.len) = (None, 0);
        }
    }

    /// Copies a piece of a generation into the first buffer. False once it is there as a whole, or can't
    /// be.
    pub(crate) fn copy_piece(&mut self, generation: Generation) -> bool {
        let [Some(to), Some(from)] = &mut self.held else { return false };
        if to.digest.is_some() || from.digest != Some(generation.digest) {
            return false;
        }
        let end = from.len.min(to.len + PIECE);
        if let (Some(to), Some(from)) = (to.bytes.get_mut(to.len..end), from.bytes.get(to.len..end)) {
            to.copy_from_slice(from);
        }
        to.len = end;
        if end < from.len {
            return true;
        }
        // The second buffer is free again.
        to.digest = from.digest.take();
        false
    }
}
