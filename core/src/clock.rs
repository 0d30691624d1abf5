//! The clock enclosure (PROTOCOL §2; in place of the difference of two readings in Fig. 6,
//! step 250).
//!
//! An agent never knows the server's time, only an interval that contains it: whatever the network
//! did, when a request left at local `a` the server's clock was at most the `r` at which it was
//! received, and when the answer arrived at local `b` it was at least the `s` at which it was sent.
//! Both facts age at the two clocks' rate errors. A point estimate would be wrong by up to half a
//! round trip, and nothing could be said with it.
//!
//! The two ends are kept apart, each with its own sample's instants, and are always computed from
//! those, never re-aged in steps. What is done with the interval is in `plan` and `serving`.

use crate::guard::{Guard, Guards};
use crate::ids::TimelineId;
use crate::symmetry::Renaming;
use crate::time::{Drift, LocalTime, Rate, ServerTime, Span};

/// One exchange, as the two clocks saw it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Sample {
    /// `a`: when the request left, by the local clock.
    pub sent: LocalTime,
    /// `r`: when the server received it; an upper bound of its clock then.
    pub received: ServerTime,
    /// `s`: when the answer left the server; a lower bound of its clock then.
    pub answered: ServerTime,
    /// `b`: when the answer arrived, by the local clock.
    pub arrived: LocalTime,
}

/// A bound of the server's clock at one local instant.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct End {
    server: ServerTime,
    local: LocalTime,
}

/// What a sample did to the enclosure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Sampled {
    /// It is the first one since the start, a new timeline or a break.
    First,
    /// At least one end became tighter.
    Narrowed,
    /// Both ends were better already.
    Kept,
    /// The ends crossed: an assumption broke. All samples are dropped.
    Broken,
    /// The sample contradicts itself (arrived before it was sent) and is used for nothing.
    Impossible,
}

/// The interval that contains the server's clock (S12), at every local instant.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Enclosure {
    drift: Drift,
    granularity: Span,
    ends: Option<(End, End)>,
    guards: Guards,
}

impl Enclosure {
    /// An enclosure without samples.
    ///
    /// `own` and `server` are the largest rate errors of the two clocks (ρ, ρ_s), `granularity`
    /// the step in which the local clock is read.
    pub fn new(own: Rate, server: Rate, granularity: Span, guards: Guards) -> Enclosure {
        let drift = if !guards.on(Guard::Aging) {
            Drift::none()
        } else if !guards.on(Guard::DriftProduct) {
            Drift::sum(own, server)
        } else {
            Drift::between(own, server)
        };
        Enclosure { drift, granularity, ends: None, guards }
    }

    /// Takes a sample in. Each end keeps the sample that bounds it best.
    pub fn sample(&mut self, sample: Sample) -> Sampled {
        if sample.arrived < sample.sent {
            return Sampled::Impossible;
        }
        let sent = if self.guards.on(Guard::UpperAgesFromSend) { sample.sent } else { sample.arrived };
        let upper = End { server: sample.received, local: sent };
        let lower = End { server: sample.answered, local: sample.arrived };
        let Some((best_upper, best_lower)) = self.ends else {
            self.ends = Some((upper, lower));
            return if self.crossed(sample.arrived) { self.drop_all() } else { Sampled::First };
        };
        // Both candidates of an end age alike, so whichever is tighter now stays tighter.
        let at = sample.arrived;
        let keep_upper = self.upper_at(best_upper, at) <= self.upper_at(upper, at);
        let keep_lower = self.lower_at(best_lower, at) >= self.lower_at(lower, at);
        self.ends =
            Some((if keep_upper { best_upper } else { upper }, if keep_lower { best_lower } else { lower }));
        if self.crossed(at) {
            return self.drop_all();
        }
        if keep_upper && keep_lower { Sampled::Kept } else { Sampled::Narrowed }
    }

    /// Even the newest sample goes: a clock that jumped between its two instants makes one that agrees
    /// with itself and lies. What is sent from here on is wholly of the clocks as they are now.
    fn drop_all(&mut self) -> Sampled {
        self.ends = None;
        Sampled::Broken
    }

    fn crossed(&self, at: LocalTime) -> bool {
        matches!((self.earliest(at), self.latest(at)), (Some(earliest), Some(latest)) if earliest > latest)
    }

    /// Forgets all samples: a new timeline (PROTOCOL §8), or a clock found to be wrong.
    pub fn clear(&mut self) {
        self.ends = None;
    }

    /// Whether there is a sample.
    pub fn is_known(&self) -> bool {
        self.ends.is_some()
    }

    // A span that can't be expressed was cut to the longest that can, and says nothing more about
    // how far the clock has come: the bound is then the widest one.
    fn upper_at(&self, end: End, local: LocalTime) -> ServerTime {
        match self.drift.at_most(local - end.local + self.granularity) {
            Span::MAX => ServerTime::MAX,
            advance => end.server + advance,
        }
    }
    fn lower_at(&self, end: End, local: LocalTime) -> ServerTime {
        match self.drift.at_least(local - end.local - self.granularity) {
            Span::MIN => ServerTime::MIN,
            advance => end.server + advance,
        }
    }

    /// The latest that the server's clock can show at the local instant; `None` without a sample.
    pub fn latest(&self, local: LocalTime) -> Option<ServerTime> {
        self.ends.map(|(upper, _)| self.upper_at(upper, local))
    }
    /// The earliest that the server's clock can show at the local instant; `None` without a sample.
    pub fn earliest(&self, local: LocalTime) -> Option<ServerTime> {
        self.ends.map(|(_, lower)| self.lower_at(lower, local))
    }
    /// Half the width of the enclosure at the local instant, rounded up: ε.
    pub fn epsilon(&self, local: LocalTime) -> Option<Span> {
        let width = self.latest(local)? - self.earliest(local)?;
        Some((width + Span::from_nanos(1)).part(2))
    }
    /// The estimate of the server's clock at the local instant: the middle of the enclosure.
    pub fn midpoint(&self, local: LocalTime) -> Option<ServerTime> {
        let earliest = self.earliest(local)?;
        Some(earliest + (self.latest(local)? - earliest).part(2))
    }

    /// The longest local span that the server's clock is sure to show as no more than `span`.
    pub fn surely_within(&self, span: Span) -> Span {
        self.drift.surely_within(span)
    }
    /// The shortest local span that the server's clock is sure to show as at least `span`.
    pub fn surely_reached(&self, span: Span) -> Span {
        self.drift.surely_reached(span)
    }

    /// The local instant before which `latest(l) < instant` holds: a strict agent serves active
    /// until then (PROTOCOL §6). `MAX` where the instant is "never".
    pub fn possibly_reached(&self, instant: ServerTime) -> Option<LocalTime> {
        let (upper, _) = self.ends?;
        if instant == ServerTime::MAX {
            return Some(LocalTime::MAX);
        }
        // The last local instant at which the bound is still short of it, and one more.
        let tick = Span::from_nanos(1);
        let short = instant - upper.server - tick;
        let within = if self.guards.on(Guard::RoundsOutward) {
            self.drift.surely_within(short)
        } else {
            self.drift.rounded_inward(short)
        };
        Some(match within - self.granularity {
            Span::MIN => LocalTime::MIN,
            within => upper.local + (within + tick),
        })
    }
    /// The local instant from which on `earliest(l) ≥ instant` holds: a strict agent serves the new
    /// generation from then (PROTOCOL §6). `MAX` where the instant is "never".
    pub fn certainly_reached(&self, instant: ServerTime) -> Option<LocalTime> {
        let (_, lower) = self.ends?;
        if instant == ServerTime::MAX {
            return Some(LocalTime::MAX);
        }
        Some(match self.drift.surely_reached(instant - lower.server) + self.granularity {
            Span::MAX => LocalTime::MAX,
            reached => lower.local + reached,
        })
    }
}

/// For checkers (`symmetry`).
impl Enclosure {
    /// The same enclosure under other names. Where the clocks have no error between them, samples
    /// don't age: both are moved along to `now`, where they say the same.
    pub(crate) fn renamed(
        &self,
        line: Option<TimelineId>,
        now: LocalTime,
        names: &mut impl Renaming,
    ) -> Enclosure {
        let ageless = self.drift == Drift::none() && self.granularity == Span::ZERO;
        let mut end = |end: End| {
            let (server, local) =
                if ageless { (end.server + (now - end.local), now) } else { (end.server, end.local) };
            let server = line.map_or(server, |line| names.reading(line, server));
            End { server, local: names.local(local) }
        };
        Enclosure { ends: self.ends.map(|(upper, lower)| (end(upper), end(lower))), ..*self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(nanos: i64) -> LocalTime {
        LocalTime::from_nanos(nanos)
    }
    fn server(nanos: i64) -> ServerTime {
        ServerTime::from_nanos(nanos)
    }
    fn enclosure() -> Enclosure {
        Enclosure::new(Rate::from_ppm(250), Rate::from_ppm(100), Span::ZERO, Guards::ALL)
    }
    fn exchange(a: i64, r: i64, s: i64, b: i64) -> Sample {
        Sample { sent: local(a), received: server(r), answered: server(s), arrived: local(b) }
    }

    #[test]
    fn the_ends_come_from_their_own_samples() {
        let mut clock = enclosure();
        assert_eq!(clock.sample(exchange(0, 1_000_050, 1_000_060, 100)), Sampled::First);
        assert_eq!(clock.earliest(local(100)), Some(server(1_000_060)));
        assert_eq!(clock.latest(local(0)), Some(server(1_000_050)));
        // A slow way there and a fast way back: only the lower end improves.
        assert_eq!(clock.sample(exchange(200, 1_000_390, 1_000_391, 400)), Sampled::Narrowed);
        assert_eq!(clock.earliest(local(400)), Some(server(1_000_391)));
        assert_eq!(clock.latest(local(400)), Some(server(1_000_451)));
    }

    #[test]
    fn crossing_ends_are_reported_and_no_sample_stands() {
        let mut clock = enclosure();
        let _ = clock.sample(exchange(0, 50, 50, 100));
        assert_eq!(clock.sample(exchange(200, 5_000, 5_000, 210)), Sampled::Broken);
        assert!(!clock.is_known(), "the newest sample may have been taken across the jump");
        assert_eq!(clock.sample(exchange(220, 5_000, 9_000, 210)), Sampled::Impossible);
    }

    #[test]
    fn instants_found_by_inversion_agree_with_the_ends() {
        let mut clock =
            Enclosure::new(Rate::from_ppm(250), Rate::from_ppm(100), Span::from_nanos(40), Guards::ALL);
        let _ = clock.sample(exchange(1_000, 500_000, 500_010, 1_900));
        for at in [499_000, 500_000, 500_010, 1_000_000_000, 77_000_000_123] {
            let until = clock.possibly_reached(server(at)).unwrap();
            assert!(clock.latest(until - Span::from_nanos(1)).unwrap() < server(at), "{at}");
            let from = clock.certainly_reached(server(at)).unwrap();
            assert!(clock.earliest(from).unwrap() >= server(at), "{at}");
        }
    }

    #[test]
    fn an_exchange_that_took_no_time_by_the_local_clock_is_a_sample() {
        let mut clock = enclosure();
        assert!(!clock.is_known());
        assert_eq!(clock.sample(exchange(100, 1_000, 1_000, 100)), Sampled::First);
        assert!(clock.is_known());
        assert_eq!(
            (clock.earliest(local(100)), clock.latest(local(100))),
            (Some(server(1_000)), Some(server(1_000)))
        );
        clock.clear();
        assert!(!clock.is_known() && clock.midpoint(local(100)).is_none());
    }

    #[test]
    fn the_step_in_which_the_clock_is_read_widens_both_ends_and_half_the_width_is_rounded_up() {
        let mut clock = Enclosure::new(Rate::ZERO, Rate::ZERO, Span::from_nanos(40), Guards::ALL);
        let _ = clock.sample(exchange(0, 1_000, 1_000, 11));
        assert_eq!(
            (clock.latest(local(11)), clock.earliest(local(11))),
            (Some(server(1_051)), Some(server(960)))
        );
        assert_eq!(clock.epsilon(local(11)), Some(Span::from_nanos(46)), "of 91");
        assert_eq!(clock.midpoint(local(11)), Some(server(1_005)));
        assert_eq!(clock.possibly_reached(server(1_100)), Some(local(60)));
        assert_eq!(clock.certainly_reached(server(1_100)), Some(local(151)));
    }
}
