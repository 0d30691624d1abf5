//! Boards that are reset or lose their supply in the middle of something, and lines with garbage on them.
//! Each test demands that its fault came about, and that it hit the middle.

use super::play::Play;
use downbeat_tests::device::noise::NoisyLine;
use downbeat_tests::device::{Answer, Doing, Provisioning};
use downbeat_tests::farm::CATCHING;
use downbeat_tests::history::Mode;
use downbeat_tests::processes::{PATIENCE, eventually};
use downbeat_tests::random::seed;
use downbeat_tests::relay::Kind;
use std::time::Instant;

/// A chip that takes so long that its middle can be hit from outside: microseconds for a word, and for a
/// sector. It is a cold and worn one.
const SLOW: (u32, u32) = (300, 120_000);
/// Where the chip's part for generations begins, in bytes.
const GENERATIONS: u64 = 4 * 4096;

#[test]
fn a_board_that_is_reset_while_it_retrieves_begins_again() {
    let provisioning = Provisioning::new(0xd8, Mode::Strict);
    let Some(mut play) = Play::start("reset while it retrieves", provisioning) else { return };
    play.wait_current();
    for cut in [false, true] {
        // Its second piece is held back: some of the generation is there, and not all of it.
        let caught = play.farm.traps().set_after(1, Kind::Bytes, Some(super::play::BOARD));
        let caught = caught.recv_timeout(CATCHING).expect("the board fetches");
        let phase = eventually("a word from the board", || play.console.status("phase"));
        assert_eq!(phase, "retrieving", "it wasn't hit in the middle");
        let lives = play.console.said_by_life().len();
        if cut {
            play.device.cut_supply();
            // The piece comes to nobody.
            caught.lose();
            play.switch_on();
        } else {
            play.device.reset();
            // The piece comes to the next life, which hasn't asked for it.
            drop(caught);
        }
        eventually("another life", || {
            let _ = play.console.ask("status");
            (play.console.said_by_life().len() > lives).then_some(())
        });
        play.wait_current();
    }
    let seen = play.finish();
    assert!(seen.lives >= 3, "only {} lives", seen.lives);
}

#[test]
fn a_board_that_stops_while_it_writes_has_what_it_had() {
    let provisioning = Provisioning { chip: Some(SLOW), ..Provisioning::new(0xd9, Mode::Prompt) };
    let Some(mut play) = Play::start("stops while it writes", provisioning) else { return };
    for (doing, cut) in [(Doing::Writing, false), (Doing::Erasing, true), (Doing::Writing, true)] {
        // Something is there that could be lost.
        eventually("a stored generation", || {
            let stored: u32 = play.console.status("stored")?.parse().ok()?;
            (stored >= 1).then_some(())
        });
        let began = Instant::now();
        let hit = loop {
            assert!(began.elapsed() < PATIENCE, "the middle of {doing:?} was never hit");
            let busy = play.device.doing().filter(|busy| busy.doing == doing && busy.from >= GENERATIONS);
            if busy.is_none() {
                std::thread::sleep(std::time::Duration::from_micros(200));
                continue;
            }
            if cut {
                play.device.cut_supply();
                // The chip's own status register, as it stands in the file that outlives the board.
                let left = play.device.doing().is_some_and(|busy| busy.doing == doing);
                play.switch_on();
                if left {
                    break play.console.said_by_life();
                }
            } else {
                let lives = play.console.said_by_life().len();
                play.device.reset();
                eventually("another life", || {
                    let _ = play.console.ask("status");
                    (play.console.said_by_life().len() > lives).then_some(())
                });
                break play.console.said_by_life();
            }
        };
        let word = if doing == Doing::Writing { "interrupted=writing" } else { "interrupted=erasing" };
        let boot = &hit.last().expect("a life")[0];
        assert!(boot.contains(word), "it found {boot:?} and should have found {word}");
        play.wait_current();
    }
    // What was stored before serves a board that finds no server, and says that it may be old.
    let before = play.read();
    play.relay.refuse(true);
    play.relay.cut();
    play.device.cut_supply();
    play.switch_on();
    let epoch = eventually("its last good generation", || {
        play.device.assert_on();
        match play.console.read("get tariff zone-07")?.1 {
            Answer::Served { epoch, stale, .. } => Some((epoch, stale)),
            Answer::Not(_) => None,
        }
    });
    assert!(epoch.1 && (1..=before).contains(&epoch.0), "it served {epoch:?} after {before}");
    play.finish();
}

#[test]
fn garbage_on_the_line_costs_time_and_nothing_else() {
    let seed = seed("garbage on the line", 77);
    let provisioning = Provisioning::new(0xda, Mode::Strict);
    let Some(mut play) = Play::prepare("garbage on the line", provisioning) else { return };
    let line = NoisyLine::start(play.relay.address(), seed);
    play.device.lead_to(line.address());
    play.switch_on();
    play.wait_current();
    line.make_noise(true);
    play.farm.wait_epochs(3);
    line.make_noise(false);
    let dropped: u64 =
        eventually("its counters", || play.console.status("dropped")).parse().expect("a number");
    assert!(dropped > 10 && line.bursts() > 50, "{dropped} frames dropped, {} bursts", line.bursts());
    play.finish();
}
