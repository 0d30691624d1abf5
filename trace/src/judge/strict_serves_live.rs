//! S7: no two strict agents served different generations at the same instant, over all lives and
//! timelines; and none served a generation outside the time in which it was live.

use super::TWO_READINGS;
use super::history::{History, Mode};

pub(super) fn check(history: &History) -> Vec<String> {
    let spans: Vec<_> = history.spans(Some(Mode::Strict)).collect();
    let mut faults = Vec::new();
    for (number, (life, span)) in spans.iter().enumerate() {
        if span.stale {
            faults.push(format!("{} is strict and served epoch {} marked stale", life.agent, span.epoch));
        }
        for (other_life, other) in &spans[number + 1..] {
            let same = (span.epoch, &span.digest) == (other.epoch, &other.digest);
            let overlap = span.last.min(other.last) - span.first.max(other.first);
            if !same && overlap > TWO_READINGS {
                faults.push(format!(
                    "{} served epoch {} and {} served epoch {}, both for {overlap} ns from {} on",
                    life.agent,
                    span.epoch,
                    other_life.agent,
                    other.epoch,
                    span.first.max(other.first)
                ));
            }
        }
        if let Some((earliest, _)) = history.activations(span.epoch)
            && span.first < earliest - TWO_READINGS
        {
            let by = earliest - span.first;
            faults.push(format!("{} served epoch {} {by} ns before its T", life.agent, span.epoch));
        }
        if let Some((_, latest)) = history.activations(span.epoch + 1)
            && span.last > latest + TWO_READINGS
        {
            let by = span.last - latest;
            faults.push(format!("{} served epoch {} {by} ns after the next T", life.agent, span.epoch));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::super::sample::*;
    use super::*;

    #[test]
    fn two_generations_at_one_instant_are_found() {
        // The second agent is 3 ms late and still before the end of what the first look proves.
        let overlap = spoiled(|history| history.lives[1].readers[0][1].last = t(3) + 3 * MILLI);
        assert!(check(&overlap)[0].contains("served epoch 3"));
        // Within one agent's two readers as well.
        let inside = spoiled(|history| {
            let late = span(2, t(3) + 4 * MILLI, t(3) + 5 * MILLI);
            history.lives[0].readers.push(vec![late]);
        });
        assert!(!check(&inside).is_empty());
    }

    #[test]
    fn what_is_served_before_its_t_after_the_next_or_stale_is_found() {
        let early = spoiled(|history| {
            history.lives[0].readers[0][3].first = t(4) - MILLI / 2;
        });
        assert!(check(&early)[0].contains("before its T"));
        let late = spoiled(|history| {
            history.tables.truncate(4);
            history.lives.truncate(1);
            history.lives[0].readers[0].truncate(3);
            history.lives[0].readers[0][2].last = t(4) + MILLI;
        });
        assert!(check(&late)[0].contains("after the next T"));
        let stale = spoiled(|history| history.lives[1].readers[0][0].stale = true);
        assert!(check(&stale)[0].contains("marked stale"));
    }
}
