//! Rows, bars, and how they are shown.

use crate::machine;
use serde_json::{Value, json};

/// What a number is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Nanos,
    Millis,
    Mebibytes,
    Ratio,
    Count,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Unit::Nanos => "ns",
            Unit::Millis => "ms",
            Unit::Mebibytes => "MiB",
            Unit::Ratio => "×",
            Unit::Count => "",
        }
    }
}

/// One thing that was measured.
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) unit: Unit,
    /// Sorted.
    samples: Vec<f64>,
    /// The most that the median may be.
    bar: Option<f64>,
    note: String,
}

impl Row {
    /// A row of one or more measurements.
    pub(crate) fn new(what: &str, unit: Unit, mut samples: Vec<f64>) -> Row {
        samples.sort_by(f64::total_cmp);
        Row { what: what.to_string(), unit, samples, bar: None, note: String::new() }
    }

    /// The most that the median may be.
    pub(crate) fn bar(self, most: f64) -> Row {
        Row { bar: Some(most), ..self }
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

    fn met(&self) -> Option<bool> {
        self.bar.map(|bar| self.median() <= bar)
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
        let head = ["", "median", "p99", "n", "", "bar", "", ""].map(str::to_string).to_vec();
        let lines: Vec<Vec<String>> =
            std::iter::once(head).chain(self.rows.iter().map(|row| self.line(row))).collect();
        let width = |at: usize| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..7).map(width).collect();
        for line in &lines {
            for (at, width) in widths.iter().enumerate() {
                let pad = " ".repeat(width - line[at].chars().count());
                let left = [0, 4, 6].contains(&at);
                text += &if left { format!("{}{pad}  ", line[at]) } else { format!("{pad}{}  ", line[at]) };
            }
            text = format!("{}{}\n", text, line[7]);
        }
        text
    }

    fn line(&self, row: &Row) -> Vec<String> {
        let number = |number: f64| match number {
            number if row.unit == Unit::Count => format!("{number:.0}"),
            number if number >= 100.0 => format!("{number:.0}"),
            number if number >= 10.0 => format!("{number:.1}"),
            number => format!("{number:.2}"),
        };
        let verdict = match row.met() {
            Some(_) if self.quick => "not judged",
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "",
        };
        vec![
            row.what.clone(),
            number(row.median()),
            if row.samples.len() > 1 { number(row.quantile(0.99)) } else { String::new() },
            row.samples.len().to_string(),
            row.unit.name().to_string(),
            row.bar.map_or_else(String::new, |bar| format!("≤ {bar}")),
            verdict.to_string(),
            row.note.clone(),
        ]
    }

    pub(crate) fn json(&self) -> Value {
        let row = |row: &Row| {
            json!({
                "what": row.what, "unit": row.unit.name(), "median": row.median(), "p99": row.quantile(0.99),
                "samples": row.samples.len(), "bar": row.bar, "met": row.met(), "note": row.note,
            })
        };
        let rows: Vec<Value> = self.rows.iter().map(row).collect();
        json!({ "suite": self.suite, "quick": self.quick, "machine": machine::describe(), "rows": rows })
    }
}
