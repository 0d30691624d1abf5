//! What is found wrong with a trace.

use crate::file::Place;
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
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.check, self.detail)
    }
}
