//! The properties of PROTOCOL §10 that can be seen from outside, by name: judged from what readers saw
//! on the host's undistorted clock, from the server's events, and from the server's true time, which no
//! agent knows.

use super::ledger::{Ledger, Staged};
use super::rates::{DAY, KEY, NOTICE, Rates, Records};
use super::timeline::Timeline;
use super::watcher::{Served, Track};
use crate::show;
use downbeat_agent::Agent;
use downbeat_core::ids::Epoch;
use downbeat_core::serving::Mode;
use downbeat_core::time::ServerTime;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Properties by id and name.
const NAMES: [(&str, &str); 10] = [
    ("S1", "single_initiator"),
    ("S4", "activation_arithmetic"),
    ("S5", "whole_generation"),
    ("S6", "agreement"),
    ("S7", "strict_serves_live"),
    ("S8", "prompt_skew_bound"),
    ("S9", "epochs_rise"),
    ("S10", "join_is_current"),
    ("S11", "schedule_respected"),
    ("S12", "clock_enclosure"),
];

/// A property that was seen broken.
#[derive(Clone, Debug)]
pub(crate) struct Violation {
    /// As in PROTOCOL §10.
    pub(crate) property: &'static str,
    /// How it was seen.
    pub(crate) detail: String,
}

impl Violation {
    /// Its name.
    pub(crate) fn name(&self) -> &'static str {
        NAMES.iter().find(|(id, _)| *id == self.property).map_or("", |(_, name)| name)
    }

    /// For programs.
    pub(crate) fn json(&self) -> Value {
        json!({ "property": self.property, "name": self.name(), "detail": self.detail })
    }
}

/// What was found so far; each property is told once for each agent and epoch.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    pub(crate) violations: Vec<Violation>,
    seen: BTreeSet<(&'static str, String)>,
    /// The first content seen of each epoch, for comparison (S6).
    contents: BTreeMap<Epoch, std::sync::Arc<Records>>,
    /// How often each property was looked at: a check that never looked proves nothing.
    pub(crate) looked: BTreeMap<&'static str, u64>,
}

/// All that is judged after a cycle.
pub(crate) struct Evidence<'a> {
    pub(crate) mode: Mode,
    pub(crate) names: &'a [String],
    pub(crate) tracks: &'a [Track],
    pub(crate) ledger: &'a Ledger,
    pub(crate) timeline: &'a Timeline,
    pub(crate) rates: &'a Rates,
}

impl Checks {
    fn judge(&mut self, property: &'static str, holds: bool, place: String, detail: impl FnOnce() -> String) {
        *self.looked.entry(property).or_default() += 1;
        if !holds && self.seen.insert((property, place)) {
            self.violations.push(Violation { property, detail: detail() });
        }
    }

    /// S1, S4: an epoch was staged.
    pub(crate) fn staged(&mut self, staged: &Staged, ledger: &Ledger) {
        let Some((before, entry)) = ledger.newest() else { return };
        if staged.epoch == before {
            return;
        }
        let (epoch, now, place) = (staged.epoch, staged.now, staged.epoch.to_string());
        self.judge("S1", epoch == before + 1, place.clone(), || {
            format!("epoch {epoch} was staged after {before}")
        });
        self.began(epoch, now, ledger);
        self.judge("S4", staged.activation >= entry.promise, place, || {
            let early = show::span((entry.promise - staged.activation).as_nanos());
            format!("epoch {epoch} goes live {early} before the end of the promise of epoch {before}")
        });
    }

    /// S1: a cycle for `epoch` had begun at `now` by the server's clock (its begin is not later).
    pub(crate) fn began(&mut self, epoch: Epoch, now: ServerTime, ledger: &Ledger) {
        let Some(before) = epoch.checked_sub(1).and_then(|before| ledger.activation(before)) else { return };
        self.judge("S1", now >= before, epoch.to_string(), || {
            let early = show::span((before - now).as_nanos());
            format!("the cycle of epoch {epoch} began {early} before epoch {} was live", epoch - 1)
        });
    }

    /// S12: the server's true time is inside the agent's enclosure; it never was empty.
    pub(crate) fn enclosure(&mut self, name: &str, agent: &Agent, timeline: &Timeline) {
        let status = agent.status();
        let reading = agent.clock().read();
        let ends = (status.clock.earliest(reading.local), status.clock.latest(reading.local));
        let (Some(earliest), Some(latest)) = ends else { return };
        let truth = timeline.server(reading.host);
        self.judge("S12", earliest <= truth && truth <= latest, name.to_owned(), || {
            let off = if truth < earliest { earliest - truth } else { truth - latest };
            format!("the server's time is {} outside of {name}'s enclosure", show::span(off.as_nanos()))
        });
        self.judge("S12", status.counters.clock_breaks == 0, format!("{name} crossed"), || {
            format!("the two ends of {name}'s enclosure crossed")
        });
    }

    /// Everything that readers saw so far.
    pub(crate) fn readers(&mut self, evidence: &Evidence<'_>) {
        for (name, track) in evidence.names.iter().zip(evidence.tracks) {
            self.judge("S9", track.went_back.is_none(), name.clone(), || {
                let back = track.went_back.map_or((0, 0), |back| (back.from, back.to));
                format!("readers of {name} went back from epoch {} to {}", back.0, back.1)
            });
            if let Some(first) = track.served.first() {
                self.live("S10", name, first, evidence, false);
            }
            for served in &track.served {
                self.content(name, served, evidence);
                if evidence.mode == Mode::Strict {
                    self.live("S7", name, served, evidence, true);
                }
            }
        }
        if evidence.mode == Mode::Strict {
            self.never_differ(evidence);
        }
    }

    /// S7, S10: what was served was live, T_j ≤ t < T_{j+1}, at its first read (and its last).
    fn live(
        &mut self,
        property: &'static str,
        name: &str,
        served: &Served,
        evidence: &Evidence<'_>,
        last: bool,
    ) {
        let epoch = served.generation.epoch;
        let Some(from) = evidence.ledger.activation(epoch) else { return };
        let first = evidence.timeline.server(served.first);
        let place = format!("{name} {epoch}");
        self.judge(property, first >= from, place.clone(), || {
            let early = show::span((from - first).as_nanos());
            format!("{name} served epoch {epoch} {early} before it was live")
        });
        let Some(until) = evidence.ledger.activation(epoch + 1) else { return };
        let end = if last { evidence.timeline.server(served.last) } else { first };
        self.judge(property, end < until, place, || {
            let late = show::span((end - until).as_nanos());
            format!("{name} served epoch {epoch} until {late} after epoch {} was live", epoch + 1)
        });
    }

    /// S7: no two agents served different generations at one instant.
    fn never_differ(&mut self, evidence: &Evidence<'_>) {
        for (one, older) in evidence.names.iter().zip(evidence.tracks) {
            for (other, newer) in evidence.names.iter().zip(evidence.tracks) {
                for was in &older.served {
                    let later = newer.served.iter().filter(|is| is.generation.epoch > was.generation.epoch);
                    for is in later {
                        let epochs = (was.generation.epoch, is.generation.epoch);
                        self.judge("S7", was.last < is.first, format!("{one} {other} {epochs:?}"), || {
                            let both = show::span((was.last - is.first).as_nanos());
                            format!(
                                "{one} served epoch {} for {both} while {other} served {}",
                                epochs.0, epochs.1
                            )
                        });
                    }
                }
            }
        }
    }

    /// S5, S6, S11: what was in a generation.
    fn content(&mut self, name: &str, served: &Served, evidence: &Evidence<'_>) {
        let epoch = served.generation.epoch;
        let place = format!("{name} {epoch}");
        let Some(entry) = evidence.ledger.epochs.get(&epoch) else { return };
        let digest = served.generation.digest.to_string();
        self.judge("S6", digest == entry.digest, place.clone(), || {
            format!("epoch {epoch} has another digest on {name} than on the server")
        });
        let Some(content) = &served.content else { return };
        let first = self.contents.entry(epoch).or_insert_with(|| content.clone()).clone();
        self.judge("S6", *first == **content, place.clone(), || {
            format!("epoch {epoch} has another content on {name} than on another agent")
        });
        let notice = (NOTICE.to_owned(), KEY.to_owned());
        let mut rest = Records::clone(content);
        let shown = rest.remove(&notice).is_some();
        let date = rest.get(&(DAY.to_owned(), KEY.to_owned()));
        let model =
            date.and_then(|date| evidence.rates.of(date)).map(|day| day.records()).unwrap_or_default();
        self.judge("S5", rest == model, place.clone(), || {
            format!("epoch {epoch} on {name} is not what was fed for {}", date.map_or("no day", |date| date))
        });
        let Some(scheduled) = evidence.ledger.scheduled else { return };
        let due = epoch > scheduled.after
            && entry.activation >= scheduled.from
            && entry.activation < scheduled.until;
        self.judge("S11", shown == due, place, || {
            let text = if shown { "shows" } else { "lacks" };
            format!("epoch {epoch} on {name} {text} the scheduled record")
        });
    }

    /// S8: a prompt agent's switch, given its ε: no more than ε before T and 2ε after.
    /// `current` says whether it held the generation before T, without which nothing is said of lateness.
    pub(crate) fn switch(
        &mut self,
        name: &str,
        served: &Served,
        epsilon: i64,
        current: bool,
        evidence: &Evidence<'_>,
    ) {
        let epoch = served.generation.epoch;
        let Some(activation) = evidence.ledger.activation(epoch) else { return };
        let t = evidence.timeline.host(activation);
        let place = format!("{name} {epoch}");
        let early = (t - served.first).as_nanos();
        self.judge("S8", early <= epsilon, place.clone(), || {
            let (early, epsilon) = (show::span(early), show::span(epsilon));
            format!("{name} switched to epoch {epoch} {early} before T, with an ε of {epsilon}")
        });
        // The last read of the generation before: what comes between it and the first is not known.
        let Some(before) = served.before.filter(|_| current) else { return };
        let late = (before - t).as_nanos();
        self.judge("S8", late <= epsilon.saturating_mul(2), place, || {
            let (late, epsilon) = (show::span(late), show::span(epsilon));
            format!("{name} had not switched to epoch {epoch} {late} after T, with an ε of {epsilon}")
        });
    }
}
