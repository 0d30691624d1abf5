//! Plans from a basis made by hand. The server's clock is 1000 ahead, and known to within 10: T = 1100
//! has certainly not passed before 100 and has certainly passed from 110 on, and the promise of 1200
//! holds until 200.

use super::*;
use crate::clock::Sample;
use crate::ids::Digest;
use crate::settings::Settings;
use crate::time::{Rate, ServerTime, Span};

const OLDER: Generation = Generation { epoch: 3, digest: Digest([3; 32]) };
const OLD: Generation = Generation { epoch: 4, digest: Digest([4; 32]) };
const NEW: Generation = Generation { epoch: 5, digest: Digest([5; 32]) };
const LATER: Generation = Generation { epoch: 6, digest: Digest([6; 32]) };

fn at(nanos: i64) -> LocalTime {
    LocalTime::from_nanos(nanos)
}
fn server(nanos: i64) -> ServerTime {
    ServerTime::from_nanos(nanos)
}
fn nothing(mode: Mode) -> SwitchPlan {
    SwitchPlan::nothing(BootId(1), mode, Activation::Switch)
}
/// What is published once the switch to NEW is planned, from samples that were better than today's.
fn planned(mode: Mode) -> SwitchPlan {
    SwitchPlan {
        active: Some(OLD),
        active_until: at(103),
        staged: Some(NEW),
        staged_from: at(107),
        staged_until: at(200),
        ..nothing(mode)
    }
}
/// What is published where a generation is live.
fn serves(mode: Mode, active: Generation, until: i64) -> SwitchPlan {
    SwitchPlan { active: Some(active), active_until: at(until), ..nothing(mode) }
}

/// A basis that owns what it refers to: NEW is staged, OLD is active, nothing is published.
#[derive(Clone)]
struct Given {
    guards: Guards,
    mode: Mode,
    table: TableView,
    active: Option<Generation>,
    staged: Option<Generation>,
    published: SwitchPlan,
    carried: bool,
    first: bool,
    joined: bool,
    decided: bool,
}

fn given(mode: Mode) -> Given {
    let table = TableView {
        staged: NEW,
        active: Some(OLD),
        activation: server(1_100),
        next_earliest: server(1_200),
        grid: server(0),
        landing: None,
        settings: Settings { early_limit: Span::from_nanos(20), ..Settings::default() },
        held: false,
    };
    Given {
        guards: Guards::ALL,
        mode,
        table,
        active: Some(OLD),
        staged: Some(NEW),
        published: nothing(mode),
        carried: false,
        first: false,
        joined: true,
        decided: false,
    }
}
/// The first plan of a new line that names no active generation.
fn carried(published: SwitchPlan) -> Given {
    let given = given(published.mode);
    Given { table: TableView { active: None, ..given.table }, carried: true, published, ..given }
}

impl Given {
    fn made_at(&self, now: i64) -> Option<SwitchPlan> {
        let mut clock = Enclosure::new(Rate::ZERO, Rate::ZERO, Span::ZERO, Guards::ALL);
        let _ = clock.sample(Sample {
            sent: at(0),
            received: server(1_000),
            answered: server(1_000),
            arrived: at(10),
        });
        make(&Basis {
            guards: self.guards,
            boot: BootId(1),
            mode: self.mode,
            activation: Activation::Switch,
            clock: &clock,
            table: &self.table,
            active: self.active,
            staged: self.staged,
            published: &self.published,
            carried: self.carried,
            first: self.first,
            joined: self.joined,
            decided: self.decided,
            now: at(now),
        })
    }
    fn made(&self) -> SwitchPlan {
        self.made_at(50).expect("a plan of its own")
    }
    fn without(self, guard: Guard) -> Given {
        Given { guards: Guards::ALL.without(guard), ..self }
    }
    fn early_limit(mut self, nanos: i64) -> Given {
        self.table.settings.early_limit = Span::from_nanos(nanos);
        self
    }
}

// The switch to the staged generation

#[test]
fn strict_stops_before_t_can_have_passed_and_begins_when_it_has() {
    let expected = SwitchPlan { active_until: at(100), staged_from: at(110), ..planned(Mode::Strict) };
    assert_eq!(given(Mode::Strict).made(), expected);
}

#[test]
fn prompt_switches_at_once_at_the_upper_end_until_it_has_decided_then_at_the_middle() {
    let expected = SwitchPlan { active_until: at(110), staged_from: at(110), ..planned(Mode::Prompt) };
    assert_eq!(given(Mode::Prompt).made(), expected);
    let decided = Given { decided: true, ..given(Mode::Prompt) }.made();
    assert_eq!((decided.active_until, decided.staged_from), (at(105), at(105)));
}

#[test]
fn where_half_the_enclosure_is_over_the_early_limit_the_upper_end_stands() {
    let given = Given { decided: true, ..given(Mode::Prompt) };
    assert_eq!(given.clone().early_limit(4).made().staged_from, at(110));
    assert_eq!(given.clone().early_limit(5).made().staged_from, at(105), "the limit itself is within it");
    let twin = given.early_limit(4).without(Guard::EarlyLimit);
    assert_eq!(twin.made().staged_from, at(105), "the twin goes by the middle anyway");
}

#[test]
fn an_estimate_moves_no_switch_before_the_first_serve_of_a_life() {
    let decided = Given { decided: true, ..given(Mode::Prompt) };
    let joining = Given { joined: false, ..decided.clone() };
    for given in [joining.clone(), Given { first: true, ..decided }] {
        assert_eq!(given.made().staged_from, at(110));
    }
    assert_eq!(joining.made().active_until, at(100), "the strict proof at this end too");
    let twin = joining.without(Guard::JoinerStrict).made();
    assert_eq!((twin.active_until, twin.staged_from), (at(105), at(105)), "the twin joins by its estimate");
}

#[test]
fn in_its_first_epoch_a_prompt_agent_stops_as_early_as_anybody_before_it_may_have_switched() {
    let first = Given { first: true, ..given(Mode::Prompt) };
    assert_eq!(first.made().active_until, at(80));
    let not_held = Given { staged: None, ..first };
    assert_eq!((not_held.made().active_until, not_held.made().staged), (at(80), None));
    assert_eq!(Given { first: false, ..not_held }.made().active_until, at(100));
}

// What is published stays true (S9)

#[test]
fn better_bounds_that_were_published_for_this_t_stand() {
    for mode in [Mode::Strict, Mode::Prompt] {
        let given = Given { published: planned(mode), ..given(mode) };
        assert_eq!(given.made().staged_from, at(107), "{mode:?}");
        assert_eq!(given.made().active_until, at(103), "{mode:?}");
        assert_eq!(given.without(Guard::SwitchOnlyEarlier).made().staged_from, at(110), "the twin moves it");
    }
    let before_it_was_retrieved = serves(Mode::Strict, OLD, 103);
    let given = Given { published: before_it_was_retrieved, ..given(Mode::Strict) };
    assert_eq!(given.made().active_until, at(103));
}

#[test]
fn bounds_that_were_published_for_something_else_do_not_stand() {
    let planned = planned(Mode::Strict);
    for (published, what) in [
        (SwitchPlan { stale: true, ..planned }, "active was marked, so its end was no promise"),
        (SwitchPlan { active: Some(OLDER), ..planned }, "the end of another generation"),
        (SwitchPlan { staged: Some(LATER), ..planned }, "the end before another switch"),
    ] {
        let given = Given { published, ..given(Mode::Strict) };
        assert_eq!(given.made().active_until, at(100), "{what}");
    }
}

// Which generation is served before the switch

#[test]
fn only_what_the_reply_names_as_active_is_served_as_live() {
    let other = Given { active: Some(OLDER), ..given(Mode::Strict) };
    let mut unnamed = given(Mode::Strict);
    unnamed.table.active = None;
    // Something that was published, and was no switch to this generation, makes no difference.
    let after_another = Given { published: serves(Mode::Strict, OLD, 103), ..unnamed.clone() };
    for given in [other.clone(), unnamed.clone(), after_another] {
        let plan = given.made();
        assert_eq!((plan.active, plan.stale, plan.active_until), (None, false, at(100)));
        let plan = Given { mode: Mode::Prompt, ..given.clone() }.made();
        assert_eq!((plan.active, plan.stale), (given.active, true), "prompt marks it");
    }
    for given in [other, unnamed] {
        let active = given.active;
        let twin = given.without(Guard::JoinerOneReply).made();
        assert_eq!((twin.active, twin.stale), (active, false), "the twin takes whatever it has for live");
    }
}

#[test]
fn what_a_new_line_s_first_plan_kept_of_the_old_one_stays() {
    let mut strict = Given { published: planned(Mode::Strict), ..given(Mode::Strict) };
    strict.table.active = None;
    let plan = strict.made_at(99).unwrap();
    assert_eq!((plan.active, plan.active_until), (Some(OLD), at(103)));
    // Where it ran out long before the new T, readers are told and don't wait.
    strict.published.active_until = at(60);
    let plan = strict.made_at(60).unwrap();
    assert_eq!((plan.active, plan.active_until), (None, at(100)));
    assert_eq!(strict.made_at(59).unwrap().active, Some(OLD));
    assert_eq!(strict.made_at(100).unwrap().active, Some(OLD), "T may have passed: they wait");
}

// Gone live

#[test]
fn what_readers_see_as_live_is_live_until_the_promise() {
    let given = Given { active: Some(NEW), staged: None, ..given(Mode::Strict) };
    let live = Given { published: serves(Mode::Strict, NEW, 150), ..given.clone() };
    assert_eq!(live.made(), serves(Mode::Strict, NEW, 200));
    let longer = Given { published: serves(Mode::Strict, NEW, 250), ..given };
    assert_eq!(longer.made(), serves(Mode::Strict, NEW, 250), "a promise is never taken back");
}

#[test]
fn content_in_the_active_cache_that_readers_were_not_served_as_live_waits_for_t() {
    let given = Given { active: Some(NEW), staged: None, ..given(Mode::Strict) };
    for published in [
        nothing(Mode::Strict),
        SwitchPlan { stale: true, ..serves(Mode::Strict, NEW, 150) },
        planned(Mode::Strict),
    ] {
        let plan = Given { published, ..given.clone() }.made();
        assert_eq!((plan.staged, plan.staged_until), (Some(NEW), at(200)), "{published:?}");
        assert!(plan.staged_from >= at(107));
    }
}

#[test]
fn what_is_not_in_the_active_cache_has_no_part_in_a_promise() {
    // Readers were served NEW, and the cache has OLD again.
    let given = Given { published: serves(Mode::Strict, NEW, 150), ..given(Mode::Strict) };
    let plan = given.made();
    assert_eq!((plan.active, plan.active_until), (Some(OLD), at(100)));
    assert_eq!((plan.staged, plan.staged_from), (Some(NEW), at(110)));
}

// The first plan of a new line

#[test]
fn a_new_line_with_the_same_staged_generation_moves_the_promise_later_and_nothing_else() {
    for mode in [Mode::Strict, Mode::Prompt] {
        let published = SwitchPlan { staged_until: at(110), ..planned(mode) };
        assert_eq!(carried(published).made(), planned(mode), "{mode:?}");
        let longer = SwitchPlan { staged_until: at(250), ..planned(mode) };
        assert_eq!(carried(longer).made(), longer, "{mode:?}");
    }
}

#[test]
fn a_new_line_on_what_is_live_prolongs_it() {
    for mode in [Mode::Strict, Mode::Prompt] {
        let live = Given { active: Some(NEW), staged: None, ..carried(serves(mode, NEW, 110)) };
        assert_eq!(live.made(), serves(mode, NEW, 200));
        let longer = Given { published: serves(mode, NEW, 250), ..live };
        assert_eq!(longer.made(), serves(mode, NEW, 250));
    }
}

#[test]
fn no_promise_is_carried_over_a_gap_before_the_new_line_s_t() {
    let ends_before = SwitchPlan { staged_until: at(109), ..planned(Mode::Strict) };
    assert_eq!(carried(ends_before).made_at(50), None, "what is published stands to its end");
    assert_eq!(carried(ends_before).without(Guard::RestoreGap).made().staged_until, at(200), "the twin");

    let live = carried(serves(Mode::Strict, NEW, 109));
    let live = Given { active: Some(NEW), staged: None, ..live };
    let again = SwitchPlan {
        active: Some(NEW),
        active_until: at(109),
        staged: Some(NEW),
        staged_from: at(110),
        staged_until: at(200),
        ..nothing(Mode::Strict)
    };
    assert_eq!(live.made(), again, "it goes live again at the new T");
    let twin = live.without(Guard::RestoreGap).made();
    assert_eq!(twin, serves(Mode::Strict, NEW, 200), "the twin serves it throughout");
}

#[test]
fn a_new_line_s_staged_generation_follows_what_is_left_of_the_old_one() {
    let strict = carried(serves(Mode::Strict, OLD, 150));
    let expected = SwitchPlan { active_until: at(150), staged_from: at(110), ..planned(Mode::Strict) };
    assert_eq!(strict.made(), expected);
    // Prompt: only once the old promise is over, or where the old plan was marked already.
    let prompt = carried(serves(Mode::Prompt, OLD, 150));
    assert_eq!(prompt.made_at(149), None);
    let marked =
        SwitchPlan { stale: true, active_until: at(110), staged_from: at(110), ..planned(Mode::Prompt) };
    assert_eq!(prompt.made_at(150), Some(marked));
    let stale = carried(SwitchPlan { stale: true, ..serves(Mode::Prompt, OLD, 150) });
    assert_eq!(stale.made_at(50), Some(marked));
}

/// A page taken over from a process that knew less of the server's time, which promised nothing beyond T.
#[test]
fn a_switch_that_is_published_for_later_comes_with_the_new_line_s_t() {
    for mode in [Mode::Strict, Mode::Prompt] {
        let late = SwitchPlan { staged_from: at(140), staged_until: at(105), ..planned(mode) };
        let expected = SwitchPlan { staged_from: at(110), ..planned(mode) };
        let plan = carried(late).made();
        assert_eq!((plan.staged_from, plan.staged_until), (at(110), at(200)), "{mode:?}");
        assert_eq!(SwitchPlan { active_until: at(103), ..plan }, expected, "{mode:?}");
        // The old end says nothing of the new line, whose promise may be shorter.
        let shorter = carried(SwitchPlan { staged_until: at(130), ..late });
        let table = TableView { next_earliest: server(1_120), ..shorter.table.clone() };
        assert_eq!(Given { table, ..shorter }.made().staged_until, at(120), "{mode:?}");
        // Readers go over before the new T has passed for certain: that stands, to its end.
        let earlier = SwitchPlan { staged_from: at(109), ..late };
        assert_eq!(carried(earlier).made_at(50), None);
    }
}

/// A page taken over may serve nothing, where the process before had only the staged generation.
#[test]
fn what_the_new_line_names_live_is_served_at_once_where_it_is_held() {
    for mode in [Mode::Strict, Mode::Prompt] {
        let page = SwitchPlan { active: None, ..planned(mode) };
        let taken_over = Given { table: given(mode).table, ..carried(page) };
        let plan = taken_over.made();
        assert_eq!((plan.active, plan.stale, plan.staged), (Some(OLD), false, Some(NEW)), "{mode:?}");
        let until = if mode == Mode::Strict { at(100) } else { page.active_until };
        assert_eq!((plan.active_until, plan.staged_from), (until, page.staged_from), "{mode:?}");
        let not_held = Given { active: None, ..taken_over };
        assert_eq!(not_held.made(), page, "{mode:?}");
    }
}

#[test]
fn a_new_line_replaces_nothing_by_what_it_does_not_have() {
    let not_held = Given { staged: None, ..carried(serves(Mode::Strict, OLD, 40)) };
    assert_eq!(not_held.made_at(50), None);
    let switch_to_come = SwitchPlan { staged: Some(LATER), ..planned(Mode::Strict) };
    assert_eq!(carried(switch_to_come).made_at(50), None);
}

#[test]
fn a_new_line_that_names_what_is_active_is_an_ordinary_one() {
    let given = Given { published: serves(Mode::Strict, OLDER, 40), carried: true, ..given(Mode::Strict) };
    let expected = SwitchPlan { active_until: at(100), staged_from: at(110), ..planned(Mode::Strict) };
    assert_eq!(given.made(), expected);
}
