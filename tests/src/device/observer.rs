//! A reader of a board: it reads over the console again and again, and keeps what it got, bracketed by the
//! host's clock, for the judge of what readers saw.
//!
//! When within its bracket the board looked at its clock isn't known, so the judge is told the instant at
//! which a fault would be the smallest: what it finds has happened.

use super::console::{Answer, Asked, Console};
use crate::history::{Content, History, Life, Mode, Span, Switch};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Between two reads.
const READING: Duration = Duration::from_micros(300);
/// Every so many reads one is of all records, and computes their digest.
const DIGESTS: u32 = 60;
/// A key that is always there.
const KEY: &str = "get tariff zone-07";

/// A read that got an answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Look {
    /// The host's clock before the request and after the answer, in nanoseconds.
    pub bracket: (i64, i64),
    /// What the board answered.
    pub answer: Answer,
}

/// Looks, life by life.
type Lives = Mutex<Vec<Vec<Look>>>;

/// A reader that looks until it is ended.
#[derive(Debug)]
pub struct Observer {
    stop: Arc<AtomicBool>,
    /// All looks so far, life by life.
    looks: Arc<Lives>,
    console: Console,
    thread: Option<JoinHandle<()>>,
}

impl Observer {
    /// Begins to look, in the board's first life.
    pub fn start(console: Console) -> Observer {
        let (stop, looks) = (Arc::<AtomicBool>::default(), Arc::<Lives>::default());
        let (of, to, asked) = (stop.clone(), looks.clone(), console.clone());
        let thread = Some(std::thread::spawn(move || observe(&of, &to, &asked)));
        Observer { stop, looks, console, thread }
    }

    /// The newest epoch that was read as current.
    pub fn epoch(&self) -> u64 {
        let looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        looks.iter().flatten().filter_map(Look::current).max().unwrap_or(0)
    }

    /// How many lives were seen, and how many reads the last of them answered.
    pub fn seen(&self) -> (usize, usize) {
        let looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        (looks.len(), looks.last().map_or(0, Vec::len))
    }

    /// Ends it: all looks, life by life.
    ///
    /// # Panics
    /// It failed.
    pub fn end(mut self) -> Vec<Vec<Look>> {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            assert!(thread.join().is_ok(), "the observer failed");
        }
        self.console.assert_sound();
        std::mem::take(&mut *self.looks.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn observe(stop: &AtomicBool, looks: &Lives, console: &Console) {
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let whole = number % DIGESTS == 0;
        if let Some((Asked { before, after, life, .. }, answer)) =
            console.read(if whole { "digest" } else { KEY })
        {
            let mut lives = looks.lock().unwrap_or_else(PoisonError::into_inner);
            while lives.len() < life {
                lives.push(Vec::new());
            }
            lives[life - 1].push(Look { bracket: (before, after), answer });
        }
        std::thread::sleep(READING);
    }
}

impl Look {
    /// The epoch that was served as current.
    pub fn current(&self) -> Option<u64> {
        match &self.answer {
            Answer::Served { epoch, stale: false, .. } => Some(*epoch),
            _ => None,
        }
    }
}

/// What the looks of a life come to, for the judge; `history` tells when generations went live.
pub fn life(agent: &str, mode: Mode, looks: &[Look], switches: Vec<Switch>, history: &History) -> Life {
    let mut spans: Vec<Span> = Vec::new();
    let mut last = None;
    for look in looks {
        let (before, after) = look.bracket;
        let Answer::Served { epoch, stale, value, generation, .. } = &look.answer else {
            last = None;
            continue;
        };
        let (epoch, stale) = (*epoch, *stale);
        if last.replace((epoch, stale)) != Some((epoch, stale)) {
            // As late as it can have been; but where the next generation went live within the bracket, it
            // was before that.
            let next = history.activations(epoch + 1).map(|(_, latest)| latest);
            let first = next.filter(|next| (before..after).contains(next)).unwrap_or(after);
            let digest = staged(history, epoch);
            spans.push(Span { epoch, digest, stale, first, last: before, content: Content::Unseen });
        }
        let Some(span) = spans.last_mut() else { continue };
        // As early as it can have been.
        span.last = before;
        if let Some(generation) = generation
            && span.content != Content::Torn
        {
            span.digest.clone_from(generation);
            span.content = if value == generation { Content::Whole } else { Content::Torn };
        }
    }
    Life { agent: agent.to_owned(), mode, readers: vec![spans], switches }
}

/// The digest of an epoch by the server's records: for spans in which none was asked for.
fn staged(history: &History, epoch: u64) -> String {
    let live = history.live.iter().find(|live| live.epoch == epoch);
    live.map(|live| live.digest.clone()).unwrap_or_default()
}

/// The switches that a board told of in a life.
pub fn switches(said: &[String]) -> Vec<Switch> {
    let told = said.iter().filter_map(|said| {
        let (epoch, rest) = said.strip_prefix("switched ")?.split_once(' ')?;
        let epsilon = named(rest, "epsilon")?;
        Some(Switch { epoch: epoch.parse().ok()?, epsilon, went_by: epsilon })
    });
    told.collect()
}

/// A number by its name.
pub(super) fn named(text: &str, name: &str) -> Option<i64> {
    text.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(before: i64, after: i64, epoch: u64, digests: Option<(&str, &str)>) -> Look {
        let generation = digests.map(|(_, generation)| generation.to_owned());
        let value = digests.map_or("1.20", |(records, _)| records).to_owned();
        let answer = Answer::Served { epoch, stale: false, looked: before, value, generation };
        Look { bracket: (before, after), answer }
    }

    #[test]
    fn what_is_certain_of_brackets_is_told() {
        let looks = [
            look(10, 14, 1, None),
            look(20, 24, 1, Some(("aa", "aa"))),
            look(30, 34, 2, Some(("bc", "bb"))),
            Look { bracket: (40, 44), answer: Answer::Not("fenced".into()) },
            look(50, 54, 2, None),
        ];
        let life = life("device", Mode::Strict, &looks, Vec::new(), &History::default());
        let told: Vec<_> = life.readers[0]
            .iter()
            .map(|span| (span.epoch, span.digest.as_str(), span.first, span.last, span.content))
            .collect();
        let expected = [
            (1, "aa", 14, 20, Content::Whole),
            (2, "bb", 34, 30, Content::Torn),
            (2, "", 54, 50, Content::Unseen),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn switches_are_understood() {
        let said = ["boot interrupted=nothing", "switched 7 at=5 epsilon=42 held=0 late=- copied=-"];
        let told = switches(&said.map(str::to_owned));
        assert_eq!(told, [Switch { epoch: 7, epsilon: 42, went_by: 42 }]);
    }
}
