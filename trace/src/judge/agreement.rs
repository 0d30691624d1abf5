//! S6: an epoch has the same digest and the same content on every agent and at the server. Nothing
//! here is restored from a backup, so that holds across timelines too.

use super::Verdict;
use super::history::{Content, History};
use std::collections::BTreeMap;

pub(super) fn check(history: &History) -> Verdict {
    let mut digests = BTreeMap::new();
    let mut contents = BTreeMap::new();
    let mut verdict = Verdict::default();
    let mut meet = |who: String, epoch: u64, digest: &String, content: Content| {
        let (first, agreed) = digests.entry(epoch).or_insert_with(|| (who.clone(), digest.clone()));
        verdict.judge(agreed == digest, || {
            format!("epoch {epoch} is {agreed} at {first} and {digest} at {who}")
        });
        if matches!(content, Content::Unseen | Content::Whole) {
            return;
        }
        let (first, agreed) = contents.entry(epoch).or_insert_with(|| (who.clone(), content));
        verdict.judge(*agreed == content, || {
            format!("epoch {epoch} holds {agreed:?} at {first} and {content:?} at {who}")
        });
    };
    history.kept.iter().for_each(|kept| meet("the server".into(), kept.epoch, &kept.digest, kept.content));
    history
        .tables
        .iter()
        .for_each(|look| meet("the table".into(), look.epoch, &look.digest, Content::Unseen));
    history.live.iter().for_each(|live| meet("the server".into(), live.epoch, &live.digest, Content::Unseen));
    history
        .spans(None)
        .for_each(|(life, span)| meet(life.agent.clone(), span.epoch, &span.digest, span.content));
    verdict
}

#[cfg(test)]
mod tests {
    use super::super::sample::*;
    use super::*;

    #[test]
    fn another_digest_or_content_of_the_same_epoch_is_found() {
        let digests = spoiled(|history| history.lives[1].readers[0][2].digest = digest(8));
        assert!(check(&digests).faults[0].contains("at two"));
        let contents = spoiled(|history| history.lives[1].readers[0][2].content = Content::Edit(2));
        assert!(check(&contents).faults[0].contains("holds Edit(3) at the server and Edit(2) at two"));
        let table = spoiled(|history| history.tables[2].digest = digest(8));
        assert!(check(&table).faults[0].contains("at the table"));
    }
}
