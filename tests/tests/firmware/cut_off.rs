//! A board that is cut off after it has staged: it goes over at T all the same, and goes on by what it was
//! promised.

use super::play::Play;
use downbeat_tests::device::Provisioning;
use downbeat_tests::history::Mode;
use downbeat_tests::processes::eventually;

#[test]
fn a_board_that_is_cut_off_after_staging_switches_at_t() {
    let provisioning = Provisioning::new(0xd4, Mode::Strict);
    let agent = provisioning.agent();
    let Some(mut play) = Play::start("cut off after staging", provisioning) else { return };
    play.wait_current();
    let mut alone = Vec::new();
    for _ in 0..3 {
        // Cut off while it is armed, and what it is armed for is what is staged.
        let staged = eventually("an armed board", || {
            let newest = play.farm.newest()?;
            let staged: u64 = play.console.status("staged")?.parse().ok()?;
            let armed = play.console.status("phase")? == "armed";
            (armed && staged == newest.epoch && play.read() < staged).then_some(staged)
        });
        play.relay.refuse(true);
        play.relay.cut();
        let before = play.read();
        eventually("the switch of a board that is cut off", || {
            play.device.assert_on();
            (play.read() >= staged).then_some(())
        });
        // A host that stood still meanwhile shows nothing; the others count.
        if before < staged {
            alone.push(staged);
        }
        play.relay.heal();
        play.wait_current();
    }
    assert!(!alone.is_empty(), "the board had gone over each time before it was cut off");
    let seen = play.finish();
    let epochs = seen.of_board(&agent);
    assert!(alone.iter().all(|epoch| epochs.contains(epoch)), "{alone:?} of {epochs:?}");
}
