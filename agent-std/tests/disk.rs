//! What an agent keeps in its state directory, and what it does with it at the next start.

mod common;

use common::{Server, records, until, until_true};
use downbeat_agent::core::message::Veto;
use downbeat_agent::core::serving::Mode;
use downbeat_agent::{Agent, Freshness, Guard, ReadError, StartError, What};
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
    assert_eq!((guard.freshness(), guard.get("a", "k").unwrap()), (Freshness::Stale, Some(&b"kept"[..])));

    server.put("a", "k", "new");
    server.up().await;
    until_true("the new value", || {
        reader.read().is_ok_and(|guard| {
            guard.freshness() == Freshness::Current && guard.get("a", "k").unwrap() == Some(&b"new"[..])
        })
    })
    .await;
    prompt.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_was_cut_off_is_left_out_at_the_start_and_retrieved_again() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(records(&[("a", "k", "1")])).await;
    served(&server, directory.path()).await.kill().await;
    let images = files(directory.path(), "image");
    assert!(!images.is_empty());
    for path in images {
        let len = fs::metadata(&path).unwrap().len();
        fs::File::options().write(true).open(&path).unwrap().set_len(len / 2).unwrap();
    }
    let agent = server.agent().state_dir(directory.path()).start().await.unwrap();
    let warned = agent.status().last.into_iter().any(|happening| match happening.what {
        What::Warning(text) => text.contains("left out") && text.contains("cut off"),
        _ => false,
    });
    assert!(warned, "{:#?}", agent.status());
    assert_eq!(agent.status().counters.damaged, 0);
    retrieved_again(&agent, directory.path()).await;
    agent.stop().await;
}

/// Waits until an agent serves what is current, and the disk has it.
async fn retrieved_again(agent: &Agent, path: &Path) {
    let mut reader = agent.reader();
    until_true("a current read", || {
        let current = |guard: &Guard| guard.freshness() == Freshness::Current;
        reader.read().is_ok_and(|guard| current(&guard) && guard.get("a", "k").unwrap() == Some(&b"1"[..]))
    })
    .await;
    until_true("a good file again", || {
        let good = agent.status().counters.switches > 0;
        good && !files(path, "image").is_empty() && path.join("last-good").exists()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_file_ends_a_life_and_is_retrieved_again() {
    let directory = tempfile::tempdir().unwrap();
    // Many blocks, so that the damage is not where the reader looks.
    let mut many = records(&[("a", "k", "1")]);
    let filler = (0..2_000u32).map(|number| (format!("l{number:05}").into_bytes(), vec![b'x'; 40]));
    many.get_mut("a").unwrap().extend(filler);
    let mut server = Server::start(many).await;
    served(&server, directory.path()).await.kill().await;
    server.down().await;
    for path in files(directory.path(), "image") {
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x10;
        fs::write(&path, bytes).unwrap();
    }
    // The tables are whole, so the start takes it; what is wrong with it is found by whoever comes
    // first: the worker, which looks through it, or a reader.
    let agent = server.agent().state_dir(directory.path()).start().await.unwrap();
    let life = agent.incarnation();
    let mut reader = agent.reader();
    let status = until(&agent, "the damage to be found", |status| {
        if let Ok(guard) = reader.clone().read() {
            let _ = guard.iter("a").all(|record| record.is_ok());
        }
        status.counters.damaged == 1
    })
    .await;
    assert!(status.last.iter().any(|happening| matches!(happening.what, What::Damaged(_))), "{status:#?}");
    assert_ne!(agent.incarnation(), life, "another life");
    assert_eq!(reader.read().err(), Some(ReadError::Fenced), "nothing is held");
    until_true("nothing on the disk", || {
        files(directory.path(), "image").is_empty() && !directory.path().join("last-good").exists()
    })
    .await;
    server.up().await;
    retrieved_again(&agent, directory.path()).await;
    assert_eq!(reader.read().unwrap().iter("a").filter(Result::is_ok).count(), 2_001);
    assert_eq!(agent.status().counters.damaged, 1);
    agent.stop().await;
    assert_eq!(files(directory.path(), "image-part"), [""; 0].map(Into::<std::path::PathBuf>::into));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_file_under_a_server_that_runs_is_retrieved_again() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(records(&[("a", "k", "1")])).await;
    served(&server, directory.path()).await.kill().await;
    for path in files(directory.path(), "image") {
        let mut bytes = fs::read(&path).unwrap();
        bytes[20] ^= 0x10;
        fs::write(&path, bytes).unwrap();
    }
    let agent = server.agent().state_dir(directory.path()).start().await.unwrap();
    let status = until(&agent, "the damage to be found", |status| status.counters.damaged == 1).await;
    assert!(status.plan.active.is_none() || status.incarnation == agent.incarnation());
    retrieved_again(&agent, directory.path()).await;
    agent.stop().await;
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
    assert_eq!(reader.read().unwrap().get("a", "k").unwrap(), Some(&b"1"[..]));
    assert!(!files(&away, "image").is_empty(), "what was kept stands");
    fs::rename(&away, &state).unwrap();
    server.put("a", "k", "3");
    until_true("the next generation", || {
        reader.read().is_ok_and(|guard| guard.get("a", "k").unwrap() == Some(&b"3"[..]))
    })
    .await;
    agent.stop().await;
}
