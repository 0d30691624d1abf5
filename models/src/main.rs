//! The checkers as a command.
use downbeat_models::search::{everything, shortest};
use downbeat_models::twins::TWINS;
fn main() {
    let only = std::env::args().nth(1);
    for twin in TWINS.iter().filter(|t| only.as_ref().is_none_or(|o| o == t.name)) {
        let config = twin.broken();
        for (property, steps) in twin.falls {
            let (path, states, took) = shortest(&config, property);
            match path {
                Some(path) => {
                    let ok = steps.is_none_or(|s| path.len() <= 2 * s);
                    println!("{:30} {property:24} in {:3} given {steps:?} {} [{states} states, {took:?}]", twin.name, path.len(), if ok {"ok"} else {"TOO LONG"});
                    if only.is_some() { for a in path { println!("   {a:?}"); } }
                }
                None => println!("{:30} {property:24} SURVIVES [{states} states {took:?}]", twin.name),
            }
        }
        if std::env::args().nth(2).is_none() {
        let whole = everything(&twin.whole());
        println!("{:30} whole: {} states {:?} broken {:?}", "", whole.states, whole.took, whole.broken.iter().map(|b| b.0).collect::<Vec<_>>());
        if only.is_some() { for (n, p) in &whole.broken { println!("{n}"); for a in p { println!("   {a:?}"); } } }
        }
    }
}
