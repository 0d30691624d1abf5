//! One cycle as it was: what is reported of it, measured from what readers saw. The phases are those of
//! the seed's Fig. 7.

use super::ledger::Ledger;
use super::rates::{DAY, Day, KEY, NOTICE, Rates};
use super::timeline::Timeline;
use super::watcher::Track;
use downbeat_core::ids::Epoch;
use downbeat_core::time::{LocalTime, ServerTime};
use serde_json::{Value, json};

/// A cycle.
#[derive(Clone, Debug)]
pub(crate) struct Cycle {
    pub(crate) epoch: Epoch,
    pub(crate) activation: ServerTime,
    /// T, by the host's clock.
    pub(crate) at: LocalTime,
    pub(crate) date: Option<&'static str>,
    /// Currency, rate before, rate after.
    pub(crate) changes: Vec<(&'static str, Option<&'static str>, Option<&'static str>)>,
    /// Whether the scheduled record shows.
    pub(crate) notice: bool,
    /// From the news of the epoch to the last agent that holds it, in nanoseconds.
    pub(crate) retrieval: Option<i64>,
    /// From there to the first hold (or switch, where nothing is held).
    pub(crate) waiting: Option<i64>,
    /// From the first hold to the last switch.
    pub(crate) switching: Option<i64>,
    /// From the first switch to the last.
    pub(crate) spread: Option<i64>,
    pub(crate) agents: Vec<Switch>,
}

/// An agent's switch.
#[derive(Clone, Debug)]
pub(crate) struct Switch {
    pub(crate) name: String,
    /// When it was first seen to hold the generation, by the host's clock.
    pub(crate) armed: Option<LocalTime>,
    /// The first read that got the new generation, by the host's undistorted clock.
    pub(crate) switched: Option<LocalTime>,
    /// ε at T, in nanoseconds, as the agent recorded it with its switch.
    pub(crate) epsilon: Option<i64>,
    /// For how long reads were held.
    pub(crate) held: Option<i64>,
    /// How long before the first read of the new generation the read before it was.
    pub(crate) gap: Option<i64>,
    /// The configured round trip of its link, in nanoseconds.
    pub(crate) round_trip: Option<i64>,
}

impl Cycle {
    /// Measures an epoch's cycle.
    pub(crate) fn measure(
        epoch: Epoch,
        ledger: &Ledger,
        roles: &[super::cast::Role],
        tracks: &[Track],
        rates: &Rates,
        timeline: &Timeline,
    ) -> Option<Cycle> {
        let entry = ledger.epochs.get(&epoch)?;
        let at = timeline.host(entry.activation);
        let agents: Vec<Switch> = roles
            .iter()
            .zip(tracks)
            .zip(&entry.agents)
            .map(|((role, track), way)| {
                let served = track.of(epoch);
                let switched = served.map(|served| served.first);
                Switch {
                    name: role.name.clone(),
                    armed: way.armed,
                    switched,
                    epsilon: way.recorded.or(way.epsilon),
                    held: served.and_then(|served| Some((served.first - served.held?).as_nanos())),
                    gap: served.and_then(|served| Some((served.first - served.looked_before?).as_nanos())),
                    round_trip: role.link.map(|link| link.round_trip().as_nanos() as i64),
                }
            })
            .collect();
        let firsts = || agents.iter().filter_map(|agent| agent.switched);
        let last = firsts().max();
        let first = firsts().min();
        let begun = tracks.iter().filter_map(|track| {
            let served = track.of(epoch)?;
            Some(served.held.unwrap_or(served.first))
        });
        let begun = begun.min();
        let armed = entry.agents.iter().filter_map(|way| way.armed).max();
        let span = |from: Option<LocalTime>, to: Option<LocalTime>| Some((to? - from?).as_nanos());
        let content = |epoch: Epoch| tracks.iter().find_map(|track| track.of(epoch)?.content.clone());
        let day = |epoch: Epoch| rates.of(content(epoch)?.get(&(DAY.to_owned(), KEY.to_owned()))?);
        let (before, now) = (epoch.checked_sub(1).and_then(day), day(epoch));
        let notice = (NOTICE.to_owned(), KEY.to_owned());
        Some(Cycle {
            epoch,
            activation: entry.activation,
            at,
            date: now.map(|day| day.date),
            changes: now.map_or(Vec::new(), |now| now.changes(before.unwrap_or(&Day::default()))),
            notice: content(epoch).is_some_and(|content| content.contains_key(&notice)),
            retrieval: span(Some(entry.heard), armed),
            waiting: span(armed, begun),
            switching: span(begun, last),
            spread: span(first, last),
            agents,
        })
    }

    /// The sum of the two largest ε: what two agents may differ by.
    pub(crate) fn bound(&self) -> i64 {
        let mut all: Vec<i64> = self.agents.iter().filter_map(|agent| agent.epsilon).collect();
        all.sort_unstable();
        all.iter().rev().take(2).sum()
    }

    /// For programs: instants in nanoseconds, `activation` on the farm's timeline, the others by the
    /// host's clock.
    pub(crate) fn json(&self) -> Value {
        let micros = |nanos: Option<i64>| nanos.map(|nanos| nanos as f64 / 1e3);
        let from_t =
            |instant: Option<LocalTime>| micros(instant.map(|instant| (instant - self.at).as_nanos()));
        let agents: Vec<Value> = self
            .agents
            .iter()
            .map(|agent| {
                json!({
                    "agent": agent.name,
                    "switched": agent.switched.map(LocalTime::as_nanos),
                    "from_t_us": from_t(agent.switched),
                    "armed_from_t_us": from_t(agent.armed),
                    "epsilon_us": micros(agent.epsilon),
                    "held_us": micros(agent.held),
                    "read_gap_us": micros(agent.gap),
                    "round_trip_us": micros(agent.round_trip),
                })
            })
            .collect();
        json!({
            "epoch": self.epoch,
            "day": self.date,
            "changed": self.changes.len(),
            "activation": self.activation.as_nanos(),
            "activation_host": self.at.as_nanos(),
            "spread_us": micros(self.spread),
            "two_largest_epsilon_us": micros(Some(self.bound())),
            "retrieval_us": micros(self.retrieval),
            "waiting_us": micros(self.waiting),
            "activation_phase_us": micros(self.switching),
            "agents": agents,
        })
    }
}
