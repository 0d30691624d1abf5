//! Each name is taken through the renaming that is of its kind, and each thing that no later step looks
//! at is forgotten. That stepping commutes with it is shown elsewhere (see the head of `symmetry`).

use super::*;
use crate::agent::{Config, Link, Outstanding, Start};
use crate::clock::{Enclosure, Sample};
use crate::effect::Cache;
use crate::guard::Guards;
use crate::ids::AgentId;
use crate::message::{ObjectRef, Veto};
use crate::serving::{Activation, Mode};
use crate::settings::Settings;
use crate::step::{Armed, Retrieving, Sampling};
use crate::time::Rate;

/// Each kind of name moves by an amount of its own; instants of a timeline by one that tells the line.
struct Moved;

impl Renaming for Moved {
    fn local(&mut self, instant: LocalTime) -> LocalTime {
        instant + Span::from_nanos(1_000)
    }
    fn server(&mut self, line: Option<TimelineId>, instant: ServerTime) -> ServerTime {
        instant + Span::from_nanos(20_000 + line.map_or(0, |line| line.counter as i64))
    }
    fn reading(&mut self, line: TimelineId, reading: ServerTime) -> ServerTime {
        reading + Span::from_nanos(300_000 + line.counter as i64)
    }
    fn timeline(&mut self, line: TimelineId) -> TimelineId {
        TimelineId { counter: line.counter + 40, ..line }
    }
    fn epoch(&mut self, epoch: Epoch) -> Epoch {
        epoch + 500
    }
    fn token(&mut self, token: Token) -> Token {
        token + 600
    }
    fn digest(&mut self, digest: Digest) -> Digest {
        Digest(digest.0.map(|byte| byte + 70))
    }
    fn boot(&mut self, boot: BootId) -> BootId {
        BootId(boot.0 + 8)
    }
}

const LINE: TimelineId = TimelineId { counter: 7, random: 9 };
const NOW: LocalTime = LocalTime::from_nanos(50);

fn at(nanos: i64) -> LocalTime {
    LocalTime::from_nanos(nanos)
}
fn instant(nanos: i64) -> ServerTime {
    ServerTime::from_nanos(nanos)
}
fn generation(epoch: Epoch, of: u8) -> Generation {
    Generation { epoch, digest: Digest([of; 32]) }
}

fn agent() -> Agent {
    let config = Config::new(AgentId::default(), Mode::Strict);
    let start = Start { incarnation: Incarnation(5), boot: BootId(1), now: NOW, page: None, last_good: None };
    Agent { timeline: Some(LINE), ..Agent::new(config, start) }
}
fn renamed(agent: &Agent) -> Agent {
    agent.renamed(NOW, Incarnation(5), &mut Moved).0
}

fn published() -> SwitchPlan {
    SwitchPlan {
        serial: 4,
        boot: BootId(1),
        mode: Mode::Strict,
        activation: Activation::Copy,
        active: Some(generation(2, 2)),
        stale: true,
        active_until: at(10),
        staged: Some(generation(3, 3)),
        staged_from: at(11),
        staged_until: at(12),
    }
}
/// [`published`] under its new names.
fn published_anew() -> SwitchPlan {
    SwitchPlan {
        serial: 0,
        boot: BootId(9),
        active: Some(generation(502, 72)),
        active_until: at(1_010),
        staged: Some(generation(503, 73)),
        staged_from: at(1_011),
        staged_until: at(1_012),
        ..published()
    }
}

fn table() -> TableView {
    TableView {
        staged: generation(3, 3),
        active: Some(generation(2, 2)),
        activation: instant(100),
        next_earliest: instant(200),
        grid: instant(5),
        landing: Some(instant(150)),
        settings: Settings { interval: Span::from_nanos(10), ..Settings::default() },
        held: true,
    }
}
/// [`table`] under its new names, as an agent keeps it: from where regular times count is nothing to it.
fn table_anew() -> TableView {
    TableView {
        staged: generation(503, 73),
        active: Some(generation(502, 72)),
        activation: instant(20_107),
        next_earliest: instant(20_207),
        grid: ServerTime::MIN,
        landing: None,
        ..table()
    }
}

#[test]
fn what_stands_for_no_instant_stays() {
    for none in [LocalTime::MIN, LocalTime::MAX] {
        assert_eq!(local(&mut Moved, none), none);
    }
    for none in [ServerTime::MIN, ServerTime::MAX] {
        assert_eq!(server(&mut Moved, Some(LINE), none), none);
    }
    assert_eq!(local(&mut Moved, at(1)), at(1_001));
    assert_eq!(server(&mut Moved, Some(LINE), instant(1)), instant(20_008));
    assert_eq!(server(&mut Moved, None, instant(1)), instant(20_001));
}

#[test]
fn every_name_in_a_plan_is_renamed_and_its_serial_cleared() {
    assert_eq!(plan(&mut Moved, &published()), published_anew());
}

#[test]
fn every_name_in_a_table_is_renamed_and_its_grid_is_the_next_regular_instant() {
    let expected = TableView { grid: instant(300_032), landing: Some(instant(20_157)), ..table_anew() };
    assert_eq!(view(&mut Moved, LINE, instant(18), &table()), expected);
}

#[test]
fn the_first_regular_instant_is_at_or_after_now() {
    let first = |now| first_regular(instant(5), Span::from_nanos(10), instant(now));
    assert_eq!([first(12), first(15), first(16), first(-1)], [15, 15, 25, 5].map(instant));
}

#[test]
fn every_name_in_a_request_is_renamed() {
    let (token, target, have) = (3, generation(3, 3), Some(generation(2, 2)));
    let (object, renamed) = (Digest([4; 32]), Digest([74; 32]));
    for (body, expected) in [
        (RequestBody::Read, RequestBody::Read),
        (RequestBody::Time, RequestBody::Time),
        (RequestBody::Lock, RequestBody::Lock),
        (
            RequestBody::Advance { token, activation: instant(100) },
            RequestBody::Advance { token: 603, activation: instant(20_107) },
        ),
        (RequestBody::Unlock { token }, RequestBody::Unlock { token: 603 }),
        (
            RequestBody::Route { target, have, snapshots_only: true },
            RequestBody::Route {
                target: generation(503, 73),
                have: Some(generation(502, 72)),
                snapshots_only: true,
            },
        ),
        (
            RequestBody::Fetch { object, offset: 1, len: 2 },
            RequestBody::Fetch { object: renamed, offset: 1, len: 2 },
        ),
    ] {
        assert_eq!(request_body(&mut Moved, Some(LINE), &body), expected);
    }
}

#[test]
fn every_object_of_a_route_is_renamed() {
    let of = |name: u8, len| ObjectRef { name: Digest([name; 32]), len };
    let before = Route { objects: [of(1, 10), of(2, 20)].into_iter().collect() };
    let after = Route { objects: [of(71, 10), of(72, 20)].into_iter().collect() };
    assert_eq!(route(&mut Moved, &before), after);
}

#[test]
fn every_name_that_a_machine_holds_is_renamed() {
    let request = Outstanding {
        number: 12,
        body: RequestBody::Unlock { token: 3 },
        sent: at(20),
        last_sent: at(21),
        deadline: at(22),
    };
    let before = Agent {
        link: Link::Greeting { again: at(30) },
        table: Some(table()),
        last_number: 10,
        outstanding: Some(request),
        step: Step::Waiting { until: at(31) },
        active: Some(generation(2, 2)),
        staged: Some(generation(3, 3)),
        spare: Some(generation(1, 1)),
        refused: Some((generation(3, 4), Veto::Invalid)),
        refused_active: Some((generation(2, 4), Veto::TooLarge)),
        published: published(),
        first: First::Is(LINE, 3),
        start_wait: Some(at(32)),
        ..agent()
    };
    let request = Outstanding {
        number: 2,
        body: RequestBody::Unlock { token: 603 },
        sent: at(1_020),
        last_sent: at(1_021),
        deadline: at(1_022),
    };
    let line = TimelineId { counter: 47, ..LINE };
    let expected = Agent {
        timeline: Some(line),
        boot: BootId(9),
        link: Link::Greeting { again: at(1_030) },
        table: Some(table_anew()),
        last_number: 0,
        outstanding: Some(request),
        step: Step::Waiting { until: at(1_031) },
        active: Some(generation(502, 72)),
        staged: Some(generation(503, 73)),
        spare: Some(generation(501, 71)),
        refused: Some((generation(503, 74), Veto::Invalid)),
        refused_active: Some((generation(502, 74), Veto::TooLarge)),
        published: published_anew(),
        first: First::Is(line, 503),
        start_wait: Some(at(1_032)),
        ..before.clone()
    };
    assert_eq!(before.renamed(NOW, Incarnation(5), &mut Moved), (expected, 10));
}

#[test]
fn every_name_in_a_step_is_renamed() {
    let (old, new) = (generation(3, 3), generation(503, 73));
    let armed = |shift: i64| {
        let sampling = Sampling::over(Span::from_nanos(40), 3, Span::ZERO);
        let jitter = Span::from_nanos(3);
        Step::Armed(Armed::new(3, at(100 + shift), sampling, jitter, (at(200 + shift), at(150 + shift))))
    };
    for (step, expected) in [
        (Step::Reading, Step::Reading),
        (Step::Locking { since: at(1) }, Step::Locking { since: at(1_001) }),
        (
            Step::Advancing { token: 3, activation: instant(100), lease_over: at(2) },
            Step::Advancing { token: 603, activation: instant(20_107), lease_over: at(1_002) },
        ),
        (
            Step::Retrieving(Retrieving::begin(old, Cache::Active, at(4))),
            Step::Retrieving(Retrieving::begin(new, Cache::Active, at(1_004))),
        ),
        (armed(0), armed(1_000)),
    ] {
        assert_eq!(renamed(&Agent { step, ..agent() }).step, expected);
    }
}

// The enclosure

#[test]
fn samples_that_do_not_age_are_moved_along_and_others_keep_their_instants() {
    let (none, some) = (Rate::ZERO, Rate::from_ppm(100));
    for (rate, granularity, ages) in [(none, 0, false), (some, 0, true), (none, 40, true)] {
        let enclosure = |sent, received, answered, arrived| {
            let mut clock = Enclosure::new(rate, none, Span::from_nanos(granularity), Guards::ALL);
            let (sent, arrived) = (at(sent), at(arrived));
            let (received, answered) = (instant(received), instant(answered));
            let _ = clock.sample(Sample { sent, received, answered, arrived });
            clock
        };
        let clock = enclosure(10, 500, 501, 20);
        let expected = if ages {
            enclosure(1_010, 300_507, 300_508, 1_020)
        } else {
            enclosure(1_050, 300_547, 300_538, 1_050)
        };
        assert_eq!(clock.renamed(Some(LINE), NOW, &mut Moved), expected, "{rate:?}, {granularity} ns");
        let without_a_line = clock.renamed(None, NOW, &mut Moved);
        assert_eq!(without_a_line.latest(at(1_050)), clock.latest(NOW), "readings of no line stay");
    }
}

// What is forgotten

#[test]
fn the_last_round_trip_counts_only_where_samples_are_taken() {
    for (samples, alike) in [(0, true), (8, false)] {
        let mut agent = agent();
        agent.config.samples = samples;
        let mut other = agent.clone();
        other.last_trip = Span::from_nanos(9);
        other.last_number = 3;
        other.published.serial = 2;
        let (other, shift) = other.canonical(Incarnation(5));
        assert_eq!((agent.canonical(Incarnation(5)).0 == other, shift), (alike, 3), "{samples} samples");
    }
}

#[test]
fn failures_are_counted_until_the_back_off_is_as_long_as_it_gets() {
    // 100 ms are doubled seven times until they are 10 s.
    for (attempt, kept) in [(0, 0), (1, 1), (6, 6), (7, 7), (8, 7), (200, 7)] {
        assert_eq!(renamed(&Agent { attempt, ..agent() }).attempt, kept);
    }
    let mut at_once = Agent { attempt: 9, ..agent() };
    at_once.config.back_off = (Span::from_secs(1), Span::from_secs(1));
    assert_eq!(renamed(&at_once).attempt, 1, "whether there was one is looked at");
}

#[test]
fn the_first_epoch_is_forgotten_when_it_is_over_or_of_another_line() {
    let first = |timeline, staged| {
        let table = Some(TableView { staged: generation(staged, 3), ..table() });
        let agent = Agent { timeline: Some(timeline), table, first: First::Is(LINE, 3), ..agent() };
        renamed(&agent).first
    };
    let kept = First::Is(TimelineId { counter: 47, ..LINE }, 503);
    assert_eq!([first(LINE, 2), first(LINE, 3), first(LINE, 4)], [kept, kept, First::TookOver]);
    assert_eq!(first(TimelineId { counter: 8, ..LINE }, 3), First::TookOver);
}

#[test]
fn samples_are_forgotten_when_the_last_was_asked_for_or_the_switch_is_decided() {
    let armed = |left, window, decided| {
        let sampling = Sampling::over(Span::from_nanos(window), left, Span::ZERO);
        let mut armed = Armed::new(left, at(100), sampling, Span::ZERO, (at(200), LocalTime::MIN));
        armed.decided = decided;
        renamed(&Agent { step: Step::Armed(armed), ..agent() }).step
    };
    assert_eq!(armed(0, 40, false), armed(0, 60, false));
    assert_eq!(armed(2, 40, true), armed(3, 60, true));
    assert_ne!(armed(2, 40, false), armed(2, 60, false), "samples are still to be taken");
}

#[test]
fn what_a_route_was_asked_from_is_forgotten() {
    let asked = |have| {
        let mut agent = agent();
        let body = RequestBody::Route { target: generation(3, 3), have, snapshots_only: true };
        agent.ask(NOW, body, &mut crate::agent::Out::new(&mut |_| {}));
        renamed(&agent)
    };
    assert_eq!(asked(Some(generation(2, 2))), asked(None));
}

#[test]
fn checkers_are_told_the_last_request_and_the_one_that_is_waited_for() {
    let mut agent = agent();
    assert_eq!((agent.last_number(), agent.asks()), (0, None));
    for number in 1..4 {
        agent.ask(NOW, RequestBody::Read, &mut crate::agent::Out::new(&mut |_| {}));
        assert_eq!((agent.last_number(), agent.asks()), (number, Some(number)));
    }
    agent.outstanding = None;
    assert_eq!((agent.last_number(), agent.asks()), (3, None));
}
