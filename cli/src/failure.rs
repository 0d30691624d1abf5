//! How a command fails: one line with the cause and the cure, and an exit code that scripts can use.

use serde_json::json;
use std::fmt;

/// Why a command did not do what it was asked to do.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Exit code 1: the server refused it, or the demo saw a property broken.
    Refused {
        /// What is wrong.
        error: String,
        /// What would help.
        cure: String,
    },
    /// Exit code 1: the demo saw a property broken. It is the last line of standard output, or of
    /// standard error where the output is one JSON object.
    Broken {
        /// "broken: " and the property.
        text: String,
        /// The output has been told already.
        told: bool,
    },
    /// Exit code 2: the command line can't be carried out as it stands.
    Usage(String),
    /// Exit code 3: there is nobody to ask.
    Unreachable(String),
}

impl Failure {
    /// A refusal with its cure.
    pub(crate) fn refused(error: impl fmt::Display, cure: impl fmt::Display) -> Failure {
        Failure::Refused { error: error.to_string(), cure: cure.to_string() }
    }

    /// A failure of this program's own, from an error that names its cure itself.
    pub(crate) fn own(error: impl fmt::Display) -> Failure {
        Failure::Refused { error: error.to_string(), cure: String::new() }
    }

    /// The process's exit code.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Failure::Refused { .. } | Failure::Broken { .. } => 1,
            Failure::Usage(_) => 2,
            Failure::Unreachable(_) => 3,
        }
    }

    /// For programs.
    pub(crate) fn json(&self) -> serde_json::Value {
        match self {
            Failure::Refused { error, cure } => json!({ "error": error, "cure": cure }),
            Failure::Broken { text, .. } | Failure::Usage(text) | Failure::Unreachable(text) => {
                json!({ "error": text, "cure": "" })
            }
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Refused { error, cure } if cure.is_empty() => f.write_str(error),
            Failure::Refused { error, cure } => write!(f, "{error}; {cure}"),
            Failure::Broken { text, .. } | Failure::Usage(text) | Failure::Unreachable(text) => {
                f.write_str(text)
            }
        }
    }
}
impl std::error::Error for Failure {}
