//! A small history in which everything is as it should be, and ways to spoil it. Two strict agents
//! and a prompt one, epochs 1 to 4, a second apart; the server's time is the host's plus an hour.

use super::history::{Acknowledged, Content, History, Kept, Life, Mode, Span, Switch, TableSeen};

pub(super) const MILLI: i64 = 1_000_000;
const SECOND: i64 = 1_000 * MILLI;
const HOUR: i64 = 3_600 * SECOND;

/// T of an epoch, by the host's clock.
pub(super) fn t(epoch: u64) -> i64 {
    epoch as i64 * SECOND
}

pub(super) fn digest(epoch: u64) -> String {
    format!("{epoch:064x}")
}

pub(super) fn span(epoch: u64, first: i64, last: i64) -> Span {
    Span { epoch, digest: digest(epoch), stale: false, first, last, content: Content::Edit(epoch) }
}

fn life(agent: &str, mode: Mode, spans: Vec<Span>) -> Life {
    let switches = (2..=4).map(|epoch| Switch { epoch, epsilon: MILLI, went_by: MILLI }).collect();
    Life { agent: agent.into(), mode, readers: vec![spans], switches }
}

fn look(epoch: u64, host: i64) -> TableSeen {
    TableSeen {
        timeline: "1-00".into(),
        epoch,
        digest: digest(epoch),
        activation: t(epoch) + HOUR,
        now: host + HOUR,
        host: (host - 10_000, host + 10_000),
    }
}

/// A history that passes.
pub(super) fn sound() -> History {
    let strict = |agent| {
        let spans = (1..=4).map(|epoch| span(epoch, t(epoch) + MILLI, t(epoch + 1) - MILLI)).collect();
        life(agent, Mode::Strict, spans)
    };
    let prompt = (1..=4).map(|epoch| span(epoch, t(epoch) + 100_000, t(epoch + 1) + 100_000 - 1)).collect();
    // A joiner begins in the middle of epoch 2, restarted in the middle of 3.
    let first = life("joiner", Mode::Strict, vec![span(2, t(2) + 500 * MILLI, t(3) - MILLI)]);
    let second = life("joiner", Mode::Strict, vec![span(3, t(3) + 500 * MILLI, t(4) - MILLI)]);
    History {
        lives: vec![strict("one"), strict("two"), life("three", Mode::Prompt, prompt), first, second],
        tables: (1..=5).map(|epoch| look(epoch, t(epoch) - 400 * MILLI)).collect(),
        kept: (1..=5)
            .map(|epoch| Kept { epoch, digest: digest(epoch), content: Content::Edit(epoch) })
            .collect(),
        live: Vec::new(),
        edits: (1..=5).map(|edit| Acknowledged { edit, epoch: edit }).collect(),
        production: vec![1, 2, 3, 4, 5],
        early_limit: 50 * MILLI,
    }
}

/// Applies a change to the sound history.
pub(super) fn spoiled(spoil: impl FnOnce(&mut History)) -> History {
    let mut history = sound();
    spoil(&mut history);
    history
}

/// One spoiled history for each check at least.
pub(super) fn doctored() -> Vec<History> {
    vec![
        spoiled(|history| {
            history.kept.remove(2);
        }),
        spoiled(|history| history.lives[0].readers[0][1].content = Content::Torn),
        spoiled(|history| history.lives[0].readers[0][1].digest = digest(9)),
        spoiled(|history| history.lives[0].readers[0][1].last = t(3) + 2 * MILLI),
        spoiled(|history| history.lives[2].readers[0][1].last = t(3) + 3 * MILLI),
        spoiled(|history| history.lives[2].readers[0].swap(1, 2)),
        spoiled(|history| history.lives[4].readers[0][0] = span(2, t(3) + 500 * MILLI, t(3) + 600 * MILLI)),
        spoiled(|history| history.production.truncate(3)),
        spoiled(|history| history.tables[3].now += MILLI),
    ]
}
