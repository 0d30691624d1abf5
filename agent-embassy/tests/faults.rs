//! Devices whose line is cut, dead or noisy, that are reset, that have no room, that join late.

mod common;

use common::nor::{Nor, SECTOR};
use common::{Device, Line, PATIENCE, Price, Server, Watch, every, settings, wait_until};
use downbeat_core::message::{Report, Request, RequestBody, ToServer, Veto};
use downbeat_core::serving::{Activation, Mode};
use downbeat_embassy::{Flash, Freshness, Memory, NoStorage, StartError, Unserved};
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use std::time::{Duration, Instant};

/// A device that serves the first price.
fn joined(server: &Server, mode: Mode, activation: Activation) -> (Device, Line) {
    let mut settings = settings(1, mode);
    settings.config.activation = activation;
    let (device, line) = (Device::start(settings, NoStorage), server.line());
    device.connect(&line);
    device.wait_for_price(0);
    (device, line)
}

fn is_fenced(read: &Result<Price, Unserved>) -> bool {
    *read == Err(Unserved::Fenced)
}

fn is_stale(read: &Result<Price, Unserved>) -> bool {
    matches!(read, Ok(Price { freshness: Freshness::Stale, .. }))
}

/// Waits until other content than what is live is staged.
fn wait_until_staged(device: &Device) {
    wait_until("another generation to be staged", || {
        let plan = device.reader.status().plan;
        let (active, staged) = (plan.active?, plan.staged?);
        (active.digest != staged.digest).then_some(())
    });
}

#[test]
fn a_device_that_is_cut_off_after_staging_switches_all_the_same() {
    for (mode, activation) in [
        (Mode::Strict, Activation::Switch),
        (Mode::Prompt, Activation::Switch),
        (Mode::Prompt, Activation::Copy),
    ] {
        let server = Server::new(0, 3, every(3_000));
        let (device, line) = joined(&server, mode, activation);
        let watch = Watch::new(device.reader);
        server.edit(1, 3);
        wait_until_staged(&device);
        line.cut();
        let is_new = |read: &Result<Price, _>| matches!(read, Ok(read) if read.price == 1);
        let switched = device.wait_for(&format!("{mode:?} {activation:?}"), is_new).unwrap();
        let status = device.reader.status();
        assert!(!status.connected && status.counters.connections == 1, "{status:?}");
        let mut seen = watch.seen();
        seen.push(switched);
        seen.sort_by_key(|seen| seen.looked_at);
        assert!(seen.windows(2).all(|pair| pair[0].epoch <= pair[1].epoch), "never back (S9)");
        assert!(seen.iter().any(|seen| seen.price == 0), "before T it served what was live");
    }
}

#[test]
fn what_was_promised_runs_out_and_comes_back() {
    for mode in [Mode::Strict, Mode::Prompt] {
        let server = Server::new(0, 3, every(600));
        let (device, line) = joined(&server, mode, Activation::Switch);
        // A cable is pulled: nobody notices.
        line.set_dead(true);
        match mode {
            Mode::Strict => device.wait_for("the fence", is_fenced).unwrap_err(),
            Mode::Prompt => {
                device.wait_for("the mark", is_stale).unwrap();
                Unserved::Fenced
            }
        };
        server.edit(1, 3);
        line.set_dead(false);
        device.wait_for_price(1);
        assert_eq!(device.reader.status().counters.connections, 1);
    }
}

#[test]
fn garbage_on_the_line_is_dropped_and_counted() {
    let server = Server::new(0, 30, every(600));
    let (device, line) = joined(&server, Mode::Strict, Activation::Switch);
    let mut random = 7u64;
    let mut noise = || {
        let bytes = (0..40).map(|_| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 56) as u8
        });
        let mut bytes = bytes.collect::<Vec<_>>();
        // Half of it swallows the frame behind it.
        bytes.extend((random >> 63 == 0).then_some(0));
        line.inject(&bytes);
    };
    for price in 1..=2 {
        server.edit(price, 30 + price as usize);
        let began = Instant::now();
        while device.price().ok().is_none_or(|read| read.price != price) {
            noise();
            std::thread::sleep(Duration::from_millis(60));
            assert!(began.elapsed() < PATIENCE, "{:?}", device.reader.status());
        }
    }
    // Longer than any frame.
    line.inject(&[7; 3_000]);
    line.inject(&[0]);
    let dropped = wait_until("an oversized frame", || {
        let dropped = device.reader.status().counters.bad_frames;
        (dropped.oversized > 0).then_some(dropped)
    });
    assert!(dropped.garbled > 0, "{dropped:?}");
    server.edit(3, 3);
    device.wait_for_price(3);
}

#[test]
fn a_server_that_knows_the_device_no_more_is_greeted_again() {
    let server = Server::new(0, 3, every(600));
    let (device, line) = joined(&server, Mode::Strict, Activation::Switch);
    assert_eq!(line.hellos(), 1);
    line.end_session();
    server.serve(&line);
    server.edit(1, 3);
    device.wait_for_price(1);
    let counters = device.reader.status().counters;
    assert!(line.hellos() >= 2 && counters.refused >= 1, "{counters:?}");
    assert_eq!(counters.connections, 1);
}

#[test]
fn content_that_is_not_what_was_named_is_fetched_again() {
    let server = Server::new(0, 3, every(600));
    let (device, line) = joined(&server, Mode::Strict, Activation::Switch);
    line.spoil(2);
    server.edit(1, 3);
    device.wait_for_price(1);
    let counters = device.reader.status().counters;
    assert_eq!((counters.mismatches, counters.bad_frames.total()), (2, 0));
}

#[test]
fn what_is_larger_than_a_buffer_is_refused_from_its_route_on() {
    for mode in [Mode::Strict, Mode::Prompt] {
        let server = Server::new(0, 3, every(600));
        let (device, line) = joined(&server, mode, Activation::Switch);
        let fetched = line.fetches().len();
        server.edit(1, 200);
        let (refused, why) = wait_until("the veto", || device.reader.status().veto);
        assert_eq!(why, Veto::TooLarge);
        wait_until("a report of it", || {
            let told = line.said(|said| match said {
                ToServer::Request(Request { body: RequestBody::Report(Report { veto, .. }), .. }) => *veto,
                _ => None,
            });
            told.first().copied()
        });
        assert_eq!(line.fetches().len(), fetched, "none of it was asked for");
        // At T the mode's rule for a missing generation applies.
        match mode {
            Mode::Strict => drop(device.wait_for("the fence", is_fenced)),
            Mode::Prompt => assert_eq!(device.wait_for("the mark", is_stale).unwrap().price, 0),
        }
        assert!(device.reader.status().plan.active.is_none_or(|active| active != refused));
        server.edit(2, 4);
        device.wait_for_price(2);
    }
}

#[test]
fn a_device_that_joins_late_begins_with_what_is_live() {
    for activation in [Activation::Switch, Activation::Copy] {
        let server = Server::new(0, 3, every(600));
        let (first, _line) = joined(&server, Mode::Strict, activation);
        server.edit(1, 4);
        let before = first.wait_for_price(1);
        let watches = [Watch::new(first.reader)];
        let mut late = settings(2, Mode::Strict);
        late.config.activation = activation;
        let second = Device::start(late, NoStorage);
        assert_eq!(second.price(), Err(Unserved::Fenced));
        second.connect(&server.line());
        let joined = second.wait_for("the first serve", Result::is_ok).unwrap();
        assert!(joined.epoch >= before.epoch && joined.freshness == Freshness::Current);
        let watches = watches.into_iter().chain([Watch::new(second.reader)]).collect::<Vec<_>>();
        server.edit(2, 5);
        second.wait_for_price(2);
        first.wait_for_price(2);
        let mut seen: Vec<_> = watches.into_iter().flat_map(Watch::seen).chain([joined]).collect();
        seen.sort_by_key(|seen| seen.looked_at);
        assert!(seen.windows(2).all(|pair| pair[0].epoch <= pair[1].epoch), "strict devices agree (S7, S10)");
    }
}

fn flash(nor: &Nor) -> Flash<Nor> {
    Flash::new(nor.clone(), 0..20 * SECTOR as u32, 2).unwrap()
}

#[test]
fn a_device_that_is_reset_while_it_retrieves_begins_again() {
    let server = Server::new(0, 40, every(3_000));
    let nor = Nor::new(20);
    let device = Device::start(settings(1, Mode::Strict), flash(&nor));
    let line = server.line();
    device.connect(&line);
    device.wait_for_price(0);
    // One piece comes through; the answer to the next request never arrives.
    line.die_after(1);
    server.edit(1, 41);
    let before = line.fetches().len();
    wait_until("a second piece to be asked for", || (line.fetches().len() >= before + 2).then_some(()));
    device.cut_power();

    let device = Device::start(settings(1, Mode::Strict), flash(&nor));
    let line = server.line();
    device.connect(&line);
    device.wait_for_price(1);
    let fetches = line.fetches();
    assert!(fetches.len() >= 3 && fetches[0] == 0, "from the beginning: {fetches:?}");
    assert_eq!(device.reader.status().counters.mismatches, 0);
}

#[test]
fn a_restarted_prompt_device_serves_what_it_stored_marked_stale() {
    let server = Server::new(0, 3, every(600));
    let nor = Nor::new(20);
    let device = Device::start(settings(1, Mode::Prompt), flash(&nor));
    device.connect(&server.line());
    for price in 0..4 {
        server.edit(price, 3);
        device.wait_for_price(price);
        wait_until("it to be stored", || {
            (device.reader.status().counters.stored > price as u32).then_some(())
        });
    }
    device.cut_power();

    let device = Device::start(settings(1, Mode::Prompt), flash(&nor));
    let price = device.wait_for("the last good generation", Result::is_ok).unwrap();
    assert_eq!((price.price, price.freshness), (3, Freshness::Stale));
    let line = server.line();
    device.connect(&line);
    assert_eq!(device.wait_for_price(3).freshness, Freshness::Current);
    assert_eq!(line.fetches(), [], "what is held needs no transfer");
    server.edit(4, 3);
    device.wait_for_price(4);
}

#[test]
fn a_restarted_strict_device_stays_fenced_until_it_knows() {
    let server = Server::new(0, 3, every(600));
    let nor = Nor::new(20);
    let device = Device::start(settings(1, Mode::Strict), flash(&nor));
    device.connect(&server.line());
    device.wait_for_price(0);
    wait_until("it to be stored", || (device.reader.status().counters.stored > 0).then_some(()));
    device.cut_power();

    let device = Device::start(settings(1, Mode::Strict), flash(&nor));
    let began = Instant::now();
    // Well beyond `start_wait`.
    while began.elapsed() < Duration::from_secs(2) {
        assert_eq!(device.price(), Err(Unserved::Fenced));
        std::thread::sleep(Duration::from_millis(5));
    }
    let line = server.line();
    device.connect(&line);
    device.wait_for_price(0);
    assert_eq!(line.fetches(), [], "what is held needs no transfer");
}

#[test]
fn a_cut_while_flash_is_written_costs_nothing_but_the_newest() {
    for operation in [0, 5, 30, 60] {
        let server = Server::new(0, 3, every(600));
        let nor = Nor::new(20);
        let device = Device::start(settings(1, Mode::Prompt), flash(&nor));
        device.connect(&server.line());
        device.wait_for_price(0);
        wait_until("it to be stored", || (device.reader.status().counters.stored > 0).then_some(()));
        nor.cut_after(operation);
        server.edit(1, 40);
        device.wait_for_price(1);
        wait_until("the flash to fail", || nor.is_off().then_some(()));
        device.cut_power();
        nor.power_on();

        let device = Device::start(settings(1, Mode::Prompt), flash(&nor));
        let read = device.wait_for("the last good generation", Result::is_ok).unwrap();
        assert_eq!((read.price, read.freshness), (0, Freshness::Stale), "cut at operation {operation}");
        device.connect(&server.line());
        device.wait_for_price(1);
        wait_until("it to be stored now", || (device.reader.status().counters.stored > 0).then_some(()));
    }
}

#[test]
fn a_memory_has_one_agent_and_bad_settings_leave_it_free() {
    let memory: &'static Memory<CriticalSectionRawMutex, 256> = Box::leak(Box::new(Memory::new()));
    let mut bad = settings(1, Mode::Prompt);
    bad.datasets = &["Prices"];
    assert_eq!(memory.take(bad, 1, NoStorage).err(), Some(StartError::Dataset));
    assert!(memory.take(settings(1, Mode::Prompt), 1, NoStorage).is_ok());
    assert_eq!(memory.take(settings(1, Mode::Prompt), 1, NoStorage).err(), Some(StartError::Taken));
}
