//! The read path of a host's threads (Fig. 6, step 252; PROTOCOL §6): load the plan or see that its
//! version is unchanged, look at the clock, answer; and wait out a hold.
//!
//! What a read gets is core's `serving`, how its content is found is in `shelf`. Here is the waiting.

use crate::clock::{Clock, Reading};
use crate::coarse::Coarse;
use crate::held::Held;
use crate::life::Life;
use crate::shelf::{Finder, Found, Shelf};
use crate::view::{Freshness, Guard};
use downbeat_core::cell::PlanCell;
use downbeat_core::ids::{Generation, Incarnation};
use downbeat_core::serving::{Serving, SwitchPlan};
use downbeat_core::time::LocalTime;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Why a read got nothing. The agent's state is unchanged; both pass by themselves.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ReadError {
    /// The switch was being made for longer than this reader waits. Normal where the limit is
    /// shorter than a hold (at most 2ε, or a copy's duration); read again.
    Held,
    /// What is live can't be proven (strict), or nothing was ever retrieved. Normal at the start
    /// and where no server can be reached for longer than the promise.
    Fenced,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ReadError::Held => {
                "the switch to the next generation takes longer than this reader waits; read again, or give \
                 readers a longer hold limit"
            }
            ReadError::Fenced => {
                "what is live can't be proven now; it can again once the agent reaches a server, or use the \
                 prompt mode to go on with what may be out of date"
            }
        })
    }
}
impl std::error::Error for ReadError {}

/// One look, as it is: for tests, and for whoever judges an agent from outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Look {
    /// What a read gets at that instant.
    pub serving: Serving,
    /// The instant, by the agent's clock.
    pub at: LocalTime,
    /// The same instant by the host's undistorted clock; the agent doesn't know it.
    pub host: LocalTime,
}

/// A reader's handle: one for each thread, cheap to clone. While no plan is published it touches
/// nothing that other threads write.
///
/// **Reads**: [`Reader::read`] waits out a hold in place, [`Reader::read_async`] by awaiting,
/// [`Reader::read_now`] not at all. [`Reader::peek`] lends what [`Reader::read`] gives away, and is the
/// cheapest. [`Reader::pinned`] gets a generation by its name.
#[derive(Clone)]
pub struct Reader {
    finder: Finder<Held>,
    /// What [`Reader::peek`] lent last; of nothing before. It isn't an option, so that a read only has to ask
    /// whether what `finder` keeps still stands: that is the look for it, or nothing.
    lent: Guard,
    /// Whether `lent` is of a generation, so that it has to be given up for another look.
    is_lent: bool,
    coarse: Coarse,
    cell: Arc<PlanCell>,
    shelf: Arc<Shelf<Held>>,
    life: Arc<Life>,
    clock: Clock,
    hold_limit: Duration,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("hold_limit", &self.hold_limit).finish_non_exhaustive()
    }
}

/// How often a hold is looked at again before the thread gives way to others.
const SPINS: u32 = 200;
/// How long an asynchronous reader sleeps between two looks at a hold.
const ASYNC_STEP: Duration = Duration::from_millis(1);

impl Reader {
    pub(crate) fn new(
        cell: Arc<PlanCell>,
        shelf: Arc<Shelf<Held>>,
        life: Arc<Life>,
        clock: Clock,
        hold_limit: Duration,
    ) -> Reader {
        let finder = Finder::new(cell.clone(), shelf.clone());
        let lent = Guard::nothing();
        Reader {
            finder,
            lent,
            is_lent: false,
            coarse: Coarse::default(),
            cell,
            shelf,
            life,
            clock,
            hold_limit,
        }
    }

    /// This reader with another limit on waiting out a hold.
    #[must_use]
    pub fn with_hold_limit(self, hold_limit: Duration) -> Reader {
        Reader { hold_limit, ..self }
    }

    /// Reads what is live now. During a hold it waits, spinning and then yielding, up to its limit.
    ///
    /// # Errors
    /// [`ReadError`]: held for longer than the limit, or fenced.
    pub fn read(&mut self) -> Result<Guard, ReadError> {
        let mut began = None;
        for turn in 0u32.. {
            if let Some(answer) = self.try_read() {
                return answer;
            }
            if began.get_or_insert_with(Instant::now).elapsed() >= self.hold_limit {
                break;
            }
            if turn < SPINS { std::hint::spin_loop() } else { std::thread::yield_now() }
        }
        Err(ReadError::Held)
    }

    /// Reads what is live now, and lends it: what the read before got where that still stands, otherwise
    /// as [`Reader::read`]. Whether it stands costs one look at the clock in strict; in prompt one at the
    /// coarse clock, and a precise one within a second of an instant at which what is served, or whether
    /// it is stale, may change; and none where no such instant is ahead. [`Guard::looked_at`] is the
    /// instant of the read that got it.
    ///
    /// # Errors
    /// As for [`Reader::read`].
    // A read costs a nanosecond, and a call as much.
    #[inline(always)]
    pub fn peek(&mut self) -> Result<&Guard, ReadError> {
        let Reader { finder, coarse, clock, .. } = self;
        // Where another content takes the place of what is lent, the plan is published again.
        if finder.is_unchanged(|| coarse.latest(clock), || clock.now()) {
            return Ok(&self.lent);
        }
        self.lend_anew()
    }

    #[cold]
    fn lend_anew(&mut self) -> Result<&Guard, ReadError> {
        (self.lent, self.is_lent) = (self.read()?, true);
        self.finder.keep();
        Ok(&self.lent)
    }

    /// Lets go of what was lent: it may be the last that holds a generation. The look that follows makes
    /// `finder` forget it, too.
    fn take_back(&mut self) {
        if self.is_lent {
            (self.lent, self.is_lent) = (Guard::nothing(), false);
        }
    }

    /// Reads what is live now. During a hold it awaits, up to its limit.
    ///
    /// # Errors
    /// As for [`Reader::read`].
    pub async fn read_async(&mut self) -> Result<Guard, ReadError> {
        let mut began = None;
        loop {
            if let Some(answer) = self.try_read() {
                return answer;
            }
            if began.get_or_insert_with(Instant::now).elapsed() >= self.hold_limit {
                return Err(ReadError::Held);
            }
            tokio::time::sleep(ASYNC_STEP).await;
        }
    }

    /// One look, without any waiting, and without the content.
    pub fn read_now(&mut self) -> Look {
        let mut reading = None;
        self.take_back();
        let clock = &self.clock;
        let serving = self.finder.look(|| reading.insert(clock.read()).local);
        // Core calls the closure exactly once.
        let Reading { local, host } = reading.unwrap_or_else(|| clock.read());
        Look { serving, at: local, host }
    }

    /// A generation that this agent served before (the last few are kept) or serves now, so that a
    /// request which spans several servers stays on one. `None` where it isn't held any more.
    pub fn pinned(&mut self, generation: Generation) -> Option<Guard> {
        let Look { serving, at, .. } = self.read_now();
        let mut held = self.finder.pinned(generation, serving)?;
        if held.is_superseded() {
            self.look_anew();
            held = self.finder.pinned(generation, serving)?;
        }
        Some(Guard { generation, freshness: Freshness::Pinned, at, held })
    }

    /// The life of the agent whose plan a look gets: an agent whose content was damaged begins
    /// another ([`Agent::incarnation`](crate::Agent::incarnation)). `None` for the instant in which
    /// it changes. A look that stands between two calls with one answer is of that life.
    pub fn life(&self) -> Option<Incarnation> {
        self.life.now()
    }

    /// The published plan, as of this call.
    pub fn plan(&mut self) -> SwitchPlan {
        *self.finder.plan()
    }

    /// Gives up what this handle keeps, so that the shelf is asked again.
    #[cold]
    fn look_anew(&mut self) {
        self.finder = Finder::new(self.cell.clone(), self.shelf.clone());
    }

    /// One look with its content; `None` during a hold.
    fn try_read(&mut self) -> Option<Result<Guard, ReadError>> {
        self.take_back();
        let clock = &self.clock;
        let mut found = self.finder.read(|| clock.read().local);
        if found.content.as_ref().is_some_and(|held| held.is_superseded()) {
            self.look_anew();
            let clock = &self.clock;
            // If this one is superseded too, it was at this moment.
            found = self.finder.read(|| clock.read().local);
        }
        let Found { serving, at, content } = found;
        let (generation, freshness) = match serving {
            Serving::Active(generation) | Serving::Staged(generation) => (generation, Freshness::Current),
            Serving::Stale(generation) => (generation, Freshness::Stale),
            Serving::Hold => return None,
            Serving::Fenced => return Some(Err(ReadError::Fenced)),
        };
        Some(Ok(Guard { generation, freshness, at, held: content? }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shelf;
    use downbeat_core::cell::PlanWriter;
    use downbeat_core::content::{DatasetSum, generation_digest, record_digest};
    use downbeat_core::ids::{BootId, Digest, Name};
    use downbeat_core::object::ManifestEntry;
    use downbeat_core::serving::{Activation, Mode};
    use downbeat_core::time::Span;
    use downbeat_image::{Place, SnapshotWriter};

    fn generation(number: u8) -> Generation {
        Generation { epoch: number as u64, digest: Digest([number; 32]) }
    }
    fn content(value: &str) -> Arc<Held> {
        let dataset = Name::new("a").unwrap();
        let mut sum = DatasetSum::EMPTY;
        sum.add(record_digest(&dataset, b"k", value.as_bytes()));
        let digest = generation_digest([(&dataset, &sum)]).unwrap();
        let mut writer = SnapshotWriter::new(&Place::Memory, digest, &[]).unwrap();
        writer.push(&dataset, b"k", value.as_bytes()).unwrap();
        Arc::new(Held::new(writer.finish(&[ManifestEntry { dataset, sum }]).unwrap(), None))
    }
    /// Nothing published yet, two generations on the shelf, and an agent that never waits.
    fn agent() -> (PlanWriter<Arc<PlanCell>>, Reader, Arc<Shelf<Held>>) {
        let cell = Arc::new(PlanCell::new(&plan()));
        let shelf = Arc::new(Shelf::new(2));
        shelf.put(generation(1).digest, content("one"));
        shelf.put(generation(2).digest, content("two"));
        let reader = Reader::new(cell.clone(), shelf.clone(), Arc::default(), Clock::host(), Duration::ZERO);
        (PlanWriter::new(cell).unwrap(), reader, shelf)
    }
    fn plan() -> SwitchPlan {
        SwitchPlan::nothing(BootId(1), Mode::Strict, Activation::Switch)
    }
    fn switching(until: LocalTime, from: LocalTime) -> SwitchPlan {
        SwitchPlan {
            active: Some(generation(1)),
            active_until: until,
            staged: Some(generation(2)),
            staged_from: from,
            ..plan()
        }
    }

    #[test]
    fn a_read_is_fenced_active_held_or_staged_as_the_plan_says() {
        let (mut writer, mut reader, _shelf) = agent();
        assert_eq!(reader.read().err(), Some(ReadError::Fenced));
        writer.publish(&switching(LocalTime::MAX, LocalTime::MAX));
        let guard = reader.read().unwrap();
        assert_eq!((guard.epoch(), guard.get("a", "k").unwrap()), (1, Some(&b"one"[..])));
        writer.publish(&switching(LocalTime::MIN, LocalTime::MAX));
        assert_eq!(reader.read().err(), Some(ReadError::Held));
        writer.publish(&switching(LocalTime::MIN, LocalTime::MIN));
        let guard = reader.read().unwrap();
        assert_eq!((guard.epoch(), guard.get("a", "k").unwrap()), (2, Some(&b"two"[..])));
    }

    #[test]
    fn what_is_lent_is_what_a_read_gets() {
        let (mut writer, mut reader, _shelf) = agent();
        let clock = Clock::host();
        // Far enough for a busy host, and for the coarse clock to be looked at first.
        let soon = || clock.now() + Span::from_secs(3);
        for mode in [Mode::Prompt, Mode::Strict] {
            assert_eq!(reader.peek().err(), Some(ReadError::Fenced));
            let t = soon();
            writer.publish(&SwitchPlan { mode, ..switching(t, t) });
            let (mut epochs, mut first) = (vec![], None);
            // At T the cheap look has to give way to a precise one: no read of the old is later.
            while epochs.last() != Some(&2) {
                let guard = reader.peek().unwrap();
                first.get_or_insert(guard.looked_at());
                epochs.push(guard.epoch());
                assert_eq!(guard.get("a", "k").unwrap().unwrap().len(), 3);
                let (epoch, before) = (guard.epoch(), clock.now());
                assert!(epoch == 2 || !t.passed(before) || reader.peek().unwrap().epoch() == 2);
                if clock.now() < t - Span::from_millis(20) {
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
            assert!(epochs.len() > 10 && epochs.is_sorted(), "{} reads", epochs.len());
            let of_second = reader.peek().unwrap().looked_at();
            assert!(t.passed(of_second) && !t.passed(first.unwrap()));
            assert_eq!(reader.peek().unwrap().looked_at(), of_second, "no new look was made");
            // Another plan, and another kind of read, count at once.
            writer.publish(&SwitchPlan { mode, ..switching(LocalTime::MAX, LocalTime::MAX) });
            assert_eq!(reader.peek().unwrap().epoch(), 1);
            assert!(reader.read().unwrap().looked_at() > of_second);
            writer.publish(&plan());
        }
    }

    #[test]
    fn what_was_lent_before_another_look_isn_t_lent_after_it() {
        let (mut writer, mut reader, shelf) = agent();
        let t = Clock::host().now() + Span::from_secs(3);
        writer.publish(&switching(t, t));
        assert_eq!(reader.peek().unwrap().epoch(), 1);
        while reader.read_now().serving == Serving::Active(generation(1)) {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(reader.peek().unwrap().epoch(), 2);
        assert!(reader.pinned(generation(1)).is_none() && reader.read().is_ok());
        let lent = reader.peek().unwrap().clone();
        shelf.put(generation(2).digest, content("new"));
        assert_eq!(reader.peek().unwrap().get("a", "k").unwrap(), Some(&b"two"[..]));
        lent.held.supersede();
        writer.publish_again();
        assert_eq!(reader.peek().unwrap().get("a", "k").unwrap(), Some(&b"new"[..]));
    }

    #[test]
    fn what_was_lent_is_let_go_of_for_another_look() {
        let (mut writer, mut reader, _shelf) = agent();
        writer.publish(&switching(LocalTime::MAX, LocalTime::MAX));
        let looks: [fn(&mut Reader); 2] = [
            |reader| {
                reader.read_now();
            },
            |reader| drop(reader.read()),
        ];
        for look in looks {
            let held = reader.peek().unwrap().held.clone();
            let holders = Arc::strong_count(&held);
            look(&mut reader);
            assert_eq!(Arc::strong_count(&held), holders - 1, "the reader holds it on");
            assert_eq!(reader.peek().unwrap().epoch(), 1);
        }
    }

    #[test]
    fn a_hold_is_waited_out() {
        let (mut writer, reader, _shelf) = agent();
        let from = Clock::host().now() + Span::from_millis(20);
        writer.publish(&switching(LocalTime::MIN, from));
        let mut reader = reader.with_hold_limit(Duration::from_secs(60));
        let guard = reader.read().unwrap();
        assert_eq!(guard.epoch(), 2);
        assert!(guard.looked_at() >= from);
    }

    #[test]
    fn content_that_a_replaced_plan_named_is_not_missed() {
        let (mut writer, mut reader, shelf) = agent();
        let serving =
            |number| SwitchPlan { active: Some(generation(number)), active_until: LocalTime::MAX, ..plan() };
        shelf::publish(&mut writer, &shelf, &switching(LocalTime::MAX, LocalTime::MAX), |_| false);
        let pinned = reader.read().unwrap();
        shelf::publish(&mut writer, &shelf, &serving(2), |_| false);
        assert_eq!(reader.read().unwrap().epoch(), 2);
        assert_eq!(reader.pinned(generation(1)).unwrap().get("a", "k").unwrap(), Some(&b"one"[..]));
        shelf.put(generation(3).digest, content("three"));
        shelf::publish(&mut writer, &shelf, &serving(3), |_| false);
        assert!(reader.pinned(generation(1)).is_none(), "no longer one of the last two");
        assert_eq!(pinned.get("a", "k").unwrap(), Some(&b"one"[..]), "a guard keeps its own");
    }

    #[test]
    fn a_reader_goes_over_to_what_took_the_place_of_what_it_keeps() {
        let (mut writer, mut reader, shelf) = agent();
        writer.publish(&switching(LocalTime::MAX, LocalTime::MAX));
        let before = reader.read().unwrap();
        shelf.put(generation(1).digest, content("compacted"));
        assert_eq!(reader.read().unwrap().get("a", "k").unwrap(), Some(&b"one"[..]));
        before.held.supersede();
        let value = |guard: Guard| guard.get("a", "k").unwrap().map(<[u8]>::to_vec);
        assert_eq!(value(reader.read().unwrap()), Some(b"compacted".to_vec()));
        assert_eq!(value(reader.pinned(generation(1)).unwrap()), Some(b"compacted".to_vec()));
        assert_eq!(value(before), Some(b"one".to_vec()), "a guard keeps its own");
    }

    #[test]
    fn what_is_staged_and_not_live_can_t_be_pinned() {
        let (mut writer, mut reader, _shelf) = agent();
        writer.publish(&switching(LocalTime::MAX, LocalTime::MAX));
        assert!(reader.pinned(generation(2)).is_none());
        assert!(reader.pinned(generation(1)).is_some());
    }
}
