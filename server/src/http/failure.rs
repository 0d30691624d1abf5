//! What the management API answers when it doesn't do what was asked: `{"error", "cure"}` and a
//! status that a program can go by.

use crate::shared::Refused;
use crate::sql::Overloaded;
use crate::store::StoreError;
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::fmt::Display;

/// An answer that says what is wrong, and what would help. Nothing was changed.
#[derive(Debug)]
pub(crate) struct Failure {
    status: StatusCode,
    error: String,
    cure: String,
    /// More, for programs.
    details: Option<(&'static str, Value)>,
}

impl Failure {
    pub(crate) fn new(status: StatusCode, error: impl Display, cure: impl Display) -> Failure {
        Failure { status, error: error.to_string(), cure: cure.to_string(), details: None }
    }

    /// The request can't be understood or breaks a rule.
    pub(crate) fn bad(error: impl Display, cure: impl Display) -> Failure {
        Failure::new(StatusCode::BAD_REQUEST, error, cure)
    }

    /// The same with one more field.
    pub(crate) fn with(mut self, name: &'static str, value: Value) -> Failure {
        self.details = Some((name, value));
        self
    }

    /// What is wrong.
    pub(crate) fn message(&self) -> &str {
        &self.error
    }

    /// From a message of the form "cause; cure", as errors here are written.
    pub(crate) fn of(status: StatusCode, message: &str) -> Failure {
        let (error, cure) = message.split_once("; ").unwrap_or((message, "correct it and send it again"));
        Failure::new(status, error, cure)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut body = json!({ "error": self.error, "cure": self.cure });
        if let (Some((name, value)), Some(object)) = (self.details, body.as_object_mut()) {
            object.insert(name.to_owned(), value);
        }
        (self.status, Json(body)).into_response()
    }
}

impl From<Overloaded> for Failure {
    fn from(_: Overloaded) -> Failure {
        Failure::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many requests wait for the database, or the server ends",
            "try again in a moment",
        )
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Failure {
        match refused {
            Refused::Overloaded => Overloaded.into(),
            Refused::NoTime => Failure::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "the server may give out no time at the moment: its mark could not be stored yet",
                "try again in a moment; if it stays so, see the server's log (a full disk, or another \
                 server on the same database)",
            ),
            Refused::Store(error) => error.into(),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        let status = match &error {
            StoreError::NoFarm(_) | StoreError::NotKept { .. } => StatusCode::NOT_FOUND,
            StoreError::FarmExists(_) | StoreError::OtherLine { .. } | StoreError::NotCandidate { .. } => {
                StatusCode::CONFLICT
            }
            StoreError::Settings(_)
            | StoreError::Record { .. }
            | StoreError::DuplicateKey { .. }
            | StoreError::NeverVisible { .. }
            | StoreError::TooFewKept
            | StoreError::NoGuard(_)
            | StoreError::NoJudge(_)
            | StoreError::Refused(_) => StatusCode::UNPROCESSABLE_ENTITY,
            StoreError::Full => StatusCode::INSUFFICIENT_STORAGE,
            StoreError::Busy => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(%error, "the database failed");
        }
        Failure::of(status, &error.to_string())
    }
}
