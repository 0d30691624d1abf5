//! The agent with nothing around it but a serial line: what an application adds to its own size when it
//! links the library.
#![no_std]
#![no_main]

#[cfg(not(feature = "storage"))]
use downbeat_embassy::NoStorage;
use downbeat_embassy::core::ids::{AgentId, Name};
use downbeat_embassy::core::serving::Mode;
#[cfg(feature = "storage")]
use downbeat_embassy::flash::Flash;
use downbeat_embassy::{Agent, Memory, Reader, Settings};
#[cfg(feature = "storage")]
use downbeat_firmware::chip::{Chip, Part, SECTOR};
use downbeat_firmware::serial::LINE;
use downbeat_firmware::{clock, executor};
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_time::{Duration, Ticker};
use static_cell::ConstStaticCell;

/// Bytes in each of the two content buffers.
const CONTENT: usize = 8 * 1024;

#[cfg(not(feature = "storage"))]
type Storage = NoStorage;
#[cfg(feature = "storage")]
type Storage = Flash<Part>;

#[cfg(not(feature = "storage"))]
fn storage() -> Option<Storage> {
    Some(NoStorage)
}

#[cfg(feature = "storage")]
fn storage() -> Option<Storage> {
    Flash::new(Chip::take()?.part(4..10), 0..6 * SECTOR, 2).ok()
}

static MEMORY: ConstStaticCell<Memory<NoopRawMutex, CONTENT>> = ConstStaticCell::new(Memory::new());

#[embassy_executor::task]
async fn agent(mut agent: Agent<NoopRawMutex, CONTENT, Storage>) {
    loop {
        agent.run(&mut &LINE, &mut &LINE).await;
    }
}

/// What an application does with it: it looks something up, and something comes of it.
#[embassy_executor::task]
async fn look(reader: Reader<NoopRawMutex, CONTENT>) {
    let mut ticker = Ticker::every(Duration::from_secs(1));
    loop {
        ticker.next().await;
        let price = reader.read(|seen| seen.records.parse::<u32>("tariff", b"price").ok());
        core::hint::black_box(price.ok().flatten());
    }
}

#[cortex_m_rt::entry]
fn main() -> ! {
    clock::start(0);
    LINE.start();
    executor::run(|spawner| {
        let Ok(farm) = Name::new("shop") else { return };
        let settings = Settings::new(farm, AgentId([7; 16]), Mode::Strict);
        let Some(storage) = storage() else { return };
        let Ok((made, reader)) = MEMORY.take().take(settings, 1, storage) else { return };
        let _ = agent(made).map(|agent| spawner.spawn(agent));
        let _ = look(reader).map(|look| spawner.spawn(look));
    })
}
