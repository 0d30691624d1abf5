//! What readers see: the switch plan and [`serving`] (Fig. 6, step 252; PROTOCOL §6).
//!
//! Activation is a comparison, not an event: an agent always has exactly one published plan, and
//! this pure function says what a read at `now` gets. A reader *loads the plan, then looks at the
//! clock, then answers*. How plans are made is in `plan`, how they are published in `cell`.

use crate::ids::{BootId, Generation};
use crate::time::LocalTime;
use serde::{Deserialize, Serialize};

/// How an agent treats what it can't prove (PROTOCOL §6).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Mode {
    /// Serves always; switches at its best estimate; marks what may be out of date.
    Prompt,
    /// Serves only what is provably live: no two agents ever differ at an instant (S7).
    Strict,
}

/// How staged becomes active (Fig. 6, step 252, and the seed's other embodiment).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Activation {
    /// The two caches change their roles; readers can hold either.
    Switch,
    /// Staged is copied into the one place that readers look at; reads are held meanwhile.
    Copy,
}

/// The one published value that decides every read. Instants are in the agent's own local time.
///
/// The interval [`active_until`, strict `staged_from`] only shrinks for a fixed T, and a published
/// `staged_from` only moves earlier (S9). In strict every plan ever published stays true.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct SwitchPlan {
    /// Rises with each plan published.
    pub serial: u64,
    /// The boot that the instants belong to; in another boot the plan is void.
    pub boot: BootId,
    /// Which of the two rules applies.
    pub mode: Mode,
    /// How the switch is made.
    pub activation: Activation,
    /// What is served before the switch.
    pub active: Option<Generation>,
    /// Whether reads of `active` are marked stale whatever the time: it is not known to be live
    /// (prompt only).
    pub stale: bool,
    /// Until when it is served (strict), or is not marked stale (prompt).
    pub active_until: LocalTime,
    /// What is served after the switch.
    pub staged: Option<Generation>,
    /// From when it is served.
    pub staged_from: LocalTime,
    /// Until when it is served (strict), or is not marked stale (prompt): the promise.
    pub staged_until: LocalTime,
}

/// What a read gets.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Serving {
    /// The active generation.
    Active(Generation),
    /// The staged generation, which has gone live.
    Staged(Generation),
    /// A generation that may be out of date; prompt only.
    Stale(Generation),
    /// Nothing yet: wait, the switch is being made.
    Hold,
    /// Nothing: what is live can't be proved (strict), or nothing is known at all.
    Fenced,
}

impl Serving {
    /// The generation that is served, if any.
    pub fn generation(self) -> Option<Generation> {
        match self {
            Serving::Active(generation) | Serving::Staged(generation) | Serving::Stale(generation) => {
                Some(generation)
            }
            Serving::Hold | Serving::Fenced => None,
        }
    }
    /// The generation that is served as current, not marked stale.
    pub fn current(self) -> Option<Generation> {
        match self {
            Serving::Active(generation) | Serving::Staged(generation) => Some(generation),
            Serving::Stale(_) | Serving::Hold | Serving::Fenced => None,
        }
    }
}

impl SwitchPlan {
    /// The plan of an agent that knows nothing: every read is fenced.
    pub fn nothing(boot: BootId, mode: Mode, activation: Activation) -> SwitchPlan {
        SwitchPlan {
            serial: 0,
            boot,
            mode,
            activation,
            active: None,
            stale: false,
            active_until: LocalTime::MIN,
            staged: None,
            staged_from: LocalTime::MAX,
            staged_until: LocalTime::MAX,
        }
    }

    /// The same decision rule, whatever number the plan was published under.
    pub fn same_but_serial(&self, other: &SwitchPlan) -> bool {
        SwitchPlan { serial: other.serial, ..*self } == *other
    }
}

/// What a read at `now` gets (Fig. 6, step 252; S7, S8). `now` is looked at after the plan was
/// loaded; the caller has checked that the plan is of this boot.
pub fn serving(plan: &SwitchPlan, now: LocalTime) -> Serving {
    let strict = plan.mode == Mode::Strict;
    let over = |generation: Generation| if strict { Serving::Fenced } else { Serving::Stale(generation) };
    match (plan.active, plan.staged) {
        (_, Some(staged)) if plan.staged_from.passed(now) => {
            if plan.activation == Activation::Copy {
                // The copy's end is an event; the plan that follows it says so.
                Serving::Hold
            } else if plan.staged_until.passed(now) {
                over(staged)
            } else {
                Serving::Staged(staged)
            }
        }
        (Some(active), _) if !plan.active_until.passed(now) => {
            if plan.stale {
                Serving::Stale(active)
            } else {
                Serving::Active(active)
            }
        }
        (Some(_), Some(_)) => Serving::Hold,
        (None, Some(_)) if plan.active_until.passed(now) => Serving::Hold,
        (Some(active), None) => over(active),
        (None, _) => Serving::Fenced,
    }
}

/// Until when every read of this plan gets what one at `now` gets (Fig. 6, step 252): the first of the
/// plan's instants that has not passed; [`LocalTime::MAX`] where there is none, and then no read has to
/// know the time. It may be earlier than the first instant that makes a difference.
pub fn unchanged_until(plan: &SwitchPlan, now: LocalTime) -> LocalTime {
    let instants = [plan.active_until, plan.staged_from, plan.staged_until];
    instants.into_iter().filter(|instant| !instant.passed(now)).min().unwrap_or(LocalTime::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Digest;

    const OLD: Generation = Generation { epoch: 4, digest: Digest([4; 32]) };
    const NEW: Generation = Generation { epoch: 5, digest: Digest([5; 32]) };

    fn at(nanos: i64) -> LocalTime {
        LocalTime::from_nanos(nanos)
    }
    fn plan(mode: Mode) -> SwitchPlan {
        SwitchPlan {
            serial: 1,
            active: Some(OLD),
            active_until: at(10),
            staged: Some(NEW),
            staged_from: at(14),
            staged_until: at(30),
            ..SwitchPlan::nothing(BootId(1), mode, Activation::Switch)
        }
    }

    #[test]
    fn strict_serves_holds_serves_and_fences() {
        let plan = plan(Mode::Strict);
        assert_eq!(serving(&plan, at(9)), Serving::Active(OLD));
        assert_eq!(serving(&plan, at(10)), Serving::Hold);
        assert_eq!(serving(&plan, at(13)), Serving::Hold);
        assert_eq!(serving(&plan, at(14)), Serving::Staged(NEW));
        assert_eq!(serving(&plan, at(29)), Serving::Staged(NEW));
        assert_eq!(serving(&plan, at(30)), Serving::Fenced);
    }

    #[test]
    fn prompt_marks_stale_instead_of_fencing() {
        assert_eq!(serving(&plan(Mode::Prompt), at(30)), Serving::Stale(NEW));
        let missed = SwitchPlan { staged: None, ..plan(Mode::Prompt) };
        assert_eq!(serving(&missed, at(9)), Serving::Active(OLD));
        assert_eq!(serving(&missed, at(10)), Serving::Stale(OLD));
        assert_eq!(serving(&SwitchPlan { mode: Mode::Strict, ..missed }, at(10)), Serving::Fenced);
    }

    #[test]
    fn what_is_not_known_to_be_live_is_marked_until_the_switch() {
        let unsure = SwitchPlan { stale: true, ..plan(Mode::Prompt) };
        assert_eq!(serving(&unsure, at(9)), Serving::Stale(OLD));
        assert_eq!(serving(&unsure, at(14)), Serving::Staged(NEW));
    }

    #[test]
    fn a_joiner_without_active_is_fenced_then_holds_then_serves() {
        let joiner = SwitchPlan { active: None, ..plan(Mode::Strict) };
        assert_eq!(serving(&joiner, at(9)), Serving::Fenced);
        assert_eq!(serving(&joiner, at(10)), Serving::Hold);
        assert_eq!(serving(&joiner, at(14)), Serving::Staged(NEW));
    }

    #[test]
    fn a_copying_device_holds_until_the_next_plan() {
        let copying = SwitchPlan { activation: Activation::Copy, ..plan(Mode::Prompt) };
        assert_eq!(serving(&copying, at(14)), Serving::Hold);
        assert_eq!(serving(&copying, at(99)), Serving::Hold);
    }

    #[test]
    fn what_is_served_stands_until_the_next_of_the_plan_s_instants() {
        let plan = plan(Mode::Strict);
        let until = [(9, 10), (10, 14), (13, 14), (14, 30), (29, 30), (30, i64::MAX)];
        for (now, expected) in until {
            assert_eq!(unchanged_until(&plan, at(now)), at(expected), "at {now}");
        }
        for mode in [Mode::Strict, Mode::Prompt] {
            let nothing = SwitchPlan::nothing(BootId(1), mode, Activation::Switch);
            assert_eq!(unchanged_until(&nothing, at(0)), LocalTime::MAX);
        }
    }

    #[test]
    fn what_is_served_has_a_generation_and_stale_is_not_current() {
        for (serving, generation, current) in [
            (Serving::Active(OLD), Some(OLD), Some(OLD)),
            (Serving::Staged(NEW), Some(NEW), Some(NEW)),
            (Serving::Stale(OLD), Some(OLD), None),
            (Serving::Hold, None, None),
            (Serving::Fenced, None, None),
        ] {
            assert_eq!((serving.generation(), serving.current()), (generation, current));
        }
    }

    #[test]
    fn plans_that_differ_in_their_number_alone_are_one_rule() {
        let plan = plan(Mode::Strict);
        assert!(plan.same_but_serial(&SwitchPlan { serial: 9, ..plan }));
        assert!(!plan.same_but_serial(&SwitchPlan { staged_from: at(13), ..plan }));
        assert!(!plan.same_but_serial(&SwitchPlan { serial: 0, active: None, ..plan }));
    }
}
