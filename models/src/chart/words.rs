//! The words of a chart: messages with the numbers that matter, plans, the table, and what a step is
//! called by a person.

use super::Place;
use crate::actions::Action;
use crate::configuration::{Configuration, Kind};
use crate::world::{Packet, Payload, World};
use downbeat_core::message::{ReplyBody, Request, RequestBody, ToAgent};
use downbeat_core::serving::SwitchPlan;
use downbeat_core::table::{SyncTable, TableView};
use downbeat_core::time::LocalTime;

/// A request and the numbers that matter.
pub(super) fn request(request: &Request) -> String {
    match &request.body {
        RequestBody::Read => "Read".into(),
        RequestBody::Lock => "Lock".into(),
        RequestBody::Advance { token, activation } => {
            format!("Advance token {token}, T {}", activation.as_nanos())
        }
        RequestBody::Unlock { token } => format!("Unlock token {token}"),
        RequestBody::Route { target, .. } => format!("Route to {}", target.epoch),
        RequestBody::Fetch { .. } => "Fetch".into(),
        RequestBody::Report(_) => "Report".into(),
        RequestBody::Time => "Time".into(),
    }
}

fn view(table: &TableView) -> String {
    let held = if table.held { ", held" } else { "" };
    format!(
        "k {}, T {}, P {}{held}",
        table.staged.epoch,
        table.activation.as_nanos(),
        table.next_earliest.as_nanos()
    )
}

fn answer(body: &ReplyBody<u16>) -> String {
    match body {
        ReplyBody::Table(table) => format!("Table {}", view(table)),
        ReplyBody::Granted { grant, table } => {
            format!("Granted token {}, {}", grant.token, view(table))
        }
        ReplyBody::NotDue(table) => format!("NotDue {}", view(table)),
        ReplyBody::Busy { table, .. } => format!("Busy {}", view(table)),
        ReplyBody::Advanced(table) => format!("Advanced {}", view(table)),
        ReplyBody::Refused { why, table } => format!("Refused: {why:?}, k {}", table.staged.epoch),
        ReplyBody::Unlocked => "Unlocked".into(),
        ReplyBody::Route(_) => "Route".into(),
        ReplyBody::Bytes { .. } => "Bytes".into(),
        ReplyBody::Gone => "Gone".into(),
        ReplyBody::Noted => "Noted".into(),
        ReplyBody::Time => "Time".into(),
    }
}

/// Whether a packet goes to the server, what it is, and r, s and a where it has them and they are not
/// simply the clocks of this instant.
pub(super) fn packet(world: &World, packet: &Packet) -> (bool, String, Option<String>) {
    match &packet.payload {
        Payload::Request(asked) => (true, request(asked), None),
        Payload::Answer(ToAgent::Reply(reply), _) => {
            let stamp = reply.stamp;
            let now = world.server_now();
            let plain = stamp.received == now
                && stamp.answered == now
                && stamp.timeline == world.line().id
                && stamp.echo == world.local_now(packet.agent as usize);
            let stamps = (!plain).then(|| {
                let line =
                    if stamp.timeline == world.line().id { String::new() } else { line(&stamp.timeline) };
                let (a, r, s) = (stamp.echo.as_nanos(), stamp.received.as_nanos(), stamp.answered.as_nanos());
                format!("a {a}, r {r}, s {s}{line}")
            });
            (false, answer(&reply.body), stamps)
        }
        Payload::Answer(ToAgent::Welcome(_), _) => (false, "Welcome".into(), None),
        Payload::Answer(ToAgent::Error { code, .. }, _) => (false, format!("Error {code:?}"), None),
        Payload::Answer(ToAgent::TimePath { .. }, _) => (false, "TimePath".into(), None),
    }
}

fn line(id: &downbeat_core::ids::TimelineId) -> String {
    format!(", line {}", id.counter)
}

/// An instant of a plan.
fn at(instant: LocalTime) -> String {
    match instant {
        LocalTime::MIN => "never".into(),
        LocalTime::MAX => "ever".into(),
        instant => instant.as_nanos().to_string(),
    }
}

/// A switch plan.
pub(super) fn plan(plan: &SwitchPlan) -> String {
    let active = plan.active.map(|active| {
        let stale = if plan.stale { " stale" } else { "" };
        format!("{}{stale} until {}", active.epoch, at(plan.active_until))
    });
    let staged = plan.staged.map(|staged| {
        format!("{} from {} until {}", staged.epoch, at(plan.staged_from), at(plan.staged_until))
    });
    match (active, staged) {
        (Some(active), Some(staged)) => format!("plan: {active}, {staged}"),
        (Some(only), None) | (None, Some(only)) => format!("plan: {only}"),
        (None, None) => "plan: nothing".into(),
    }
}

/// The table: what is staged, its T and its promise, and the lock.
pub(super) fn table(table: &SyncTable) -> String {
    let mut words = view(&table.view());
    if let Some(lock) = table.lock {
        words += &format!("; token {} until {}", lock.token, lock.expires.as_nanos());
    }
    words
}

/// What a step changed that a person wants to see: published plans, the table.
pub(super) fn changes(before: &World, after: &World) -> Vec<(Place, String)> {
    let mut notes = Vec::new();
    let (old, new) = (&before.server.store.table, &after.server.store.table);
    let told = |table: &SyncTable| (table.view(), table.lock, table.timeline);
    if told(old) != told(new) {
        let line = if old.timeline == new.timeline { String::new() } else { line(&new.timeline) };
        notes.push((Place::Server, format!("table: {}{line}", table(new))));
    }
    for (index, (old, new)) in before.hosts.iter().zip(&after.hosts).enumerate() {
        if !old.page.same_but_serial(&new.page) {
            notes.push((Place::Agent(index), plan(&new.page)));
        }
    }
    notes
}

/// What a step is called beside the lifeline that it happens on.
pub(super) fn mark(config: &Configuration, before: &World, action: Action, after: &World) -> String {
    let named = |place: u8| packet(before, &before.network[place as usize]).1;
    let table = &after.server.store.table;
    match action {
        Action::Wake(_) => "timer".into(),
        Action::Packet(Kind::Repeat, place) => format!("{}: a copy stays on its way", named(place)),
        Action::Packet(Kind::Delay, place) => format!("{} is delayed", named(place)),
        Action::Packet(Kind::SlowCommit, place) => {
            format!("{} is received, its transaction lasts", named(place))
        }
        Action::Agent(kind, index) => fault(kind, config, index as usize),
        Action::Commit => "the transaction ends".into(),
        Action::Continue => "the server starts again, on its line".into(),
        Action::NewLine(_) => format!("the server begins line {}", table.timeline.counter),
        Action::Resume(index) => resumed(config, before, index as usize),
        Action::WriteOldPage(_) => "the old process writes its page".into(),
        Action::HandOver(_) => "the older process ends".into(),
        Action::Reach(_) => "connected again".into(),
        Action::Server(Kind::Restore, _) => {
            format!("a backup takes the server's place: line {}", table.timeline.counter)
        }
        Action::Server(_, true) => "the server ends, its write done".into(),
        Action::Server(_, false) => "the server ends".into(),
        Action::Operate(kind) => operation(kind, table, after),
        other => before.describe(other),
    }
}

fn fault(kind: Kind, config: &Configuration, index: usize) -> String {
    match kind {
        Kind::LateTimer => "its timers are late".into(),
        Kind::CutOff => "cut off from the server".into(),
        Kind::CrashTakesOver => "a new process takes the page over".into(),
        Kind::CrashKeepsDisk => "a new process, without the page".into(),
        Kind::Overlap => "a second process is started".into(),
        Kind::Reboot => "the host reboots".into(),
        Kind::RebootLosesDisk => "the host reboots, its disk empty".into(),
        Kind::Slow => "its clock will miss a tick".into(),
        Kind::Fast => "its clock will gain a tick".into(),
        Kind::Veto => "the host will refuse a generation".into(),
        Kind::Suspend if config.twist == Some(crate::configuration::Twist::LookThenLoad) => {
            "a reader looks at its clock".into()
        }
        Kind::Suspend => "a reader loads the plan".into(),
        other => format!("{other:?} of agent {index}"),
    }
}

fn operation(kind: Kind, table: &SyncTable, after: &World) -> String {
    let record = || {
        let record = after.server.store.scheduled?;
        let end = record.expires.map_or(String::new(), |end| format!(" to {}", end.as_nanos()));
        Some(format!("a record is scheduled from {}{end}", record.effective.as_nanos()))
    };
    match kind {
        Kind::Edit => "production is edited".into(),
        Kind::Hold => "the farm is held".into(),
        Kind::HoldUntil => {
            let until = table.held.and_then(|hold| hold.until).map_or(0, |until| until.as_nanos());
            format!("the farm is held until {until}")
        }
        Kind::Unhold => "the hold ends".into(),
        Kind::Settings => "the interval is changed".into(),
        Kind::Schedule | Kind::ScheduleWithEnd => record().unwrap_or_default(),
        Kind::Backup => "a backup is made".into(),
        other => format!("{other:?}"),
    }
}

/// What a reader that was suspended gets.
fn resumed(config: &Configuration, before: &World, index: usize) -> String {
    match before.clone().resume_reader(config, index) {
        Some((serving, real, _)) => {
            let look = real + before.hosts[index].offset;
            format!("the reader gets {} (look at {look})", super::Shown::of(serving).words())
        }
        None => "the reader answers".into(),
    }
}

/// Where a chart begins.
pub(super) fn begin(config: &Configuration, world: &World) -> String {
    let farm = match config.run_up {
        Some(_) => format!("a farm that has run to real time {}", world.now),
        None => "the very start of the agents".into(),
    };
    let taken: Vec<String> =
        config.prelude.iter().map(|action| format!("{action:?}")).map(|name| name.to_lowercase()).collect();
    let taken = if taken.is_empty() { String::new() } else { format!(", after {}", taken.join(" and ")) };
    let ways: Vec<String> = (0..world.network.len())
        .map(|at| format!("{} ({})", packet(world, &world.network[at]).1, world.network[at].agent))
        .collect();
    let ways = if ways.is_empty() { String::new() } else { format!("; on the way: {}", ways.join(", ")) };
    format!("Begins with {farm}{taken}{ways}.")
}
