//! Many records at once: a CSV, or a batch of edits as JSON lines. One transaction; nothing is changed
//! unless all of it is good, or `partial` was asked for.

use super::edit_lines::Line;
use super::failure::Failure;
use super::import_rows::{Asked, RowError, Rows};
use super::text::name;
use super::{Caller, query, records, whole};
use crate::access::Role;
use crate::shared::Shared;
use crate::store::{Applied, Edit, Rest, SqliteStore, Store, StoreError};
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{StatusCode, Uri};
use downbeat_core::ids::Name;
use downbeat_core::time::ServerTime;
use serde::Deserialize;
use serde_json::{Value, json};
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

/// What to read of a CSV, once the query was looked at.
struct Plan {
    csv: Bytes,
    dataset: Option<Name>,
    dataset_column: String,
    key_column: String,
    value_columns: Vec<String>,
}

impl Plan {
    fn rows(&self) -> Result<Rows<'_>, Failure> {
        Rows::new(
            &self.csv,
            &Asked {
                dataset: self.dataset.as_ref(),
                dataset_column: &self.dataset_column,
                key_column: &self.key_column,
                value_columns: &self.value_columns,
            },
        )
    }

    /// Rows that are no records: the first of them, and how many.
    fn check(&self) -> Result<Refusals, Failure> {
        let mut refusals = Refusals::default();
        self.rows()?.filter_map(Result::err).for_each(|error| refusals.add(error));
        Ok(refusals)
    }

    fn write(&self, store: &mut SqliteStore, farm: &Name, rest: Rest) -> Result<Applied, StoreError> {
        // The columns were found when the rows were checked.
        let rows = self.rows().map_err(|_| StoreError::Inconsistent("a CSV lost its columns"))?;
        let good = rows.filter_map(Result::ok);
        match &self.dataset {
            Some(dataset) => store.import(farm, dataset, good.map(|row| (row.key, row.value)), rest),
            None => {
                let edits: Vec<_> = good
                    .map(|row| Edit::Put { dataset: row.dataset, key: row.key, value: row.value })
                    .collect();
                store.apply(farm, &edits)
            }
        }
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

    fn json(&self) -> Value {
        self.told.iter().map(|error| json!({ "line": error.line, "error": error.error })).collect()
    }

    /// Nothing is changed because of them.
    fn failure(&self, of: &str) -> Failure {
        let first = self.told.first().map_or_else(String::new, |e| format!("; line {}: {}", e.line, e.error));
        Failure::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            format!("{} of the {of} are refused, nothing was changed{first}", self.count),
            "correct them and send it again; an import can take the others alone with partial=true",
        )
        .with("errors", self.json())
    }
}

/// `POST …/import?dataset=&dataset_column=&key_column=&value_columns=&partial=&replace=`, a CSV.
pub(super) async fn import(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    uri: Uri,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Failure> {
    let farm = caller.farm(&shared, Role::Operator)?;
    let query: ImportQuery = query(&uri)?;
    if query.replace && (query.dataset.is_none() || query.partial) {
        return Err(Failure::bad(
            "replace deletes what the CSV doesn't name, so it takes one dataset and no refused rows",
            "name the dataset (dataset=), and leave partial out",
        ));
    }
    let plan = Arc::new(Plan {
        csv: whole(body)?,
        dataset: query.dataset.as_deref().map(|text| name("dataset", text)).transpose()?,
        dataset_column: query.dataset_column,
        key_column: query.key_column,
        value_columns: query.value_columns.split(',').map(|column| column.trim().to_owned()).collect(),
    });
    let checked = plan.clone();
    let refusals = tokio::task::spawn_blocking(move || checked.check())
        .await
        .map_err(|_| Failure::bad("the import was ended", "send it again"))??;
    if refusals.count > 0 && !query.partial {
        return Err(refusals.failure("rows"));
    }
    let rest = if query.replace { Rest::Delete } else { Rest::Keep };
    let farm_name = farm.name.clone();
    let mut body = records::write(&shared, &farm, move |store| plan.write(store, &farm_name, rest)).await?;
    body.insert("refused".into(), refusals.count.into());
    body.insert("errors".into(), refusals.json());
    Ok(Json(body.into()))
}

/// `POST …/apply`: a JSON object a line, each an edit; all in one transaction.
pub(super) async fn apply(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Failure> {
    let farm = caller.farm(&shared, Role::Operator)?;
    let body = whole(body)?;
    let now = shared.time.reading().time;
    let parsed = tokio::task::spawn_blocking(move || parse(&body, now));
    let (edits, refusals) = parsed.await.map_err(|_| Failure::bad("the batch was ended", "send it again"))?;
    if refusals.count > 0 {
        return Err(refusals.failure("edits"));
    }
    records::edit(&shared, &farm, edits).await
}

fn parse(body: &[u8], now: ServerTime) -> (Vec<Edit>, Refusals) {
    let (mut edits, mut refusals) = (Vec::new(), Refusals::default());
    for (line, text) in (1..).zip(body.split(|byte| *byte == b'\n')) {
        if text.trim_ascii().is_empty() {
            continue;
        }
        let parsed = serde_json::from_slice::<Line>(text).map_err(|error| error.to_string());
        match parsed.and_then(|line| line.into_edit(now).map_err(|failure| failure.message().to_owned())) {
            Ok(edit) => edits.push(edit),
            Err(error) => refusals.add(RowError { line, error }),
        }
    }
    (edits, refusals)
}
