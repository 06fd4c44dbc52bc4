//! Receives a body, within bounds of size and time.

use super::command::MAX_BODY;
use super::problem::Problem;
use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::http::header::{self, HeaderMap};
use futures::TryStreamExt as _;
use std::time::Duration;
use tokio::time::timeout;

/// How long a client may take to send its body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest body that is received although it is too long, in bytes.
const LONGEST_DROPPED: usize = 1 << 20;
/// How long such a body is received.
const DROPPING: Duration = Duration::from_secs(1);

/// Receives the body. A client may not hear an answer that comes before it has sent its body, so a body that is a little too long is
/// received all the same, and dropped.
///
/// # Errors
/// The body is too long, does not arrive in time, or breaks off.
pub async fn received(headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    let too_long = || {
        let detail = format!("the body must have at most {MAX_BODY} bytes");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-long", detail)
    };
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    let asks_first = headers.contains_key(header::EXPECT);
    if length.is_some_and(|length| length > LONGEST_DROPPED || (length > MAX_BODY && asks_first)) {
        return Err(too_long());
    }
    let (mut chunks, mut whole) = (body.into_data_stream(), Vec::new());
    let receive = async {
        while whole.len() <= MAX_BODY
            && let Some(chunk) = chunks.try_next().await?
        {
            whole.extend_from_slice(&chunk);
        }
        Ok::<(), axum::Error>(())
    };
    match timeout(BODY_TIMEOUT, receive).await {
        Ok(Ok(())) => {}
        // What came may be a whole command all the same. But the client has not finished it, so it is not carried out.
        Ok(Err(_)) => return Err(Problem::unreadable(None, "the body broke off")),
        Err(_) => return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "request-timeout", "the body did not arrive in time")),
    }
    if whole.len() <= MAX_BODY {
        return Ok(whole.into());
    }
    let drop_rest = async {
        let mut dropped = whole.len();
        while dropped <= LONGEST_DROPPED
            && let Ok(Some(chunk)) = chunks.try_next().await
        {
            dropped += chunk.len();
        }
    };
    // A client that goes on sending for longer will not listen anyway.
    let _ = timeout(DROPPING, drop_rest).await;
    Err(too_long())
}
