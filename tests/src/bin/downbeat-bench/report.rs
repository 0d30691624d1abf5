//! Rows, bars, and how they are shown.

use crate::machine;
use serde_json::{Value, json};

/// What a number is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Nanos,
    Micros,
    Millis,
    Mebibytes,
    Ratio,
    Count,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Unit::Nanos => "ns",
            Unit::Micros => "µs",
            Unit::Millis => "ms",
            Unit::Mebibytes => "MiB",
            Unit::Ratio => "×",
            Unit::Count => "",
        }
    }
}

/// What a bar is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Median,
    P99,
    Most,
}

impl Of {
    /// As it stands before a bar, and in what programs read.
    fn name(self) -> &'static str {
        match self {
            Of::Median => "median",
            Of::P99 => "p99",
            Of::Most => "max",
        }
    }
}

/// One thing that was measured.
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) unit: Unit,
    /// Sorted.
    samples: Vec<f64>,
    /// The most that the median, or another figure of the samples, may be.
    bar: Option<(Of, f64)>,
    /// With fewer samples the bar is not met.
    needs: usize,
    note: String,
}

impl Row {
    /// A row of one or more measurements.
    pub(crate) fn new(what: &str, unit: Unit, mut samples: Vec<f64>) -> Row {
        samples.sort_by(f64::total_cmp);
        Row { what: what.to_string(), unit, samples, bar: None, needs: 0, note: String::new() }
    }

    /// The most that the median may be.
    pub(crate) fn bar(self, most: f64) -> Row {
        Row { bar: Some((Of::Median, most)), ..self }
    }

    /// The most that p99 may be.
    pub(crate) fn bar_p99(self, most: f64) -> Row {
        Row { bar: Some((Of::P99, most)), ..self }
    }

    /// The most that the largest sample may be.
    pub(crate) fn bar_most(self, most: f64) -> Row {
        Row { bar: Some((Of::Most, most)), ..self }
    }

    /// How many samples the bar needs.
    pub(crate) fn needs(self, samples: usize) -> Row {
        Row { needs: samples, ..self }
    }

    /// What is to be known of it.
    pub(crate) fn note(self, note: impl Into<String>) -> Row {
        Row { note: note.into(), ..self }
    }

    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The least sample that this share of the samples doesn't exceed; of few samples, p99 is the
    /// largest.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let rank = (share * self.samples.len() as f64).ceil() as usize;
        self.samples.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    }

    /// How many samples there are.
    pub(crate) fn samples(&self) -> usize {
        self.samples.len()
    }

    fn figure(&self, of: Of) -> f64 {
        match of {
            Of::Median => self.median(),
            Of::P99 => self.quantile(0.99),
            Of::Most => self.quantile(1.0),
        }
    }

    fn met(&self) -> Option<bool> {
        self.bar.map(|(of, bar)| self.samples.len() >= self.needs && self.figure(of) <= bar)
    }
}

/// All rows of a run.
pub(crate) struct Report {
    suite: String,
    quick: bool,
    rows: Vec<Row>,
}

impl Report {
    pub(crate) fn new(suite: &str, quick: bool) -> Report {
        Report { suite: suite.to_string(), quick, rows: Vec::new() }
    }

    pub(crate) fn push(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Whether a bar that counts is missed.
    pub(crate) fn missed(&self) -> bool {
        !self.quick && self.rows.iter().any(|row| row.met() == Some(false))
    }

    pub(crate) fn table(&self) -> String {
        let mut text = format!("{}\n", machine::describe());
        if self.quick {
            text += "quick: less of everything, no bar is judged\n";
        }
        let head = ["", "median", "p99", "max", "n", "", "bar", "", ""].map(str::to_string).to_vec();
        let lines: Vec<Vec<String>> =
            std::iter::once(head).chain(self.rows.iter().map(|row| self.line(row))).collect();
        let width = |at: usize| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..8).map(width).collect();
        for line in &lines {
            for (at, width) in widths.iter().enumerate() {
                let pad = " ".repeat(width - line[at].chars().count());
                let left = [0, 5, 7].contains(&at);
                text += &if left { format!("{}{pad}  ", line[at]) } else { format!("{pad}{}  ", line[at]) };
            }
            text = format!("{}{}\n", text, line[8]);
        }
        text
    }

    fn line(&self, row: &Row) -> Vec<String> {
        let number = |number: f64| match number {
            number if number.is_nan() => "–".to_string(),
            number if row.unit == Unit::Count => format!("{number:.0}"),
            number if number.abs() >= 100.0 => format!("{number:.0}"),
            number if number.abs() >= 10.0 => format!("{number:.1}"),
            number if number.abs() >= 0.1 || number == 0.0 => format!("{number:.2}"),
            number => format!("{number:.5}"),
        };
        let verdict = match row.met() {
            Some(_) if self.quick => "not judged",
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "",
        };
        let several = |figure| if row.samples.len() > 1 { number(figure) } else { String::new() };
        let bar = |(of, bar): (Of, f64)| match of {
            Of::Median => format!("≤ {bar}"),
            of => format!("{} ≤ {}", of.name(), number(bar)),
        };
        vec![
            row.what.clone(),
            number(row.median()),
            several(row.quantile(0.99)),
            several(row.quantile(1.0)),
            row.samples.len().to_string(),
            row.unit.name().to_string(),
            row.bar.map_or_else(String::new, bar),
            verdict.to_string(),
            row.note.clone(),
        ]
    }

    pub(crate) fn json(&self) -> Value {
        let row = |row: &Row| {
            json!({
                "what": row.what, "unit": row.unit.name(), "median": row.median(), "p99": row.quantile(0.99),
                "max": row.quantile(1.0), "samples": row.samples.len(), "bar": row.bar.map(|(_, bar)| bar),
                "bar_on": row.bar.map(|(of, _)| of.name()), "met": row.met(), "note": row.note,
            })
        };
        let rows: Vec<Value> = self.rows.iter().map(row).collect();
        json!({ "suite": self.suite, "quick": self.quick, "machine": machine::describe(), "rows": rows })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_on_its_own_figure_and_needs_its_samples() {
        let row = || Row::new("", Unit::Micros, (1..=200).map(f64::from).collect());
        assert_eq!(row().met(), None);
        assert_eq!([100.0, 99.0].map(|bar| row().bar(bar).met()), [Some(true), Some(false)]);
        assert_eq!([198.0, 197.0].map(|bar| row().bar_p99(bar).met()), [Some(true), Some(false)]);
        assert_eq!([200.0, 199.0].map(|bar| row().bar_most(bar).met()), [Some(true), Some(false)]);
        assert_eq!([200, 201].map(|least| row().bar(100.0).needs(least).met()), [Some(true), Some(false)]);
        assert_eq!(Row::new("", Unit::Ratio, vec![]).bar(1.0).met(), Some(false), "nothing was measured");
    }
}
