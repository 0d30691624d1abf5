//! The skew of activations: when each agent of a farm went over to a generation, as it reported it
//! itself, beside T; and how long it took until it was armed. Taken in while reports may still come; then
//! the store keeps what is known. People read it, and nothing is decided by it.
//!
//! A report is what an agent knows: its estimate of the server's clock at its switch, and ε. So a
//! distance from T is known to within that agent's ε, and a spread to within the two largest together.

use crate::agents::AgentRow;
use crate::store::Past;
use downbeat_core::ids::{AgentId, Epoch, Generation, Incarnation, TimelineId};
use downbeat_core::message::{Phase, Report, Switched};
use downbeat_core::table::SyncTable;
use downbeat_core::time::{ServerTime, Span};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The newest epochs, of which reports are taken in.
const OPEN: usize = 4;
/// Agents that a summary names, at most.
const NAMED: usize = 20;

/// The activations of a farm of which reports still come.
#[derive(Default)]
pub(crate) struct Skew(Mutex<BTreeMap<Epoch, Open>>);

/// One activation.
struct Open {
    timeline: TimelineId,
    activation: ServerTime,
    generation: Generation,
    /// When it was staged; `None` where that was before this server started.
    staged_at: Option<ServerTime>,
    agents: BTreeMap<AgentId, Told>,
}

/// What an agent told of it.
#[derive(Default)]
struct Told {
    name: String,
    /// Its life that was there before T. A later one has a first read, and no switch.
    life: Option<Incarnation>,
    refused: bool,
    /// After T: what its readers got instead.
    lapse: Option<Lapse>,
    /// The switch, and of which life it was.
    switched: Option<(Switched, Incarnation)>,
    /// When it said hello last, before it was armed: what it was cut off for isn't its own.
    hello: Option<ServerTime>,
    /// How long it took from there, or from the promotion, until it told that it holds the generation.
    armed: Option<Span>,
}

/// What readers get that isn't what is live.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Lapse {
    /// What was live last, marked so.
    Stale,
    /// Nothing.
    Fenced,
}

/// What is known of an activation. Spans are nanoseconds.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(crate) struct Summary {
    pub(crate) epoch: Epoch,
    #[serde(skip)]
    pub(crate) timeline: TimelineId,
    #[serde(skip)]
    pub(crate) activation: ServerTime,
    /// Agents that were there before T.
    pub(crate) agents: usize,
    /// Those of them that told of their switch,
    pub(crate) switched: usize,
    /// and of these, who went over later than 2ε after T (S8).
    pub(crate) late: usize,
    /// Those that refused the generation.
    pub(crate) refused: usize,
    /// Those that didn't go over, and told after T that what they serve is marked stale,
    pub(crate) stale: usize,
    /// or that they serve nothing.
    pub(crate) fenced: usize,
    /// Those that told nothing of all that: cut off, most often.
    pub(crate) silent: usize,
    /// Agents, and lives of agents, that came after T.
    pub(crate) joined: usize,
    /// Distances of the switches from T, whichever side.
    pub(crate) p50_ns: Option<i64>,
    pub(crate) p99_ns: Option<i64>,
    pub(crate) max_ns: Option<i64>,
    /// From the first switch to the last.
    pub(crate) spread_ns: Option<i64>,
    /// The two largest ε together: the true spread is no farther from that one.
    pub(crate) bound_ns: Option<i64>,
    /// From the promotion, or from a later hello, until agents told that they hold the generation.
    pub(crate) armed_p50_ns: Option<i64>,
    pub(crate) armed_p99_ns: Option<i64>,
    /// The first and the last switch, then who was late, refused, stale, fenced or silent.
    pub(crate) named: Vec<Named>,
}

/// An agent that a summary names.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(crate) struct Named {
    pub(crate) agent: String,
    pub(crate) name: String,
    pub(crate) what: &'static str,
    /// Its switch, from T.
    pub(crate) from_t_ns: Option<i64>,
    pub(crate) epsilon_ns: Option<i64>,
}

impl Skew {
    /// A table was committed, at `now` where it is known when; `agents` are those that are known.
    pub(crate) fn staged(
        &self,
        table: &SyncTable,
        now: Option<ServerTime>,
        agents: impl Iterator<Item = AgentRow>,
    ) {
        let mut open = self.lock();
        let is_known = open.get(&table.epoch()).is_some_and(|open| open.timeline == table.timeline);
        if is_known {
            return;
        }
        // Instants of another line say nothing of this one's.
        open.retain(|_, open| open.timeline == table.timeline);
        let there = |row: AgentRow| {
            (row.id, Told { name: row.display, life: Some(row.incarnation), ..Told::default() })
        };
        let agents = agents.filter(|row| row.connections > 0).map(there).collect();
        let entry = Open {
            timeline: table.timeline,
            activation: table.activation,
            generation: table.staged,
            staged_at: now,
            agents,
        };
        open.insert(table.epoch(), entry);
        while open.len() > OPEN {
            open.pop_first();
        }
    }

    /// An agent said hello or reported.
    pub(crate) fn heard(&self, row: &AgentRow, report: Option<&Report>, now: ServerTime) {
        let mut open = self.lock();
        for (epoch, open) in open.iter_mut() {
            let switched =
                report.and_then(|report| report.switched).filter(|switched| switched.epoch == *epoch);
            let is_early = now < open.activation;
            if !is_early && switched.is_none() && !open.agents.contains_key(&row.id) {
                continue;
            }
            let told = open.agents.entry(row.id).or_default();
            told.name.clone_from(&row.display);
            if is_early {
                told.life = Some(row.incarnation);
            }
            if told.switched.is_none() {
                told.switched = switched.map(|switched| (switched, row.incarnation));
            }
            let holds = |report: &Report| [report.staged, report.active].contains(&Some(open.generation));
            match report {
                None if told.armed.is_none() => told.hello = Some(now),
                Some(report) if told.armed.is_none() && holds(report) => {
                    let since = open.staged_at.map(|at| told.hello.map_or(at, |hello| hello.max(at)));
                    told.armed = since.map(|since| (now - since).or_zero());
                }
                _ => {}
            }
        }
        let lapse = match report.map(|report| report.phase) {
            Some(Phase::Stale) => Some(Lapse::Stale),
            Some(Phase::Fenced) => Some(Lapse::Fenced),
            _ => None,
        };
        // It is of the last generation that went live; an agent that came later isn't judged by it.
        let live = open.values_mut().rev().find(|open| open.activation <= now);
        if let Some(told) = live.and_then(|open| open.agents.get_mut(&row.id)) {
            told.lapse = lapse.or(told.lapse);
        }
        // A veto is of what is staged, the newest.
        if let Some(mut newest) = open.last_entry()
            && report.is_some_and(|report| report.veto.is_some())
            && let Some(told) = newest.get_mut().agents.get_mut(&row.id)
        {
            told.refused = true;
        }
    }

    /// What is known of the activations that have passed, ascending by epoch.
    pub(crate) fn passed(&self, now: ServerTime) -> Vec<Summary> {
        let open = self.lock();
        let passed = open.iter().filter(|(_, open)| open.activation <= now);
        passed.map(|(epoch, open)| open.summary(*epoch)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Epoch, Open>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Summary {
    /// As the store keeps it.
    pub(crate) fn past(&self) -> Past {
        Past {
            epoch: self.epoch,
            timeline: self.timeline,
            activation: self.activation,
            switched: self.switched as u64,
            body: serde_json::json!(self).to_string(),
        }
    }
}

impl Open {
    fn summary(&self, epoch: Epoch) -> Summary {
        let named = |(id, told): (&AgentId, &Told), what, switched: Option<Switched>| Named {
            agent: id.0.iter().map(|byte| format!("{byte:02x}")).collect(),
            name: told.name.clone(),
            what,
            from_t_ns: switched.map(|switched| (switched.at - self.activation).as_nanos()),
            epsilon_ns: switched.map(|switched| switched.epsilon.as_nanos()),
        };
        let was_there = |(_, told): &(&AgentId, &Told)| {
            told.life.is_some_and(|life| told.switched.is_none_or(|(_, of)| of == life))
        };
        let (there, joined): (Vec<_>, Vec<_>) = self.agents.iter().partition(was_there);
        let mut switches: Vec<_> =
            there.iter().filter_map(|agent| Some((*agent, agent.1.switched?.0))).collect();
        switches.sort_by_key(|(_, switched)| switched.at);
        let late: Vec<_> = switches
            .iter()
            .rev()
            .filter(|(_, switched)| (switched.at - self.activation) > switched.epsilon.times(2))
            .collect();
        let silent = there.iter().copied().filter(|(_, told)| told.switched.is_none());
        let lapsed = |lapse| {
            let of =
                move |(_, told): &(&AgentId, &Told)| told.switched.is_none() && told.lapse == Some(lapse);
            there.iter().copied().filter(of).collect::<Vec<_>>()
        };
        let (stale, fenced) = (lapsed(Lapse::Stale), lapsed(Lapse::Fenced));
        let (refused, silent): (Vec<_>, Vec<_>) = silent.partition(|(_, told)| told.refused);
        let silent: Vec<_> = silent.into_iter().filter(|(_, told)| told.lapse.is_none()).collect();

        let mut distances: Vec<i64> = switches
            .iter()
            .map(|(_, switched)| (switched.at - self.activation).as_nanos().saturating_abs())
            .collect();
        distances.sort_unstable();
        let mut armed: Vec<i64> = there.iter().filter_map(|(_, told)| Some(told.armed?.as_nanos())).collect();
        armed.sort_unstable();
        let mut epsilons: Vec<i64> =
            switches.iter().map(|(_, switched)| switched.epsilon.as_nanos()).collect();
        epsilons.sort_unstable_by(|a, b| b.cmp(a));
        let ends = switches.first().zip(switches.last());

        let mut all = Vec::new();
        if let Some(((first, earliest), (last, latest))) = ends.filter(|_| switches.len() > 1) {
            all.push(named(*first, "first", Some(*earliest)));
            all.push(named(*last, "last", Some(*latest)));
        }
        all.extend(late.iter().map(|(agent, switched)| named(*agent, "late", Some(*switched))));
        all.extend(refused.iter().map(|agent| named(*agent, "refused", None)));
        all.extend(stale.iter().map(|agent| named(*agent, "stale", None)));
        all.extend(fenced.iter().map(|agent| named(*agent, "fenced", None)));
        all.extend(silent.iter().map(|agent| named(*agent, "silent", None)));
        all.truncate(NAMED);
        Summary {
            epoch,
            timeline: self.timeline,
            activation: self.activation,
            agents: there.len(),
            switched: switches.len(),
            late: late.len(),
            refused: refused.len(),
            stale: stale.len(),
            fenced: fenced.len(),
            silent: silent.len(),
            joined: joined.len(),
            p50_ns: share(&distances, 50),
            p99_ns: share(&distances, 99),
            max_ns: distances.last().copied(),
            spread_ns: ends.map(|((_, first), (_, last))| (last.at - first.at).as_nanos()),
            bound_ns: (!epsilons.is_empty())
                .then(|| epsilons.iter().take(2).fold(0, |sum: i64, epsilon| sum.saturating_add(*epsilon))),
            armed_p50_ns: share(&armed, 50),
            armed_p99_ns: share(&armed, 99),
            named: all,
        }
    }
}

/// The least number that so many hundredths of these, ascending, are not above.
fn share(sorted: &[i64], hundredths: usize) -> Option<i64> {
    sorted.get((sorted.len() * hundredths).div_ceil(100).max(1) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::Selection;
    use downbeat_core::ids::{Digest, Name};
    use downbeat_core::message::Veto;
    use downbeat_core::settings::{Limits, Settings};
    use downbeat_core::time::Span;

    const T: i64 = 1_000_000;

    fn at(nanos: i64) -> ServerTime {
        ServerTime::from_nanos(nanos)
    }

    fn row(number: u8, life: u64) -> AgentRow {
        AgentRow {
            id: AgentId([number; 16]),
            display: format!("till {number}"),
            incarnation: Incarnation(life),
            may_lock: false,
            connections: 1,
            seen: at(0),
            report: None,
            selection: Selection::default(),
        }
    }

    fn report(switched: Option<(Epoch, i64, i64)>, veto: Option<Veto>) -> Report {
        Report {
            phase: Phase::Armed,
            active: None,
            staged: None,
            offset: 0,
            epsilon: Span::ZERO,
            switched: switched.map(|(epoch, nanos, epsilon)| Switched {
                epoch,
                at: at(nanos),
                epsilon: Span::from_nanos(epsilon),
                held: Span::ZERO,
            }),
            veto,
        }
    }

    fn skew(agents: &[AgentRow]) -> (Skew, SyncTable) {
        let farm = Name::new("f").unwrap();
        let (settings, limits) = (Settings::default(), Limits::default());
        let line = TimelineId::default();
        let table = SyncTable::new_farm(farm, line, Digest([0; 32]), settings, limits, None, at(0)).unwrap();
        let table = SyncTable { activation: at(T), ..table };
        let skew = Skew::default();
        skew.staged(&table, Some(at(100)), agents.iter().cloned());
        (skew, table)
    }

    #[test]
    fn distances_are_of_those_who_were_there() {
        let agents: Vec<_> = (1..=5).map(|number| row(number, 1)).collect();
        let (skew, table) = skew(&agents);
        assert!(skew.passed(at(T - 1)).is_empty());
        let epoch = table.epoch();
        let tell = |row: &AgentRow, nanos, epsilon| {
            skew.heard(row, Some(&report(Some((epoch, nanos, epsilon)), None)), at(T + 500));
        };
        tell(&agents[0], T - 10, 20);
        tell(&agents[1], T + 30, 15);
        // Later than 2ε, and told once: what it says later is of another life's first read.
        tell(&agents[2], T + 31, 15);
        tell(&agents[2], T + 99_999, 15);
        skew.heard(&agents[3], Some(&report(None, Some(Veto::Invalid))), at(T - 5));
        // It began anew after T, and somebody came.
        tell(&row(5, 2), T + 77_777, 15);
        tell(&row(6, 1), T + 88_888, 15);
        skew.heard(&row(7, 1), Some(&report(None, None)), at(T + 1));
        let [summary] = &skew.passed(at(T))[..] else { panic!() };
        let counted = (summary.agents, summary.switched, summary.late, summary.refused, summary.silent);
        assert_eq!((counted, summary.joined), ((4, 3, 1, 1, 0), 2));
        assert_eq!((summary.p50_ns, summary.p99_ns, summary.max_ns), (Some(30), Some(31), Some(31)));
        assert_eq!((summary.spread_ns, summary.bound_ns), (Some(41), Some(35)));
        let named: Vec<_> = summary.named.iter().map(|named| (named.what, named.name.as_str())).collect();
        let expected = [("first", "till 1"), ("last", "till 3"), ("late", "till 3"), ("refused", "till 4")];
        assert_eq!(named, expected);
        assert_eq!((summary.named[0].from_t_ns, summary.named[0].epsilon_ns), (Some(-10), Some(20)));
    }

    #[test]
    fn who_did_not_go_over_is_stale_or_fenced_as_it_told_after_t() {
        let agents: Vec<_> = (1..=5).map(|number| row(number, 1)).collect();
        let (skew, table) = skew(&agents);
        let lapsed = |phase| Report { phase, ..report(None, None) };
        // Before T it is of the generation before.
        skew.heard(&agents[0], Some(&lapsed(Phase::Stale)), at(T - 1));
        skew.heard(&agents[1], Some(&report(None, Some(Veto::Invalid))), at(T - 1));
        skew.heard(&agents[1], Some(&lapsed(Phase::Stale)), at(T));
        skew.heard(&agents[2], Some(&lapsed(Phase::Fenced)), at(T + 9));
        // What it told is what counts, also after it has found its way back.
        skew.heard(&agents[2], Some(&lapsed(Phase::Armed)), at(T + 99));
        // Late, but it did go over.
        skew.heard(&agents[3], Some(&lapsed(Phase::Fenced)), at(T + 9));
        skew.heard(&agents[3], Some(&report(Some((table.epoch(), T + 10, 1)), None)), at(T + 11));
        let [summary] = &skew.passed(at(T))[..] else { panic!() };
        assert_eq!((summary.agents, summary.switched, summary.late), (5, 1, 1));
        assert_eq!((summary.refused, summary.stale, summary.fenced, summary.silent), (1, 1, 1, 2));
        let named = |of| summary.named.iter().filter(move |named| named.what == of).map(|named| &*named.name);
        assert_eq!(named("stale").collect::<Vec<_>>(), ["till 2"]);
        assert_eq!(named("fenced").collect::<Vec<_>>(), ["till 3"]);
        assert_eq!(named("silent").collect::<Vec<_>>(), ["till 1", "till 5"]);
    }

    #[test]
    fn what_agents_take_until_they_are_armed_is_counted_from_when_they_could_ask() {
        let agents: Vec<_> = (1..=4).map(|number| row(number, 1)).collect();
        let (skew, table) = skew(&agents);
        let holds = |staged, active| Report { staged, active, ..report(None, None) };
        let other = Generation { epoch: 77, ..table.staged };
        // The first holds it after 400, and says so twice; the second another one only.
        skew.heard(&agents[0], Some(&holds(Some(table.staged), None)), at(500));
        skew.heard(&agents[0], Some(&holds(Some(table.staged), None)), at(900));
        skew.heard(&agents[1], Some(&holds(Some(other), None)), at(500));
        // The third was cut off until 700, and a cut after it was armed doesn't matter.
        skew.heard(&agents[2], None, at(700));
        skew.heard(&agents[2], Some(&holds(Some(table.staged), None)), at(750));
        skew.heard(&agents[2], None, at(800));
        // The fourth is late, and tells of it when it serves it.
        skew.heard(&agents[3], Some(&holds(None, Some(table.staged))), at(T + 2_100));
        let [summary] = &skew.passed(at(T))[..] else { panic!() };
        assert_eq!((summary.armed_p50_ns, summary.armed_p99_ns), (Some(400), Some(T + 2_000)));
        let (unknown, table) = (Skew::default(), table);
        unknown.staged(&table, None, agents.iter().cloned());
        unknown.heard(&agents[0], Some(&holds(Some(table.staged), None)), at(500));
        assert_eq!(unknown.passed(at(T))[0].armed_p99_ns, None, "staged before the server started");
    }

    #[test]
    fn who_says_nothing_is_named_and_who_came_before_t_counts() {
        let (skew, _) = skew(&[row(1, 1)]);
        skew.heard(&row(2, 1), None, at(T - 1));
        let [summary] = &skew.passed(at(T))[..] else { panic!() };
        assert_eq!((summary.agents, summary.switched, summary.silent), (2, 0, 2));
        assert_eq!((summary.p50_ns, summary.spread_ns, summary.bound_ns), (None, None, None));
        assert_eq!(summary.named.len(), 2);
    }

    #[test]
    fn an_epoch_of_another_line_is_another_activation() {
        let agents = [row(1, 1)];
        let (skew, mut table) = skew(&agents);
        skew.heard(&agents[0], Some(&report(Some((table.epoch(), T, 3)), None)), at(T));
        skew.staged(&table, None, agents.iter().cloned());
        assert_eq!(skew.passed(at(T))[0].switched, 1, "the same table again");
        table.timeline.counter = 9;
        skew.staged(&table, None, agents.iter().cloned());
        assert_eq!(skew.passed(at(T))[0].switched, 0);
        for epoch in 2..9 {
            table.staged.epoch = epoch;
            skew.staged(&table, None, agents.iter().cloned());
        }
        assert_eq!(skew.passed(at(T)).len(), OPEN);
    }
}
