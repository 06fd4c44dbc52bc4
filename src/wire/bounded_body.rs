//! Reads the body of an HTTP answer within a bound.

use reqwest::{Response, Result};

/// Reads the body of an answer. If it has more than `most` bytes, the rest is not read, and the result has more than `most` bytes, too.
///
/// # Errors
/// Returns an error if the body breaks off.
pub async fn bounded_body(response: &mut Response, most: usize) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    while body.len() <= most
        && let Some(chunk) = response.chunk().await?
    {
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
