//! Checks of single texts: topic names, addresses, URLs, names in the database. Each error continues a sentence that begins with the key.

use std::net::{IpAddr, SocketAddr};

/// The longest name of a topic that Kafka takes.
const MAX_TOPIC_CHARS: usize = 249;

/// Checks the name of a topic.
///
/// # Errors
/// Kafka takes no such name. The text says why.
pub fn topic_name(text: &str) -> Result<String, String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    match text {
        "" => Err("must not be empty".into()),
        "." | ".." => Err("is not a legal topic name".into()),
        _ if text.len() > MAX_TOPIC_CHARS => Err(format!("must have at most {MAX_TOPIC_CHARS} characters")),
        _ if !text.chars().all(legal) => Err("has characters that topic names can't have".into()),
        _ => Ok(text.into()),
    }
}

/// Returns whether Kafka takes two names for the same. It refuses a topic whose name differs from an existing one only in `.` and `_`,
/// because its metrics would have the same name.
pub(super) fn same_topic(a: &str, b: &str) -> bool {
    a.replace('_', ".") == b.replace('_', ".")
}

/// Checks a list of addresses: `host:port,host:port`.
pub(super) fn servers(text: &str) -> Result<String, String> {
    for server in text.split(',') {
        // librdkafka takes `SSL://host:port`, too.
        let address = server.trim();
        let address = address.split_once("://").map_or(address, |(_, rest)| rest);
        host_port(address).map_err(|reason| format!("{reason} ({address:?})"))?;
    }
    Ok(text.into())
}

/// Checks an address: `host:port`, with IPv6 addresses in brackets.
pub(super) fn host_port(text: &str) -> Result<String, String> {
    let Some((host, port)) = text.rsplit_once(':') else { return Err("has no port".into()) };
    if host.is_empty() || host.contains(char::is_whitespace) || (host.contains(':') && !host.starts_with('[')) {
        return Err("has no proper host".into());
    }
    match port.parse::<u16>() {
        Ok(1..) => Ok(text.into()),
        _ => Err("has no port between 1 and 65535".into()),
    }
}

/// Checks an address, and adds `port` if it has no port.
pub(super) fn contact_point(text: &str, port: u16) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("must not be empty".into());
    }
    if text.rsplit_once(':').is_none() { host_port(&format!("{text}:{port}")) } else { host_port(text) }
}

/// Checks the name of a host, without a port. Returns it in lower case, as names of hosts are compared.
pub(super) fn host_name(text: &str) -> Result<String, String> {
    const MAX_CHARS: usize = 253;
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let name = text.strip_suffix('.').unwrap_or(text);
    match name {
        "" => Err("must not be empty".into()),
        _ if name.contains([':', '/']) => Err("must be a name alone, without scheme, port or path".into()),
        _ if !name.chars().all(legal) => Err("has characters that names of hosts can't have".into()),
        _ if name.len() > MAX_CHARS => Err(format!("must have at most {MAX_CHARS} characters")),
        _ => Ok(name.to_ascii_lowercase()),
    }
}

/// Checks an address to listen on.
pub(super) fn socket_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "is not an address with a port".into())
}

/// Checks the base URL of an HTTP server. Returns it without a slash at the end.
pub(super) fn http_url(text: &str) -> Result<String, String> {
    let url = reqwest::Url::parse(text).map_err(|e| format!("is not a URL: {e}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("must begin with http:// or https://".into());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold credentials".into());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must have neither query nor fragment".into());
    }
    Ok(text.trim_end_matches('/').into())
}

/// Checks the URL of a set of keys. Whoever can put other keys there can sign tokens, so it is https, unless it is on this machine.
pub(super) fn keys_url(text: &str) -> Result<String, String> {
    let url = reqwest::Url::parse(text).map_err(|e| format!("is not a URL: {e}"))?;
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let is_here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    if !(url.scheme() == "https" || (url.scheme() == "http" && is_here)) {
        return Err("must begin with https://, or with http:// and name this machine".into());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold credentials".into());
    }
    Ok(text.into())
}

/// Checks the name of a keyspace, which must be one that needs no quotes.
pub(super) fn keyspace(text: &str) -> Result<String, String> {
    const MAX_CHARS: usize = 48;
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if !text.starts_with(|c: char| c.is_ascii_lowercase()) || !text.chars().all(legal) {
        return Err("must begin with a letter and have lower-case letters, digits and underscores only".into());
    }
    if text.len() > MAX_CHARS { Err(format!("must have at most {MAX_CHARS} characters")) } else { Ok(text.into()) }
}

/// Checks a name that becomes part of a consumer group's id or a transactional id.
pub(super) fn client_name(text: &str) -> Result<String, String> {
    const MAX_CHARS: usize = 200;
    if !text.chars().all(|c| c.is_ascii_graphic()) {
        return Err("must have printable ASCII characters only, no blanks".into());
    }
    if text.len() > MAX_CHARS { Err(format!("must have at most {MAX_CHARS} characters")) } else { Ok(text.into()) }
}
