//! The findings about a configuration. All are reported together, so that one round of corrections is enough. A finding names the key,
//! its value (but never a secret), where the value came from, why it can't be taken, and what would be right.

use std::fmt;

/// The longest value that a finding shows, in characters: enough to recognise the value, and short enough for a line.
const SHOWN_CHARS: usize = 80;

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The key with its path: `kafka.max_in_flight`.
    pub key: String,
    /// The value as it was given, with secrets redacted. `None` if the key is missing.
    pub value: Option<String>,
    /// The environment variable that gave the value. `None` if the file gave it, or nobody did.
    pub variable: Option<String>,
    /// Why the value can't be taken. Continues a sentence that begins with the key.
    pub reason: String,
    /// A description of the right values.
    pub right: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)?;
        if let Some(value) = &self.value {
            write!(f, " = {value}")?;
        }
        if let Some(variable) = &self.variable {
            write!(f, " (from {variable})")?;
        }
        write!(f, ": {}\n    right would be: {}", self.reason, self.right)
    }
}

/// All findings about a configuration. As an error there is at least one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Findings(pub Vec<Finding>);

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => write!(f, "the configuration has 1 finding:")?,
            n => write!(f, "the configuration has {n} findings:")?,
        }
        self.0.iter().try_for_each(|finding| write!(f, "\n  {finding}"))
    }
}

/// Returns a value in the form in which a finding may show it: without secrets, without credentials in URLs, and not too long.
pub(super) fn shown(key: &str, value: &toml::Value) -> String {
    if is_secret(key) {
        return "***".into();
    }
    let text = without_credentials(&value.to_string().replace('\n', " "));
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Returns whether the value of a key is a secret, or could be one if the key is misspelt.
pub(super) fn is_secret(key: &str) -> bool {
    const SIGNS: [&str; 8] = ["pas", "pwd", "secret", "token", "cred", "jaas", "pem", "sasl.oauthbearer.config"];
    let key = key.to_ascii_lowercase();
    // The URL at which tokens are issued is not a secret.
    if key.ends_with("_url") || key.ends_with("sasl.oauthbearer.token.endpoint.url") {
        return false;
    }
    SIGNS.iter().any(|sign| key.contains(sign)) || key.split('.').next_back() == Some("key")
}

/// Returns `https://***@host` for `https://user:password@host`, wherever that stands in the text.
pub(super) fn without_credentials(text: &str) -> String {
    let mut parts = text.split("://");
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        // Up to here a password may reach: it may hold a slash, though it should not.
        let end = part.find(['"', ' ']).unwrap_or(part.len());
        let from = part[..end].rfind('@');
        shown += "://";
        shown += if from.is_some() { "***" } else { "" };
        shown += &part[from.unwrap_or(0)..];
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_show_no_secrets() {
        let cases = [
            ("registry.password", "hunter2", "***"),
            ("registry.pasword", "hunter2", "***"),
            ("registry.token", "hunter2", "***"),
            ("registry.oauth.client_secret", "hunter2", "***"),
            ("registry.oauth.token_url", "http://me:hunter2@host/x", "\"http://***@host/x\""),
            ("kafka.consumer.sasl.password", "hunter2", "***"),
            ("kafka.consumer.ssl.key.pem", "-----BEGIN", "***"),
            ("registry.url", "http://me:hunter2@host:8081/x", "\"http://***@host:8081/x\""),
            ("registry.url", "http://a:8081,http://me:hunter2@b:8081", "\"http://a:8081,http://***@b:8081\""),
            ("kafka.consumer.sasl.oauthbearer.token.endpoint.url", "https://me:hun,ter2@idp/x", "\"https://***@idp/x\""),
            ("registry.url", "http://me:hun/ter2@host", "\"http://***@host\""),
            ("kafka.consumer.sasl.oauthbearer.client.secret", "hunter2", "***"),
            ("kafka.consumer.sasl.oauthbearer.token.endpoint.url", "https://me:hunter2@idp/token", "\"https://***@idp/token\""),
            ("kafka.group_id", "crm", "\"crm\""),
        ];
        for (key, value, expected) in cases {
            assert_eq!(shown(key, &toml::Value::String(value.into())), expected, "{key}");
        }
    }

    #[test]
    fn a_list_of_urls_shows_no_secret_either() {
        let urls = toml::Value::Array(vec!["http://a".into(), "http://me:hunter2@b:8081".into()]);
        assert_eq!(shown("registry.url", &urls), "[\"http://a\", \"http://***@b:8081\"]");
    }

    #[test]
    fn long_values_are_cut() {
        let text = shown("segments", &toml::Value::String("ä".repeat(500)));
        assert_eq!(text.chars().count(), SHOWN_CHARS + 1);
    }
}
