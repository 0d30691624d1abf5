//! A plot as SVG: strips of dots over a logarithmic axis, for browsers, in light and in dark.

use std::fmt::Write;
use std::io;
use std::path::Path;

/// Measurements of one thing.
pub(crate) struct Strip {
    /// What it stands under.
    pub(crate) group: String,
    pub(crate) name: String,
    /// It is ours, not a peer.
    pub(crate) ours: bool,
    /// Microseconds; none where nothing was measured.
    pub(crate) micros: Vec<f64>,
}

const WIDTH: f64 = 900.0;
/// Where the axis begins and ends.
const LEFT: f64 = 190.0;
const RIGHT: f64 = 760.0;
const LINE: f64 = 26.0;
const HEAD: f64 = 66.0;

const STYLE: &str = "\
    text { font: 13px system-ui, sans-serif; fill: #1d2430 } .faint { fill: #5b6472 } .title { font-size: 16px; font-weight: 600 }\n\
    .group { font-weight: 600 } .grid { stroke: #d8dce3 } .paper { fill: #ffffff }\n\
    .peer { fill: #8a6d3b } .ours { fill: #1f6feb } line.peer { stroke: #8a6d3b } line.ours { stroke: #1f6feb }\n\
    @media (prefers-color-scheme: dark) {\n\
    text { fill: #e6e9ef } .faint { fill: #9aa4b2 } .grid { stroke: #333b47 } .paper { fill: #12161c }\n\
    .peer { fill: #d8b26a } .ours { fill: #6cb0ff } line.peer { stroke: #d8b26a } line.ours { stroke: #6cb0ff } }";

/// Writes a plot, and its folder where there is none.
pub(crate) fn write(path: &Path, svg: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(path, svg)
}

/// The powers of ten that the axis begins and ends with.
fn decades(strips: &[Strip]) -> (i32, i32) {
    let logs = || {
        let all = strips.iter().flat_map(|strip| &strip.micros).filter(|micros| **micros > 0.0);
        all.map(|micros| micros.log10())
    };
    let least = logs().fold(f64::INFINITY, f64::min);
    let most = logs().fold(f64::NEG_INFINITY, f64::max);
    if !least.is_finite() {
        return (0, 1);
    }
    let from = least.floor() as i32;
    (from, (most.ceil() as i32).max(from + 1))
}

/// Microseconds, in the unit that people would say them in.
fn said(micros: f64) -> String {
    let (number, unit) = match micros {
        micros if micros < 1.0 => (micros * 1e3, "ns"),
        micros if micros < 1e3 => (micros, "µs"),
        micros if micros < 1e6 => (micros / 1e3, "ms"),
        micros => (micros / 1e6, "s"),
    };
    let rounded = if number < 9.95 { (number * 10.0).round() / 10.0 } else { number.round() };
    format!("{rounded} {unit}")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    sorted.get(((share * sorted.len() as f64).ceil() as usize).saturating_sub(1)).copied()
}

/// A strip for each thing that was measured, in its group.
pub(crate) fn strips(head: &str, strips: &[Strip]) -> String {
    let (from, to) = decades(strips);
    let x = |micros: f64| {
        let share = (micros.max(f64::MIN_POSITIVE).log10() - f64::from(from)) / f64::from(to - from);
        LEFT + share.clamp(0.0, 1.0) * (RIGHT - LEFT)
    };
    let mut body = String::new();
    let mut text = |x: f64, y: f64, class: &str, anchor: &str, text: &str| {
        let text = escaped(text);
        let _ = writeln!(
            body,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\" text-anchor=\"{anchor}\">{text}</text>"
        );
    };
    text(16.0, 26.0, "title", "start", head);
    text(16.0, 46.0, "faint", "start", "a dot for each measurement; the line is the median");
    text(WIDTH - 16.0, 46.0, "faint", "end", "median · p99");
    let mut y = HEAD;
    let mut marks = String::new();
    let mut group = "";
    for strip in strips {
        if strip.group != group {
            y += if group.is_empty() { LINE } else { LINE * 1.5 };
            group = &strip.group;
            text(16.0, y, "group", "start", group);
        }
        y += LINE;
        text(LEFT - 12.0, y + 4.0, "", "end", &strip.name);
        let mut sorted = strip.micros.clone();
        sorted.sort_by(f64::total_cmp);
        let figures = quantile(&sorted, 0.5).zip(quantile(&sorted, 0.99));
        let Some((median, p99)) = figures else {
            text(WIDTH - 16.0, y + 4.0, "faint", "end", "not measured");
            continue;
        };
        text(WIDTH - 16.0, y + 4.0, "faint", "end", &format!("{} · {}", said(median), said(p99)));
        let class = if strip.ours { "ours" } else { "peer" };
        for (at, micros) in strip.micros.iter().enumerate() {
            // A few lanes, so that dots of one place are seen apart.
            let (cx, cy) = (x(*micros), y + (at * 3 % 7) as f64 - 3.0);
            let _ = writeln!(
                marks,
                "<circle cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"3\" class=\"{class}\" fill-opacity=\"0.45\"/>"
            );
        }
        let (x, top, bottom) = (x(median), y - 9.0, y + 9.0);
        let _ = writeln!(
            marks,
            "<line x1=\"{x:.1}\" y1=\"{top:.1}\" x2=\"{x:.1}\" y2=\"{bottom:.1}\" class=\"{class}\" stroke-width=\"2.5\"/>"
        );
    }
    let bottom = y + LINE * 0.7;
    let mut grid = String::new();
    for decade in from..=to {
        let micros = 10f64.powi(decade);
        let x = x(micros);
        text(x, bottom + 18.0, "faint", "middle", &said(micros));
        let top = HEAD + 6.0;
        let _ = writeln!(
            grid,
            "<line x1=\"{x:.1}\" y1=\"{top:.1}\" x2=\"{x:.1}\" y2=\"{bottom:.1}\" class=\"grid\"/>"
        );
    }
    let height = bottom + 34.0;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" width=\"{WIDTH}\" height=\"{height:.0}\">\n\
         <style>\n{STYLE}\n</style>\n<rect width=\"100%\" height=\"100%\" class=\"paper\"/>\n{grid}{marks}{body}</svg>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strip(micros: &[f64]) -> Strip {
        Strip { group: "a".into(), name: "<b & c>".into(), ours: true, micros: micros.to_vec() }
    }

    #[test]
    fn the_axis_has_whole_decades_around_all_that_was_measured() {
        assert_eq!(decades(&[strip(&[3.0, 0.0]), strip(&[990_000.0])]), (0, 6));
        assert_eq!(decades(&[strip(&[10.0])]), (1, 2));
        assert_eq!(decades(&[strip(&[])]), (0, 1));
    }

    #[test]
    fn figures_are_said_in_their_unit() {
        let spoken = [0.25, 1.0, 7.25, 10.4, 999.0, 8_482.0, 1e6].map(said);
        assert_eq!(spoken, ["250 ns", "1 µs", "7.3 µs", "10 µs", "999 µs", "8.5 ms", "1 s"]);
    }

    #[test]
    fn there_is_a_dot_for_each_sample_and_names_are_escaped() {
        let svg = strips("head", &[strip(&[1.0, 20.0, 0.0]), strip(&[])]);
        assert_eq!(svg.matches("<circle").count(), 3);
        assert_eq!(svg.matches("not measured").count(), 1);
        assert!(svg.contains("&lt;b &amp; c&gt;") && !svg.contains("NaN") && !svg.contains("<b &"));
    }
}
