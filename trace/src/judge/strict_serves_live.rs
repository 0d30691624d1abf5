//! S7: no two strict agents served different generations at the same instant, over all lives and
//! timelines; and none served a generation outside the time in which it was live.

use super::history::{History, Mode};
use super::{TWO_READINGS, Verdict};

pub(super) fn check(history: &History) -> Verdict {
    let spans: Vec<_> = history.spans(Some(Mode::Strict)).collect();
    let mut verdict = Verdict::default();
    for (number, (life, span)) in spans.iter().enumerate() {
        let (who, epoch) = (&life.agent, span.epoch);
        verdict.judge(!span.stale, || format!("{who} is strict and served epoch {epoch} marked stale"));
        for (other_life, other) in &spans[number + 1..] {
            let same = (epoch, &span.digest) == (other.epoch, &other.digest);
            if same {
                continue;
            }
            let from = span.first.max(other.first);
            let overlap = span.last.min(other.last) - from;
            verdict.judge(overlap <= TWO_READINGS, || {
                format!(
                    "{who} served epoch {epoch} and {} served epoch {}, both for {overlap} ns from {from} on",
                    other_life.agent, other.epoch
                )
            });
        }
        if let Some((earliest, _)) = history.activations(epoch) {
            verdict.judge(span.first >= earliest - TWO_READINGS, || {
                let by = earliest - span.first;
                format!("{who} served epoch {epoch} {by} ns before its T")
            });
        }
        if let Some((_, latest)) = history.activations(epoch + 1) {
            verdict.judge(span.last <= latest + TWO_READINGS, || {
                let by = span.last - latest;
                format!("{who} served epoch {epoch} {by} ns after the next T")
            });
        }
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::super::sample::*;
    use super::*;

    #[test]
    fn two_generations_at_one_instant_are_found() {
        // The second agent is 3 ms late and still before the end of what the first look proves.
        let overlap = spoiled(|history| history.lives[1].readers[0][1].last = t(3) + 3 * MILLI);
        assert!(check(&overlap).faults[0].contains("served epoch 3"));
        // Within one agent's two readers as well.
        let inside = spoiled(|history| {
            let late = span(2, t(3) + 4 * MILLI, t(3) + 5 * MILLI);
            history.lives[0].readers.push(vec![late]);
        });
        assert!(!check(&inside).faults.is_empty());
    }

    #[test]
    fn what_is_served_before_its_t_after_the_next_or_stale_is_found() {
        let early = spoiled(|history| {
            history.lives[0].readers[0][3].first = t(4) - MILLI / 2;
        });
        assert!(check(&early).faults[0].contains("before its T"));
        let late = spoiled(|history| {
            history.tables.truncate(4);
            history.lives.truncate(1);
            history.lives[0].readers[0].truncate(3);
            history.lives[0].readers[0][2].last = t(4) + MILLI;
        });
        assert!(check(&late).faults[0].contains("after the next T"));
        let stale = spoiled(|history| history.lives[1].readers[0][0].stale = true);
        assert!(check(&stale).faults[0].contains("marked stale"));
    }
}
