//! What no system can do better that wakes its processes: each sleeps until an instant that all of them
//! were told before, with no server and no message at that instant.

use super::readings::sleep_until;
use super::watcher::Watcher;
use std::io;

/// Sleeps for each instant that it is told; the first is version 1.
pub(crate) fn watch(watcher: Watcher) -> io::Result<()> {
    watcher.ready();
    let mut version = 0;
    loop {
        // The channel is closed when the process ends.
        let Ok(instants) = watcher.instants.recv() else { return Ok(()) };
        for at in instants {
            sleep_until(at);
            let woken = watcher.clock.now();
            version += 1;
            watcher.saw(version, woken);
        }
    }
}
