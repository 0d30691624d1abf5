//! An agent as a process of its own, for tests that kill it: the library behind `downbeat agent`, with a
//! clock that is wrong on purpose and readers that write down what they saw (`log`). Prints one line when
//! it runs, then runs until it is killed.
//!
//! `test-agent SERVER FARM MODE STATE LOGS READERS OFFSET_NS RATE_PPB`

use downbeat_agent::clock::Distortion;
use downbeat_agent::core::effect::Event;
use downbeat_agent::core::ids::Digest;
use downbeat_agent::core::serving::{Mode, Serving};
use downbeat_agent::core::time::Span as Distance;
use downbeat_agent::{Agent, Clock, Guard, Look, Reader, What};
use downbeat_tests::history::{Content, Span, Switch};
use downbeat_tests::log::Line;
use downbeat_tests::witness::{LEDGER, PAGE, judge, ledger_key};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// A line at least this often, in nanoseconds of the host's clock.
const REFRESH: i64 = 5_000_000;
/// So close to a switch a reader reads without a pause, in nanoseconds of the agent's clock.
const NEAR: i64 = 15_000_000;
/// Between two reads otherwise.
const PAUSE: Duration = Duration::from_micros(300);

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [server, farm, mode, state, logs, readers, offset, rate] = arguments.as_slice() else {
        return Err("test-agent SERVER FARM MODE STATE LOGS READERS OFFSET_NS RATE_PPB".into());
    };
    let distortion = Distortion { offset: Distance::from_nanos(offset.parse()?), rate_ppb: rate.parse()? };
    let mode = if mode == "strict" { Mode::Strict } else { Mode::Prompt };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let agent = Agent::builder()
            .server(server)
            .farm(farm)
            .mode(mode)
            .state_dir(state)
            .clock(Clock::distorted(distortion))
            .back_off(Duration::from_millis(50), Duration::from_millis(400))
            .start_wait(Duration::from_secs(1))
            .silence_limit(Duration::from_millis(1_500))
            .start()
            .await?;
        let mut happenings = agent.happenings();
        for number in 0..readers.parse()? {
            let file = File::create(Path::new(logs).join(format!("reader-{number}")))?;
            let reader = agent.reader();
            std::thread::spawn(move || Watcher::new(reader, file).watch());
        }
        let mut told = File::create(Path::new(logs).join("switches"))?;
        println!("running");
        loop {
            // A lagging listener misses some, which the checks allow for.
            let Ok(happening) = happenings.recv().await else { continue };
            if let What::Protocol(Event::Switched(switched)) = &happening.what {
                let epsilon = switched.epsilon.as_nanos();
                write!(told, "{}", Line::Switched(Switch { epoch: switched.epoch, epsilon }))?;
            }
        }
    })
}

/// A reader's thread and its log.
struct Watcher {
    reader: Reader,
    file: File,
    /// What the last read got, and when.
    seen: Seen,
    last: i64,
    /// When something was written last.
    written: i64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    Nothing,
    Generation { epoch: u64, digest: Digest, stale: bool },
}

impl Watcher {
    fn new(reader: Reader, file: File) -> Watcher {
        let reader = reader.with_hold_limit(Duration::ZERO);
        Watcher { reader, file, seen: Seen::Nothing, last: 0, written: 0 }
    }

    /// Reads for ever; the process is killed, or its disk is full.
    fn watch(mut self) {
        loop {
            let look = self.reader.read_now();
            if self.note(look).is_err() {
                return;
            }
            let plan = self.reader.plan();
            let left = (plan.staged_from - look.at).as_nanos();
            if plan.staged.is_none() || left.abs() > NEAR {
                std::thread::sleep(PAUSE);
            }
        }
    }

    fn note(&mut self, look: Look) -> std::io::Result<()> {
        let host = look.host.as_nanos();
        let now = match look.serving {
            Serving::Active(generation) | Serving::Staged(generation) => {
                Seen::Generation { epoch: generation.epoch, digest: generation.digest, stale: false }
            }
            Serving::Stale(generation) => {
                Seen::Generation { epoch: generation.epoch, digest: generation.digest, stale: true }
            }
            Serving::Hold | Serving::Fenced => Seen::Nothing,
        };
        if now == self.seen {
            if now != Seen::Nothing && host - self.written >= REFRESH {
                self.check_again()?;
                self.write(&Line::Still(host), host)?;
            }
        } else {
            if self.seen != Seen::Nothing {
                self.write(&Line::Still(self.last), self.last)?;
            }
            self.seen = now;
            match now {
                Seen::Nothing => self.write(&Line::Nothing(host), host)?,
                Seen::Generation { epoch, digest, stale } => {
                    let content = look.serving.generation().and_then(|named| self.reader.pinned(named));
                    let content = content.map_or(Content::Unseen, |guard| judged(&guard));
                    let digest = hex(digest);
                    let span = Span { epoch, digest, stale, first: host, last: host, content };
                    self.write(&Line::Begin(span), host)?;
                }
            }
        }
        self.last = host;
        Ok(())
    }

    /// A read as hosts make it. Only what is torn is written: the rest the looks tell.
    fn check_again(&mut self) -> std::io::Result<()> {
        let Ok(guard) = self.reader.read() else { return Ok(()) };
        if judged(&guard) != Content::Torn {
            return Ok(());
        }
        let (epoch, digest) = (guard.epoch(), hex(guard.digest()));
        self.seen = Seen::Nothing;
        let span =
            Span { epoch, digest, stale: true, first: self.last, last: self.last, content: Content::Torn };
        self.write(&Line::Begin(span), self.last)
    }

    fn write(&mut self, line: &Line, host: i64) -> std::io::Result<()> {
        self.written = host;
        // In one piece: a killed process leaves a line or none.
        self.file.write_all(line.to_string().as_bytes())
    }
}

fn judged(guard: &Guard) -> Content {
    judge(guard.iter(PAGE), |edit| guard.get(LEDGER, ledger_key(edit)).is_some())
}

fn hex(digest: Digest) -> String {
    digest.0.iter().map(|byte| format!("{byte:02x}")).collect()
}
