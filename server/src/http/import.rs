//! Many records at once: a CSV or JSON lines, or a batch of edits. One transaction; nothing is changed
//! unless all of it is good, or `partial` was asked for. What comes is put aside in a file first, so that
//! neither memory nor the time that the database is held depends on how it comes.

use super::edit_lines::Line;
use super::export::Format;
use super::failure::Failure;
use super::import_rows::{Asked, RowError, Rows, json_rows};
use super::lines::Lines;
use super::text::name;
use super::{Caller, query, records, spool};
use crate::access::Role;
use crate::shared::{Prospect, Refused, Shared};
use crate::store::{Applied, Edit, Incoming, SqliteStore, Store, StoreError};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use downbeat_core::ids::Name;
use downbeat_core::time::ServerTime;
use serde::Deserialize;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::sync::Arc;

/// Errors that are told in full; the others are counted.
const ERRORS_TOLD: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ImportQuery {
    /// The dataset of all rows; without it a column names it.
    dataset: Option<String>,
    #[serde(default = "ImportQuery::dataset_column")]
    dataset_column: String,
    #[serde(default = "ImportQuery::key_column")]
    key_column: String,
    /// Separated by commas.
    #[serde(default = "ImportQuery::value_columns")]
    value_columns: String,
    #[serde(default)]
    partial: bool,
    #[serde(default)]
    replace: bool,
    #[serde(default)]
    format: Format,
}

impl ImportQuery {
    fn dataset_column() -> String {
        "dataset".to_owned()
    }
    fn key_column() -> String {
        "key".to_owned()
    }
    fn value_columns() -> String {
        "value".to_owned()
    }
}

/// What to read of a file, once the query was looked at.
struct Plan {
    format: Format,
    dataset: Option<Name>,
    dataset_column: String,
    key_column: String,
    value_columns: Vec<String>,
    partial: bool,
}

impl Plan {
    fn rows<'f>(
        &self,
        file: &'f File,
    ) -> Result<Box<dyn Iterator<Item = Result<Incoming, RowError>> + 'f>, Failure> {
        if self.format == Format::Jsonl {
            return Ok(Box::new(json_rows(file, self.dataset.clone())));
        }
        let asked = Asked {
            dataset: self.dataset.as_ref(),
            dataset_column: &self.dataset_column,
            key_column: &self.key_column,
            value_columns: &self.value_columns,
        };
        Ok(Box::new(Rows::new(file, &asked)?))
    }

    /// Puts the rows aside on a connection of their own, unless some are refused.
    fn load(&self, shared: &Shared, file: &File) -> Result<(SqliteStore, Refusals), Failure> {
        let (mut store, mut refusals) = (SqliteStore::open(&shared.database)?, Refusals::default());
        let rows = self.rows(file)?.filter_map(|row| row.map_err(|error| refusals.add(error)).ok());
        store.load(rows.map(Ok))?;
        if refusals.count > 0 && !self.partial {
            return Err(refusals.failure("rows"));
        }
        Ok((store, refusals))
    }
}

#[derive(Default)]
struct Refusals {
    told: Vec<RowError>,
    count: u64,
}

impl Refusals {
    fn add(&mut self, error: RowError) {
        self.count += 1;
        if self.told.len() < ERRORS_TOLD {
            self.told.push(error);
        }
    }

    /// A row whose key another one had before it.
    fn add_twice(&mut self, line: u64) {
        self.add(RowError { line, error: "its key came before; give each key once".to_owned() });
    }

    fn json(&self) -> Value {
        self.told.iter().map(|error| json!({ "line": error.line, "error": error.error })).collect()
    }

    /// Nothing is changed because of them.
    fn failure(&self, of: &str) -> Failure {
        let first = self.told.first().map_or_else(String::new, |e| format!("; line {}: {}", e.line, e.error));
        Failure::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            format!("{} of the {of} are refused, nothing was changed{first}", self.count),
            "correct them and send it again; an import can take the others alone (--partial, partial=true)",
        )
        .with("errors", self.json())
    }
}

/// `POST …/import?dataset=&dataset_column=&key_column=&value_columns=&format=&partial=&replace=`, a CSV or
/// JSON lines.
pub(super) async fn import(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    uri: Uri,
    body: Body,
) -> Result<Json<Value>, Failure> {
    let farm = caller.farm(&shared, Role::Operator)?;
    let query: ImportQuery = query(&uri)?;
    if query.replace && (query.dataset.is_none() || query.partial) {
        return Err(Failure::bad(
            "replace deletes what the file doesn't name, so it takes one dataset and no refused rows",
            "name the dataset (dataset=), and leave partial out",
        ));
    }
    let dataset = query.dataset.as_deref().map(|text| name("dataset", text)).transpose()?;
    let plan = Plan {
        format: query.format,
        dataset: dataset.clone(),
        dataset_column: query.dataset_column,
        key_column: query.key_column,
        value_columns: query.value_columns.split(',').map(|column| column.trim().to_owned()).collect(),
        partial: query.partial,
    };
    let file = spool::take(&shared, body).await?;
    let _turn = shared.bulk.lock().await;
    let (replace, partial) = (dataset.clone().filter(|_| query.replace), plan.partial);
    let all = shared.clone();
    let loaded = tokio::task::spawn_blocking(move || plan.load(&all, &file)).await;
    let (mut bulk, mut refusals) =
        loaded.map_err(|_| Failure::bad("the import was ended", "send it again"))??;
    let (time, farm_name) = (shared.time.clone(), farm.name.clone());
    type Done = (Applied, Option<Prospect>, u64, Refusals);
    // In the writer's turn, on the connection that has the rows.
    let done = shared.writer.run(move |store| -> Result<Done, StoreError> {
        let mut twice = |line| {
            refusals.add_twice(line);
            if partial { Ok(()) } else { Err(StoreError::DuplicateKey { number: line }) }
        };
        let applied = bulk.import_loaded(&farm_name, replace.as_ref(), &mut twice)?;
        let scheduled = dataset.map_or(Ok(0), |dataset| bulk.count_scheduled(&farm_name, &dataset))?;
        Ok((applied, Shared::prospect(store, &time, &farm_name).ok(), scheduled, refusals))
    });
    let (applied, prospect, scheduled, refusals) = match done.await? {
        Err(StoreError::DuplicateKey { number }) => {
            let mut refusals = Refusals::default();
            refusals.add_twice(number);
            return Err(refusals.failure("rows"));
        }
        done => done?,
    };
    let mut body = records::told(&farm, applied, prospect);
    body.insert("changed".into(), (applied.written - applied.added).into());
    body.insert("scheduled".into(), scheduled.into());
    body.insert("refused".into(), refusals.count.into());
    body.insert("errors".into(), refusals.json());
    Ok(Json(body.into()))
}

/// `POST …/apply`: a JSON object a line, each an edit; all in one transaction.
pub(super) async fn apply(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    body: Body,
) -> Result<Json<Value>, Failure> {
    let farm = caller.farm(&shared, Role::Operator)?;
    let file = spool::take(&shared, body).await?;
    let now = shared.time.reading().time;
    // All of it is looked at before anything is written, and then read again.
    let checked = tokio::task::spawn_blocking(move || {
        let mut refusals = Refusals::default();
        edits(&file, now).filter_map(Result::err).for_each(|error| refusals.add(error));
        (&file).seek(SeekFrom::Start(0)).map(|_| (file, refusals))
    });
    let checked = checked.await.map_err(std::io::Error::other).flatten();
    let (file, refusals) =
        checked.map_err(|error| Failure::bad(format!("the batch was ended ({error})"), "send it again"))?;
    if refusals.count > 0 {
        return Err(refusals.failure("edits"));
    }
    let (time, name) = (shared.time.clone(), farm.name.clone());
    let done = shared.writer.run(move |store| -> Result<(Applied, Option<Prospect>), Refused> {
        let broken = |error: RowError| StoreError::Io(format!("line {}: {}", error.line, error.error));
        let applied = store.apply_all(&name, edits(&file, now).map(|edit| edit.map_err(broken)))?;
        Ok((applied, Shared::prospect(store, &time, &name).ok()))
    });
    let (applied, prospect) = done.await??;
    Ok(Json(records::told(&farm, applied, prospect).into()))
}

/// The edits of a file, and why a line is none.
fn edits(file: &File, now: ServerTime) -> impl Iterator<Item = Result<Edit, RowError>> {
    Lines::new(file).map(move |(line, text)| {
        let parsed = text.and_then(|text| {
            let parsed = serde_json::from_slice::<Line>(&text).map_err(|error| error.to_string())?;
            parsed.into_edit(now).map_err(|failure| failure.message().to_owned())
        });
        parsed.map_err(|error| RowError { line, error })
    })
}
