//! What is compared, and how a configuration looks to the specification.

use crate::configuration::{Configuration, Kind, Kinds, ticks};
use downbeat_core::serving::Mode::{self, Prompt, Strict};
use downbeat_core::settings::Limits;

/// A configuration that both sides explore.
pub struct Comparison {
    /// What the model explores.
    pub config: Configuration,
    /// In words.
    pub about: &'static str,
    /// How many messages of one agent may be on their way at once.
    pub places: u8,
}

const PAIR: &[Mode] = &[Strict, Prompt];

/// A farm of one strict and one prompt agent from its very start, for so many ticks.
fn pair(name: &'static str, horizon: i64, faults: u8, kinds: &[Kind]) -> Configuration {
    Configuration { horizon, faults, kinds: Kinds::of(kinds), ..Configuration::new(name, PAIR) }
}

fn operated(config: Configuration, operations: u8, kinds: &[Kind]) -> Configuration {
    Configuration { operations, operation_kinds: Kinds::of(kinds), ..config }
}

/// Everything that is compared, smallest first.
pub fn comparisons() -> Vec<Comparison> {
    let comparison = |config, about, places| Comparison { config, about, places };
    vec![
        comparison(pair("plain", 22, 0, &[]), "no fault, three cycles", 2),
        comparison(pair("loss", 14, 2, &[Kind::Lose]), "up to two messages lost", 2),
        comparison(
            pair("network", 8, 1, &[Kind::Lose, Kind::Repeat, Kind::Delay]),
            "a message lost, repeated or delayed",
            4,
        ),
        comparison(
            pair(
                "crash",
                9,
                1,
                &[
                    Kind::CrashTakesOver,
                    Kind::CrashKeepsDisk,
                    Kind::RebootLosesDisk,
                    Kind::ServerCrash,
                    Kind::SlowCommit,
                    Kind::LateTimer,
                ],
            ),
            "an agent or the server ends, a transaction outlasts the lease, a timer is late",
            5,
        ),
        comparison(
            pair("late", 5, 2, &[Kind::Delay, Kind::CrashKeepsDisk]),
            "a message is delayed and its agent starts again: writes come late, with old tokens",
            4,
        ),
        comparison(pair("partition", 16, 1, &[Kind::CutOff]), "an agent is cut off for any time", 2),
        comparison(
            operated(
                Configuration {
                    // A hold may reach beyond the next activation.
                    limits: Limits { max_hold: ticks(8), ..Configuration::new("", PAIR).limits },
                    ..pair("operations", 14, 0, &[])
                },
                2,
                &[Kind::Edit, Kind::Hold, Kind::HoldUntil, Kind::Unhold, Kind::Settings],
            ),
            "up to two edits, holds, changes of the interval",
            2,
        ),
    ]
}

/// Checks of the specification that can be left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Guards {
    /// The lock is granted only from T on.
    pub due: bool,
    /// A lease that is over doesn't write.
    pub lease: bool,
    /// An old token doesn't write.
    pub token: bool,
    /// Strict serves until the promise ends only.
    pub promise: bool,
    /// A hold clears the lock.
    pub hold: bool,
}

impl Guards {
    /// The specification as it is.
    pub const ALL: Guards = Guards { due: true, lease: true, token: true, promise: true, hold: true };

    /// The constants of `spec/murphi/state.m` for these.
    pub fn constants(&self) -> String {
        let Guards { due, lease, token, promise, hold } = self;
        format!(
            "  DUE_CHECK: {due}; LEASE_CHECK: {lease}; TOKEN_CHECK: {token}; PROMISE_CHECK: {promise};\n  \
             HOLD_CLEARS: {hold};\n"
        )
    }
}

/// A specification with a mistake, which must break a property of its own.
pub struct Mistake {
    /// In words.
    pub about: &'static str,
    /// Where it is looked for.
    pub config: &'static str,
    /// What is left out.
    pub guards: Guards,
    /// How what falls begins.
    pub falls: &'static str,
}

/// The mistakes.
pub const MISTAKES: &[Mistake] = &[
    Mistake {
        about: "nobody looks at T before the grant",
        config: "plain",
        guards: Guards { due: false, ..Guards::ALL },
        falls: "S1",
    },
    Mistake {
        about: "a lease that is over may write",
        config: "late",
        guards: Guards { lease: false, ..Guards::ALL },
        falls: "S3",
    },
    Mistake {
        about: "an old token may write",
        config: "late",
        guards: Guards { token: false, ..Guards::ALL },
        falls: "S3",
    },
    Mistake {
        about: "strict serves on after the promise",
        config: "partition",
        guards: Guards { promise: false, ..Guards::ALL },
        falls: "S7",
    },
    Mistake {
        about: "a hold leaves a live grant when it raises the promise",
        config: "operations",
        guards: Guards { hold: false, ..Guards::ALL },
        falls: "S4",
    },
];

impl Comparison {
    /// The constants of `spec/murphi/state.m` for this configuration.
    pub fn constants(&self) -> String {
        let config = &self.config;
        let settings = &config.settings;
        let strict = |index: usize| config.modes.get(index) == Some(&Strict);
        let fault = |kind| config.faults > 0 && config.kinds.has(kind);
        let operation = |kind| config.operations > 0 && config.operation_kinds.has(kind);
        format!(
            "const\n  AGENTS: {}; SLOTS: {};\n  STRICT_1: {}; STRICT_2: {}; STRICT_3: {};\n  \
             ORIGIN: 100; HORIZON: {}; FAULTS: {}; OPERATIONS: {};\n  \
             INTERVAL: {}; LEAD: {}; LEASE: {}; PATIENCE: 1; BACK_OFF: 1; START_WAIT: 2;\n  \
             EARLY_LIMIT: {}; MAX_HOLD: {};\n  \
             LOSE: {}; REPEAT: {}; DELAY: {}; SLOW: {}; SERVER_CRASH: {}; LATE: {};\n  \
             TAKE_OVER: {}; KEEP_DISK: {}; LOSE_DISK: {}; CUT_OFF: {};\n  EDIT: {}; HOLDS: {}; SETTINGS: {};\n",
            config.modes.len(),
            self.places,
            strict(0),
            strict(1),
            strict(2),
            config.horizon,
            config.faults,
            config.operations,
            settings.interval.as_nanos(),
            settings.lead.as_nanos(),
            settings.lease.as_nanos(),
            settings.early_limit.as_nanos(),
            config.limits.max_hold.as_nanos(),
            fault(Kind::Lose),
            fault(Kind::Repeat),
            fault(Kind::Delay),
            fault(Kind::SlowCommit),
            fault(Kind::ServerCrash),
            fault(Kind::LateTimer),
            fault(Kind::CrashTakesOver),
            fault(Kind::CrashKeepsDisk),
            fault(Kind::RebootLosesDisk),
            fault(Kind::CutOff),
            operation(Kind::Edit),
            operation(Kind::Hold),
            operation(Kind::Settings),
        )
    }
}
