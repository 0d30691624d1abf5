//! What is on its way between agents and server. A message normally takes no time; that it takes
//! longer, is lost or repeated are faults, and reordering follows from them.

use super::{Content, World};
use crate::configuration::Configuration;
use downbeat_core::guard::Guards;
use downbeat_core::message::{Request, RequestBody, ToAgent};

/// What a packet carries.
#[expect(clippy::large_enum_variant, reason = "a network holds a handful of packets")]
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Payload {
    /// To the server.
    Request(Request),
    /// To an agent; with the content of a `Bytes` reply.
    Answer(ToAgent<u16>, Option<Content>),
}

/// A message on its way.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Packet {
    /// The agent that it is from or for.
    pub agent: u8,
    /// The place of the server process that it is for or from.
    pub via: u8,
    /// It may arrive at any later time.
    pub delayed: bool,
    /// A tick has passed since it was sent.
    pub ticked: bool,
    /// What it carries.
    pub payload: Payload,
}

impl Packet {
    pub(crate) fn new(agent: usize, via: u8, payload: Payload) -> Packet {
        Packet { agent: agent as u8, via, delayed: false, ticked: false, payload }
    }

    /// Whether it must arrive before the next tick.
    pub fn is_urgent(&self, world: &World, config: &Configuration) -> bool {
        !self.delayed && (self.ticked || !config.slow_network) && world.can_arrive(self)
    }
}

impl World {
    /// Whether the other end can take a packet now.
    pub fn can_arrive(&self, packet: &Packet) -> bool {
        match &packet.payload {
            Payload::Request(request) => self.listens(packet.via) && !self.waits_for_commit(request),
            Payload::Answer(..) => true,
        }
    }

    /// Drops packets that nobody will look at again: answers to requests that are no longer
    /// outstanding, and requests for content whose answers would be such. Where a broken twin would
    /// look at them, they stay.
    pub(crate) fn forget_dead_packets(&mut self, config: &Configuration) {
        if config.guards != Guards::ALL || config.twist.is_some() {
            return;
        }
        let hosts = &self.hosts;
        self.network.retain(|packet| {
            let agent = &hosts[packet.agent as usize].agent;
            match &packet.payload {
                Payload::Answer(ToAgent::Reply(reply), _) => agent.waits_for(reply.incarnation, reply.number),
                Payload::Request(Request { incarnation, number, body, .. }) => {
                    let effect = !matches!(
                        body,
                        RequestBody::Route { .. } | RequestBody::Fetch { .. } | RequestBody::Report(_)
                    );
                    // A request that waited behind a transaction and was given up meanwhile is not
                    // served; one that was delayed on its way is.
                    (effect && packet.delayed) || agent.waits_for(*incarnation, *number)
                }
                Payload::Answer(..) => true,
            }
        });
    }

    pub(crate) fn send(&mut self, agent: usize, via: u8, payload: Payload) {
        if self.hosts[agent].cut || (!self.listens(via) && matches!(payload, Payload::Request(_))) {
            // Nobody listens, or nothing gets through.
            return;
        }
        // Where time isn't counted in ticks, any message may take any time.
        let delayed = self.step > 0;
        self.network.push(Packet { delayed, ..Packet::new(agent, via, payload) });
    }

    /// An agent is cut off: what was on its way is lost.
    pub fn cut_off(&mut self, index: usize) {
        self.hosts[index].cut = true;
        self.network.retain(|packet| packet.agent as usize != index);
    }

    /// It is connected again.
    pub fn reach(&mut self, config: &Configuration, index: usize) {
        self.hosts[index].cut = false;
        if self.hosts[index].agent.table().is_none() {
            self.connect(config, index);
        }
    }

    /// A packet arrives.
    pub fn deliver(&mut self, config: &Configuration, index: usize) {
        let packet = self.network.remove(index);
        let agent = packet.agent as usize;
        match packet.payload {
            Payload::Request(ref request) => self.serve(config, agent, packet.via, request),
            Payload::Answer(ref answer, content) => {
                let now = self.local_now(agent);
                let before = self.epoch_known(agent);
                let host = &self.hosts[agent].agent;
                // One that nobody waits for any more is no sample, and shows nothing.
                let sample = match answer {
                    ToAgent::Reply(reply) if host.waits_for(reply.incarnation, reply.number) => Some(reply),
                    _ => None,
                };
                let effects = self.hosts[agent].agent.receive(now, answer);
                self.carry_out(config, agent, effects, content);
                if let Some(reply) = sample {
                    self.demand_detection(config, agent, reply);
                }
                self.note_long_away(agent, before);
            }
        }
    }
}
