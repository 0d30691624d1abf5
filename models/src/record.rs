//! What has happened, as far as the properties need to know it and no machine remembers it, and the
//! judgement of each step against them. Nothing here ever influences a machine.

mod happened;

use crate::configuration::{Configuration, UNLIMITED};
use crate::world::{Content, Store, World};
use downbeat_core::ids::{Generation, Token};
use downbeat_core::message::{Refusal, ReplyBody, Request, RequestBody};
use downbeat_core::serving::{Mode, Serving};
use downbeat_core::table::SyncTable;
use downbeat_core::time::{ServerTime, Span};
pub use happened::Happened;

/// The properties of PROTOCOL §10 that are judged as things happen.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Broken {
    /// S1 `single_initiator`.
    SingleInitiator,
    /// S2 `lock_exclusive`.
    LockExclusive,
    /// S3 `fenced_writes`.
    FencedWrites,
    /// S4 `activation_arithmetic`.
    ActivationArithmetic,
    /// S6 `agreement`.
    Agreement,
    /// S7 `strict_serves_live`.
    StrictServesLive,
    /// S8 `prompt_skew_bound`.
    PromptSkewBound,
    /// S9 `epochs_rise`.
    EpochsRise,
    /// S10 `join_is_current`.
    JoinIsCurrent,
    /// S11 `schedule_respected`.
    ScheduleRespected,
    /// Nobody is fenced or marked stale without need.
    Available,
    /// S12 `clock_enclosure`: a clock that broke its bound is found out by the first exact sample.
    BreakDetected,
}

/// A generation that goes live.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct GoesLive {
    /// Which.
    pub generation: Generation,
    /// When, by its line.
    pub at: ServerTime,
    /// Number of its line.
    pub line: u16,
    /// Its line was replaced before that, and had promised nobody anything beyond: it is not live then.
    pub replaced: bool,
}

/// What has happened.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Record {
    /// Every generation and its activation, in the order in which they were staged.
    pub goes_live: Vec<GoesLive>,
    /// The highest promise given out for the staged epoch.
    pub promise: ServerTime,
    /// The last grant that was not released, and when it expires.
    pub grant: Option<(Token, ServerTime)>,
    /// The highest token granted on the line.
    pub last_token: Token,
    /// Rank (place in `goes_live`) of the newest generation that each agent's readers saw.
    pub seen: Vec<u64>,
    /// The same for the readers of all strict agents.
    pub seen_strict: u64,
    /// Which agents have served in their present life (or took over a page that did).
    pub joined: Vec<bool>,
    /// Which agents were started again.
    pub restarted: Vec<bool>,
    /// An enclosure's ends crossed.
    pub clock_broken: bool,
    /// Properties that were broken.
    pub broken: u16,
    /// What happened in the last step.
    pub happened: u32,
}

impl Record {
    /// What tells states apart by what happened in the step to them. Everything after `Resumed` doesn't:
    /// a state is the same whichever of its steps was seen first.
    pub(crate) const TOLD_APART: u32 = (1 << (Happened::Resumed as u32 + 1)) - 1;

    pub(crate) fn new(table: &SyncTable, agents: usize) -> Record {
        Record {
            goes_live: vec![GoesLive {
                generation: table.staged,
                at: table.activation,
                line: 0,
                replaced: false,
            }],
            promise: table.next_earliest,
            grant: None,
            last_token: 0,
            seen: vec![0; agents],
            seen_strict: 0,
            joined: vec![false; agents],
            restarted: vec![false; agents],
            clock_broken: false,
            broken: 0,
            happened: 0,
        }
    }

    /// Whether a property was broken.
    pub fn is_broken(&self, property: Broken) -> bool {
        self.broken & (1 << property as u8) != 0
    }
    /// Whether something happened in the last step.
    pub fn has_happened(&self, what: Happened) -> bool {
        self.happened & (1 << what as u8) != 0
    }
    pub(crate) fn break_(&mut self, property: Broken) {
        self.broken |= 1 << property as u8;
    }
    pub(crate) fn note(&mut self, what: Happened) {
        self.happened |= 1 << what as u8;
    }
    fn demand(&mut self, holds: bool, property: Broken) {
        if !holds {
            self.break_(property);
        }
    }

    pub(crate) fn started(&mut self, index: usize, took_over: bool) {
        self.joined[index] = took_over && self.joined[index];
        self.restarted[index] = true;
    }
}

/// The activation that a grant at `now` must fix, found without the core's help: the first regular,
/// scheduled or landing instant from the promise and the lead on.
fn first_slot(table: &SyncTable, store: &Store, now: ServerTime) -> ServerTime {
    let bound = table.next_earliest.max(now + table.settings.lead);
    let wait = (table.grid - bound).as_nanos().rem_euclid(table.settings.interval.as_nanos());
    let scheduled = store.scheduled.map(|record| [Some(record.effective), record.expires]);
    let others = scheduled.into_iter().flatten().flatten().chain(table.landing);
    others.filter(|instant| *instant >= bound).fold(bound + Span::from_nanos(wait), ServerTime::min)
}

impl World {
    /// A request was served: `before` and `after` are the tables around it.
    pub(crate) fn record_transition(
        &mut self,
        before: &SyncTable,
        after: &SyncTable,
        request: &Request,
        reply: &ReplyBody<u16>,
        now: ServerTime,
    ) {
        match reply {
            ReplyBody::Refused { why: Refusal::LeaseOver, .. } => self.record.note(Happened::LeaseOver),
            ReplyBody::Refused { .. } => self.record.note(Happened::NotHolder),
            ReplyBody::Busy { .. } => self.record.note(Happened::Busy),
            _ => {}
        }
        if after.epoch() == before.epoch() && after.next_earliest > before.next_earliest {
            self.record.note(Happened::Renewed);
        }
        if after.epoch() > before.epoch() {
            return self.record_advance(before, after, request, now);
        }
        match after.lock {
            Some(lock) if before.lock.is_none_or(|old| old.token != lock.token) => {
                let first = first_slot(before, &self.server.store, now);
                let record = &mut self.record;
                record.demand(lock.next == first, Broken::ActivationArithmetic);
                let free =
                    before.held.is_none() && record.grant.is_none_or(|(_, expires)| expires.passed(now));
                record.demand(free && lock.token > record.last_token, Broken::LockExclusive);
                record.grant = Some((lock.token, lock.expires));
                record.last_token = lock.token;
            }
            None => self.record.grant = None,
            Some(_) => {}
        }
    }

    /// A cycle began.
    fn record_advance(&mut self, before: &SyncTable, after: &SyncTable, request: &Request, now: ServerTime) {
        let line = self.lines.len() as u16 - 1;
        let store = self.server.store.clone();
        let record = &mut self.record;
        let Some(lock) = before.lock else { return record.break_(Broken::FencedWrites) };
        if lock.granted_at > now {
            // Only a line that jumped back has such a grant, and only without `DueAtAdvance` is it written
            // on ahead of T: k is live from then on, for whoever reads the table.
            let passed = record.goes_live.iter_mut().filter(|live| live.line == line);
            passed.filter(|live| live.at > now).for_each(|live| live.at = now);
        }
        let once = !record
            .goes_live
            .iter()
            .any(|known| known.line == line && known.generation.epoch == after.epoch());
        record.demand(once && before.activation.passed(lock.granted_at), Broken::SingleInitiator);
        let token = match request.body {
            RequestBody::Advance { token, .. } => token,
            _ => 0,
        };
        record.demand(lock.token == token && !lock.expires.passed(now), Broken::FencedWrites);
        let lead = before.settings.lead;
        let kept = after.activation >= lock.granted_at + lead
            && after.activation >= record.promise
            && after.next_earliest >= after.activation + after.settings.lead;
        record.demand(kept, Broken::ActivationArithmetic);
        let content = Content::of(after.staged.digest);
        let visible = store.scheduled.is_some_and(|scheduled| {
            scheduled.effective <= after.activation
                && scheduled.expires.is_none_or(|expires| after.activation < expires)
        });
        record.demand(content.scheduled == visible, Broken::ScheduleRespected);
        if store.scheduled.is_some_and(|scheduled| scheduled.effective == after.activation) {
            record.note(Happened::Landed);
        }
        if after.staged.digest == before.staged.digest {
            record.note(Happened::Unchanged);
        }
        if after.activation - before.activation > before.settings.interval.times(2) {
            record.note(Happened::SkippedSlots);
        }
        let (old, new) = (&before.settings, &after.settings);
        if new.interval < old.interval
            || (new.lead, new.lease, new.early_limit) != (old.lead, old.lease, old.early_limit)
        {
            record.note(Happened::TookUp);
        }
        record.goes_live.push(GoesLive {
            generation: after.staged,
            at: after.activation,
            line,
            replaced: false,
        });
        record.promise = after.next_earliest;
        record.grant = None;
    }

    /// A new line began.
    pub(crate) fn record_line(&mut self) {
        // What a line was to begin with, and had promised nobody beyond its T, nobody serves after that T
        // where the line was replaced before (PROTOCOL §8: two restores in a row).
        let awaited = self.record.goes_live.last().is_some_and(|live| self.real(live) > self.now);
        let promise = self.record.promise;
        if let Some(last) = self.record.goes_live.last_mut().filter(|_| awaited) {
            last.replaced = promise <= last.at;
        }
        let table = &self.server.store.table;
        let line = self.lines.len() as u16 - 1;
        let record = &mut self.record;
        record.goes_live.push(GoesLive {
            generation: table.staged,
            at: table.activation,
            line,
            replaced: false,
        });
        record.promise = table.next_earliest;
        record.grant = None;
        record.last_token = table.last_token;
    }

    /// An operator changed the table.
    pub(crate) fn record_operation(&mut self) {
        if self.server.store.table.lock.is_none() {
            self.record.grant = None;
        }
    }

    /// A promise left the server.
    pub(crate) fn note_promise(&mut self, body: &ReplyBody<u16>) {
        let table = match body {
            ReplyBody::Table(table) | ReplyBody::NotDue(table) | ReplyBody::Advanced(table) => table,
            ReplyBody::Granted { table, .. }
            | ReplyBody::Busy { table, .. }
            | ReplyBody::Refused { table, .. } => table,
            _ => return,
        };
        if table.staged.epoch == self.server.store.table.epoch() {
            self.record.promise = self.record.promise.max(table.next_earliest);
        }
    }

    /// Real time of an activation: as far ahead as there is time, where lines have stretched it beyond.
    pub fn real(&self, live: &GoesLive) -> i64 {
        live.at.as_nanos().saturating_sub(self.lines[live.line as usize].offset)
    }

    /// Place of what is live at a real time: the generation whose activation came last.
    pub fn live_at(&self, real: i64) -> Option<usize> {
        let lives = self.record.goes_live.iter().enumerate();
        let passed = lives.filter(|(_, live)| !live.replaced && self.real(live) <= real);
        passed.map(|(rank, live)| (self.real(live), rank)).max().map(|(_, rank)| rank)
    }

    /// Place of a generation that is seen at a real time: its newest one that can have begun.
    fn rank(&self, config: &Configuration, generation: Generation, real: i64) -> Option<usize> {
        let early = config.settings.early_limit.as_nanos();
        let places =
            || self.record.goes_live.iter().enumerate().filter(|(_, live)| live.generation == generation);
        places()
            .filter(|(_, live)| self.real(live) <= real + early)
            .map(|(rank, _)| rank)
            .next_back()
            .or_else(|| places().map(|(rank, _)| rank).next())
    }

    /// Judges what a read of each agent would get at this instant.
    pub(crate) fn observe(&mut self, config: &Configuration) {
        for index in 0..self.hosts.len() {
            let serving = self.read(index);
            let floor = self.record.seen[index];
            self.keep_served(config, index, serving);
            self.judge(config, index, serving, self.now, floor);
            let host = &mut self.hosts[index];
            host.prior = *host.agent.clock();
        }
    }

    /// Judges one read, whose look at the clock was at real time `real`, and before whose begin
    /// readers of this agent had seen `floor`.
    pub(crate) fn judge(
        &mut self,
        config: &Configuration,
        index: usize,
        serving: Serving,
        real: i64,
        floor: u64,
    ) {
        let strict = config.modes[index] == Mode::Strict;
        let untouched = |left: u8, all: u8| left == all && all != UNLIMITED;
        let perfect = untouched(self.faults, config.faults) && untouched(self.operations, config.operations);
        match serving {
            Serving::Hold => self.record.note(Happened::Held),
            Serving::Stale(_) if self.record.joined[index] => self.record.note(Happened::Stale),
            Serving::Fenced if self.record.joined[index] => self.record.note(Happened::Fenced),
            _ => {}
        }
        let dark = matches!(serving, Serving::Stale(_) | Serving::Fenced) && self.record.joined[index];
        self.record.demand(!(perfect && dark), Broken::Available);
        self.judge_content(index, serving);
        let Some(generation) = serving.current() else { return };
        let live = self.live_at(real);
        let is_live = live.is_some_and(|rank| self.record.goes_live[rank].generation == generation);
        if self.hosts[index].astray {
            // A clock broke its bound and nobody knows yet: nothing is promised.
            self.record.joined[index] = true;
            return if !is_live {
                self.record.note(Happened::Excused)
            };
        }
        let disagrees = live.is_some_and(|rank| {
            let live = self.record.goes_live[rank].generation;
            live.epoch == generation.epoch && live.digest != generation.digest
        });
        self.record.demand(!disagrees, Broken::Agreement);
        let Some(rank) = self.rank(config, generation, real) else {
            return self.record.break_(Broken::Agreement);
        };
        if strict {
            self.record.demand(is_live, Broken::StrictServesLive);
            self.record.demand(rank as u64 >= self.record.seen_strict, Broken::EpochsRise);
            self.record.seen_strict = self.record.seen_strict.max(rank as u64);
        } else if !is_live {
            self.judge_skew(index, rank, live, real);
        }
        self.record.demand(rank as u64 >= floor, Broken::EpochsRise);
        self.record.seen[index] = self.record.seen[index].max(rank as u64);
        if !self.record.joined[index] {
            self.record.joined[index] = true;
            self.record.demand(is_live, Broken::JoinIsCurrent);
            if self.record.restarted[index] {
                self.record.note(Happened::Rejoined);
            }
        }
    }

    /// S6: what readers get is what the generation's digest says.
    fn judge_content(&mut self, index: usize, serving: Serving) {
        let Some(generation) = serving.generation() else { return };
        match self.content(index, generation) {
            Some([first, last]) => {
                let agrees = first.digest() == generation.digest && last.digest() == generation.digest;
                self.record.demand(agrees, Broken::Agreement);
            }
            None => self.record.break_(Broken::Agreement),
        }
    }

    /// S8: a prompt agent that serves something else than what is live does so within its ε of T.
    fn judge_skew(&mut self, index: usize, rank: usize, live: Option<usize>, real: i64) {
        let host = &self.hosts[index];
        let live = live.map_or(-1, |rank| rank as i64);
        let early = rank as i64 > live;
        // The switch that it is early or late for. A generation that goes live on two lines, before anybody
        // is told and after, is early for the first of the two and late for the last.
        let Some(next) = (if early { Some(rank) } else { self.successor(rank) }) else {
            return self.record.break_(Broken::PromptSkewBound);
        };
        let lives = &self.record.goes_live;
        let same = lives.iter().filter(|live| live.generation == lives[next].generation);
        let switches = same.map(|live| self.real(live));
        let switch = if early { switches.filter(|switch| *switch > real).min() } else { switches.max() };
        let switch = switch.unwrap_or(real);
        let epsilon = host.page_epsilon.as_nanos();
        let within = if early { switch - real <= epsilon } else { real - switch < 2 * epsilon };
        self.record.demand(within, Broken::PromptSkewBound);
        self.record.note(if early { Happened::Early } else { Happened::Late });
    }

    /// What came after the generation at a rank, as another generation.
    fn successor(&self, rank: usize) -> Option<usize> {
        let lives = &self.record.goes_live;
        (rank + 1..lives.len()).find(|next| lives[*next].generation != lives[rank].generation)
    }

    /// A suspended reader answers.
    pub(crate) fn judge_resumed(&mut self, config: &Configuration, index: usize) {
        let host = &self.hosts[index];
        let page = host.overlap.as_ref().unwrap_or(&host.page);
        if host.reader.as_ref().is_some_and(|reader| !reader.plan.same_but_serial(page)) {
            self.record.note(Happened::Republished);
        }
        if host.reader.as_ref().is_some_and(|reader| reader.excused) {
            self.hosts[index].reader = None;
            return;
        }
        if let Some((serving, real, floor)) = self.resume_reader(config, index) {
            if self.live_at(real) != self.live_at(self.now) || real == self.now {
                self.record.note(Happened::Resumed);
            }
            self.judge(config, index, serving, real, floor);
        }
    }
}
