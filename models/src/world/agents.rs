//! The hosts of the model's agents: they carry effects out as a real host would, keep content, and
//! end in the ways in which processes and machines end.

use super::twisted::as_read;
use super::{Content, Host, Payload, Reader, World, agent_config};
use crate::configuration::{Configuration, Twist};
use crate::record::{Broken, Happened};
use downbeat_core::agent::{Agent, Start};
use downbeat_core::effect::{Effect, Effects, Event, Verified};
use downbeat_core::ids::{BootId, Generation};
use downbeat_core::message::{ToAgent, Veto, Welcome};
use downbeat_core::serving::{Serving, SwitchPlan, serving};
use downbeat_core::time::LocalTime;

/// How an agent's life ends.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum End {
    /// Its process: the next one takes over the page.
    TakesOver,
    /// Another process is started beside it, with a page of its own.
    Overlaps,
    /// Its process, and the page with it; the disk stays.
    KeepsDisk,
    /// Its host: the clock begins anew, a page of the old boot is found.
    Reboots,
    /// Its host, and its disk.
    RebootsEmpty,
}

impl World {
    /// An agent connects and is welcomed, where there is a server.
    pub(crate) fn connect(&mut self, config: &Configuration, index: usize) {
        let now = self.local_now(index);
        let effects = self.hosts[index].agent.connected(now);
        self.carry_out(config, index, effects, None);
    }

    /// An agent's timer.
    pub fn wake(&mut self, config: &Configuration, index: usize) {
        let now = self.local_now(index);
        let effects = self.hosts[index].agent.wake(now);
        self.carry_out(config, index, effects, None);
    }

    /// Carries effects out, and whatever they bring about in turn.
    pub(crate) fn carry_out(
        &mut self,
        config: &Configuration,
        index: usize,
        effects: Effects,
        content: Option<Content>,
    ) {
        let now = self.local_now(index);
        for effect in effects {
            let more = match effect {
                Effect::Hello => self.welcome(config, index, now),
                Effect::Send(request) => {
                    let via = self.hosts[index].via;
                    self.send(index, via, Payload::Request(request));
                    Effects::new()
                }
                Effect::Publish(plan) => {
                    self.publish(index, as_read(config, plan));
                    Effects::new()
                }
                Effect::Begin { .. } => {
                    self.hosts[index].incoming.clear();
                    Effects::new()
                }
                Effect::Keep { .. } => {
                    self.hosts[index].incoming.extend(content);
                    Effects::new()
                }
                Effect::Verify { target } => {
                    let found = self.verify(config, index, target);
                    self.hosts[index].agent.verified(now, target, found)
                }
                Effect::Copy { .. } => self.hosts[index].agent.copied(now),
                Effect::Event(event) => {
                    if event == Event::ClockBroken {
                        self.clock_break_detected(index);
                    }
                    Effects::new()
                }
            };
            self.carry_out(config, index, more, None);
        }
        self.drop_content(index);
    }

    /// Readers go by the new plan; none that was served may be fenced by it (A1), unless a clock was
    /// found to be wrong, or is and wasn't found to be yet.
    fn publish(&mut self, index: usize, plan: SwitchPlan) {
        let before = self.read(index).current();
        self.note_epsilon(index, &plan);
        self.hosts[index].page = plan;
        let taken_back = before.is_some() && self.read(index) == Serving::Fenced;
        let excused = self.hosts[index].astray || self.record.has_happened(Happened::Detected);
        if taken_back && !excused {
            self.record.break_(Broken::Available);
        }
    }

    /// S8 is judged by the ε of the estimate that fixed the switch.
    fn note_epsilon(&mut self, index: usize, plan: &SwitchPlan) {
        let host = &mut self.hosts[index];
        let same = host.page.staged == plan.staged && host.page.staged_from == plan.staged_from;
        if plan.staged.is_some() && !same {
            // The last sample may have come with the very input that published this.
            let epsilons =
                [host.prior.epsilon(plan.staged_from), host.agent.clock().epsilon(plan.staged_from)];
            let epsilon = epsilons.into_iter().flatten().max().unwrap_or_default();
            // Beside an older process, the wider one of the two counts.
            host.page_epsilon = if host.overlap.is_some() { epsilon.max(host.page_epsilon) } else { epsilon };
        }
    }

    fn welcome(&mut self, config: &Configuration, index: usize, now: LocalTime) -> Effects {
        let via = self.hosts[index].via;
        if !self.listens(via) || self.hosts[index].cut {
            return Effects::new();
        }
        let timeline = self.line_known(via);
        let host = &mut self.hosts[index];
        let welcome = Welcome {
            incarnation: host.agent.incarnation(),
            version: downbeat_core::message::VERSION,
            timeline,
            server_rate: config.server_rate,
            limits: self.server.store.table.limits,
            may_lock: true,
        };
        host.agent.receive(now, &ToAgent::Welcome(welcome))
    }

    /// A host drops what neither the machine nor a page that is read still names; a reader that is
    /// suspended keeps what its plan names, as a handle does.
    pub(super) fn drop_content(&mut self, index: usize) {
        let Host { agent, held, overlap, reader, served, .. } = &mut self.hosts[index];
        held.retain(|(digest, _)| {
            let read = |plan: &SwitchPlan| {
                [plan.active, plan.staged].into_iter().flatten().any(|named| named.digest == *digest)
            };
            agent.keeps(Generation { epoch: 0, digest: *digest })
                || overlap.as_ref().is_some_and(read)
                || reader.as_ref().is_some_and(|reader| read(&reader.plan))
                || served.iter().any(|kept| kept.digest == *digest)
        });
    }

    fn verify(&mut self, config: &Configuration, index: usize, target: Generation) -> Verified {
        let host = &mut self.hosts[index];
        if host.vetoes {
            host.vetoes = false;
            return Verified::Vetoed(Veto::Invalid);
        }
        let wanted = if config.two_parts { 2 } else { 1 };
        let whole =
            host.incoming.len() == wanted && host.incoming.iter().all(|part| part.digest() == target.digest);
        let parts =
            [host.incoming.first(), host.incoming.last()].map(|part| part.copied().unwrap_or_default());
        host.incoming.clear();
        if whole || !config.guards.on(downbeat_core::guard::Guard::WholeGeneration) {
            host.held.retain(|(digest, _)| *digest != target.digest);
            host.held.push((target.digest, parts));
            host.held.sort();
        }
        if whole { Verified::Whole } else { Verified::Mismatch }
    }

    /// An agent's life ends, and the next begins at once.
    pub fn crash(&mut self, config: &Configuration, index: usize, end: End) {
        let again = World::twisted(config, Twist::SameIncarnation);
        let incarnation = if again { self.hosts[index].agent.incarnation() } else { self.incarnation() };
        let old = self.hosts[index].clone();
        let reboots = matches!(end, End::Reboots | End::RebootsEmpty);
        // A clock that begins anew after a boot, with the same readings as in the boot before.
        let offset = if reboots { World::first_reading(index) - self.now } else { old.offset };
        let boot = if reboots { BootId(old.boot.0 + 100) } else { old.boot };
        let last_good = serving_generation(&old, self.local_now(index)).filter(|_| end != End::RebootsEmpty);
        let start = Start {
            incarnation,
            boot,
            now: self.reading(offset),
            page: Some(old.page).filter(|_| matches!(end, End::TakesOver | End::Reboots)),
            last_good,
        };
        let agent = Agent::new(agent_config(config, index), start);
        let page = *agent.plan();
        let paused = World::twisted(config, Twist::TwoWriters) && end == End::TakesOver;
        self.hosts[index] = Host {
            page,
            agent,
            offset,
            boot,
            late: false,
            old_page: Some(old.page).filter(|_| paused),
            via: old.via,
            cut: old.cut,
            prior: old.prior,
            overlap: (end == End::Overlaps).then_some(old.page),
            page_epsilon: old.page_epsilon,
            held: if end == End::RebootsEmpty { Vec::new() } else { old.held },
            incoming: Vec::new(),
            reader: None,
            vetoes: false,
            last_error: old.last_error,
            error: 0,
            // Only a page that is taken over carries on what the clock before it said.
            astray: old.astray && end == End::TakesOver,
            served: Vec::new(),
            pinned: None,
        };
        self.drop_content(index);
        if end != End::Overlaps {
            self.record.started(index, end == End::TakesOver);
        }
        self.connect(config, index);
    }

    /// The older of two processes ends: readers go over to the newer one's page.
    pub fn hand_over(&mut self, index: usize) {
        self.hosts[index].overlap = None;
        // Its page has been served beside the old one, to whoever looked; and what a reader that is
        // suspended loaded from the old one is no first read.
        let host = &self.hosts[index];
        let joined = host.agent.abstracted().joined || host.reader.is_some();
        self.record.started(index, false);
        self.record.joined[index] = joined;
    }

    /// A reader loads the plan and is suspended.
    pub fn suspend_reader(&mut self, index: usize) {
        let floor = self.record.seen[index];
        let host = &mut self.hosts[index];
        let plan = host.overlap.unwrap_or(host.page);
        host.reader = Some(Reader { plan, began: self.now, floor, excused: host.astray });
    }

    /// The suspended reader looks at the clock and answers; what it got, and at which real time of
    /// its look.
    pub fn resume_reader(&mut self, config: &Configuration, index: usize) -> Option<(Serving, i64, u64)> {
        let reader = self.hosts[index].reader.take()?;
        let page = self.hosts[index].page;
        let floor = reader.floor;
        Some(match config.twist {
            Some(Twist::LookThenLoad) => {
                let look = LocalTime::from_nanos(reader.began + self.hosts[index].offset);
                (serving(&page, look), reader.began, floor)
            }
            Some(Twist::MixedPlan) => {
                let mixed = SwitchPlan { active: page.active, staged: page.staged, ..reader.plan };
                (serving(&mixed, self.local_now(index)), self.now, floor)
            }
            // A new read, which should have looked at the version of the plan.
            Some(Twist::KeptPlan) => {
                (serving(&reader.plan, self.local_now(index)), self.now, self.record.seen[index])
            }
            _ => (serving(&reader.plan, self.local_now(index)), self.now, floor),
        })
    }
}

/// What the host kept on its disk: the generation that readers got last.
fn serving_generation(host: &Host, now: LocalTime) -> Option<Generation> {
    serving(&host.page, now).generation().or(host.page.active)
}
