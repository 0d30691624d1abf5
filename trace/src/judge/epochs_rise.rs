//! S9: what was read and not marked stale never goes back: for each reader, from one life of an agent
//! to its next, and in strict mode over the whole farm.
//!
//! Two readers of one prompt agent are compared over its lives only: each is right by the plan that it
//! loaded before its look at the clock.

use super::history::{History, Mode, Span};
use super::{TWO_READINGS, Verdict};

pub(super) fn check(history: &History) -> Verdict {
    let mut verdict = Verdict::default();
    for life in &history.lives {
        for reader in &life.readers {
            let seen: Vec<_> = reader.iter().filter(|span| !span.stale).collect();
            for pair in seen.windows(2) {
                let rises = pair[1].epoch >= pair[0].epoch && pair[1].first >= pair[0].last;
                verdict.judge(rises, || {
                    let who = &life.agent;
                    format!("a reader of {who} went from {} to {}", told(pair[0]), told(pair[1]))
                });
            }
        }
    }
    let spans: Vec<_> = history.spans(None).filter(|(_, span)| !span.stale).collect();
    for (life, span) in &spans {
        for (other_life, other) in &spans {
            let strict = life.mode == Mode::Strict && other_life.mode == Mode::Strict;
            let restarted = life.agent == other_life.agent && !std::ptr::eq(*life, *other_life);
            if !(strict || restarted) || other.epoch >= span.epoch {
                continue;
            }
            verdict.judge(other.last <= span.first + TWO_READINGS, || {
                let (first, then) = (&life.agent, &other_life.agent);
                format!("{first} saw {}, and {then} then {}", told(span), told(other))
            });
        }
    }
    verdict
}

fn told(span: &Span) -> String {
    format!("epoch {} ({} to {})", span.epoch, span.first, span.last)
}

#[cfg(test)]
mod tests {
    use super::super::sample::*;
    use super::*;

    #[test]
    fn a_reader_that_goes_back_is_found() {
        let back = spoiled(|history| history.lives[2].readers[0].swap(1, 2));
        assert!(check(&back).faults[0].contains("a reader of three went from epoch 3"));
    }

    #[test]
    fn a_restarted_agent_that_goes_back_is_found_and_a_marked_read_is_none() {
        let spoil = |stale| {
            spoiled(move |history| {
                let mut again = history.lives[2].clone();
                again.readers = vec![vec![span(3, t(4) + 2 * MILLI, t(4) + 3 * MILLI)]];
                again.readers[0][0].stale = stale;
                history.lives.push(again);
            })
        };
        assert!(check(&spoil(false)).faults[0].starts_with("three saw epoch 4"));
        assert_eq!(check(&spoil(true)).faults, [""; 0]);
    }

    #[test]
    fn strict_agents_that_go_back_between_them_are_found() {
        let back = spoiled(|history| {
            history.lives[1].readers[0][2].first = t(4) + 2 * MILLI;
            history.lives[1].readers[0][2].last = t(4) + 3 * MILLI;
            history.lives[1].readers[0].truncate(3);
        });
        assert!(check(&back).faults[0].contains("one saw epoch 4"));
    }
}
