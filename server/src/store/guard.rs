//! Guards on content (DESIGN §4): limits that an operator sets, and what breaks them. Plain data, and the
//! one function that judges counts by a limit. Where the counts come from is a store's matter; that a
//! candidate which breaks a guard is not staged is its verdict's.

use downbeat_core::ids::{Digest, Epoch, Name};
use downbeat_core::time::ServerTime;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Examples that are told with a reason, at most.
pub const EXAMPLES: usize = 5;
/// Parts of a whole: what a share is stored in, so that judging needs integers only.
pub const WHOLE: u32 = 1_000_000;

/// What a guard looks at.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum GuardKind {
    /// Records that are there and would change or vanish in one cycle.
    Change,
    /// Records that would vanish in one cycle.
    Vanish,
    /// Records that there would be.
    Records,
    /// Bytes of keys and values that there would be.
    Bytes,
    /// Values of a dataset that would change or be new: each is JSON and fits a schema.
    Schema,
}

impl GuardKind {
    /// All of them.
    pub const EVERY: [GuardKind; 5] =
        [GuardKind::Change, GuardKind::Vanish, GuardKind::Records, GuardKind::Bytes, GuardKind::Schema];

    /// Its name, as people write it.
    pub fn text(self) -> &'static str {
        match self {
            GuardKind::Change => "change",
            GuardKind::Vanish => "vanish",
            GuardKind::Records => "records",
            GuardKind::Bytes => "bytes",
            GuardKind::Schema => "schema",
        }
    }

    /// The kind of a name.
    pub fn from_text(text: &str) -> Option<GuardKind> {
        GuardKind::EVERY.into_iter().find(|kind| kind.text() == text)
    }
}

/// Which guard: `vanish` is the farm's, `prices/vanish` a dataset's.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct GuardName {
    /// The dataset that it is for; `None` for the farm as a whole.
    pub dataset: Option<Name>,
    /// What it looks at.
    pub kind: GuardKind,
}

impl GuardName {
    /// The guard of a name as people write it.
    pub fn from_text(text: &str) -> Option<GuardName> {
        let (dataset, kind) = match text.split_once('/') {
            Some((dataset, kind)) => (Some(Name::new(dataset).ok()?), kind),
            None => (None, text),
        };
        Some(GuardName { dataset, kind: GuardKind::from_text(kind)? })
    }
}

impl fmt::Display for GuardName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(dataset) = &self.dataset {
            write!(f, "{dataset}/")?;
        }
        f.write_str(self.kind.text())
    }
}

/// What a guard allows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Limit {
    /// A share of the records that are staged, of [`WHOLE`]; or `floor` records, where that is more, so
    /// that a small dataset isn't stuck. For change and vanish.
    Share {
        /// At most [`WHOLE`].
        parts: u32,
        /// Records that may always do so.
        floor: u64,
    },
    /// A largest number. For records and bytes.
    Most(u64),
    /// A JSON Schema (draft 2020-12), as text. For a dataset.
    Schema(String),
}

/// A guard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Guard {
    /// Which one.
    pub name: GuardName,
    /// What it allows.
    pub limit: Limit,
}

/// How a candidate differs from what is staged, and what it holds; of a dataset or of the farm.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Records that are staged.
    pub staged: u64,
    /// Records of the candidate.
    pub records: u64,
    /// Bytes of the candidate's keys and values.
    pub bytes: u64,
    /// Records that are staged and have another value in the candidate.
    pub changed: u64,
    /// Records that are staged and not in the candidate.
    pub vanished: u64,
    /// Changed and new records of the candidate that don't fit the schema.
    pub unfit: u64,
}

/// A record that shows why.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Example {
    /// Its dataset.
    pub dataset: Name,
    /// Its key.
    pub key: Vec<u8>,
    /// What is wrong with it, where that isn't the reason itself.
    pub why: Option<String>,
}

/// Why a candidate was not staged. Texts are for people.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Reason {
    /// The guard's name, or `gate`.
    pub guard: String,
    /// What is allowed.
    pub limit: String,
    /// What was found.
    pub found: String,
    /// Some of the records that it is about.
    pub examples: Vec<Example>,
    /// What helps.
    pub cure: String,
}

/// The last candidate that was kept back, where none was staged since.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Blocked {
    /// The epoch that went over the same content instead.
    pub epoch: Epoch,
    /// The candidate's digest.
    pub digest: Digest,
    /// When.
    pub at: ServerTime,
    /// Every reason.
    pub reasons: Vec<Reason>,
}

/// That one guard doesn't count for one candidate: said by a person, used up by that candidate's
/// promotion.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Override {
    /// The guard's name.
    pub guard: String,
    /// The candidate that it is for.
    pub digest: Digest,
    /// Who said so.
    pub by: String,
    /// When.
    pub at: ServerTime,
    /// The epoch that used it up; `None` while it waits.
    pub used: Option<Epoch>,
}

impl Guard {
    /// Whether the limit is one of the kind that the name says, and possible.
    pub fn is_well_formed(&self) -> bool {
        match (&self.limit, self.name.kind) {
            (Limit::Share { parts, .. }, GuardKind::Change | GuardKind::Vanish) => *parts <= WHOLE,
            (Limit::Most(_), GuardKind::Records | GuardKind::Bytes) => true,
            (Limit::Schema(_), GuardKind::Schema) => self.name.dataset.is_some(),
            _ => false,
        }
    }

    /// What is allowed and what was found, where that breaks the guard.
    pub fn broken_by(&self, counts: &Counts) -> Option<(String, String)> {
        let of_what = self.name.dataset.as_ref().map_or("the farm's".to_owned(), |name| format!("{name}'s"));
        match &self.limit {
            Limit::Share { parts, floor } => {
                let (found, what) = match self.name.kind {
                    GuardKind::Vanish => (counts.vanished, "vanish"),
                    _ => (counts.changed.saturating_add(counts.vanished), "change or vanish"),
                };
                let share = u128::from(counts.staged) * u128::from(*parts) / u128::from(WHOLE);
                let most = u64::try_from(share).unwrap_or(u64::MAX).max(*floor);
                (found > most).then(|| {
                    let staged = counts.staged;
                    let percent = percent(*parts);
                    (
                        format!(
                            "at most {most} of {of_what} {staged} records may {what} in one cycle ({percent} %, or {floor} records where that is more)"
                        ),
                        format!("{found} would"),
                    )
                })
            }
            Limit::Most(most) => {
                let (found, what) = match self.name.kind {
                    GuardKind::Bytes => (counts.bytes, "bytes of keys and values"),
                    _ => (counts.records, "records"),
                };
                (found > *most)
                    .then(|| (format!("at most {most} {what}"), format!("there would be {found} {what}")))
            }
            Limit::Schema(_) => (counts.unfit > 0).then(|| {
                let found = format!("{} changed or new records don't fit it", counts.unfit);
                (format!("values of {of_what} records are JSON that fits its schema"), found)
            }),
        }
    }

    /// What helps where the guard is broken.
    pub fn cure(&self) -> String {
        let name = &self.name;
        format!(
            "correct production, or allow more (downbeat guard set {name}), or let exactly this candidate \
             through once (downbeat guard override {name})"
        )
    }
}

/// A share in percent, without needless zeros.
pub fn percent(parts: u32) -> String {
    let text = format!("{}.{:04}", parts / 10_000, parts % 10_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(name: &str, limit: Limit) -> Guard {
        Guard { name: GuardName::from_text(name).unwrap(), limit }
    }

    #[test]
    fn names_go_both_ways() {
        for text in ["change", "prices/vanish", "records", "d/bytes", "a.b-c/schema"] {
            assert_eq!(GuardName::from_text(text).unwrap().to_string(), text);
        }
        for bad in ["", "sing", "/vanish", "Prices/vanish", "a/b/vanish", "prices/"] {
            assert_eq!(GuardName::from_text(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_share_is_of_what_is_staged_and_has_a_floor() {
        let vanish = guard("vanish", Limit::Share { parts: 50_000, floor: 3 });
        let counts = |staged, vanished| Counts { staged, vanished, changed: 999, ..Counts::default() };
        // 5 % of 1,000 are 50; of 10 the floor of 3 counts; of nothing, too.
        for (staged, fine) in [(1_000, 50), (1_019, 50), (1_020, 51), (10, 3), (0, 3)] {
            assert_eq!(vanish.broken_by(&counts(staged, fine)), None, "{staged}");
            let (limit, found) = vanish.broken_by(&counts(staged, fine + 1)).unwrap();
            assert!(limit.contains(&format!("at most {fine} ")) && limit.contains("5 %"), "{limit}");
            assert_eq!(found, format!("{} would", fine + 1));
        }
        let change = guard("d/change", Limit::Share { parts: WHOLE, floor: 0 });
        let all = Counts { staged: u64::MAX, changed: u64::MAX, vanished: 1, ..Counts::default() };
        assert_eq!(change.broken_by(&all), None, "all of them may");
        let none = guard("d/change", Limit::Share { parts: 0, floor: 0 });
        assert!(none.broken_by(&Counts { staged: 1, vanished: 1, ..Counts::default() }).is_some());
        assert_eq!(none.broken_by(&Counts { records: 9, ..Counts::default() }), None, "new ones are none");
    }

    #[test]
    fn numbers_have_a_most() {
        let (records, bytes) = (guard("records", Limit::Most(7)), guard("d/bytes", Limit::Most(7)));
        let counts = |records, bytes| Counts { records, bytes, ..Counts::default() };
        assert_eq!((records.broken_by(&counts(7, 99)), bytes.broken_by(&counts(99, 7))), (None, None));
        assert!(records.broken_by(&counts(8, 0)).is_some() && bytes.broken_by(&counts(0, 8)).is_some());
    }

    #[test]
    fn a_limit_fits_its_kind() {
        let share = |parts| Limit::Share { parts, floor: 0 };
        assert!(guard("vanish", share(WHOLE)).is_well_formed());
        assert!(!guard("vanish", share(WHOLE + 1)).is_well_formed());
        assert!(!guard("records", share(1)).is_well_formed());
        assert!(guard("d/schema", Limit::Schema("{}".into())).is_well_formed());
        assert!(!guard("schema", Limit::Schema("{}".into())).is_well_formed(), "a schema is a dataset's");
        assert_eq!(percent(50_000), "5");
        assert_eq!(percent(1), "0.0001");
        assert_eq!(percent(WHOLE), "100");
    }
}
