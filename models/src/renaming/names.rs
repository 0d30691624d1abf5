//! New names for what a world holds: a first pass meets every name, a second one gives each its new
//! one. What lies near keeps its distance; instants that lie far back are only past, and epochs that do
//! keep their order.

use super::{LINE_BEGIN, Past};
use crate::configuration::Configuration;
use crate::world::{Content, Line, World, agent_id};
use downbeat_core::ids::{BootId, Digest, Epoch, Incarnation, RequestId, TimelineId, Token};
use downbeat_core::symmetry::Renaming;
use downbeat_core::time::{LocalTime, ServerTime};
use std::collections::BTreeSet;

/// How far back an instant keeps its distance from now, in ticks. Nothing that a machine still adds
/// to or measures from is older; the test of commuting fails where that isn't so.
const NEAR: i64 = 1;
/// The same where clocks have errors: samples age, and their instants are measured from.
const NEAR_WHERE_SAMPLES_AGE: i64 = 64;
/// How far back an epoch keeps its distance from the table's; older ones keep their order.
const NEAR_EPOCHS: i64 = 3;
/// The epoch, the token and production's version of every world under its new names.
const EPOCH: Epoch = 1_000;
const TOKEN: Token = 1_000;
const PRODUCTION: u8 = 100;
/// Lives drawn so far, in every world under its new names; older ones are numbered from [`OLD_LIVES`].
pub(super) const LIVES: u64 = 1_000;
const OLD_LIVES: u64 = 500;

/// A distance in ticks from now: what lies further back than `near` is only past.
fn saturated(since: i64, near: i64) -> i64 {
    since.max(-near - 1)
}

/// The names of a world.
pub(super) struct Names {
    /// The agent whose instants are being renamed.
    pub(super) agent: usize,
    /// Which generations that went live still matter.
    pub(super) past: Past,
    meeting: bool,
    near: i64,
    epoch: Epoch,
    local_now: Vec<i64>,
    shifts: Vec<u64>,
    lives: Vec<Incarnation>,
    old_lives: BTreeSet<(usize, Incarnation)>,
    numbers: BTreeSet<(usize, Incarnation, i64)>,
    lines: Vec<Line>,
    used: BTreeSet<usize>,
    now: i64,
    /// How long ago the oldest instant lies that the server still counts from.
    counted: i64,
    /// The newest instant of the present line, from now on.
    newest: i64,
    /// Epochs that lie far back, as distances from the table's.
    old_epochs: BTreeSet<i64>,
    last_token: Token,
    versions: Vec<u8>,
    boots: Vec<BootId>,
    /// Requests that may still arrive.
    asked: BTreeSet<RequestId>,
    /// Tokens that somebody may still write with.
    held_tokens: BTreeSet<Token>,
}

impl Names {
    pub(super) fn new(config: &Configuration, world: &World) -> Names {
        let agents = world.hosts.len();
        let table = &world.server.store.table;
        Names {
            agent: 0,
            past: Past::of(world),
            meeting: true,
            near: if config.rate.as_ppb() == 0 && !config.slow_network {
                NEAR
            } else {
                NEAR_WHERE_SAMPLES_AGE
            },
            epoch: table.staged.epoch,
            local_now: (0..agents).map(|index| world.local_now(index).as_nanos()).collect(),
            shifts: world.hosts.iter().map(|host| host.agent.last_number()).collect(),
            lives: world.hosts.iter().map(|host| host.agent.incarnation()).collect(),
            old_lives: BTreeSet::new(),
            numbers: BTreeSet::new(),
            lines: world.lines.clone(),
            used: BTreeSet::from([world.lines.len() - 1]),
            now: world.now,
            counted: counted_since(world),
            newest: i64::MIN / 2,
            old_epochs: BTreeSet::new(),
            last_token: table.last_token,
            versions: vec![world.server.store.production],
            boots: world.hosts.iter().map(|host| host.boot).collect(),
            asked: BTreeSet::new(),
            held_tokens: BTreeSet::new(),
        }
    }

    /// All names are met: from now on they are given.
    pub(super) fn settle(&mut self) {
        self.meeting = false;
    }

    /// The life of an agent that runs now.
    pub(super) fn life(index: usize) -> Incarnation {
        Incarnation(LIVES - 100 + index as u64)
    }
    /// The boot of a host that runs now.
    pub(super) fn boot_of(index: usize) -> BootId {
        BootId(index as u64 + 1)
    }

    /// A life of an agent: the one that runs, or one before it by its rank.
    pub(super) fn incarnation(&mut self, agent: usize, incarnation: Incarnation) -> Incarnation {
        if incarnation == self.lives[agent] {
            return Names::life(agent);
        }
        if self.meeting {
            self.old_lives.insert((agent, incarnation));
        }
        Incarnation(OLD_LIVES + self.old_lives.range(..(agent, incarnation)).count() as u64)
    }

    /// A request's number: counted from the last one of the life that runs; one that is not the last
    /// is only told apart from others, and keeps its rank.
    pub(super) fn number(&mut self, agent: usize, incarnation: Incarnation, number: u64) -> u64 {
        let ours = incarnation == self.lives[agent];
        if ours && number == self.shifts[agent] {
            return 0;
        }
        // Numbers that were counted from a last one are negative ones.
        let id = (agent, incarnation, number as i64);
        if self.meeting {
            self.numbers.insert(id);
        }
        let newer = self.numbers.range(id..=(agent, incarnation, i64::MAX)).count() as u64;
        0u64.wrapping_sub(newer)
    }

    /// A request that may still arrive, or be sent again.
    pub(super) fn asks(&mut self, agent: usize, incarnation: Incarnation, number: u64) {
        self.asked.insert(RequestId { agent: agent_id(agent), incarnation, number });
    }

    /// A request's id in the table: a name only where that request may still arrive.
    pub(super) fn request(&mut self, id: RequestId) -> RequestId {
        let agent = (0..self.lives.len()).find(|index| agent_id(*index) == id.agent);
        let Some(agent) = agent.filter(|_| self.asked.contains(&id)) else {
            return RequestId::default();
        };
        let number = self.number(agent, id.incarnation, id.number);
        RequestId { number, incarnation: self.incarnation(agent, id.incarnation), ..id }
    }

    /// An instant of the server's present line.
    pub(super) fn current(&mut self, instant: ServerTime) -> ServerTime {
        self.on_place(self.lines.len() - 1, instant)
    }

    /// An instant of a line.
    pub(super) fn on_line(&mut self, line: TimelineId, instant: ServerTime) -> ServerTime {
        self.on_place(self.place_of(line), instant)
    }

    fn on_place(&mut self, place: usize, instant: ServerTime) -> ServerTime {
        if instant == ServerTime::MIN || instant == ServerTime::MAX {
            return instant;
        }
        self.used.insert(place);
        let since = instant.as_nanos() - self.lines[place].offset - self.now;
        // What the server still counts from keeps its distance to all that lies after it, however long
        // the server has been down.
        let near = if place + 1 == self.lines.len() { self.near + self.counted } else { self.near };
        if self.meeting && place + 1 == self.lines.len() && since >= -near {
            self.newest = self.newest.max(since);
        }
        let moved = if place + 1 == self.lines.len() { (-self.near - 1 - self.newest).max(0) } else { 0 };
        ServerTime::from_nanos(LINE_BEGIN + moved + saturated(since, near))
    }

    /// Place of a line among those that are still named, oldest first.
    pub(super) fn place(&mut self, line: TimelineId) -> u16 {
        let place = self.place_of(line);
        self.used.insert(place);
        self.used.range(..place).count() as u16
    }

    fn place_of(&self, line: TimelineId) -> usize {
        let known = self.lines.iter().rposition(|known| known.id == line);
        known.expect("a line that was named exists")
    }

    /// The lines that are still named.
    pub(super) fn lines(&self) -> Vec<Line> {
        (0..self.used.len()).map(|place| Line { id: line_id(place), offset: LINE_BEGIN }).collect()
    }

    /// A token; the last one given is the same in every world.
    pub(super) fn token_of(&mut self, token: Token) -> Token {
        match token.cmp(&self.last_token) {
            std::cmp::Ordering::Equal => TOKEN,
            std::cmp::Ordering::Less => {
                TOKEN - self.held_tokens.range(token..self.last_token).count() as Token
            }
            std::cmp::Ordering::Greater => TOKEN + (token - self.last_token),
        }
    }

    /// Whether somebody may still come with a token.
    pub(super) fn knows_token(&self, token: Token) -> bool {
        self.held_tokens.contains(&token)
    }

    /// A content, numbered as it is met; production's first.
    pub(super) fn content(&mut self, content: Content) -> Content {
        let known = self.versions.iter().position(|version| *version == content.version);
        let place = known.unwrap_or_else(|| {
            self.versions.push(content.version);
            self.versions.len() - 1
        });
        Content { version: PRODUCTION - place as u8, ..content }
    }

    /// A version of production.
    pub(super) fn version(&mut self, version: u8) -> u8 {
        self.content(Content { version, scheduled: false }).version
    }
}

/// How long ago the oldest instant lies that the server still counts from: when the last mark was
/// stored (a new line's T), when the transaction under way read the clock, and when a lock was granted
/// that may still be written with.
fn counted_since(world: &World) -> i64 {
    let server = &world.server;
    let now = world.server_now();
    let committing = server.committing.as_ref();
    let lock = server.store.table.lock.filter(|lock| lock.is_live(now) || committing.is_some());
    let instants = [
        Some(server.mark.stored_at),
        committing.map(|committing| committing.read.min(committing.received)),
        lock.map(|lock| lock.granted_at),
    ];
    instants.into_iter().flatten().map(|instant| (now - instant).as_nanos()).max().unwrap_or(0).max(0)
}

fn line_id(place: usize) -> TimelineId {
    TimelineId { counter: place as u64 + 1, random: place as u64 + 1 }
}

impl Renaming for Names {
    fn local(&mut self, instant: LocalTime) -> LocalTime {
        let agent = self.agent;
        let since = instant.as_nanos() - self.local_now[agent];
        LocalTime::from_nanos(World::first_reading(agent) + saturated(since, self.near))
    }
    fn server(&mut self, line: Option<TimelineId>, instant: ServerTime) -> ServerTime {
        match line {
            Some(line) => self.on_line(line, instant),
            None => self.current(instant),
        }
    }
    fn timeline(&mut self, line: TimelineId) -> TimelineId {
        line_id(self.place(line) as usize)
    }
    fn reading(&mut self, line: TimelineId, reading: ServerTime) -> ServerTime {
        let place = self.place_of(line);
        self.used.insert(place);
        let since = reading.as_nanos() - self.lines[place].offset - self.now;
        ServerTime::from_nanos(LINE_BEGIN + since.max(-NEAR_WHERE_SAMPLES_AGE))
    }
    fn epoch(&mut self, epoch: Epoch) -> Epoch {
        let since = epoch as i64 - self.epoch as i64;
        if since >= -NEAR_EPOCHS {
            return (EPOCH as i64 + since) as Epoch;
        }
        if self.meeting {
            self.old_epochs.insert(since);
        }
        (EPOCH as i64 - NEAR_EPOCHS - self.old_epochs.range(since..).count() as i64) as Epoch
    }
    fn token(&mut self, token: Token) -> Token {
        if self.meeting {
            self.held_tokens.insert(token);
        }
        self.token_of(token)
    }
    fn digest(&mut self, digest: Digest) -> Digest {
        self.content(Content::of(digest)).digest()
    }
    fn boot(&mut self, boot: BootId) -> BootId {
        // A page of another boot is void, whichever that was.
        let current = self.boots[self.agent];
        if boot == current { Names::boot_of(self.agent) } else { BootId(u64::MAX) }
    }
}
