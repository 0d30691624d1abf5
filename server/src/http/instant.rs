//! Instants as people and programs give them: nanoseconds of the farm's timeline, a date and time in
//! UTC, or a span from now.

use super::failure::Failure;
use super::text::parse_span;
use downbeat_core::time::ServerTime;
use serde_json::Value;

/// An instant: a whole number of nanoseconds since 1970, `2026-11-22T13:00:00Z` (with a fraction, if
/// need be), or `+10m` from `now`.
pub(crate) fn parse(what: &str, value: &Value, now: ServerTime) -> Result<ServerTime, Failure> {
    let found = match value {
        Value::Number(number) => number.as_i64().map(ServerTime::from_nanos),
        Value::String(text) => from_text(text, now),
        Value::Object(object) => object.get("ns").and_then(Value::as_i64).map(ServerTime::from_nanos),
        _ => None,
    };
    found.ok_or_else(|| {
        Failure::bad(
            format!("{what} is no instant: {value}"),
            "write it as 2026-11-22T13:00:00Z, as +10m from now, or as nanoseconds since 1970",
        )
    })
}

fn from_text(text: &str, now: ServerTime) -> Option<ServerTime> {
    if let Some(ahead) = text.strip_prefix('+') {
        return parse_span(ahead).map(|span| now + span);
    }
    if let Ok(nanos) = text.parse() {
        return Some(ServerTime::from_nanos(nanos));
    }
    let (date, time) = text.strip_suffix(['Z', 'z'])?.split_once(['T', 't', ' '])?;
    let (time, fraction) = time.split_once('.').unwrap_or((time, ""));
    let [year, month, day] = numbers(date, '-')?;
    let [hour, minute, second] = numbers(time, ':')?;
    let valid = (1..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=length_of(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !valid || fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let nanos: i64 = format!("{fraction:0<9}").parse().ok()?;
    let seconds = days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    seconds.checked_mul(1_000_000_000)?.checked_add(nanos).map(ServerTime::from_nanos)
}

fn numbers(text: &str, separator: char) -> Option<[i64; 3]> {
    let digits = |part: &str| {
        let plain = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        plain.then(|| part.parse().ok()).flatten()
    };
    let parts: Vec<i64> = text.split(separator).map(digits).collect::<Option<_>>()?;
    parts.try_into().ok()
}

fn length_of(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days since 1970-01-01, counted in years that begin in March.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let from_march = (month + 9) % 12;
    let day_of_year = (153 * from_march + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::text::instant;
    use serde_json::json;

    #[test]
    fn every_form_is_understood_and_comes_back() {
        let now = ServerTime::from_nanos(5);
        for (given, nanos) in [
            (json!(7), 7),
            (json!("7"), 7),
            (json!({ "ns": 7 }), 7),
            (json!("+1s"), 1_000_000_005),
            (json!("1970-01-02T00:00:00Z"), 86_400_000_000_000),
            (json!("2026-11-22T13:24:05.5Z"), 1_795_353_845_500_000_000),
        ] {
            let time = parse("x", &given, now).unwrap();
            assert_eq!(time.as_nanos(), nanos, "{given}");
            assert_eq!(parse("x", &instant(time)["utc"], now).unwrap(), time);
        }
    }

    #[test]
    fn what_is_no_instant_is_refused() {
        for bad in ["", "now", "+", "2026-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "2026-01-01T24:00:00Z"] {
            assert!(parse("x", &json!(bad), ServerTime::from_nanos(0)).is_err(), "{bad:?}");
        }
        for bad in [json!(null), json!(1.5), json!([1]), json!("9999-12-31T00:00:00Z")] {
            assert!(parse("x", &bad, ServerTime::from_nanos(0)).is_err(), "{bad}");
        }
    }
}
