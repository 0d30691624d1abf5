//! The two smallest hosts of `examples/` with each other, over a loopback connection: the agent goes
//! through activations and its readers see the content change. Nothing is asked of how fast.

#[path = "../examples/smallest_agent.rs"]
mod smallest_agent;
#[path = "../examples/smallest_server.rs"]
mod smallest_server;

use downbeat_core::serving::{Mode, Serving};
use downbeat_core::settings::Settings;
use downbeat_core::time::Span;
use smallest_agent::{Records, run};
use smallest_server::{Store, serve};
use std::collections::BTreeSet;
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

fn price(price: usize) -> Records {
    Records::from([(b"apple".to_vec(), price.to_string().into_bytes())])
}

fn contents(seen: &[(u64, Records)]) -> usize {
    seen.iter().map(|(_, records)| records).collect::<BTreeSet<_>>().len()
}

fn go_through_three_activations(mode: Mode) {
    let settings = Settings {
        interval: Span::from_millis(400),
        lead: Span::from_millis(120),
        lease: Span::from_millis(40),
        round_trip: Span::from_millis(30),
        retrieve: Span::from_millis(30),
        stagger: Span::from_millis(10),
        early_limit: Span::from_millis(50),
        sample_window: Span::from_millis(30),
    };
    let store = Arc::new(Mutex::new(Store::new(price(0), settings).unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (served, _) = listener.accept().unwrap();
    let served_store = Arc::clone(&store);
    let server = std::thread::spawn(move || serve(&served_store, served));

    let mut seen = Vec::<(u64, Records)>::new();
    let reader = stream.try_clone().unwrap();
    run(stream.try_clone().unwrap(), &stream, mode, |serving, records| {
        if let Serving::Active(generation) | Serving::Staged(generation) = serving {
            let records = records.expect("what is served is held").clone();
            if seen.last().is_none_or(|(epoch, _)| *epoch != generation.epoch) {
                // A change at every activation: somebody edits production.
                store.lock().unwrap().production = price(seen.len() + 1);
                seen.push((generation.epoch, records));
            }
        }
        // On a busy machine readers may miss some activations, but not all of them.
        seen.len() > 4 && (contents(&seen) >= 3 || seen.len() > 200)
    })
    .unwrap();
    reader.shutdown(std::net::Shutdown::Both).unwrap();
    server.join().unwrap().unwrap();

    assert!(seen.len() > 4, "the connection ended");
    assert!(seen.windows(2).all(|pair| pair[0].0 < pair[1].0), "epochs rise: {seen:?}");
    assert_eq!(seen[0].1, price(0));
    assert!(contents(&seen) >= 3, "readers saw the content change: {seen:?}");
}

#[test]
fn a_prompt_agent_over_the_smallest_server() {
    go_through_three_activations(Mode::Prompt);
}

#[test]
fn a_strict_agent_over_the_smallest_server() {
    go_through_three_activations(Mode::Strict);
}
