//! What a host makes of a generation while it is staged (a typed `View`), through a real server: one that
//! refuses leaves the agent on what it has, is told to the server, and the mode's rule applies at T.

use downbeat_agent::core::ids::Generation;
use downbeat_agent::core::message::Veto;
use downbeat_agent::core::serving::Mode;
use downbeat_agent::{Agent, Freshness, Guard, Image, ReadError, Reader, View, What};
use downbeat_server::{Config, Handle, Server};
use downbeat_tests::manage::ask;
use downbeat_tests::processes::eventually;
use serde_json::{Value, json};
use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// The sum of all prices: of prices that aren't numbers none can be made.
struct Total(u64);

impl View for Total {
    fn build(_: Generation, image: &Image) -> Result<Total, Box<dyn Error + Send + Sync>> {
        let mut total = 0;
        for record in image.dataset("prices").into_iter().flat_map(|prices| prices.iter()) {
            let (key, price) = record?;
            let key = String::from_utf8_lossy(key);
            let price = std::str::from_utf8(price)?;
            total += price.parse::<u64>().map_err(|_| format!("the price of {key} is {price:?}"))?;
        }
        Ok(Total(total))
    }
}

fn total(guard: &Guard) -> Option<u64> {
    guard.view::<Total>().map(|total| total.0)
}

/// A real server with a farm of short cycles, which it begins itself.
struct Farm {
    server: Handle,
    _folder: TempDir,
}

impl Farm {
    fn start() -> Farm {
        let folder = TempDir::new().expect("a folder");
        let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let database = Config::new(folder.path().join("downbeat.db"));
        let server = Server::start(Config { control: free, http: free, ..database }).expect("it starts");
        let farm = Farm { server, _folder: folder };
        let settings = json!({
            "interval": "1600ms", "lead": "600ms", "lease": "200ms", "round_trip": "100ms",
            "retrieve": "200ms", "stagger": "50ms", "sample_window": "60ms",
        });
        let new = json!({ "farm": "eu", "settings": settings }).to_string();
        let made = ask(farm.server.http(), "POST", "/v1/farms", new.as_bytes());
        assert!(matches!(made, Some((201, _))), "{made:?}");
        farm
    }

    fn does(&self, method: &str, path: &str, body: &[u8]) -> Value {
        let path = format!("/v1/farms/eu{path}");
        eventually(&path, || ask(self.server.http(), method, &path, body).filter(|(status, _)| *status < 300))
            .1
    }

    fn put(&self, key: &str, price: &str) {
        self.does("PUT", &format!("/records/prices/{key}"), price.as_bytes());
    }

    fn agent(&self, runtime: &Runtime, mode: Mode, name: &str) -> Agent {
        let agent = Agent::builder()
            .server(self.server.control().to_string())
            .farm("eu")
            .mode(mode)
            .display(name)
            .back_off(Duration::from_millis(20), Duration::from_millis(400))
            .view::<Total>();
        runtime.block_on(agent.start()).expect("it starts")
    }

    /// What the server knows of an agent's refusal.
    fn veto(&self, name: &str) -> Value {
        let told = self.does("GET", "/agents", b"");
        let mut agents = told["agents"].as_array().into_iter().flatten();
        agents.find(|agent| agent["name"] == name).map_or(Value::Null, |agent| agent["veto"].clone())
    }
}

/// Waits until a reader gets what is live, with this total.
fn until_total(reader: &mut Reader, wanted: u64) -> u64 {
    eventually(&format!("a total of {wanted}"), || {
        let guard = reader.read().ok().filter(|guard| guard.freshness() == Freshness::Current)?;
        (total(&guard) == Some(wanted)).then(|| guard.epoch())
    })
}

#[test]
fn a_view_that_refuses_leaves_the_agent_on_what_it_has_and_the_server_is_told() {
    let farm = Farm::start();
    let runtime = Runtime::new().expect("a runtime");
    let prompt = farm.agent(&runtime, Mode::Prompt, "prompt");
    let strict = farm.agent(&runtime, Mode::Strict, "strict");
    let (mut of_prompt, mut of_strict) = (prompt.reader(), strict.reader());
    farm.put("apple", "3");
    for reader in [&mut of_prompt, &mut of_strict] {
        until_total(reader, 3);
    }
    assert_eq!([farm.veto("prompt"), farm.veto("strict")], [Value::Null, Value::Null]);

    farm.put("pear", "four");
    for (agent, name) in [(&prompt, "prompt"), (&strict, "strict")] {
        eventually(&format!("the veto of {name} at the server"), || {
            (farm.veto(name) == "invalid").then_some(())
        });
        let refused = |what: &What| match what {
            What::Refused(_, Veto::Invalid, why) => why == "the price of pear is \"four\"",
            _ => false,
        };
        let status = agent.status();
        assert!(status.last.iter().any(|happening| refused(&happening.what)), "{status:#?}");
    }
    // At T, and for as long as that content is live.
    let live = eventually("the refused content live", || {
        let status = farm.does("GET", "", b"");
        (status["records"] == 2 && status["live"] == true).then(|| status["epoch"].as_u64())?
    });
    eventually("reads that are marked stale", || {
        let guard = of_prompt.read().ok()?;
        assert_eq!(total(&guard), Some(3), "nothing but what it had: {guard:?}");
        (guard.freshness() == Freshness::Stale).then_some(())
    });
    eventually("reads that are refused", || {
        (of_strict.read().err() == Some(ReadError::Fenced)).then_some(())
    });
    eventually("another epoch of that content", || {
        let guard = of_prompt.read().expect("prompt serves always");
        assert_eq!((total(&guard), guard.freshness()), (Some(3), Freshness::Stale), "{guard:?}");
        assert_eq!(of_strict.read().err(), Some(ReadError::Fenced));
        (farm.does("GET", "", b"")["epoch"].as_u64() > Some(live + 1)).then_some(())
    });

    farm.put("pear", "4");
    for reader in [&mut of_prompt, &mut of_strict] {
        assert!(until_total(reader, 7) > live);
    }
    for name in ["prompt", "strict"] {
        eventually(&format!("{name} without a veto"), || farm.veto(name).is_null().then_some(()));
    }
    runtime.block_on(prompt.stop());
    runtime.block_on(strict.stop());
    farm.server.stop();
}
