//! The records of a CSV or of JSON lines: a record for each row, and for each row that is none why not,
//! with its line. What becomes of them is in `import`.

use super::failure::Failure;
use super::lines::Lines;
use super::text::take_bytes;
use crate::store::Incoming;
use axum::http::StatusCode;
use csv::{ByteRecord, Reader, ReaderBuilder};
use downbeat_core::content::check_record;
use downbeat_core::ids::Name;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::io::{BufRead, BufReader, Read};

/// Which columns are what.
#[derive(Clone, Debug)]
pub(super) struct Columns {
    /// The dataset of all rows, or the column that names it.
    dataset: Result<Name, usize>,
    key: usize,
    /// Column and name of each value.
    values: Vec<(usize, String)>,
}

/// What is asked for, by name.
pub(super) struct Asked<'a> {
    pub(super) dataset: Option<&'a Name>,
    pub(super) dataset_column: &'a str,
    pub(super) key_column: &'a str,
    pub(super) value_columns: &'a [String],
}

/// A row that is no record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct RowError {
    /// Where it begins, from 1; the header is line 1.
    pub(super) line: u64,
    pub(super) error: String,
}

/// The rows of a CSV.
pub(super) struct Rows<R> {
    reader: Reader<R>,
    columns: Columns,
    record: ByteRecord,
    /// The file can't be read on.
    ended: bool,
}

impl<R: Read> Rows<BufReader<R>> {
    /// Finds the columns in the header.
    pub(super) fn new(csv: R, asked: &Asked<'_>) -> Result<Rows<BufReader<R>>, Failure> {
        let mut csv = BufReader::new(csv);
        // A mark that some programs put in front of UTF-8.
        if csv.fill_buf().is_ok_and(|start| start.starts_with(b"\xef\xbb\xbf")) {
            csv.consume(3);
        }
        let mut reader = ReaderBuilder::new().has_headers(true).flexible(false).from_reader(csv);
        let header =
            reader.byte_headers().map_err(|error| refused(&error.to_string(), "correct the header"))?;
        let names: Vec<String> =
            header.iter().map(|name| String::from_utf8_lossy(name).trim().to_owned()).collect();
        let find = |wanted: &str| {
            names.iter().position(|name| name == wanted).ok_or_else(|| {
                refused(
                    &format!("the CSV has no column {wanted:?}"),
                    &format!("its columns are {}; name the one that is meant, or add it", names.join(", ")),
                )
            })
        };
        let dataset = match asked.dataset {
            Some(dataset) => Ok(dataset.clone()),
            None => Err(find(asked.dataset_column)?),
        };
        let key = find(asked.key_column)?;
        let value = |name: &String| Ok::<_, Failure>((find(name)?, name.clone()));
        let values = asked.value_columns.iter().map(value).collect::<Result<_, _>>()?;
        let columns = Columns { dataset, key, values };
        Ok(Rows { reader, columns, record: ByteRecord::new(), ended: false })
    }

    fn row(&self, line: u64) -> Result<Incoming, String> {
        let field = |column: usize| self.record.get(column).unwrap_or_default();
        let dataset = match &self.columns.dataset {
            Ok(dataset) => dataset.clone(),
            Err(column) => {
                let text = String::from_utf8_lossy(field(*column));
                Name::new(&text).map_err(|error| format!("{text:?} is no name of a dataset: {error}"))?
            }
        };
        let key = field(self.columns.key).to_vec();
        let value = match self.columns.values.as_slice() {
            [(column, _)] => field(*column).to_vec(),
            several => {
                let mut object = Map::new();
                for (column, name) in several {
                    let text = std::str::from_utf8(field(*column))
                        .map_err(|_| format!("column {name:?} is not UTF-8; convert the CSV"))?;
                    object.insert(name.clone(), text.into());
                }
                Value::Object(object).to_string().into_bytes()
            }
        };
        check_record(&key, &value).map_err(|error| error.to_string())?;
        Ok(Incoming { line, dataset, key, value })
    }
}

impl<R: Read> Iterator for Rows<BufReader<R>> {
    type Item = Result<Incoming, RowError>;

    fn next(&mut self) -> Option<Result<Incoming, RowError>> {
        if self.ended {
            return None;
        }
        match self.reader.read_byte_record(&mut self.record) {
            Ok(false) => None,
            Ok(true) => {
                let line = self.record.position().map_or(0, csv::Position::line);
                Some(self.row(line).map_err(|error| RowError { line, error }))
            }
            Err(error) => {
                self.ended = error.is_io_error();
                let line = error.position().map_or(0, csv::Position::line);
                let error = match error.kind() {
                    csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                        format!("it has {len} fields and the header has {expected_len}; correct the row")
                    }
                    _ => error.to_string(),
                };
                Some(Err(RowError { line, error }))
            }
        }
    }
}

/// A record as JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    dataset: Option<String>,
    key: Option<String>,
    key_hex: Option<String>,
    value: Option<String>,
    value_hex: Option<String>,
}

/// The records of JSON lines. `dataset` is that of those that name none.
pub(super) fn json_rows<R: Read>(
    file: R,
    dataset: Option<Name>,
) -> impl Iterator<Item = Result<Incoming, RowError>> {
    Lines::new(file).map(move |(line, text)| {
        let parsed = text.and_then(|text| {
            let given: Given = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
            let dataset = match (&given.dataset, &dataset) {
                (Some(text), _) => {
                    Name::new(text).map_err(|e| format!("{text:?} is no name of a dataset: {e}"))?
                }
                (None, Some(dataset)) => dataset.clone(),
                (None, None) => return Err("it names no dataset; name it there, or one for all".to_owned()),
            };
            let wants = |what: &str| format!("it has no {what}, or two; give \"{what}\" or \"{what}_hex\"");
            let key = take_bytes(given.key, given.key_hex).ok_or_else(|| wants("key"))?;
            let value = take_bytes(given.value, given.value_hex).ok_or_else(|| wants("value"))?;
            check_record(&key, &value).map_err(|error| error.to_string())?;
            Ok(Incoming { line, dataset, key, value })
        });
        parsed.map_err(|error| RowError { line, error })
    })
}

fn refused(error: &str, cure: &str) -> Failure {
    Failure::new(StatusCode::UNPROCESSABLE_ENTITY, error, cure)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(csv: &str, values: &[&str]) -> Vec<Result<Incoming, RowError>> {
        let values: Vec<_> = values.iter().map(|name| (*name).to_owned()).collect();
        let dataset = Name::new("d").unwrap();
        let asked = Asked {
            dataset: Some(&dataset),
            dataset_column: "dataset",
            key_column: "key",
            value_columns: &values,
        };
        Rows::new(csv.as_bytes(), &asked).unwrap().collect()
    }

    #[test]
    fn rows_have_one_value_or_an_object_of_several() {
        let one = rows("\u{feff}key,value,x\r\na,\"1,5\",z\r\n", &["value"]);
        assert_eq!(one[0].as_ref().unwrap().value, b"1,5");
        let two = rows("key,b,a\nk,2,1\n", &["a", "b"]);
        assert_eq!(two[0].as_ref().unwrap().value, br#"{"a":"1","b":"2"}"#);
    }

    #[test]
    fn what_is_no_record_is_told_with_its_line() {
        let long = "x".repeat(513);
        let found = rows(&format!("key,value\na,1\nb\n\"c\nc\",2\n{long},4\nd,5\n"), &["value"]);
        let lines: Vec<_> = found.iter().filter_map(|row| row.as_ref().err()).map(|e| e.line).collect();
        assert_eq!(lines, [3, 6]);
        assert_eq!(found.iter().filter(|row| row.is_ok()).count(), 3);
    }

    #[test]
    fn json_lines_name_their_dataset_or_take_the_one_for_all() {
        let text = "{\"key\":\"a\",\"value\":\"1\"}\n\n{\"dataset\":\"e\",\"key_hex\":\"ff\",\"value\":\"\"}\n{\"key\":\"b\"}\nx\n";
        let dataset = Name::new("d").unwrap();
        let found: Vec<_> = json_rows(text.as_bytes(), Some(dataset)).collect();
        let good: Vec<_> = found.iter().flatten().map(|row| (row.line, row.dataset.as_str())).collect();
        assert_eq!(good, [(1, "d"), (3, "e")]);
        let lines: Vec<_> = found.iter().filter_map(|row| row.as_ref().err()).map(|e| e.line).collect();
        assert_eq!(lines, [4, 5]);
        assert!(json_rows(text.as_bytes(), None).next().unwrap().is_err());
    }
}
