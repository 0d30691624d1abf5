//! A farm with two agents and a board, from its beginning to its judgement.

use downbeat_tests::check;
use downbeat_tests::device::boundary::{Boundary, boundaries};
use downbeat_tests::device::{Console, Device, Observer, Provisioning, firmware, observer};
use downbeat_tests::farm::{Contents, Farm, Setup};
use downbeat_tests::history::{History, Mode};
use downbeat_tests::manage::ask;
use downbeat_tests::processes::eventually;
use downbeat_tests::relay::Relay;
use serde_json::Value;

/// A strict and a prompt agent, whose clocks are hours apart and drift.
const TWO: [Setup; 2] = [
    Setup { mode: Mode::Strict, offset: 7_200_000_000_000, rate: 150 },
    Setup { mode: Mode::Prompt, offset: -431_000_000_000, rate: -150 },
];
/// The board's number among the agents.
pub(crate) const BOARD: usize = TWO.len();
/// Cycles are so many times as long as those of farms without a board: QEMU takes its time for a byte.
const PACE: u32 = 2;

/// A farm with a board.
pub(crate) struct Play {
    pub(crate) farm: Farm,
    pub(crate) device: Device,
    pub(crate) relay: Relay,
    pub(crate) console: Console,
    observer: Option<Observer>,
    name: &'static str,
}

/// What was seen, agents and board.
pub(crate) struct Seen {
    pub(crate) history: History,
    pub(crate) boundaries: Vec<Boundary>,
    /// How many lives the board had in which its readers got something.
    pub(crate) lives: usize,
}

impl Play {
    /// Starts a farm, and provisions a board that is off. `None` where there is no firmware.
    pub(crate) fn prepare(name: &'static str, provisioning: Provisioning) -> Option<Play> {
        let firmware = firmware(name)?;
        let farm = Farm::start_holding(name, 0, &TWO, false, PACE, Contents::of_a_device());
        let relay = farm.relay_for(BOARD);
        let device = Device::provisioned(&firmware, relay.address(), provisioning);
        let console = device.console();
        Some(Play { farm, device, relay, console, observer: None, name })
    }

    /// The same, and the board is on and looked at.
    pub(crate) fn start(name: &'static str, provisioning: Provisioning) -> Option<Play> {
        let mut play = Play::prepare(name, provisioning)?;
        play.switch_on();
        Some(play)
    }

    /// Switches the board on, and begins to look at it where nobody does yet.
    pub(crate) fn switch_on(&mut self) {
        self.device.start();
        self.observer.get_or_insert_with(|| Observer::start(self.console.clone()));
    }

    /// The newest epoch that the board's readers got as current.
    pub(crate) fn read(&self) -> u64 {
        self.observer.as_ref().map_or(0, Observer::epoch)
    }

    /// Waits until the board's readers get an epoch as current that is staged from now on.
    pub(crate) fn wait_current(&mut self) {
        let wanted = self.farm.epoch() + 1;
        eventually(&format!("{}: epoch {wanted} on the board", self.name), || {
            self.device.assert_on();
            self.farm.assert_all_run();
            (self.read() >= wanted).then_some(())
        });
    }

    /// What the server tells operators of the board.
    pub(crate) fn told(&self) -> Option<Value> {
        let (_, http) = self.farm.addresses()?;
        let (_, told) = ask(http, "GET", "/v1/farms/eu/agents", b"")?;
        let id = self.device.provisioning().agent();
        told["agents"].as_array()?.iter().find(|agent| agent["agent"] == id.as_str()).cloned()
    }

    /// Heals everything, waits until all are current, and judges what their readers saw.
    pub(crate) fn finish(mut self) -> Seen {
        self.relay.heal();
        self.wait_current();
        let stack = self.console.status("stack").unwrap_or_default();
        let said = self.console.said_by_life();
        let looks = self.observer.take().map(Observer::end).unwrap_or_default();
        self.device.cut_supply();
        let mut history = self.farm.finish();
        let Provisioning { mode, rate_error, .. } = *self.device.provisioning();
        let agent = self.device.provisioning().agent();
        let (mut found, mut lives) = (Vec::new(), 0);
        for (looks, said) in looks.iter().zip(&said) {
            let life = observer::life(&agent, mode, looks, observer::switches(said), &history);
            lives += usize::from(life.readers.iter().flatten().next().is_some());
            found.extend(boundaries(looks, said, mode, rate_error, &history));
            history.lives.push(life);
        }
        let count = looks.iter().map(Vec::len).sum::<usize>();
        eprintln!("{}: {count} reads of the board in {lives} lives, {stack} bytes of stack", self.name);
        for boundary in &found {
            let Boundary { epoch, earliest, latest, epsilon, copied, .. } = boundary;
            let micros = |nanos: &i64| nanos / 1_000;
            let copied = copied.map_or(String::new(), |(late, took)| {
                format!(", a copy late by {} us that took {} us", micros(&late), micros(&took))
            });
            eprintln!(
                "{}: epoch {epoch}: over between {} and {} us from T, its epsilon {} us{copied}",
                self.name,
                micros(earliest),
                micros(latest),
                micros(epsilon),
            );
        }
        let certain = found.iter().filter(|boundary| boundary.is_within()).count();
        let middle = found.iter().filter(|boundary| boundary.may_be_by_the_middle()).count();
        eprintln!(
            "{}: of {} boundaries {middle} can have been within epsilon, {certain} were in what is promised \
             wherever between their ends",
            self.name,
            found.len()
        );
        let faults: Vec<_> = check::all(&history)
            .flat_map(|(name, verdict)| {
                verdict.faults.into_iter().map(move |fault| format!("{name}: {fault}"))
            })
            .collect();
        assert!(faults.is_empty(), "{}:\n{}\n{said:#?}", self.name, faults.join("\n"));
        let beyond: Vec<_> = found.iter().filter(|boundary| !boundary.may_be_within()).collect();
        assert!(beyond.is_empty(), "{}: the board went over beyond its bound: {beyond:?}", self.name);
        Seen { history, boundaries: found, lives }
    }
}

impl Seen {
    /// The epochs that the board's readers got as current, in the order of its lives.
    pub(crate) fn of_board(&self, agent: &str) -> Vec<u64> {
        let lives = self.history.lives.iter().filter(|life| life.agent == agent);
        let spans = lives.flat_map(|life| life.readers.iter().flatten());
        spans.filter(|span| !span.stale).map(|span| span.epoch).collect()
    }
}
