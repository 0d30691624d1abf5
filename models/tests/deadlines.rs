//! An answer that arrives in the very tick of its request's deadline, and the timer of that tick: in
//! whichever order the model takes them, the same comes of it. So no order is lost by taking answers
//! first (`commuting` in `src/actions.rs`): core does what its time has come for before it looks at an
//! input, so the answer comes too late, unless its request is one that is asked again under its number.

use downbeat_core::message::{Request, RequestBody, ToAgent};
use downbeat_models::actions::Action;
use downbeat_models::checks::checks;
use downbeat_models::configuration::Configuration;
use downbeat_models::world::{Packet, Payload, World};

/// How the meetings that were seen ended.
#[derive(Debug, Default)]
struct Seen {
    given_up: usize,
    asked_again: usize,
}

/// An answer on its way whose agent waits for it: its place, the agent, the request's number.
fn awaited(world: &World) -> Vec<(u8, usize, u64)> {
    let waits = |(place, packet): (usize, &Packet)| {
        let Payload::Answer(ToAgent::Reply(reply), _) = &packet.payload else { return None };
        let agent = packet.agent as usize;
        let waits = world.hosts[agent].agent.waits_for(reply.incarnation, reply.number);
        waits.then_some((place as u8, agent, reply.number))
    };
    world.network.iter().enumerate().filter_map(waits).collect()
}

/// A request of this number that is on its way.
fn sent(world: &World, agent: usize, number: u64) -> Option<&Request> {
    world.network.iter().find_map(|packet| match &packet.payload {
        Payload::Request(request) if packet.agent as usize == agent && request.number == number => {
            Some(request)
        }
        _ => None,
    })
}

/// Both orders from here, where an answer meets the timer of its deadline.
fn meet(config: &Configuration, world: &World, seen: &mut Seen) {
    for (place, agent, number) in awaited(world).into_iter().filter(|(_, agent, _)| world.wants_wake(*agent))
    {
        let after = |actions: &[Action]| {
            let mut world = world.clone();
            actions.iter().for_each(|action| world.step(config, *action));
            world
        };
        let wake = Action::Wake(agent as u8);
        let woken = after(&[wake]);
        let delivered = after(&[Action::Deliver(place)]);
        if woken.hosts[agent].agent.asks() != Some(number) {
            assert_eq!(delivered.hosts, woken.hosts, "an answer of the deadline's tick was used");
            assert!(!awaited(&woken).iter().any(|(_, of, old)| (*of, *old) == (agent, number)));
            seen.given_up += 1;
        } else if let Some(again) = sent(&woken, agent, number) {
            assert!(matches!(again.body, RequestBody::Lock | RequestBody::Advance { .. }), "{again:?}");
            let answer = awaited(&woken).into_iter().find(|(_, of, old)| (*of, *old) == (agent, number));
            let (place, ..) = answer.expect("the answer is still of use");
            let both = after(&[wake, Action::Deliver(place)]);
            assert_eq!(delivered.hosts, both.hosts, "the order of answer and timer matters");
            assert_ne!(delivered.hosts[agent].agent.asks(), Some(number), "the answer was used");
            seen.asked_again += 1;
        }
    }
}

#[test]
fn an_answer_of_the_deadline_s_tick_is_too_late_in_either_order() {
    let checks = checks();
    let check = checks.iter().find(|check| check.config.name == "slow-network-1").expect("it is in the list");
    let config = Configuration { faults: 0, horizon: 90, run_up: None, ..check.config.clone() };
    let mut seen = Seen::default();
    let mut random: u64 = 2026;
    for _ in 0..300 {
        let mut world = World::new(&config);
        for _ in 0..400 {
            let actions = world.actions(&config);
            if actions.is_empty() {
                break;
            }
            meet(&config, &world, &mut seen);
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let choice = (random >> 33) as usize;
            let tick =
                actions.iter().find(|action| **action == Action::Tick).filter(|_| choice.is_multiple_of(2));
            world.step(&config, *tick.unwrap_or(&actions[choice / 2 % actions.len()]));
        }
    }
    assert!(seen.given_up > 50 && seen.asked_again > 10, "the tick of a deadline was hardly met: {seen:?}");
}
