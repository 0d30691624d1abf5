//! S10: the first read of a life that is not marked stale is of the generation that is live then, by
//! the table and by what strict agents served at that instant.

use super::history::{History, Mode};
use super::{TWO_READINGS, Verdict};

pub(super) fn check(history: &History) -> Verdict {
    let mut verdict = Verdict::default();
    for life in &history.lives {
        let spans = life.readers.iter().flatten().filter(|span| !span.stale);
        let Some(first) = spans.min_by_key(|span| span.first) else { continue };
        let (who, epoch, at) = (&life.agent, first.epoch, first.first);
        if let Some((earliest, _)) = history.activations(epoch) {
            verdict.judge(at >= earliest - TWO_READINGS, || {
                format!("{who} began with epoch {epoch}, {} ns before its T", earliest - at)
            });
        }
        if let Some((_, latest)) = history.activations(epoch + 1) {
            verdict.judge(at <= latest + TWO_READINGS, || {
                format!("{who} began with epoch {epoch}, {} ns after the next T", at - latest)
            });
        }
        for (other, span) in history.spans(Some(Mode::Strict)) {
            let at_once = span.first + TWO_READINGS < at && at + TWO_READINGS < span.last;
            if !at_once {
                continue;
            }
            verdict.judge((span.epoch, &span.digest) == (epoch, &first.digest), || {
                let (other, served) = (&other.agent, span.epoch);
                format!("{who} began with epoch {epoch} at {at} while {other} served epoch {served}")
            });
        }
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::super::sample::*;
    use super::*;

    fn joining_with(epoch: u64) -> History {
        spoiled(|history| {
            history.lives[4].mode = Mode::Prompt;
            history.lives[4].readers[0] = vec![span(epoch, t(3) + 500 * MILLI, t(3) + 600 * MILLI)];
        })
    }

    #[test]
    fn a_joiner_with_an_older_or_a_newer_generation_is_found_both_ways() {
        for (epoch, by_table) in [(2, "after the next T"), (4, "before its T")] {
            let faults = check(&joining_with(epoch)).faults;
            assert!(faults[0].contains(by_table), "{faults:?}");
            assert!(faults[1].contains("while one served epoch 3"), "{faults:?}");
        }
        assert_eq!(check(&joining_with(3)).faults, [""; 0]);
    }

    #[test]
    fn a_first_read_that_is_marked_is_no_join() {
        let mut history = joining_with(2);
        history.lives[4].readers[0][0].stale = true;
        assert_eq!(check(&history).faults, [""; 0]);
    }
}
