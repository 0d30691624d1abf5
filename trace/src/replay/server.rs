//! A server's tables, made again by core from what was asked: each transaction, each change of an
//! operator and each new line has to give the table and the answer that were recorded, and each table
//! follows from the one before it. What S1 to S4 demand of a step is judged here beside it, from the
//! tables alone and without core's help (`ledger`).

use super::clocks::{TWO_READINGS, Timelines};
use super::ledger::{Ledger, Step};
use super::script::{Script, compare, operate};
use crate::fault::{CLOCKS, CONFORMS, Fault, Verdicts};
use crate::file::Place;
use crate::line::{Change, Fact, How, Line};
use downbeat_core::guard::Guards;
use downbeat_core::ids::{AgentId, BootId, Incarnation, Name, RequestId, TimelineId};
use downbeat_core::message::{Reply, ReplyBody, RequestBody};
use downbeat_core::server::{Effect, answer_from_snapshot, transition};
use downbeat_core::table::SyncTable;
use downbeat_core::time::{LocalTime, Rate, ServerTime};
use downbeat_core::timeline::{self, Line as Slope};
use std::collections::BTreeMap;

/// Before its bend a line agrees with the one before it but for the rounding of both, in nanoseconds.
const ROUNDING: i64 = 1;

/// A table of a farm, in the order of the changes.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    pub(crate) table: SyncTable,
    /// When it was certainly published, where it was.
    pub(crate) committed: Option<LocalTime>,
    /// What was known before it, for when it is undone.
    before: Ledger,
}

/// What is known of a farm.
#[derive(Debug, Default)]
pub(crate) struct FarmState {
    pub(crate) versions: Vec<Version>,
    ledger: Ledger,
    /// Whether its last change may be undone: its process was killed.
    unsure: bool,
}

impl FarmState {
    fn undo(&mut self) {
        if let Some(undone) = self.versions.pop() {
            self.ledger = undone.before;
        }
    }
}

/// The answer to a request, as the server recorded it.
#[derive(Debug)]
struct Answered {
    farm: Name,
    at: LocalTime,
    now: ServerTime,
    reply: ReplyBody<u16>,
}

/// All servers of a trace, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Servers {
    pub(crate) clocks: Timelines,
    pub(crate) farms: BTreeMap<Name, FarmState>,
    answered: BTreeMap<(AgentId, Incarnation, u64), Vec<Answered>>,
    guards: Guards,
    rate: Rate,
    boot: BootId,
    /// Transactions, changes and answers that core gave again.
    pub(crate) steps: u64,
    /// Whether a new line was begun that may use numbers again: a restore, or a start that was vouched for.
    pub(crate) restored: bool,
}

impl Servers {
    /// A process is over: its last change may have been committed or not.
    pub(crate) fn process_ends(&mut self) {
        for farm in self.farms.values_mut() {
            farm.unsure = farm.versions.last().is_some_and(|version| version.committed.is_none());
        }
    }

    /// One line of a server.
    pub(crate) fn line(&mut self, place: Place, line: &Line, verdicts: &mut Verdicts) {
        let done = match line {
            Line::Server { guards, rate, boot, .. } => {
                (self.guards, self.rate, self.boot) = (*guards, *rate, *boot);
                Ok(())
            }
            Line::Clock { at, timeline, how, line } => self.clock(*at, *timeline, *how, *line),
            Line::Found { at, table } => self.found(*at, table),
            Line::Over { at, old, now, before, table } => {
                self.over(place, *at, *old, *now, (before, table), verdicts)
            }
            Line::Made { at, now, due, table } => self.made(place, *at, *now, *due, table, verdicts),
            Line::Transaction { at, farm, now, id, request, facts, reply, effect, table } => {
                let recorded = (reply, *effect, table.as_ref());
                self.transaction(place, (*at, *now), farm, (*id, request), facts, recorded, verdicts)
            }
            Line::Answer { at, farm, now, id, request, reply } => {
                self.answer(place, (*at, *now), farm, (*id, request), reply, verdicts)
            }
            Line::Operated { at, farm, now, change, table } => {
                self.operated(place, (*at, *now), farm, *change, table, verdicts)
            }
            Line::Committed { at, farm } => self.committed(*at, farm),
            Line::Undone { farm, .. } => self.undone(farm),
            _ => Ok(()),
        };
        if let Err(text) = done {
            verdicts.push(Fault::at(CONFORMS, place, text));
        }
    }

    /// A reply that an agent got is one that the server gave, to that request, between its stamps.
    pub(crate) fn gave(
        &self,
        farm: &Name,
        agent: AgentId,
        reply: &Reply<u16>,
        got: LocalTime,
    ) -> Result<(), String> {
        let told = matches!(
            reply.body,
            ReplyBody::Table(_)
                | ReplyBody::Granted { .. }
                | ReplyBody::NotDue(_)
                | ReplyBody::Busy { .. }
                | ReplyBody::Advanced(_)
                | ReplyBody::Refused { .. }
                | ReplyBody::Unlocked
        );
        if !told || self.clocks.of(reply.stamp.timeline).is_empty() {
            return Ok(());
        }
        let answers = self.answered.get(&(agent, reply.incarnation, reply.number));
        let answers = answers.map(Vec::as_slice).unwrap_or_default();
        let given = answers.iter().any(|answer| {
            answer.farm == *farm
                && answer.reply == reply.body
                && answer.at <= got + TWO_READINGS
                && reply.stamp.received <= answer.now
                && answer.now <= reply.stamp.answered
        });
        let latest = self.clocks.at(reply.stamp.timeline, got).unwrap_or(ServerTime::MAX);
        if !given {
            return Err(format!("the server's trace has no such answer to request {}", reply.number));
        }
        if reply.stamp.answered > latest + TWO_READINGS {
            return Err(format!("the answer to request {} arrived before it left", reply.number));
        }
        Ok(())
    }

    /// A clock comes into force: made by core's functions, and the same as before up to its bend.
    fn clock(&mut self, at: LocalTime, timeline: TimelineId, how: How, line: Slope) -> Result<(), String> {
        let known = self.clocks.last(timeline).copied();
        if line.boot != self.boot {
            return Err("the clock's line is of another boot than the server".to_owned());
        }
        match (how, known) {
            (How::Begun { wall }, None) if Slope::begin(self.boot, at, wall) == line => {}
            (How::Begun { .. }, _) => {
                return Err("the new timeline isn't begun as core begins one".to_owned());
            }
            (How::Continued, _) => {}
            (How::Renewed { wall }, Some(known)) if known.renewed(at, wall, self.rate) == line => {}
            (How::Renewed { .. }, _) => return Err("the clock isn't renewed as core renews it".to_owned()),
        }
        if let Some(known) = known
            && known.at(line.bend_local) != line.at(line.bend_local)
        {
            return Err("the timeline jumps: two of its lines don't meet at the bend".to_owned());
        }
        self.clocks.push(timeline, line);
        Ok(())
    }

    /// A reading of the server's clock is the one that its line shows then, under a mark.
    fn reading(
        &self,
        place: Place,
        line: TimelineId,
        (at, now): (LocalTime, ServerTime),
        verdicts: &mut Verdicts,
    ) {
        let Some(truth) = self.clocks.at(line, at) else {
            let text = "a reading of a timeline that has no clock here".to_owned();
            return verdicts.push(Fault::at(CLOCKS, place, text));
        };
        let by = (now - truth).as_nanos();
        if by.abs() > ROUNDING {
            let text = format!("the server's reading is {by} ns off the line that it is of");
            verdicts.push(Fault::at(CLOCKS, place, text));
        }
        if self.clocks.last(line).is_some_and(|line| now > line.mark.until) {
            verdicts.push(Fault::at(CLOCKS, place, "a time is given out beyond the mark".to_owned()));
        }
    }

    fn found(&mut self, at: LocalTime, table: &SyncTable) -> Result<(), String> {
        self.takes_up(at, table)?;
        if self.clocks.of(table.timeline).is_empty() {
            return Err("the table is of a timeline that has no clock here".to_owned());
        }
        Ok(())
    }

    /// The table that a start finds is the last one, or the one before it where a process was killed
    /// before it could say that the last one was committed.
    fn takes_up(&mut self, at: LocalTime, table: &SyncTable) -> Result<(), String> {
        let farm = self.farms.entry(table.farm.clone()).or_default();
        if farm.unsure && farm.versions.last().is_some_and(|version| version.table != *table) {
            farm.undo();
        }
        farm.unsure = false;
        match farm.versions.last_mut() {
            None => farm.versions.push(Version {
                table: table.clone(),
                committed: Some(at),
                before: Ledger::default(),
            }),
            Some(last) if last.table == *table => {
                last.committed.get_or_insert(at);
            }
            Some(_) => return Err(format!("another table of {} is found than was left", table.farm)),
        }
        Ok(())
    }

    fn over(
        &mut self,
        place: Place,
        at: LocalTime,
        old: timeline::OldLine,
        now: ServerTime,
        (before, table): (&SyncTable, &SyncTable),
        verdicts: &mut Verdicts,
    ) -> Result<(), String> {
        self.takes_up(at, before)?;
        self.reading(place, table.timeline, (at, now), verdicts);
        let made = timeline::begin_line(before, table.timeline, old, now, self.rate, self.guards);
        if made != *table {
            return Err("the new timeline's table isn't what core makes of the old one".to_owned());
        }
        self.restored |= !matches!(old, timeline::OldLine::MarkStored(_));
        let known = self.known(&table.farm);
        self.change(table.clone(), known)
    }

    fn made(
        &mut self,
        place: Place,
        at: LocalTime,
        now: ServerTime,
        due: Option<ServerTime>,
        table: &SyncTable,
        verdicts: &mut Verdicts,
    ) -> Result<(), String> {
        self.reading(place, table.timeline, (at, now), verdicts);
        let (farm, content) = (table.farm.clone(), table.staged.digest);
        let made = SyncTable::new_farm(farm, table.timeline, content, table.settings, table.limits, due, now);
        if made.as_ref() != Ok(table) {
            return Err("the new farm's table isn't what core makes".to_owned());
        }
        let farm = self.farms.entry(table.farm.clone()).or_default();
        if !farm.versions.is_empty() {
            return Err(format!("the farm {} is made twice", table.farm));
        }
        farm.versions.push(Version { table: table.clone(), committed: None, before: Ledger::default() });
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "a transaction has that many parts")]
    fn transaction(
        &mut self,
        place: Place,
        reading: (LocalTime, ServerTime),
        farm: &Name,
        (id, request): (RequestId, &RequestBody),
        facts: &[Fact],
        (reply, effect, after): (&ReplyBody<u16>, Effect, Option<&SyncTable>),
        verdicts: &mut Verdicts,
    ) -> Result<(), String> {
        let before = self.newest(farm)?;
        self.reading(place, before.timeline, reading, verdicts);
        let after = after.unwrap_or(&before);
        let state = self.farms.entry(farm.clone()).or_default();
        let known = state.ledger.clone();
        let step = Step { tables: (&before, after), id, request, now: reading.1, reply };
        state.ledger.step(place, &step, verdicts);
        state.ledger.told(reply, after);
        self.note(farm, id, reading, reply);
        // What was recorded stands from here on, so that one fault isn't told of every line after it.
        let follows = if *after != before { self.change(after.clone(), known) } else { Ok(()) };
        let script = Script::new(facts);
        let done = transition::<u16>(&before, id, request, reading.1, &script, self.guards);
        let done = done.ok_or("a request that touches no table")?;
        script.end()?;
        compare(&done, reply, effect, after)?;
        self.steps += 1;
        follows
    }

    fn answer(
        &mut self,
        place: Place,
        reading: (LocalTime, ServerTime),
        farm: &Name,
        (id, request): (RequestId, &RequestBody),
        reply: &ReplyBody<u16>,
        verdicts: &mut Verdicts,
    ) -> Result<(), String> {
        let Some(state) = self.farms.get(farm) else { return Err(format!("there is no farm {farm}")) };
        // The newest, or one that was replaced only after the clock was read.
        let newest_first = state.versions.iter().rev();
        let mut replaced = LocalTime::MAX;
        let mut matching = None;
        for version in newest_first {
            let given = answer_from_snapshot::<u16>(&version.table, request, reading.1);
            if given.as_ref() == Some(reply) {
                matching = Some(version.table.clone());
                break;
            }
            replaced = version.committed.unwrap_or(LocalTime::MAX).min(replaced);
            if replaced < reading.0 {
                break;
            }
        }
        let table = matching.ok_or("the answer is not core's, from the table as it was then")?;
        self.reading(place, table.timeline, reading, verdicts);
        self.steps += 1;
        self.note(farm, id, reading, reply);
        self.farms.entry(farm.clone()).or_default().ledger.told(reply, &table);
        Ok(())
    }

    fn operated(
        &mut self,
        place: Place,
        reading: (LocalTime, ServerTime),
        farm: &Name,
        change: Change,
        after: &SyncTable,
        verdicts: &mut Verdicts,
    ) -> Result<(), String> {
        let before = self.newest(farm)?;
        self.reading(place, before.timeline, reading, verdicts);
        let known = self.known(farm);
        let follows = if *after != before { self.change(after.clone(), known) } else { Ok(()) };
        if operate(&before, change, reading.1, self.guards)? != *after {
            return Err("the operator's change gives another table by core".to_owned());
        }
        self.steps += 1;
        follows
    }

    fn committed(&mut self, at: LocalTime, farm: &Name) -> Result<(), String> {
        match self.farms.get_mut(farm).and_then(|state| state.versions.last_mut()) {
            Some(version) if version.committed.is_none() => {
                version.committed = Some(at);
                Ok(())
            }
            _ => Err("a commit of no change".to_owned()),
        }
    }

    fn undone(&mut self, farm: &Name) -> Result<(), String> {
        match self.farms.get_mut(farm) {
            Some(state) if state.versions.last().is_some_and(|version| version.committed.is_none()) => {
                state.undo();
                Ok(())
            }
            _ => Err("no change could be undone".to_owned()),
        }
    }

    fn newest(&self, farm: &Name) -> Result<SyncTable, String> {
        let last = self.farms.get(farm).and_then(|state| state.versions.last());
        last.map(|version| version.table.clone()).ok_or(format!("there is no farm {farm}"))
    }

    fn known(&self, farm: &Name) -> Ledger {
        self.farms.get(farm).map(|state| state.ledger.clone()).unwrap_or_default()
    }

    fn change(&mut self, table: SyncTable, before: Ledger) -> Result<(), String> {
        let state = self.farms.entry(table.farm.clone()).or_default();
        if state.versions.last().is_some_and(|last| last.committed.is_none()) {
            return Err("a change before the last one was committed or undone".to_owned());
        }
        state.versions.push(Version { table, committed: None, before });
        Ok(())
    }

    fn note(
        &mut self,
        farm: &Name,
        id: RequestId,
        (at, now): (LocalTime, ServerTime),
        reply: &ReplyBody<u16>,
    ) {
        let answered = Answered { farm: farm.clone(), at, now, reply: reply.clone() };
        self.answered.entry((id.agent, id.incarnation, id.number)).or_default().push(answered);
    }
}
