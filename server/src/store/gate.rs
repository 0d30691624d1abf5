//! The gate (DESIGN §4): who has to approve a candidate before it is staged, the candidate that is frozen
//! for that, and what was said of it. Plain data; what a store does with it is in [`super::Gatekeeping`].

use super::Reason;
use downbeat_core::ids::{Digest, Epoch, Name};
use downbeat_core::time::{ServerTime, Span};

/// The name under which the server's own command gives its verdict.
pub const COMMAND: &str = "command";

/// Who judges a farm's candidates.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Gate {
    /// How long before T the candidate is frozen. Positive.
    pub window: Span,
    /// How long the server's command may take. Positive.
    pub patience: Span,
    /// Names of those who have to approve, besides the server's command; ascending, each once.
    pub judges: Vec<Name>,
    /// Whether the server's command has to approve: it was started with one.
    pub command: bool,
}

impl Default for Gate {
    /// Nobody has to; a window of a minute, 30 seconds for a command.
    fn default() -> Gate {
        Gate {
            window: Span::from_secs(60),
            patience: Span::from_secs(30),
            judges: Vec::new(),
            command: false,
        }
    }
}

impl Gate {
    /// Everybody who has to approve, by name; nobody: there is no gate.
    pub fn required(&self) -> impl Iterator<Item = &str> {
        self.command.then_some(COMMAND).into_iter().chain(self.judges.iter().map(Name::as_str))
    }

    /// Whether anybody has to approve.
    pub fn is_shut(&self) -> bool {
        self.command || !self.judges.is_empty()
    }
}

/// A candidate that doesn't change any more: what is edited later waits for the next one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frozen {
    /// The epoch that it would be.
    pub epoch: Epoch,
    /// Its digest.
    pub digest: Digest,
    /// The activation that it was frozen for: scheduled records count as of then.
    pub as_of: ServerTime,
    /// Records in which it differs from what is staged.
    pub changes: u64,
    /// When it was frozen.
    pub at: ServerTime,
}

/// What a judge said of a candidate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Said {
    /// Who.
    pub judge: String,
    /// Of which candidate.
    pub digest: Digest,
    /// Whether it may be staged.
    pub approved: bool,
    /// Why not; may be empty.
    pub why: String,
    /// When.
    pub at: ServerTime,
}

/// How the gate of a farm stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Standing {
    /// Who has to approve.
    pub gate: Gate,
    /// The candidate that is judged, if one is frozen.
    pub frozen: Option<Frozen>,
    /// What was said of it, ascending by name.
    pub said: Vec<Said>,
}

impl Standing {
    /// What keeps the frozen candidate from being staged, as far as the gate goes; empty where nothing does.
    pub fn reasons(&self) -> Vec<Reason> {
        let Some(frozen) = self.frozen.filter(|frozen| frozen.changes > 0) else { return Vec::new() };
        let required: Vec<_> = self.gate.required().collect();
        let mut reasons = Vec::new();
        for name in required {
            let said = self.said.iter().find(|said| said.judge == name && said.digest == frozen.digest);
            let (found, cure) = match said {
                Some(Said { approved: true, .. }) => continue,
                Some(Said { why, .. }) => (
                    format!("{name} refuses it: {}", if why.is_empty() { "no reason given" } else { why }),
                    "correct production and have it judged again (downbeat gate again)".to_owned(),
                ),
                None => (
                    format!("no verdict of {name}"),
                    format!(
                        "see why {name} says nothing; or take it off (downbeat gate set, downbeat gate off)"
                    ),
                ),
            };
            reasons.push(Reason {
                guard: "gate".to_owned(),
                limit: format!("{name} has to approve exactly this candidate"),
                found,
                examples: Vec::new(),
                cure,
            });
        }
        reasons
    }
}
