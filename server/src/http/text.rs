//! How instants, spans, bytes and names stand in JSON and in addresses.
//!
//! An instant is `{"ns", "utc"}`: nanoseconds of the farm's timeline, and the same for people. A span is
//! text: a whole number and `ns`, `us`, `ms`, `s`, `m`, `h` or `d`. Bytes are text where they are UTF-8
//! (`"key"`), and hexadecimal under another name where they are not (`"key_hex"`).

use super::failure::Failure;
use downbeat_core::ids::{Digest, Generation, Name};
use downbeat_core::time::{ServerTime, Span};
use serde_json::{Map, Value, json};

const UNITS: [(&str, i64); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

pub(crate) fn instant(time: ServerTime) -> Value {
    json!({ "ns": time.as_nanos(), "utc": utc(time) })
}

pub(crate) fn maybe_instant(time: Option<ServerTime>) -> Value {
    time.map_or(Value::Null, instant)
}

/// `2026-11-22T13:04:05.000000001Z`, in the proleptic Gregorian calendar, without leap seconds.
fn utc(time: ServerTime) -> String {
    let nanos = time.as_nanos();
    let (seconds, rest) = (nanos.div_euclid(1_000_000_000), nanos.rem_euclid(1_000_000_000));
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Years that begin in March, so that the day of a leap year is the last one.
    let shifted = days + 719_468;
    let (era, day) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{rest:09}Z")
}

/// A span in the largest unit that it is a whole number of.
pub(crate) fn span(span: Span) -> Value {
    let nanos = span.as_nanos();
    if nanos == 0 {
        return Value::from("0s");
    }
    let (unit, size) = UNITS.iter().find(|(_, size)| nanos % size == 0).unwrap_or(&("ns", 1));
    Value::from(format!("{}{unit}", nanos / size))
}

/// A span from its text.
pub(crate) fn parse_span(text: &str) -> Option<Span> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '-')?;
    let (number, unit) = text.split_at(digits);
    let (_, size) = UNITS.iter().find(|(name, _)| *name == unit.trim())?;
    number.parse::<i64>().ok()?.checked_mul(*size).map(Span::from_nanos)
}

/// Puts bytes into an object, as text or as hexadecimal under another name.
pub(crate) fn put_bytes(object: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => object.insert(name.to_owned(), text.into()),
        Err(_) => object.insert(format!("{name}_hex"), hex(bytes).into()),
    };
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}

/// Bytes that an object has under `name` (text) or `name_hex`.
pub(crate) fn take_bytes(text: Option<String>, hexadecimal: Option<String>) -> Option<Vec<u8>> {
    match (text, hexadecimal) {
        (Some(text), None) => Some(text.into_bytes()),
        (None, Some(hexadecimal)) => from_hex(&hexadecimal),
        _ => None,
    }
}

/// The bytes of a part of an address: `%2F` is a slash.
pub(crate) fn from_percent(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, tail) = rest.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = tail;
    }
    Some(bytes)
}

pub(crate) fn generation(generation: Generation) -> Value {
    json!({ "epoch": generation.epoch, "digest": digest(generation.digest) })
}

pub(crate) fn maybe_generation(of: Option<Generation>) -> Value {
    of.map_or(Value::Null, generation)
}

pub(crate) fn digest(digest: Digest) -> String {
    digest.to_string()
}

/// A farm's or dataset's name.
pub(crate) fn name(what: &str, text: &str) -> Result<Name, Failure> {
    Name::new(text).map_err(|error| {
        Failure::bad(format!("{text:?} is no name of a {what}: {error}"), "correct the name")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_dates() {
        let at = |secs: i64, nanos| utc(ServerTime::from_nanos(secs * 1_000_000_000 + nanos));
        assert_eq!(at(0, 1), "1970-01-01T00:00:00.000000001Z");
        assert_eq!(at(951_782_399, 0), "2000-02-28T23:59:59.000000000Z");
        assert_eq!(at(951_782_400, 0), "2000-02-29T00:00:00.000000000Z");
        assert_eq!(at(1_795_353_845, 0), "2026-11-22T13:24:05.000000000Z");
        assert_eq!(at(-1, 0), "1969-12-31T23:59:59.000000000Z");
    }

    #[test]
    fn spans_and_bytes_go_both_ways() {
        for text in ["10m", "50ms", "1d", "1500ms", "7ns", "0s", "-3s"] {
            assert_eq!(span(parse_span(text).unwrap()), text);
        }
        for bad in ["", "5", "s", "1.5s", "5 parsecs", "9223372036854775807d"] {
            assert_eq!(parse_span(bad), None, "{bad:?}");
        }
        assert_eq!(from_percent("a%2Fb%00"), Some(b"a/b\0".to_vec()));
        assert_eq!((from_percent("a%2"), from_percent("%zz")), (None, None));
        assert_eq!(from_hex(&hex(&[0, 255, 16])), Some(vec![0, 255, 16]));
        assert_eq!((from_hex("abc"), from_hex("zz"), from_hex("ü")), (None, None, None));
    }
}
