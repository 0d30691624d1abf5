//! Processes that stand still (SIGSTOP) and go on: agents with their readers, the server, all of them.

use super::*;
use downbeat_tests::host_view::HostView;
use downbeat_tests::manage::ask;
use downbeat_trace::How;
use rusqlite::Connection;

#[test]
fn an_agent_stopped_beyond_its_promise_serves_nothing_of_before_as_current() {
    let name = "agents stopped beyond their promise";
    at_some_pace(name, |pace| {
        let farm = Farm::start_slower(name, 0, &THREE, false, pace);
        let mut stops = Vec::new();
        for stalled in [true, false] {
            if armed(&farm, TOUCHED.into_iter()).is_none() {
                return give_up(farm);
            }
            stops.push(stop_beyond_promise(&farm, stalled));
        }
        let history = farm.finish();
        for (epoch, stop) in stops {
            for epoch in [epoch + 1, epoch + 2] {
                assert!(went_live_between(&history, epoch, stop), "epoch {epoch} went live meanwhile");
            }
        }
        true
    });
}

/// Stops agents until what they were promised is over; `stalled`: and lets them hear nothing before they
/// have read. Returns the newest epoch that they can have known of, and between which instants they stood
/// still.
fn stop_beyond_promise(farm: &Farm, stalled: bool) -> (u64, (LocalTime, LocalTime)) {
    TOUCHED.iter().for_each(|agent| farm.stop_agent(*agent));
    let stopped = now();
    let epoch = look_after(farm, stopped).epoch;
    farm.wait_epochs(3);
    // What is on its way to them is from before.
    TOUCHED.iter().for_each(|agent| farm.relay(*agent).stall(stalled));
    let resumed = now();
    TOUCHED.iter().for_each(|agent| farm.continue_agent(*agent));
    for agent in TOUCHED {
        let mut tail = farm.agent_tail(agent);
        let (_, got) = eventually("a read after it", || tail.first_read(resumed));
        let asked = !stalled && got.current().is_some_and(|got| got.epoch > epoch);
        assert!(asked || admits(THREE[agent].mode, got), "agent {agent} served {got:?}");
        assert!(tail.reads().all(|(at, _)| at <= stopped || at >= resumed), "agent {agent} read meanwhile");
        farm.relay(agent).heal();
        let newer = |got: Serving| got.current().is_some_and(|got| got.epoch > epoch + 1);
        read_after(&mut tail, resumed, &format!("agent {agent} current again"), newer);
    }
    (epoch, (stopped, resumed))
}

#[test]
fn an_agent_stopped_across_t_goes_over_by_its_clock_once_it_runs_again() {
    let name = "agents stopped across T";
    at_some_pace(name, |pace| {
        let farm = Farm::start_slower(name, 0, &THREE, false, pace);
        if armed(&farm, 0..3).is_none() {
            return give_up(farm);
        }
        let millis = |millis: i64| Span::from_millis(millis * i64::from(pace));
        let mut tries = Vec::new();
        for _ in 0..3 {
            let (epoch, t) = next_switch(&farm);
            sleep_until(t - millis(100));
            TOUCHED.iter().for_each(|agent| farm.stop_agent(*agent));
            let stopped = now();
            sleep_until(t + millis(30));
            let resumed = now();
            TOUCHED.iter().for_each(|agent| farm.continue_agent(*agent));
            let got = TOUCHED.map(|agent| {
                let mut tail = farm.agent_tail(agent);
                eventually("a read after it", || tail.first_read(resumed)).1
            });
            tries.push((epoch, (stopped, resumed), got));
            farm.wait_epochs(1);
        }
        let history = farm.finish();
        let went_over = |got: &Serving, epoch| got.current().is_some_and(|got| got.epoch == epoch);
        tries.iter().any(|(epoch, stop, got)| {
            went_live_between(&history, *epoch, *stop) && got.iter().all(|got| went_over(got, *epoch))
        })
    });
}

/// The first T ahead, as far as is known from outside: its epoch, and the host's instant to within
/// milliseconds.
fn next_switch(farm: &Farm) -> (u64, LocalTime) {
    eventually("a switch ahead", || {
        let look = farm.newest()?;
        let at = LocalTime::from_nanos(look.host.1 + look.activation - look.now);
        (at > now()).then_some((look.epoch, at))
    })
}

/// As a host that was paused, and whose wall clock is set before it goes on.
#[test]
fn a_server_stopped_beyond_its_mark_gives_out_no_time_before_it_has_stored_another() {
    let name = "server stopped beyond its mark";
    at_some_pace(name, |pace| {
        let mut farm = Farm::start_slower(name, 0, &THREE, false, pace);
        let wall = wall_clock(&farm, name);
        farm.kill_server();
        farm.let_server_see(HostView { ahead: None, wall: wall.clone() });
        assert!(farm.start_server(), "the wall clock says nothing of the boot");
        let Some(epoch) = armed(&farm, 0..3) else { return give_up(farm) };
        farm.stop_server();
        let stopped = now();
        // Not where it stopped while it wrote: then the next farm has to show it.
        let held = farm.hold_database();
        let mut server = farm.server_tail();
        let (before, written) = (clocks(server.lines()).last().expect("a clock").1, server.lines().len());
        // The agents go over by themselves, and then find their promise over.
        let went_over = [0, 1, 2].map(|agent| {
            let mut tail = farm.agent_tail(agent);
            let admits = |got| admits(THREE[agent].mode, got);
            let over = read_after(&mut tail, stopped, &format!("agent {agent} beyond its promise"), admits);
            tail.reads().any(|(at, got)| at < over && got.current().is_some_and(|got| got.epoch == epoch))
        });
        let end = before.mark.until + Span::from_secs(1);
        eventually("the mark's end", || (before.at(now()) > end).then_some(()));
        assert_eq!(server.lines().len(), written, "the server stood still");
        wall.iter().for_each(|wall| wall.set_ahead(HOUR));
        let resumed = now();
        farm.continue_server();
        let gave_none = held.is_some_and(|held| gives_out_no_time(&farm, &mut server, resumed, held));
        // What it was about to store when it stopped doesn't count.
        let newer = |(_, line): &(How, Slope)| line.mark.stored_at > before.mark.until;
        let (how, after) = eventually("another mark", || clocks(&server.lines()[written..]).find(newer));
        assert!(matches!(how, How::Renewed { .. }), "{how:?}");
        assert!(wall.is_none() || after.slope_after == MOST_SLEW, "{after:?}");
        let history = farm.finish();
        assert_eq!(timelines(&history).len(), 1, "it is one line throughout");
        gave_none && went_over == [true; 3] && went_live_between(&history, epoch, (stopped, resumed))
    });
}

/// For as long as a server can't store a mark, because somebody holds its database, it says that it has no
/// time, and says nothing that bears one from when it goes on.
fn gives_out_no_time(farm: &Farm, server: &mut Tail, resumed: LocalTime, held: Connection) -> bool {
    let (_, http) = farm.addresses().expect("the server runs");
    let health = || ask(http, "GET", "/v1/health", b"");
    let (status, told) = eventually("a word of its health", health);
    assert!(status == 503 && told["time"] == false, "{told}");
    // Agents and the looker ask meanwhile.
    std::thread::sleep(Duration::from_secs(2));
    let bears_time = |line: &Line| !matches!(line, Line::Committed { .. } | Line::Undone { .. });
    let said = server.lines().iter().rfind(|line| bears_time(line) && line.at() >= Some(resumed));
    assert!(said.is_none(), "without a mark it said {said:?}");
    drop(held);
    true
}

/// The nearest thing to a host that is paused and restored: all stand still, and go on in a bad order.
#[test]
fn a_farm_that_stood_still_as_a_whole_misleads_nobody_in_whatever_order_it_goes_on() {
    let name = "all stopped";
    at_some_pace(name, |pace| {
        let farm = Farm::start_slower(name, 0, &THREE, true, pace);
        let mut stops = Vec::new();
        for server_first in [false, true] {
            let Some(epoch) = armed(&farm, 0..3) else { return give_up(farm) };
            stops.push((epoch, stop_all(&farm, epoch, server_first, pace)));
        }
        let history = farm.finish();
        assert_eq!(timelines(&history).len(), 1, "it is one line throughout");
        stops.iter().all(|(epoch, stop)| went_live_between(&history, *epoch, *stop))
    });
}

/// Stops all, armed for an epoch, for longer than any promise, and lets them go on. Returns between which
/// instants nobody ran.
fn stop_all(farm: &Farm, epoch: u64, server_first: bool, pace: u32) -> (LocalTime, LocalTime) {
    let millis = |millis: u64| Duration::from_millis(millis * u64::from(pace));
    farm.stop_server();
    (0..3).for_each(|agent| farm.stop_agent(agent));
    let stopped = now();
    // A promise ends less than a lead and two intervals after it was given.
    std::thread::sleep(millis(4_000));
    let resumed = now();
    if server_first {
        farm.continue_server();
        std::thread::sleep(millis(700));
    }
    for agent in (0..3).rev() {
        let goes_on = now();
        farm.continue_agent(agent);
        let mut tail = farm.agent_tail(agent);
        let (_, got) = eventually("a read after it", || tail.first_read(goes_on));
        // With the server awake a table may be there before the reader.
        let asked = server_first && got.current().is_some_and(|got| got.epoch >= epoch);
        assert!(asked || admits(THREE[agent].mode, got), "agent {agent} served {got:?}");
        if server_first {
            // The others stand still while the one has gone on.
            std::thread::sleep(millis(300));
        }
    }
    if !server_first {
        farm.continue_server();
    }
    (stopped, resumed)
}
