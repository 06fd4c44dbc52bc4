//! Receives a body, within bounds of size and time. A client may not hear an answer that comes before it has sent its body, so a body that
//! nobody wants, or that is a little too long, is received all the same, and dropped.

use super::command::MAX_BODY;
use super::problem::Problem;
use axum::body::{Body, BodyDataStream, Bytes};
use axum::http::StatusCode;
use axum::http::header::{self, HeaderMap};
use futures::TryStreamExt as _;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// How long a client may take to send its body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest body that is received although it is too long, in bytes.
const LONGEST_DROPPED: usize = 1 << 20;
/// How long such a body is received.
const DROPPING: Duration = Duration::from_secs(1);

/// The most bytes of all bodies that are on their way together. A usual body has some 200 bytes and arrives at once, so only clients that
/// misbehave fill this room.
const ALL_BODIES: usize = 64 << 20;

/// Room for the bodies of commands that are on their way.
pub struct Bodies(Semaphore);

impl Default for Bodies {
    fn default() -> Self {
        Self(Semaphore::new(ALL_BODIES))
    }
}

/// The reason why a body is not received to its end.
enum Broken {
    Off,
    NoRoom,
}

impl Bodies {
    /// Receives the body of a command.
    ///
    /// # Errors
    /// The body is too long, does not arrive in time, or breaks off, or there is no room.
    pub async fn received(&self, headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
        let too_long = || {
            let detail = format!("the body must have at most {MAX_BODY} bytes");
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-long", detail)
        };
        let asks_first = headers.contains_key(header::EXPECT);
        if length(headers).is_some_and(|length| length > LONGEST_DROPPED || (length > MAX_BODY && asks_first)) {
            return Err(too_long());
        }
        let (mut chunks, mut whole) = (body.into_data_stream(), Vec::new());
        let receive = async {
            let mut room = self.0.try_acquire_many(0).map_err(|_| Broken::NoRoom)?;
            while whole.len() <= MAX_BODY
                && let Some(chunk) = chunks.try_next().await.map_err(|_| Broken::Off)?
            {
                let bytes = u32::try_from(chunk.len()).map_err(|_| Broken::NoRoom)?;
                room.merge(self.0.try_acquire_many(bytes).map_err(|_| Broken::NoRoom)?);
                whole.extend_from_slice(&chunk);
            }
            Ok(())
        };
        match timeout(BODY_TIMEOUT, receive).await {
            Ok(Ok(())) => {}
            // The part that came may be a whole command. But the client has not finished it, so it is not carried out.
            Ok(Err(Broken::Off)) => return Err(Problem::unreadable(None, "the body broke off")),
            Ok(Err(Broken::NoRoom)) => {
                let detail = "too many bodies are on their way, and nothing was written";
                return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail));
            }
            Err(_) => {
                return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "request-timeout", "the body did not arrive in time"));
            }
        }
        if whole.len() <= MAX_BODY {
            return Ok(whole.into());
        }
        drain(&mut chunks, whole.len(), DROPPING).await;
        Err(too_long())
    }
}

/// Receives a body that nobody wants, and drops it.
pub async fn drop_body(headers: &HeaderMap, body: Body) {
    // To receive anything of a body whose client asks first would tell it to go on.
    if !headers.contains_key(header::EXPECT) && length(headers).is_none_or(|length| length <= LONGEST_DROPPED) {
        drain(&mut body.into_data_stream(), 0, BODY_TIMEOUT).await;
    }
}

/// Drops what is left of a body of which so many bytes were received. A client that goes on sending for longer will not listen anyway.
async fn drain(chunks: &mut BodyDataStream, mut bytes: usize, patience: Duration) {
    let receive = async {
        while bytes <= LONGEST_DROPPED
            && let Ok(Some(chunk)) = chunks.try_next().await
        {
            bytes += chunk.len();
        }
    };
    let _ = timeout(patience, receive).await;
}

fn length(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt as _;
    use futures::stream;
    use std::convert::Infallible;

    /// Returns a body that comes as far as this, and no further.
    fn unfinished(bytes: usize) -> Body {
        let begun = stream::iter([Ok::<_, Infallible>(vec![b' '; bytes])]);
        Body::from_stream(begun.chain(stream::pending()))
    }

    #[tokio::test]
    async fn bodies_that_are_on_their_way_take_no_more_than_there_is_room_for() {
        let (bodies, headers) = (Bodies(Semaphore::new(100)), HeaderMap::new());
        let mut slow = Box::pin(bodies.received(&headers, unfinished(80)));
        assert!(timeout(Duration::from_millis(1), &mut slow).await.is_err(), "it waits for the rest");
        let refused = bodies.received(&headers, Body::from(vec![b' '; 30])).await;
        assert_eq!(refused.expect_err("there is no room").response().status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(bodies.received(&headers, Body::from(vec![b' '; 20])).await.expect("there is room").len(), 20);
        drop(slow);
        assert_eq!(bodies.received(&headers, Body::from(vec![b' '; 100])).await.expect("there is room again").len(), 100);
    }
}
