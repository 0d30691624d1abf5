//! What is on its way between agents and server. A message normally takes no time; that it takes
//! longer, is lost or repeated are faults, and reordering follows from them.

use super::{Content, World};
use crate::configuration::Configuration;
use downbeat_core::message::{Request, ToAgent};

/// What a packet carries.
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
    /// It may arrive at any later time.
    pub delayed: bool,
    /// A tick has passed since it was sent.
    pub ticked: bool,
    /// What it carries.
    pub payload: Payload,
}

impl Packet {
    pub(crate) fn new(agent: usize, payload: Payload) -> Packet {
        Packet { agent: agent as u8, delayed: false, ticked: false, payload }
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
            Payload::Request(request) => self.server.up && !self.waits_for_commit(request),
            Payload::Answer(..) => true,
        }
    }

    pub(crate) fn send(&mut self, agent: usize, payload: Payload) {
        self.network.push(Packet::new(agent, payload));
    }

    /// A packet arrives.
    pub fn deliver(&mut self, config: &Configuration, index: usize) {
        let packet = self.network.remove(index);
        let agent = packet.agent as usize;
        match packet.payload {
            Payload::Request(ref request) => self.serve(config, agent, request, self.server_now()),
            Payload::Answer(ref answer, content) => {
                let now = self.local_now(agent);
                let effects = self.hosts[agent].agent.receive(now, answer);
                self.carry_out(config, agent, effects, content);
            }
        }
    }
}
