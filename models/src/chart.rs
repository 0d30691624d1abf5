//! A run of the model as a sequence chart: what happened in which order between server and agents,
//! at which real time and by whose clock, what readers got, and at the end which property was broken
//! by what. Here is what a chart *is* and how it is found from a path; it is written as text in
//! `chart/text.rs` and as a picture in `chart/svg.rs`, the words for it are in `chart/words.rs`, and
//! the last paragraph is in `chart/verdict.rs`.

pub mod svg;
pub mod text;
mod verdict;
mod words;

use crate::actions::Action;
use crate::configuration::{Configuration, Kind};
use crate::recover::tried;
use crate::search::shortest;
use crate::twins::Twin;
use crate::world::{Payload, World};
use downbeat_core::serving::{Mode, Serving};

/// What a read gets, as far as a chart shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shown {
    /// The active generation, by its epoch.
    Active(u64),
    /// The staged one.
    Staged(u64),
    /// One that is marked stale.
    Stale(u64),
    /// Nothing yet.
    Held,
    /// Nothing.
    Fenced,
}

impl Shown {
    fn of(serving: Serving) -> Shown {
        match serving {
            Serving::Active(generation) => Shown::Active(generation.epoch),
            Serving::Staged(generation) => Shown::Staged(generation.epoch),
            Serving::Stale(generation) => Shown::Stale(generation.epoch),
            Serving::Hold => Shown::Held,
            Serving::Fenced => Shown::Fenced,
        }
    }
    /// In a word, and a number where there is one.
    pub fn words(self) -> String {
        match self {
            Shown::Active(epoch) => format!("active {epoch}"),
            Shown::Staged(epoch) => format!("staged {epoch}"),
            Shown::Stale(epoch) => format!("stale {epoch}"),
            Shown::Held => "held".into(),
            Shown::Fenced => "fenced".into(),
        }
    }
}

/// Whose lifeline.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// The data server's.
    Server,
    /// An agent's.
    Agent(usize),
}

/// What kind of thing happens on a lifeline.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sort {
    /// A timer.
    Timer,
    /// A fault.
    Fault,
    /// An operation.
    Operation,
    /// Anything else: a process starts, a reader answers.
    Other,
}

/// A message, where it arrives or is lost.
#[derive(Clone, Debug)]
pub struct Message {
    /// The agent that it is from or for.
    pub agent: usize,
    /// Whether it is a request.
    pub to_server: bool,
    /// Its kind and the numbers that matter.
    pub label: String,
    /// r, s and a, where the message took time.
    pub stamps: Option<String>,
    /// The row in which it was sent, where that was at an earlier real time; and that time.
    pub sent: Option<(usize, i64)>,
    /// Whether it is lost here.
    pub lost: bool,
}

/// What a row shows.
#[derive(Clone, Debug)]
pub enum What {
    /// Real time has gone on by one; also the first row.
    Tick,
    /// A message arrives, or is lost.
    Message(Message),
    /// Something happens on a lifeline.
    Mark(Place, Sort, String),
    /// Ticks in which nothing but timers happened: from one real time to another.
    Quiet(i64),
    /// What follows is the schedule without faults that R1 tries.
    Healed,
}

/// One row of a chart, with what is so after it.
#[derive(Clone, Debug)]
pub struct Row {
    /// Real time, in ticks.
    pub now: i64,
    /// What the server's clock shows.
    pub server: i64,
    /// What each agent's clock shows.
    pub locals: Vec<i64>,
    /// What a read of each agent gets.
    pub shown: Vec<Shown>,
    /// What happens.
    pub what: What,
    /// What changed by it: a published plan, the table.
    pub notes: Vec<(Place, String)>,
}

/// A sequence chart.
#[derive(Clone, Debug)]
pub struct Chart {
    /// The twin's name.
    pub name: String,
    /// Its mistake, in a sentence.
    pub trap: String,
    /// The property that falls.
    pub property: &'static str,
    /// Steps of the path.
    pub steps: usize,
    /// The mode of each agent.
    pub modes: Vec<Mode>,
    /// Where it begins.
    pub begin: String,
    /// In the order of time.
    pub rows: Vec<Row>,
    /// Which property, what it says, and what contradicts it.
    pub verdict: Vec<String>,
}

/// The chart of a twin's shortest counterexample; none where the property is not broken.
pub fn of_twin(twin: &Twin, property: &'static str) -> Option<Chart> {
    let config = twin.broken();
    let path = shortest(&config, property).0?;
    Some(of_path(&config, twin.name, twin.trap, property, &path))
}

/// The chart of a path that breaks a property.
pub fn of_path(
    config: &Configuration,
    name: &str,
    trap: &str,
    property: &'static str,
    path: &[Action],
) -> Chart {
    let mut world = World::new(config);
    let mut drawing = Drawing::new(config, &world);
    let mut verdict = verdict::of_begin(config, property, &world);
    for action in path {
        let before = world.clone();
        world.step(config, *action);
        drawing.step(&before, *action, &world);
        verdict = verdict::of_step(config, property, &before, *action, &world);
    }
    if property.starts_with("R1") {
        drawing.row(&world, What::Healed, Vec::new());
        tried(config, &world, &mut |before, action| {
            let mut after = before.clone();
            after.step(config, action);
            drawing.step(before, action, &after);
        });
    }
    Chart {
        name: name.into(),
        trap: trap.into(),
        property,
        steps: path.len(),
        modes: config.modes.to_vec(),
        begin: words::begin(config, &World::new(config)),
        rows: without_quiet(drawing.rows),
        verdict,
    }
}

/// When a packet that is on its way was sent.
#[derive(Clone, Copy)]
struct Flight {
    row: usize,
    real: i64,
}

/// A chart under way: its rows, and the packets on their way in the order of the world's network.
struct Drawing<'a> {
    config: &'a Configuration,
    rows: Vec<Row>,
    flights: Vec<Flight>,
}

impl<'a> Drawing<'a> {
    fn new(config: &'a Configuration, world: &World) -> Drawing<'a> {
        let flights = vec![Flight { row: 0, real: world.now }; world.network.len()];
        let mut drawing = Drawing { config, rows: Vec::new(), flights };
        let agents = 0..world.hosts.len();
        let plans = agents.map(|index| (Place::Agent(index), words::plan(&world.hosts[index].page)));
        let mut notes: Vec<_> = plans.collect();
        notes.push((Place::Server, format!("table: {}", words::table(&world.server.store.table))));
        drawing.row(world, What::Tick, notes);
        drawing
    }

    fn row(&mut self, world: &World, what: What, notes: Vec<(Place, String)>) {
        let agents = 0..world.hosts.len();
        self.rows.push(Row {
            now: world.now,
            server: world.server_now().as_nanos(),
            locals: agents.clone().map(|index| world.local_now(index).as_nanos()).collect(),
            shown: agents.map(|index| Shown::of(world.read(index))).collect(),
            what,
            notes,
        });
    }

    fn step(&mut self, before: &World, action: Action, after: &World) {
        let mut what = self.what(before, action, after);
        if let (What::Mark(_, Sort::Timer, text), [sent]) = (&mut what, new_packets(before, after).as_slice())
            && let Payload::Request(request) = &after.network[*sent].payload
        {
            *text = format!("timer: asks {}", words::request(request));
        }
        self.row(after, what, words::changes(before, after));
        self.follow(before, after);
    }

    fn what(&self, before: &World, action: Action, after: &World) -> What {
        let mark = |place, sort| What::Mark(place, sort, words::mark(self.config, before, action, after));
        match action {
            Action::Tick => What::Tick,
            Action::Deliver(place) => self.message(before, place as usize, false),
            Action::Packet(Kind::Lose, place) => self.message(before, place as usize, true),
            Action::Packet(_, place) => {
                let packet = &before.network[place as usize];
                let agent = Place::Agent(packet.agent as usize);
                // It happens to the sender's message.
                let sender =
                    if matches!(packet.payload, Payload::Request(_)) { agent } else { Place::Server };
                mark(sender, Sort::Fault)
            }
            Action::Wake(index) => mark(Place::Agent(index as usize), Sort::Timer),
            Action::Agent(Kind::Suspend, index) => mark(Place::Agent(index as usize), Sort::Other),
            Action::Agent(_, index) | Action::WriteOldPage(index) => {
                mark(Place::Agent(index as usize), Sort::Fault)
            }
            Action::Resume(index) | Action::HandOver(index) | Action::Reach(index) => {
                mark(Place::Agent(index as usize), Sort::Other)
            }
            Action::Operate(_) => mark(Place::Server, Sort::Operation),
            Action::Server(..) => mark(Place::Server, Sort::Fault),
            _ => mark(Place::Server, Sort::Other),
        }
    }

    fn message(&self, before: &World, place: usize, lost: bool) -> What {
        let packet = &before.network[place];
        let flight = self.flights[place];
        let agent = packet.agent as usize;
        let (to_server, label, stamps) = words::packet(before, packet);
        let sent = (flight.real < before.now).then_some((flight.row, flight.real));
        What::Message(Message { agent, to_server, label, stamps, sent, lost })
    }

    /// The packets on their way after a step: those that were there before it keep their row.
    fn follow(&mut self, before: &World, after: &World) {
        let new = Flight { row: self.rows.len() - 1, real: before.now };
        let mut old: Vec<Option<Flight>> = self.flights.iter().copied().map(Some).collect();
        let known = |packet: &crate::world::Packet, old: &mut Vec<Option<Flight>>| {
            let same = |at: &usize| {
                let known = &before.network[*at];
                old[*at].is_some() && known.agent == packet.agent && known.payload == packet.payload
            };
            let at = (0..before.network.len()).find(same)?;
            old[at].take()
        };
        self.flights = after.network.iter().map(|packet| known(packet, &mut old).unwrap_or(new)).collect();
    }
}

/// Places of the packets that a step sent.
fn new_packets(before: &World, after: &World) -> Vec<usize> {
    let is_new = |at: &usize| {
        let packet = &after.network[*at];
        !before.network.iter().any(|known| known.agent == packet.agent && known.payload == packet.payload)
    };
    (0..after.network.len()).filter(is_new).collect()
}

/// Three ticks or more in which nothing but timers happened become one row.
fn without_quiet(rows: Vec<Row>) -> Vec<Row> {
    let quiet = |row: &Row, known: &Row| {
        let timer = matches!(&row.what, What::Mark(_, Sort::Timer, text) if !text.contains("asks"));
        (timer || matches!(row.what, What::Tick)) && row.notes.is_empty() && row.shown == known.shown
    };
    // Rows are counted from where arrows begin, so that those move with what is left out.
    let mut places = vec![0; rows.len()];
    let mut kept: Vec<Row> = Vec::new();
    let mut at = 0;
    while at < rows.len() {
        let mut end = at;
        while at > 0 && end < rows.len() && quiet(&rows[end], &rows[at - 1]) {
            end += 1;
        }
        let ticks: Vec<usize> = (at..end).filter(|row| matches!(rows[*row].what, What::Tick)).collect();
        if let [first, .., last] = ticks.as_slice()
            && ticks.len() > 3
        {
            kept.extend(rows[at..*first].iter().cloned());
            kept.push(Row { what: What::Quiet(rows[*first].now), ..rows[*last - 1].clone() });
            at = *last;
        }
        places[at] = kept.len();
        kept.push(rows[at].clone());
        at += 1;
    }
    for row in &mut kept {
        if let What::Message(Message { sent: Some((from, _)), .. }) = &mut row.what {
            *from = places[*from];
        }
    }
    kept
}
