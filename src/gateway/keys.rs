//! The public keys that verify the signatures of tokens, as they are at present. They are read from a file or a URL: now and then, and when
//! a token names a key that is not known yet.

use super::tokens::{Bearer, Keys, TokenRefusal};
use crate::config::{JwksSource, Jwt};
use crate::pauses::Pauses;
use crate::wire::bounded_body::bounded_body;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

/// When the keys are read.
#[derive(Clone, Copy, Debug)]
pub struct Rhythm {
    /// How often the keys are read again.
    refresh: Duration,
    /// How long the keys are left alone after a reading, whatever key a token names. Without this rest, forged tokens could make us ask all
    /// the time.
    rest: Duration,
    /// The first pause after a failure. Each is twice as long as the one before, up to `refresh`.
    first_pause: Duration,
}

/// The rhythm of a gateway: a key that the issuer removes is noticed within five minutes, and a new key with the first token that names it.
pub const RHYTHM: Rhythm =
    Rhythm { refresh: Duration::from_secs(300), rest: Duration::from_secs(10), first_pause: Duration::from_secs(1) };
/// How long one reading may take, and how long a token with an unknown key waits for it.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest key set that is read, in bytes. It has room for some hundred keys; issuers publish about ten.
const LONGEST: usize = 256 << 10;

/// An attempt to read the keys.
#[derive(Clone, Copy, Debug)]
struct Reading {
    at: Instant,
    succeeded: bool,
}

/// The present keys.
pub struct PresentKeys {
    jwt: Jwt,
    rhythm: Rhythm,
    keys: RwLock<Arc<Keys>>,
    wanted: Notify,
    /// The last attempt to read the keys; `None` before the first one.
    readings: watch::Sender<Option<Reading>>,
    client: reqwest::Client,
}

impl PresentKeys {
    /// Makes a set without keys, which refuses all tokens until [`PresentKeys::keep`] has read some.
    ///
    /// # Errors
    /// The HTTP client can't be made.
    pub fn new(jwt: &Jwt, rhythm: Rhythm) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder().timeout(PATIENCE).redirect(reqwest::redirect::Policy::none()).build()?;
        let (keys, wanted, readings) = (RwLock::default(), Notify::new(), watch::Sender::new(None));
        Ok(Self { jwt: jwt.clone(), rhythm, keys, wanted, readings, client })
    }

    /// Keeps reading the keys. After a failure the former keys stay. A set that was read and has no key for us is no failure: with it the
    /// issuer has withdrawn the former keys.
    pub async fn keep(&self) {
        let fresh = Pauses::new(self.rhythm.first_pause, self.rhythm.refresh);
        let mut pauses = fresh;
        loop {
            let succeeded = match self.read().await {
                Ok(keys) => {
                    let is_usable = !keys.is_empty();
                    if !is_usable {
                        tracing::error!("the key set has no public key for RS256, ES256 or EdDSA, so no token is taken");
                    }
                    *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
                    is_usable
                }
                Err(error) => {
                    tracing::warn!(error, "the keys of tokens can't be read; the former ones, if any, stay");
                    false
                }
            };
            self.readings.send_replace(Some(Reading { at: Instant::now(), succeeded }));
            if succeeded {
                pauses = fresh;
                self.pause(self.rhythm.rest + self.rhythm.refresh).await;
            } else {
                self.pause(pauses.next_pause()).await;
            }
        }
    }

    /// Waits for `pause`, or until a token names a key that is not known, but for the rest at least.
    async fn pause(&self, pause: Duration) {
        let rest = pause.min(self.rhythm.rest);
        sleep(rest).await;
        // An error means that nobody asked, and that it is time.
        let _ = timeout(pause.saturating_sub(rest), self.wanted.notified()).await;
    }

    /// Checks a token at the time `now`, in seconds since 1970. If the token names a key that is not known, and the keys were not read just
    /// now, waits until they were read again.
    ///
    /// # Errors
    /// The token is not taken.
    pub async fn bearer(&self, token: &str, now: f64) -> Result<Bearer, TokenRefusal> {
        let mut readings = self.readings.subscribe();
        let checked = self.present().bearer(token, &self.jwt, now);
        if checked != Err(TokenRefusal::UnknownKey) {
            return checked;
        }
        let is_fresh = readings.borrow_and_update().is_some_and(|reading| reading.at.elapsed() < self.rhythm.rest);
        if !is_fresh {
            self.wanted.notify_one();
            // If the keys can't be read in time, the present ones are all that there is.
            let _ = timeout(PATIENCE, readings.changed()).await;
        }
        match self.present().bearer(token, &self.jwt, now) {
            Err(TokenRefusal::UnknownKey) if !readings.borrow().is_some_and(|reading| reading.succeeded) => {
                Err(TokenRefusal::NoKeys)
            }
            checked => checked,
        }
    }

    fn present(&self) -> Arc<Keys> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn read(&self) -> Result<Keys, String> {
        let text = match &self.jwt.keys {
            JwksSource::File(path) => {
                let path = path.clone();
                let read = tokio::task::spawn_blocking(move || std::fs::read_to_string(path)).await;
                read.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?
            }
            JwksSource::Url(url) => self.fetch(url).await.map_err(|error| error.without_url().to_string())?,
        };
        if text.len() > LONGEST {
            return Err(format!("the key set has more than {LONGEST} bytes"));
        }
        Keys::read(&text)
    }

    async fn fetch(&self, url: &str) -> Result<String, reqwest::Error> {
        let mut response = self.client.get(url).send().await?.error_for_status()?;
        let body = bounded_body(&mut response, LONGEST).await?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
