//! A chart as SVG: one file of its own, without scripts, fonts or pictures from elsewhere, readable on
//! light and dark pages. A lifeline of an agent is a bar whose colour says what its readers get.

use super::text::wrapped;
use super::verdict::capital;
use super::{Chart, Message, Place, Row, Shown, Sort, What};
use downbeat_core::serving::Mode;
use std::fmt::Write;

/// Width of the picture, in pixels.
pub const WIDTH: i32 = 960;
const TOP: i32 = 140;
const BAR: i32 = 14;
const LINE: i32 = 15;
/// Widths of a letter in the three sizes of text that is wrapped.
const NOTE_LETTER: f32 = 6.1;
const BODY_LETTER: f32 = 6.6;

const STYLE: &str = "
  .page { fill: #fcfcfa } .ink { fill: #1f2328 } .dim { fill: #68707a } 
  .line { stroke: #8a929c } .rule { stroke: #dfe3e8 } .arrow { stroke: #1f2328 } .head { fill: #1f2328 }
  .panel { fill: #fbeceb } .bad { fill: #c0362c } .badline { stroke: #c0362c } .fault { fill: #c0362c }
  .op { fill: #8250b8 } .held { fill: #c9ced6 } .fenced { fill: #2b2f36 }
  .g0 { fill: #4a7fd4 } .g1 { fill: #2f9e8f } .g2 { fill: #e0a030 } .g3 { fill: #9a6fd0 } .g4 { fill: #d4638f }
  @media (prefers-color-scheme: dark) {
    .page { fill: #14171b } .ink { fill: #e6e8eb } .dim { fill: #9aa3ae } 
    .line { stroke: #6b737d } .rule { stroke: #2b3037 } .arrow { stroke: #e6e8eb } .head { fill: #e6e8eb }
    .panel { fill: #34201f } .bad { fill: #ff8379 } .badline { stroke: #ff8379 } .fault { fill: #ff8379 }
    .op { fill: #c29bf0 } .held { fill: #565d67 } .fenced { fill: #d5d9de }
  }
  text { paint-order: stroke; stroke: #fcfcfa; stroke-width: 3px; stroke-linejoin: round }
  .plain { stroke: none }
  @media (prefers-color-scheme: dark) { text { stroke: #14171b } }
  text { font-family: system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', 'DejaVu Sans', Arial, sans-serif; font-size: 12px }
  .clock { font-family: ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace; font-size: 11px }
  .note { font-size: 11px } .title { font-size: 19px; font-weight: 600 } .name { font-weight: 600; font-size: 13px }
";

/// Where things are.
struct Layout {
    server: i32,
    agents: Vec<i32>,
}

impl Layout {
    fn new(agents: usize) -> Layout {
        let left = agents / 2;
        let (first, last) = (if left > 0 { 190 } else { 150 }, WIDTH - 150);
        let gap = (last - first) / agents.max(1) as i32;
        let place = |at: usize| first + gap * at as i32;
        let others = (0..=agents).filter(|at| *at != left);
        Layout { server: place(left), agents: others.map(place).collect() }
    }
    fn x(&self, place: Place) -> i32 {
        match place {
            Place::Server => self.server,
            Place::Agent(agent) => self.agents[agent],
        }
    }
    /// +1 where an agent's outside is at its right.
    fn outside(&self, agent: usize) -> i32 {
        if self.agents[agent] < self.server { -1 } else { 1 }
    }
    /// Letters of a note that fit beside a lifeline.
    fn letters(&self) -> usize {
        let gap = self.agents.iter().map(|x| (x - self.server).abs()).min().unwrap_or(300);
        ((gap - 40) as f32 / NOTE_LETTER) as usize
    }
}

fn escaped(words: &str) -> String {
    words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Where a text is put relative to its point.
#[derive(Clone, Copy)]
enum Anchor {
    Start,
    Middle,
    End,
}

/// The picture under way: what is drawn, and how far down.
struct Picture {
    layout: Layout,
    bars: String,
    arrows: String,
    body: String,
    y: i32,
}

impl Picture {
    fn text(&mut self, x: i32, y: i32, class: &str, anchor: Anchor, words: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let words = escaped(words);
        let _ = writeln!(
            self.body,
            r#"<text x="{x}" y="{y}" class="{class}" text-anchor="{anchor}">{words}</text>"#
        );
    }
    fn clock(&mut self, place: Place, toward: i32, y: i32, reading: i64) {
        let x = self.layout.x(place) + toward * (BAR / 2 + 5);
        let anchor = if toward < 0 { Anchor::End } else { Anchor::Start };
        self.text(x, y, "clock dim", anchor, &reading.to_string());
    }
    fn agent_clock(&mut self, agent: usize, y: i32, row: &Row) {
        self.clock(Place::Agent(agent), self.layout.outside(agent), y, row.locals[agent]);
    }
    /// Notes stand toward the server, or at its right.
    fn note(&mut self, place: Place, class: &str, words: &str) {
        let toward = match place {
            Place::Agent(agent) => -self.layout.outside(agent),
            Place::Server => 1,
        };
        let x = self.layout.x(place) + toward * (BAR / 2 + 7);
        let anchor = if toward < 0 { Anchor::End } else { Anchor::Start };
        for line in wrapped(words, self.layout.letters()) {
            let y = self.y + 11;
            self.text(x, y, class, anchor, &line);
            self.y += LINE;
        }
    }
    /// The readers' bar of an agent, from `y` on to where the picture has come.
    fn bar(&mut self, agent: usize, from: i32, to: i32, shown: Shown) {
        let x = self.layout.agents[agent] - BAR / 2;
        let (class, hatched) = match shown {
            Shown::Active(epoch) | Shown::Staged(epoch) => (format!("g{}", epoch % 5), false),
            Shown::Stale(epoch) => (format!("g{}", epoch % 5), true),
            Shown::Held => ("held".to_string(), true),
            Shown::Fenced => ("fenced".to_string(), false),
        };
        let height = to - from;
        let place = format!(r#"x="{x}" y="{from}" width="{BAR}" height="{height}""#);
        let _ = writeln!(self.bars, r#"<rect {place} class="{class}"/>"#);
        if hatched {
            let _ = writeln!(self.bars, r#"<rect {place} fill="url(#hatch)"/>"#);
        }
    }
}

/// The chart as an SVG document.
pub fn svg(chart: &Chart) -> String {
    let layout = Layout::new(chart.modes.len());
    let mut picture =
        Picture { layout, bars: String::new(), arrows: String::new(), body: String::new(), y: TOP };
    head(&mut picture, chart);
    let mut tops = Vec::new();
    for (place, row) in chart.rows.iter().enumerate() {
        let top = picture.y;
        tops.push(top);
        draw_row(&mut picture, row, place.checked_sub(1).map(|before| &chart.rows[before]), &tops);
    }
    let bottom = picture.y + 10;
    for (place, row) in chart.rows.iter().enumerate() {
        let end = tops.get(place + 1).copied().unwrap_or(bottom);
        for (agent, shown) in row.shown.iter().enumerate() {
            picture.bar(agent, tops[place], end, *shown);
        }
    }
    let server = picture.layout.server;
    let _ = writeln!(
        picture.bars,
        r#"<line x1="{server}" y1="{TOP}" x2="{server}" y2="{bottom}" class="line" stroke-width="2"/>"#
    );
    picture.y = bottom + 14;
    legend(&mut picture, chart);
    verdict(&mut picture, chart);
    let height = picture.y + 16;
    let Picture { bars, arrows, body, .. } = picture;
    let title = escaped(&format!("{}: {}", chart.name, chart.property));
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" role="img">
<title>{title}</title>
<style>{STYLE}</style>
<defs>
<pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect width="2.5" height="6" fill="#ffffff" fill-opacity="0.65"/></pattern>
</defs>
<rect width="{WIDTH}" height="{height}" class="page"/>
{bars}{arrows}{body}</svg>
"##
    )
}

fn head(picture: &mut Picture, chart: &Chart) {
    picture.text(24, 38, "title ink", Anchor::Start, &chart.name);
    let trap = capital(&chart.trap);
    let below = format!("{trap}. {} falls in {} steps.", chart.property, chart.steps);
    let words = format!("{below} {}", chart.begin);
    for (place, line) in wrapped(&words, ((WIDTH - 48) as f32 / BODY_LETTER) as usize).iter().enumerate() {
        picture.text(24, 60 + 17 * place as i32, "dim", Anchor::Start, line);
    }
    let y = TOP - 16;
    picture.text(24, y, "dim", Anchor::Start, "real time");
    picture.text(picture.layout.server, y, "name ink", Anchor::Middle, "server");
    for (agent, mode) in chart.modes.iter().enumerate() {
        let mode = if *mode == Mode::Strict { "strict" } else { "prompt" };
        let x = picture.layout.agents[agent];
        picture.text(x, y, "name ink", Anchor::Middle, &format!("agent {agent}, {mode}"));
    }
}

fn draw_row(picture: &mut Picture, row: &Row, known: Option<&Row>, tops: &[i32]) {
    let y = picture.y;
    match &row.what {
        What::Tick => {
            rule(picture, row);
            picture.y += 24;
        }
        What::Quiet(from) => {
            picture.text(24, y + 19, "dim", Anchor::Start, &format!("{from} … {}", row.now));
            picture.y += 6;
            picture.note(Place::Server, "note dim", "only timers");
            picture.y += 7;
        }
        What::Healed => {
            picture.y += 8;
            picture.note(Place::Server, "name ink", "from here on without faults");
            picture.y += 6;
        }
        What::Message(message) => draw_message(picture, row, message, tops),
        What::Mark(place, sort, words) => draw_mark(picture, row, *place, *sort, words),
    }
    for (agent, shown) in row.shown.iter().enumerate() {
        if known.is_none_or(|known| known.shown.get(agent) != Some(shown)) {
            let outside = picture.layout.outside(agent);
            let x = picture.layout.agents[agent] + outside * (BAR / 2 + 42);
            let anchor = if outside < 0 { Anchor::End } else { Anchor::Start };
            let lower = if matches!(row.what, What::Message(_)) { 24 } else { 15 };
            picture.text(x, y + lower, "ink", anchor, &shown.words());
        }
    }
    for (place, words) in &row.notes {
        picture.note(*place, "note dim", words);
    }
    if !row.notes.is_empty() {
        picture.y += 3;
    }
}

/// A line across at a new real time, with every clock.
fn rule(picture: &mut Picture, row: &Row) {
    let y = picture.y;
    let _ = writeln!(
        picture.arrows,
        r#"<line x1="24" y1="{y}" x2="{}" y2="{y}" class="rule" stroke-width="1"/>"#,
        WIDTH - 24
    );
    picture.text(24, y + 15, "ink", Anchor::Start, &row.now.to_string());
    picture.clock(Place::Server, 1, y + 15, row.server);
    for agent in 0..row.locals.len() {
        picture.agent_clock(agent, y + 15, row);
    }
}

fn draw_message(picture: &mut Picture, row: &Row, message: &Message, tops: &[i32]) {
    let agent = picture.layout.agents[message.agent];
    let server = picture.layout.server;
    let outside = picture.layout.outside(message.agent);
    let edge = agent - outside * (BAR / 2 + 1);
    let (from, to) = if message.to_server { (edge, server + outside) } else { (server + outside, edge) };
    let y = picture.y + 20;
    let begin = message.sent.and_then(|(place, _)| tops.get(place)).map_or(y, |top| top + 20);
    let to_right = if to > from { 1 } else { -1 };
    let (end, dash) =
        if message.lost { (from + (to - from) * 4 / 5, r#" stroke-dasharray="5 4""#) } else { (to, "") };
    let tip = if message.lost { end } else { end - to_right * 7 };
    let _ = writeln!(
        picture.arrows,
        r#"<line x1="{from}" y1="{begin}" x2="{tip}" y2="{y}" class="arrow" stroke-width="1.3"{dash}/>"#
    );
    if message.lost {
        let _ = writeln!(
            picture.arrows,
            r#"<path d="M{} {} l10 10 m0 -10 l-10 10" class="badline" stroke-width="2" fill="none"/>"#,
            end - 5,
            y - 5
        );
    } else {
        let _ = writeln!(picture.body, r#"<path d="M{end} {y} l{} -4.5 v9 z" class="head"/>"#, -to_right * 9);
    }
    let label = match (message.lost, message.sent) {
        (true, _) => format!("{}: lost", message.label),
        (false, Some((_, at))) => format!("{} (sent at {at})", message.label),
        _ => message.label.clone(),
    };
    // A label stands in the middle; where the line leans, nearer its end, off the labels of others.
    let (part, of) = if begin == y { (1, 2) } else { (2, 3) };
    let (middle, height) = (from + (to - from) * part / of, begin + (y - begin) * part / of - 6);
    let turned = ((y - begin) as f32).atan2((to - from).abs() as f32).to_degrees() * to_right as f32;
    let words = escaped(&label);
    let _ = writeln!(
        picture.body,
        r#"<text x="{middle}" y="{height}" class="ink" text-anchor="middle" transform="rotate({turned:.2} {middle} {height})">{words}</text>"#
    );
    picture.agent_clock(message.agent, y + 4, row);
    picture.clock(Place::Server, -outside, y + 4, row.server);
    picture.y += 30;
    if let Some(stamps) = &message.stamps {
        picture.text(middle, y + 15, "note dim", Anchor::Middle, stamps);
        picture.y += 10;
    }
}

fn draw_mark(picture: &mut Picture, row: &Row, place: Place, sort: Sort, words: &str) {
    let (x, y) = (picture.layout.x(place), picture.y + 12);
    let (shape, class) = match sort {
        Sort::Timer => (format!(r#"<circle cx="{x}" cy="{y}" r="4.5" class="page arrow"/>"#), "note dim"),
        Sort::Other => (format!(r#"<circle cx="{x}" cy="{y}" r="5" class="ink"/>"#), "ink"),
        Sort::Operation => (format!(r#"<path d="M{x} {} l7 7 l-7 7 l-7 -7 z" class="op"/>"#, y - 7), "op"),
        Sort::Fault => (
            format!(
                r#"<circle cx="{x}" cy="{y}" r="7.5" class="fault"/><path d="M{} {} l6 6 m0 -6 l-6 6" stroke="white" stroke-width="1.8"/>"#,
                x - 3,
                y - 3
            ),
            "fault",
        ),
    };
    picture.body.push_str(&shape);
    picture.body.push('\n');
    match place {
        Place::Agent(agent) => picture.agent_clock(agent, y + 4, row),
        Place::Server => picture.clock(place, -1, y + 4, row.server),
    }
    picture.y += 5;
    picture.note(place, class, words);
    picture.y += 4;
}

fn legend(picture: &mut Picture, chart: &Chart) {
    let mut seen: Vec<Shown> = Vec::new();
    for shown in chart.rows.iter().flat_map(|row| &row.shown) {
        let alike = match shown {
            Shown::Staged(epoch) => Shown::Active(*epoch),
            other => *other,
        };
        if !seen.contains(&alike) {
            seen.push(alike);
        }
    }
    let mut x = 24;
    picture.text(x, picture.y + 11, "dim", Anchor::Start, "Readers get:");
    x += 84;
    for shown in seen {
        let words = match shown {
            Shown::Active(epoch) => format!("generation {epoch}"),
            Shown::Stale(epoch) => format!("generation {epoch}, marked stale"),
            Shown::Held => "nothing yet (held)".into(),
            other => format!("an error ({})", other.words()),
        };
        let agents = std::mem::replace(&mut picture.layout.agents, vec![x + BAR / 2]);
        picture.bar(0, picture.y, picture.y + 14, shown);
        picture.layout.agents = agents;
        picture.text(x + BAR + 6, picture.y + 11, "ink", Anchor::Start, &words);
        x += BAR + 22 + (words.chars().count() as f32 * BODY_LETTER) as i32;
    }
    picture.y += 26;
    let words = "Small numbers: what that machine's clock shows. k: staged epoch, T: its activation, P: its promise; \
                 a, r, s: sent, received, answered.";
    picture.text(24, picture.y + 6, "note dim", Anchor::Start, words);
    picture.y += 24;
}

fn verdict(picture: &mut Picture, chart: &Chart) {
    let letters = ((WIDTH - 96) as f32 / BODY_LETTER) as usize;
    let lines: Vec<(bool, String)> = chart
        .verdict
        .iter()
        .enumerate()
        .flat_map(|(place, sentence)| {
            wrapped(sentence, letters).into_iter().map(move |line| (place == 0, line))
        })
        .collect();
    let height = 20 + 19 * lines.len() as i32;
    let top = picture.y;
    let _ = writeln!(
        picture.body,
        r#"<rect x="24" y="{top}" width="{}" height="{height}" rx="6" class="panel"/><rect x="24" y="{top}" width="5" height="{height}" class="bad"/>"#,
        WIDTH - 48
    );
    for (place, (first, line)) in lines.iter().enumerate() {
        let class = if *first { "name bad plain" } else { "ink plain" };
        picture.text(44, top + 24 + 19 * place as i32, class, Anchor::Start, line);
    }
    picture.y += height;
}
