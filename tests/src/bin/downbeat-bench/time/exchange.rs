//! What an agent knows of the server's clock by exchanging time with it in datagrams, on this host and over
//! links that delay, lose and repeat (`link`), beside the truth, which this process knows: it gives the
//! server its clock.
//!
//! The truth at a look at an agent's clock is between two looks at the server's, one before and one after
//! it. An enclosure is wrong where all of that lies outside of it.

use super::link::{Link, Way};
use super::plot::{self, Strip};
use crate::Options;
use crate::import::create;
use crate::report::{Report, Row, Unit};
use downbeat_agent::Clock;
use downbeat_agent::clock::Distortion;
use downbeat_agent::measure::SamplePath;
use downbeat_core::clock::{Enclosure, Sampled};
use downbeat_core::datagram::Key;
use downbeat_core::frame::{FRAME_MAX, Receiver, encode};
use downbeat_core::guard::Guards;
use downbeat_core::ids::{AgentId, BootId, Incarnation, Name};
use downbeat_core::message::{Hello, ToAgent, ToServer, VERSION};
use downbeat_core::time::{LocalTime, Rate, ServerTime, Span};
use downbeat_server::{Config, Handle, HostClock, Server};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The samples that an agent takes before T.
const SAMPLES: u32 = 8;
/// How far the server's time is ahead of its host's clock.
const AHEAD: Span = Span::from_secs(1_700_000_000);
/// Rates of the two clocks: ρ and ρ_s as they are by default, and errors within them.
const OWN: Rate = Rate::from_ppm(250);
const SERVER: Rate = Rate::from_ppm(100);
const OWN_ERROR: i64 = 150_000;
const SERVER_ERROR: i64 = -40_000;

/// The server's host's clock. Its wall clock goes with it, so that the server's time is never slewed.
struct Known(Clock);

impl HostClock for Known {
    fn local(&self) -> LocalTime {
        self.0.now()
    }
    fn wall(&self) -> ServerTime {
        truth(self.local())
    }
    fn boot(&self) -> BootId {
        BootId(1)
    }
}

/// The server's time at an instant of its host's clock.
fn truth(local: LocalTime) -> ServerTime {
    ServerTime::from_nanos(local.as_nanos()) + AHEAD
}

/// What came of the exchanges over one way. Spans are microseconds.
#[derive(Default)]
struct Found {
    exchanges: u64,
    /// Enclosures that the truth was outside of, and those whose ends crossed.
    wrong: u64,
    /// Of eight samples: ε, and how far the middle is from the truth.
    epsilons: Vec<f64>,
    errors: Vec<f64>,
}

impl Found {
    fn add(&mut self, other: Found) {
        self.exchanges += other.exchanges;
        self.wrong += other.wrong;
        self.epsilons.extend(other.epsilons);
        self.errors.extend(other.errors);
    }
}

/// A link and who uses it.
struct Case {
    name: &'static str,
    about: &'static str,
    /// `None`: this host's own loopback.
    ways: Option<(Way, Way)>,
    /// Threads that do nothing but take processor time.
    busy: usize,
    agents: u32,
    exchanges: u64,
}

fn cases(options: Options) -> Vec<Case> {
    let of = |exchanges: u64| if options.quick { exchanges / 500 } else { exchanges };
    let way = |least, most| Way::between(Duration::from_micros(least), Duration::from_micros(most));
    let lossy = |way: Way| Way { lost: 0.1, twice: 0.1, ..way };
    vec![
        Case {
            name: "loopback",
            about: "one agent, nothing else to do",
            ways: None,
            busy: 0,
            agents: 1,
            exchanges: of(600_000),
        },
        Case {
            name: "loopback, busy",
            about: "beside two threads that take all processor time they get",
            ways: None,
            busy: 2,
            agents: 1,
            exchanges: of(200_000),
        },
        Case {
            name: "loopback, 16 agents",
            about: "that sample without a pause",
            ways: None,
            busy: 0,
            agents: 16,
            exchanges: of(160_000),
        },
        Case {
            name: "0.1 to 0.3 ms",
            about: "each way",
            ways: Some((way(100, 300), way(100, 300))),
            busy: 0,
            agents: 16,
            exchanges: of(60_000),
        },
        Case {
            name: "5 ms ± 2",
            about: "each way, a tenth lost and a tenth twice",
            ways: Some((lossy(way(3_000, 7_000)), lossy(way(3_000, 7_000)))),
            busy: 0,
            agents: 32,
            exchanges: of(30_000),
        },
        Case {
            name: "2 there, 12 ms back",
            about: "and up to 1 ms more",
            ways: Some((way(2_000, 3_000), way(12_000, 13_000))),
            busy: 0,
            agents: 32,
            exchanges: of(30_000),
        },
        Case {
            name: "20 to 60 ms",
            about: "each way, a tenth lost and a tenth twice",
            ways: Some((lossy(way(20_000, 60_000)), lossy(way(20_000, 60_000)))),
            busy: 0,
            agents: 64,
            exchanges: of(10_000),
        },
    ]
}

/// The enclosure's width and the error of its middle, over links of all kinds.
pub(crate) fn exchange(options: Options, report: &mut Report) -> io::Result<()> {
    let folder = tempfile::tempdir()?;
    let server_clock = Clock::distorted(Distortion { offset: Span::from_secs(-900), rate_ppb: SERVER_ERROR });
    let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let config = Config {
        control: free,
        http: free,
        clock: Some(Arc::new(Known(server_clock.clone()))),
        server_rate: SERVER,
        ..Config::new(folder.path().join("downbeat.db"))
    };
    let server = Server::start(config).map_err(io::Error::other)?;
    create(&server, &serde_json::json!({}))?;
    let (mut all, mut strips) = (Found::default(), Vec::new());
    for case in cases(options) {
        let found = run(&case, &server, &server_clock)?;
        let of = |what: &str| format!("{}: {what}", case.name);
        let epsilons = Row::new(&of("ε by eight samples"), Unit::Micros, found.epsilons.clone());
        report.push(epsilons.note(case.about));
        let errors = Row::new(&of("error of the middle"), Unit::Micros, found.errors.clone());
        let bar = case.ways.is_none() && case.busy == 0 && case.agents == 1;
        report.push(if bar { errors.bar_p99(15.0) } else { errors });
        for (name, micros) in [("ε", &found.epsilons), ("error of the middle", &found.errors)] {
            // A thousand dots say as much as all.
            let micros = micros.iter().step_by(micros.len().div_ceil(1_000).max(1)).copied().collect();
            strips.push(Strip { group: case.name.into(), name: name.into(), ours: name == "ε", micros });
        }
        all.add(found);
    }
    let wanted = if options.quick { 0 } else { 1_000_000 };
    let missing = wanted - (all.exchanges as f64).min(wanted as f64) as i64;
    report.push(
        Row::new("enclosures that the server's time was not in", Unit::Count, vec![all.wrong as f64])
            .bar_most(0.0)
            .note(format!(
                "of {} exchanges; clocks +150 and -40 ppm wrong, ρ 250 and ρ_s 100 ppm",
                all.exchanges
            )),
    );
    let row = Row::new("exchanges short of a million", Unit::Count, vec![missing as f64]);
    report.push(row.bar_most(0.0));
    let Some(folder) = options.svg else { return Ok(()) };
    let head = "ε by eight samples, and how far the middle of the enclosure is from the server's time";
    plot::write(&folder.join("exchange.svg"), &plot::strips(head, &strips))
}

fn run(case: &Case, server: &Handle, server_clock: &Clock) -> io::Result<Found> {
    let link = case.ways.map(|(there, back)| Link::start(server.control(), there, back)).transpose()?;
    let to = link.as_ref().map_or(server.control(), Link::address);
    let stop = Arc::new(AtomicBool::new(false));
    let idlers: Vec<_> = (0..case.busy)
        .map(|_| {
            let stop = stop.clone();
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            })
        })
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let each = case.exchanges / u64::from(case.agents);
    let found = runtime.block_on(async {
        let mut agents = Vec::new();
        for agent in 0..case.agents {
            let incarnation = Incarnation(u64::from(agent) + 1);
            let key = key(server.control(), incarnation)?;
            let distortion =
                Distortion { offset: Span::from_secs(i64::from(agent) * 3_600), rate_ppb: OWN_ERROR };
            let clock = Clock::distorted(distortion);
            let path = SamplePath::open(to, incarnation, key, clock.clone())?;
            agents.push(tokio::spawn(sample(path, clock, server_clock.clone(), each)));
        }
        let mut found = Found::default();
        for agent in agents {
            found.add(agent.await.map_err(io::Error::other)?);
        }
        Ok(found)
    });
    stop.store(true, Ordering::Relaxed);
    for idler in idlers {
        idler.join().map_err(|_| io::Error::other("a busy thread panicked"))?;
    }
    found
}

/// Exchanges as an agent does, eight for each switch, over and over.
async fn sample(mut path: SamplePath, clock: Clock, server: Clock, exchanges: u64) -> Found {
    let new = || Enclosure::new(OWN, SERVER, downbeat_agent::clock::GRANULARITY, Guards::ALL);
    let (mut long, mut found) = (new(), Found::default());
    while found.exchanges < exchanges {
        let mut fresh = new();
        for _ in 0..SAMPLES {
            let Some(sample) = path.sample(Duration::from_millis(300)).await else { continue };
            found.exchanges += 1;
            let sampled = [long.sample(sample), fresh.sample(sample)];
            let before = truth(server.now());
            let now = clock.now();
            let after = truth(server.now());
            let outside = |enclosure: &Enclosure| {
                enclosure.earliest(now).is_none_or(|earliest| earliest > after)
                    || enclosure.latest(now).is_none_or(|latest| latest < before)
            };
            let broken =
                sampled.iter().any(|sampled| matches!(sampled, Sampled::Broken | Sampled::Impossible));
            found.wrong += u64::from(broken || outside(&long) || outside(&fresh));
        }
        let before = truth(server.now());
        let now = clock.now();
        let truth = before + (truth(server.now()) - before).part(2);
        if let (Some(epsilon), Some(middle)) = (fresh.epsilon(now), fresh.midpoint(now)) {
            found.epsilons.push(epsilon.as_nanos() as f64 / 1e3);
            found.errors.push((middle - truth).as_nanos().abs() as f64 / 1e3);
        }
    }
    found
}

/// Says hello as an agent, and is told the key of its datagrams.
fn key(server: SocketAddr, incarnation: Incarnation) -> io::Result<Key> {
    let mut stream = TcpStream::connect(server)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let hello = Hello {
        version: VERSION,
        farm: Name::new("main").map_err(io::Error::other)?,
        agent: AgentId([7; 16]),
        display: Default::default(),
        incarnation,
        token: Default::default(),
        datasets: Default::default(),
    };
    let mut frame = [0; FRAME_MAX];
    let len = encode(&ToServer::Hello(hello), &mut frame).map_err(io::Error::other)?;
    stream.write_all(&frame[..len])?;
    let mut receiver = Receiver::new();
    let mut chunk = [0; 1_024];
    loop {
        let len = stream.read(&mut chunk)?;
        if len == 0 {
            return Err(io::Error::other("the server takes no datagrams"));
        }
        let mut rest = &chunk[..len];
        while let Some(message) = receiver.next::<ToAgent<&[u8]>>(&mut rest) {
            if let Ok(ToAgent::TimePath { key, .. }) = message {
                return Ok(key);
            }
        }
    }
}
