//! What of a world PROTOCOL speaks about: the projection that is compared with the specification in
//! `spec/`. It is a list of small numbers in the order of the declarations of `spec/murphi/state.m`, so that
//! a state of either side can be laid beside one of the other.
//!
//! Left out is what happened (the record), what hosts and readers keep, incarnations and request
//! numbers (of which only remains whether an id is the one that its agent waits for), a lease that
//! is over, and what the core keeps for sampling and reporting.

use crate::world::{Content, Packet, Payload, World, agent_id};
use downbeat_core::ids::{Generation, RequestId};
use downbeat_core::message::{Phase, ReplyBody, RequestBody, ToAgent};
use downbeat_core::serving::SwitchPlan;
use downbeat_core::table::{TableView, next_activation};
use downbeat_core::time::{LocalTime, ServerTime};

/// An instant that never comes.
const NEVER: u8 = 250;
/// An agent that took over a page: no epoch is its first.
const TOOK_OVER: u8 = 15;

/// A state in PROTOCOL's terms.
pub type Projection = Vec<u8>;

/// Projects a world of one line.
pub fn project(world: &World) -> Projection {
    let mut words = vec![
        instant(world.server_now()),
        world.faults,
        world.operations,
        world.server.store.production,
        world.server.up as u8,
    ];
    server(world, &mut words);
    transaction(world, &mut words);
    for index in 0..world.hosts.len() {
        agent(world, index, &mut words);
        let mut messages: Vec<_> = world
            .network
            .iter()
            .filter(|packet| packet.agent as usize == index)
            .map(|packet| message(world, packet))
            .collect();
        messages.sort();
        // The number of messages keeps lists of different lengths apart.
        words.push(messages.len() as u8);
        words.extend(messages.into_iter().flatten());
    }
    words
}

fn small(value: i64) -> u8 {
    u8::try_from(value).expect("the numbers of a model with a horizon are small")
}

fn instant(instant: ServerTime) -> u8 {
    small(instant.as_nanos())
}

/// An agent's own instant, as what the server's clock shows then.
fn local(world: &World, index: usize, instant: LocalTime) -> u8 {
    match instant {
        LocalTime::MIN => 0,
        LocalTime::MAX => NEVER,
        _ => small(instant.as_nanos() - world.hosts[index].offset + world.line().offset),
    }
}

fn generation(generation: Option<Generation>, words: &mut Vec<u8>) {
    let named = generation.map(|named| (named.epoch as u8, Content::of(named.digest).version));
    let (epoch, content) = named.unwrap_or_default();
    words.extend([epoch, content]);
}

fn table(view: Option<&TableView>, held: bool, words: &mut Vec<u8>) {
    generation(view.map(|view| view.staged), words);
    generation(view.and_then(|view| view.active), words);
    words.extend([
        view.map_or(0, |view| instant(view.activation)),
        view.map_or(0, |view| instant(view.next_earliest)),
        held as u8,
    ]);
}

/// The agent that waits for the answer to the request of this id, counted from 1; 0 for none.
fn waiting(world: &World, id: RequestId) -> u8 {
    let found = (0..world.hosts.len()).find(|index| {
        id.agent == agent_id(*index) && world.hosts[*index].agent.waits_for(id.incarnation, id.number)
    });
    found.map_or(0, |index| index as u8 + 1)
}

fn server(world: &World, words: &mut Vec<u8>) {
    let kept = &world.server.store.table;
    table(Some(&kept.view()), kept.held.is_some(), words);
    words.extend([
        small(kept.settings.interval.as_nanos()),
        kept.pending.map_or(0, |pending| small(pending.interval.as_nanos())),
        instant(kept.grid),
        kept.last_token as u8,
        waiting(world, kept.last_advance),
    ]);
    // A lease that is over is no lock; a transaction under way sees the clock as it read it.
    let now = world.server.committing.as_ref().map_or(world.server_now(), |committing| committing.read);
    match kept.lock.filter(|lock| lock.is_live(now)) {
        Some(lock) => {
            words.extend([1, waiting(world, lock.holder), instant(lock.granted_at), instant(lock.next)]);
        }
        None => words.extend([0; 4]),
    }
}

fn transaction(world: &World, words: &mut Vec<u8>) {
    match &world.server.committing {
        Some(committing) => {
            words.extend([1, committing.request.agent + 1]);
            words.extend(message(world, &Packet { delayed: false, ..committing.request.clone() }));
            words.push(instant(committing.read));
        }
        None => words.extend([0; 18]),
    }
}

fn phase(phase: Phase, fetching: bool) -> u8 {
    match phase {
        Phase::Reading => 1,
        Phase::Locking => 2,
        Phase::Advancing => 3,
        Phase::Retrieving => 4 + fetching as u8,
        Phase::Armed => 6,
        _ => 0,
    }
}

fn agent(world: &World, index: usize, words: &mut Vec<u8>) {
    let host = &world.hosts[index];
    let machine = host.agent.abstracted();
    let when = |instant: Option<LocalTime>, none| instant.map_or(none, |at| local(world, index, at));
    let (token, next) = machine.advance.map_or((0, 0), |(token, next)| (token as u8, instant(next)));
    words.extend([machine.linked as u8, machine.met as u8, when(machine.greet, 0)]);
    words.extend([phase(machine.phase, machine.fetching), when(machine.at, 0), token, next]);
    generation(machine.target.map(|(target, _)| target), words);
    words.push(machine.target.is_some_and(|(_, to_active)| to_active) as u8);
    words.extend([machine.deadline.is_some() as u8, when(machine.deadline, 0), machine.failing as u8]);
    let (now, clock) = (world.local_now(index), host.agent.clock());
    let beyond = clock.latest(now).map_or(0, |latest| small((latest - world.server_now()).as_nanos()));
    let short = clock.earliest(now).map_or(0, |earliest| small((world.server_now() - earliest).as_nanos()));
    words.extend([beyond, short]);
    table(machine.table, false, words);
    generation(machine.active, words);
    generation(machine.staged, words);
    generation(machine.spare, words);
    plan(world, index, host.agent.plan(), words);
    let first = if machine.took_over { TOOK_OVER } else { machine.first.map_or(0, |epoch| epoch as u8) };
    words.extend([machine.carried as u8, first, machine.joined as u8]);
    words.extend([when(machine.start_wait, NEVER), host.late as u8, host.cut as u8]);
}

fn plan(world: &World, index: usize, plan: &SwitchPlan, words: &mut Vec<u8>) {
    let when = |instant| local(world, index, instant);
    generation(plan.active, words);
    words.extend([plan.stale as u8, when(plan.active_until)]);
    generation(plan.staged, words);
    words.extend([when(plan.staged_from), when(plan.staged_until)]);
}

/// A message in PROTOCOL's terms: what it is, whether it was delayed, whether its id is the one that
/// its agent waits for; when a request that is waited for was sent, or when an answer was, and how
/// long after its sending the request had been received; the table, token, activation and wait in it.
pub fn message(world: &World, packet: &Packet) -> Vec<u8> {
    let index = packet.agent as usize;
    match &packet.payload {
        Payload::Request(request) => {
            let current = world.hosts[index].agent.waits_for(request.incarnation, request.number);
            let (kind, token, next) = match &request.body {
                RequestBody::Read => (1, 0, 0),
                RequestBody::Lock => (2, 0, 0),
                RequestBody::Advance { token, activation } => (3, *token as u8, instant(*activation)),
                RequestBody::Route { .. } => (4, 0, 0),
                RequestBody::Fetch { .. } => (5, 0, 0),
                RequestBody::Unlock { .. } | RequestBody::Report(_) | RequestBody::Time => (99, 0, 0),
            };
            let at = if current { local(world, index, request.sent) } else { 0 };
            let mut words = vec![kind, packet.delayed as u8, current as u8, at, 0];
            table(None, false, &mut words);
            words.extend([token, next, 0]);
            words
        }
        Payload::Answer(answer, _) => self::answer(world, packet, answer),
    }
}

fn answer(world: &World, packet: &Packet, answer: &ToAgent<u16>) -> Vec<u8> {
    let index = packet.agent as usize;
    let ToAgent::Reply(reply) = answer else { return vec![99; 15] };
    let current = world.hosts[index].agent.waits_for(reply.incarnation, reply.number);
    let (kind, view, held, token, next, retry) = match &reply.body {
        ReplyBody::Table(view) => (6, Some(view), view.held, 0, 0, 0),
        ReplyBody::Granted { grant, table } => {
            let next = next_activation(table, grant.due, grant.granted_at);
            (7, Some(table), false, grant.token as u8, instant(next), 0)
        }
        ReplyBody::NotDue(view) => (8, Some(view), view.held, 0, 0, 0),
        ReplyBody::Busy { table, retry_after } => {
            (9, Some(table), false, 0, 0, small(retry_after.as_nanos()))
        }
        ReplyBody::Advanced(view) => (10, Some(view), false, 0, 0, 0),
        ReplyBody::Refused { table, .. } => (11, Some(table), false, 0, 0, 0),
        ReplyBody::Route(_) => (12, None, false, 0, 0, 0),
        ReplyBody::Bytes { .. } => (13, None, false, 0, 0, 0),
        ReplyBody::Gone => (14, None, false, 0, 0, 0),
        ReplyBody::Unlocked | ReplyBody::Noted | ReplyBody::Time => (99, None, false, 0, 0, 0),
    };
    let sent = local(world, index, reply.stamp.echo);
    let wide = instant(reply.stamp.received) - sent;
    let mut words = vec![kind, packet.delayed as u8, current as u8, instant(reply.stamp.answered), wide];
    table(view, held, &mut words);
    words.extend([token, next, retry]);
    words
}
