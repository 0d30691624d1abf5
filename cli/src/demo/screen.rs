//! What the demo prints for people: a block for each cycle, and in a terminal a live part below them that
//! is drawn anew while the cycle runs.

use super::cast::Member;
use super::cycle::Cycle;
use super::ledger::{Entry, Ledger};
use super::timeline::Timeline;
use super::traces::Told;
use super::watcher::Track;
use crate::show;
use downbeat_core::ids::Epoch;
use downbeat_core::serving::Serving;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// How often the live part is drawn.
const DRAWN_EVERY: Duration = Duration::from_millis(100);

/// Agents in the live part at most: it has to fit a terminal.
const LIVE_AGENTS: usize = 12;

/// Where the demo prints.
pub(crate) struct Screen {
    /// Nothing is printed but the JSON at the end.
    silent: bool,
    live: bool,
    /// Lines of the live part that are on the screen now.
    drawn: usize,
    next: Instant,
}

/// What the live part shows.
pub(crate) struct Live<'a> {
    pub(crate) members: &'a [Member],
    pub(crate) tracks: &'a [Track],
    pub(crate) ledger: &'a Ledger,
    /// The day in the epoch that was staged last.
    pub(crate) day: &'a str,
    pub(crate) timeline: &'a Timeline,
}

impl Screen {
    pub(crate) fn new(silent: bool) -> Screen {
        let live = !silent && std::io::stdout().is_terminal();
        Screen { silent, live, drawn: 0, next: Instant::now() }
    }

    /// Lines that stay.
    pub(crate) fn say(&mut self, text: &str) {
        if self.silent {
            return;
        }
        self.wipe();
        println!("{text}");
    }

    /// Takes the live part off the screen.
    pub(crate) fn wipe(&mut self) {
        if self.drawn > 0 {
            print!("\x1b[{}A\x1b[J", self.drawn);
            self.drawn = 0;
        }
    }

    /// Who plays.
    pub(crate) fn introduce(&mut self, members: &[Member]) {
        let mut table = show::table(&["agent", "what is wrong with it"]);
        for member in members {
            table.add_row([&member.role.name, &member.role.wrong]);
        }
        self.say(&format!("{table}\n"));
    }

    /// Draws the live part, if it is time to.
    pub(crate) fn draw(&mut self, live: &Live<'_>) {
        if !self.live || Instant::now() < self.next {
            return;
        }
        self.next = Instant::now() + DRAWN_EVERY;
        let text = live.text();
        self.wipe();
        self.drawn = text.lines().count();
        print!("{text}");
        // Where standard output is gone there is nobody to draw for.
        let _ = std::io::stdout().flush();
    }

    /// A cycle that is over.
    pub(crate) fn cycle(
        &mut self,
        number: Option<u64>,
        cycle: &Cycle,
        members: &[Member],
        timeline: &Timeline,
    ) {
        if self.silent {
            return;
        }
        let title = number.map_or("joining".to_owned(), |number| format!("cycle {number}"));
        let day = cycle.date.unwrap_or("no day yet");
        let mut text = format!(
            "{title}: epoch {}, {day}, T = {}\n",
            cycle.epoch,
            show::local(cycle.activation.as_nanos())
        );
        text.push_str(&format!("  {}\n", changes(cycle)));
        let part = |span: Option<i64>| span.map_or("-".to_owned(), show::span);
        text.push_str(&format!(
            "  retrieval phase {}, then {} of waiting, activation phase {} (first hold to last switch)\n",
            part(cycle.retrieval),
            part(cycle.waiting),
            part(cycle.switching)
        ));
        let mut table =
            show::table(&["", "agent", "phase", "finds its clock off by", "ε at T", "switched at", "held"]);
        for (agent, member) in cycle.agents.iter().zip(members) {
            let status = member.agent.status();
            let switched = agent.switched.map(|switched| (switched - cycle.at).as_nanos());
            table.add_row([
                String::new(),
                agent.name.clone(),
                format!("{:?}", status.phase).to_lowercase(),
                status.offset.map_or("-".to_owned(), |offset| seconds(timeline.wrong_by(offset))),
                part(agent.epsilon),
                switched.map_or("not yet".to_owned(), from_t),
                agent.held.map_or(String::new(), show::span),
            ]);
        }
        text.push_str(&format!("{table}\n"));
        let (spread, bound) = (part(cycle.spread), show::span(cycle.bound()));
        let gap = part(cycle.agents.iter().filter_map(|agent| agent.gap).max());
        text.push_str(&format!("  spread of the switch {spread}; the two largest ε together {bound}; "));
        text.push_str(&format!("at most {gap} between two reads of an agent there\n"));
        self.say(&text);
    }

    /// The end.
    pub(crate) fn summary(&mut self, cycles: &[Cycle], told: &Told, tracks: &[Track]) {
        if self.silent {
            return;
        }
        let spreads: Vec<i64> = cycles.iter().filter_map(|cycle| cycle.spread).collect();
        let reads: u64 = tracks.iter().map(|track| track.reads).sum();
        let mut text = format!("{} cycles, {reads} reads", cycles.len());
        if let (Some(least), Some(most)) = (spreads.iter().min(), spreads.iter().max()) {
            text.push_str(&format!(", spread {} to {}", show::span(*least), show::span(*most)));
        }
        text.push_str(&format!("\n{}", told.text()));
        self.say(&text);
    }
}

/// A line on what changed.
fn changes(cycle: &Cycle) -> String {
    let rate = |rate: Option<&str>| rate.unwrap_or("new").to_owned();
    let examples =
        cycle.changes.iter().filter(|(currency, ..)| ["USD", "JPY", "GBP", "CHF"].contains(currency));
    let examples: Vec<String> = examples
        .take(3)
        .map(|(currency, old, new)| format!("{currency} {} -> {}", rate(*old), rate(*new)))
        .collect();
    let mut text = match cycle.changes.len() {
        0 => "no rate changed".to_owned(),
        count => format!("{count} rates changed"),
    };
    if !examples.is_empty() {
        text.push_str(&format!(": {}", examples.join(", ")));
    }
    if cycle.notice {
        text.push_str("; the scheduled record shows");
    }
    text
}

/// An offset, to the microsecond.
fn seconds(nanos: i64) -> String {
    // Of the unsigned number, so that small negative ones keep their sign.
    let sign = if nanos < 0 { '-' } else { '+' };
    let micros = nanos.unsigned_abs() / 1_000;
    format!("{sign}{}.{:06} s", micros / 1_000_000, micros % 1_000_000)
}

fn from_t(nanos: i64) -> String {
    if nanos < 0 { format!("T - {}", show::span(-nanos)) } else { format!("T + {}", show::span(nanos)) }
}

impl Live<'_> {
    fn text(&self) -> String {
        let now = self.timeline.server(self.timeline.now());
        let mut text = String::new();
        if let Some((epoch, entry)) = self.ledger.newest() {
            let left = (entry.activation - now).as_nanos();
            let when = if left > 0 {
                format!("goes live in {:.1} s", left as f64 / 1e9)
            } else {
                format!("live for {:.1} s", -left as f64 / 1e9)
            };
            let phase = self.phase(epoch, entry);
            text.push_str(&format!("epoch {epoch}, {}: {when}  [{phase}]\n", self.day));
        }
        let mut table = show::table(&["", "agent", "phase", "serves", "finds its clock off by"]);
        for (member, track) in self.members.iter().zip(self.tracks).take(LIVE_AGENTS) {
            let status = member.agent.status();
            let clock = status.offset.map_or("-".to_owned(), |offset| {
                let epsilon = status.epsilon.map_or("-".to_owned(), |epsilon| show::span(epsilon.as_nanos()));
                format!("{} ± {epsilon}", seconds(self.timeline.wrong_by(offset)))
            });
            let serves = track.now.map_or("-".to_owned(), serving);
            let phase = format!("{:?}", status.phase).to_lowercase();
            table.add_row([String::new(), member.role.name.clone(), phase, serves, clock]);
        }
        text.push_str(&format!("{table}\n"));
        if let more @ 1.. = self.members.len().saturating_sub(LIVE_AGENTS) {
            text.push_str(&format!("    and {more} more\n"));
        }
        text
    }

    /// Which phase of Fig. 7 the farm is in.
    fn phase(&self, epoch: Epoch, entry: &Entry) -> &'static str {
        let switched = self.tracks.iter().filter(|track| track.newest >= epoch).count();
        let held = self.tracks.iter().any(|track| track.now == Some(Serving::Hold));
        if switched == self.tracks.len() {
            "all have switched"
        } else if switched > 0 || held {
            "activation phase"
        } else if entry.agents.iter().all(|way| way.armed.is_some()) {
            "waiting"
        } else {
            "retrieval phase"
        }
    }
}

fn serving(serving: Serving) -> String {
    match serving {
        Serving::Active(generation) | Serving::Staged(generation) => format!("epoch {}", generation.epoch),
        Serving::Stale(generation) => format!("epoch {}, stale", generation.epoch),
        Serving::Hold => "held".to_owned(),
        Serving::Fenced => "nothing".to_owned(),
    }
}
