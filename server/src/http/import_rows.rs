//! The records of a CSV: its columns by name, a record for each row, and for each row that is none why
//! not, with its line. What becomes of them is in `import`.

use super::failure::Failure;
use axum::http::StatusCode;
use csv::{ByteRecord, Reader, ReaderBuilder};
use downbeat_core::content::check_record;
use downbeat_core::ids::Name;
use serde_json::{Map, Value};
use std::collections::HashSet;

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

/// One record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Row {
    pub(super) dataset: Name,
    pub(super) key: Vec<u8>,
    pub(super) value: Vec<u8>,
}

/// A row that is no record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct RowError {
    /// Where it begins, from 1; the header is line 1.
    pub(super) line: u64,
    pub(super) error: String,
}

/// The rows of a CSV that is in memory, so that reading can't fail halfway through.
pub(super) struct Rows<'a> {
    reader: Reader<&'a [u8]>,
    columns: Columns,
    record: ByteRecord,
    /// Digests of datasets and keys that came, to find those that come twice.
    seen: HashSet<[u8; 16]>,
}

impl<'a> Rows<'a> {
    /// Finds the columns in the header.
    pub(super) fn new(csv: &'a [u8], asked: &Asked<'_>) -> Result<Rows<'a>, Failure> {
        // A mark that some programs put in front of UTF-8.
        let csv = csv.strip_prefix(b"\xef\xbb\xbf").unwrap_or(csv);
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
        Ok(Rows { reader, columns, record: ByteRecord::new(), seen: HashSet::new() })
    }

    fn row(&mut self) -> Result<Row, String> {
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
        let mut hasher = blake3::Hasher::new();
        hasher.update(dataset.as_str().as_bytes()).update(&[0]).update(&key);
        let mut short = [0; 16];
        short.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        if !self.seen.insert(short) {
            return Err("its key came before; give each key once".to_owned());
        }
        Ok(Row { dataset, key, value })
    }
}

impl Iterator for Rows<'_> {
    type Item = Result<Row, RowError>;

    fn next(&mut self) -> Option<Result<Row, RowError>> {
        match self.reader.read_byte_record(&mut self.record) {
            Ok(false) => None,
            Ok(true) => {
                let line = self.record.position().map_or(0, csv::Position::line);
                Some(self.row().map_err(|error| RowError { line, error }))
            }
            Err(error) => {
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

fn refused(error: &str, cure: &str) -> Failure {
    Failure::new(StatusCode::UNPROCESSABLE_ENTITY, error, cure)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(csv: &str, values: &[&str]) -> Vec<Result<Row, RowError>> {
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
        let found = rows(&format!("key,value\na,1\nb\n\"c\nc\",2\na,3\n{long},4\nd,5\n"), &["value"]);
        let lines: Vec<_> = found.iter().filter_map(|row| row.as_ref().err()).map(|e| e.line).collect();
        assert_eq!(lines, [3, 6, 7]);
        assert_eq!(found.iter().filter(|row| row.is_ok()).count(), 3);
    }
}
