//! What is answered and told over the console: a line for each request, with its number, and a line that
//! begins with a star for each switch and each generation that is refused. What the commands are is in
//! the README.

use crate::boundary;
use crate::serial::CONSOLE;
use crate::stack;
use crate::text::Line;
use downbeat_embassy::core::content::{DatasetSum, generation_digest, record_digest};
use downbeat_embassy::core::ids::{Digest, Generation, Name};
use downbeat_embassy::core::message::{Phase, Switched, Veto};
use downbeat_embassy::core::time::Span;
use downbeat_embassy::{Freshness, Reader, Records, Seen, Status, Unserved};
use embassy_futures::select::{Either, select};
use embassy_sync::blocking_mutex::raw::RawMutex;
use embassy_time::{Duration, Ticker};
use embedded_io_async::{Read, Write};
use heapless::Vec;

/// Bytes in the longest request.
const REQUEST_MAX: usize = 128;
/// Datasets of which a digest can be asked for.
const DATASETS_MAX: usize = 4;
/// How often it is looked whether there is something to tell.
const LOOKING: Duration = Duration::from_millis(50);

/// The board's console.
pub struct Console<M: RawMutex + 'static, const BYTES: usize> {
    reader: Reader<M, BYTES>,
    request: Vec<u8, REQUEST_MAX>,
    line: Line,
    switched: Option<Switched>,
    refused: Option<(Generation, Veto)>,
}

impl<M: RawMutex, const BYTES: usize> Console<M, BYTES> {
    /// A console for what a reader sees.
    pub fn new(reader: Reader<M, BYTES>) -> Console<M, BYTES> {
        Console { reader, request: Vec::new(), line: Line::new(), switched: None, refused: None }
    }

    /// Answers for ever.
    pub async fn run(&mut self) -> ! {
        let mut looking = Ticker::every(LOOKING);
        let mut chunk = [0; 32];
        loop {
            let mut console = &CONSOLE;
            match select(console.read(&mut chunk), looking.next()).await {
                Either::First(Ok(len)) => {
                    for byte in chunk.get(..len).unwrap_or_default() {
                        self.take(*byte).await;
                    }
                }
                Either::Second(()) => self.tell().await,
            }
        }
    }

    async fn take(&mut self, byte: u8) {
        if byte != b'\n' {
            // What is too long is no request, and is answered as one.
            let _ = self.request.push(byte);
            return;
        }
        let request = core::mem::take(&mut self.request);
        let mut words = request.trim_ascii_end().split(|byte| *byte == b' ');
        // The number by which the answer is known.
        self.line.word(words.next().unwrap_or_default());
        match (words.next().unwrap_or_default(), words.next(), words.next()) {
            (b"get", Some(dataset), Some(key)) => self.get(dataset, key),
            (b"digest", None, None) => self.digest(),
            (b"status", None, None) => self.status(),
            _ => {
                self.line.word(b"what?");
            }
        }
        self.send().await;
    }

    /// A record's value.
    #[inline(never)]
    fn get(&mut self, dataset: &[u8], key: &[u8]) {
        let line = &mut self.line;
        let answered = self.reader.read(|seen| {
            let dataset = core::str::from_utf8(dataset).unwrap_or_default();
            served(line, &seen).word(seen.records.get(dataset, key).unwrap_or(b"-"));
        });
        self.or_not(answered);
    }

    /// The digest of all records that one read gets: that of their generation, if nothing is torn.
    // Below the task's own frame only while it is asked for, as are the other answers: the stack is small.
    #[inline(never)]
    fn digest(&mut self) {
        let line = &mut self.line;
        let answered = self.reader.read(|seen| {
            let digest = digest_of(&seen.records);
            served(line, &seen)
                .hexadecimal(&digest.unwrap_or_default().0)
                .hexadecimal(&seen.generation.digest.0);
        });
        self.or_not(answered);
    }

    fn or_not(&mut self, answered: Result<(), Unserved>) {
        match answered {
            Ok(()) => {}
            Err(Unserved::Hold { until }) => {
                self.line.word(b"held").number(until.as_nanos());
            }
            Err(Unserved::Fenced) => {
                self.line.word(b"fenced");
            }
            Err(Unserved::Nothing) => {
                self.line.word(b"nothing");
            }
        }
    }

    #[inline(never)]
    fn status(&mut self) {
        let Status {
            at, incarnation, connected, phase, offset, epsilon, plan, veto, counters, copied, ..
        } = self.reader.status();
        let number = |count: u32| Some(i64::from(count));
        let nanos = |span: Option<Span>| span.map(Span::as_nanos);
        let epoch = |generation: Option<Generation>| generation.map(|generation| generation.epoch as i64);
        let line = &mut self.line;
        line.counted("now", Some(at.as_nanos())).counted("incarnation", Some(incarnation.0 as i64));
        line.named("phase", phase_name(phase)).named("connected", if connected { "yes" } else { "no" });
        line.counted("active", epoch(plan.active)).counted("staged", epoch(plan.staged));
        line.counted("offset", offset).counted("epsilon", nanos(epsilon));
        line.counted("late", nanos(copied.map(|copied| copied.late)));
        line.counted("copied", nanos(copied.map(|copied| copied.took)));
        line.named("veto", veto.map_or("-", |(_, why)| veto_name(why)));
        line.counted("requests", number(counters.requests));
        line.counted("dropped", number(counters.bad_frames.total()));
        line.counted("mismatches", number(counters.mismatches)).counted("vetoes", number(counters.vetoes));
        line.counted("connections", number(counters.connections))
            .counted("refused", number(counters.refused));
        line.counted("switches", number(counters.switches)).counted("breaks", number(counters.clock_breaks));
        line.counted("stored", number(counters.stored)).counted("faults", number(counters.storage_faults));
        line.counted("stack", number(stack::high_water()));
    }

    /// Tells what is new.
    async fn tell(&mut self) {
        let status = self.reader.status();
        if let Some(switched) = status.switched.filter(|switched| self.switched != Some(*switched)) {
            self.switched = Some(switched);
            let line = self.line.word(b"*").word(b"switched").number(switched.epoch as i64);
            line.counted("at", Some(switched.at.as_nanos()));
            line.counted("epsilon", Some(switched.epsilon.as_nanos()));
            line.counted("held", Some(switched.held.as_nanos()));
            line.counted("late", status.copied.map(|copied| copied.late.as_nanos()));
            line.counted("copied", status.copied.map(|copied| copied.took.as_nanos()));
            let boundary = boundary::of(switched.epoch);
            line.counted("before", boundary.map(|boundary| boundary.before.as_nanos()));
            line.counted("over", boundary.map(|boundary| boundary.over.as_nanos()));
            self.send().await;
        }
        if self.refused != status.veto {
            self.refused = status.veto;
            if let Some((generation, why)) = status.veto {
                self.line.word(b"*").word(b"refused").number(generation.epoch as i64);
                self.line.named("why", veto_name(why));
                self.send().await;
            }
        }
    }

    async fn send(&mut self) {
        let Ok(()) = (&CONSOLE).write_all(self.line.finished()).await;
        self.line.clear();
    }
}

/// What each answer to a read begins with.
fn served<'a>(line: &'a mut Line, seen: &Seen<'_>) -> &'a mut Line {
    let freshness: &[u8] = match seen.freshness {
        Freshness::Current => b"current",
        Freshness::Stale => b"stale",
    };
    line.word(freshness).number(seen.epoch as i64).number(seen.looked_at.as_nanos())
}

/// Datasets and the sums of their records.
type Sums = Vec<(Name, DatasetSum), DATASETS_MAX>;

/// The digest of a generation that consists of these records; `None` where they are of too many datasets.
fn digest_of(records: &Records<'_>) -> Option<Digest> {
    digest_of_sums(&sums_of(records)?)
}

// One hash after the other, each on the stack for itself.
#[inline(never)]
fn sums_of(records: &Records<'_>) -> Option<Sums> {
    let mut sums = Sums::new();
    for record in records.all() {
        if sums.last().is_none_or(|(name, _)| name.as_str() != record.dataset) {
            sums.push((Name::new(record.dataset).ok()?, DatasetSum::EMPTY)).ok()?;
        }
        let (name, sum) = sums.last_mut()?;
        sum.add(record_digest(name, record.key, record.value));
    }
    Some(sums)
}

#[inline(never)]
fn digest_of_sums(sums: &Sums) -> Option<Digest> {
    generation_digest(sums.iter().map(|(name, sum)| (name, sum))).ok()
}

fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Greeting => "greeting",
        Phase::Reading => "reading",
        Phase::Locking => "locking",
        Phase::Advancing => "advancing",
        Phase::Retrieving => "retrieving",
        Phase::Armed => "armed",
        Phase::Activating => "activating",
        Phase::Current => "current",
        Phase::Waiting => "waiting",
        Phase::Stale => "stale",
        Phase::Fenced => "fenced",
    }
}

fn veto_name(why: Veto) -> &'static str {
    match why {
        Veto::TooLarge => "too-large",
        Veto::Invalid => "invalid",
        Veto::Storage => "storage",
    }
}
