//! The records of an edit, made so that any mixture of two edits is seen: five records that name
//! their edit, a checksum over them, and one record of the edit's own that stays for ever.

use crate::history::Content;

/// The dataset of the records that every edit replaces.
pub const PAGE: &str = "page";
/// The dataset with a record for each edit.
pub const LEDGER: &str = "ledger";
/// The key of the checksum, in [`PAGE`].
pub const CHECKSUM: &str = "checksum";
const ROWS: u64 = 5;

/// All records of edit number `edit`: dataset, key and value.
pub fn records(edit: u64) -> Vec<(&'static str, String, String)> {
    let mut records: Vec<_> =
        (0..ROWS).map(|row| (PAGE, format!("row-{row}"), format!("{edit}:{}", filling(edit, row)))).collect();
    let sum = checksum(records.iter().map(|(_, key, value)| (key.as_bytes(), value.as_bytes())));
    records.push((PAGE, CHECKSUM.into(), sum));
    records.push((LEDGER, ledger_key(edit), edit.to_string()));
    records
}

/// The key of an edit's own record, in [`LEDGER`].
pub fn ledger_key(edit: u64) -> String {
    format!("{edit:08}")
}

/// Of a different length each time, so that records move within an object.
fn filling(edit: u64, row: u64) -> String {
    "x".repeat(((edit * 7 + row * 3) % 40) as usize)
}

/// FNV-1a over all keys and values, each followed by a zero byte.
fn checksum<'a>(records: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> String {
    let mut sum = 0xcbf2_9ce4_8422_2325_u64;
    let mut take = |byte: u8| sum = (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    for (key, value) in records {
        key.iter().chain(&[0]).chain(value).chain(&[0]).for_each(|byte| take(*byte));
    }
    format!("{sum:016x}")
}

/// What a page's records (ascending by key) and `has_ledger`, which tells whether an edit's own record
/// is there, amount to.
pub fn judge<'a>(
    page: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    has_ledger: impl Fn(u64) -> bool,
) -> Content {
    let page: Vec<_> = page.collect();
    if page.is_empty() {
        return Content::Empty;
    }
    let (sums, rows): (Vec<_>, Vec<_>) = page.into_iter().partition(|(key, _)| *key == CHECKSUM.as_bytes());
    let edits: Vec<_> = rows.iter().filter_map(|(_, value)| edit_of(value)).collect();
    let edit = edits.first().copied();
    let whole = rows.len() as u64 == ROWS
        && edits.len() == rows.len()
        && edits.iter().all(|other| Some(*other) == edit)
        && sums.len() == 1
        && sums[0].1 == checksum(rows.into_iter()).as_bytes();
    match edit {
        Some(edit) if whole && has_ledger(edit) => Content::Edit(edit),
        _ => Content::Torn,
    }
}

fn edit_of(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.split_once(':')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(mut records: Vec<(&'static str, String, String)>) -> Content {
        records.sort();
        let ledger: Vec<_> = records.iter().filter(|(set, ..)| *set == LEDGER).cloned().collect();
        let page = records.iter().filter(|(set, ..)| *set == PAGE);
        judge(page.map(|(_, key, value)| (key.as_bytes(), value.as_bytes())), |edit| {
            ledger.iter().any(|(_, key, _)| *key == ledger_key(edit))
        })
    }

    #[test]
    fn a_whole_edit_is_one_and_every_mixture_is_torn() {
        assert_eq!(judged(records(7)), Content::Edit(7));
        assert_eq!(judged(Vec::new()), Content::Empty);
        for at in 0..records(7).len() {
            let mut mixed = records(7);
            mixed[at] = records(8)[at].clone();
            assert_eq!(judged(mixed), Content::Torn, "record {at} of another edit");
            let mut less = records(7);
            less.remove(at);
            assert_eq!(judged(less), Content::Torn, "record {at} missing");
            let mut damaged = records(7);
            damaged[at].2.push('y');
            let ledgers_value_does_not_count = damaged[at].0 == LEDGER;
            assert_eq!(
                judged(damaged) == Content::Torn,
                !ledgers_value_does_not_count,
                "record {at} damaged"
            );
        }
    }
}
