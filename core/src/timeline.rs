//! The farm's timeline: how the server's clock is made from its host's, and what a start that can't
//! continue it does to the table (PROTOCOL §8).
//!
//! The host's clocks are read by the shell and come in as arguments; storing the line before it is
//! used is the shell's too, and the order (store, then adopt) is what makes a restart continue it
//! exactly.

use crate::guard::{Guard, Guards};
use crate::ids::{BootId, TimelineId};
use crate::settings::{Limits, Settings};
use crate::table::{Hold, SyncTable};
use crate::time::{Drift, LocalTime, Rate, ServerTime, Span};
use serde::{Deserialize, Serialize};

/// How far ahead of the given-out time the mark is stored.
const MARK_AHEAD: Span = Span::from_secs(30);
/// The mark is renewed when less than this is left of it.
const MARK_RENEWED_AT: Span = Span::from_secs(15);
/// A new slope begins this long after it was computed, so that it is stored before it is used.
const BEND_AHEAD: Span = Span::from_secs(5);
/// The span over which the slew aims to close the distance to the wall clock.
const SLEW_OVER: i64 = 60;

/// A high-water mark: no time after `until` is given out before another mark is stored.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Mark {
    /// The last instant that may be given out under it.
    pub until: ServerTime,
    /// The instant at which it was stored, by the same line. "Certainly passed" counts from here.
    pub stored_at: ServerTime,
}

/// The line as it is stored: enough to continue it within the same boot of the host.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Line {
    /// The boot that the local instants belong to.
    pub boot: BootId,
    /// Where the slope changes, by the host's clock.
    pub bend_local: LocalTime,
    /// The line's time there.
    pub bend: ServerTime,
    /// Parts per billion that the line runs faster than the host's clock before the bend.
    pub slope_before: i32,
    /// The same after it.
    pub slope_after: i32,
    /// The mark under which times are given out.
    pub mark: Mark,
}

impl Line {
    /// A new line that shows `wall` at the local instant `now`, with its first mark.
    pub fn begin(boot: BootId, now: LocalTime, wall: ServerTime) -> Line {
        Line {
            boot,
            bend_local: now,
            bend: wall,
            slope_before: 0,
            slope_after: 0,
            mark: Mark { until: wall + MARK_AHEAD, stored_at: wall },
        }
    }

    /// The line's time at a local instant of its boot.
    pub fn at(&self, local: LocalTime) -> ServerTime {
        let since = local - self.bend_local;
        let slope = if since < Span::ZERO { self.slope_before } else { self.slope_after };
        let extra = (since.as_nanos() as i128 * slope as i128).div_euclid(1_000_000_000);
        self.bend + since + Span::from_nanos(extra.clamp(i64::MIN as i128, i64::MAX as i128) as i64)
    }

    /// Whether the line should be renewed: the mark is near, or the slope's time to change is.
    pub fn wants_renewal(&self, now: LocalTime) -> bool {
        self.mark.until - self.at(now) < MARK_RENEWED_AT
    }

    /// Whether the time at `now` may be given out.
    pub fn may_give_out(&self, now: LocalTime) -> bool {
        self.at(now) <= self.mark.until
    }

    /// The line with a new mark, bent a little later toward the wall clock by at most [`most_slew`]
    /// of `rate`. To be stored, then used; while it
    /// is being stored the old one stays in force, and both agree up to the new bend. Where
    /// storing took longer than that, the stored one is still the line: [`Line::outlived`] tells.
    #[must_use]
    pub fn renewed(&self, now: LocalTime, wall: ServerTime, rate: Rate) -> Line {
        let time = self.at(now);
        let mark = Mark { until: time + MARK_AHEAD, stored_at: time };
        if now < self.bend_local {
            // The last bend is not reached yet: only the mark moves.
            return Line { mark, ..*self };
        }
        let most = most_slew(rate);
        let wanted = (wall - time).as_nanos() / SLEW_OVER; // nanoseconds a second: ppb
        let bend_local = now + BEND_AHEAD;
        Line {
            boot: self.boot,
            bend_local,
            bend: self.at(bend_local),
            slope_before: self.slope_after,
            slope_after: wanted.clamp(-most, most) as i32,
            mark,
        }
    }

    /// Whether the bend of a line that was just stored has passed already, so that it disagrees
    /// with what was given out meanwhile. It must then be stored again from the line in force.
    pub fn outlived(&self, in_force: &Line, now: LocalTime) -> bool {
        self.bend_local != in_force.bend_local && self.bend_local.passed(now)
    }
}

/// The most that a line may be slewed, in parts per billion: with an oscillator that is wrong by
/// half of `rate`, the line as a whole then keeps `rate`. Half of it would be too much by the
/// product of the two: (1 + ρ/2)² > 1 + ρ.
fn most_slew(rate: Rate) -> i64 {
    const BILLION: i64 = 1_000_000_000;
    let rate = i64::from(rate.as_ppb());
    rate * BILLION / (2 * BILLION + rate)
}

/// What is known, at the start of a new line, of how far the old one has come.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum OldLine {
    /// The server ended without a chance to be copied; its last mark was stored at this instant of
    /// the old line (a reboot, a move to another host).
    MarkStored(Mark),
    /// Nothing: the store is a backup or a copy, and the old server has certainly stopped.
    Unknown,
    /// The operator vouches that no agent runs a plan of the old line.
    Vouched,
}

/// The table of a new line, written in one transaction before the first answer, and only if the row
/// still names the line that was left (PROTOCOL §8). `now` is the new line's reading, `rate` ρ_s.
pub fn begin_line(
    table: &SyncTable,
    timeline: TimelineId,
    old: OldLine,
    now: ServerTime,
    rate: Rate,
    guards: Guards,
) -> SyncTable {
    // Both lines may be wrong by ρ_s, the old one slow and the new one fast.
    let drift = Drift::between(rate, rate);
    let lead = table.settings.lead;
    let (activation, next_earliest) = match old {
        OldLine::MarkStored(_) if !guards.on(Guard::NewLineWaits) => (table.activation, table.next_earliest),
        OldLine::MarkStored(mark) => {
            let from = if guards.on(Guard::MarkStoredInstant) { mark.stored_at } else { mark.until };
            let passed = |instant: ServerTime| now + drift.at_most((instant - from).or_zero());
            let activation = passed(table.activation);
            let old_promise = passed(table.next_earliest).max(activation);
            let promise = old_promise.max(activation + lead);
            // What was stretched is promised only as far as a restore of this farm would wait for it; where it
            // is longer, k goes live once it is over.
            let promises = is_allowed_for(table, now, (activation, promise), guards)
                || !guards.on(Guard::NewLinePromiseBounded);
            if promises { (activation, promise) } else { (old_promise, old_promise) }
        }
        OldLine::Unknown => {
            let all_over = now + drift.at_most(longest_promise(&table.limits, guards));
            // No promise before T: a second restore would know nothing of it, and its own T may come sooner
            // than this one's promise would end. The first read after T has it renewed.
            let promise = if guards.on(Guard::RestorePromisesNothing) {
                all_over
            } else {
                all_over + table.limits.max_lead
            };
            (if guards.on(Guard::RestoreMovesActivation) { all_over } else { now }, promise)
        }
        OldLine::Vouched => (now, now + lead),
    };
    SyncTable {
        timeline,
        active: if guards.on(Guard::NewLineNamesNoActive) { None } else { table.active },
        activation,
        next_earliest,
        landing: Some(next_earliest),
        held: table.held.map(|hold| Hold { until: hold.until.map(|_| next_earliest) }),
        lock: None,
        ..table.clone()
    }
}

/// How far ahead of a line's time any promise of a farm with these limits can reach: what a restore waits,
/// which knows nothing of the last grants. spec/bounds/restore.smt2 says why.
fn longest_promise(limits: &Limits, guards: Guards) -> Span {
    let intervals =
        if guards.on(Guard::RestoreWaitsIntervals) { limits.max_interval.times(2) } else { Span::ZERO };
    longest_bound(limits) + intervals + limits.max_lead
}

/// What a lost grant had to wait for was a hold, or its own lead.
fn longest_bound(limits: &Limits) -> Span {
    limits.max_hold.max(limits.max_lead)
}

/// Whether a new line's promise, and what the next grant makes of it, lasts no longer than a restore waits.
fn is_allowed_for(
    table: &SyncTable,
    now: ServerTime,
    (activation, promise): (ServerTime, ServerTime),
    guards: Guards,
) -> bool {
    let Settings { lead, interval, .. } = table.settings;
    let next_is = promise <= now + longest_bound(&table.limits) || promise < activation + lead + interval;
    next_is && promise <= now + longest_promise(&table.limits, guards)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Digest, Name, RequestId};
    use crate::table::Lock;

    fn local(secs: i64) -> LocalTime {
        LocalTime::from_nanos(secs * 1_000_000_000)
    }
    fn at(secs: i64) -> ServerTime {
        ServerTime::from_nanos(secs * 1_000_000_000)
    }

    #[test]
    fn a_line_is_continued_exactly_and_never_stepped() {
        let line = Line::begin(BootId(1), local(100), at(5_000));
        let rate = Rate::from_ppm(100);
        // The wall clock was stepped an hour ahead: the line bends by nearly 50 ppm, later.
        let next = line.renewed(local(110), at(5_010 + 3_600), rate);
        assert_eq!(next.slope_after, 49_997);
        for secs in 110..115 {
            assert_eq!(next.at(local(secs)), line.at(local(secs)), "both agree up to the bend");
        }
        assert_eq!(next.at(local(115)), at(5_015));
        assert_eq!(next.at(local(1_115)), at(6_015) + Span::from_micros(49_997));
        assert!(next.outlived(&line, local(115)) && !next.outlived(&line, local(114)));
        // A renewal before the bend only moves the mark.
        let again = next.renewed(local(112), at(0), rate);
        assert_eq!((again.bend_local, again.slope_after), (next.bend_local, next.slope_after));
        assert_eq!(again.mark.stored_at, at(5_012));
    }

    #[test]
    fn a_slewed_line_keeps_its_rate_on_the_worst_oscillator() {
        for ppb in [0, 1, 2, 3, 1_000, 100_000, 250_000, 1_000_001, 499_999_999] {
            // Twice everything, so that half of an odd rate is exact.
            let (whole, rate) = (1_000_000_000i128, ppb as i128);
            let fast = |slew| (2 * whole + rate) * (whole + slew) <= 2 * whole * (whole + rate);
            let slow = |slew| (2 * whole - rate) * (whole - slew) >= 2 * whole * (whole - rate);
            let slew = most_slew(Rate::from_ppb(ppb)) as i128;
            assert!(fast(slew) && slow(slew), "{ppb}");
            assert!(!fast(slew + 1), "{ppb}: no more would do");
        }
        assert!(most_slew(Rate::from_ppm(100)) < 50_000);
    }

    #[test]
    fn the_mark_bounds_what_is_given_out() {
        let line = Line::begin(BootId(1), local(0), at(0));
        assert!(line.may_give_out(local(30)) && !line.may_give_out(local(31)));
        assert!(!line.wants_renewal(local(15)) && line.wants_renewal(local(16)));
    }

    #[test]
    fn time_never_goes_back_over_a_bend() {
        let mut line = Line::begin(BootId(1), local(0), at(0));
        let mut last = line.at(local(0));
        for step in 1..2_000i64 {
            let now = LocalTime::from_nanos(step * 700_000_000);
            assert!(line.at(now) >= last);
            last = line.at(now);
            if line.wants_renewal(now) {
                let wall = if step % 2 == 0 { at(-900) } else { at(90_000) };
                line = line.renewed(now, wall, Rate::from_ppm(100));
            }
        }
    }

    #[test]
    fn a_line_bends_as_far_as_the_wall_clock_is_away_and_either_way() {
        let line = Line::begin(BootId(1), local(100), at(5_000));
        let rate = Rate::from_ppm(100);
        let toward = |millis: i64| {
            let wall = at(5_010) + Span::from_millis(millis);
            line.renewed(local(110), wall, rate).slope_after
        };
        // Over a minute: 1.2 ms are 20 ppm.
        assert_eq!(toward(0), 0);
        assert_eq!(toward(1) * 60 / 1_000_000, 0);
        assert_eq!((toward(3), toward(-3)), (49_997, -49_997));
        assert_eq!(line.renewed(local(110), at(5_010) + Span::from_micros(1_200), rate).slope_after, 20_000);
        assert_eq!(
            (toward(3_600_000), toward(-3_600_000)),
            (49_997, -49_997),
            "nearly half of the rate at most"
        );
    }

    #[test]
    fn a_renewal_moves_the_mark_and_from_the_bend_on_bends_again() {
        let line = Line::begin(BootId(1), local(100), at(5_000));
        let rate = Rate::from_ppm(100);
        let bent = line.renewed(local(110), at(9_000), rate);
        assert_eq!(bent.mark, Mark { until: at(5_040), stored_at: at(5_010) });
        let before = bent.renewed(local(114), at(0), rate);
        assert_eq!(before, Line { mark: Mark { until: at(5_044), stored_at: at(5_014) }, ..bent });
        let at_it = bent.renewed(local(115), at(0), rate);
        assert_eq!((at_it.bend_local, at_it.slope_before, at_it.slope_after), (local(120), 49_997, -49_997));
    }

    // The table of a new line

    fn held_table() -> SyncTable {
        let limits = Limits {
            max_interval: Span::from_secs(1_000),
            max_lead: Span::from_secs(100),
            max_hold: Span::from_secs(7_000),
        };
        let name = Name::new("f").unwrap();
        let settings = Settings::default();
        let new = SyncTable::new_farm(
            name,
            TimelineId::default(),
            Digest::default(),
            settings,
            limits,
            None,
            at(0),
        );
        let lock = Lock {
            holder: RequestId::default(),
            token: 3,
            granted_at: at(1_000),
            expires: at(1_005),
            due: None,
            next: at(1_200),
        };
        SyncTable {
            active: Some(Default::default()),
            activation: at(1_000),
            next_earliest: at(1_200),
            held: Some(Hold { until: Some(at(1_100)) }),
            lock: Some(lock),
            last_token: 3,
            ..new.unwrap()
        }
    }
    const NEXT: TimelineId = TimelineId { counter: 1, random: 7 };

    #[test]
    fn a_new_line_waits_until_the_old_promise_has_certainly_passed() {
        let table = held_table();
        let mark = Mark { until: at(930), stored_at: at(900) };
        let new = begin_line(&table, NEXT, OldLine::MarkStored(mark), at(50), Rate::ZERO, Guards::ALL);
        let promise = at(350);
        let expected = SyncTable {
            timeline: NEXT,
            active: None,
            activation: at(150),
            next_earliest: promise,
            landing: Some(promise),
            held: Some(Hold { until: Some(promise) }),
            lock: None,
            ..table.clone()
        };
        assert_eq!(new, expected);
        // A promise that is over leaves the lead: the agents have to arm again.
        let late = Mark { until: at(1_330), stored_at: at(1_300) };
        let new = begin_line(&table, NEXT, OldLine::MarkStored(late), at(50), Rate::ZERO, Guards::ALL);
        assert_eq!((new.activation, new.next_earliest), (at(50), at(110)));
        // Both lines may be wrong by the rate.
        let rate = Rate::from_ppb(100_000_000);
        let new = begin_line(&table, NEXT, OldLine::MarkStored(mark), at(50), rate, Guards::ALL);
        assert!(new.activation - at(50) > Span::from_secs(122));
        let twin = Guards::ALL.without(Guard::NewLineWaits);
        let new = begin_line(&table, NEXT, OldLine::MarkStored(mark), at(50), Rate::ZERO, twin);
        assert_eq!((new.activation, new.next_earliest), (at(1_000), at(1_200)), "the twin keeps both");
        let twin = Guards::ALL.without(Guard::MarkStoredInstant);
        let new = begin_line(&table, NEXT, OldLine::MarkStored(mark), at(50), Rate::ZERO, twin);
        assert_eq!(new.activation, at(120), "the twin counts from the mark itself");
        let twin = Guards::ALL.without(Guard::NewLineNamesNoActive);
        let new = begin_line(&table, NEXT, OldLine::MarkStored(mark), at(50), Rate::ZERO, twin);
        assert_eq!(new.active, table.active);
    }

    #[test]
    fn a_restore_waits_as_long_as_the_limits_allow_the_old_line_to_have_promised() {
        let table = held_table();
        let begin = |guards| begin_line(&table, NEXT, OldLine::Unknown, at(50), Rate::ZERO, guards);
        // The longest hold, two intervals and a lead: 7000 + 2·1000 + 100 s.
        let new = begin(Guards::ALL);
        assert_eq!((new.activation, new.next_earliest), (at(9_150), at(9_150)));
        let twin = begin(Guards::ALL.without(Guard::RestoreWaitsIntervals));
        assert_eq!((twin.activation, twin.next_earliest), (at(7_150), at(7_150)));
        let twin = begin(Guards::ALL.without(Guard::RestoreMovesActivation));
        assert_eq!((twin.activation, twin.next_earliest), (at(50), at(9_150)));
        let twin = begin(Guards::ALL.without(Guard::RestorePromisesNothing));
        assert_eq!((twin.activation, twin.next_earliest), (at(9_150), at(9_250)));
    }

    #[test]
    fn a_line_after_a_restore_promises_what_is_within_a_restore_s_wait() {
        let restored = begin_line(&held_table(), NEXT, OldLine::Unknown, at(50), Rate::ZERO, Guards::ALL);
        let begin = |table: &SyncTable, stored_at| {
            let mark = Mark { until: stored_at + MARK_AHEAD, stored_at };
            let new = begin_line(table, NEXT, OldLine::MarkStored(mark), at(20), Rate::ZERO, Guards::ALL);
            (new.activation, new.next_earliest)
        };
        assert_eq!(begin(&restored, at(60)), (at(9_110), at(9_110)), "another restore could not know of it");
        assert_eq!(begin(&restored, at(5_000)), (at(4_170), at(4_230)), "the lead");
        // Once its T has passed, a read has the promise renewed, and a new line waits for that.
        let renewed = SyncTable { next_earliest: at(9_300), ..restored };
        assert_eq!(begin(&renewed, at(9_200)), (at(20), at(120)));
    }

    #[test]
    fn a_new_line_promises_no_more_than_a_restore_allows_for() {
        let [hundred, lead, hold] = [100, 60, 150].map(Span::from_secs);
        let limits = Limits { max_interval: hundred, max_lead: lead, max_hold: hold };
        let settings = Settings { interval: hundred, lead, ..Settings::default() };
        let farm = SyncTable { limits, settings, held: None, ..held_table() };
        let begin = |activation, next_earliest, guards| {
            let table =
                SyncTable { activation: at(activation), next_earliest: at(next_earliest), ..farm.clone() };
            let mark = Mark { until: at(1_030), stored_at: at(1_000) };
            let new = begin_line(&table, NEXT, OldLine::MarkStored(mark), at(700), Rate::ZERO, guards);
            assert_eq!((new.landing, new.held), (Some(new.next_earliest), None));
            (new.activation - at(700), new.next_earliest - at(700))
        };
        let ahead = |activation, promise| (Span::from_secs(activation), Span::from_secs(promise));
        // A hold's end, the longest: whatever T is.
        assert_eq!(begin(1_000, 1_150, Guards::ALL), ahead(0, 150));
        assert_eq!(begin(990, 1_150, Guards::ALL), ahead(0, 150));
        // Later than that by a lead and an interval after T, or nothing is promised.
        assert_eq!(begin(1_000, 1_159, Guards::ALL), ahead(0, 159));
        assert_eq!(begin(1_000, 1_160, Guards::ALL), ahead(160, 160));
        assert_eq!(begin(1_005, 1_160, Guards::ALL), ahead(5, 160));
        // And no promise at all is longer than a restore's wait: 150 + 2·100 + 60 s.
        assert_eq!(begin(1_300, 1_410, Guards::ALL), ahead(300, 410));
        assert_eq!(begin(1_300, 1_411, Guards::ALL), ahead(411, 411));
        assert_eq!(begin(1_370, 1_411, Guards::ALL), ahead(411, 411), "the lead from T on isn't waited for");
        let twin = Guards::ALL.without(Guard::NewLinePromiseBounded);
        assert_eq!(begin(1_300, 1_411, twin), ahead(300, 411));
        assert_eq!(begin(1_000, 1_160, twin), ahead(0, 160));
    }

    #[test]
    fn a_restore_that_is_vouched_for_waits_for_the_lead_only() {
        let new = begin_line(&held_table(), NEXT, OldLine::Vouched, at(50), Rate::ZERO, Guards::ALL);
        assert_eq!((new.activation, new.next_earliest), (at(50), at(110)));
    }
}
