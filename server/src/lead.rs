//! Whether a farm's lead is long enough for its agents: what they were seen to take until they were armed,
//! beside the settings. Pure; what agents take is in `skew`, and nothing here changes a setting.

use downbeat_core::settings::{Limits, Settings, SettingsError};
use downbeat_core::time::Span;
use serde::Serialize;

/// What is added to what was seen: the next change may be larger, and the network slower.
const MORE: i64 = 4;
/// What is advised is a multiple of this.
const STEP: Span = Span::from_millis(100);

/// The settings that would do for agents which take longer than the lead.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct Advice {
    /// What all agents but the slowest hundredth took at most, in nanoseconds.
    pub(crate) slowest_ns: i64,
    /// The lead that would do, a quarter longer than that, in nanoseconds.
    pub(crate) lead_ns: i64,
    /// The shortest interval beside that lead, in nanoseconds, where the farm's is too short.
    pub(crate) interval_ns: Option<i64>,
    /// The limit that the farm was made with, in nanoseconds, where that lead or interval is beyond it.
    pub(crate) beyond_ns: Option<i64>,
}

/// What is wrong with the lead where all agents but the slowest hundredth took `slowest` from the
/// promotion until they were armed. `None` where a quarter more than that fits into it.
///
/// After an outage only the lead lies between a promotion and its T (PROTOCOL §3); in a usual cycle it is
/// nearly the interval, which is longer. So a lead that does is enough for both.
pub(crate) fn advice(settings: &Settings, limits: &Limits, slowest: Span) -> Option<Advice> {
    let needed = slowest + slowest.part(MORE);
    if settings.lead >= needed {
        return None;
    }
    let steps = needed.as_nanos().div_euclid(STEP.as_nanos()).saturating_add(1);
    let with_lead = |lead| Settings { lead, ..*settings };
    let mut advised = with_lead(STEP.times(steps));
    let mut advice = Advice {
        slowest_ns: slowest.as_nanos(),
        lead_ns: advised.lead.as_nanos(),
        interval_ns: None,
        beyond_ns: None,
    };
    // What a change would be refused for, in the order in which it would be.
    for _ in 0..3 {
        match advised.check(limits) {
            Err(SettingsError::IntervalTooShort { least }) => {
                advised.interval = least;
                advice.interval_ns = Some(least.as_nanos());
            }
            Err(SettingsError::LeadTooLong { most } | SettingsError::IntervalTooLong { most }) => {
                advice.beyond_ns = Some(most.as_nanos());
                break;
            }
            _ => break,
        }
    }
    Some(advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(interval: i64, lead: i64) -> Settings {
        let span = Span::from_secs;
        Settings {
            interval: span(interval),
            lead: span(lead),
            lease: span(2),
            round_trip: span(1),
            stagger: span(1),
            retrieve: span(1),
            ..Settings::default()
        }
    }

    #[test]
    fn a_quarter_more_than_was_seen_has_to_fit() {
        let limits = Limits::default();
        let of = |millis| advice(&settings(60, 10), &limits, Span::from_millis(millis));
        assert_eq!(of(8_000), None, "ten seconds do");
        let advised = of(8_001).unwrap();
        assert_eq!((advised.slowest_ns, advised.lead_ns), (8_001_000_000, 10_100_000_000));
        assert_eq!((advised.interval_ns, advised.beyond_ns), (None, None));
    }

    #[test]
    fn what_is_advised_is_taken() {
        let limits = Limits::default();
        for seconds in [9, 40, 44, 45, 60, 1_000] {
            let before = settings(60, 10);
            let advised = advice(&before, &limits, Span::from_secs(seconds)).unwrap();
            let lead = Span::from_nanos(advised.lead_ns);
            let interval = advised.interval_ns.map_or(before.interval, Span::from_nanos);
            assert_eq!(Settings { lead, interval, ..before }.check(&limits), Ok(()), "{seconds} s");
            assert_eq!(advised.interval_ns.is_some(), seconds > 43, "{seconds} s");
            assert_eq!(
                advice(&Settings { lead, interval, ..before }, &limits, Span::from_secs(seconds)),
                None
            );
        }
    }

    #[test]
    fn what_no_setting_does_is_told() {
        let limits = Limits { max_lead: Span::from_secs(20), ..Limits::default() };
        let advised = advice(&settings(600, 10), &limits, Span::from_secs(17)).unwrap();
        assert_eq!((advised.lead_ns, advised.beyond_ns), (21_300_000_000, Some(20_000_000_000)));
        let limits = Limits { max_interval: Span::from_secs(60), ..Limits::default() };
        let advised = advice(&settings(60, 10), &limits, Span::from_secs(50)).unwrap();
        assert_eq!((advised.interval_ns, advised.beyond_ns), (Some(67_600_000_001), Some(60_000_000_000)));
    }
}
