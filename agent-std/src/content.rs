//! One generation in memory: immutable records by dataset and key.
//!
//! How one is filled from what arrives is in `filling`, how one is kept on a disk in `disk`, where
//! those that an agent holds stand in `shelf`.

use downbeat_core::ids::Name;

/// All records of one generation (or of the datasets of it that were subscribed to). Never changes.
#[derive(Debug, Default)]
pub struct Content {
    /// Ascending by name.
    datasets: Vec<(Name, Dataset)>,
}

/// The records of one dataset, in ascending order of their keys' bytes.
#[derive(Debug, Default)]
pub struct Dataset {
    entries: Vec<Entry>,
    /// Keys and values, one after the other.
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    at: usize,
    key: u32,
    value: u32,
}

impl Content {
    /// The value of a key; `None` where the generation has no such record. A lookup is a binary
    /// search.
    pub fn get(&self, dataset: &str, key: &[u8]) -> Option<&[u8]> {
        self.dataset(dataset)?.get(key)
    }

    /// A dataset; `None` where it has no records.
    pub fn dataset(&self, name: &str) -> Option<&Dataset> {
        let at = self.datasets.binary_search_by(|(of, _)| of.as_str().cmp(name)).ok()?;
        self.datasets.get(at).map(|(_, dataset)| dataset)
    }

    /// All datasets that have records, ascending by name.
    pub fn datasets(&self) -> impl Iterator<Item = (&str, &Dataset)> {
        self.datasets.iter().map(|(name, dataset)| (name.as_str(), dataset))
    }

    /// The number of records.
    pub fn len(&self) -> usize {
        self.datasets.iter().map(|(_, dataset)| dataset.len()).sum()
    }

    /// Whether there are no records at all: an ordinary generation.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a record at the end: datasets and keys come in ascending order, as objects have them.
    pub(crate) fn push(&mut self, dataset: &Name, key: &[u8], value: &[u8]) {
        if self.datasets.last().is_none_or(|(name, _)| name != dataset) {
            self.datasets.push((dataset.clone(), Dataset::default()));
        }
        if let Some((_, dataset)) = self.datasets.last_mut() {
            dataset.push(key, value);
        }
    }
}

impl Dataset {
    /// The value of a key.
    pub fn get(&self, key: &[u8]) -> Option<&[u8]> {
        let at = self.entries.binary_search_by(|entry| self.key(entry).cmp(key)).ok()?;
        self.entries.get(at).map(|entry| self.value(entry))
    }

    /// All records, ascending by key.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.entries.iter().map(|entry| (self.key(entry), self.value(entry)))
    }

    /// The records whose keys begin with `prefix`, ascending by key.
    pub fn prefix<'a>(&'a self, prefix: &'a [u8]) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let from = self.entries.partition_point(|entry| self.key(entry) < prefix);
        let rest = self.entries.get(from..).unwrap_or_default();
        rest.iter()
            .map(|entry| (self.key(entry), self.value(entry)))
            .take_while(move |(key, _)| key.starts_with(prefix))
    }

    /// The number of records.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no records.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn push(&mut self, key: &[u8], value: &[u8]) {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
        // Lengths are within the limits of a record, which the reader of objects has checked.
        self.entries.push(Entry { at, key: key.len() as u32, value: value.len() as u32 });
    }

    fn key(&self, entry: &Entry) -> &[u8] {
        self.bytes.get(entry.at..entry.at + entry.key as usize).unwrap_or_default()
    }

    fn value(&self, entry: &Entry) -> &[u8] {
        let from = entry.at + entry.key as usize;
        self.bytes.get(from..from + entry.value as usize).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    #[test]
    fn records_are_found_listed_and_scanned() {
        let mut content = Content::default();
        for (dataset, key, value) in
            [("a", "x", "1"), ("b", "", "2"), ("b", "k1", ""), ("b", "k2", "4"), ("b", "l", "5")]
        {
            content.push(&name(dataset), key.as_bytes(), value.as_bytes());
        }
        assert_eq!(content.get("a", b"x"), Some(&b"1"[..]));
        assert_eq!(content.get("b", b""), Some(&b"2"[..]));
        assert_eq!(content.get("b", b"k1"), Some(&b""[..]));
        assert_eq!((content.get("b", b"k"), content.get("c", b"x")), (None, None));
        assert_eq!(content.len(), 5);
        let dataset = content.dataset("b").unwrap();
        let keys = |records: Vec<(&[u8], &[u8])>| {
            records.iter().map(|(key, _)| String::from_utf8(key.to_vec()).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(keys(dataset.iter().collect()), ["", "k1", "k2", "l"]);
        assert_eq!(keys(dataset.prefix(b"k").collect()), ["k1", "k2"]);
        assert_eq!(keys(dataset.prefix(b"m").collect()), [""; 0]);
    }
}
