//! S5: whatever a reader got was all of one edit and nothing of another.

use super::Verdict;
use super::history::{Content, History};

pub(super) fn check(history: &History) -> Verdict {
    let mut verdict = Verdict::default();
    for (life, span) in history.spans(None).filter(|(_, span)| span.content != Content::Unseen) {
        verdict.judge(span.content != Content::Torn, || {
            format!("{} read epoch {} torn at {}", life.agent, span.epoch, span.first)
        });
    }
    for kept in history.kept.iter().filter(|kept| kept.content != Content::Unseen) {
        verdict.judge(kept.content != Content::Torn, || format!("the server's epoch {} is torn", kept.epoch));
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::super::sample::*;
    use super::*;

    #[test]
    fn a_torn_read_and_a_torn_generation_are_found() {
        let read = spoiled(|history| history.lives[2].readers[0][3].content = Content::Torn);
        assert!(check(&read).faults[0].starts_with("three read epoch 4 torn"));
        let kept = spoiled(|history| history.kept[1].content = Content::Torn);
        assert_eq!(check(&kept).faults, ["the server's epoch 2 is torn"]);
    }
}
