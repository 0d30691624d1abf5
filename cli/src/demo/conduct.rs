//! Runs the demo: hears the server's events, feeds a day for each epoch, looks at the agents, has the
//! readers poll tightly near each T, and closes each cycle with its figures. Nothing is judged before the
//! end (`traces`).

use super::cast::Member;
use super::cycle::Cycle;
use super::ledger::{Ledger, Staged};
use super::rates::{NOTICE, Rates, Records, digest_of};
use super::scene::Scene;
use super::screen::{Live, Screen};
use super::stage::{FARM, Stage};
use super::watcher::{Track, Watcher};
use crate::failure::Failure;
use crate::remote::Told;
use downbeat_agent::What;
use downbeat_core::effect::Event;
use downbeat_core::ids::{Epoch, Name};
use downbeat_core::time::{LocalTime, Span};
use downbeat_trace::{Line, Recorder};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

/// How often agents are looked at.
const STEP: Duration = Duration::from_millis(4);
/// Generations that an agent has served before its cycles count.
const JOINED: usize = 2;

/// All that plays.
pub(crate) struct Conductor {
    pub(crate) stage: Stage,
    pub(crate) scene: Scene,
    pub(crate) members: Vec<Member>,
    pub(crate) watcher: Watcher,
    pub(crate) events: Receiver<Told>,
    pub(crate) rates: Rates,
    pub(crate) screen: Screen,
    /// The day that is in production.
    pub(crate) fed: Option<usize>,
    pub(crate) next_day: usize,
    /// The day in the epoch that was staged last, for people.
    pub(crate) staged_day: &'static str,
    pub(crate) wanted: u64,
    pub(crate) ledger: Ledger,
    pub(crate) cycles: Vec<Cycle>,
    /// The newest epoch whose cycle is closed.
    pub(crate) closed: Epoch,
    /// A signal asked for the end.
    pub(crate) interrupted: Arc<AtomicBool>,
    /// When the act was played.
    pub(crate) acted: Option<LocalTime>,
    /// Where what readers see, and what they should, is traced.
    pub(crate) notes: Recorder,
}

impl Conductor {
    /// Plays until so many cycles are over.
    ///
    /// # Errors
    /// The host is too busy to come to its cycles, or the server ended.
    pub(crate) fn play(&mut self) -> Result<(), Failure> {
        let interval = self.stage.settings.interval;
        let limit = interval.times(i64::try_from(self.wanted).unwrap_or(i64::MAX).saturating_add(8));
        let end = self.stage.timeline.now() + limit + Span::from_secs(15);
        while (self.cycles.len() as u64) < self.wanted {
            if self.interrupted.load(Ordering::Relaxed) {
                self.screen.wipe();
                return Err(Failure::own("the demo was interrupted"));
            }
            self.hear()?;
            let tracks = self.watcher.tracks();
            self.look(&tracks);
            self.tighten(&tracks);
            self.close(&tracks);
            let Conductor { members, ledger, stage, screen, staged_day: day, .. } = self;
            let timeline = &stage.timeline;
            screen.draw(&Live { members, tracks: &tracks, ledger, day, timeline });
            if self.stage.timeline.now() > end {
                return Err(Failure::refused(
                    format!("only {} of {} cycles came about in time", self.cycles.len(), self.wanted),
                    "the host is too busy: give it a longer --interval, or fewer --agents",
                ));
            }
            std::thread::sleep(STEP);
        }
        self.screen.wipe();
        Ok(())
    }

    /// Takes in what the server told.
    fn hear(&mut self) -> Result<(), Failure> {
        loop {
            let told = match self.events.try_recv() {
                Ok(told) => told,
                Err(TryRecvError::Empty) => return Ok(()),
                Err(TryRecvError::Disconnected) => {
                    return Err(Failure::own("the demo's server ended by itself"));
                }
            };
            match told.name.as_str() {
                "status" | "staged" => self.staged(&told)?,
                "missed" => {
                    return Err(Failure::own("the demo missed events of its server: the host is too busy"));
                }
                _ => {}
            }
        }
    }

    /// An epoch was staged: what production holds from now on is for the one after it.
    pub(crate) fn staged(&mut self, told: &Told) -> Result<(), Failure> {
        let Some(staged) = Staged::of(told) else { return Ok(()) };
        let heard = self.stage.timeline.now();
        if !self.ledger.enter(&staged, heard, self.members.len()) {
            return Ok(());
        }
        let before = self.fed.map(|day| self.rates.day(day));
        self.staged_day = before.map_or("no day yet", |day| day.date);
        if before.is_none() {
            self.note_fed(staged.epoch, &Records::new())?;
        }
        let from = self.stage.feed(self.rates.day(self.next_day), before)?;
        self.note_fed(from, &self.rates.day(self.next_day).records())?;
        self.fed = Some(self.next_day);
        self.next_day += 1;
        if self.scene.schedule && !self.ledger.scheduled && told.name == "staged" {
            // Between two regular activations, and past again at a regular one.
            let interval = self.stage.settings.interval;
            let from = staged.activation + interval + Span::from_nanos(interval.as_nanos() / 4 * 3);
            let until = staged.activation + interval.times(4);
            let after = self.stage.schedule(from, until)?.saturating_sub(1);
            self.ledger.scheduled = true;
            let (at, name) = (self.stage.timeline.now(), Name::new(FARM).map_err(Failure::own)?);
            self.notes.tell(|| Line::Scheduled {
                at,
                farm: name,
                record: NOTICE.to_owned(),
                from,
                until: Some(until),
                after,
            });
        }
        Ok(())
    }

    /// Tells the trace what production holds from an epoch on.
    fn note_fed(&self, from: Epoch, records: &Records) -> Result<(), Failure> {
        let (at, farm) = (self.stage.timeline.now(), Name::new(FARM).map_err(Failure::own)?);
        if let Some(records) = digest_of(records) {
            self.notes.tell(|| Line::Fed { at, farm, from, records });
        }
        Ok(())
    }

    /// Looks at every agent: how far it has come, and its ε.
    fn look(&mut self, tracks: &[Track]) {
        let timeline = &self.stage.timeline;
        for (number, member) in self.members.iter().enumerate() {
            let status = member.agent.status();
            let reading = member.agent.clock().read();
            for (epoch, entry) in self.ledger.epochs.range_mut(self.closed + 1..) {
                let Some(way) = entry.agents.get_mut(number) else { continue };
                let holds = status.plan.staged.is_some_and(|staged| staged.epoch == *epoch);
                if holds || tracks.get(number).is_some_and(|track| track.newest >= *epoch) {
                    way.armed.get_or_insert(reading.host);
                }
                let at = reading.local + (timeline.host(entry.activation) - reading.host);
                if reading.local < at {
                    way.epsilon = status.clock.epsilon(at).map(Span::as_nanos);
                }
                let recorded = status.last.iter().rev().find_map(|happening| match &happening.what {
                    What::Protocol(Event::Switched(switched)) if switched.epoch == *epoch => {
                        Some(switched.epsilon)
                    }
                    _ => None,
                });
                way.recorded = recorded.map(Span::as_nanos).or(way.recorded);
            }
        }
    }

    /// Near T readers poll tightly: from before the earliest switch that any ε allows until all have
    /// switched.
    fn tighten(&self, tracks: &[Track]) {
        let next = self.ledger.epochs.range(self.closed + 1..).next();
        let Some((epoch, entry)) = next else { return };
        let widest =
            entry.agents.iter().filter_map(|way| way.epsilon).max().unwrap_or(0).clamp(0, 100_000_000);
        let at = self.stage.timeline.host(entry.activation);
        let all = tracks.iter().all(|track| track.newest >= *epoch);
        let margin = Span::from_nanos(widest) + Span::from_millis(5);
        let until = if all { at } else { at + margin.times(3) };
        self.watcher.tight(at - margin, until);
    }

    /// Closes the cycle of the next epoch, if it is over.
    fn close(&mut self, tracks: &[Track]) {
        let Some((&epoch, entry)) = self.ledger.epochs.range(self.closed + 1..).next() else { return };
        let now = self.stage.timeline.now();
        let at = self.stage.timeline.host(entry.activation);
        let away = self.scene.act.filter(|_| self.acted.is_some()).map(|act| act.agent);
        let done = |(number, track): (usize, &Track)| {
            let read = track.of(epoch).is_some_and(|served| served.content.is_some());
            let recorded = entry.agents.get(number).is_some_and(|way| way.recorded.is_some());
            away == Some(number) || (read && recorded)
        };
        let over = tracks.iter().enumerate().all(done);
        let patience = Span::from_nanos(self.stage.settings.interval.as_nanos() / 2);
        if at > now || !(over || now - at > patience) {
            return;
        }
        self.closed = epoch;
        let roles: Vec<_> = self.members.iter().map(|member| member.role.clone()).collect();
        let Some(cycle) =
            Cycle::measure(epoch, &self.ledger, &roles, tracks, &self.rates, &self.stage.timeline)
        else {
            return;
        };
        // A cycle counts where everybody was there before it, and has joined: an agent's first switch is
        // by the strict proof, in prompt too (S10).
        let there = |track: &Track| {
            let before = epoch.checked_sub(1).is_some_and(|before| track.of(before).is_some());
            let served = track.served.iter().filter(|served| served.generation.epoch < epoch).count();
            before && served >= JOINED
        };
        let counts = away.is_some() || tracks.iter().all(there);
        let number = counts.then_some(self.cycles.len() as u64 + 1);
        self.screen.cycle(number, &cycle, &self.members, &self.stage.timeline);
        if counts {
            self.cycles.push(cycle);
            self.act();
        }
    }

    /// Plays the act, once.
    fn act(&mut self) {
        let Some(act) = self.scene.act.filter(|_| self.acted.is_none()) else { return };
        let Some(member) = self.members.get(act.agent) else { return };
        self.acted = Some(self.stage.timeline.now());
        let name = &member.role.name;
        let mut text = format!("the link of {name} is cut");
        if let Some(step) = act.step {
            member.agent.clock().step(step);
            text.push_str(&format!(", and its clock set back by {}", crate::show::span(-step.as_nanos())));
        }
        if let Some(relay) = &member.relay {
            relay.cut();
        }
        self.screen.say(&format!("-- {text} --\n"));
    }
}
