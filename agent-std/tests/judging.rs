//! A host that takes long over a generation, or never returns: nothing waits for it but its verdict.

mod common;

use common::{LONG, Server, records, until, until_true};
use downbeat_agent::clock::Distortion;
use downbeat_agent::core::ids::Generation;
use downbeat_agent::core::message::Veto;
use downbeat_agent::core::time::Span;
use downbeat_agent::{Agent, Clock, Freshness, Image, Reader, Status, View, What};
use std::error::Error;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

/// How often a generation was refused in such words.
fn refused(status: &Status, words: &str) -> bool {
    let is = |what: &What| matches!(what, What::Refused(_, Veto::Invalid, why) if why.contains(words));
    status.last.iter().any(|happening| is(&happening.what))
}

fn reads(reader: &mut Reader, freshness: Freshness, value: &str) -> bool {
    reader.read().is_ok_and(|guard| {
        guard.freshness() == freshness && guard.get("a", "k").unwrap() == Some(value.as_bytes())
    })
}

/// A reader that has read the first value.
async fn first_read(agent: &Agent) -> Reader {
    let mut reader = agent.reader();
    until_true("a first read", || reads(&mut reader, Freshness::Current, "good")).await;
    reader
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_verdict_in_time_a_generation_is_refused() {
    let server = Server::start(records(&[("a", "k", "good")])).await;
    let agent = server
        .agent()
        .verdict_limit(Duration::from_millis(150))
        .validate(|offer| {
            while offer.image().get("a", b"k").unwrap() == Some(b"slow") && !offer.is_withdrawn() {
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(())
        })
        .start()
        .await
        .unwrap();
    let mut reader = first_read(&agent).await;
    server.put("a", "k", "slow");
    until(&agent, "a refusal", |status| refused(status, "no verdict within 150ms;")).await;
    until_true("the report of it", || {
        server.report(agent.id()).is_some_and(|report| report.veto == Some(Veto::Invalid))
    })
    .await;
    until_true("stale reads", || reads(&mut reader, Freshness::Stale, "good")).await;
    server.put("a", "k", "quick");
    until_true("the next one", || reads(&mut reader, Freshness::Current, "quick")).await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_validation_that_never_returns_costs_its_verdicts_and_not_the_agents_end() {
    let server = Server::start(records(&[("a", "k", "good")])).await;
    // Once for each value that begins so; asked about it again, it only refuses it.
    let (release, released) = mpsc::channel::<()>();
    let (hung, hangs) = mpsc::channel();
    let mut last = Vec::new();
    let look = Mutex::new(move |value: &[u8]| {
        if !value.starts_with(b"hang") {
            return Ok(());
        }
        if value != last {
            last = value.to_vec();
            hung.send(()).unwrap();
            let _ = released.recv();
        }
        Err("it hung".to_string())
    });
    let agent = server
        .agent()
        .verdict_limit(Duration::from_millis(150))
        .validate(move |offer| look.lock().unwrap()(offer.image().get("a", b"k").unwrap().unwrap()))
        .start()
        .await
        .unwrap();
    let mut reader = first_read(&agent).await;
    server.put("a", "k", "hang 1");
    until(&agent, "a refusal", |status| refused(status, "no verdict within 150ms;")).await;
    server.put("a", "k", "better");
    // It can't be asked about the next one either, which says why.
    until(&agent, "the next refusal", |status| refused(status, "has not returned yet from epoch")).await;
    until_true("stale reads", || reads(&mut reader, Freshness::Stale, "good")).await;
    release.send(()).unwrap();
    until_true("a verdict again", || reads(&mut reader, Freshness::Current, "better")).await;
    server.put("a", "k", "hang 2");
    hangs.recv().unwrap();
    until_true("the host's look at it", || hangs.try_recv().is_ok()).await;
    // It hangs still; the agent ends all the same.
    tokio::time::timeout(LONG, agent.stop()).await.expect("the agent's end");
    release.send(()).unwrap();
}

/// Set while views hang.
static VIEWS_HANG: AtomicBool = AtomicBool::new(false);

struct Hanging;

impl View for Hanging {
    fn build(_: Generation, _: &Image) -> Result<Hanging, Box<dyn Error + Send + Sync>> {
        while VIEWS_HANG.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(Hanging)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_that_takes_too_long_is_a_refusal_too() {
    let server = Server::start(records(&[("a", "k", "good")])).await;
    let limit = Duration::from_millis(150);
    let agent = server.agent().verdict_limit(limit).view::<Hanging>().start().await.unwrap();
    let mut reader = first_read(&agent).await;
    assert!(reader.read().unwrap().view::<Hanging>().is_some());
    VIEWS_HANG.store(true, Ordering::Relaxed);
    server.put("a", "k", "2");
    until(&agent, "a refusal", |status| refused(status, "no verdict within 150ms")).await;
    VIEWS_HANG.store(false, Ordering::Relaxed);
    server.put("a", "k", "3");
    until_true("the next one", || reads(&mut reader, Freshness::Current, "3")).await;
    agent.stop().await;
}

/// Set while the other views hang.
static STARTS_HANG: AtomicBool = AtomicBool::new(false);

struct HangingAtStart;

impl View for HangingAtStart {
    fn build(_: Generation, _: &Image) -> Result<HangingAtStart, Box<dyn Error + Send + Sync>> {
        while STARTS_HANG.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(HangingAtStart)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_that_hangs_at_the_start_holds_it_up_no_longer_than_the_limit() {
    let server = Server::start(records(&[("a", "k", "good")])).await;
    let directory = tempfile::tempdir().unwrap();
    let builder = || server.agent().state_dir(directory.path()).view::<HangingAtStart>();
    let agent = builder().start().await.unwrap();
    first_read(&agent).await;
    until_true("the disk to have it", || directory.path().join("last-good").exists()).await;
    agent.stop().await;
    STARTS_HANG.store(true, Ordering::Relaxed);
    let starting = builder().verdict_limit(Duration::from_millis(150)).start();
    let agent = tokio::time::timeout(LONG, starting).await.expect("the agent's start").unwrap();
    let told =
        |what: &What| matches!(what, What::Warning(text) if text.contains("no view of it within 150ms"));
    assert!(agent.status().last.iter().any(|happening| told(&happening.what)), "{:#?}", agent.status());
    STARTS_HANG.store(false, Ordering::Relaxed);
    let mut reader = first_read(&agent).await;
    assert!(reader.read().unwrap().view::<HangingAtStart>().is_some());
    agent.stop().await;
}

/// While the host looks at a generation the agent's clock jumps, so that it begins anew: with the same
/// generation, long before the limit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_generation_is_retrieved_anew_while_the_host_still_judges_it() {
    let server = Server::start(records(&[("a", "k", "good")])).await;
    let clock = Clock::distorted(Distortion::default());
    let (asked, withdrawn) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (asks, ends) = (asked.clone(), withdrawn.clone());
    let agent = server
        .agent()
        .clock(clock.clone())
        .verdict_limit(10 * LONG)
        .validate(move |offer| {
            // Slow for the first time only.
            let slow = offer.image().get("a", b"k").unwrap() == Some(b"slow");
            if slow && asks.fetch_add(1, Ordering::Relaxed) == 0 {
                while !offer.is_withdrawn() {
                    std::thread::sleep(Duration::from_millis(1));
                }
                ends.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        })
        .start()
        .await
        .unwrap();
    let mut reader = first_read(&agent).await;
    server.put("a", "k", "slow");
    until_true("the host's look at it", || asked.load(Ordering::Relaxed) == 1).await;
    assert!(clock.step(Span::from_secs(3_600)));
    until_true("the new value", || reads(&mut reader, Freshness::Current, "slow")).await;
    assert_eq!(withdrawn.load(Ordering::Relaxed), 1);
    let anew = |what: &What| matches!(what, What::Warning(text) if text.contains("retrieved anew"));
    assert!(agent.status().last.iter().any(|happening| anew(&happening.what)), "{:#?}", agent.status());
    agent.stop().await;
}
