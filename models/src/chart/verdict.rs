//! The last paragraph of a chart: which property fell, what it says, and which reads, writes or
//! instants contradict it. Found from the states around the last step, by looking at them again; the
//! judgement itself is in `record` and `properties`.

use crate::actions::Action;
use crate::configuration::Configuration;
use crate::record::GoesLive;
use crate::world::{Content, Payload, World};
use downbeat_core::ids::Generation;
use downbeat_core::message::RequestBody;
use downbeat_core::serving::{Mode, Serving};

/// What a property says, in plain words.
pub(super) fn meaning(property: &str) -> &'static str {
    match property.split(' ').next().unwrap_or_default() {
        "S1" => "each epoch is begun by one accepted Advance, granted at or after T of the one before",
        "S2" => {
            "the lock is granted only while no other grant lives and the farm is not held, and tokens rise"
        }
        "S3" => "nothing is written for a holder whose lease is over or whose token is not the lock's",
        "S4" => {
            "T is the first slot that is at least granted_at + lead and no earlier than any promise that was \
             given out, and a promise is at least T + lead"
        }
        "S5" => "what an agent keeps as a generation is exactly that generation",
        "S6" => {
            "what readers get under a generation's name is its content, and an epoch's number never stands \
                 for two contents at once"
        }
        "S7" => "a strict agent serves at an instant only the generation that is live then",
        "S8" => {
            "a prompt agent serves the next generation at most ε before T, and the old one, unmarked, less \
             than 2ε after"
        }
        "S9" => "what readers see never goes back to an older generation",
        "S10" => "the first read of a life that is not marked stale gets what is live",
        "S11" => "a generation has the scheduled record exactly if that counts at its T",
        "S12" => "the server's time is inside what an agent takes it to be, and that is never empty",
        "R1" => "without further faults every agent is current again within a bound",
        "R2" => "once a lease is over, its lock keeps nobody out",
        _ => "without faults nobody is fenced or stale, and no new plan fences what the old one served",
    }
}

/// The verdict where the first state of all breaks the property.
pub(super) fn of_begin(config: &Configuration, property: &str, world: &World) -> Vec<String> {
    of_step(config, property, world, Action::Tick, world)
}

/// The verdict after the last step.
pub(super) fn of_step(
    config: &Configuration,
    property: &str,
    before: &World,
    action: Action,
    after: &World,
) -> Vec<String> {
    let mut lines = vec![format!("{property} is broken: {}.", meaning(property))];
    let looks = || looks(config, before, action, after);
    let found = match property.split(' ').next().unwrap_or_default() {
        "S1" | "S2" | "S3" | "S4" | "S11" => writes(property, before, action, after),
        "S5" | "S6" => contents(property, after, &looks()),
        "S7" | "S9" | "S10" => reads(config, property, before, after, &looks()),
        "S8" => skews(config, after, &looks()),
        "S12" => clocks(before, after),
        "R1" => vec![
            "The schedule above, without any further fault, does not lead back within two leases, a \
                      back-off, the stagger, a retrieval and the width of the enclosure."
                .into(),
        ],
        "R2" => freed(after),
        _ => fenced(before, after),
    };
    lines.extend(found);
    lines
}

/// One look at the clock and what it got.
struct Look {
    agent: usize,
    serving: Serving,
    real: i64,
    resumed: bool,
}

/// The reads that the last step was judged by.
fn looks(config: &Configuration, before: &World, action: Action, after: &World) -> Vec<Look> {
    let mut looks = Vec::new();
    if let Action::Resume(index) = action
        && let Some((serving, real, _)) = before.clone().resume_reader(config, index as usize)
    {
        looks.push(Look { agent: index as usize, serving, real, resumed: true });
    }
    looks.extend((0..after.hosts.len()).map(|agent| Look {
        agent,
        serving: after.read(agent),
        real: after.now,
        resumed: false,
    }));
    looks
}

fn name(world: &World, generation: Generation) -> String {
    let ambiguous = world
        .record
        .goes_live
        .iter()
        .any(|known| known.generation.epoch == generation.epoch && known.generation != generation);
    if ambiguous {
        let content = Content::of(generation.digest);
        format!("generation {} (content {})", generation.epoch, content.version)
    } else {
        format!("generation {}", generation.epoch)
    }
}

fn since(world: &World, live: &GoesLive) -> String {
    let line = if world.lines.len() > 1 { format!(" of line {}", live.line + 1) } else { String::new() };
    format!(
        "{} is live since real time {} (T {}{line})",
        name(world, live.generation),
        world.real(live),
        live.at.as_nanos()
    )
}

fn who(look: &Look, world: &World, config: &Configuration) -> String {
    let mode = if config.modes[look.agent] == Mode::Strict { "strict" } else { "prompt" };
    let clock = look.real + world.hosts[look.agent].offset;
    let reader = if look.resumed { "a suspended reader of " } else { "" };
    format!("at real time {} {reader}agent {} ({mode}, its clock {clock})", look.real, look.agent)
}

fn reads(
    config: &Configuration,
    property: &str,
    before: &World,
    after: &World,
    looks: &[Look],
) -> Vec<String> {
    let mut lines = Vec::new();
    let mut seen = before.record.seen.clone();
    let mut seen_strict = before.record.seen_strict;
    for look in looks {
        let Some(generation) = look.serving.current() else { continue };
        let Some(live) = after.live_at(look.real) else { continue };
        let live = &after.record.goes_live[live];
        let gets = format!("{} serves {}", who(look, after, config), name(after, generation));
        let is_live = live.generation == generation;
        let strict = config.modes[look.agent] == Mode::Strict;
        let newest = if strict { seen[look.agent].max(seen_strict) } else { seen[look.agent] };
        let lives = &after.record.goes_live;
        let rank = lives.iter().rposition(|known| known.generation == generation).unwrap_or(0) as u64;
        seen[look.agent] = seen[look.agent].max(rank);
        seen_strict = if strict { seen_strict.max(rank) } else { seen_strict };
        match property {
            "S9 epochs_rise" if rank < newest => {
                let newest = lives[newest as usize].generation;
                let whose = if strict { "strict agents'" } else { "its" };
                let newest = name(after, newest);
                lines.push(format!("{gets}, after {whose} readers had {newest}."));
            }
            "S9 epochs_rise" => {}
            "S10 join_is_current" if !is_live && !before.record.joined[look.agent] => {
                lines.push(format!("{gets}, its first read in this life; {}.", since(after, live)));
            }
            _ if is_live => lines.push(format!("{gets}.")),
            _ if strict => lines.push(format!("{gets}, but {}.", since(after, live))),
            _ => {}
        }
    }
    sentences(lines)
}

fn skews(config: &Configuration, after: &World, looks: &[Look]) -> Vec<String> {
    let mut lines = Vec::new();
    for look in looks.iter().filter(|look| config.modes[look.agent] == Mode::Prompt) {
        let Some(generation) = look.serving.current() else { continue };
        let live = after.live_at(look.real).map(|rank| &after.record.goes_live[rank]);
        if live.is_some_and(|live| live.generation == generation) {
            continue;
        }
        let epsilon = after.hosts[look.agent].page_epsilon.as_nanos();
        let next = after.record.goes_live.iter().find(|known| known.generation == generation);
        let gets = format!("{} serves {}", who(look, after, config), name(after, generation));
        let early = next.map(|known| after.real(known) - look.real).filter(|early| *early > 0);
        match (early, live) {
            (Some(early), _) => lines.push(format!("{gets}, {early} before its T; ε is {epsilon}.")),
            (None, Some(live)) => {
                let late = look.real - after.real(live);
                lines.push(format!(
                    "{gets}, {late} after T of the next; ε is {epsilon}: {}.",
                    since(after, live)
                ));
            }
            _ => {}
        }
    }
    sentences(lines)
}

fn contents(property: &str, after: &World, looks: &[Look]) -> Vec<String> {
    let mut lines = Vec::new();
    for (index, host) in after.hosts.iter().enumerate() {
        for (digest, parts) in &host.held {
            if parts.iter().any(|part| part.digest() != *digest) {
                let [first, last] = parts.map(|part| part.version);
                let wanted = Content::of(*digest).version;
                lines.push(format!(
                    "agent {index} keeps as content {wanted} one part of content {first} and one of {last}."
                ));
            }
        }
    }
    for look in looks.iter().filter(|_| property.starts_with("S6")) {
        let (Some(generation), Some(live)) = (look.serving.current(), after.live_at(look.real)) else {
            continue;
        };
        let live = &after.record.goes_live[live];
        if live.generation.epoch == generation.epoch && live.generation.digest != generation.digest {
            lines.push(format!(
                "at real time {} agent {} serves {}, but {}.",
                look.real,
                look.agent,
                name(after, generation),
                since(after, live)
            ));
        }
    }
    sentences(lines)
}

fn clocks(before: &World, after: &World) -> Vec<String> {
    let mut lines = Vec::new();
    if after.record.clock_broken && !before.record.clock_broken {
        lines.push(
            "the two ends of an agent's enclosure crossed: no time agrees with all it was told.".into(),
        );
    }
    for (index, host) in after.hosts.iter().enumerate() {
        let local = after.local_now(index);
        let clock = host.agent.clock();
        let (Some(earliest), Some(latest)) = (clock.earliest(local), clock.latest(local)) else { continue };
        let Some(time) = host.agent.timeline().and_then(|line| after.line_time(line, after.now)) else {
            continue;
        };
        if time < earliest || latest < time {
            lines.push(format!(
                "at real time {} agent {index} (its clock {}) takes the server's clock to show {} to {}; it \
                 shows {}.",
                after.now,
                local.as_nanos(),
                earliest.as_nanos(),
                latest.as_nanos(),
                time.as_nanos()
            ));
        }
    }
    sentences(lines)
}

fn writes(property: &str, before: &World, action: Action, after: &World) -> Vec<String> {
    let (old, new) = (&before.server.store.table, &after.server.store.table);
    let now = before.server_now().as_nanos();
    let lead = old.settings.lead.as_nanos();
    let mut lines = Vec::new();
    if new.epoch() == old.epoch() {
        let Some(lock) = new.lock else { return lines };
        let hold = if old.held.is_some() { ", in a hold" } else { "" };
        let other = before.record.grant.map_or(String::new(), |(token, expires)| {
            format!("; the grant before, of token {token}, lives until {}", expires.as_nanos())
        });
        lines.push(format!("the lock is granted at {now} with token {}{hold}{other}.", lock.token));
        if property.starts_with("S4") {
            lines.push(format!(
                "the grant fixes T {}, with granted_at + lead = {} and the promise {}.",
                lock.next.as_nanos(),
                lock.granted_at.as_nanos() + lead,
                old.next_earliest.as_nanos()
            ));
        }
        return sentences(lines);
    }
    let granted = old.lock.map_or(0, |lock| lock.granted_at.as_nanos());
    lines.push(format!(
        "generation {} is staged at {now} with T {} and promise {}.",
        new.epoch(),
        new.activation.as_nanos(),
        new.next_earliest.as_nanos()
    ));
    lines.push(match property.split(' ').next().unwrap_or_default() {
        "S1" => format!(
            "it was granted at {granted}, and T of generation {} is {}.",
            old.epoch(),
            old.activation.as_nanos()
        ),
        "S3" => {
            let lock = old.lock.map_or("there is no lock".into(), |lock| {
                format!("the lock has token {} and its lease ends at {}", lock.token, lock.expires.as_nanos())
            });
            format!("it is written with token {}, but {lock}.", token(before, action))
        }
        "S4" => format!(
            "granted_at + lead is {}, and the highest promise that was given out is {}.",
            granted + lead,
            before.record.promise.as_nanos()
        ),
        "S11" => {
            let record = before.server.store.scheduled.map_or(String::new(), |record| {
                let end = record.expires.map_or(String::new(), |end| format!(" to {}", end.as_nanos()));
                format!("the record counts from {}{end}", record.effective.as_nanos())
            });
            let shown = if Content::of(new.staged.digest).scheduled { "has" } else { "lacks" };
            format!("it {shown} the scheduled record; {record}.")
        }
        _ => "it has no right to be.".into(),
    });
    sentences(lines)
}

/// The token of the advance that a step serves.
fn token(before: &World, action: Action) -> u64 {
    let packet = match action {
        Action::Deliver(place) => before.network.get(place as usize),
        _ => before.server.committing.as_ref().map(|committing| &committing.request),
    };
    match packet.map(|packet| &packet.payload) {
        Some(Payload::Request(request)) => match request.body {
            RequestBody::Advance { token, .. } => token,
            _ => 0,
        },
        _ => 0,
    }
}

fn freed(after: &World) -> Vec<String> {
    let now = after.server_now().as_nanos();
    let expires = after.record.grant.map_or(now, |(_, expires)| expires.as_nanos());
    vec![format!(
        "The server's clock shows {now}, the lease ended at {expires}, and a request for the lock is answered Busy."
    )]
}

fn fenced(before: &World, after: &World) -> Vec<String> {
    let lost = |index: &usize| {
        let dark = matches!(after.read(*index), Serving::Fenced | Serving::Stale(_));
        dark && (after.record.joined[*index] || before.read(*index).current().is_some())
    };
    let lines = (0..after.hosts.len()).filter(lost).map(|index| {
        let shown = super::Shown::of(after.read(index)).words();
        format!("at real time {} readers of agent {index} get: {shown}.", after.now)
    });
    sentences(lines.collect())
}

/// Each begins with a capital.
fn sentences(lines: Vec<String>) -> Vec<String> {
    lines.iter().map(|line| capital(line)).collect()
}

/// The words with a capital at their begin.
pub(super) fn capital(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}
