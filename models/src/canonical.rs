//! States that behave alike look alike: what a machine counts only to tell things apart is replaced
//! by its rank, and what is never looked at again is dropped. The search fingerprints this form.

use crate::configuration::Configuration;
use crate::record::Record;
use crate::world::{Packet, Payload, World, agent_id};
use downbeat_core::ids::{Incarnation, RequestId};
use downbeat_core::message::ToAgent;
use std::hash::{DefaultHasher, Hash, Hasher};

/// New names for incarnations and request numbers, one agent at a time.
struct Names {
    current: Vec<Incarnation>,
    shifts: Vec<u64>,
    old: Vec<(usize, Incarnation)>,
}

impl Names {
    /// The present life of an agent is 0, lives before it are numbered as they are met.
    fn incarnation(&mut self, agent: usize, incarnation: Incarnation) -> Incarnation {
        if incarnation == self.current[agent] {
            return Incarnation(0);
        }
        let known = self.old.iter().position(|old| *old == (agent, incarnation));
        let place = known.unwrap_or_else(|| {
            self.old.push((agent, incarnation));
            self.old.len() - 1
        });
        Incarnation(place as u64 + 1)
    }

    fn number(&self, agent: usize, incarnation: Incarnation, number: u64) -> u64 {
        if incarnation == self.current[agent] { number.wrapping_sub(self.shifts[agent]) } else { number }
    }

    fn request(&mut self, id: RequestId) -> RequestId {
        let Some(agent) = (0..self.current.len()).find(|index| agent_id(*index) == id.agent) else {
            return id;
        };
        let number = self.number(agent, id.incarnation, id.number);
        RequestId { number, incarnation: self.incarnation(agent, id.incarnation), ..id }
    }

    fn packet(&mut self, packet: &mut Packet) {
        let agent = packet.agent as usize;
        let (incarnation, number) = match &mut packet.payload {
            Payload::Request(request) => (&mut request.incarnation, Some(&mut request.number)),
            Payload::Answer(ToAgent::Reply(reply), _) => (&mut reply.incarnation, Some(&mut reply.number)),
            Payload::Answer(ToAgent::Welcome(welcome), _) => (&mut welcome.incarnation, None),
            Payload::Answer(
                ToAgent::Error { incarnation, .. } | ToAgent::TimePath { incarnation, .. },
                _,
            ) => (incarnation, None),
        };
        if let Some(number) = number {
            *number = self.number(agent, *incarnation, *number);
        }
        *incarnation = self.incarnation(agent, *incarnation);
    }
}

impl World {
    /// The canonical form.
    pub fn canonical(&self, config: &Configuration) -> World {
        let mut world = self.clone();
        let mut names = Names { current: Vec::new(), shifts: Vec::new(), old: Vec::new() };
        for host in &mut world.hosts {
            names.current.push(host.agent.incarnation());
            let (agent, shift) = host.agent.canonical(Incarnation(0));
            host.agent = agent;
            names.shifts.push(shift);
            host.page.serial = 0;
            for plan in host
                .old_page
                .iter_mut()
                .chain(host.overlap.iter_mut())
                .chain(host.reader.iter_mut().map(|reader| &mut reader.plan))
            {
                plan.serial = 0;
            }
            if config.rate.as_ppb() == 0 {
                host.last_error = None;
            }
        }
        // An error long enough ago bounds nothing any more.
        let rest = Configuration::ticks_per_error(config.server_rate);
        world.server.last_error = world.server.last_error.filter(|last| self.now + 1 - last < rest);
        let table = &mut world.server.store.table;
        table.last_advance = names.request(table.last_advance);
        if let Some(lock) = &mut table.lock {
            lock.holder = names.request(lock.holder);
        }
        for packet in &mut world.network {
            packet.ticked &= config.slow_network;
            names.packet(packet);
        }
        if let Some(committing) = &mut world.server.committing {
            names.packet(&mut committing.request);
        }
        world.network.sort_by_cached_key(fingerprint);
        world.incarnations = 0;
        world.record.happened &= Record::TOLD_APART;
        world
    }
}

pub(crate) fn fingerprint(packet: &Packet) -> u64 {
    let mut hasher = DefaultHasher::new();
    packet.hash(&mut hasher);
    hasher.finish()
}
