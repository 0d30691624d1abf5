//! A process with one reference agent: when its plans say that it goes over, what it knows of the
//! server's clock by then, and how many requests it took.

use super::readings::Seen;
use super::watcher::{Watcher, lock};
use downbeat_agent::core::effect::Event;
use downbeat_agent::core::serving::{Mode, SwitchPlan};
use downbeat_agent::core::time::LocalTime;
use downbeat_agent::{Agent, Reader, What};
use std::collections::BTreeMap;
use std::io;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;

/// The farm of the laboratory, its dataset, and the one record that changes.
pub(crate) const FARM: &str = "main";
pub(crate) const DATASET: &str = "prices";
pub(crate) const KEY: &str = "apple";

/// When one process goes over to an epoch, by its plans; nanoseconds of the host's clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Boundary {
    /// From when its readers get the new: `staged_from` of the last plan that was published before that
    /// instant, or the publication of a plan whose instant had passed by then, if that was earlier.
    from: LocalTime,
    /// `active_until` of the same plan.
    until: LocalTime,
    /// When the first plan that names the epoch as staged was published.
    armed: LocalTime,
    /// The plan was published after its own instant.
    late: bool,
}

impl Boundary {
    /// With one more plan, published then.
    fn with(before: Option<Boundary>, plan: &SwitchPlan, published: LocalTime) -> Boundary {
        let from = plan.staged_from.max(published);
        let late = plan.staged_from.passed(published);
        let this = Boundary { from, until: plan.active_until, armed: published, late };
        match before {
            None => this,
            Some(before) if from < before.from => Boundary { armed: before.armed, ..this },
            // Strict: the same end, and a better bound of the beginning.
            Some(before) if from == before.from && !late => Boundary { until: this.until, ..before },
            Some(before) => before,
        }
    }
}

pub(crate) fn prompt(watcher: Watcher) -> io::Result<()> {
    run(watcher, Mode::Prompt)
}

pub(crate) fn strict(watcher: Watcher) -> io::Result<()> {
    run(watcher, Mode::Strict)
}

fn run(watcher: Watcher, mode: Mode) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(follow(watcher, mode))
}

async fn follow(watcher: Watcher, mode: Mode) -> io::Result<()> {
    let name = format!("{} of {}", watcher.index, watcher.of);
    let builder = Agent::builder().server(&watcher.address).farm(FARM).mode(mode).display(name);
    let agent = builder.start().await.map_err(io::Error::other)?;
    let mut happenings = agent.happenings();
    let mut reader = agent.reader();
    while read(&mut reader, &watcher.clock).is_none() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let clock = watcher.clock.clone();
    watcher.ready_with(Box::new(move || read(&mut reader, &clock)));
    let mut boundaries = BTreeMap::new();
    let mut missed = 0;
    loop {
        match happenings.recv().await {
            Ok(happening) => match happening.what {
                What::Published(plan) => {
                    let Some(staged) = plan.staged else { continue };
                    let boundary =
                        Boundary::with(boundaries.get(&staged.epoch).copied(), &plan, happening.at);
                    boundaries.insert(staged.epoch, boundary);
                    let Boundary { from, until, armed, late } = boundary;
                    let numbers = [from, until, armed].map(LocalTime::as_nanos);
                    let numbers = [numbers.as_slice(), &[i64::from(late)]].concat();
                    lock(&watcher.told).note("boundary", staged.epoch, &numbers);
                }
                What::Protocol(Event::Switched(switched)) => {
                    let counters = agent.status().counters;
                    let requests = counters.requests.saturating_sub(counters.content_requests);
                    let numbers = [switched.epsilon.as_nanos(), i64::try_from(requests).unwrap_or(i64::MAX)];
                    lock(&watcher.told).note("switched", switched.epoch, &numbers);
                }
                _ => {}
            },
            Err(RecvError::Lagged(by)) => {
                missed += i64::try_from(by).unwrap_or(i64::MAX);
                lock(&watcher.told).note("missed", 0, &[missed]);
            }
            Err(RecvError::Closed) => return Err(io::Error::other("the agent ended")),
        }
    }
}

/// One read: what the record says, by which generation, and the look that justified it.
fn read(reader: &mut Reader, clock: &downbeat_agent::Clock) -> Option<Seen> {
    let began = clock.now();
    let guard = reader.read().ok()?;
    let value = guard.get(DATASET, KEY).ok()??;
    let value = std::str::from_utf8(value).ok()?.parse().ok()?;
    Some(Seen { version: guard.epoch(), value, began, at: guard.looked_at() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use downbeat_agent::core::ids::BootId;
    use downbeat_agent::core::serving::Activation;

    fn at(nanos: i64) -> LocalTime {
        LocalTime::from_nanos(nanos)
    }
    fn plan(until: i64, from: i64) -> SwitchPlan {
        let nothing = SwitchPlan::nothing(BootId(1), Mode::Strict, Activation::Switch);
        SwitchPlan { active_until: at(until), staged_from: at(from), ..nothing }
    }

    #[test]
    fn the_boundary_is_that_of_the_last_plan_before_it() {
        let first = Boundary::with(None, &plan(80, 120), at(10));
        assert_eq!(first, Boundary { from: at(120), until: at(80), armed: at(10), late: false });
        let better = Boundary::with(Some(first), &plan(90, 110), at(60));
        assert_eq!(better, Boundary { from: at(110), until: at(90), ..first });
        let same_end = Boundary::with(Some(better), &plan(95, 110), at(70));
        assert_eq!(same_end, Boundary { until: at(95), ..better });
        // Readers have gone over by the plan before it.
        assert_eq!(Boundary::with(Some(same_end), &plan(99, 101), at(115)), same_end);
        // They go over by this one when it is published.
        let late = Boundary::with(Some(same_end), &plan(99, 101), at(105));
        assert_eq!(late, Boundary { from: at(105), until: at(99), armed: at(10), late: true });
    }
}
