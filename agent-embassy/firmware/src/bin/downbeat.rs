//! The firmware: an agent on the serial line to a server's control port, provisioned by a page in its
//! flash chip, asked over its console. What makes it an agent is `downbeat-embassy`.
#![no_std]
#![no_main]

use downbeat_embassy::flash::{Flash, next_incarnation};
use downbeat_embassy::{Agent, Memory, Reader, Settings};
use downbeat_firmware::chip::{Chip, Interrupted, Part, SECTOR};
use downbeat_firmware::console::Console;
use downbeat_firmware::provisioning::{Provisioning, Wrong};
use downbeat_firmware::serial::{CONSOLE, LINE};
use downbeat_firmware::{boundary, clock, executor};
use embassy_executor::Spawner;
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_time::Duration;
use embedded_io_async::Write;
use heapless::Vec;
use static_cell::{ConstStaticCell, StaticCell};

/// Bytes in each of the two content buffers.
const CONTENT: usize = 8 * 1024;
/// The chip's sectors in which lives are counted; the first is the page's.
const LIVES: core::ops::Range<u32> = 1..3;
/// The chip's sectors for the last good generation: two slots, each of a buffer and a header.
const GENERATIONS: core::ops::Range<u32> = 4..10;
const SLOTS: u32 = 2;

type Storage = Flash<Part>;

// All that reads runs on one executor, so readers need no lock.
static MEMORY: ConstStaticCell<Memory<NoopRawMutex, CONTENT>> = ConstStaticCell::new(Memory::new());

#[embassy_executor::task]
async fn agent(mut agent: Agent<NoopRawMutex, CONTENT, Storage>) {
    loop {
        // The line is always there: where nobody answers on it, it says hello again.
        agent.run(&mut &LINE, &mut &LINE).await;
    }
}

#[embassy_executor::task]
async fn console(reader: Reader<NoopRawMutex, CONTENT>) {
    Console::new(reader).run().await
}

#[embassy_executor::task]
async fn watch(reader: Reader<NoopRawMutex, CONTENT>) {
    boundary::watch(reader).await
}

/// Says why nothing can be done, for ever.
#[embassy_executor::task]
async fn complain(why: Fault) {
    loop {
        for part in [b"* fault ", why.text(), b"\n"] {
            let Ok(()) = (&CONSOLE).write_all(part).await;
        }
        embassy_time::Timer::after(Duration::from_secs(5)).await;
    }
}

/// Why this board can't be an agent.
#[derive(Clone, Copy)]
enum Fault {
    /// Its page.
    Page(Wrong),
    /// Its chip refuses.
    Chip,
    /// Its page says what no agent can be set to.
    Settings,
}

impl Fault {
    fn text(self) -> &'static [u8] {
        match self {
            Fault::Page(Wrong::NotThere) => b"provisioning: nothing is there",
            Fault::Page(Wrong::Damaged) => b"provisioning: the sum isn't that of the page",
            Fault::Page(Wrong::Line(_)) => b"provisioning: a line isn't understood",
            Fault::Page(Wrong::Incomplete) => b"provisioning: farm, agent or drawn is missing",
            Fault::Chip => b"flash: it can't be used",
            Fault::Settings => b"provisioning: a name, the token or a dataset is too long",
        }
    }
}

/// Makes the agent and its reader of what is provisioned.
fn provision(
    chip: &mut Chip,
) -> Result<(Agent<NoopRawMutex, CONTENT, Storage>, Reader<NoopRawMutex, CONTENT>), Fault> {
    let page = Provisioning::read(chip.provisioned());
    // Whatever it says, something has to run by the clock.
    clock::start(page.as_ref().map_or(0, |page| page.rate_error));
    let page = page.map_err(Fault::Page)?;
    chip.set_speed(page.speed);
    // The board has no randomness, so its lives are counted, below a number that was drawn at random for
    // this page: a chip that is erased and provisioned anew begins with other numbers.
    let lives = whole(&LIVES);
    let counted = next_incarnation(&mut chip.part(LIVES), lives).map_err(|_| Fault::Chip)?;
    let life = u64::from(page.drawn) << 32 | counted & u64::from(u32::MAX);
    let storage = Flash::new(chip.part(GENERATIONS), whole(&GENERATIONS), SLOTS).map_err(|_| Fault::Chip)?;

    static DATASETS: StaticCell<Vec<&'static str, 4>> = StaticCell::new();
    let mut settings = Settings::new(page.farm, page.agent, page.mode);
    settings.display = page.name;
    settings.token = page.token;
    settings.datasets = DATASETS.init(page.datasets);
    settings.config.activation = page.activation;
    if let Some(longest) = page.back_off {
        settings.config.back_off.1 = longest;
    }
    if let Some(limit) = page.silence {
        settings.silence_limit = Some(Duration::from_nanos(limit.as_nanos().unsigned_abs()));
    }
    if let Some(wait) = page.start_wait {
        settings.config.start_wait = wait;
    }
    MEMORY.take().take(settings, life, storage).map_err(|_| Fault::Settings)
}

/// All bytes of a part that consists of these sectors.
fn whole(sectors: &core::ops::Range<u32>) -> core::ops::Range<u32> {
    0..(sectors.end - sectors.start) * SECTOR
}

// Not below the tasks: what it needs of the stack is given back before they run.
#[inline(never)]
fn begin(spawner: Spawner, mut chip: Chip) {
    let made = provision(&mut chip);
    LINE.start();
    CONSOLE.start();
    let interrupted = match chip.interrupted() {
        None => b"nothing".as_slice(),
        Some(Interrupted::Erasing) => b"erasing",
        Some(Interrupted::Writing) => b"writing",
    };
    // It ends whatever line the life before it has begun.
    CONSOLE.send_now(b"\n");
    for part in [b"* boot interrupted=", interrupted, b"\n"] {
        CONSOLE.send_now(part);
    }
    match made {
        Ok((made, reader)) => {
            // Each is spawned once, so there is room for it.
            let _ = agent(made).map(|agent| spawner.spawn(agent));
            let _ = console(reader).map(|console| spawner.spawn(console));
            let _ = watch(reader).map(|watch| spawner.spawn(watch));
        }
        Err(why) => {
            let _ = complain(why).map(|complain| spawner.spawn(complain));
        }
    }
}

#[cortex_m_rt::entry]
fn main() -> ! {
    executor::run(|spawner| {
        if let Some(chip) = Chip::take() {
            begin(spawner, chip);
        }
    })
}
