//! How a switch plan is made from the table, the enclosure and the caches (Fig. 6, step 250;
//! PROTOCOL §5, §6, §8). What a plan means to a reader is in `serving`.
//!
//! Pure: the agent's machine calls [`make`] whenever one of the inputs changed and publishes what
//! differs. The rule that nothing published is ever taken back (S9) is kept here.

use crate::clock::Enclosure;
use crate::guard::{Guard, Guards};
use crate::ids::{BootId, Generation};
use crate::serving::{Activation, Mode, SwitchPlan};
use crate::table::TableView;
use crate::time::LocalTime;

/// Everything that a plan depends on.
pub(crate) struct Basis<'a> {
    pub(crate) guards: Guards,
    pub(crate) boot: BootId,
    pub(crate) mode: Mode,
    pub(crate) activation: Activation,
    pub(crate) clock: &'a Enclosure,
    /// The newest table of the clock's timeline.
    pub(crate) table: &'a TableView,
    /// What is in the caches, whole and verified.
    pub(crate) active: Option<Generation>,
    pub(crate) staged: Option<Generation>,
    /// What is published.
    pub(crate) published: &'a SwitchPlan,
    /// What is published comes from the timeline before this one.
    pub(crate) carried: bool,
    /// The staged epoch is the first one that this incarnation found, and it took over no page.
    pub(crate) first: bool,
    /// Something current was served before this input.
    pub(crate) joined: bool,
    /// The last samples before T are in.
    pub(crate) decided: bool,
    pub(crate) now: LocalTime,
}

/// Instants of the table, as bounds in local time.
struct Bounds {
    /// Before it T has certainly not passed.
    until: LocalTime,
    /// From it on T has certainly passed.
    from: LocalTime,
    /// Before it the promise has certainly not run out.
    promise: LocalTime,
}

/// The bounds by the ends of the enclosure; each from the wrong one, where a broken twin says so.
fn bounds(basis: &Basis<'_>) -> Option<Bounds> {
    let (table, clock, guards) = (basis.table, basis.clock, basis.guards);
    let possibly = |instant, guard| {
        if guards.on(guard) { clock.possibly_reached(instant) } else { clock.certainly_reached(instant) }
    };
    Some(Bounds {
        until: possibly(table.activation, Guard::ActiveUntilPossible)?,
        from: if guards.on(Guard::SwitchWhenCertain) {
            clock.certainly_reached(table.activation)?
        } else {
            clock.possibly_reached(table.activation)?
        },
        promise: if guards.on(Guard::Promise) {
            possibly(table.next_earliest, Guard::PromiseUntilPossible)?
        } else {
            LocalTime::MAX
        },
    })
}

/// Whether two names of a generation mean the same one: number and digest.
pub(crate) fn same(guards: Guards, left: Option<Generation>, right: Generation) -> bool {
    left.is_some_and(|left| {
        left.epoch == right.epoch && (left.digest == right.digest || !guards.on(Guard::DigestCompared))
    })
}

/// The plan that follows from the basis; `None` where what is published stands.
#[inline(never)]
pub(crate) fn make(basis: &Basis<'_>) -> Option<SwitchPlan> {
    let bounds = bounds(basis)?;
    if basis.carried && basis.guards.on(Guard::NewLineKeepsPlan) {
        // What the new line adds to what is kept is told at once, not by its next sample: a page taken
        // over may serve nothing while this agent holds what is live.
        let published = carried_over(basis, &bounds)?;
        return Some(ordinary(&Basis { published: &published, ..*basis }, &bounds));
    }
    Some(ordinary(basis, &bounds))
}

/// A plan of a timeline that is known, or of one whose predecessor left nothing to keep.
fn ordinary(basis: &Basis<'_>, bounds: &Bounds) -> SwitchPlan {
    let in_active = same(basis.guards, basis.active, basis.table.staged);
    if in_active && went_live(basis) {
        return live(basis, bounds);
    }
    let held = in_active || same(basis.guards, basis.staged, basis.table.staged);
    let (active, stale, old_until) = before_the_switch(basis, bounds);
    let plan = SwitchPlan {
        active,
        stale,
        active_until: old_until,
        ..SwitchPlan::nothing(basis.boot, basis.mode, basis.activation)
    };
    if !held {
        return match (basis.mode, limit_of_first(basis)) {
            (Mode::Prompt, Some(limit)) => SwitchPlan { active_until: old_until.min(limit), ..plan },
            _ => plan,
        };
    }
    let staged = if in_active { basis.active } else { basis.staged };
    let published =
        basis.published.staged.filter(|staged| same(basis.guards, Some(*staged), basis.table.staged));
    // A promise that was published for it stays true, an old line's too.
    let promise = published.map_or(bounds.promise, |_| bounds.promise.max(basis.published.staged_until));
    let plan = SwitchPlan { staged, staged_until: promise, ..plan };
    let earlier = |from: LocalTime| match published {
        Some(_) if only_earlier(basis.guards) => from.min(basis.published.staged_from),
        _ => from,
    };
    match basis.mode {
        Mode::Strict => SwitchPlan { staged_from: earlier(bounds.from), ..plan },
        Mode::Prompt => {
            let from = earlier(prompt_switch(basis, bounds));
            let until = limit_of_first(basis).map_or(from, |limit| from.min(limit));
            // The first serve needs the strict proof at this end too (S10).
            let strictly = !basis.joined && basis.guards.on(Guard::JoinerStrict);
            let until = if strictly { until.min(bounds.until) } else { until };
            // A limit that an earlier incarnation's plan kept is kept after it as well.
            let kept = published.is_some() && !basis.first && only_earlier(basis.guards);
            let until = if kept { until.min(basis.published.active_until) } else { until };
            SwitchPlan { active_until: until, staged_from: from, ..plan }
        }
    }
}

/// Whether a published switch stays where a later estimate puts it later (S9); in the bug that loom
/// refutes (core/tests/loom_republish.rs) it moves.
fn only_earlier(guards: Guards) -> bool {
    guards.on(Guard::SwitchOnlyEarlier) && !cfg!(downbeat_bug = "moves_later")
}

/// The staged generation of the table is in the active cache: it has gone live here.
fn live(basis: &Basis<'_>, bounds: &Bounds) -> SwitchPlan {
    SwitchPlan {
        active: basis.active,
        active_until: bounds.promise.max(basis.published.active_until),
        ..SwitchPlan::nothing(basis.boot, basis.mode, basis.activation)
    }
}

/// What is served until the switch to the table's staged generation, whether it is marked stale, and
/// until when a strict agent serves it.
fn before_the_switch(basis: &Basis<'_>, bounds: &Bounds) -> (Option<Generation>, bool, LocalTime) {
    let published = basis.published;
    let planned = same(basis.guards, published.staged, basis.table.staged);
    let named = match basis.table.active {
        Some(active) if basis.guards.on(Guard::JoinerOneReply) => {
            basis.active.filter(|_| same(basis.guards, basis.active, active))
        }
        _ if basis.guards.on(Guard::JoinerOneReply) => None,
        _ => basis.active,
    };
    if let Some(active) = named {
        // Every bound ever published for this T, or for the promise before it, stays true: the latest
        // is the best.
        let known = same(basis.guards, published.active, active) && !published.stale;
        let until = if known && (planned || published.staged.is_none()) {
            bounds.until.max(published.active_until)
        } else {
            bounds.until
        };
        return (Some(active), false, until);
    }
    if planned && basis.guards.on(Guard::NewLineKeepsPlan) {
        // What a new line's first plan kept of the old one stays.
        let (active, until) = kept(basis, bounds);
        return (active, published.stale, until);
    }
    match basis.mode {
        Mode::Prompt => (basis.active, true, bounds.until),
        Mode::Strict => (None, false, bounds.until),
    }
}

/// What is left of an old line's plan and until when: where that has run out for a strict agent, its
/// readers are told so (fenced), and don't wait for a T that may be far ahead.
fn kept(basis: &Basis<'_>, bounds: &Bounds) -> (Option<Generation>, LocalTime) {
    let published = basis.published;
    let fenced = basis.mode == Mode::Strict
        && published.active_until.passed(basis.now)
        && !bounds.until.passed(basis.now);
    if fenced { (None, bounds.until) } else { (published.active, published.active_until) }
}

/// From when a prompt agent serves the staged generation.
fn prompt_switch(basis: &Basis<'_>, bounds: &Bounds) -> LocalTime {
    // The first serve of a life needs the strict proof (S10): an estimate only moves a switch that
    // readers come to from something current.
    let joined = basis.joined && !basis.first;
    if !basis.decided || (!joined && basis.guards.on(Guard::JoinerStrict)) {
        return bounds.from;
    }
    let half = (bounds.from - bounds.until).part(2);
    let middle = if basis.guards.on(Guard::MiddleOfBounds) { bounds.until + half } else { bounds.until };
    if !basis.guards.on(Guard::EarlyLimit) {
        return middle;
    }
    let limit = basis.table.settings.early_limit;
    let earliest = basis.clock.certainly_reached(basis.table.activation - limit).unwrap_or(bounds.from);
    if half > limit { bounds.from } else { middle.max(earliest) }
}

/// The instant at which a prompt agent stops serving active in the first epoch that its incarnation
/// finds staged: an incarnation before it may have switched as early as this (S9).
fn limit_of_first(basis: &Basis<'_>) -> Option<LocalTime> {
    if !basis.first {
        return None;
    }
    let begin = basis.table.activation - basis.table.settings.early_limit;
    let limit = if basis.guards.on(Guard::FirstLimitPossible) {
        basis.clock.possibly_reached(begin)?
    } else {
        basis.clock.certainly_reached(begin)?
    };
    if basis.guards.on(Guard::EarlyLimitInPlan) {
        return Some(limit);
    }
    // Broken twin: looked at once, when the plan is made.
    limit.passed(basis.now).then_some(LocalTime::MIN)
}

/// Whether the table's staged generation is what readers are served as live. That it is in the active
/// cache is not enough: after a restore, the new line may begin with a generation that was live on
/// the old one, and goes live again.
fn went_live(basis: &Basis<'_>) -> bool {
    let published = basis.published;
    if !basis.guards.on(Guard::WentLive) {
        return true;
    }
    published.staged.is_none() && !published.stale && same(basis.guards, published.active, basis.table.staged)
}

/// The first plan from a new line (PROTOCOL §8): all that is published stays true, because it is in
/// local time; only the promise may move later, and only where the new line's T is certain to have
/// passed before the old promise ends. Otherwise (a restore) a generation that the restored store
/// knows nothing of may be live in between: the old promise stands to its end, and the same
/// generation goes live again at the new T.
fn carried_over(basis: &Basis<'_>, bounds: &Bounds) -> Option<SwitchPlan> {
    let published = basis.published;
    let staged = basis.table.staged;
    if same(basis.guards, published.staged, staged) {
        // Where the old line promised nothing from its T on (after a restore), what is live is the new line's
        // alone: its T may come first, and readers then go over with it.
        let promised = published.staged_from < published.staged_until;
        let (live_until, staged_until) = if promised {
            (published.staged_until, published.staged_until.max(bounds.promise))
        } else {
            (published.staged_from, bounds.promise)
        };
        let unbroken = bounds.from <= live_until || !basis.guards.on(Guard::RestoreGap);
        return unbroken.then_some(SwitchPlan { staged_until, ..*published });
    }
    if went_live(basis) && (bounds.from <= published.active_until || !basis.guards.on(Guard::RestoreGap)) {
        return Some(SwitchPlan { active_until: published.active_until.max(bounds.promise), ..*published });
    }
    if basis.table.active.is_some_and(|active| same(basis.guards, basis.active, active)) {
        return Some(ordinary(basis, bounds));
    }
    // A prompt agent's last generation is marked stale from the end of its old promise on: only
    // then does the new plan, which marks it throughout, take over.
    let strict = basis.mode == Mode::Strict;
    let over = strict || published.stale || published.active_until.passed(basis.now);
    let held =
        [basis.staged, basis.active].into_iter().find(|held| same(basis.guards, *held, staged)).flatten();
    if published.staged.is_none() && over && held.is_some() {
        return Some(SwitchPlan {
            active: published.active,
            stale: !strict,
            active_until: if strict { published.active_until } else { bounds.from },
            staged: held,
            staged_from: bounds.from,
            staged_until: bounds.promise,
            ..SwitchPlan::nothing(basis.boot, basis.mode, basis.activation)
        });
    }
    None
}

#[cfg(test)]
mod tests;
