//! Where on the host's clock an instant of a timeline lies, from looks at both: an interval, never a
//! guess. A look says that the server's time was `now` somewhere between two host instants.

use super::history::TableSeen;

/// The largest rate error of a timeline, as a part of the distance: 100 ppm.
const RATE_PART: i64 = 10_000;

/// The earliest and latest host instant of a server's instant on a timeline; `None` without a look at
/// that timeline. Looks at a timeline that is not one line contradict each other: then the earliest is
/// after the latest.
pub fn on_host(tables: &[TableSeen], timeline: &str, server: i64) -> Option<(i64, i64)> {
    let looks = tables.iter().filter(|look| look.timeline == timeline);
    let bounds = looks.map(|look| {
        let distance = server - look.now;
        let drift = distance.abs() / RATE_PART + 1;
        (look.host.0 + distance - drift, look.host.1 + distance + drift)
    });
    bounds.reduce(|(earliest, latest), (other, another)| (earliest.max(other), latest.min(another)))
}

/// The generation's earliest T and latest T on the host's clock, over all timelines on which it was
/// staged: a new timeline may only put a T later that had not passed, but agents go by what they knew.
pub fn activations(tables: &[TableSeen], epoch: u64) -> Option<(i64, i64)> {
    let mut seen: Vec<(&str, i64)> = Vec::new();
    for table in tables.iter().filter(|table| table.epoch == epoch) {
        if !seen.contains(&(&table.timeline, table.activation)) {
            seen.push((&table.timeline, table.activation));
        }
    }
    let bounds = seen.iter().filter_map(|(timeline, activation)| on_host(tables, timeline, *activation));
    bounds.reduce(|(earliest, latest), (other, another)| (earliest.min(other), latest.max(another)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(timeline: &str, epoch: u64, activation: i64, now: i64, host: (i64, i64)) -> TableSeen {
        let (timeline, digest) = (timeline.to_owned(), String::new());
        TableSeen { timeline, epoch, digest, activation, now, host }
    }

    #[test]
    fn looks_close_in_on_an_instant() {
        let tables = [
            look("a", 1, 5_000, 1_000, (90, 130)),
            look("a", 1, 5_000, 2_000, (1_110, 1_190)),
            look("b", 1, 9_000, 0, (7_000, 7_001)),
        ];
        assert_eq!(on_host(&tables, "a", 1_000), Some((109, 131)));
        assert_eq!(on_host(&tables, "c", 1_000), None);
        assert_eq!(activations(&tables, 1), Some((4_109, 16_002)));
        assert_eq!(activations(&tables, 2), None);
    }
}
