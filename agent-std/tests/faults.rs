//! Agents against connections that break, frames that are noise, content that is wrong, and clocks
//! that jump.

mod common;

use common::{Faults, Server, epoch, records, until, until_true};
use downbeat_agent::clock::Distortion;
use downbeat_agent::core::effect::Event;
use downbeat_agent::core::message::{ErrorCode, Veto};
use downbeat_agent::core::serving::{Mode, Serving};
use downbeat_agent::core::time::Span;
use downbeat_agent::{Clock, Freshness, ReadError, StartError, Status, What};

fn happened(status: &Status, is: impl Fn(&What) -> bool) -> bool {
    status.last.iter().any(|happening| is(&happening.what))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_reconnects_after_a_cut() {
    let server = Server::start(records(&[("a", "k", "1")])).await;
    let agent = server.agent().mode(Mode::Strict).start().await.unwrap();
    for cut in 1..=3 {
        let status = until(&agent, "another switch", |status| {
            status.counters.switches >= cut && status.counters.connections >= cut && status.connected
        })
        .await;
        server.cut();
        until(&agent, "a new connection", |now| now.counters.connections > status.counters.connections).await;
        server.put("a", "k", &cut.to_string());
    }
    until(&agent, "another switch", |status| status.counters.switches > 3).await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn noise_and_repeated_replies_are_counted_and_do_no_harm() {
    let server = Server::start(records(&[("a", "k", "1")])).await;
    server.faults(Faults { noise: true, twice: true, ..Faults::default() });
    let agent = server.agent().start().await.unwrap();
    server.put("a", "k", "2");
    let status = until(&agent, "two switches", |status| status.counters.switches >= 2).await;
    assert!(status.counters.bad_frames.garbled > 0, "{status:#?}");
    assert!(status.counters.unmatched > 0, "{status:#?}");
    assert_eq!(status.counters.clock_breaks, 0, "{status:#?}");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_content_is_retrieved_again() {
    let server = Server::start(records(&[("a", "k", "1")])).await;
    server.faults(Faults { damage: true, ..Faults::default() });
    let agent = server.agent().start().await.unwrap();
    let mut reader = agent.reader();
    until(&agent, "a mismatch", |status| status.counters.mismatches >= 2).await;
    assert_eq!(reader.read().err(), Some(ReadError::Fenced), "nothing damaged is visible");
    server.faults(Faults::default());
    until_true("a read", || reader.read().is_ok()).await;
    assert_eq!(reader.read().unwrap().get("a", "k").unwrap(), Some(&b"1"[..]));
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_host_refuses_is_not_staged_and_reported() {
    let server = Server::start(records(&[("a", "k", "good")])).await;
    let agent = server
        .agent()
        .validate(|offer| match offer.image().get("a", b"k").unwrap() {
            Some(b"bad") => Err("a bad value".to_string()),
            Some(b"panic") => panic!("a validation with a bug"),
            _ => Ok(()),
        })
        .start()
        .await
        .unwrap();
    let mut reader = agent.reader();
    until_true("a first read", || reader.read().is_ok()).await;
    for refused in ["bad", "panic"] {
        let before = agent.status().counters.vetoes;
        server.put("a", "k", refused);
        let status = until(&agent, "a veto", |status| status.counters.vetoes > before).await;
        assert!(happened(&status, |what| matches!(what, What::Refused(_, Veto::Invalid, _))), "{status:#?}");
        until_true("the report of it", || {
            server.report(agent.id()).is_some_and(|report| report.veto == Some(Veto::Invalid))
        })
        .await;
        until_true("stale reads", || reader.read().is_ok_and(|guard| guard.freshness() == Freshness::Stale))
            .await;
        assert_eq!(reader.read().unwrap().get("a", "k").unwrap(), Some(&b"good"[..]));
    }
    server.put("a", "k", "better");
    until_true("the better value", || {
        reader.read().is_ok_and(|guard| guard.get("a", "k").unwrap() == Some(&b"better"[..]))
    })
    .await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_generation_over_the_limit_is_refused() {
    let server = Server::start(records(&[("a", "k", "small")])).await;
    let agent = server.agent().content_limit(2_000).start().await.unwrap();
    let mut reader = agent.reader();
    until_true("a first read", || reader.read().is_ok()).await;
    server.put("a", "k", &"large".repeat(1_000));
    let status = until(&agent, "a veto", |status| status.counters.vetoes >= 1).await;
    assert!(happened(&status, |what| matches!(what, What::Refused(_, Veto::TooLarge, _))), "{status:#?}");
    server.put("a", "k", "smaller");
    until_true("the smaller value", || {
        reader.read().is_ok_and(|guard| guard.get("a", "k").unwrap() == Some(&b"smaller"[..]))
    })
    .await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deltas_do_not_lead_past_the_limit() {
    let server = Server::start(records(&[("a", "0", &"v".repeat(400))])).await;
    let agent = server.agent().content_limit(2_000).start().await.unwrap();
    let mut reader = agent.reader();
    let len = |reader: &mut downbeat_agent::Reader| {
        reader
            .read()
            .ok()
            .filter(|guard| guard.freshness() == Freshness::Current)
            .map(|guard| guard.image().len())
    };
    // Four of 401 bytes are within it, and so is a delta that brings a fifth.
    for count in 1..=4 {
        until_true("another one", || len(&mut reader) == Some(count)).await;
        server.put("a", &count.to_string(), &"v".repeat(400));
    }
    let status = until(&agent, "a veto", |status| status.counters.vetoes >= 1).await;
    let told =
        |what: &What| matches!(what, What::Refused(_, Veto::TooLarge, why) if why.contains("2005 bytes"));
    assert!(happened(&status, told), "{status:#?}");
    until_true("the report of it", || {
        server.report(agent.id()).is_some_and(|report| report.veto == Some(Veto::TooLarge))
    })
    .await;
    until_true("stale reads", || reader.read().is_ok_and(|guard| guard.freshness() == Freshness::Stale))
        .await;
    assert_eq!(reader.read().unwrap().image().len(), 4);
    server.put("a", "4", "short");
    until_true("one that is within it", || len(&mut reader) == Some(5)).await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strict_agent_is_fenced_without_its_server_and_recovers() {
    let mut server = Server::start(records(&[("a", "k", "1")])).await;
    let strict = server.agent().mode(Mode::Strict).start().await.unwrap();
    let prompt = server.agent().start().await.unwrap();
    let (mut of_strict, mut of_prompt) = (strict.reader(), prompt.reader());
    until_true("reads", || of_strict.read().is_ok() && of_prompt.read().is_ok()).await;
    server.down().await;
    until_true("the end of the promise", || of_strict.read_now().serving == Serving::Fenced).await;
    assert_eq!(of_strict.read().err(), Some(ReadError::Fenced));
    until_true("stale reads", || of_prompt.read().is_ok_and(|guard| guard.freshness() == Freshness::Stale))
        .await;
    let status = until(&strict, "no connection", |status| !status.connected).await;
    assert!(happened(&status, |what| matches!(what, What::Disconnected(_))), "{status:#?}");
    server.put("a", "k", "2");
    server.up().await;
    until_true("the new value on both", || {
        [&mut of_strict, &mut of_prompt].into_iter().all(|reader| {
            reader.read().is_ok_and(|guard| {
                guard.freshness() == Freshness::Current && guard.get("a", "k").unwrap() == Some(&b"2"[..])
            })
        })
    })
    .await;
    strict.stop().await;
    prompt.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_is_found_and_samples_begin_anew() {
    let server = Server::start(records(&[("a", "k", "1")])).await;
    let clock = Clock::distorted(Distortion::default());
    let agent = server.agent().mode(Mode::Strict).clock(clock.clone()).start().await.unwrap();
    until(&agent, "a switch", |status| status.counters.switches >= 1).await;
    for step in [Span::from_secs(3_600), Span::from_secs(-7_200)] {
        let before = agent.status();
        assert!(clock.step(step));
        let broken =
            until(&agent, "the jump", |now| now.counters.clock_breaks > before.counters.clock_breaks).await;
        assert!(happened(&broken, |what| *what == What::ClockJumped), "{broken:#?}");
        until(&agent, "another epoch", |status| epoch(status) > epoch(&before)).await;
    }
    assert!(agent.reader().read().is_ok());
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_t_be_started_says_why() {
    let server = Server::start(records(&[])).await;
    assert!(matches!(server.agent().farm("No Name").start().await, Err(StartError::Name(_))));
    let long = server.agent().token("x".repeat(65)).start().await;
    assert!(matches!(long, Err(StartError::TooLong { setting: "token", most: 64 })));
    let nowhere = downbeat_agent::Agent::builder().farm("f").start().await;
    assert!(matches!(nowhere, Err(StartError::Missing("server"))));

    let stranger = server.agent().farm("other").start().await.unwrap();
    let status = until(&stranger, "a refusal", |status| status.counters.refused >= 2).await;
    let refused = |what: &What| *what == What::Protocol(Event::Refused(ErrorCode::NoFarm));
    assert!(happened(&status, refused), "{status:#?}");
    stranger.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_no_longer_answers_is_dialed_again() {
    let deaf = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = deaf.local_addr().unwrap().to_string();
    let agent = downbeat_agent::Agent::builder()
        .server(address)
        .farm("f")
        .silence_limit(std::time::Duration::from_millis(100))
        .start()
        .await
        .unwrap();
    let status = until(&agent, "another connection", |status| status.counters.connections >= 2).await;
    let silent = |what: &What| matches!(what, What::Disconnected(why) if why.contains("no longer answers"));
    assert!(happened(&status, silent), "{status:#?}");
    agent.stop().await;
}
