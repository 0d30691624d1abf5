//! The guards that can be taken away alone and break nothing: each stands behind another one, which
//! is named here. The twins take such a guard away together with what it stands behind; `redundant`
//! shows that alone it changes no verdict, so that no sentence says so without a search.

use crate::checks::checks;
use crate::configuration::Configuration;
use crate::search::everything;
use crate::twins::twins;
use downbeat_core::guard::{Guard, Guards};
use std::collections::BTreeSet;

/// A guard behind which others stand.
pub struct Redundant {
    /// The guard.
    pub guard: Guard,
    /// What keeps the properties without it.
    pub behind: &'static str,
}

/// One search with a guard off.
pub struct Search {
    /// The configuration's name.
    pub name: &'static str,
    /// Distinct states.
    pub states: usize,
    /// Properties that fell.
    pub broken: Vec<&'static str>,
}

/// The guards that are said to be redundant. `downbeat-models redundant` looks for a configuration in
/// which the absence of one alone breaks something; it takes minutes for each, and no test runs all of it.
pub const REDUNDANT: &[Redundant] = &[
    Redundant {
        guard: Guard::EchoInRange,
        behind: "OutstandingOnly and incarnations that are never drawn twice: an answer that is matched echoes a \
                 sending of that very request; with an incarnation drawn twice it is the last net \
                 (twin numbers-begin-again)",
    },
    Redundant {
        guard: Guard::ActivationCheck,
        behind: "TokenCheck: who has the token was told the table that the grant was made from, and computes \
                 the same T (twin no-token-no-activation)",
    },
    Redundant {
        guard: Guard::Gone,
        behind: "WholeGeneration: bytes of another generation don't have its digest (twin no-gone-no-check)",
    },
    Redundant {
        guard: Guard::WholeGeneration,
        behind: "Gone, as long as nothing else brings wrong bytes: the model damages none, hosts and \
                 networks may (twin no-gone-no-check)",
    },
    Redundant {
        guard: Guard::SwitchOnlyEarlier,
        behind: "HouseKeptFirst: what readers see already is the active cache before a sample can move its \
                 switch (twin switch-moves-later)",
    },
    Redundant {
        guard: Guard::HouseKeptFirst,
        behind: "SwitchOnlyEarlier: a switch that was made is not moved later (twin switch-moves-later)",
    },
    Redundant {
        guard: Guard::AdvanceIdempotent,
        behind: "TokenCheck and the lock's end with the advance: a repeat is refused with the table that has \
                 k + 1; the guard only gives it the answer that was lost",
    },
];

/// The configurations that a guard is taken away in: those of the checks of at most `most` states (as
/// counted with all guards), and those of all twins.
pub fn configurations(most: usize) -> Vec<Configuration> {
    let mut known = BTreeSet::new();
    let checks = checks().into_iter().filter(|check| check.states <= most).map(|check| check.config);
    let twins = twins().map(|twin| twin.whole());
    let different =
        |config: &Configuration| known.insert(format!("{:?}", Configuration { name: "", ..config.clone() }));
    checks.chain(twins).filter(different).collect()
}

/// Searches one configuration with one guard off.
pub fn without(guard: Guard, config: &Configuration) -> Search {
    let config = Configuration { guards: Guards::ALL.without(guard), ..config.clone() };
    let outcome = everything(&config);
    let broken = outcome.broken.iter().map(|(name, _)| *name).collect();
    Search { name: config.name, states: outcome.states, broken }
}
