//! Agents that are told routes from what they hold: what they ask for, and what becomes of it.

mod common;

use common::{Faults, Server, records, until, until_true};
use downbeat_agent::Reader;
use downbeat_agent::core::effect::Event;
use downbeat_agent::{Guard, What};
use std::fs;

fn value(guard: &Guard) -> Option<Vec<u8>> {
    guard.get("a", "k").unwrap().map(<[u8]>::to_vec)
}

async fn reads(reader: &mut Reader, expected: &str) {
    until_true(expected, || {
        reader.read().is_ok_and(|guard| value(&guard) == Some(expected.as_bytes().to_vec()))
    })
    .await;
}

/// So many records that a change is small beside them.
fn many() -> common::Records {
    let mut many = records(&[("a", "k", "zero")]);
    let filler = (0..3_000u32).map(|number| (format!("l{number:05}").into_bytes(), vec![b'x'; 60]));
    many.get_mut("a").unwrap().extend(filler);
    many
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_arrive_as_deltas_and_are_compacted_in_the_background() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(many()).await;
    let agent = server.agent().state_dir(directory.path()).start().await.unwrap();
    let mut reader = agent.reader();
    until(&agent, "a first read", |_| reader.clone().read().is_ok()).await;
    server.put("a", "k", "one");
    reads(&mut reader, "one").await;
    let guard = reader.read().unwrap();
    assert_eq!(guard.image().layers().count(), 2, "a base, and what changed");
    let asked = server.routes();
    assert!(asked.iter().all(|(_, snapshots_only)| !snapshots_only), "{asked:?}");
    assert!(asked.iter().any(|(have, _)| have.is_some()), "{asked:?}");
    // Half of it changes: then the layers become one, without a switch.
    server.edit(|records| {
        for value in records.get_mut("a").unwrap().values_mut().take(1_500) {
            *value = vec![b'y'; 60];
        }
        records.get_mut("a").unwrap().insert(b"k".to_vec(), b"two".to_vec());
    });
    reads(&mut reader, "two").await;
    until(&agent, "a compaction", |status| status.counters.compactions >= 1).await;
    until_true("readers of one layer", || {
        reader.read().is_ok_and(|guard| guard.image().layers().count() == 1)
    })
    .await;
    let guard = reader.read().unwrap();
    assert_eq!((value(&guard), guard.image().len()), (Some(b"two".to_vec()), 3_001));
    assert!(guard.image().prove().unwrap());
    agent.stop().await;
    // What was superseded is gone, but for the generations that are kept for pinned reads.
    let images = fs::read_dir(directory.path()).unwrap().filter(|entry| {
        entry.as_ref().unwrap().path().extension().is_some_and(|extension| extension == "image")
    });
    assert!((1..=4).contains(&images.count()));
    let agent = server.agent().state_dir(directory.path()).start().await.unwrap();
    let status = agent.status();
    let warned = status.last.iter().any(|happening| matches!(happening.what, What::Warning(_)));
    assert!(!warned, "it starts from the compacted image: {status:#?}");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delta_that_leads_elsewhere_is_repaired_by_a_snapshot() {
    let server = Server::start(many()).await;
    let agent = server.agent().start().await.unwrap();
    let mut reader = agent.reader();
    reads(&mut reader, "zero").await;
    server.faults(Faults { wrong_deltas: true, ..Faults::default() });
    server.put("a", "k", "one");
    reads(&mut reader, "one").await;
    let status = agent.status();
    assert!(status.counters.mismatches >= 1);
    let mismatch = |what: &What| matches!(what, What::Protocol(Event::Mismatch(_)));
    assert!(status.last.iter().any(|happening| mismatch(&happening.what)), "{status:#?}");
    let why = |what: &What| matches!(what, What::Warning(text) if text.contains("retrieve a snapshot"));
    assert!(status.last.iter().any(|happening| why(&happening.what)), "{status:#?}");
    let asked: Vec<bool> = server.routes().iter().map(|(have, _)| have.is_some()).collect();
    assert!(asked.windows(2).any(|two| two == [true, false]), "no snapshot was asked for: {asked:?}");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_has_only_plain_snapshots_will_do() {
    let server = Server::start(many()).await;
    server.faults(Faults { plain: true, ..Faults::default() });
    let agent = server.agent().start().await.unwrap();
    let mut reader = agent.reader();
    reads(&mut reader, "zero").await;
    server.put("a", "k", "one");
    reads(&mut reader, "one").await;
    assert_eq!(reader.read().unwrap().image().layers().count(), 1);
    assert_eq!(agent.status().counters.mismatches, 0);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_agent_asks_for_what_is_new_since_it_was_stopped() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(many()).await;
    let agent = server.agent().state_dir(directory.path()).start().await.unwrap();
    let mut reader = agent.reader();
    reads(&mut reader, "zero").await;
    until_true("a last good generation", || directory.path().join("last-good").exists()).await;
    agent.kill().await;
    server.put("a", "k", "one");
    let before = server.routes().len();
    let agent = server.agent().state_dir(directory.path()).start().await.unwrap();
    let mut reader = agent.reader();
    reads(&mut reader, "one").await;
    let asked = server.routes();
    assert!(asked[before..].iter().all(|(have, _)| have.is_some()), "{asked:?}");
    assert!(reader.read().unwrap().image().layers().count() > 1);
    agent.stop().await;
}
