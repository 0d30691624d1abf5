//! How instants, spans and tables are written for people.

use comfy_table::{Table, presets};
use serde_json::Value;

/// A table with these columns.
pub(crate) fn table(columns: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(columns.to_vec());
    table
}

/// A table without a header: names and values.
pub(crate) fn pairs() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table
}

/// The nanoseconds of an instant as the API writes it.
pub(crate) fn nanos(instant: &Value) -> Option<i64> {
    instant.get("ns").and_then(Value::as_i64)
}

/// An instant in the host's time zone, and how far it is from `now` (both on the farm's timeline).
pub(crate) fn instant(instant: &Value, now: &Value) -> String {
    match (nanos(instant), nanos(now)) {
        (Some(at), Some(now)) => format!("{} ({})", local(at), distance(at - now)),
        (Some(at), None) => local(at),
        _ => "-".to_owned(),
    }
}

/// `14:05:09.250`, with the date where it is another day than today.
pub(crate) fn local(nanos: i64) -> String {
    let Ok(stamp) = jiff::Timestamp::from_nanosecond(i128::from(nanos)) else { return format!("{nanos} ns") };
    let zoned = stamp.to_zoned(jiff::tz::TimeZone::system());
    let today = jiff::Zoned::now().date();
    let form = if zoned.date() == today { "%H:%M:%S%.3f" } else { "%Y-%m-%d %H:%M:%S%.3f" };
    zoned.strftime(form).to_string()
}

/// `in 9.2 s`, or `3 min ago`.
pub(crate) fn distance(nanos: i64) -> String {
    let text = span(nanos.saturating_abs());
    if nanos < 0 { format!("{text} ago") } else { format!("in {text}") }
}

/// A span with three digits or so, in a unit that fits.
pub(crate) fn span(nanos: i64) -> String {
    let value = nanos as f64;
    match nanos.saturating_abs() {
        0 => "0 s".to_owned(),
        1..1_000 => format!("{nanos} ns"),
        1_000..1_000_000 => format!("{:.0} us", value / 1e3),
        1_000_000..100_000_000 => format!("{:.2} ms", value / 1e6),
        100_000_000..120_000_000_000 => format!("{:.2} s", value / 1e9),
        120_000_000_000..7_200_000_000_000 => format!("{:.1} min", value / 6e10),
        7_200_000_000_000..172_800_000_000_000 => format!("{:.1} h", value / 3.6e12),
        _ => format!("{:.1} d", value / 8.64e13),
    }
}

/// Text or a number, without quotes; `-` for nothing.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The first digits of a digest.
pub(crate) fn short(digest: &Value) -> String {
    digest.as_str().map_or("-".to_owned(), |text| text.chars().take(12).collect())
}

/// JSON on one line.
pub(crate) fn json(value: &Value) {
    println!("{value}");
}

/// The nanoseconds of a span as people and the API write it: `90s`, `250ms`, `80us`.
pub(crate) fn parse_span(text: &str) -> Result<i64, String> {
    const UNITS: [(&str, i64); 7] = [
        ("ns", 1),
        ("us", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
        ("h", 3_600_000_000_000),
        ("d", 86_400_000_000_000),
    ];
    let wrong =
        || format!("{text:?} is no span of time; write a whole number and its unit, as in 90s or 250ms");
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '-').ok_or_else(wrong)?;
    let (number, unit) = text.split_at(digits);
    let (_, size) = UNITS.iter().find(|(name, _)| *name == unit.trim()).ok_or_else(wrong)?;
    number.parse::<i64>().ok().and_then(|number| number.checked_mul(*size)).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_written() {
        assert_eq!(parse_span("2s"), Ok(2_000_000_000));
        assert_eq!(parse_span("-7h"), Ok(-25_200_000_000_000));
        for bad in ["", "2", "s", "1.5s", "2 parsecs"] {
            assert!(parse_span(bad).is_err(), "{bad:?}");
        }
        assert_eq!(span(83_000), "83 us");
        assert_eq!(distance(-2_500_000_000), "2.50 s ago");
        assert_eq!(distance(600_000_000_000), "in 10.0 min");
    }
}
