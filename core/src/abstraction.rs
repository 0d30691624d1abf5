//! For checkers: one agent's machine in the terms of PROTOCOL §5 alone, so that it can be compared
//! with a specification that knows nothing of this code. A host has no use for it.
//!
//! Left out is what the machine keeps to tell things apart (its incarnation, request numbers, the
//! plan's serial), to retry with a growing back-off (only *that* something failed is kept), to sample
//! the clock before T, and to report.

use crate::agent::{Agent, First};
use crate::effect::Cache;
use crate::ids::{Epoch, Generation, Token};
use crate::message::Phase;
use crate::step::Step;
use crate::table::TableView;
use crate::time::{LocalTime, ServerTime};

/// What an agent is at, as PROTOCOL §5 would say it. Instants are in its own time.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Abstract<'a> {
    /// Welcomed over its present connection.
    pub linked: bool,
    /// Welcomed in this life.
    pub met: bool,
    /// When it says hello again, while it waits to be welcomed.
    pub greet: Option<LocalTime>,
    /// Where it is in the cycle.
    pub phase: Phase,
    /// Of `Retrieving`: the objects are known and are being fetched.
    pub fetching: bool,
    /// When the phase goes on by itself (`Waiting`, `Retrieving` with nothing asked, `Armed`); of
    /// `Locking`, when the lock was first asked for; of `Advancing`, when its own lease is over.
    pub at: Option<LocalTime>,
    /// Of `Advancing`: what it names.
    pub advance: Option<(Token, ServerTime)>,
    /// Of `Retrieving`: what is retrieved, and whether into the active cache.
    pub target: Option<(Generation, bool)>,
    /// Until when the outstanding request is waited for, if there is one.
    pub deadline: Option<LocalTime>,
    /// Something failed since the last success.
    pub failing: bool,
    /// The newest table.
    pub table: Option<&'a TableView>,
    /// The active cache.
    pub active: Option<Generation>,
    /// The staged cache.
    pub staged: Option<Generation>,
    /// What a life before served last.
    pub spare: Option<Generation>,
    /// The published plan is not of this life and line.
    pub carried: bool,
    /// It took over a page from which readers were served.
    pub took_over: bool,
    /// The first epoch that this life found staged, unless it took over a page.
    pub first: Option<Epoch>,
    /// It has served something current in this life, as far as it knows.
    pub joined: bool,
    /// Until when the last good generation is not yet served.
    pub start_wait: Option<LocalTime>,
}

impl Agent {
    /// This machine in the terms of PROTOCOL §5.
    pub fn abstracted(&self) -> Abstract<'_> {
        let (at, advance, target) = match &self.step {
            Step::Waiting { until } => (Some(*until), None, None),
            Step::Reading => (None, None, None),
            Step::Locking { since } => (Some(*since), None, None),
            Step::Advancing { token, activation, lease_over } => {
                (Some(*lease_over), Some((*token, *activation)), None)
            }
            Step::Retrieving(retrieving) => {
                let from = retrieving.wake().filter(|_| self.outstanding.is_none());
                (from, None, Some((retrieving.target, retrieving.cache() == Cache::Active)))
            }
            Step::Armed(armed) => (Some(armed.wake(true)), None, None),
        };
        Abstract {
            linked: self.link.is_up(),
            met: self.timeline.is_some(),
            greet: self.link.wake(),
            phase: self.step.phase(false),
            fetching: matches!(&self.step, Step::Retrieving(retrieving) if retrieving.is_fetching()),
            at,
            advance,
            target,
            deadline: self.outstanding.as_ref().map(|request| request.deadline),
            failing: self.attempt > 0,
            table: self.table.as_ref(),
            active: self.active,
            staged: self.staged,
            spare: self.spare,
            carried: self.carried,
            took_over: self.first == First::TookOver,
            first: match self.first {
                First::Is(_, epoch) => Some(epoch),
                First::Unknown | First::TookOver => None,
            },
            joined: self.joined,
            start_wait: self.start_wait,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::{Config, Start};
    use crate::ids::{AgentId, BootId, Digest, Incarnation, TimelineId};
    use crate::serving::Mode;
    use crate::step::Retrieving;

    fn agent() -> Agent {
        let config = Config::new(AgentId::default(), Mode::Strict);
        let (incarnation, now) = (Incarnation(5), LocalTime::from_nanos(7));
        Agent::new(config, Start { incarnation, boot: BootId(1), now, page: None, last_good: None })
    }

    #[test]
    fn a_retrieval_is_told_with_its_cache_and_when_it_goes_on() {
        let target = Generation { epoch: 3, digest: Digest([3; 32]) };
        let from = LocalTime::from_nanos(9);
        for cache in [Cache::Active, Cache::Staged] {
            let step = Step::Retrieving(Retrieving::begin(target, cache, from));
            let agent = Agent { step, ..agent() };
            let told = agent.abstracted();
            assert_eq!(told.target, Some((target, cache == Cache::Active)));
            assert_eq!((told.at, told.phase, told.fetching), (Some(from), Phase::Retrieving, false));
        }
    }

    #[test]
    fn that_something_failed_is_told_and_how_often_is_not() {
        let failing = |attempt| Agent { attempt, ..agent() }.abstracted().failing;
        assert_eq!([0, 1, 2].map(failing), [false, true, true]);
    }

    #[test]
    fn what_was_first_is_told_as_an_epoch_or_as_taken_over() {
        let told = |first| {
            let agent = Agent { first, ..agent() };
            let told = agent.abstracted();
            (told.took_over, told.first)
        };
        assert_eq!(told(First::Unknown), (false, None));
        assert_eq!(told(First::Is(TimelineId::default(), 3)), (false, Some(3)));
        assert_eq!(told(First::TookOver), (true, None));
    }
}
