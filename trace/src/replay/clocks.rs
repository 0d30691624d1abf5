//! The true time, as far as a trace tells it: what each timeline showed at every instant of the host's
//! clock, and whether the clock of a life kept within its bound.

use downbeat_core::ids::TimelineId;
use downbeat_core::time::{LocalTime, Rate, ServerTime, Span};
use downbeat_core::timeline::Line;
use std::collections::BTreeMap;

/// What two processes' readings of the host's clock may disagree by: each knows the time suspended
/// to half a microsecond.
pub(crate) const TWO_READINGS: Span = Span::from_nanos(1_000);

/// All timelines of a trace.
#[derive(Debug, Default)]
pub(crate) struct Timelines {
    lines: BTreeMap<TimelineId, Vec<Line>>,
}

impl Timelines {
    /// A line comes into force.
    pub(crate) fn push(&mut self, timeline: TimelineId, line: Line) {
        self.lines.entry(timeline).or_default().push(line);
    }

    /// The line that came into force last.
    pub(crate) fn last(&self, timeline: TimelineId) -> Option<&Line> {
        self.lines.get(&timeline)?.last()
    }

    /// All of them, in the order in which they came into force.
    pub(crate) fn of(&self, timeline: TimelineId) -> &[Line] {
        self.lines.get(&timeline).map_or(&[], Vec::as_slice)
    }

    /// What the timeline shows at an instant of the host's clock. Each line agrees with the one before
    /// it up to its bend, so it counts from there on.
    pub(crate) fn at(&self, timeline: TimelineId, host: LocalTime) -> Option<ServerTime> {
        let lines = self.lines.get(&timeline)?;
        let bent = lines.iter().rev().find(|line| line.bend_local.passed(host));
        Some(bent.or(lines.first())?.at(host))
    }

    /// The first instant of the host's clock at which the timeline shows this.
    pub(crate) fn host(&self, timeline: TimelineId, time: ServerTime) -> Option<LocalTime> {
        let lines = self.lines.get(&timeline)?;
        let bent = lines.iter().rev().find(|line| line.bend <= time);
        let line = bent.or(lines.first())?;
        // The slope is below a thousandth: a step of Newton's leaves nanoseconds.
        let mut host = line.bend_local + (time - line.bend);
        for _ in 0..8 {
            host = host + (time - line.at(host));
        }
        let tick = Span::from_nanos(1);
        while line.at(host - tick) >= time {
            host = host - tick;
        }
        Some(host)
    }
}

/// The two clocks of a life at one look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Moment {
    pub(crate) host: LocalTime,
    pub(crate) local: LocalTime,
}

impl Moment {
    /// By how much a clock was beyond its bound between the two looks; `None` where it kept it.
    pub(crate) fn strays(self, later: Moment, rate: Rate, granularity: Span) -> Option<Span> {
        let (host, local) = (later.host - self.host, later.local - self.local);
        let drift = host.as_nanos().unsigned_abs() as u128 * rate.as_ppb() as u128 / 1_000_000_000 + 1;
        let allowed = granularity.times(2) + TWO_READINGS + Span::from_nanos(drift as i64);
        let off = Span::from_nanos((local - host).as_nanos().saturating_abs());
        (off > allowed).then(|| off - allowed)
    }
}
