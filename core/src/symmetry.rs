//! For checkers: one agent's machine with what doesn't change its behaviour taken out, so that
//! states that behave alike look alike. A host has no use for it.
//!
//! Request numbers are shifted so that the last one is zero (they are compared for equality and
//! counted up by one only); the plan's serial and what is only reported are cleared.

use crate::agent::Agent;
use crate::ids::Incarnation;

impl Agent {
    /// The same machine in its canonical form, and by how much its request numbers were shifted:
    /// packets in flight are to be shifted alike.
    pub fn canonical(&self, incarnation: Incarnation) -> (Agent, u64) {
        let mut agent = self.clone();
        let shift = agent.last_number;
        agent.last_number = 0;
        if let Some(request) = &mut agent.outstanding {
            request.number = request.number.wrapping_sub(shift);
        }
        agent.incarnation = incarnation;
        agent.published.serial = 0;
        agent.switched = None;
        if agent.config.samples == 0 {
            agent.last_trip = crate::time::Span::ZERO;
        }
        (agent, shift)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::{Config, Start};
    use crate::ids::{AgentId, BootId};
    use crate::serving::Mode;
    use crate::time::{LocalTime, Span};

    #[test]
    fn the_last_round_trip_counts_only_where_samples_are_taken() {
        let now = LocalTime::from_nanos(7);
        let incarnation = Incarnation(5);
        for (samples, alike) in [(0, true), (8, false)] {
            let config = Config { samples, ..Config::new(AgentId::default(), Mode::Strict) };
            let start = Start { incarnation, boot: BootId(1), now, page: None, last_good: None };
            let agent = Agent::new(config, start);
            let mut other = agent.clone();
            other.last_trip = Span::from_nanos(9);
            other.last_number = 3;
            other.published.serial = 2;
            let (other, shift) = other.canonical(incarnation);
            assert_eq!((agent.canonical(incarnation).0 == other, shift), (alike, 3), "{samples} samples");
        }
    }
}
