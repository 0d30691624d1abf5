//! Devices go through cycles with a real server over core: by switch and by copy, prompt and strict,
//! several of them together, with changes of content and without.

mod common;

use common::{Device, PATIENCE, Server, Watch, every, settings, wait_until};
use downbeat_core::serving::{Activation, Mode};
use downbeat_embassy::{Freshness, NoStorage, Unserved};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Goes through activations until readers of all devices have seen three changes.
fn go_through_cycles(mode: Mode, activation: Activation) {
    let server = Server::new(0, 3, every(600));
    let devices: Vec<_> = (1..=3)
        .map(|number| {
            let mut settings = settings(number, mode);
            settings.config.activation = activation;
            let device = Device::start(settings, NoStorage);
            device.connect(&server.line());
            device
        })
        .collect();
    let watches: Vec<_> = devices.iter().map(|device| Watch::new(device.reader)).collect();
    for price in 1..=3 {
        server.edit(price, 3 + price as usize);
        for device in &devices {
            device.wait_for_price(price);
        }
    }
    let mut all = Vec::new();
    for watch in watches {
        let seen = watch.seen();
        assert!(seen.windows(2).all(|pair| pair[0].epoch <= pair[1].epoch), "epochs rise (S9)");
        assert!(seen.iter().all(|seen| seen.freshness == Freshness::Current || mode == Mode::Prompt));
        all.extend(seen);
    }
    for device in &devices {
        let status = device.reader.status();
        assert!(status.counters.switches >= 3 && status.counters.mismatches == 0, "{status:?}");
        assert_eq!(status.copied.is_some(), activation == Activation::Copy);
        assert!(status.epsilon.is_some() && status.offset.is_some_and(|offset| offset > 0), "{status:?}");
    }
    // The same epoch is the same content on every device (S6).
    all.sort_by_key(|seen| seen.epoch);
    assert!(all.windows(2).all(|pair| pair[0].epoch != pair[1].epoch || pair[0].price == pair[1].price));
    if mode == Mode::Strict {
        // No two devices serve different generations at the same instant (S7); all share one clock here.
        all.sort_by_key(|seen| seen.looked_at);
        assert!(all.windows(2).all(|pair| pair[0].epoch <= pair[1].epoch), "strict devices agree");
    }
}

#[test]
fn strict_devices_switch() {
    go_through_cycles(Mode::Strict, Activation::Switch);
}

#[test]
fn prompt_devices_switch() {
    go_through_cycles(Mode::Prompt, Activation::Switch);
}

#[test]
fn strict_devices_copy() {
    go_through_cycles(Mode::Strict, Activation::Copy);
}

#[test]
fn prompt_devices_copy() {
    go_through_cycles(Mode::Prompt, Activation::Copy);
}

/// A line whose answers take long makes ε large, and strict reads are held for 2ε.
#[test]
fn a_read_that_waits_sees_no_hold() {
    let server = Server::new(0, 3, every(600));
    let (device, line) = (Device::start(settings(1, Mode::Strict), NoStorage), server.line());
    line.set_delay(Duration::from_millis(40));
    device.connect(&line);
    device.wait_for_price(0);
    let (reader, stop) = (device.reader, AtomicBool::new(false));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let mut reads = 0;
            while !stop.load(Ordering::Relaxed) {
                let limit = embassy_time::Duration::from_secs(PATIENCE.as_secs());
                let read = pollster::block_on(reader.read_async(limit, |seen| seen.epoch));
                assert!(!matches!(read, Err(Unserved::Hold { .. })), "after {reads} reads");
                reads += 1;
            }
            reads
        });
        for price in 1..=2 {
            server.edit(price, 3);
            wait_until("a read that is held", || {
                assert!(!waiting.is_finished(), "a read that should have waited did not");
                matches!(reader.read(|_| ()), Err(Unserved::Hold { .. })).then_some(())
            });
            device.wait_for_price(price);
        }
        stop.store(true, Ordering::Relaxed);
        assert!(waiting.join().unwrap() > 0);
    });
    let held = device.reader.status().switched.unwrap().held;
    assert!(held.as_nanos() > 10_000_000, "{held:?}");
}
