//! What is found wrong with a trace, and how much of it was judged.

use crate::file::Place;
use std::collections::BTreeMap;
use std::fmt;

/// The trace can't be understood, or isn't whole.
pub(crate) const FORMAT: &str = "format";
/// Core answers another thing to the recorded input than what was recorded, or a line doesn't follow
/// from those before it.
pub(crate) const CONFORMS: &str = "conforms";
/// A clock is outside of the bounds that everything else stands on (PROTOCOL §2).
pub(crate) const CLOCKS: &str = "clocks";

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// `format`, `conforms`, `clocks`, or a property's id and name as in PROTOCOL §10.
    pub check: &'static str,
    /// Which file and line, where it is one: the file by its place among those given, from 0; lines
    /// from 1.
    pub line: Option<(usize, usize)>,
    /// What.
    pub detail: String,
}

impl Fault {
    pub(crate) fn at(check: &'static str, place: Place, detail: String) -> Fault {
        Fault { check, line: Some((place.file, place.number)), detail }
    }

    pub(crate) fn of(check: &'static str, detail: String) -> Fault {
        Fault { check, line: None, detail }
    }

    /// Id and name of the property that is broken, as in PROTOCOL §10; `None` where it is not one of
    /// them, but what the judgement of all of them stands on.
    pub fn property(&self) -> Option<(&'static str, &'static str)> {
        self.check.split_once(' ')
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.check, self.detail)
    }
}

/// What a judgement of traces comes to.
#[derive(Debug, Default)]
pub(crate) struct Verdicts {
    /// What is wrong.
    pub(crate) faults: Vec<Fault>,
    /// How often each property was looked at: one that never was says nothing.
    pub(crate) judged: BTreeMap<&'static str, u64>,
}

impl Verdicts {
    pub(crate) fn push(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    /// A property was looked at so often.
    pub(crate) fn looked(&mut self, check: &'static str, times: u64) {
        *self.judged.entry(check).or_default() += times;
    }

    /// A property is looked at where a line stands.
    pub(crate) fn judge(
        &mut self,
        check: &'static str,
        place: Place,
        holds: bool,
        detail: impl FnOnce() -> String,
    ) {
        self.looked(check, 1);
        if !holds {
            self.push(Fault::at(check, place, detail()));
        }
    }
}
