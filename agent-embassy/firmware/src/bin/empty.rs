//! The smallest application: what every other is measured against. One task that wakes once a second.
#![no_std]
#![no_main]

use downbeat_firmware::{clock, executor};
use embassy_time::{Duration, Ticker};

#[embassy_executor::task]
async fn tick() {
    let mut ticker = Ticker::every(Duration::from_secs(1));
    loop {
        ticker.next().await;
    }
}

#[cortex_m_rt::entry]
fn main() -> ! {
    clock::start(0);
    executor::run(|spawner| {
        let _ = tick().map(|tick| spawner.spawn(tick));
    })
}
