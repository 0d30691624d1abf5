//! No faults but the clocks.

use downbeat_tests::farm::{FOUR, Farm};
use downbeat_tests::history::Mode;
use std::collections::BTreeSet;

#[test]
fn agents_with_wrong_clocks_go_over_together() {
    let farm = Farm::start_with("together", 0, &FOUR, true);
    farm.wait_epochs(5);
    let history = farm.finish();
    for mode in [Mode::Strict, Mode::Prompt] {
        let epochs: BTreeSet<_> = history.spans(Some(mode)).map(|(_, span)| span.epoch).collect();
        assert!(epochs.len() >= 4, "{mode:?} agents served only {epochs:?}");
    }
    assert!(history.edits.len() > 10, "only {} edits were made", history.edits.len());
}
