//! One request to the API server, and the answers that mean something to us.

use std::time::Duration;

use thiserror::Error;
use tokio::time::timeout;

/// How the API server knows our writes.
pub(super) const FIELD_MANAGER: &str = "aws-iam-authenticator";

/// The API server answers small requests in milliseconds; one that takes longer will be repeated.
const REQUEST: Duration = Duration::from_secs(3);

/// Why a request was not granted.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub(super) enum Refusal {
    /// 403: our service account may not.
    #[error("forbidden: {0}")]
    Forbidden(String),
    /// 404: no such object, or no such kind of object.
    #[error("not found: {0}")]
    NotFound(String),
    /// 409: it was changed since we read it, or it exists already.
    #[error("conflict: {0}")]
    Conflict(String),
    /// 400, 405 or 422: it will never be accepted like this.
    #[error("refused: {0}")]
    Invalid(String),
    /// No answer, or one that says nothing about the request.
    #[error("{0}")]
    Failed(String),
}

/// Sends a request and waits for a bounded time.
pub(super) async fn call<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, Refusal> {
    match timeout(REQUEST, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(status))) => Err(match status.code {
            403 => Refusal::Forbidden(status.message.clone()),
            404 => Refusal::NotFound(status.message.clone()),
            409 => Refusal::Conflict(status.message.clone()),
            400 | 405 | 422 => Refusal::Invalid(status.message.clone()),
            _ => Refusal::Failed(format!("{} ({})", status.message, status.code)),
        }),
        Ok(Err(error)) => Err(Refusal::Failed(error.to_string())),
        Err(_) => Err(Refusal::Failed(format!("no answer within {} s", REQUEST.as_secs()))),
    }
}
