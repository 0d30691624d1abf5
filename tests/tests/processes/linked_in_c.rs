//! Agents of a real server that are written in C (`core-c/examples/agent`), beside reference agents of the
//! same farm: judged by the same checks, over what their readers saw and what they answered to reads from
//! outside. One of them looks ahead of its clock, and must be found out.

use downbeat_agent::Clock;
use downbeat_tests::check;
use downbeat_tests::farm::{FOUR, Farm, Setup};
use downbeat_tests::history::{Content, History, Kept, Life, Mode, Span, Switch};
use downbeat_tests::log::parse;
use downbeat_tests::processes::{Process, eventually};
use downbeat_tests::program::in_c;
use downbeat_tests::relay::{Relay, Traps};
use downbeat_tests::server_time::on_host;
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const FILES: [&str; 6] = ["main.c", "clock.c", "content.c", "line.c", "reader.c", "reads.c"];
/// What the phase of an armed agent is in the header.
const ARMED: u64 = 5;
/// What two processes' readings of the host's clock may disagree by, in nanoseconds.
const TWO_READINGS: i64 = 1_000;
/// How often a cut is tried that is to come between arming and T.
const TRIES: usize = 10;
/// How long an agent stays cut off at most: beyond T and the promise.
const OFFLINE: Duration = Duration::from_secs(4);
/// How far the reader of the one that is to be found out looks ahead, in nanoseconds: within the lead, so
/// that what it serves too early is staged.
const AHEAD: &str = "350000000";

/// An agent in C that runs.
struct Linked {
    name: &'static str,
    mode: Mode,
    relay: Relay,
    process: Process,
    printed: PathBuf,
}

/// What an agent in C has printed.
struct Printed {
    name: &'static str,
    mode: Mode,
    /// What its reader saw.
    seen: String,
    /// What it tells of itself.
    told: Vec<Value>,
}

impl Linked {
    fn start(program: &Path, farm: &Farm, name: &'static str, setup: Setup, more: &[&str]) -> Linked {
        let control = farm.addresses().expect("the server runs").0;
        let relay = Relay::start(100, Arc::new(Mutex::new(Some(control))), Traps::default());
        let printed = farm.folder().join(format!("{name}.txt"));
        let mut command = Command::new(program);
        let mode = if setup.mode == Mode::Strict { "strict" } else { "prompt" };
        command.args(["--farm", "eu", "--mode", mode, "--display", name, "--show", "page/row-0"]);
        command.arg("--server").arg(relay.address().to_string());
        command.arg("--clock-offset-ns").arg(setup.offset.to_string());
        command.arg("--clock-rate-ppm").arg(setup.rate.to_string());
        command.args(more);
        let errors = farm.folder().join(format!("{name}-errors.txt"));
        let process = Process::printing(command, &printed, &errors).expect("the agent in C starts");
        Linked { name, mode: setup.mode, relay, process, printed }
    }

    /// All whole lines so far.
    fn so_far(&self) -> Printed {
        let text = std::fs::read_to_string(&self.printed).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let (told, seen): (Vec<_>, Vec<_>) = whole.lines().partition(|line| line.contains("\"told\":"));
        let told = told.into_iter().map(|line| serde_json::from_str(line).expect("a line of JSON"));
        Printed {
            name: self.name,
            mode: self.mode,
            seen: seen.iter().map(|line| format!("{line}\n")).collect(),
            told: told.collect(),
        }
    }

    /// Where it answers reads.
    fn reads(&self) -> SocketAddr {
        let port =
            eventually("a port for reads", || self.so_far().of_kind("begin").next()?["reads"].as_u64());
        SocketAddr::from(([127, 0, 0, 1], u16::try_from(port).expect("a port")))
    }

    /// Ends it in order. What a sanitizer finds ends a process otherwise.
    fn end(self) -> Printed {
        let printed = self.so_far();
        let ended = self.process.terminate();
        assert!(ended.is_some_and(|status| status.success()), "{} ended with {ended:?}", self.name);
        printed
    }
}

impl Printed {
    /// What it told of one kind.
    fn of_kind(&self, kind: &str) -> impl DoubleEndedIterator<Item = &Value> {
        self.told.iter().filter(move |line| line["told"] == kind)
    }

    fn spans(&self) -> Vec<Span> {
        parse(&self.seen).expect("lines of a reader").spans
    }

    /// The newest epoch that its reader got as current.
    fn serves(&self) -> u64 {
        self.spans().iter().filter(|span| !span.stale).map(|span| span.epoch).max().unwrap_or(0)
    }

    /// What the judge is told of it. Its readers went by what was known when their plan was published.
    fn life(&self, answers: Vec<Span>) -> Life {
        let printed = parse(&self.seen).expect("lines of a reader");
        let plans: Vec<_> = self.of_kind("plan").collect();
        let switches = printed.switches.into_iter().map(|switch| Switch {
            went_by: went_by(&plans, switch.epoch).map_or(switch.epsilon, |by| by.max(switch.epsilon)),
            ..switch
        });
        Life {
            agent: self.name.to_owned(),
            mode: self.mode,
            readers: vec![printed.spans, answers],
            switches: switches.collect(),
        }
    }
}

/// ε of the plan by which readers went over to an epoch. One that is published when its switch is over came
/// too late for them.
fn went_by(plans: &[&Value], epoch: u64) -> Option<i64> {
    let mut by: Option<(i64, i64)> = None;
    for plan in plans.iter().filter(|plan| plan["staged"] == epoch) {
        let number = |name: &str| plan[name].as_i64().expect("a number");
        let (from, now) = (number("staged_from_ns"), number("now_ns"));
        by = match by {
            Some((before, epsilon)) if before <= now => Some((before, epsilon)),
            Some((_, epsilon)) if from <= now => Some((now, epsilon)),
            _ => Some((from, number("epsilon_ns"))),
        };
    }
    by.map(|(_, epsilon)| epsilon)
}

/// Somebody who reads from outside, again and again, and what was answered.
struct Asker {
    stop: Arc<AtomicBool>,
    asking: JoinHandle<Vec<(i64, Value, i64)>>,
}

impl Asker {
    fn start(at: SocketAddr) -> Asker {
        let stop = Arc::new(AtomicBool::new(false));
        let (ended, clock) = (stop.clone(), Clock::host());
        let asking = std::thread::spawn(move || {
            let mut stream = TcpStream::connect(at).expect("the agent in C takes reads");
            stream.set_nodelay(true).expect("a socket");
            let mut answers = BufReader::new(stream.try_clone().expect("a socket"));
            let mut all = Vec::new();
            while !ended.load(Ordering::Relaxed) {
                let (before, mut line) = (clock.now().as_nanos(), String::new());
                stream.write_all(b"page row-0\n").expect("it listens");
                answers.read_line(&mut line).expect("it answers");
                let answer = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
                all.push((before, answer, clock.now().as_nanos()));
                std::thread::sleep(Duration::from_millis(7));
            }
            all
        });
        Asker { stop, asking }
    }

    fn end(self) -> Vec<(i64, Value, i64)> {
        self.stop.store(true, Ordering::Relaxed);
        self.asking.join().expect("nobody but the test ends it")
    }
}

/// The edit that a line shows, where it shows one.
fn edit_of(line: &Value) -> Option<u64> {
    line["value"].as_str()?.split_once(':')?.0.parse().ok()
}

/// A value that is shown is the one of the edit that the server has on record for that epoch. Returns how
/// many were.
fn compare_values<'a>(who: &str, lines: impl Iterator<Item = &'a Value>, kept: &[Kept]) -> usize {
    let mut compared = 0;
    for line in lines {
        let Some(epoch) = line["epoch"].as_u64() else { continue };
        let Some(on_record) = kept.iter().find(|kept| kept.epoch == epoch) else { continue };
        if let (Some(edit), Content::Edit(recorded)) = (edit_of(line), on_record.content) {
            assert_eq!(edit, recorded, "{who} shows another edit in epoch {epoch}: {line}");
            compared += 1;
        }
    }
    compared
}

/// S12 of agents in C, from outside: the server's time is within what each says to know of it, which is
/// taken to be `wrong` nanoseconds later. How often that was compared, and what is wrong.
fn compare_clock(agent: &Printed, history: &History, wrong: i64) -> (usize, Vec<String>) {
    let (mut compared, mut faults) = (0, Vec::new());
    for told in agent.of_kind("clock") {
        let number = |name: &str| told[name].as_i64().expect("a number");
        let (host, timeline) = (number("host_ns"), told["timeline"].as_str().expect("a timeline"));
        let on_host = |name: &str| on_host(&history.tables, timeline, number(name) + wrong);
        let (Some((earliest, _)), Some((_, latest))) =
            (on_host("earliest_server_ns"), on_host("latest_server_ns"))
        else {
            continue;
        };
        compared += 1;
        if earliest > host + TWO_READINGS || latest < host - TWO_READINGS {
            faults.push(format!("{}: the server's time is outside of {told}", agent.name));
        }
    }
    (compared, faults)
}

fn faults(history: &History, lives: Vec<Life>) -> Vec<String> {
    let mut history = history.clone();
    history.lives.extend(lives);
    let all = check::all(&history);
    all.flat_map(|(name, verdict)| verdict.faults.into_iter().map(move |fault| format!("{name}: {fault}")))
        .collect()
}

/// Cuts an agent off when it has armed itself for an epoch, until it serves that. Again where T had come
/// before the cut, or the host was too busy to see the epoch before its promise ended.
fn cut_before_a_switch(agent: &Linked) {
    for _ in 0..TRIES {
        let seen = agent.so_far().of_kind("plan").count();
        let epoch = eventually("the plan of another switch", || {
            let printed = agent.so_far();
            let epoch = printed.of_kind("plan").skip(seen).last()?["staged"].as_u64()?;
            let armed = printed.of_kind("clock").next_back()?["phase"] == ARMED;
            (armed && epoch > printed.serves()).then_some(epoch)
        });
        agent.relay.refuse(true);
        agent.relay.cut();
        let cut = Clock::host().now().as_nanos();
        let until = Instant::now() + OFFLINE;
        while agent.so_far().serves() < epoch && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
        let spans = agent.so_far().spans();
        agent.relay.heal();
        let first = spans.iter().find(|span| span.epoch == epoch && !span.stale);
        if first.is_some_and(|span| span.first > cut) {
            return;
        }
    }
    panic!("{}: no switch came while it was cut off", agent.name)
}

#[test]
fn agents_in_c_go_over_with_the_others_and_switch_while_they_are_cut_off() {
    let program = in_c("downbeat-agent-in-c", "examples/agent", &FILES);
    let mut farm = Farm::start_with("agents in C", 0, &FOUR[1..3], true);
    farm.wait_epochs(1);
    let start = |name, setup: Setup, offset: i64, rate: i64, more: &[&str]| {
        Linked::start(&program, &farm, name, Setup { offset, rate, ..setup }, more)
    };
    let strict = start("strict-in-c", FOUR[0], -90_000_000_000, 120, &[]);
    let prompt = start("prompt-in-c", FOUR[2], 86_400_000_000_000, -180, &[]);
    let copying = start("copying-in-c", FOUR[0], 5_000_000_000, -60, &["--activation", "copy"]);
    let hasty = start("hasty-in-c", FOUR[0], 0, 0, &["--reader-ahead-ns", AHEAD]);
    let asker = Asker::start(strict.reads());
    let mut agents = [strict, prompt, copying, hasty];
    for agent in &agents {
        eventually(&format!("{} serves", agent.name), || (agent.so_far().serves() > 0).then_some(()));
    }
    farm.wait_epochs(1);
    for agent in &agents[..2] {
        cut_before_a_switch(agent);
    }
    farm.wait_epochs(2);
    // Healed, each of them takes part again.
    let wanted = farm.epoch() + 1;
    for agent in &mut agents {
        eventually(&format!("{} on epoch {wanted}", agent.name), || {
            assert_eq!(agent.process.ended(), None, "{} ended by itself", agent.name);
            (agent.so_far().serves() >= wanted).then_some(())
        });
    }
    farm.assert_all_run();
    let answers = asker.end();
    let [strict, prompt, copying, hasty] = agents.map(Linked::end);
    let history = farm.finish();

    // Reads from outside: each at an instant between asking and answer.
    let mut seen = Vec::new();
    for (before, answer, after) in &answers {
        let at = answer["host_ns"].as_i64().expect("an instant");
        assert!(before - TWO_READINGS <= at && at <= after + TWO_READINGS, "{before} {answer} {after}");
        if answer["state"] != "current" {
            continue;
        }
        let (epoch, digest) = (answer["epoch"].as_u64(), answer["digest"].as_str());
        seen.push(Span {
            epoch: epoch.expect("an epoch"),
            digest: digest.expect("a digest").to_owned(),
            stale: false,
            first: at,
            last: at,
            content: Content::Unseen,
        });
    }
    assert!(seen.len() > 100, "only {} reads were answered", seen.len());
    let compared = compare_values(strict.name, answers.iter().map(|(_, answer, _)| answer), &history.kept);
    assert!(compared > 100, "only {compared} values were compared");

    for agent in [&strict, &prompt, &copying] {
        let shown: Vec<Value> =
            agent.seen.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
        let values = compare_values(agent.name, shown.iter(), &history.kept);
        let whole = agent.spans().iter().filter(|span| span.content == Content::Whole).count();
        let (clocks, faults) = compare_clock(agent, &history, 0);
        assert!(faults.is_empty(), "{}", faults.join("\n"));
        for wrong in [-20_000_000, 20_000_000] {
            assert!(
                !compare_clock(agent, &history, wrong).1.is_empty(),
                "wrong by {wrong} ns, and not found"
            );
        }
        eprintln!("{}: {values} values, {whole} whole generations, {clocks} enclosures", agent.name);
        assert!(values >= 2 && whole >= 2 && clocks > 50, "{values} {whole} {clocks}");
    }
    let found = faults(&history, vec![strict.life(seen), prompt.life(Vec::new()), copying.life(Vec::new())]);
    assert!(found.is_empty(), "{}", found.join("\n"));
    // And what the checks are for is found in an agent of the same kind.
    let found = faults(&history, vec![hasty.life(Vec::new())]);
    assert!(found.iter().any(|fault| fault.starts_with("S7")), "the hasty reader got through: {found:?}");
}

#[test]
fn every_misuse_has_its_error_and_noise_changes_nothing() {
    let program = in_c("downbeat-misuse-in-c", "tests", &["misuse.c"]);
    let output = Command::new(program).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let checks = said.split_whitespace().next().and_then(|number| number.parse::<u64>().ok());
    assert!(checks.is_some_and(|checks| checks > 20_000), "{said}");
}
