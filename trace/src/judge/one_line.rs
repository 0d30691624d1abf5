//! A timeline is one line (PROTOCOL §8): all looks at it fit one clock that is no faster or slower than
//! its rate allows, restarts of the server within a boot included.

use super::Verdict;
use super::history::History;
use super::server_time::on_host;

pub(super) fn check(history: &History) -> Verdict {
    let mut verdict = Verdict::default();
    for look in &history.tables {
        // Where this look's time lies by all looks at the line.
        let Some((earliest, latest)) = on_host(&history.tables, &look.timeline, look.now) else { continue };
        verdict.judge(earliest <= latest, || {
            let by = earliest - latest;
            format!("the timeline {} jumps by {by} ns around {}", look.timeline, look.now)
        });
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::super::sample::*;
    use super::*;

    #[test]
    fn a_timeline_that_jumps_is_found() {
        for jump in [-MILLI, MILLI] {
            let jumped = spoiled(|history| history.tables[3].now += jump);
            assert!(check(&jumped).faults[0].contains("jumps by"));
        }
        // A microsecond is within what a look can tell.
        assert_eq!(check(&spoiled(|history| history.tables[3].now += 1_000)).faults, [""; 0]);
    }
}
