//! S8: a prompt agent serves a generation as current no more than ε before T, and never earlier than
//! the farm's limit; and the one before it no more than 2ε after. ε is the agent's own at the switch, and
//! for what came after T that of the plan which its readers went by; where it died before it told, the
//! limit alone binds.

use super::history::{History, Life, Mode, Switch};
use super::{TWO_READINGS, Verdict};

pub(super) fn check(history: &History) -> Verdict {
    let mut verdict = Verdict::default();
    for (life, span) in history.spans(Some(Mode::Prompt)).filter(|(_, span)| !span.stale) {
        let (who, epoch) = (&life.agent, span.epoch);
        if let Some((earliest, _)) = history.activations(epoch) {
            let told = switch(life, epoch).map_or(i64::MAX, |switch| switch.epsilon);
            let bound = told.min(history.early_limit);
            let by = earliest - span.first;
            verdict.judge(by <= bound + TWO_READINGS, || {
                format!("{who} served epoch {epoch} {by} ns before T, bound {bound}")
            });
        }
        if let Some((_, latest)) = history.activations(epoch + 1)
            && let Some(switch) = switch(life, epoch + 1)
        {
            let bound = switch.went_by.saturating_mul(2);
            let by = span.last - latest;
            verdict.judge(by <= bound.saturating_add(TWO_READINGS), || {
                format!("{who} served epoch {epoch} {by} ns after the next T, bound {bound}")
            });
        }
    }
    verdict
}

fn switch(life: &Life, epoch: u64) -> Option<&Switch> {
    life.switches.iter().find(|switch| switch.epoch == epoch)
}

#[cfg(test)]
mod tests {
    use super::super::sample::*;
    use super::*;

    #[test]
    fn too_early_and_too_late_are_found() {
        let early = spoiled(|history| history.lives[2].readers[0][2].first = t(3) - 2 * MILLI);
        assert!(check(&early).faults[0].contains("before T, bound 1000000"));
        let late = spoiled(|history| history.lives[2].readers[0][2].last = t(4) + 3 * MILLI);
        assert!(check(&late).faults[0].contains("after the next T, bound 2000000"));
        let slow = spoiled(|history| {
            history.lives[2].readers[0][2].last = t(4) + 3 * MILLI;
            let switch = history.lives[2].switches.iter_mut().find(|switch| switch.epoch == 4);
            switch.expect("it told of it").went_by = 2 * MILLI;
        });
        assert_eq!(check(&slow).faults, [""; 0], "its readers went by what was known before");
        let stale = spoiled(|history| {
            history.lives[2].readers[0][2].last = t(4) + 3 * MILLI;
            history.lives[2].readers[0][2].stale = true;
        });
        assert_eq!(check(&stale).faults, [""; 0], "what is marked stale may be late");
    }

    #[test]
    fn without_a_told_switch_the_farm_s_limit_binds() {
        let silent = |first| {
            spoiled(move |history| {
                history.lives[2].switches.clear();
                history.lives[2].readers[0][2].first = first;
            })
        };
        assert_eq!(check(&silent(t(3) - 40 * MILLI)).faults, [""; 0]);
        assert!(check(&silent(t(3) - 60 * MILLI)).faults[0].contains("bound 50000000"));
    }
}
