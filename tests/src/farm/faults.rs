//! What is done to a farm's processes: they are killed, stopped and go on, are led elsewhere, and from
//! their next start on have a judge or see other clocks.

use super::{Farm, set};
use crate::host_view::HostView;
use crate::tail::Tail;
use rusqlite::Connection;
use std::net::SocketAddr;
use std::time::Duration;

impl Farm {
    /// `kill -9` on the server.
    pub fn kill_server(&mut self) {
        set(&self.control, None);
        set(&self.http, None);
        if let Some(server) = self.server.take() {
            server.kill();
        }
    }

    /// From here on the server finds itself on another boot of its host.
    pub fn reboot(&mut self) {
        self.boot += 1;
    }

    /// `kill -9` on an agent.
    pub fn kill_agent(&mut self, agent: usize) {
        if let Some(process) = self.agents[agent].process.take() {
            process.kill();
        }
    }

    /// Leads new connections of agents elsewhere, and cuts those that stand.
    pub fn lead_agents_to(&self, address: SocketAddr) {
        set(&self.control, Some(address));
        self.agents.iter().for_each(|slot| slot.relay.cut());
    }

    /// SIGSTOP to the server; it stands still on return.
    ///
    /// # Panics
    /// It doesn't run.
    pub fn stop_server(&self) {
        self.server.as_ref().expect("the server runs").stop();
    }

    /// SIGCONT to the server.
    ///
    /// # Panics
    /// It doesn't run.
    pub fn continue_server(&self) {
        self.server.as_ref().expect("the server runs").go_on();
    }

    /// Keeps the server from writing for as long as what is returned is kept: another connection has begun
    /// a transaction. `None` where the server is writing itself.
    pub fn hold_database(&self) -> Option<Connection> {
        let database = Connection::open(self.folder().join("server/downbeat.db")).ok()?;
        database.busy_timeout(Duration::ZERO).ok()?;
        database.execute_batch("BEGIN IMMEDIATE").ok()?;
        Some(database)
    }

    /// SIGSTOP to an agent; it stands still on return, its reader too.
    ///
    /// # Panics
    /// It doesn't run.
    pub fn stop_agent(&self, agent: usize) {
        self.agents[agent].process.as_ref().expect("the agent runs").stop();
    }

    /// SIGCONT to an agent.
    ///
    /// # Panics
    /// It doesn't run.
    pub fn continue_agent(&self, agent: usize) {
        self.agents[agent].process.as_ref().expect("the agent runs").go_on();
    }

    /// From its next start on an agent has each generation judged by a command.
    pub fn check(&mut self, agent: usize, command: &str) {
        self.agents[agent].check = Some(command.to_owned());
    }

    /// What the server sees of the host's clocks from its next start on.
    pub fn let_server_see(&mut self, view: HostView) {
        self.view = view;
    }

    /// What an agent sees of the host's clocks from its next start on.
    pub fn let_agent_see(&mut self, agent: usize, view: HostView) {
        self.agents[agent].view = view;
    }

    /// The trace of the server's present life.
    pub fn server_tail(&self) -> Tail {
        Tail::new(self.server_trace(self.servers))
    }

    /// The trace of an agent's present life.
    pub fn agent_tail(&self, agent: usize) -> Tail {
        Tail::new(self.life_trace(agent, self.agents[agent].lives))
    }
}
