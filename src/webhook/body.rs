//! Reading a request's body within bounds.

use axum::body::{Bytes, HttpBody};
use axum::http::StatusCode;
use http_body_util::BodyExt as _;
use thiserror::Error;

use crate::token_review::ReviewError;

/// Why a request is not one for a review.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub(super) enum BodyError {
    /// Another method than POST.
    #[error("expected POST")]
    Method,
    /// Larger than any review.
    #[error("the request body is too large")]
    Oversize,
    /// It did not arrive in time.
    #[error("the request body did not arrive in time")]
    Slow,
    /// The connection broke.
    #[error("the request body did not arrive")]
    Broken,
    /// Not a review.
    #[error(transparent)]
    Review(ReviewError),
}

impl BodyError {
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::Oversize => "body_oversize",
            Self::Slow => "body_slow",
            Self::Broken => "body_broken",
            Self::Review(error) => error.reason(),
        }
    }

    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Oversize => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::Broken | Self::Review(_) => StatusCode::BAD_REQUEST,
        }
    }
}

/// As much of a body that is too large is read and thrown away: whoever is still sending when the connection closes
/// sees a broken connection and never the reason. Beyond it nobody can be confused about its size.
const DRAIN_BYTES: usize = 1024 * 1024;

async fn oversize(mut body: impl HttpBody<Data = Bytes> + Unpin) -> BodyError {
    let mut drained = 0;
    while drained < DRAIN_BYTES
        && let Some(Ok(frame)) = body.frame().await
    {
        drained += frame.data_ref().map_or(0, Bytes::len);
    }
    BodyError::Oversize
}

/// The whole body, without a copy when it comes in one piece, as it does from the API server.
pub(super) async fn collect(mut body: impl HttpBody<Data = Bytes> + Unpin, limit: usize) -> Result<Bytes, BodyError> {
    if body.size_hint().lower() > limit as u64 {
        return Err(oversize(body).await);
    }
    let mut whole = Bytes::new();
    let mut pieces = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else {
            continue;
        };
        if whole.len() + pieces.len() + data.len() > limit {
            return Err(oversize(body).await);
        }
        if whole.is_empty() && pieces.is_empty() {
            whole = data;
        } else {
            pieces.extend_from_slice(&std::mem::take(&mut whole));
            pieces.extend_from_slice(&data);
        }
    }
    Ok(if pieces.is_empty() { whole } else { pieces.into() })
}
