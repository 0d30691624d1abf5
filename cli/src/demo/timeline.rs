//! The host's clock as the demo's server has it, made so that whoever knows the host's clock knows the
//! server's time exactly: what the agents can only enclose, the demo can check (S12).

use downbeat_agent::Clock;
use downbeat_core::ids::BootId;
use downbeat_core::time::{LocalTime, ServerTime};
use downbeat_server::HostClock;
use std::cell::Cell;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// The host's undistorted clock, and the farm's timeline over it: server time = host's clock + anchor.
#[derive(Debug)]
pub(crate) struct Timeline {
    host: Clock,
    anchor: i64,
}

thread_local! {
    /// The reading that the wall clock is told for. A line is begun and renewed from one look at each
    /// of the two clocks, one after the other on one thread; so they agree to the nanosecond, the line
    /// is never slewed, and the anchor stays what it is.
    static LAST: Cell<Option<LocalTime>> = const { Cell::new(None) };
}

impl Timeline {
    /// Begins at the wall clock's time.
    pub(crate) fn begin() -> Arc<Timeline> {
        let host = Clock::host();
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall = i64::try_from(since.as_nanos()).unwrap_or(i64::MAX);
        let anchor = wall.saturating_sub(host.now().as_nanos());
        Arc::new(Timeline { host, anchor })
    }

    /// The host's clock now.
    pub(crate) fn now(&self) -> LocalTime {
        self.host.now()
    }

    /// The server's time at an instant of the host's clock.
    pub(crate) fn server(&self, host: LocalTime) -> ServerTime {
        ServerTime::from_nanos(host.as_nanos().saturating_add(self.anchor))
    }

    /// How far a clock is ahead of the right one, where the server's is this far ahead of it.
    pub(crate) fn wrong_by(&self, offset: i64) -> i64 {
        self.anchor.saturating_sub(offset)
    }

    /// The instant of the host's clock at which the server's shows this.
    pub(crate) fn host(&self, server: ServerTime) -> LocalTime {
        LocalTime::from_nanos(server.as_nanos().saturating_sub(self.anchor))
    }
}

impl HostClock for Timeline {
    fn local(&self) -> LocalTime {
        let now = self.host.now();
        LAST.set(Some(now));
        now
    }
    fn wall(&self) -> ServerTime {
        self.server(LAST.get().unwrap_or_else(|| self.host.now()))
    }
    fn boot(&self) -> BootId {
        // One process, one database: there is no boot before to be told from.
        BootId(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use downbeat_core::time::Rate;
    use downbeat_core::timeline::Line;

    #[test]
    fn the_server_s_line_is_the_host_s_clock_and_the_anchor_exactly() {
        let timeline = Timeline::begin();
        let now = timeline.local();
        let line = Line::begin(timeline.boot(), now, timeline.wall());
        let later = timeline.local();
        let renewed = line.renewed(later, timeline.wall(), Rate::from_ppm(100));
        for ahead in [0, 1, 30_000_000_000] {
            let at = LocalTime::from_nanos(later.as_nanos() + ahead);
            assert_eq!(renewed.at(at), timeline.server(at));
            assert_eq!(timeline.host(timeline.server(at)), at);
        }
    }
}
