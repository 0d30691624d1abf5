//! Files of an agent that are damaged or cut off between two of its processes.

use downbeat_tests::farm::{FOUR, Farm};
use downbeat_tests::processes::{PATIENCE, eventually};
use std::path::PathBuf;
use std::time::{Duration, Instant};

fn images(farm: &Farm, agent: usize) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(farm.state_folder(agent)).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "image")).collect()
}

/// Kills an agent, changes each of its images, and starts it again.
fn damage(farm: &mut Farm, agent: usize, change: impl Fn(&mut Vec<u8>)) {
    farm.kill_agent(agent);
    for path in images(farm, agent) {
        let mut bytes = std::fs::read(&path).unwrap();
        change(&mut bytes);
        std::fs::write(&path, bytes).unwrap();
    }
    farm.start_agent(agent);
}

#[test]
fn agents_whose_files_are_damaged_retrieve_them_again() {
    let mut farm = Farm::start("damaged files", 0, &FOUR[..3]);
    farm.wait_epochs(2);
    eventually("images on disk", || (0..3).all(|agent| !images(&farm, agent).is_empty()).then_some(()));
    damage(&mut farm, 0, |bytes| bytes.truncate(bytes.len() / 2));
    eventually("a warning", || farm.logged(0).contains("left out").then_some(()));
    for agent in 1..3 {
        // What is superseded before anybody looks at it is none of its concern; so more than once.
        let began = Instant::now();
        while !farm.logged(agent).contains("content is damaged") {
            assert!(began.elapsed() < PATIENCE, "agent {agent} didn't find the damage");
            // Among the records, at which a start doesn't look.
            damage(&mut farm, agent, |bytes| bytes[40] ^= 1);
            std::thread::sleep(Duration::from_millis(700));
        }
    }
    let history = farm.finish();
    // Those that began another life in their process are seen as such.
    assert!(history.lives.len() >= 3 + 3 + 2, "only {} lives", history.lives.len());
}
