//! Agents against a server, through several cycles: what their readers see.

mod common;

use common::{Server, epoch, records, until, until_true};
use downbeat_agent::clock::Distortion;
use downbeat_agent::core::serving::Mode;
use downbeat_agent::core::time::{LocalTime, Span};
use downbeat_agent::{Clock, Freshness, ReadError, Reader};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// First and last instant, by the host's clock, at which an epoch was served as current.
type Seen = BTreeMap<u64, (LocalTime, LocalTime)>;

/// Polls a reader on a thread of its own, checks that epochs never go back (S9) and that an epoch
/// has the content it must have (S5, S6), and says when which was served.
fn poll(mut reader: Reader, stop: Arc<AtomicBool>) -> JoinHandle<Seen> {
    std::thread::spawn(move || {
        let mut seen = Seen::new();
        let mut last = 0;
        while !stop.load(Ordering::Relaxed) {
            let look = reader.read_now();
            if let Some(generation) = look.serving.generation() {
                assert!(generation.epoch >= last, "S9: {} after {last}", generation.epoch);
                last = generation.epoch;
            }
            if let Some(generation) = look.serving.current() {
                seen.entry(generation.epoch).or_insert((look.host, look.host)).1 = look.host;
            }
            if let Ok(guard) = reader.read() {
                let count = guard.get("a", "count").unwrap().map(<[u8]>::to_vec);
                assert_eq!(
                    count,
                    guard.get("b", "count").unwrap().map(<[u8]>::to_vec),
                    "S5: two epochs at once"
                );
            }
            // What is lent is what a read after it gets, or what was served before that.
            let lent = reader
                .peek()
                .map(|guard| (guard.epoch(), guard.get("a", "count").unwrap().map(<[u8]>::to_vec)));
            if let (Ok((epoch, count)), Ok(guard)) = (lent, reader.read()) {
                assert!(
                    epoch >= last && epoch <= guard.epoch(),
                    "S9: {epoch} lent between {last} and {}",
                    guard.epoch()
                );
                let same = count.as_deref() == guard.get("a", "count").unwrap();
                assert!(same || epoch < guard.epoch(), "S5: another epoch's content was lent");
                last = guard.epoch();
            }
            // Two cores for everything: a tight loop would take the agents' own time.
            std::thread::sleep(Duration::from_micros(300));
        }
        seen
    })
}

fn distorted(seconds: i64, ppm: i64) -> Clock {
    Clock::distorted(Distortion { offset: Span::from_secs(seconds), rate_ppb: ppm * 1_000 })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strict_agents_with_wrong_clocks_never_differ_at_an_instant() {
    let server = Server::start(records(&[("a", "count", "0"), ("b", "count", "0")])).await;
    let mut agents = Vec::new();
    for clock in [Clock::host(), distorted(-7_200, 150), distorted(411, -150)] {
        agents.push(server.agent().mode(Mode::Strict).clock(clock).start().await.unwrap());
    }
    let stop = Arc::new(AtomicBool::new(false));
    let polls: Vec<_> = agents.iter().map(|agent| poll(agent.reader(), stop.clone())).collect();
    for count in 1..=3 {
        let before = server.epoch();
        server.edit(|records| {
            for dataset in ["a", "b"] {
                let value = count.to_string().into_bytes();
                records.entry(dataset.to_string()).or_default().insert(b"count".to_vec(), value);
            }
        });
        for agent in &agents {
            until(agent, "another cycle", |status| epoch(status) > before).await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    let seen: Vec<Seen> = polls.into_iter().map(|poll| poll.join().unwrap()).collect();
    let mut compared = 0;
    for one in &seen {
        for other in &seen {
            for (epoch, (_, last)) in one {
                for (later, (first, _)) in other.range(epoch + 1..) {
                    assert!(last < first, "S7: {epoch} at {last:?}, {later} at {first:?} already");
                    compared += 1;
                }
            }
        }
    }
    assert!(compared >= 9, "too little was served to compare: {seen:?}");
    for agent in agents {
        let mut reader = agent.reader();
        let guard = reader.read().unwrap();
        let count = server.content(guard.digest()).unwrap()["a"][&b"count"[..]].clone();
        assert_eq!(guard.get("a", "count").unwrap(), Some(count.as_slice()), "S6");
        assert_eq!(
            guard.iter("b").collect::<Result<Vec<_>, _>>().unwrap(),
            [(&b"count"[..], count.as_slice())]
        );
        agent.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_agent_serves_what_is_live() {
    let server = Server::start(records(&[("a", "k", "1")])).await;
    for mode in [Mode::Prompt, Mode::Strict] {
        let agent = server.agent().mode(mode).start().await.unwrap();
        let counters = until(&agent, "a cycle", |status| status.counters.switches >= 1).await.counters;
        // A route and bytes; and a table and the time samples beside them.
        assert!((2..counters.requests).contains(&counters.content_requests), "{counters:?}");
        let before = agent.reader().read().unwrap().epoch();
        agent.kill().await;
        server.put("a", "k", &format!("after {mode:?}"));

        let agent = server.agent().mode(mode).start().await.unwrap();
        let mut reader = agent.reader();
        assert_eq!(reader.read().err(), Some(ReadError::Fenced), "nothing is served before a proof");
        let digest = until(&agent, "what was put", |status| epoch(status) > before).await.plan.active;
        until_true("a current read", || {
            reader.read().is_ok_and(|guard| guard.freshness() == Freshness::Current)
        })
        .await;
        assert!(digest.is_some());
        until_true("the new value", || {
            let value = format!("after {mode:?}");
            reader.read().is_ok_and(|guard| guard.get("a", "k").unwrap() == Some(value.as_bytes()))
        })
        .await;
        agent.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pinned_read_stays_on_its_generation() {
    let server = Server::start(records(&[("a", "k", "old")])).await;
    let agent = server.agent().start().await.unwrap();
    let mut reader = agent.reader();
    until_true("a first read", || reader.read().is_ok()).await;
    let guard = reader.read().unwrap();
    server.put("a", "k", "new");
    until_true("the new value", || {
        reader.read().is_ok_and(|guard| guard.get("a", "k").unwrap() == Some(&b"new"[..]))
    })
    .await;
    assert_eq!(guard.get("a", "k").unwrap(), Some(&b"old"[..]), "a guard never changes");
    let pinned = reader.pinned(reader.clone().read().unwrap().generation()).unwrap();
    assert_eq!((pinned.freshness(), pinned.get("a", "k").unwrap()), (Freshness::Pinned, Some(&b"new"[..])));
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_subscribes_sees_only_its_datasets() {
    let server = Server::start(records(&[("a", "k", "1"), ("b", "k", "2"), ("c", "k", "3")])).await;
    let agent = server.agent().dataset("b").start().await.unwrap();
    let mut reader = agent.reader();
    until_true("a first read", || reader.read().is_ok()).await;
    let guard = reader.read_async().await.unwrap();
    assert_eq!(guard.get("b", "k").unwrap(), Some(&b"2"[..]));
    assert_eq!(guard.image().datasets().count(), 1);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_generation_is_fetched_in_many_frames() {
    let server = Server::start(records(&[])).await;
    server.edit(|records| {
        let dataset = records.entry("big".to_string()).or_default();
        for number in 0..3_000u32 {
            dataset.insert(format!("key-{number:05}").into_bytes(), vec![number as u8; 60]);
        }
        dataset.insert(b"wide".to_vec(), vec![7; 65_536]);
    });
    let agent = server.agent().start().await.unwrap();
    let mut reader = agent.reader();
    until_true("the large generation", || reader.read().is_ok_and(|guard| guard.image().len() == 3_001))
        .await;
    let guard = reader.read().unwrap();
    assert_eq!(guard.get("big", "key-02999").unwrap(), Some(&[(2_999u32 & 255) as u8; 60][..]));
    assert_eq!(guard.prefix("big", b"key-001").count(), 100);
    assert_eq!(guard.get("big", "wide").unwrap().map(<[u8]>::len), Some(65_536));
    agent.stop().await;
}
