//! A board that joins a farm which has been running for a while, that finds its chip not provisioned, or
//! the page on it damaged.

use super::play::Play;
use downbeat_tests::device::Provisioning;
use downbeat_tests::history::Mode;
use downbeat_tests::processes::eventually;

#[test]
fn a_board_that_joins_late_begins_with_what_is_live() {
    let provisioning = Provisioning::new(0xd5, Mode::Prompt);
    let agent = provisioning.agent();
    let Some(mut play) = Play::prepare("joins late", provisioning) else { return };
    play.farm.wait_epochs(3);
    let from = play.farm.epoch();
    play.switch_on();
    play.wait_current();
    let seen = play.finish();
    let first = seen.of_board(&agent).first().copied();
    assert!(first.is_some_and(|first| first + 1 >= from), "it began with {first:?}, and {from} was staged");
}

#[test]
fn a_board_that_is_not_provisioned_soundly_says_so_and_does_nothing() {
    let provisioning = Provisioning::new(0xd6, Mode::Strict);
    let Some(mut play) = Play::prepare("not provisioned", provisioning) else { return };
    for (at, why) in [(0, "nothing is there"), (20, "the sum isn't that of the page")] {
        play.device.damage(|bytes| bytes[at] ^= 1);
        play.device.start();
        eventually("a complaint", || {
            let _ = play.console.ask("status");
            let said = play.console.said();
            said.iter().any(|said| said.starts_with("fault") && said.contains(why)).then_some(())
        });
        play.device.cut_supply();
        play.device.damage(|bytes| bytes[at] ^= 1);
        assert!(play.told().is_none(), "the server has heard of it");
    }
    play.switch_on();
    play.finish();
}
