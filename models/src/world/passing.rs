//! How time goes on: by ticks of one nanosecond, or by spans of any length where it isn't counted in ticks.

use super::World;
use crate::configuration::Configuration;
use downbeat_core::effect::PollAt;
use downbeat_core::serving::SwitchPlan;
use downbeat_core::time::{LocalTime, Rate};

/// What lies further ahead than a year, in nanoseconds, isn't waited for.
const FAR: i64 = 1 << 55;

impl World {
    /// Real time goes on by one tick, or by a span in which nothing is due.
    pub(crate) fn pass(&mut self, config: &Configuration, span: i64) {
        self.now += span;
        for host in &mut self.hosts {
            host.late = false;
        }
        if config.fine.is_some() {
            self.err_over(config, span);
        } else {
            self.err_in_rate();
        }
        for packet in &mut self.network {
            packet.ticked = true;
        }
        if self.server.up && self.server.astray == 0 && self.server.mark.until < self.server_now() {
            self.store_mark(config);
        }
    }

    /// The rate errors of a span of any length: what a clock gains or loses is a part of it, rounded
    /// towards none. A clock that is wrong stays so until it changes.
    fn err_over(&mut self, config: &Configuration, span: i64) {
        let part = |rate: Rate, error: i8| {
            let gained = span as i128 * rate.as_ppb() as i128 / 1_000_000_000;
            gained as i64 * error as i64
        };
        for host in &mut self.hosts {
            host.offset += part(config.rate, host.error);
        }
        let line = self.lines.last_mut().expect("there is always a line");
        line.offset += part(config.server_rate, self.server.error);
    }

    /// How long it is to the next timer of an agent, by its own clock: at least a nanosecond.
    pub(crate) fn until_timer(&self) -> Option<i64> {
        let timer = |index: usize| match self.hosts[index].agent.poll_at() {
            PollAt::At(instant) => self.until(index, instant),
            PollAt::Input => None,
        };
        (0..self.hosts.len()).filter_map(timer).min()
    }

    /// How long it is to the next instant at which the readers of an agent may get something else.
    pub(crate) fn until_switch(&self) -> Option<i64> {
        let switch = |index: usize| {
            let host = &self.hosts[index];
            let instants = |plan: &SwitchPlan| [plan.active_until, plan.staged_from, plan.staged_until];
            let pages = [Some(host.page), host.overlap].into_iter().flatten();
            let ahead = pages.flat_map(|page| instants(&page)).filter(|at| !at.passed(self.local_now(index)));
            ahead.filter_map(|instant| self.until(index, instant)).min()
        };
        (0..self.hosts.len()).filter_map(switch).min()
    }

    fn until(&self, index: usize, instant: LocalTime) -> Option<i64> {
        let span = (instant - self.local_now(index)).as_nanos();
        (span < FAR).then_some(span.max(1))
    }
}
