//! The data of the demo: the European Central Bank's daily reference rates, a day a generation. Also what
//! a day's records must be, by which the content that readers saw is judged (S5).

use crate::digest;
use downbeat_core::ids::Digest;
use std::collections::BTreeMap;

/// The records of a generation, by dataset and key.
pub(crate) type Records = BTreeMap<(String, String), String>;

/// The digest of a generation of these records.
pub(crate) fn digest_of(records: &Records) -> Option<Digest> {
    let each = records.iter();
    digest::digest(each.map(|((dataset, key), value)| (dataset.as_str(), key.as_bytes(), value.as_bytes())))
}

/// The dataset of the rates; its keys are currencies.
pub(crate) const RATES: &str = "rates";
/// The dataset of the one record that says which day it is.
pub(crate) const DAY: &str = "day";
/// The dataset of the scheduled record.
pub(crate) const NOTICE: &str = "notice";
/// The key in the last two.
pub(crate) const KEY: &str = "today";

const CSV: &str = include_str!("../../../data/eurofxref.csv");

/// All days, the oldest first.
#[derive(Debug)]
pub(crate) struct Rates {
    days: Vec<Day>,
}

/// One day.
#[derive(Clone, Debug, Default)]
pub(crate) struct Day {
    /// Year-month-day.
    pub(crate) date: &'static str,
    /// Units of each currency for one euro; those not quoted are left out.
    pub(crate) rates: BTreeMap<&'static str, &'static str>,
}

impl Rates {
    /// Reads the data that the program carries.
    pub(crate) fn load() -> Rates {
        let mut lines = CSV.lines();
        let columns: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
        let mut days: Vec<Day> = lines
            .filter_map(|line| {
                let mut cells = line.split(',');
                let date = cells.next().filter(|date| !date.is_empty())?;
                let named = columns.iter().skip(1).copied().zip(cells);
                let quoted = named.filter(|(currency, rate)| !currency.is_empty() && is_quoted(rate));
                Some(Day { date, rates: quoted.collect() })
            })
            .collect();
        days.reverse();
        Rates { days }
    }

    /// A day by its number; they begin again after the last.
    pub(crate) fn day(&self, number: usize) -> &Day {
        &self.days[number % self.days.len()]
    }

    /// How many days there are.
    pub(crate) fn len(&self) -> usize {
        self.days.len()
    }

    /// The day of a date.
    pub(crate) fn of(&self, date: &str) -> Option<&Day> {
        self.days.iter().find(|day| day.date == date)
    }
}

fn is_quoted(rate: &str) -> bool {
    !rate.is_empty() && rate != "N/A"
}

impl Day {
    /// What a generation of this day must hold, but for the scheduled record.
    pub(crate) fn records(&self) -> Records {
        let rates = self.rates.iter();
        let mut records: Records =
            rates.map(|(currency, rate)| ((RATES.into(), (*currency).into()), (*rate).into())).collect();
        records.insert((DAY.into(), KEY.into()), self.date.into());
        records
    }

    /// The edits that lead here from another day, as JSON lines: one transaction.
    pub(crate) fn edits(&self, before: Option<&Day>) -> String {
        let put = |dataset: &str, key: &str, value: &str| {
            serde_json::json!({ "op": "put", "dataset": dataset, "key": key, "value": value }).to_string()
        };
        let mut lines = vec![put(DAY, KEY, self.date)];
        lines.extend(self.rates.iter().map(|(currency, rate)| put(RATES, currency, rate)));
        let gone = before.into_iter().flat_map(|before| before.rates.keys());
        let gone = gone.filter(|currency| !self.rates.contains_key(*currency));
        lines.extend(gone.map(|currency| {
            serde_json::json!({ "op": "delete", "dataset": RATES, "key": currency }).to_string()
        }));
        lines.join("\n")
    }

    /// Which currencies have another rate than on another day: before and after.
    pub(crate) fn changes(
        &self,
        before: &Day,
    ) -> Vec<(&'static str, Option<&'static str>, Option<&'static str>)> {
        let mut all: Vec<&'static str> = self.rates.keys().chain(before.rates.keys()).copied().collect();
        all.sort_unstable();
        all.dedup();
        let pairs = all.into_iter().map(|currency| {
            (currency, before.rates.get(currency).copied(), self.rates.get(currency).copied())
        });
        pairs.filter(|(_, old, new)| old != new).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_is_what_its_page_says() {
        let rates = Rates::load();
        assert_eq!(rates.day(0).date, "2023-01-02");
        assert_eq!(rates.day(0).rates["USD"], "1.0683");
        assert_eq!(rates.day(rates.len() - 1).date, "2026-03-31");
        assert!(rates.days.windows(2).all(|pair| pair[0].date < pair[1].date));
        assert!(!rates.day(0).rates.contains_key("CYP"), "not quoted any more");
    }

    #[test]
    fn a_currency_that_is_no_longer_quoted_is_deleted() {
        let before = Day { date: "a", rates: BTreeMap::from([("BGN", "1.9"), ("USD", "1.0")]) };
        let after = Day { date: "b", rates: BTreeMap::from([("USD", "1.1")]) };
        let edits = after.edits(Some(&before));
        assert!(edits.contains(r#""op":"delete""#) && edits.contains("BGN"), "{edits}");
        assert_eq!(after.changes(&before), [("BGN", Some("1.9"), None), ("USD", Some("1.0"), Some("1.1"))]);
        assert_eq!(after.records().len(), 2);
    }
}
