//! The agents of the demo: whose clock is wrong in which way, and who is behind a slow link.

use super::relay::{Delay, Relay};
use crate::failure::Failure;
use downbeat_agent::clock::Distortion;
use downbeat_agent::{Agent, Clock};
use downbeat_core::guard::Guards;
use downbeat_core::serving::Mode;
use downbeat_core::time::Span;
use downbeat_trace::Recorder;
use std::net::SocketAddr;
use std::time::Duration;

/// The slow link: 30 ± 15 ms each way.
pub(crate) const LINK: Delay = Delay { least: Duration::from_millis(15), most: Duration::from_millis(45) };

/// A link on which a request is under way for longer than others need for a whole advance.
pub(crate) const FARTHER: Delay =
    Delay { least: Duration::from_millis(70), most: Duration::from_millis(100) };

/// What an agent is to be like.
#[derive(Clone, Debug)]
pub(crate) struct Role {
    pub(crate) name: String,
    /// What is wrong with it, for people.
    pub(crate) wrong: String,
    pub(crate) offset: Span,
    pub(crate) rate_ppm: i64,
    /// The bound on its rate error that it is told.
    pub(crate) bound_ppm: u32,
    pub(crate) link: Option<Delay>,
}

/// What all agents share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Common {
    pub(crate) mode: Mode,
    pub(crate) guards: Guards,
    pub(crate) second_source: bool,
}

/// A running agent.
pub(crate) struct Member {
    pub(crate) role: Role,
    pub(crate) agent: Agent,
    pub(crate) relay: Option<Relay>,
    recorder: Recorder,
}

const HOUR: i64 = 3_600;

/// So many roles: the five of the demo, then further ones with other offsets and rates.
pub(crate) fn roles(agents: usize) -> Vec<Role> {
    let role = |name: &str, wrong: &str, offset, rate_ppm, link| Role {
        name: name.to_owned(),
        wrong: wrong.to_owned(),
        offset: Span::from_secs(offset),
        rate_ppm,
        bound_ppm: 250,
        link,
    };
    let mut roles = vec![
        role("zone", "another time zone: 8 h behind", -8 * HOUR, 0, None),
        role("far", "60 ms round trip with jitter", 2, 40, Some(LINK)),
        role("minutes", "7 min ahead", 7 * 60, -60, None),
        role("fast", "3 s ahead, gains 150 ppm", 3, 150, None),
        role("slow", "3 s behind, loses 150 ppm", -3, -150, None),
    ];
    for number in roles.len()..agents {
        let number = number as i64;
        let (offset, rate) = ((number * 7_919) % 9_000 - 4_500, (number * 67) % 301 - 150);
        let wrong = format!("{offset:+} s, {rate:+} ppm");
        roles.push(role(&format!("agent-{}", number + 1), &wrong, offset, rate, None));
    }
    roles.truncate(agents);
    roles
}

impl Role {
    /// Starts the agent; inside a runtime.
    pub(crate) async fn start(
        self,
        server: SocketAddr,
        farm: &str,
        common: Common,
        recorder: Recorder,
    ) -> Result<Member, Failure> {
        let relay = match self.link {
            Some(delay) => {
                let seed =
                    self.name.bytes().fold(7, |seed: u64, byte| seed.wrapping_mul(31) + u64::from(byte));
                Some(Relay::start(server, delay, seed).await.map_err(Failure::own)?)
            }
            None => None,
        };
        let server = relay.as_ref().map_or(server, Relay::address);
        let distortion = Distortion { offset: self.offset, rate_ppb: self.rate_ppm * 1_000 };
        let agent = Agent::builder()
            .server(server.to_string())
            .farm(farm)
            .mode(common.mode)
            .display(&self.name)
            .clock(Clock::distorted(distortion))
            .rate_ppm(self.bound_ppm)
            .back_off(Duration::from_millis(20), Duration::from_millis(500))
            .guards(common.guards)
            .trace(recorder.clone())
            .second_source(common.second_source);
        let agent = agent.start().await.map_err(Failure::own)?;
        Ok(Member { role: self, agent, relay, recorder })
    }
}

impl Member {
    /// Ends the agent and its trace.
    pub(crate) async fn stop(self) {
        let clock = self.agent.clock().clone();
        self.agent.stop().await;
        self.recorder.end(clock.read().host);
    }
}
