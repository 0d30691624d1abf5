//! The digest of a generation, computed from records as they were read or are to be: whoever compares it
//! with the one that a generation goes by sees whether that is whole (S5), and what was meant.

use downbeat_core::content::{DatasetSum, generation_digest, record_digest};
use downbeat_core::ids::{Digest, Name};
use std::collections::BTreeMap;

/// Of the records given as dataset, key and value, in any order. `None` where a dataset has no name that
/// a farm could have.
pub(crate) fn digest<'a>(records: impl IntoIterator<Item = (&'a str, &'a [u8], &'a [u8])>) -> Option<Digest> {
    let mut sums: BTreeMap<Name, DatasetSum> = BTreeMap::new();
    for (dataset, key, value) in records {
        let name = Name::new(dataset).ok()?;
        let record = record_digest(&name, key, value);
        sums.entry(name).or_default().add(record);
    }
    generation_digest(&sums).ok()
}
