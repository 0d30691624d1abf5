//! How a farm is made: its settings, and the data that it begins with.

use super::{EARLY_LIMIT, FARM, Farm, place};
use crate::manage::ask;
use std::time::Duration;

/// What a farm holds.
#[derive(Clone, Debug)]
pub struct Contents {
    /// Records from the beginning on: dataset, key and value.
    pub filling: Vec<(String, String, String)>,
    /// Between two edits.
    pub editing: Duration,
}

impl Default for Contents {
    /// So much that a generation takes a few dozen fetches, and several edits a cycle.
    fn default() -> Contents {
        let filling = (0..60).map(|number| ("bulk".to_owned(), format!("{number:03}"), "x".repeat(300)));
        Contents { filling: filling.collect(), editing: Duration::from_millis(130) }
    }
}

impl Contents {
    /// What a device has room for: a tariff of a few dozen records, and fewer edits, each of which leaves
    /// a record behind.
    pub fn of_a_device() -> Contents {
        let price = |number: u32| format!("{}.{:04}", number % 7, number * 997 % 10_000);
        let filling = (0..48).map(|number| ("tariff".to_owned(), format!("zone-{number:02}"), price(number)));
        Contents { filling: filling.collect(), editing: Duration::from_millis(700) }
    }
}

impl Farm {
    pub(super) fn make(&self) {
        let millis = |millis: u32| format!("{}ms", millis * self.pace);
        let settings = serde_json::json!({
            "interval": millis(1_600), "lead": millis(600), "lease": millis(200), "round_trip": millis(100),
            "retrieve": millis(200), "stagger": millis(50), "sample_window": millis(60),
            "early_limit": format!("{EARLY_LIMIT}ns"),
        });
        let new = serde_json::json!({ "farm": FARM, "settings": settings, "generations_kept": 1_000_000 });
        let http = place(&self.http).expect("the server runs");
        let made = ask(http, "POST", "/v1/farms", new.to_string().as_bytes());
        assert!(matches!(made, Some((201, _))), "the farm was not made: {made:?}");
        self.fill(&self.contents.filling);
    }

    /// Puts records into production, beside what the attendants edit.
    ///
    /// # Panics
    /// The server doesn't take them.
    pub fn fill(&self, records: &[(String, String, String)]) {
        let lines = records.iter().map(|(dataset, key, value)| {
            let line = serde_json::json!({ "op": "put", "dataset": dataset, "key": key, "value": value });
            format!("{line}\n")
        });
        self.apply(lines.collect());
    }

    /// Takes records out of production.
    ///
    /// # Panics
    /// The server doesn't do it.
    pub fn delete(&self, records: &[(String, String, String)]) {
        let lines = records.iter().map(|(dataset, key, _)| {
            format!("{}\n", serde_json::json!({ "op": "delete", "dataset": dataset, "key": key }))
        });
        self.apply(lines.collect());
    }

    fn apply(&self, lines: String) {
        let http = place(&self.http).expect("the server runs");
        let path = format!("/v1/farms/{FARM}/apply");
        let applied = ask(http, "POST", &path, lines.as_bytes());
        assert!(matches!(applied, Some((200, _))), "the records were not taken: {applied:?}");
    }
}
