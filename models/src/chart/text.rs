//! A chart for a terminal: at most [`WIDTH`] columns. Real time stands at the left, each machine's
//! clock beside its lifeline where something happens, what readers get outside of it.

use super::{Chart, Message, Place, Row, Sort, What};
use downbeat_core::serving::Mode;
use std::fmt;

/// The widest line.
pub const WIDTH: usize = 110;
/// Columns for the real time.
const TIME: usize = 6;
/// Columns for a clock and what readers get, outside of an agent's lifeline.
const SIDE: usize = 16;
/// The widest gap between two lifelines.
const GAP: usize = 44;

/// Where the lifelines are.
struct Layout {
    server: usize,
    agents: Vec<usize>,
}

impl Layout {
    /// The server between the agents; with one agent, left of it.
    fn new(agents: usize) -> Layout {
        let left = agents / 2;
        let sides = SIDE * agents.clamp(1, 2) + SIDE * agents.saturating_sub(2);
        let gap = ((WIDTH - TIME - sides - agents - 1) / agents.max(1)).min(GAP);
        let mut layout = Layout { server: 0, agents: Vec::new() };
        let mut x = TIME + if left > 0 { SIDE } else { 6 };
        for place in 0..=agents {
            if place == left {
                layout.server = x;
            } else {
                layout.agents.push(x);
            }
            x += gap + 1 + if place > left { SIDE } else { 0 };
        }
        layout
    }
    fn is_left(&self, agent: usize) -> bool {
        self.agents[agent] < self.server
    }
    fn x(&self, place: Place) -> usize {
        match place {
            Place::Server => self.server,
            Place::Agent(agent) => self.agents[agent],
        }
    }
    /// Columns between an agent's lifeline and its neighbour toward the server.
    fn gap(&self) -> usize {
        self.agents.iter().map(|x| x.abs_diff(self.server)).min().unwrap_or(GAP) - 1
    }
}

/// One line, into which words are put.
struct Line(Vec<char>);

impl Line {
    fn new(layout: &Layout) -> Line {
        let mut line = Line(vec![' '; WIDTH]);
        line.put(layout.server, "│");
        for x in &layout.agents {
            line.put(*x, "│");
        }
        line
    }
    fn rule(layout: &Layout) -> Line {
        let mut line = Line::new(layout);
        let last = layout.agents.iter().copied().max().unwrap_or(0).max(layout.server);
        let first = layout.agents.iter().copied().min().unwrap_or(layout.server).min(layout.server);
        for x in first..last {
            if line.0[x] == ' ' {
                line.0[x] = '╌';
            }
        }
        line
    }
    fn put(&mut self, x: usize, words: &str) {
        for (place, letter) in words.chars().enumerate() {
            if let Some(cell) = self.0.get_mut(x + place) {
                *cell = letter;
            }
        }
    }
    /// Ends before column `x`.
    fn put_before(&mut self, x: usize, words: &str) {
        self.put(x.saturating_sub(words.chars().count()), words);
    }
    fn side(&mut self, layout: &Layout, agent: usize, clock: Option<i64>, shown: Option<String>) {
        let x = layout.agents[agent];
        let clock = clock.map_or(String::new(), |clock| clock.to_string());
        let shown = shown.unwrap_or_default();
        if layout.is_left(agent) {
            self.put_before(x - 1, &clock);
            self.put_before(x - 6, &shown);
        } else {
            self.put(x + 2, &clock);
            self.put(x + 7, &shown);
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.iter().collect::<String>().trim_end())
    }
}

/// Words, broken into lines of at most `width` letters.
pub(super) fn wrapped(words: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in words.split(' ') {
        let line = lines.last_mut().expect("there is always a line");
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(word.to_string());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

/// The chart, line by line.
pub fn text(chart: &Chart) -> String {
    let layout = Layout::new(chart.modes.len());
    let mut lines: Vec<String> = Vec::new();
    lines.extend(wrapped(&format!("{}: {}", chart.name, chart.trap), WIDTH));
    lines.push(format!("{} falls in {} steps.", chart.property, chart.steps));
    lines.extend(wrapped(&chart.begin, WIDTH));
    lines.extend(wrapped(
        "Numbers beside a lifeline are what that machine's clock shows; outside of it stands what readers \
         get. k: staged epoch, T: its activation, P: its promise.",
        WIDTH,
    ));
    lines.push(String::new());
    let mut head = Line(vec![' '; WIDTH]);
    head.put(0, "real");
    head.put(layout.server.saturating_sub(2), "server");
    for (agent, mode) in chart.modes.iter().enumerate() {
        let mode = if *mode == Mode::Strict { "strict" } else { "prompt" };
        let name = format!("agent {agent}, {mode}");
        if layout.is_left(agent) {
            head.put_before(layout.agents[agent] + 2, &name);
        } else {
            head.put(layout.agents[agent] - 1, &name);
        }
    }
    lines.push(head.to_string());
    let mut known: Option<&Row> = None;
    for row in &chart.rows {
        lines.extend(row_lines(&layout, row, known).iter().map(Line::to_string));
        known = Some(row);
    }
    lines.push(String::new());
    for sentence in &chart.verdict {
        lines.extend(wrapped(sentence, WIDTH - 2).into_iter().map(|line| format!("  {line}")));
    }
    lines.join("\n") + "\n"
}

fn row_lines(layout: &Layout, row: &Row, known: Option<&Row>) -> Vec<Line> {
    let mut lines = match &row.what {
        What::Tick => vec![tick(layout, row)],
        What::Message(message) => message_lines(layout, row, message),
        What::Mark(place, sort, words) => mark_lines(layout, row, *place, *sort, words),
        What::Quiet(from) => {
            let mut line = Line::new(layout);
            line.put(0, &format!("{from}…{}", row.now));
            line.put(layout.server.min(layout.agents[0]) + 2, " only timers ");
            vec![line]
        }
        What::Healed => {
            let mut line = Line::rule(layout);
            line.put(layout.server.min(layout.agents[0]) + 2, " from here on without faults ");
            vec![line]
        }
    };
    if let (Some(known), Some(line)) = (known, lines.first_mut()) {
        for (agent, shown) in row.shown.iter().enumerate() {
            if known.shown.get(agent) != Some(shown) {
                line.side(layout, agent, Some(row.locals[agent]), Some(shown.words()));
            }
        }
    }
    for (place, words) in &row.notes {
        lines.extend(note_lines(layout, *place, words));
    }
    lines
}

fn tick(layout: &Layout, row: &Row) -> Line {
    let mut line = Line::rule(layout);
    line.put(0, &row.now.to_string());
    line.put(layout.server + 1, &row.server.to_string());
    for (agent, local) in row.locals.iter().enumerate() {
        line.side(layout, agent, Some(*local), Some(row.shown[agent].words()));
    }
    line
}

fn message_lines(layout: &Layout, row: &Row, message: &Message) -> Vec<Line> {
    let (agent, server) = (layout.agents[message.agent], layout.server);
    let (left, right) = (agent.min(server), agent.max(server));
    let late = message.sent.map(|(_, at)| format!("sent at {at}"));
    let label = match (message.lost, &late) {
        (true, _) => format!("{}: lost", message.label),
        (false, Some(late)) => format!("{} ({late})", message.label),
        _ => message.label.clone(),
    };
    let room = right - left - 1;
    let mut below: Vec<String> = message.stamps.iter().cloned().collect();
    let mut label = label;
    if label.chars().count() + 6 > room {
        let mut parts = wrapped(&label, room.saturating_sub(6)).into_iter();
        label = parts.next().unwrap_or_default();
        below.splice(0..0, parts);
    }
    let mut line = Line::new(layout);
    let to_right = message.to_server == (agent < server);
    for x in left + 1..right {
        line.0[x] = '─';
    }
    if message.lost {
        line.0[if to_right { right - 2 } else { left + 2 }] = '╳';
        line.0[if to_right { right - 1 } else { left + 1 }] = ' ';
    } else {
        line.0[if to_right { right - 1 } else { left + 1 }] = if to_right { '►' } else { '◄' };
    }
    line.put(left + 1 + room.saturating_sub(label.chars().count() + 2) / 2, &format!(" {label} "));
    line.side(layout, message.agent, Some(row.locals[message.agent]), None);
    let clock = row.server.to_string();
    if layout.is_left(message.agent) {
        line.put(server + 1, &clock)
    } else {
        line.put_before(server, &clock)
    }
    let mut lines = vec![line];
    for words in below {
        let mut line = Line::new(layout);
        line.put(left + 1 + room.saturating_sub(words.chars().count()) / 2, &words);
        lines.push(line);
    }
    lines
}

fn mark_lines(layout: &Layout, row: &Row, place: Place, sort: Sort, words: &str) -> Vec<Line> {
    let symbol = match sort {
        Sort::Timer => "○",
        Sort::Fault => "✗",
        Sort::Operation => "◆",
        Sort::Other => "●",
    };
    let mut lines = note_lines(layout, place, words);
    if let Some(line) = lines.first_mut() {
        line.put(layout.x(place), symbol);
        match place {
            Place::Agent(agent) => line.side(layout, agent, Some(row.locals[agent]), None),
            Place::Server if layout.agents.iter().any(|x| *x < layout.server) => {
                line.put_before(layout.server, &row.server.to_string());
            }
            Place::Server => line.put_before(layout.server - 1, &row.server.to_string()),
        }
    }
    lines
}

/// Words beside a lifeline, toward its neighbour.
fn note_lines(layout: &Layout, place: Place, words: &str) -> Vec<Line> {
    let lines = wrapped(words, layout.gap() - 2);
    let at = |words: &String| {
        let mut line = Line::new(layout);
        match place {
            Place::Agent(agent) if !layout.is_left(agent) => line.put_before(layout.agents[agent] - 1, words),
            _ => line.put(layout.x(place) + 2, words),
        }
        line
    };
    lines.iter().map(at).collect()
}
