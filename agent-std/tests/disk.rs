//! What an agent keeps in its state directory, and what it does with it at the next start.

mod common;

use common::{Server, records, until, until_true};
use downbeat_agent::core::message::Veto;
use downbeat_agent::core::serving::Mode;
use downbeat_agent::{Agent, Freshness, ReadError, StartError, What};
use std::fs;
use std::path::Path;

fn files(path: &Path, extension: &str) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|of| of == extension)).collect()
}

/// An agent that has served something, and whose last good generation is on the disk.
async fn served(server: &Server, path: &Path) -> Agent {
    let agent = server.agent().state_dir(path).start().await.unwrap();
    until(&agent, "a switch", |status| status.counters.switches >= 1).await;
    until_true("a last good generation", || path.join("last-good").exists()).await;
    agent
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_good_generation_is_served_stale_while_the_server_is_down() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::start(records(&[("a", "k", "kept")])).await;
    let agent = served(&server, directory.path()).await;
    let id = agent.id();
    let second = server.agent().state_dir(directory.path()).start().await;
    assert!(matches!(second, Err(StartError::InUse(_))), "a directory has one agent");
    agent.stop().await;
    server.down().await;

    let strict = server.agent().mode(Mode::Strict).state_dir(directory.path()).start().await.unwrap();
    assert_eq!(strict.id(), id, "the id is kept");
    until(&strict, "a failed connection", |status| {
        status.last.iter().filter(|happening| matches!(happening.what, What::Disconnected(_))).count() > 3
    })
    .await;
    assert_eq!(strict.reader().read().err(), Some(ReadError::Fenced), "strict serves nothing unproven");
    strict.stop().await;

    let prompt = server.agent().state_dir(directory.path()).start().await.unwrap();
    let mut reader = prompt.reader();
    until_true("a read", || reader.read().is_ok()).await;
    let guard = reader.read().unwrap();
    assert_eq!((guard.freshness(), guard.get("a", "k")), (Freshness::Stale, Some(&b"kept"[..])));

    server.put("a", "k", "new");
    server.up().await;
    until_true("the new value", || {
        reader.read().is_ok_and(|guard| {
            guard.freshness() == Freshness::Current && guard.get("a", "k") == Some(&b"new"[..])
        })
    })
    .await;
    prompt.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_file_is_left_out_and_retrieved_again() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(records(&[("a", "k", "1")])).await;
    served(&server, directory.path()).await.kill().await;
    for damage in [
        |bytes: &mut Vec<u8>| bytes.truncate(50),
        |bytes: &mut Vec<u8>| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x10;
        },
    ] {
        let objects = files(directory.path(), "object");
        assert!(!objects.is_empty());
        for path in objects {
            let mut bytes = fs::read(&path).unwrap();
            damage(&mut bytes);
            fs::write(&path, bytes).unwrap();
        }
        let agent = server.agent().state_dir(directory.path()).start().await.unwrap();
        let warned = agent.status().last.into_iter().any(|happening| match happening.what {
            What::Warning(text) => text.contains("retrieved again"),
            _ => false,
        });
        assert!(warned, "{:#?}", agent.status());
        let mut reader = agent.reader();
        until_true("a current read", || {
            reader.read().is_ok_and(|guard| guard.freshness() == Freshness::Current)
        })
        .await;
        until_true("a good file again", || {
            let good = agent.status().counters.switches > 0;
            good && !files(directory.path(), "object").is_empty()
        })
        .await;
        agent.stop().await;
        assert_eq!(files(directory.path(), "part"), [""; 0].map(Into::<std::path::PathBuf>::into));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_can_t_keep_a_generation_is_a_veto_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    let away = directory.path().join("away");
    let server = Server::start(records(&[("a", "k", "1")])).await;
    let agent = served(&server, &state).await;
    let mut reader = agent.reader();
    fs::rename(&state, &away).unwrap();
    server.put("a", "k", "2");
    let status = until(&agent, "a veto", |status| status.counters.vetoes >= 1).await;
    let refused = |what: &What| matches!(what, What::Refused(_, Veto::Storage, _));
    assert!(status.last.iter().any(|happening| refused(&happening.what)), "{status:#?}");
    assert_eq!(reader.read().unwrap().get("a", "k"), Some(&b"1"[..]));
    assert!(!files(&away, "object").is_empty(), "what was kept stands");
    fs::rename(&away, &state).unwrap();
    server.put("a", "k", "3");
    until_true("the next generation", || {
        reader.read().is_ok_and(|guard| guard.get("a", "k") == Some(&b"3"[..]))
    })
    .await;
    agent.stop().await;
}
