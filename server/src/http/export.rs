//! Production, or a generation, as a CSV or JSON lines that an import takes. It is read as of one
//! snapshot into a file, and answered from there, so that a slow reader holds up nothing.

use super::failure::Failure;
use super::guards::digest_of;
use super::text::{name, put_bytes};
use super::{Caller, query, spool};
use crate::access::Role;
use crate::shared::Shared;
use crate::store::{Gatekeeping, SqliteStore, Store, StoreError};
use axum::extract::State;
use axum::http::{Uri, header};
use axum::response::{IntoResponse, Response};
use downbeat_core::ids::{Digest, Epoch, Name};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::sync::Arc;

/// How records are written in files.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Format {
    /// A header, then a row for each record; bytes as they are.
    #[default]
    Csv,
    /// A JSON object a line.
    Jsonl,
}

/// What is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Source {
    Production,
    Generation(Epoch),
    Candidate(Digest),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExportQuery {
    /// Only this one; its name is then in no row.
    dataset: Option<String>,
    /// A generation that is kept, in place of production.
    epoch: Option<Epoch>,
    /// The frozen candidate with this digest, in place of production.
    candidate: Option<String>,
    #[serde(default)]
    format: Format,
}

/// `GET …/export?dataset=&epoch=&candidate=&format=`: unscheduled records of production, or those of a
/// generation or of the frozen candidate.
pub(super) async fn export(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    uri: Uri,
) -> Result<Response, Failure> {
    let farm = caller.farm(&shared, Role::Viewer)?.name.clone();
    let asked: ExportQuery = query(&uri)?;
    let candidate = asked.candidate.as_deref().map(digest_of).transpose()?;
    let source = match (asked.epoch, candidate) {
        (None, None) => Source::Production,
        (Some(epoch), None) => Source::Generation(epoch),
        (None, Some(candidate)) => Source::Candidate(candidate),
        (Some(_), Some(_)) => {
            return Err(Failure::bad("a generation is no candidate", "name an epoch or a candidate"));
        }
    };
    let dataset = asked.dataset.as_deref().map(|text| name("dataset", text)).transpose()?;
    let written = tokio::task::spawn_blocking(move || -> Result<(File, u64), StoreError> {
        let mut store = SqliteStore::open(&shared.database)?;
        let file = spool::file(&shared).map_err(StoreError::Sink)?;
        write(&mut store, &farm, dataset.as_ref(), source, asked.format, file)
    });
    let written = written.await.map_err(|_| Failure::bad("the export was ended", "ask again"))?;
    let (file, len) = written?;
    let kind = match asked.format {
        Format::Csv => "text/csv",
        Format::Jsonl => "application/x-ndjson",
    };
    let headers = [(header::CONTENT_TYPE, kind.to_owned()), (header::CONTENT_LENGTH, len.to_string())];
    Ok((headers, spool::body_of(tokio::fs::File::from_std(file))).into_response())
}

/// Writes the records into a file; its place is its start again, and its length.
fn write(
    store: &mut SqliteStore,
    farm: &Name,
    only: Option<&Name>,
    source: Source,
    format: Format,
    file: File,
) -> Result<(File, u64), StoreError> {
    let mut out = Out::new(format, only.is_none(), BufWriter::new(file)).map_err(StoreError::Sink)?;
    let mut visit =
        |dataset: &Name, key: &[u8], value: &[u8]| out.record(dataset, key, value).map_err(StoreError::Sink);
    let datasets = only.map_or(&[] as &[Name], std::slice::from_ref);
    match source {
        Source::Production => store.visit(farm, only, &mut visit)?,
        Source::Generation(epoch) => store.records_at(farm, epoch, datasets, &mut visit)?,
        Source::Candidate(digest) => store.candidate_records(farm, digest, datasets, &mut visit)?,
    }
    out.finish().map_err(StoreError::Sink)
}

/// The file that is written.
enum Out {
    Csv { writer: Box<csv::Writer<BufWriter<File>>>, names_datasets: bool },
    Jsonl(BufWriter<File>),
}

impl Out {
    fn new(format: Format, names_datasets: bool, file: BufWriter<File>) -> std::io::Result<Out> {
        if format == Format::Jsonl {
            return Ok(Out::Jsonl(file));
        }
        let mut writer = Box::new(csv::Writer::from_writer(file));
        let header: &[&str] = if names_datasets { &["dataset", "key", "value"] } else { &["key", "value"] };
        writer.write_record(header)?;
        Ok(Out::Csv { writer, names_datasets })
    }

    fn record(&mut self, dataset: &Name, key: &[u8], value: &[u8]) -> std::io::Result<()> {
        match self {
            Out::Csv { writer, names_datasets: true } => {
                writer.write_record([dataset.as_str().as_bytes(), key, value])?;
            }
            Out::Csv { writer, names_datasets: false } => writer.write_record([key, value])?,
            Out::Jsonl(file) => {
                let mut object = Map::new();
                object.insert("dataset".into(), dataset.as_str().into());
                put_bytes(&mut object, "key", key);
                put_bytes(&mut object, "value", value);
                writeln!(file, "{}", Value::Object(object))?;
            }
        }
        Ok(())
    }

    fn finish(self) -> std::io::Result<(File, u64)> {
        let file = match self {
            Out::Csv { writer, .. } => writer.into_inner().map_err(|error| error.into_error())?,
            Out::Jsonl(file) => file,
        };
        let mut file = file.into_inner().map_err(|error| error.into_error())?;
        let len = file.stream_position()?;
        file.seek(SeekFrom::Start(0))?;
        Ok((file, len))
    }
}
