//! Edits as JSON objects, one a line: read by `apply`, written by a rollback for `apply` to take.

use super::failure::Failure;
use super::scheduled;
use super::text::{instant, maybe_instant, name, put_bytes, take_bytes};
use crate::store::Edit;
use downbeat_core::content::check_record;
use downbeat_core::ids::Name;
use downbeat_core::time::ServerTime;
use serde::Deserialize;
use serde_json::{Map, Value};

/// One line of a batch.
#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub(super) enum Line {
    Put(Keyed),
    Delete(Keyed),
    Schedule(scheduled::Given),
    Unschedule(scheduled::Given),
}

#[derive(Deserialize)]
pub(super) struct Keyed {
    dataset: String,
    key: Option<String>,
    key_hex: Option<String>,
    value: Option<String>,
    value_hex: Option<String>,
}

impl Line {
    /// The edit, where instants are told from `now`.
    pub(super) fn into_edit(self, now: ServerTime) -> Result<Edit, Failure> {
        let wants = |what: &str| Failure::bad(format!("there is no {what}, or two"), "give one, or its _hex");
        let (keyed, puts) = match self {
            Line::Schedule(given) => return given.into_edit(now),
            Line::Unschedule(given) => return given.into_removal(now),
            Line::Put(keyed) => (keyed, true),
            Line::Delete(keyed) => (keyed, false),
        };
        let dataset = name("dataset", &keyed.dataset)?;
        let key = take_bytes(keyed.key, keyed.key_hex).ok_or_else(|| wants("key"))?;
        if !puts {
            return Ok(Edit::Delete { dataset, key });
        }
        let value = take_bytes(keyed.value, keyed.value_hex).ok_or_else(|| wants("value"))?;
        check_record(&key, &value).map_err(|error| Failure::bad(error, ""))?;
        Ok(Edit::Put { dataset, key, value })
    }
}

/// The line that `apply` takes for an edit.
pub(super) fn line(edit: &Edit) -> Value {
    let object = |op: &str, dataset: &Name, key: &[u8]| {
        let mut object = Map::new();
        object.insert("op".into(), op.into());
        object.insert("dataset".into(), dataset.as_str().into());
        put_bytes(&mut object, "key", key);
        object
    };
    let object = match edit {
        Edit::Put { dataset, key, value } => {
            let mut object = object("put", dataset, key);
            put_bytes(&mut object, "value", value);
            object
        }
        Edit::Delete { dataset, key } => object("delete", dataset, key),
        Edit::Schedule(record) => {
            let mut object = object("schedule", &record.dataset, &record.key);
            object.insert("effective_at".into(), instant(record.effective_at));
            object.insert("expires_at".into(), maybe_instant(record.expires_at));
            match &record.value {
                Some(value) => put_bytes(&mut object, "value", value),
                None => {
                    object.insert("delete".into(), true.into());
                }
            }
            object
        }
        Edit::Unschedule { dataset, key, effective_at } => {
            let mut object = object("unschedule", dataset, key);
            object.insert("effective_at".into(), instant(*effective_at));
            object
        }
    };
    object.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Scheduled;

    #[test]
    fn every_edit_comes_back_from_its_line() {
        let (dataset, key) = (Name::new("d").unwrap(), vec![0xff, 0]);
        let at = ServerTime::from_nanos(7);
        let scheduled = |expires_at, value| {
            let (dataset, key) = (dataset.clone(), b"k".to_vec());
            Edit::Schedule(Scheduled { dataset, key, effective_at: at, expires_at, value })
        };
        for edit in [
            Edit::Put { dataset: dataset.clone(), key: key.clone(), value: b"line\nbreak".to_vec() },
            Edit::Put { dataset: dataset.clone(), key: vec![], value: vec![0xfe] },
            Edit::Delete { dataset: dataset.clone(), key: key.clone() },
            scheduled(None, Some(vec![])),
            scheduled(Some(ServerTime::from_nanos(9)), None),
            Edit::Unschedule { dataset: dataset.clone(), key, effective_at: at },
        ] {
            let text = line(&edit).to_string();
            assert!(!text.contains('\n'), "{text}");
            let read: Line = serde_json::from_str(&text).unwrap();
            assert_eq!(read.into_edit(ServerTime::from_nanos(0)).unwrap(), edit, "{text}");
        }
    }
}
