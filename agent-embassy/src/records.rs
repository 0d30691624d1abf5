//! The records of a generation, read where they lie: by key, one after the other, as text or as
//! numbers. Which generation a read gets is in `reader`.

use core::fmt;
use core::str::FromStr;
use downbeat_core::object::in_place;

/// The records of one generation. A lookup goes over the records before the one it finds: for the
/// hundreds that a device holds, not for thousands.
#[derive(Clone, Copy, Debug)]
pub struct Records<'a> {
    /// An object that was proven, or nothing.
    bytes: &'a [u8],
}

impl<'a> Records<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Records<'a> {
        Records { bytes }
    }

    /// A record's value.
    pub fn get(&self, dataset: &str, key: &[u8]) -> Option<&'a [u8]> {
        // Both orders are ascending: behind the place where it would stand it isn't.
        self.all()
            .take_while(|entry| (entry.dataset, entry.key) <= (dataset, key))
            .find(|entry| (entry.dataset, entry.key) == (dataset, key))
            .map(|entry| entry.value)
    }

    /// Key and value of each record of a dataset, ascending by the bytes of the key.
    pub fn iter<'n>(&self, dataset: &'n str) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a, 'n> {
        self.all().filter(move |entry| entry.dataset == dataset).map(|entry| (entry.key, entry.value))
    }

    /// All records, ascending by dataset and key.
    pub fn all(&self) -> in_place::Records<'a> {
        in_place::records(self.bytes)
    }

    /// A record's value as text.
    ///
    /// # Errors
    /// [`ValueError::Missing`], [`ValueError::Unreadable`] where it isn't UTF-8.
    pub fn text(&self, dataset: &str, key: &[u8]) -> Result<&'a str, ValueError> {
        let value = self.get(dataset, key).ok_or(ValueError::Missing)?;
        core::str::from_utf8(value).map_err(|_| ValueError::Unreadable)
    }

    /// A record's value, which is the decimal text of a number (`u32`, `i64`, `f32`, …) or anything
    /// else that is written as text.
    ///
    /// # Errors
    /// [`ValueError::Missing`], [`ValueError::Unreadable`] where it is no such text.
    pub fn parse<T: FromStr>(&self, dataset: &str, key: &[u8]) -> Result<T, ValueError> {
        self.text(dataset, key)?.parse().map_err(|_| ValueError::Unreadable)
    }
}

/// Why a record gives no value of the kind that was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ValueError {
    /// There is no such record in this generation.
    Missing,
    /// Its value is not of the kind that was asked for.
    Unreadable,
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ValueError::Missing => "there is no such record in this generation",
            ValueError::Unreadable => "the record's value is not of the kind that was asked for",
        })
    }
}
impl core::error::Error for ValueError {}
