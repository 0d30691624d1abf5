//! A farm in one process: core's smallest server on threads, devices that each run the agent on a thread
//! of their own, and lines between them that can be cut, reset and made noisy.
#![allow(dead_code, reason = "each test binary needs its own part")]

mod line;
pub(crate) mod nor;
#[path = "../../../core/examples/smallest_server.rs"]
pub(crate) mod smallest_server;

pub(crate) use line::{Input, Line, Output};

use downbeat_core::ids::{AgentId, Name};
use downbeat_core::serving::Mode;
use downbeat_core::settings::Settings as FarmSettings;
use downbeat_core::time::Span;
use downbeat_embassy::{Freshness, Lost, Memory, Reader, Seen, Settings, Storage, Unserved};
use embassy_futures::select::{Either, select};
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::channel::Channel;
use embassy_sync::signal::Signal;
use smallest_server::{Store, serve};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Bytes of each content buffer of a device.
pub(crate) const BYTES: usize = 2_048;
/// How long anything may take on a busy host before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// What a device reads with.
pub(crate) type DeviceReader = Reader<CriticalSectionRawMutex, BYTES>;

/// A farm's records: `apple` has the price, and there are as many others as wanted.
pub(crate) fn records(price: u64, others: usize) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let other = |number| (format!("other{number:03}").into_bytes(), vec![b'x'; 20]);
    let apple = (b"apple".to_vec(), price.to_string().into_bytes());
    (0..others).map(other).chain([apple]).collect()
}

/// The settings of a farm with this interval.
pub(crate) fn every(interval_ms: i64) -> FarmSettings {
    let part = |parts| Span::from_millis(interval_ms / parts);
    FarmSettings {
        interval: part(1),
        lead: part(3),
        lease: part(10),
        round_trip: part(12),
        retrieve: part(12),
        stagger: part(50),
        early_limit: Span::from_millis(50),
        sample_window: part(20),
    }
}

/// One server with its farm.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) store: Arc<Mutex<Store>>,
}

impl Server {
    pub(crate) fn new(price: u64, others: usize, settings: FarmSettings) -> Server {
        Server { store: Arc::new(Mutex::new(Store::new(records(price, others), settings).unwrap())) }
    }

    pub(crate) fn edit(&self, price: u64, others: usize) {
        self.store.lock().unwrap().production = records(price, others);
    }

    /// A new line to the server.
    pub(crate) fn line(&self) -> Line {
        let line = Line::new();
        self.serve(&line);
        line
    }

    /// Serves a line from here on, in another session than before.
    pub(crate) fn serve(&self, line: &Line) {
        let (store, end) = (self.store.clone(), line.server_end());
        std::thread::spawn(move || serve(&store, end));
    }
}

/// A device that runs.
pub(crate) struct Device {
    pub(crate) reader: DeviceReader,
    lines: Arc<Channel<CriticalSectionRawMutex, (Input, Output), 4>>,
    stop: Arc<Signal<CriticalSectionRawMutex, ()>>,
    thread: Option<JoinHandle<()>>,
}

/// Settings of a device whose id has these bytes.
pub(crate) fn settings(number: u8, mode: Mode) -> Settings {
    let mut settings = Settings::new(Name::new("farm").unwrap(), AgentId([number; 16]), mode);
    settings.display = "a device";
    settings.config.start_wait = Span::from_millis(300);
    settings.config.patience = Span::from_millis(500);
    settings
}

impl Device {
    /// Starts a device with memory of its own; it has no line yet.
    pub(crate) fn start(settings: Settings, storage: impl Storage + Send + 'static) -> Device {
        static LIVES: AtomicU64 = AtomicU64::new(1);
        let memory: &'static Memory<CriticalSectionRawMutex, BYTES> = Box::leak(Box::new(Memory::new()));
        let incarnation = LIVES.fetch_add(1, Ordering::Relaxed);
        let (mut agent, reader) = memory.take(settings, incarnation, storage).unwrap();
        let lines = Arc::new(Channel::<CriticalSectionRawMutex, (Input, Output), 4>::new());
        let stop = Arc::new(Signal::new());
        let (to_come, stopped) = (lines.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            let drive = async {
                loop {
                    let (mut input, mut output) = agent.offline_until(to_come.receive()).await;
                    let lost = agent.run(&mut input, &mut output).await;
                    assert!(matches!(lost, Lost::Ended | Lost::Write(_)), "{lost:?}");
                }
            };
            match pollster::block_on(select(drive, stopped.wait())) {
                Either::First(never) => never,
                Either::Second(()) => {}
            }
        });
        Device { reader, lines, stop, thread: Some(thread) }
    }

    /// Gives the device this line once it has none.
    pub(crate) fn connect(&self, line: &Line) {
        assert!(self.lines.try_send(line.agent_end()).is_ok());
    }

    /// The power is cut, whatever the device does; its storage is as it is.
    pub(crate) fn cut_power(mut self) {
        self.stop.signal(());
        self.thread.take().unwrap().join().unwrap();
    }

    pub(crate) fn price(&self) -> Result<Price, Unserved> {
        price(&self.reader)
    }

    /// Waits until a read gives what `is` takes.
    pub(crate) fn wait_for(
        &self,
        what: &str,
        is: impl Fn(&Result<Price, Unserved>) -> bool,
    ) -> Result<Price, Unserved> {
        wait_until(what, || Some(self.price()).filter(&is))
    }

    /// Waits until a read gives this price as current.
    pub(crate) fn wait_for_price(&self, price: u64) -> Price {
        let is = |read: &Result<Price, _>| matches!(read, Ok(read) if read.price == price && read.freshness == Freshness::Current);
        self.wait_for(&format!("the price {price}"), is).unwrap()
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.stop.signal(());
    }
}

/// What a read saw.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Price {
    pub(crate) epoch: u64,
    pub(crate) price: u64,
    pub(crate) freshness: Freshness,
    /// Nanoseconds of the clock that all devices of the process share.
    pub(crate) looked_at: i64,
}

pub(crate) fn price(reader: &DeviceReader) -> Result<Price, Unserved> {
    reader.read(|Seen { epoch, freshness, looked_at, records, .. }| Price {
        epoch,
        price: records.parse("prices", b"apple").expect("every generation has it"),
        freshness,
        looked_at: looked_at.as_nanos(),
    })
}

/// Waits for `found`, for as long as a busy host may take.
pub(crate) fn wait_until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Reads all the time, on a thread of its own.
pub(crate) struct Watch {
    stop: Arc<AtomicU64>,
    thread: JoinHandle<Vec<Price>>,
}

impl Watch {
    pub(crate) fn new(reader: DeviceReader) -> Watch {
        let stop = Arc::new(AtomicU64::new(0));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut seen = Vec::new();
            while stopped.load(Ordering::Relaxed) == 0 {
                seen.extend(price(&reader));
                std::thread::sleep(Duration::from_micros(300));
            }
            seen
        });
        Watch { stop, thread }
    }

    pub(crate) fn seen(self) -> Vec<Price> {
        self.stop.store(1, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}
