//! The reasons why a client can't log in to Kafka: what librdkafka says, what that is a sign of, and the way out.
//!
//! Brokers may refuse a client, or the token endpoint may not give it the token that it must show to the brokers
//! (`sasl.oauthbearer.method = "oidc"`). librdkafka tries again by itself, for ever, and complains in two ways: by an error that comes
//! once for each reason, and by a line of its log for each attempt to get a token. A token that can't be renewed does no harm at first,
//! because connections last for as long as the old token does. So a complaint counts for a while if the process has connections, and
//! without limit while it has none.

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A Kafka client of the process, each with its own table of properties.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KafkaClient {
    /// The client that reads commands.
    Consumer,
    /// The client that writes answers.
    Producer,
}

impl KafkaClient {
    /// Returns the name of the client's table in the configuration.
    fn table(self) -> &'static str {
        match self {
            Self::Consumer => "kafka.consumer",
            Self::Producer => "kafka.producer",
        }
    }
}

/// How long a complaint counts while the process has connections. librdkafka asks for a token again after 10 s, and gives an overloaded
/// endpoint 50 s before it complains.
const COUNTS_FOR: Duration = Duration::from_secs(90);

/// The facilities of librdkafka's log that tell why a client can't log in.
const FACILITIES: [&str; 4] = ["FAIL", "SASL", "SSL", "OIDC"];

/// A kind of complaint of librdkafka, with what it means.
#[derive(Debug, PartialEq, Eq)]
pub struct Sign {
    /// The texts that the complaint contains, all of them.
    parts: &'static [&'static str],
    /// Whether waiting can't help, because somebody must change something.
    pub is_final: bool,
    /// The way out, with the properties to look at.
    pub way_out: &'static str,
}

/// The beginning of an error about a token.
const TOKEN: &str = "Failed to acquire SASL OAUTHBEARER token";
/// The text in the log about an endpoint that gave no token.
const ENDPOINT: &str = "Failed to retrieve OIDC token";
/// The way out for any trouble with the endpoint that has no sign of its own.
const ENDPOINT_WAY_OUT: &str = "sasl.oauthbearer.token.endpoint.url must name the token endpoint, which must be up and give out tokens in \
                                JSON, by the client credentials of sasl.oauthbearer.client.id and sasl.oauthbearer.client.secret";

/// The known signs. The first one whose parts are all contained in a complaint counts.
const SIGNS: [Sign; 11] = [
    Sign {
        parts: &["No provider for SASL mechanism GSSAPI"],
        is_final: true,
        way_out: "Kerberos is not built in: sasl.mechanism must be SCRAM-SHA-512, SCRAM-SHA-256, OAUTHBEARER or PLAIN; see docs/security.md",
    },
    Sign {
        parts: &[ENDPOINT, "(401)"],
        is_final: true,
        way_out: "the token endpoint knows no such client, or knows it with another secret: correct sasl.oauthbearer.client.id and \
                  sasl.oauthbearer.client.secret",
    },
    Sign {
        parts: &[ENDPOINT, "(400)"],
        is_final: true,
        way_out: "the token endpoint does not take the request: sasl.oauthbearer.client.id, sasl.oauthbearer.client.secret and \
                  sasl.oauthbearer.scope must be what it expects",
    },
    Sign {
        parts: &[ENDPOINT, "certificate"],
        is_final: true,
        way_out: "https.ca.location must name a PEM file of the authority that signed the token endpoint's certificate, which must name the \
                  host of sasl.oauthbearer.token.endpoint.url",
    },
    Sign { parts: &[ENDPOINT], is_final: false, way_out: ENDPOINT_WAY_OUT },
    Sign { parts: &[TOKEN, "JWT"], is_final: true, way_out: "the tokens must be JWTs with the claims exp and sub" },
    Sign { parts: &[TOKEN], is_final: false, way_out: ENDPOINT_WAY_OUT },
    Sign {
        parts: &["invalid_token"],
        is_final: true,
        way_out: "the brokers do not take the token: its issuer, its audience and its scope (sasl.oauthbearer.scope) must be what they expect, \
                  and sasl.oauthbearer.extensions, too, where they want some",
    },
    Sign {
        parts: &["SASL authentication error"],
        is_final: true,
        way_out: "the brokers know no such user, or know it with another password: correct sasl.username, sasl.password and sasl.mechanism",
    },
    Sign {
        parts: &["certificate verify failed"],
        is_final: true,
        way_out: "ssl.ca.location must name a PEM file of the authority that signed the brokers' certificates, and they must name the \
                  hosts of kafka.bootstrap_servers",
    },
    Sign {
        parts: &["SASL mechanism"],
        is_final: true,
        way_out: "sasl.mechanism must be one that this listener of the brokers offers",
    },
];

/// Signs that say less than those of [`SIGNS`], and may occur together with them. They are tried last.
const VAGUE: [Sign; 2] = [
    Sign {
        parts: &["security.protocol"],
        is_final: false,
        way_out: "security.protocol must be what this listener of the brokers speaks",
    },
    Sign {
        parts: &["SSL handshake failed"],
        is_final: false,
        way_out: "the brokers may want a certificate of this client: ssl.certificate.location, ssl.key.location",
    },
];

/// Returns the sign for a complaint, or `None` if the complaint is of no known kind.
pub fn sign(said: &str) -> Option<&'static Sign> {
    let matches = |sign: &&Sign| sign.parts.iter().all(|part| said.contains(part));
    SIGNS.iter().chain(&VAGUE).find(matches)
}

/// Returns why a client could not be made, with the way out if there is a sign for the error.
pub fn explained(error: &KafkaError) -> String {
    let said = error.to_string();
    sign(&said).map_or(said.clone(), |sign| format!("{said} ({})", sign.way_out))
}

/// Returns the complaint in a line of librdkafka's log about a client that can't log in, or `None` if the line is about something else.
pub fn complaint<'a>(facility: &str, message: &'a str) -> Option<&'a str> {
    // The message begins with the name of librdkafka's thread, which says nothing to operators.
    let said = message.split_once("]: ").map_or(message, |(_, said)| said);
    FACILITIES.contains(&facility).then_some(said)
}

/// The last complaint of each client of the process.
#[derive(Debug, Default)]
pub struct Logins(Mutex<BTreeMap<KafkaClient, Said>>);

#[derive(Debug)]
struct Said {
    text: String,
    at: Instant,
}

impl Logins {
    /// Takes in an error of a client. Errors that are not about logging in are ignored.
    pub fn failed(&self, client: KafkaClient, error: &KafkaError, reason: &str, now: Instant) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Authentication) {
            self.heard(client, reason, now);
        }
    }

    /// Takes in a line of a client's log, if it is about getting a token, and passes every line on to our own log.
    pub fn log(&self, client: KafkaClient, level: RDKafkaLogLevel, facility: &str, message: &str, now: Instant) {
        if facility == "OIDC"
            && let Some(said) = complaint(facility, message)
        {
            self.heard(client, said, now);
        }
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
                tracing::error!(target: "librdkafka", "librdkafka: {facility} {message}");
            }
            RDKafkaLogLevel::Warning => tracing::warn!(target: "librdkafka", "librdkafka: {facility} {message}"),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
                tracing::info!(target: "librdkafka", "librdkafka: {facility} {message}");
            }
            RDKafkaLogLevel::Debug => tracing::debug!(target: "librdkafka", "librdkafka: {facility} {message}"),
        }
    }

    /// Forgets the complaint of a client, because it has been let in.
    pub fn let_in(&self, client: KafkaClient) {
        self.said().remove(&client);
    }

    /// Returns why clients can't log in, with the ways out. While `is_connected`, complaints are forgotten after 90 s, so that a later loss
    /// of the connections is not explained by them; otherwise they stay. Returns `None` if there is no such complaint.
    pub fn trouble(&self, is_connected: bool, now: Instant) -> Option<String> {
        let mut said = self.said();
        if is_connected {
            said.retain(|_, said| now.saturating_duration_since(said.at) < COUNTS_FOR);
        }
        let texts: Vec<_> = said.iter().map(|(client, said)| text(*client, &said.text)).collect();
        (!texts.is_empty()).then(|| texts.join("; "))
    }

    fn heard(&self, client: KafkaClient, text: &str, now: Instant) {
        let mut said = self.said();
        // An error about a token follows a line of the log that gives the same reason and also names the endpoint. The line is kept.
        let is_known = text.split_once(TOKEN).is_some_and(|(_, reason)| {
            let reason = reason.trim_start_matches(": ");
            said.get(&client).is_some_and(|said| said.text.starts_with(ENDPOINT) && said.text.contains(reason))
        });
        // A broker's complaint about a client without a token says less than the reason why it has none.
        let says_less = |known: &Said| {
            sign(text).is_none() && sign(&known.text).is_some() && now.saturating_duration_since(known.at) < COUNTS_FOR
        };
        match said.get_mut(&client) {
            Some(known) if is_known => known.at = now,
            Some(known) if says_less(known) => {}
            _ => drop(said.insert(client, Said { text: text.to_owned(), at: now })),
        }
    }

    fn said(&self) -> MutexGuard<'_, BTreeMap<KafkaClient, Said>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn text(client: KafkaClient, said: &str) -> String {
    let table = client.table();
    match sign(said) {
        Some(Sign { way_out, .. }) => {
            format!("a client can't log in to Kafka with the properties of {table}: {said} ({way_out})")
        }
        None => format!("a client can't log in to Kafka with the properties of {table}: {said}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AWAY: &str = "Failed to retrieve OIDC token from \"http://127.0.0.1:1/token\": Failed to connect to 127.0.0.1 port 1: Could not connect (-1)";
    const LINE: &str = "[thrd:background]: Failed to retrieve OIDC token from \"http://127.0.0.1:1/token\": Failed to connect to \
                        127.0.0.1 port 1: Could not connect (-1)";
    const ERROR: &str = "Failed to acquire SASL OAUTHBEARER token: Failed to connect to 127.0.0.1 port 1: Could not connect";

    fn refused() -> KafkaError {
        KafkaError::Global(RDKafkaErrorCode::Authentication)
    }

    #[test]
    fn what_librdkafka_says_is_a_sign_of_something_with_a_way_out() {
        for (said, is_final, property) in [
            (AWAY, false, "sasl.oauthbearer.token.endpoint.url"),
            (
                "Failed to retrieve OIDC token from \"https://idp/token\": no such client (401)",
                true,
                "sasl.oauthbearer.client.secret",
            ),
            ("Failed to retrieve OIDC token from \"https://idp/token\": invalid_scope (400)", true, "sasl.oauthbearer.scope"),
            (
                "Failed to retrieve OIDC token from \"https://idp/token\": SSL certificate problem: unable to get issuer (-1)",
                true,
                "https.ca.location",
            ),
            ("SASL authentication error: {\"status\":\"invalid_token\"} (after 12ms in state AUTH_REQ)", true, "audience"),
            (
                "SASL authentication error: Authentication failed during authentication due to invalid credentials",
                true,
                "sasl.password",
            ),
            (
                "SSL handshake failed: certificate verify failed: broker certificate could not be verified",
                true,
                "ssl.ca.location",
            ),
            ("SSL handshake failed: Disconnected: connecting to a PLAINTEXT broker listener?", false, "ssl.certificate.location"),
            ("No provider for SASL mechanism GSSAPI: recompile librdkafka with libsasl2", true, "Kerberos"),
        ] {
            let sign = sign(said).unwrap_or_else(|| panic!("{said}"));
            assert!(sign.is_final == is_final && sign.way_out.contains(property), "{said}: {sign:?}");
        }
        assert_eq!(sign("Connection refused"), None);
    }

    #[test]
    fn a_trouble_is_told_with_the_endpoint_and_the_way_out_and_only_of_clients_that_have_it() {
        let (logins, now) = (Logins::default(), Instant::now());
        logins.failed(KafkaClient::Producer, &KafkaError::Global(RDKafkaErrorCode::AllBrokersDown), "4/4 brokers are down", now);
        logins.log(KafkaClient::Producer, RDKafkaLogLevel::Error, "FAIL", "[thrd:main]: connection refused", now);
        assert_eq!(logins.trouble(false, now), None, "nobody was refused");
        logins.log(KafkaClient::Consumer, RDKafkaLogLevel::Error, "OIDC", LINE, now);
        logins.failed(KafkaClient::Consumer, &refused(), ERROR, now);
        let told = logins.trouble(false, now).expect("it was said");
        for part in ["kafka.consumer", AWAY, "sasl.oauthbearer.token.endpoint.url"] {
            assert!(told.contains(part), "{part} in {told}");
        }
        assert!(!told.contains("kafka.producer"), "{told}");

        let handshake = "SASL OAUTHBEARER mechanism handshake failed: Broker: Request not valid in current SASL state";
        logins.failed(KafkaClient::Consumer, &refused(), handshake, now + COUNTS_FOR / 2);
        assert_eq!(logins.trouble(false, now), Some(told), "why there is no token says more");
        logins.failed(KafkaClient::Consumer, &refused(), handshake, now + COUNTS_FOR);
        assert!(logins.trouble(false, now).is_some_and(|told| told.contains(handshake)));
    }

    #[test]
    fn what_was_said_counts_for_a_while_or_for_as_long_as_there_is_no_connection() {
        let (logins, start) = (Logins::default(), Instant::now());
        logins.failed(KafkaClient::Consumer, &refused(), "SASL authentication error", start);
        for (seconds, expected) in [(1, true), (89, true), (90, false)] {
            let told = logins.trouble(true, start + Duration::from_secs(seconds));
            assert_eq!(told.is_some(), expected, "after {seconds} s: {told:?}");
        }
        assert_eq!(logins.trouble(false, start), None, "the connections are lost for another reason");
        logins.failed(KafkaClient::Consumer, &refused(), "SASL authentication error", start);
        assert!(logins.trouble(false, start + Duration::from_secs(3600)).is_some());
        logins.let_in(KafkaClient::Consumer);
        assert_eq!(logins.trouble(false, start), None);
    }
}
