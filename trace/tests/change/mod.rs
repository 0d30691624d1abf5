//! Ways to change a trace on purpose.

use downbeat_trace::texts_of;
use serde_json::Value;

/// Traces, line by line.
#[derive(Clone)]
pub(crate) struct Run(pub(crate) Vec<Vec<Line>>);

/// A line as JSON; or what is no JSON.
#[derive(Clone, PartialEq)]
pub(crate) enum Line {
    Whole(Value),
    Text(String),
}

impl Run {
    pub(crate) fn of(texts: &[&str]) -> Run {
        let line =
            |text: &str| serde_json::from_str(text).map_or_else(|_| Line::Text(text.to_owned()), Line::Whole);
        Run(texts.iter().map(|text| text.lines().map(line).collect()).collect())
    }

    /// What the replay finds wrong, the kinds of it.
    pub(crate) fn judged(&self) -> Vec<&'static str> {
        let text = |lines: &Vec<Line>| -> String {
            let text = |(index, line): (usize, &Line)| match line {
                Line::Whole(value) => format!("{value}\n"),
                // A torn line at the very end has no end of its own.
                Line::Text(text) if index + 1 == lines.len() => text.clone(),
                Line::Text(text) => format!("{text}\n"),
            };
            lines.iter().enumerate().map(text).collect()
        };
        let texts: Vec<String> = self.0.iter().map(text).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        texts_of(&texts).faults.iter().map(|fault| fault.check).collect()
    }

    /// Where a line of a kind stands that is as wanted: the one in the middle of them.
    pub(crate) fn find(&self, file: usize, kind: &str, wanted: impl Fn(&Value) -> bool) -> usize {
        let is = |line: &Line| matches!(line, Line::Whole(value) if value.get(kind).is_some_and(&wanted));
        let found: Vec<usize> =
            self.0[file].iter().enumerate().filter(|(_, line)| is(line)).map(|(at, _)| at).collect();
        assert!(!found.is_empty(), "the corpus has no such {kind} in file {file}");
        found[found.len() / 2]
    }

    /// What a line of a kind says.
    pub(crate) fn at(&mut self, file: usize, index: usize) -> &mut Value {
        match &mut self.0[file][index] {
            Line::Whole(value) => value.as_object_mut().expect("a line").values_mut().next().expect("a kind"),
            Line::Text(text) => panic!("no line: {text}"),
        }
    }

    /// Changes what a line of a kind says.
    pub(crate) fn change(
        &mut self,
        file: usize,
        kind: &str,
        wanted: impl Fn(&Value) -> bool,
        change: impl FnOnce(&mut Value),
    ) {
        let index = self.find(file, kind, wanted);
        let before = self.at(file, index).clone();
        change(self.at(file, index));
        assert_ne!(before, *self.at(file, index), "nothing was changed");
    }
}

/// Adds to a number.
pub(crate) fn add(number: &mut Value, by: i64) {
    *number = match number.as_u64() {
        Some(unsigned) => unsigned.wrapping_add_signed(by).into(),
        None => (number.as_i64().expect("a number") + by).into(),
    };
}

/// Changes the first digit of a digest.
pub(crate) fn spoil(digest: &mut Value) {
    let text = digest.as_str().expect("a digest").to_owned();
    let other = if text.starts_with('0') { "1" } else { "0" };
    *digest = format!("{other}{}", &text[1..]).into();
}
