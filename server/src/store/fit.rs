//! Whether values fit their dataset's JSON Schema (draft 2020-12). A schema is whole by itself: what it
//! refers to elsewhere is not fetched. Patterns are matched in linear time.

use super::StoreError;
use downbeat_core::ids::Name;
use jsonschema::{Draft, PatternOptions, Validator};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};

/// Bytes of what is said of one value, at most.
const WHY_MAX: usize = 300;

/// A schema, ready to be asked.
pub(crate) struct Fit(Validator);

impl Fit {
    /// Makes a schema of its text.
    ///
    /// # Errors
    /// Why it is none, for people.
    pub(crate) fn new(schema: &str) -> Result<Fit, String> {
        let schema: Value =
            serde_json::from_str(schema).map_err(|error| format!("the schema is no JSON ({error})"))?;
        let validator = jsonschema::options()
            .with_draft(Draft::Draft202012)
            .offline()
            .with_pattern_options(PatternOptions::regex())
            .build(&schema);
        let validator = validator.map_err(|error| format!("the schema can't be used: {error}"))?;
        Ok(Fit(validator))
    }

    /// Why a value doesn't fit; `None` where it does.
    pub(crate) fn why_not(&self, value: &[u8]) -> Option<String> {
        let value: Value = match serde_json::from_slice(value) {
            Ok(value) => value,
            Err(error) => return Some(format!("it is no JSON ({error})")),
        };
        let error = self.0.validate(&value).err()?;
        let place = error.instance_path().to_string();
        let mut why = if place.is_empty() { error.to_string() } else { format!("{place}: {error}") };
        if let Some((end, _)) = why.char_indices().find(|(at, _)| *at >= WHY_MAX) {
            why.truncate(end);
            why.push('…');
        }
        Some(why)
    }
}

/// What was looked at ahead: a value's BLAKE3, so that a batch of long values needs no memory, and why it
/// doesn't fit.
type Known = (blake3::Hash, Option<String>);

/// The schemas of a farm's datasets, and what was found with them before the database was held.
#[derive(Default)]
pub(crate) struct Fitting {
    schemas: BTreeMap<Name, Fit>,
    ahead: HashMap<(Name, Vec<u8>), Known>,
}

impl Fitting {
    /// From the schemas' texts, which were checked when they were set.
    pub(crate) fn new(texts: impl IntoIterator<Item = (Name, String)>) -> Result<Fitting, StoreError> {
        let mut schemas = BTreeMap::new();
        for (dataset, text) in texts {
            let fit = Fit::new(&text)
                .map_err(|error| StoreError::Damaged(format!("the schema of dataset {dataset}: {error}")))?;
            schemas.insert(dataset, fit);
        }
        Ok(Fitting { schemas, ahead: HashMap::new() })
    }

    /// Whether any dataset has a schema.
    pub(crate) fn is_asked_any(&self) -> bool {
        !self.schemas.is_empty()
    }

    /// Whether a dataset has a schema.
    pub(crate) fn is_asked(&self, dataset: &Name) -> bool {
        self.schemas.contains_key(dataset)
    }

    /// Looks at a value now, so that nobody has to wait for that later.
    pub(crate) fn look_ahead(&mut self, dataset: &Name, key: &[u8], value: &[u8]) {
        if let Some(fit) = self.schemas.get(dataset) {
            let known = (blake3::hash(value), fit.why_not(value));
            self.ahead.insert((dataset.clone(), key.to_vec()), known);
        }
    }

    /// Why a value doesn't fit its dataset's schema; `None` where it does, or there is none.
    pub(crate) fn why_not(&self, dataset: &Name, key: &[u8], value: &[u8]) -> Option<String> {
        let fit = self.schemas.get(dataset)?;
        match self.ahead.get(&(dataset.clone(), key.to_vec())) {
            Some((known, why)) if *known == blake3::hash(value) => why.clone(),
            _ => fit.why_not(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(schema: &str, value: &str) -> Option<String> {
        Fit::new(schema).unwrap().why_not(value.as_bytes())
    }

    #[test]
    fn a_value_that_does_not_fit_is_told_with_its_place() {
        let schema =
            r#"{"type":"object","required":["price"],"properties":{"price":{"type":"number","minimum":0}}}"#;
        assert_eq!(why(schema, r#"{"price":1.5}"#), None);
        let text = why(schema, r#"{"price":-1}"#).unwrap();
        assert!(text.starts_with("/price: ") && text.contains("minimum"), "{text}");
        assert!(why(schema, "1.20 EUR").unwrap().contains("no JSON"));
        assert!(why(schema, "{}").unwrap().contains("price"));
        assert!(why(r#"{"const":1}"#, &format!("\"{}\"", "ü".repeat(9_000))).unwrap().len() < 700);
        // 2020-12, not an older draft.
        assert!(why(r#"{"prefixItems":[{"type":"string"}]}"#, "[1]").is_some());
    }

    #[test]
    fn what_is_no_schema_is_refused_and_nothing_is_fetched() {
        for bad in [
            "",
            "{",
            "7",
            r#"{"type":"nonsense"}"#,
            r##"{"$ref":"#/$defs/none"}"##,
            r#"{"$ref":"http://127.0.0.1:9/schema.json"}"#,
            r#"{"$ref":"file:///etc/passwd"}"#,
            r#"{"pattern":"("}"#,
        ] {
            assert!(Fit::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        let tree = r##"{"type":"object","properties":{"next":{"$ref":"#"}}}"##;
        assert!(why(tree, r#"{"next":{"next":{"next":1}}}"#).unwrap().starts_with("/next/next/next"));
        // Without taking a step into the value, too: whatever comes of it, it comes.
        for round in [
            r##"{"$ref":"#"}"##,
            r##"{"allOf":[{"$ref":"#"}]}"##,
            r##"{"not":{"$ref":"#"}}"##,
            r##"{"$dynamicRef":"#"}"##,
            r##"{"$ref":"#/$defs/a","$defs":{"a":{"$ref":"#/$defs/b"},"b":{"$ref":"#/$defs/a"}}}"##,
            r##"{"unevaluatedProperties":{"$ref":"#"},"anyOf":[{"$ref":"#"}]}"##,
        ] {
            if let Ok(fit) = Fit::new(round) {
                let _ = fit.why_not(br#"{"a":{"a":1}}"#);
            }
        }
        let deep = format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000));
        assert!(why(r##"{"items":{"$ref":"#"}}"##, &deep).unwrap().contains("no JSON"), "too deep");
    }

    #[test]
    fn a_pattern_takes_linear_time() {
        assert!(why(r#"{"pattern":"^(a+)+$"}"#, &format!("\"{}b\"", "a".repeat(60_000))).is_some());
    }

    #[test]
    fn what_was_looked_at_ahead_counts_for_that_value_only() {
        let name = Name::new("d").unwrap();
        let mut fitting = Fitting::new([(name.clone(), r#"{"type":"number"}"#.to_owned())]).unwrap();
        fitting.look_ahead(&name, b"k", b"1");
        assert_eq!(fitting.why_not(&name, b"k", b"1"), None);
        assert!(fitting.why_not(&name, b"k", b"[]").is_some(), "it was changed since");
        assert_eq!(fitting.why_not(&Name::new("e").unwrap(), b"k", b"[]"), None);
    }
}
