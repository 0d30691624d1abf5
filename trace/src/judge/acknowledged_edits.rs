//! What was acknowledged is not lost: each such edit is in production at the end, and in every
//! generation from the epoch on that the server named in its answer; and no generation holds less
//! than the one before it.

use super::Verdict;
use super::history::{Content, History};

pub(super) fn check(history: &History) -> Verdict {
    let mut verdict = Verdict::default();
    for edit in &history.edits {
        verdict.judge(history.production.contains(&edit.edit), || {
            format!("edit {} was acknowledged and is not in production", edit.edit)
        });
    }
    // The greatest edit that must be in an epoch.
    let due = |epoch: u64| {
        history.edits.iter().filter(|edit| edit.epoch <= epoch).map(|edit| edit.edit).max().unwrap_or(0)
    };
    let mut before = 0;
    for kept in &history.kept {
        let (held, due) = (held(kept.content), due(kept.epoch));
        verdict.judge(held >= due, || {
            format!("epoch {} holds edit {held}, and {due} was acknowledged for it", kept.epoch)
        });
        verdict.judge(held >= before, || {
            format!("epoch {} holds edit {held}, and the one before it {before}", kept.epoch)
        });
        before = held;
    }
    verdict
}

fn held(content: Content) -> u64 {
    match content {
        Content::Edit(edit) => edit,
        Content::Empty | Content::Torn | Content::Whole | Content::Unseen => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::history::Acknowledged;
    use super::super::sample::*;
    use super::*;

    #[test]
    fn a_lost_edit_is_found() {
        let lost = spoiled(|history| history.production.retain(|edit| *edit != 2));
        assert_eq!(check(&lost).faults, ["edit 2 was acknowledged and is not in production"]);
    }

    #[test]
    fn an_edit_that_a_generation_lacks_is_found() {
        let missing = spoiled(|history| history.edits.push(Acknowledged { edit: 5, epoch: 4 }));
        assert!(check(&missing).faults[0].contains("epoch 4 holds edit 4, and 5 was acknowledged for it"));
        let back = spoiled(|history| {
            history.edits.clear();
            history.kept[3].content = Content::Edit(2);
        });
        assert_eq!(check(&back).faults, ["epoch 4 holds edit 2, and the one before it 3"]);
    }
}
