//! Which fault or operation is searched in which configuration: each cell is explored to its end, with
//! so many of them, up to the tick that stands with it.

use crate::checks::checks;
use crate::configuration::{Kind, UNLIMITED};

/// Kinds that no configuration of `check` has, and where they are.
const ELSEWHERE: &[(Kind, &str)] = &[(Kind::OldWriter, "a twin only: two-writers")];

/// Prints the table; whether every kind is in a configuration, or named as one that is not.
pub fn print() -> bool {
    let checks = checks();
    let mut whole = true;
    println!("each fault or operation: in which configuration, how many of any kind, up to which tick");
    for kind in Kind::EVERY {
        let mut cells = Vec::new();
        for config in checks.iter().map(|check| &check.config) {
            let times = if config.kinds.has(*kind) {
                config.faults
            } else if config.operation_kinds.has(*kind) {
                config.operations
            } else {
                0
            };
            if times > 0 {
                let times = if times == UNLIMITED { "any".to_string() } else { times.to_string() };
                let end = if config.is_unbounded() {
                    "no end".to_string()
                } else {
                    format!("t\u{2264}{}", config.horizon)
                };
                cells.push(format!("{} {times}\u{d7} {end}", config.name));
            }
        }
        let elsewhere = ELSEWHERE.iter().find(|(other, _)| other == kind);
        whole &= !cells.is_empty() || elsewhere.is_some();
        cells.extend(elsewhere.map(|(_, why)| why.to_string()));
        println!("  {:16} {}", format!("{kind:?}"), cells.join(", "));
    }
    whole
}
