//! Which steps the world can take from a state, in a fixed order, and what each does.

mod operations;

use crate::configuration::{Configuration, Kind, UNLIMITED};
use crate::record::Happened;
use crate::world::{End, Payload, World};
use downbeat_core::message::{RequestBody, ToAgent};
use downbeat_core::serving::SwitchPlan;
use operations::OPERATIONS;

/// One step.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Action {
    /// Real time goes on by a tick.
    Tick,
    /// Real time goes on by so many nanoseconds, where it isn't counted in ticks.
    Pass(i64),
    /// The packet at this place arrives.
    Deliver(u8),
    /// An agent's timer.
    Wake(u8),
    /// The transaction under way ends.
    Commit,
    /// The server starts again within the same boot of its host.
    Continue,
    /// The server starts again on a new line, so many ticks off the old one.
    NewLine(i8),
    /// The same with a mark that is missing or old, as the kind says.
    Moves(Kind, i8),
    /// The second source of an agent's host finds out that its clock broke its bound.
    ClockFound(u8),
    /// A reader reads again what it pinned.
    ReadPinned(u8),
    /// A server process that ended is started again, where there are several.
    ProcessStarts(u8),
    /// One of several servers reads the database's clock without being asked for anything.
    ReadsClock(u8),
    /// A suspended reader answers.
    Resume(u8),
    /// An old process writes the page.
    WriteOldPage(u8),
    /// The older of two processes of an agent ends.
    HandOver(u8),
    /// An agent that was cut off is connected again.
    Reach(u8),
    /// A fault that concerns a packet.
    Packet(Kind, u8),
    /// A fault that concerns an agent.
    Agent(Kind, u8),
    /// A fault that concerns one of several servers: whether its transaction is done, or its clock
    /// jumps ahead.
    Process(Kind, u8, bool),
    /// A fault that concerns the server; of a transaction under way, whether its write is done; of a
    /// restore, whether it is of the last of several backups.
    Server(Kind, bool),
    /// An operation.
    Operate(Kind),
}

const PACKET_FAULTS: [Kind; 3] = [Kind::Lose, Kind::Repeat, Kind::Delay];
/// Where a line that can't be continued may begin: so many ticks off the old one.
const OFF: i8 = 2;
const AGENT_FAULTS: [Kind; 17] = [
    Kind::Overlap,
    Kind::CutOff,
    Kind::LateTimer,
    Kind::CrashTakesOver,
    Kind::CrashKeepsDisk,
    Kind::Reboot,
    Kind::RebootLosesDisk,
    Kind::Slow,
    Kind::Fast,
    Kind::Veto,
    Kind::Suspend,
    Kind::SpuriousWake,
    Kind::Pin,
    Kind::ClockAhead,
    Kind::ClockBack,
    Kind::Stutter,
    Kind::GoesOver,
];
impl World {
    /// All steps from here.
    pub fn actions(&self, config: &Configuration) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.faults > 0 {
            self.fault_actions(config, &mut actions);
        }
        if self.operations > 0 && self.server.up && self.server.committing.is_none() {
            let allowed = |kind: &Kind| config.operation_kinds.has(*kind) && self.may_operate(config, *kind);
            actions.extend(OPERATIONS.into_iter().filter(allowed).map(Action::Operate));
        }
        if let Some(action) = self.commuting(config) {
            actions.push(action);
            return actions;
        }
        for (place, packet) in self.network.iter().enumerate() {
            if self.can_arrive(packet) {
                actions.push(Action::Deliver(place as u8));
            }
        }
        for index in 0..self.hosts.len() {
            if self.hosts[index].overlap.is_some() {
                actions.push(Action::HandOver(index as u8));
            }
            if self.hosts[index].cut {
                actions.push(Action::Reach(index as u8));
            }
            if self.hosts[index].reader.is_some() {
                actions.push(Action::Resume(index as u8));
            }
            if self.hosts[index].astray {
                actions.push(Action::ClockFound(index as u8));
            }
            if self.hosts[index].pinned.is_some() {
                actions.push(Action::ReadPinned(index as u8));
            }
            if self.hosts[index].old_page.is_some() {
                actions.push(Action::WriteOldPage(index as u8));
            }
        }
        if self.server.committing.is_some() {
            actions.push(Action::Commit);
        }
        self.starts(config, &mut actions);
        if self.now < config.horizon && !self.is_urgent(config) {
            actions.push(Action::Tick);
        }
        actions
    }

    /// A step that commutes with every step of anybody else, and so is taken before them: an answer
    /// that is due, an agent's timer, or a request for staged content, which stays available over the
    /// next advance. Each touches one agent and what it sends. An agent's answer and its timer come to
    /// the same in either order: core does what its time has come for before it looks at an input, so
    /// what arrives in the tick of its deadline is too late (`tests/deadlines.rs`). Faults and
    /// operations are choices of their own and stay open in every state.
    fn commuting(&self, config: &Configuration) -> Option<Action> {
        let due = |at: &usize| {
            (self.is_answer(*at) || self.asks_for_staged_content(*at))
                && self.network[*at].is_urgent(self, config)
        };
        if let Some(place) = (0..self.network.len()).find(due) {
            return Some(Action::Deliver(place as u8));
        }
        let wake = (0..self.hosts.len()).find(|index| self.wants_wake(*index));
        wake.map(|index| Action::Wake(index as u8))
    }

    fn starts(&self, config: &Configuration, actions: &mut Vec<Action>) {
        for (place, process) in self.processes.iter().enumerate() {
            if !process.up {
                actions.push(Action::ProcessStarts(place as u8));
            } else if self.reads_outside(place) && self.server.committing.is_none() {
                actions.push(Action::ReadsClock(place as u8));
            }
        }
        if self.server.up {
            return;
        }
        if config.kinds.has(Kind::ServerCrash) {
            actions.push(Action::Continue);
        }
        if config.kinds.has(Kind::NewLineBehind) {
            actions.push(Action::NewLine(-OFF));
        }
        if config.kinds.has(Kind::NewLineAhead) {
            actions.push(Action::NewLine(OFF));
        }
        for kind in [Kind::MarkLost, Kind::MarkOld].into_iter().filter(|kind| config.kinds.has(*kind)) {
            actions.extend([Action::Moves(kind, -OFF), Action::Moves(kind, OFF)]);
        }
    }

    fn fault_actions(&self, config: &Configuration, actions: &mut Vec<Action>) {
        let delayed = self.network.iter().filter(|packet| packet.delayed).count();
        for (place, packet) in self.network.iter().enumerate() {
            for kind in PACKET_FAULTS {
                let pointless = match kind {
                    Kind::Delay => packet.delayed || delayed >= config.most_delayed as usize,
                    Kind::Repeat => delayed >= config.most_delayed as usize,
                    _ => false,
                };
                if config.kinds.has(kind) && !pointless {
                    actions.push(Action::Packet(kind, place as u8));
                }
            }
            if config.kinds.has(Kind::SlowCommit)
                && World::is_write(packet)
                && self.can_arrive(packet)
                && self.server.committing.is_none()
            {
                actions.push(Action::Packet(Kind::SlowCommit, place as u8));
            }
        }
        for index in 0..self.hosts.len() {
            for kind in AGENT_FAULTS {
                if config.kinds.has(kind) && self.may_fail(config, kind, index) {
                    actions.push(Action::Agent(kind, index as u8));
                }
            }
        }
        self.server_fault_actions(config, actions);
    }

    fn server_fault_actions(&self, config: &Configuration, actions: &mut Vec<Action>) {
        let ends =
            [Kind::ServerCrash, Kind::NewLineBehind, Kind::NewLineAhead, Kind::MarkLost, Kind::MarkOld];
        if self.server.up && ends.iter().any(|kind| config.kinds.has(*kind)) {
            actions.push(Action::Server(Kind::ServerCrash, false));
            if self.server.committing.is_some() {
                actions.push(Action::Server(Kind::ServerCrash, true));
            }
        }
        if config.kinds.has(Kind::Restore) && !self.server.backups.is_empty() {
            actions.push(Action::Server(Kind::Restore, false));
            if self.server.backups.len() > 1 {
                actions.push(Action::Server(Kind::Restore, true));
            }
        }
        for kind in [Kind::ServerSlow, Kind::ServerFast] {
            if config.kinds.has(kind) && self.line_may_err(config, kind) {
                actions.push(Action::Server(kind, false));
            }
        }
        // Of two processes of an agent only the newer one would find it out; and what a transaction read
        // before its clock went back it would write after, where nobody can find it out.
        let alone = self.hosts.iter().all(|host| host.overlap.is_none());
        let between = self.server.committing.is_none();
        for kind in [Kind::LineAhead, Kind::LineBack] {
            if config.kinds.has(kind) && alone && between {
                actions.push(Action::Server(kind, false));
            }
        }
        self.process_fault_actions(config, actions);
    }

    fn may_fail(&self, config: &Configuration, kind: Kind, index: usize) -> bool {
        let host = &self.hosts[index];
        match kind {
            Kind::LateTimer => self.wants_wake(index),
            Kind::CutOff => !host.cut,
            // One life at a time ends: readers of an old page go over first.
            Kind::Overlap => host.overlap.is_none() && !host.astray,
            Kind::CrashTakesOver | Kind::CrashKeepsDisk | Kind::Reboot | Kind::RebootLosesDisk => {
                host.overlap.is_none()
            }
            Kind::Slow | Kind::Fast | Kind::Stutter | Kind::ClockAhead | Kind::ClockBack => {
                self.clock_may_fail(config, kind, index)
            }
            Kind::SpuriousWake => !self.wants_wake(index),
            Kind::Pin => host.pinned.is_none() && self.read(index).generation().is_some(),
            Kind::GoesOver => self.other_process(host.via).is_some(),
            Kind::Veto => !host.vetoes,
            Kind::Suspend => host.reader.is_none(),
            _ => true,
        }
    }

    /// Takes one step.
    pub fn step(&mut self, config: &Configuration, action: Action) {
        self.record.happened = 0;
        match action {
            Action::Tick => self.pass(config, 1),
            Action::Pass(span) => self.pass(config, span),
            Action::Deliver(place) => self.deliver(config, place as usize),
            Action::Wake(index) => self.wake(config, index as usize),
            Action::Commit => self.commit(config, true),
            Action::Continue => self.server_continues(config),
            Action::NewLine(shift) => {
                self.server_moves(config, Kind::NewLineAhead, shift as i64 * config.unit())
            }
            Action::Moves(kind, shift) => self.server_moves(config, kind, shift as i64 * config.unit()),
            Action::ClockFound(index) => self.clock_found(config, index as usize),
            Action::ReadPinned(index) => self.read_pinned(index as usize),
            Action::ReadsClock(place) => {
                self.reads_clock(config, place as usize);
            }
            Action::ProcessStarts(place) => self.process_starts(config, place as usize),
            Action::HandOver(index) => self.hand_over(index as usize),
            Action::Reach(index) => self.reach(config, index as usize),
            Action::Resume(index) => self.judge_resumed(config, index as usize),
            Action::WriteOldPage(index) => self.write_old_page(index as usize),
            Action::Packet(kind, place) => self.packet_fault(config, kind, place as usize),
            Action::Agent(kind, index) => self.agent_fault(config, kind, index as usize),
            Action::Server(kind, committed) => self.server_fault(config, kind, committed),
            Action::Process(kind, place, choice) => {
                self.spend_fault();
                self.process_fault(config, kind, place as usize, choice);
            }
            Action::Operate(kind) => self.operate(config, kind),
        }
        self.forget_dead_packets(config);
        self.observe(config);
    }

    fn spend_fault(&mut self) {
        if self.faults != UNLIMITED {
            self.faults -= 1;
        }
    }

    fn server_fault(&mut self, config: &Configuration, kind: Kind, committed: bool) {
        self.spend_fault();
        match kind {
            // Another host, whose clock is ahead.
            Kind::Restore => self.server_restored(config, committed, OFF as i64 * config.unit()),
            Kind::ServerSlow => self.server.error = (self.server.error - 1).max(-1),
            Kind::ServerFast => self.server.error = (self.server.error + 1).min(1),
            Kind::LineAhead => self.step_line(config, config.jump),
            Kind::LineBack => self.step_line(config, -config.jump),
            _ => self.server_ends(config, committed),
        }
    }

    fn packet_fault(&mut self, config: &Configuration, kind: Kind, place: usize) {
        self.spend_fault();
        match kind {
            Kind::Lose => {
                self.network.remove(place);
            }
            Kind::Repeat => {
                let mut copy = self.network[place].clone();
                copy.delayed = true;
                self.network.push(copy);
            }
            Kind::SlowCommit => self.serve_slowly(config, place),
            _ => self.network[place].delayed = true,
        }
    }

    fn agent_fault(&mut self, config: &Configuration, kind: Kind, index: usize) {
        self.spend_fault();
        match kind {
            Kind::LateTimer => self.hosts[index].late = true,
            Kind::CutOff => self.cut_off(index),
            Kind::CrashTakesOver => self.crash(config, index, End::TakesOver),
            Kind::CrashKeepsDisk => self.crash(config, index, End::KeepsDisk),
            Kind::Overlap => self.crash(config, index, End::Overlaps),
            Kind::Reboot => self.crash(config, index, End::Reboots),
            Kind::RebootLosesDisk => self.crash(config, index, End::RebootsEmpty),
            Kind::Slow => self.hosts[index].error = (self.hosts[index].error - 1).max(-1),
            Kind::Fast => self.hosts[index].error = (self.hosts[index].error + 1).min(1),
            Kind::Veto => self.hosts[index].vetoes = true,
            Kind::Stutter => self.hosts[index].error = -2,
            Kind::ClockAhead => self.step_clock(index, config.jump),
            Kind::ClockBack => self.step_clock(index, -config.jump),
            Kind::Pin => self.pin(index),
            Kind::GoesOver => self.go_over(config, index),
            Kind::SpuriousWake => {
                self.record.note(Happened::Spurious);
                self.wake(config, index);
            }
            _ => self.suspend_reader(index),
        }
    }

    fn write_old_page(&mut self, index: usize) {
        let host = &mut self.hosts[index];
        if let Some(page) = host.old_page.take() {
            host.page = SwitchPlan { serial: host.page.serial + 1, ..page };
        }
    }

    fn asks_for_staged_content(&self, place: usize) -> bool {
        let Payload::Request(request) = &self.network[place].payload else { return false };
        let staged = self.server.store.table.staged.digest;
        match request.body {
            RequestBody::Route { target, .. } => target.digest == staged,
            RequestBody::Fetch { object, .. } => object == staged,
            _ => false,
        }
    }

    fn is_answer(&self, place: usize) -> bool {
        matches!(self.network[place].payload, Payload::Answer(..))
    }
}

impl World {
    /// A step in words, as seen before it is taken.
    pub fn describe(&self, action: Action) -> String {
        let packet = |place: u8| {
            let packet = &self.network[place as usize];
            match &packet.payload {
                Payload::Request(request) => {
                    let body = format!("{:?}", request.body);
                    format!("{} of agent {}", first_word(&body), packet.agent)
                }
                Payload::Answer(ToAgent::Reply(reply), _) => {
                    let body = format!("{:?}", reply.body);
                    format!("{} to agent {}", first_word(&body), packet.agent)
                }
                Payload::Answer(..) => format!("an answer to agent {}", packet.agent),
            }
        };
        match action {
            Action::Deliver(place) => format!("arrives: {}", packet(place)),
            Action::Packet(kind, place) => format!("{kind:?}: {}", packet(place)),
            Action::Wake(index) => format!("timer of agent {index}"),
            Action::Agent(kind, index) => format!("{kind:?}: agent {index}"),
            other => format!("{other:?}"),
        }
    }
}

fn first_word(text: &str) -> &str {
    text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default()
}
