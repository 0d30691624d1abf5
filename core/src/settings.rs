//! A farm's settings and limits, their defaults, and the relations of PROTOCOL §3 that they must
//! keep. What a changed setting does to the next cycles is in `table`.

use crate::time::Span;
use core::fmt;
use serde::{Deserialize, Serialize};

/// Settings of a farm, changed by operators at any time and taken up at the next advance.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Settings {
    /// Time between regular activations (default 10 min). Too short: agents are not armed in time.
    pub interval: Span,
    /// Least time from a grant to the activation that it begins (default 60 s). At least
    /// `lease + round_trip + stagger + retrieve`; too short and slow agents go stale or fenced.
    pub lead: Span,
    /// How long a grant lasts (default 5 s). Longer than `round_trip`; too long and a dead
    /// initiator delays the cycle.
    pub lease: Span,
    /// The longest round trip that is expected (default 1 s). Requests are sent again after it.
    pub round_trip: Span,
    /// The longest retrieval of a generation that is expected (default 30 s).
    pub retrieve: Span,
    /// Agents begin to retrieve spread over this span (default 10 s).
    pub stagger: Span,
    /// A prompt agent switches at most this long before T (default 50 ms).
    pub early_limit: Span,
    /// Agents take their last time samples within this span before T (default 50 ms; a second
    /// for ten thousand agents).
    pub sample_window: Span,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            interval: Span::from_secs(600),
            lead: Span::from_secs(60),
            lease: Span::from_secs(5),
            round_trip: Span::from_secs(1),
            retrieve: Span::from_secs(30),
            stagger: Span::from_secs(10),
            early_limit: Span::from_millis(50),
            sample_window: Span::from_millis(50),
        }
    }
}

/// Limits of a farm, fixed when it is made; a restore waits as long as they allow (PROTOCOL §8).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Limits {
    /// The longest interval that a setting may have (default 1 day).
    pub max_interval: Span,
    /// The longest lead that a setting may have (default 1 h).
    pub max_lead: Span,
    /// The longest time that a hold may be announced ahead (default 7 days).
    pub max_hold: Span,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_interval: Span::from_secs(86_400),
            max_lead: Span::from_secs(3_600),
            max_hold: Span::from_secs(7 * 86_400),
        }
    }
}

/// Why settings are refused. The state is unchanged; each says which value would do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SettingsError {
    /// A span that must not be negative (or must be positive) is.
    NotPositive {
        /// Which setting.
        setting: &'static str,
    },
    /// lease > round_trip doesn't hold.
    LeaseTooShort {
        /// The shortest lease that would do.
        least: Span,
    },
    /// lead ≥ lease + round_trip + stagger + retrieve doesn't hold.
    LeadTooShort {
        /// The shortest lead that would do.
        least: Span,
    },
    /// lead + 2·lease + round_trip < interval doesn't hold.
    IntervalTooShort {
        /// The shortest interval that would do.
        least: Span,
    },
    /// The interval is beyond the farm's limit.
    IntervalTooLong {
        /// The longest interval that would do.
        most: Span,
    },
    /// The lead is beyond the farm's limit.
    LeadTooLong {
        /// The longest lead that would do.
        most: Span,
    },
}

struct Seconds(Span);
impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        write!(f, "{}", nanos / 1_000_000_000)?;
        match (nanos % 1_000_000_000).abs() {
            0 => f.write_str(" s"),
            rest => write!(f, ".{rest:09} s"),
        }
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SettingsError::NotPositive { setting } => {
                write!(f, "{setting} must be longer than nothing; give it a positive span")
            }
            SettingsError::LeaseTooShort { least } => write!(
                f,
                "the lease must be longer than the round trip, or a holder loses it before its advance \
                 arrives; a lease of {} would do",
                Seconds(*least)
            ),
            SettingsError::LeadTooShort { least } => write!(
                f,
                "the lead must cover lease + round trip + stagger + retrieve, or agents can't be armed \
                 in time; a lead of {} would do",
                Seconds(*least)
            ),
            SettingsError::IntervalTooShort { least } => write!(
                f,
                "the interval must be longer than lead + 2 leases + round trip, or a dead holder costs a \
                 slot; an interval of {} would do",
                Seconds(*least)
            ),
            SettingsError::IntervalTooLong { most } => write!(
                f,
                "the interval is over the limit fixed when the farm was made; at most {} would do",
                Seconds(*most)
            ),
            SettingsError::LeadTooLong { most } => write!(
                f,
                "the lead is over the limit fixed when the farm was made; at most {} would do",
                Seconds(*most)
            ),
        }
    }
}
impl core::error::Error for SettingsError {}

impl Settings {
    /// Checks the relations of PROTOCOL §3 and the farm's limits.
    ///
    /// # Errors
    /// The first relation that doesn't hold, with the value that would do.
    pub fn check(&self, limits: &Limits) -> Result<(), SettingsError> {
        let tick = Span::from_nanos(1);
        for (setting, span) in [("interval", self.interval), ("lease", self.lease), ("lead", self.lead)] {
            if span <= Span::ZERO {
                return Err(SettingsError::NotPositive { setting });
            }
        }
        for (setting, span) in [
            ("round_trip", self.round_trip),
            ("retrieve", self.retrieve),
            ("stagger", self.stagger),
            ("early_limit", self.early_limit),
            ("sample_window", self.sample_window),
        ] {
            if span < Span::ZERO {
                return Err(SettingsError::NotPositive { setting });
            }
        }
        if self.lease <= self.round_trip {
            return Err(SettingsError::LeaseTooShort { least: self.round_trip + tick });
        }
        let least_lead = self.lease + self.round_trip + self.stagger + self.retrieve;
        if self.lead < least_lead {
            return Err(SettingsError::LeadTooShort { least: least_lead });
        }
        if self.lead > limits.max_lead {
            return Err(SettingsError::LeadTooLong { most: limits.max_lead });
        }
        if self.interval > limits.max_interval {
            return Err(SettingsError::IntervalTooLong { most: limits.max_interval });
        }
        let busy = self.lead + self.lease.times(2) + self.round_trip;
        if self.interval <= busy {
            return Err(SettingsError::IntervalTooShort { least: busy + tick });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_hold() {
        assert_eq!(Settings::default().check(&Limits::default()), Ok(()));
    }

    #[test]
    fn the_value_that_would_do_does() {
        let limits = Limits::default();
        let base = Settings::default();
        let short = Settings { lease: base.round_trip, ..base };
        let Err(SettingsError::LeaseTooShort { least }) = short.check(&limits) else { panic!() };
        assert_eq!(Settings { lease: least, ..base }.check(&limits), Ok(()));

        let short = Settings { lead: Span::from_secs(1), ..base };
        let Err(SettingsError::LeadTooShort { least }) = short.check(&limits) else { panic!() };
        assert_eq!(Settings { lead: least, ..base }.check(&limits), Ok(()));

        let short = Settings { interval: Span::from_secs(61), ..base };
        let Err(SettingsError::IntervalTooShort { least }) = short.check(&limits) else { panic!() };
        assert_eq!(Settings { interval: least, ..base }.check(&limits), Ok(()));

        let long = Settings { interval: limits.max_interval + Span::from_nanos(1), ..base };
        let Err(SettingsError::IntervalTooLong { most }) = long.check(&limits) else { panic!() };
        assert_eq!(Settings { interval: most, ..base }.check(&limits), Ok(()));

        let negative = Settings { stagger: Span::from_nanos(-1), ..base };
        assert_eq!(negative.check(&limits), Err(SettingsError::NotPositive { setting: "stagger" }));
    }

    #[test]
    fn each_relation_is_exact_at_its_border() {
        let span = Span::from_nanos;
        let limits = Limits { max_interval: span(1_000), max_lead: span(50), max_hold: span(9) };
        let base = Settings {
            interval: span(71),
            lead: span(50),
            lease: span(8),
            round_trip: span(4),
            retrieve: span(30),
            stagger: span(8),
            early_limit: Span::ZERO,
            sample_window: Span::ZERO,
        };
        assert_eq!(base.check(&limits), Ok(()), "lead = lease + round trip + stagger + retrieve = its limit");
        let lead = Settings { lead: span(49), ..base };
        assert_eq!(lead.check(&limits), Err(SettingsError::LeadTooShort { least: span(50) }));
        let lead = Settings { lead: span(51), interval: span(80), ..base };
        assert_eq!(lead.check(&limits), Err(SettingsError::LeadTooLong { most: span(50) }));
        let lead = Settings { lead: span(500), interval: span(999), ..base };
        assert_eq!(lead.check(&limits), Err(SettingsError::LeadTooLong { most: span(50) }));
        let interval = Settings { interval: span(70), ..base };
        assert_eq!(interval.check(&limits), Err(SettingsError::IntervalTooShort { least: span(71) }));
        let none = Settings { round_trip: Span::ZERO, retrieve: Span::ZERO, stagger: Span::ZERO, ..base };
        assert_eq!(none.check(&limits), Ok(()), "nothing at all is a span that may be expected");
        let lease = Settings { lease: Span::ZERO, ..base };
        assert_eq!(lease.check(&limits), Err(SettingsError::NotPositive { setting: "lease" }));
    }
}
