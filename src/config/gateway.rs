//! `[gateway]`: the HTTP gateway's address, its bounds, and who may use it.

use super::access::{A_PEM_FILE, identity, readable_file};
use super::given::{count, duration, list, of_text, text};
use super::kafka::Kafka;
use super::reader::Section;
use super::text::{host_name, keys_url, socket_address, topic_name};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// The longest time that a client may be made to wait. Proxies between a client and the gateway rarely wait longer.
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// The default of `max_open_reads`. A read takes a few milliseconds, so this many keep a gateway busy. More would only take memory: each
/// read may hold the whole history of an entity.
const OPEN_READS: usize = 128;

/// The HTTP gateway.
#[derive(Clone, Debug)]
pub struct Gateway {
    /// `listen`: the address and port that clients call.
    pub listen: SocketAddr,
    /// `allowed_hosts`: the names, in lower case, under which clients may call a gateway that has neither authentication nor TLS. Addresses
    /// and `localhost` need not be among them.
    pub allowed_hosts: Vec<String>,
    /// `reply_timeout`: how long a request waits for its reply unless the client says otherwise.
    pub reply_timeout: Duration,
    /// `max_wait`: the longest that a client may ask to wait.
    pub max_wait: Duration,
    /// `max_open_requests`: how many commands may wait for their replies at once. Further ones are refused.
    pub max_open_requests: usize,
    /// `max_open_reads`: how many reads of the store may be under way at once. Further ones are refused.
    pub max_open_reads: usize,
    /// `reply_topic`: the topic from which replies are read. It is on the processors' allow-list.
    pub reply_topic: String,
    /// `tls`: `None` if the gateway speaks plain HTTP.
    pub tls: Option<GatewayTls>,
    /// `auth`: how a client shows who it is.
    pub auth: Auth,
}

/// TLS towards the gateway's clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayTls {
    /// `cert_file`: a PEM file of the gateway's certificate and of those between it and the authority.
    pub cert_file: PathBuf,
    /// `key_file`: a PEM file of the certificate's key.
    pub key_file: PathBuf,
    /// `client_ca_file`: a PEM file of the authorities that sign the certificates of clients. Only such clients may connect. `None` if
    /// clients need no certificate.
    pub client_ca_file: Option<PathBuf>,
}

/// How a client shows who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// `kind = "none"`: everybody who can connect may do everything.
    None,
    /// `kind = "mtls"`: by the certificate with which the client connects.
    Mtls,
    /// `kind = "jwt"`: by a bearer token.
    Jwt(Jwt),
}

/// The tokens that are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jwt {
    /// `jwks_file` or `jwks_url`: where the public keys are that verify the signatures of tokens.
    pub keys: JwksSource,
    /// `issuer`: what a token's `iss` must be.
    pub issuer: String,
    /// `audience`: what a token's `aud` must be or contain.
    pub audience: String,
}

/// The place of a set of keys (JWKS).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JwksSource {
    /// `jwks_file`
    File(PathBuf),
    /// `jwks_url`
    Url(String),
}

/// The names of the kinds of authentication.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    None,
    Mtls,
    Jwt,
}

/// Reads the section. `kafka` has the topics that replies may go to.
pub(super) fn gateway(mut section: Section<'_>, kafka: &Kafka) -> Gateway {
    let s = &mut section;
    let default = SocketAddr::from((Ipv4Addr::LOCALHOST, 8080));
    let listen = s.value("listen", default, "an address such as \"127.0.0.1:8080\" or \"0.0.0.0:8080\"", of_text(socket_address));
    let allowed_hosts = s.value("allowed_hosts", Vec::new(), "a list of names such as [\"crm.example.com\"]", list(host_name));
    let waits = Duration::ZERO..=LONGEST_WAIT;
    let max_wait = s.value("max_wait", Duration::from_secs(30), "a duration such as \"30s\"", duration(waits.clone()));
    let reply_timeout = Duration::from_secs(10).min(max_wait);
    let reply_timeout = s.value("reply_timeout", reply_timeout, "a duration such as \"10s\"", duration(waits));
    if reply_timeout > max_wait && s.is_sound("reply_timeout") && s.is_sound("max_wait") {
        let right = format!("{} or less", humantime::format_duration(max_wait));
        s.reject_read("reply_timeout", &reply_timeout, "must not be more than gateway.max_wait", &right);
    }
    let max_open_requests = s.value("max_open_requests", 1024, "a number such as 1024", count(1..=65_536));
    let max_open_reads = s.value("max_open_reads", OPEN_READS, "a number such as 128", count(1..=65_536));
    let right = "a topic of kafka.reply_topic_allow_list";
    let reply_topic = s.optional("reply_topic", right, |given| {
        let name = topic_name(&text(given)?)?;
        // Otherwise processors would write the replies to another topic, and no request would be answered in time.
        if kafka.reply_topic_allow_list.contains(&name) { Ok(name) } else { Err(format!("is not {right}")) }
    });
    let reply_topic = reply_topic.unwrap_or_else(|| kafka.topics.replies.clone());
    let tls = tls(s.section("tls"));
    let mut section = s.section("auth");
    let is_said_outright = section.has("kind");
    let auth = auth(&mut section, tls.as_ref());
    drop(section);
    let is_open = auth == Auth::None && !is_said_outright && tls.as_ref().is_none_or(|tls| tls.client_ca_file.is_none());
    if !listen.ip().is_loopback() && is_open {
        let right = "127.0.0.1, or [gateway.auth] kind = \"jwt\" or \"mtls\", or gateway.tls.client_ca_file; or [gateway.auth] kind = \"none\", \
                     which lets everybody in who can connect";
        s.reject_read("listen", &listen, "can be reached from other machines, and nothing says who may use it", right);
    }
    Gateway { listen, allowed_hosts, reply_timeout, max_wait, max_open_requests, max_open_reads, reply_topic, tls, auth }
}

fn tls(mut section: Section<'_>) -> Option<GatewayTls> {
    let s = &mut section;
    let client_ca_file = s.optional("client_ca_file", A_PEM_FILE, readable_file);
    match identity(s) {
        Some((cert_file, key_file)) => Some(GatewayTls { cert_file, key_file, client_ca_file }),
        None if client_ca_file.is_some() && s.is_sound("cert_file") && s.is_sound("key_file") => {
            s.reject("cert_file", None, "is missing, and there is a client_ca_file", A_PEM_FILE);
            None
        }
        None => None,
    }
}

fn auth(s: &mut Section<'_>, tls: Option<&GatewayTls>) -> Auth {
    let kinds = [("none", Kind::None), ("mtls", Kind::Mtls), ("jwt", Kind::Jwt)];
    let kind = s.choice("kind", Kind::None, &kinds, "is not a kind of authentication");
    // The keys of all kinds are read, so that a file can hold them and none is reported as unknown.
    let file = s.optional("jwks_file", "the path of a file with a JSON Web Key Set", readable_file);
    let url = s.optional("jwks_url", "a URL such as \"https://idp/keys\"", of_text(keys_url));
    let issuer = s.optional("issuer", "the iss of the tokens", text);
    let audience = s.optional("audience", "the aud of the tokens", text);
    match kind {
        Kind::None => Auth::None,
        Kind::Mtls => {
            if tls.is_none_or(|tls| tls.client_ca_file.is_none()) {
                let right = "gateway.tls with cert_file, key_file and client_ca_file; or another kind";
                s.reject("kind", None, "is \"mtls\", and gateway.tls.client_ca_file is missing", right);
            }
            Auth::Mtls
        }
        Kind::Jwt => {
            let missing = |key: &str, is_given: bool, right| {
                if !is_given && s.is_sound(key) {
                    s.reject(key, None, "is missing, and kind = \"jwt\" needs it", right);
                }
            };
            missing("issuer", issuer.is_some(), "the iss of the tokens");
            missing("audience", audience.is_some(), "the aud of the tokens");
            let keys = match (file, url) {
                (Some(file), None) => JwksSource::File(file),
                (None, Some(url)) => JwksSource::Url(url),
                (Some(file), Some(_)) => {
                    s.reject("jwks_url", None, "is given, and jwks_file, too", "one of the two");
                    JwksSource::File(file)
                }
                (None, None) => {
                    missing("jwks_file", !s.is_sound("jwks_url"), "the path of a file with the keys; or jwks_url");
                    JwksSource::File(PathBuf::new())
                }
            };
            Auth::Jwt(Jwt { keys, issuer: issuer.unwrap_or_default(), audience: audience.unwrap_or_default() })
        }
    }
}
