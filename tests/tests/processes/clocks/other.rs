//! Servers and agents that come back with clocks that are others than before, as after a reboot, on
//! another host or in another container.

use super::*;
use downbeat_core::agent::Start;
use downbeat_core::ids::BootId;
use downbeat_tests::host_view::HostView;

/// So far behind as this host's clock can be: not before its boot.
fn behind() -> i64 {
    -now().as_nanos() / 2_000_000_000
}

const FAR_AHEAD: i64 = 40 * 24 * HOUR;

#[test]
fn a_server_that_comes_back_with_other_clocks_begins_another_line_and_old_plans_stay_true() {
    let name = "server with other clocks";
    let namespaces = HostView::has_namespaces().map_err(|why| left_out(name, &why)).is_ok();
    at_some_pace(name, |pace| {
        let mut farm = Farm::start_slower(name, 0, &FOUR, true, pace);
        let wall = wall_clock(&farm, name);
        // Behind and ahead, crosswise, and as it was.
        let others = [(behind(), 24 * HOUR), (FAR_AHEAD, -24 * HOUR), (0, 0)];
        let mut starts = Vec::new();
        for (ahead, wall_ahead) in others {
            farm.wait_epochs(1);
            // A restart within the boot stores a mark, so that the new line need not wait for long.
            farm.kill_server();
            assert!(farm.start_server(), "the same clock continues the line");
            let Some(epoch) = armed(&farm, 0..4) else { return give_up(farm) };
            farm.kill_server();
            wall.iter().for_each(|wall| wall.set_ahead(wall_ahead));
            let ahead = (namespaces && ahead != 0).then_some(ahead);
            farm.let_server_see(HostView { ahead, wall: wall.clone() });
            if !namespaces {
                farm.reboot();
            }
            starts.push((epoch, now()));
            assert!(!farm.start_server(), "{ahead:?}: another clock begins another line");
        }
        let history = farm.finish();
        assert_eq!(timelines(&history).len(), others.len() + 1, "each start has its line");
        starts.iter().any(|(epoch, began)| went_by_old_plans(&history, *epoch, *began))
    });
}

/// Whether strict agents went over to a generation on a line that was gone, at its T there, which the line
/// that began then has later.
fn went_by_old_plans(history: &History, epoch: u64, began: LocalTime) -> bool {
    let Some((left, new)) = history.activations(epoch) else { return false };
    let mut spans = history.spans(Some(Mode::Strict)).filter(|(_, span)| span.epoch == epoch);
    began.as_nanos() < left && spans.any(|(_, span)| left <= span.first && span.first < new)
}

#[test]
fn an_agent_that_comes_back_with_another_clock_believes_nothing_of_its_time() {
    let name = "agents with another clock";
    if let Err(why) = HostView::has_namespaces() {
        return left_out(name, &why);
    }
    at_some_pace(name, |pace| {
        let mut farm = Farm::start_slower(name, 0, &THREE, false, pace);
        // A first one to keep.
        farm.wait_epochs(2);
        let mut boots = TOUCHED.map(|agent| vec![start(&farm, agent).boot]);
        for ahead in [5 * HOUR, behind()] {
            if armed(&farm, TOUCHED.into_iter()).is_none() {
                return give_up(farm);
            }
            for agent in TOUCHED {
                boots[agent].push(come_back(&mut farm, agent, ahead));
            }
            for agent in TOUCHED {
                let mut tail = farm.agent_tail(agent);
                // After start_wait a prompt agent serves what it has, marked.
                let admits = |got| admits(THREE[agent].mode, got);
                read_after(&mut tail, LocalTime::MIN, &format!("agent {agent} without trust"), admits);
                let believes = tail.reads().any(|(_, got)| got.current().is_some());
                assert!(!believes, "agent {agent} believed what it kept");
                farm.relay(agent).heal();
                let current = |got: Serving| got.current().is_some();
                read_after(&mut tail, LocalTime::MIN, &format!("agent {agent} current"), current);
            }
        }
        for boots in &mut boots {
            boots.sort();
            boots.dedup();
            assert_eq!(boots.len(), 3, "each clock counts as a boot of its own: {boots:?}");
        }
        farm.finish();
        true
    });
}

/// Kills an agent, which comes back on its state directory with its clock so many seconds ahead, and hears
/// nothing for now: what it can't have of the server it could only have kept. Returns which boot it takes
/// this for.
fn come_back(farm: &mut Farm, agent: usize, ahead: i64) -> BootId {
    farm.kill_agent(agent);
    farm.let_agent_see(agent, HostView { ahead: Some(ahead), wall: None });
    farm.relay(agent).stall(true);
    farm.start_agent(agent);
    let Start { boot, now: own, last_good, .. } = start(farm, agent);
    assert!(last_good.is_some(), "agent {agent} kept its last good generation");
    let moved = ((own - now()).as_nanos() - THREE[agent].offset) / 1_000_000_000;
    assert!((moved - ahead).abs() < 60, "agent {agent}: its clock is {moved} s ahead, and not {ahead} s");
    boot
}

/// What the newest life of an agent started with.
fn start(farm: &Farm, agent: usize) -> Start {
    let mut tail = farm.agent_tail(agent);
    eventually(&format!("agent {agent} started"), || {
        tail.lines().iter().find_map(|line| match line {
            Line::Agent { start, .. } => Some(*start),
            _ => None,
        })
    })
}
