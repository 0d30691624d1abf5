//! S1, as far as it is seen from outside: within a timeline each epoch has one activation and one
//! digest, both rise together, and no number is left out or staged twice.

use super::Verdict;
use super::history::History;
use std::collections::BTreeMap;

pub(super) fn check(history: &History) -> Verdict {
    let mut verdict = Verdict::default();
    let mut fixed = BTreeMap::new();
    for look in &history.tables {
        let now = (look.activation, &look.digest);
        let before = *fixed.entry((&look.timeline, look.epoch)).or_insert(now);
        verdict
            .judge(before == now, || format!("epoch {} was staged as {before:?} and as {now:?}", look.epoch));
    }
    for pair in history.tables.windows(2) {
        let [before, after] = pair else { continue };
        verdict.judge(after.epoch >= before.epoch, || {
            format!("the table went back from epoch {} to {}", before.epoch, after.epoch)
        });
        let same_line = before.timeline == after.timeline;
        if same_line && after.epoch > before.epoch {
            verdict.judge(after.activation > before.activation, || {
                format!("T of {} is not after T of {}", after.epoch, before.epoch)
            });
        }
        let known = |timeline: &String| {
            history
                .tables
                .iter()
                .take_while(|look| !std::ptr::eq(*look, after))
                .any(|look| look.timeline == *timeline)
        };
        verdict.judge(same_line || !known(&after.timeline), || {
            format!("the timeline {} came back", after.timeline)
        });
    }
    for pair in history.kept.windows(2) {
        let [before, after] = pair else { continue };
        verdict.judge(after.epoch == before.epoch + 1, || {
            format!("epoch {} follows epoch {}", after.epoch, before.epoch)
        });
    }
    let forgotten = history.kept.is_empty() && history.live.is_empty() && !history.tables.is_empty();
    verdict.judge(!forgotten, || "the server kept no generation".into());
    verdict
}

#[cfg(test)]
mod tests {
    use super::super::sample::*;
    use super::*;

    #[test]
    fn two_activations_of_one_epoch_are_found() {
        let twice = spoiled(|history| {
            let mut again = history.tables[2].clone();
            again.activation += 1;
            history.tables.insert(3, again);
        });
        assert!(check(&twice).faults[0].contains("epoch 3 was staged as"));
    }

    #[test]
    fn a_number_that_goes_back_or_is_left_out_is_found() {
        let back = spoiled(|history| history.tables.swap(1, 2));
        assert!(check(&back).faults.iter().any(|fault| fault.contains("went back from epoch 3 to 2")));
        let gap = spoiled(|history| {
            history.kept.remove(2);
        });
        assert_eq!(check(&gap).faults, ["epoch 4 follows epoch 2"]);
        assert_eq!(check(&spoiled(|history| history.kept.clear())).faults.len(), 1);
    }

    #[test]
    fn an_activation_that_does_not_rise_and_a_timeline_that_returns_are_found() {
        let same = spoiled(|history| history.tables[3].activation = history.tables[2].activation);
        assert_eq!(check(&same).faults, ["T of 4 is not after T of 3"]);
        let returned = spoiled(|history| history.tables[2].timeline = "2-00".into());
        assert_eq!(check(&returned).faults, ["the timeline 1-00 came back"]);
    }
}
