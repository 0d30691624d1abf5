//! No faults: a board goes over together with the agents, in each mode and both ways, with a clock that is
//! right and with one that is not.

use super::play::Play;
use downbeat_tests::device::Provisioning;
use downbeat_tests::history::{Content, Mode};

fn goes_over(name: &'static str, provisioning: Provisioning) {
    let agent = provisioning.agent();
    let Some(mut play) = Play::start(name, provisioning) else { return };
    play.wait_current();
    let from = play.read();
    play.farm.wait_epochs(4);
    let seen = play.finish();
    let epochs = seen.of_board(&agent);
    assert!(epochs.iter().filter(|epoch| **epoch > from).count() >= 4, "{name}: the board served {epochs:?}");
    assert!(!seen.boundaries.is_empty(), "{name}: no bracket was narrow enough to see a boundary");
    let whole = seen.history.lives.iter().filter(|life| life.agent == agent);
    let whole = whole.flat_map(|life| life.readers.iter().flatten());
    let whole = whole.filter(|span| span.content == Content::Whole).count();
    assert!(whole >= 4, "{name}: only {whole} generations were looked at as a whole");
}

#[test]
fn a_prompt_board_goes_over_with_the_agents() {
    goes_over("a prompt board", Provisioning::new(0xd1, Mode::Prompt));
}

#[test]
fn a_strict_board_whose_clock_is_200_ppm_fast_goes_over_with_the_agents() {
    let provisioning = Provisioning { rate_error: 200, ..Provisioning::new(0xd2, Mode::Strict) };
    goes_over("a strict board, 200 ppm fast", provisioning);
}

#[test]
fn a_board_that_copies_goes_over_with_the_agents() {
    let provisioning = Provisioning { copies: true, ..Provisioning::new(0xd3, Mode::Strict) };
    goes_over("a board that copies", provisioning);
}
