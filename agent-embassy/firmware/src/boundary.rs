//! A reader that looks more and more often as a switch comes near, so that it is known when the board's
//! reads went over: between which two looks at its clock. It changes nothing; what it finds the console
//! tells.

use core::cell::Cell;
use downbeat_embassy::Reader;
use downbeat_embassy::core::ids::Epoch;
use downbeat_embassy::core::time::LocalTime;
use embassy_sync::blocking_mutex::Mutex;
use embassy_sync::blocking_mutex::raw::{CriticalSectionRawMutex, RawMutex};
use embassy_time::{Duration, Instant, Timer};

/// How often it is looked whether a switch is planned, and for when.
const FAR: Duration = Duration::from_millis(20);
/// How long before it reads begin, and for how long after it they go on where nothing comes of it.
const NEAR: Duration = Duration::from_millis(5);
const LATEST: Duration = Duration::from_millis(250);
/// Between two reads near a switch.
const EVERY: Duration = Duration::from_micros(100);

/// When reads went over to a generation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Boundary {
    /// The generation's number.
    pub epoch: Epoch,
    /// A look that didn't get it.
    pub before: LocalTime,
    /// The next one, which did.
    pub over: LocalTime,
}

static LAST: Mutex<CriticalSectionRawMutex, Cell<Option<Boundary>>> = Mutex::new(Cell::new(None));

/// When reads went over to this generation, if that was the last time that they did.
pub fn of(epoch: Epoch) -> Option<Boundary> {
    LAST.lock(Cell::get).filter(|boundary| boundary.epoch == epoch)
}

/// Reads for ever.
pub async fn watch<M: RawMutex, const BYTES: usize>(reader: Reader<M, BYTES>) -> ! {
    loop {
        let plan = reader.status().plan;
        let switch = instant(plan.staged_from);
        let near = switch.saturating_sub(NEAR);
        let soon = Instant::now() + FAR;
        match plan.staged {
            Some(staged) if near <= Instant::now() => {
                follow(reader, staged.epoch).await;
                Timer::after(FAR).await;
            }
            Some(_) => Timer::at(near.min(soon)).await,
            None => Timer::at(soon).await,
        }
    }
}

async fn follow<M: RawMutex, const BYTES: usize>(reader: Reader<M, BYTES>, epoch: Epoch) {
    let (mut before, end) = (None, Instant::now() + LATEST);
    while Instant::now() < end {
        // Where nothing is served there was a look all the same, no earlier than this.
        let asked = local(Instant::now());
        match reader.read(|seen| (seen.epoch, seen.looked_at)) {
            Ok((seen, over)) if seen == epoch => {
                if let Some(before) = before {
                    LAST.lock(|last| last.set(Some(Boundary { epoch, before, over })));
                }
                return;
            }
            Ok((_, looked)) => before = Some(looked),
            Err(_) => before = Some(asked),
        }
        Timer::after(EVERY).await;
    }
}

fn local(at: Instant) -> LocalTime {
    LocalTime::from_nanos(i64::try_from(at.as_micros()).unwrap_or(i64::MAX).saturating_mul(1_000))
}

fn instant(at: LocalTime) -> Instant {
    Instant::from_micros(u64::try_from(at.as_nanos()).unwrap_or(0) / 1_000)
}
