//! Data that outgrow a board's buffer: it refuses them, the server knows why, its readers get nothing
//! that it can't prove, and what fits again is taken again.

use super::play::Play;
use downbeat_tests::device::Provisioning;
use downbeat_tests::history::Mode;
use downbeat_tests::processes::eventually;

#[test]
fn what_outgrows_the_buffer_is_refused_and_told() {
    let provisioning = Provisioning::new(0xd7, Mode::Strict);
    let agent = provisioning.agent();
    let Some(mut play) = Play::start("too large", provisioning) else { return };
    play.wait_current();
    let large: Vec<_> = (0..40)
        .map(|number| ("tariff".to_owned(), format!("special-{number:02}"), "9".repeat(400)))
        .collect();
    play.farm.fill(&large);
    let told = eventually("a veto at the server", || {
        play.device.assert_on();
        play.told().filter(|told| !told["veto"].is_null())
    });
    assert_eq!(told["veto"], "too_large", "{told}");
    assert_eq!(play.console.status("veto").as_deref(), Some("too-large"));
    // At T the mode's rule for a generation that isn't there: nothing is proven to be live any more.
    let last = play.read();
    eventually("a fenced board", || {
        let (_, answer) = play.console.read("get tariff zone-07")?;
        (answer == downbeat_tests::device::Answer::Not("fenced".into())).then_some(())
    });
    play.farm.delete(&large);
    let seen = play.finish();
    let epochs = seen.of_board(&agent);
    let skipped = (epochs[0]..=*epochs.last().expect("it served")).any(|epoch| !epochs.contains(&epoch));
    assert!(skipped && epochs.last() > Some(&last), "it served {epochs:?} and should have left some out");
}
