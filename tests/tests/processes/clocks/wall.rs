//! Wall clocks that step while a process runs, under agents and under the server.

use super::*;
use downbeat_core::message::{Reply, ReplyBody, ToAgent};
use downbeat_core::serving::serving;
use downbeat_tests::host_view::HostView;
use downbeat_trace::Input;

#[test]
fn an_agent_whose_wall_clock_steps_trusts_nothing_until_it_has_asked_anew() {
    let name = "wall clocks step under agents";
    at_some_pace(name, |pace| {
        let mut farm = Farm::start_slower(name, 0, &THREE, false, pace);
        let Some(wall) = wall_clock(&farm, name) else { return true };
        for agent in TOUCHED {
            farm.kill_agent(agent);
            farm.let_agent_see(agent, HostView { ahead: None, wall: Some(wall.clone()) });
            farm.start_agent(agent);
        }
        let mut tails = TOUCHED.map(|agent| farm.agent_tail(agent));
        let mut lost_trust = [false; 2];
        for (nth, ahead) in [HOUR, -HOUR].into_iter().enumerate() {
            if armed(&farm, TOUCHED.into_iter()).is_none() {
                return give_up(farm);
            }
            TOUCHED.iter().for_each(|agent| farm.relay(*agent).stall(true));
            let stepped = now();
            wall.set_ahead(ahead);
            for (agent, tail) in TOUCHED.into_iter().zip(&mut tails) {
                let found = || jump_found(tail.lines(), stepped);
                let (broke, at) = eventually(&format!("agent {agent} to find step {nth}"), found);
                let admits = |got| admits(THREE[agent].mode, got);
                // A look at the clock may be from just before the plan that says so.
                let without = read_after(tail, at, &format!("agent {agent} without trust"), admits);
                lost_trust[agent] |= is_without_trust(tail.lines(), broke, admits);
                farm.relay(agent).heal();
                let current = |got: Serving| got.current().is_some();
                let trusted = read_after(tail, without, &format!("agent {agent} current again"), current);
                assert_asked_anew(&tail.lines()[broke..], trusted);
            }
            let logged = || TOUCHED.map(|agent| farm.logged(agent).matches("clock jumped").count());
            eventually("a word of it", || (logged() == [nth + 1; 2]).then_some(()));
        }
        // Of itself nothing jumps.
        assert!(!farm.logged(2).contains("clock jumped"));
        farm.finish();
        lost_trust == [true; 2]
    });
}

/// Where an agent was told that its clock broke, after an instant, and when that was.
fn jump_found(lines: &[Line], from: LocalTime) -> Option<(usize, LocalTime)> {
    lines.iter().enumerate().find_map(|(index, line)| match line {
        Line::In { at, input: Input::ClockBroke, .. } if *at >= from => Some((index, *at)),
        _ => None,
    })
}

/// Whether a reader got to feel the break, and not only that nothing more was heard: the plan before would
/// have served something as current at that very look.
fn is_without_trust(lines: &[Line], broke: usize, admits: impl Fn(Serving) -> bool) -> bool {
    let Some(before) = lines[..broke].iter().flat_map(published).last() else { return false };
    lines[broke..].iter().any(|line| match line {
        Line::Read { now, got, .. } => admits(*got) && serving(before, *now).current().is_some(),
        _ => false,
    })
}

/// From the break up to the read that was current again, the first plan that promises anything came of a
/// table that was asked for after the break.
fn assert_asked_anew(lines: &[Line], trusted: LocalTime) {
    let Some(Line::In { now: broke, .. }) = lines.first() else { panic!("no break: {lines:?}") };
    let promising = |plan: &SwitchPlan| {
        let serves_active = plan.active.is_some() && !plan.stale && plan.active_until > LocalTime::MIN;
        serves_active || plan.staged.is_some()
    };
    let first = lines.iter().find(|line| published(line).any(promising)).expect("a plan");
    let Line::In { at, input: Input::Receive(ToAgent::Reply(Reply { stamp, body, .. })), .. } = first else {
        panic!("trusted again without a reply: {first:?}")
    };
    assert!(*at <= trusted && stamp.echo >= *broke, "trusted by what was asked before: {first:?}");
    let of_a_table = matches!(body, ReplyBody::Table(_) | ReplyBody::NotDue(_));
    assert!(of_a_table, "trusted again without a table: {first:?}");
}

#[test]
fn a_server_that_comes_back_with_another_wall_clock_slews_its_line_and_no_more() {
    let name = "another wall clock at the server";
    let mut farm = Farm::start(name, 0, &THREE);
    let Some(wall) = wall_clock(&farm, name) else { return };
    farm.let_server_see(HostView { ahead: None, wall: Some(wall.clone()) });
    for (ahead, slope) in [(HOUR, MOST_SLEW), (-HOUR, -MOST_SLEW)] {
        farm.wait_epochs(1);
        farm.kill_server();
        wall.set_ahead(ahead);
        assert!(farm.start_server(), "the wall clock says nothing of the boot");
        let mut server = farm.server_tail();
        // At once, but for a busy host where a bend of before is still ahead.
        let line = eventually("a bend toward the wall clock", || {
            let (how, line) = clocks(server.lines()).find(|(_, line)| line.slope_after == slope)?;
            let How::Renewed { wall } = how else { return None };
            let off = (wall - line.mark.stored_at).as_nanos() / 1_000_000_000;
            assert!((off - ahead).abs() < 60, "its wall clock is {off} s ahead, and not {ahead} s");
            Some(line)
        });
        eventually("the bend", || line.bend_local.passed(now()).then_some(()));
    }
    let history = farm.finish();
    assert_eq!(timelines(&history).len(), 1, "it is one line throughout");
}
