//! The typed configuration of a process: a TOML file with the environment laid over it, checked as a whole. All findings are reported at
//! once. A value that stands in a [`Config`] needs no more checks.
//!
//! Every key has a default except the path of an embedded store, so an empty file configures a local set-up. A variable of the
//! environment overrides each key: `CRM__KAFKA__BOOTSTRAP_SERVERS` is `kafka.bootstrap_servers`, `CRM__SEGMENTS=A,B` is a list,
//! `CRM__KAFKA__CONSUMER__SESSION_TIMEOUT_MS` is `kafka.consumer."session.timeout.ms"`. Secrets come from the environment, or from
//! separate files that the configuration names.

mod access;
mod datacenters;
mod diagnostics;
mod findings;
mod gateway;
mod given;
mod kafka;
mod properties;
mod reader;
mod registry;
mod secrets;
mod settings;
mod store;
mod text;

pub use access::UserAndPassword;
pub use datacenters::{CommitConsistency, SerialConsistency};
pub use findings::{Finding, Findings};
pub use gateway::{Auth, Gateway, GatewayTls, JwksSource, Jwt};
pub use kafka::{Kafka, Tool, Topics, UndecodableBatches};
pub use properties::Properties;
pub use registry::{OAuth, OddAnswer, Registry, RegistryCredentials};
pub use secrets::{RotatingSecret, Secret};
pub use settings::{Setting, Source};
pub use store::{Backend, Cql, Store, Tls};
pub use text::topic_name;

use crate::domain::values::{Rules, SegmentCode};
use diagnostics::Diagnostics;
use given::{list, of_text, text};
use reader::Section;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use text::{http_url, socket_address};
use tracing_subscriber::EnvFilter;

const DEFAULT_SEGMENTS: [&str; 3] = ["RESIDENTIAL", "SMALL_BUSINESS", "ENTERPRISE"];

/// The configuration of a process.
#[derive(Clone, Debug)]
pub struct Config {
    /// `segments`: the codes that a customer's segment may have, at least one. Upper and lower case differ.
    pub segments: Vec<SegmentCode>,
    /// `[kafka]`
    pub kafka: Kafka,
    /// `[registry]`
    pub registry: Registry,
    /// `[store]`
    pub store: Store,
    /// `[gateway]`
    pub gateway: Gateway,
    /// `[admin]`
    pub admin: Admin,
    /// `[log]`
    pub log: Log,
    /// `[telemetry]`
    pub telemetry: Telemetry,
}

/// The address at which metrics and health are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// `listen`: the address and port of `/metrics`, `/livez`, `/readyz` and `/log-level`.
    pub listen: SocketAddr,
}

/// The form and level of the log, which goes to standard error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// `format`
    pub format: LogFormat,
    /// `level`: a level, or a list of directives in the syntax of `RUST_LOG`. The variable `RUST_LOG` overrides it.
    pub level: String,
}

/// The collector that traces go to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Telemetry {
    /// `otlp_endpoint`: the base URL of a collector that takes OTLP over HTTP. `None` if no spans are to be made.
    pub otlp_endpoint: Option<String>,
}

/// The form of a line of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// `text`: for people.
    Text,
    /// `json`: one object for each line.
    Json,
}

impl Config {
    /// Reads the file at `path` with this process's environment over it.
    ///
    /// # Errors
    /// All findings. A file that can't be read is a finding, too.
    pub fn load(path: &Path) -> Result<Self, Findings> {
        Self::load_explained(path).map(|(config, _)| config)
    }

    /// Reads the file at `path` like [`Config::load`], and also returns the value of each key and where it came from.
    ///
    /// # Errors
    /// Those of [`Config::load`].
    pub fn load_explained(path: &Path) -> Result<(Self, Vec<Setting>), Findings> {
        let text = std::fs::read_to_string(path).map_err(|e| {
            Findings(vec![Finding {
                key: "--config".into(),
                value: Some(path.display().to_string()),
                variable: None,
                reason: format!("the file can't be read: {e}"),
                right: "the path of a TOML file; an empty file is enough for a local set-up".into(),
            }])
        })?;
        // `std::env::vars` would panic on a variable that is not Unicode. Such a variable can't be ours.
        let environment = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
        Self::parse_explained(&text, environment)
    }

    /// Reads the text `toml` with `environment` over it.
    ///
    /// # Errors
    /// All findings.
    pub fn parse(toml: &str, environment: impl IntoIterator<Item = (String, String)>) -> Result<Self, Findings> {
        Self::parse_explained(toml, environment).map(|(config, _)| config)
    }

    /// Reads like [`Config::parse`], and also returns the value of each key and where it came from.
    ///
    /// # Errors
    /// All findings.
    pub fn parse_explained(
        toml: &str,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(Self, Vec<Setting>), Findings> {
        let file: toml::Table = toml::from_str(toml).map_err(|e| Findings(vec![not_toml(toml, &e)]))?;
        let diagnostics = Diagnostics::default();
        let config = config(Section::root(file, environment, &diagnostics));
        match (config, diagnostics.into_parts()) {
            (Some(config), (settings, findings)) if findings.is_empty() => Ok((config, settings)),
            (_, (_, findings)) => Err(Findings(findings)),
        }
    }

    /// Returns the configured rules of request validation.
    pub fn rules(&self) -> Rules {
        Rules { segments: self.segments.clone() }
    }
}

/// Reads the whole configuration. Returns `None` only if a key without a default is missing.
fn config(mut root: Section<'_>) -> Option<Config> {
    let segments = segments(&mut root);
    let store = store::store(root.section("store"));
    let is_embedded = store.as_ref().is_some_and(|s| matches!(s.backend, Backend::Embedded { .. }));
    let kafka = kafka::kafka(root.section("kafka"), is_embedded);
    let registry = registry::registry(root.section("registry"));
    let gateway = gateway::gateway(root.section("gateway"), &kafka);
    let admin = admin(root.section("admin"));
    let log = log(root.section("log"));
    let telemetry = telemetry(root.section("telemetry"));
    Some(Config { segments, kafka, registry, store: store?, gateway, admin, log, telemetry })
}

fn segments(root: &mut Section<'_>) -> Vec<SegmentCode> {
    let default = DEFAULT_SEGMENTS.iter().filter_map(|s| SegmentCode::parse(s).ok()).collect();
    let right = "a list of different codes of 1 to 64 characters, such as [\"RESIDENTIAL\", \"ENTERPRISE\"]";
    root.value("segments", default, right, |given| {
        let codes = list(SegmentCode::parse)(given)?;
        if codes.is_empty() {
            return Err("must have at least one code".to_owned());
        }
        match codes.iter().enumerate().find(|(at, code)| codes[..*at].contains(code)) {
            Some((_, twice)) => Err(format!("has {:?} more than once", twice.as_str())),
            None => Ok(codes),
        }
    })
}

fn admin(mut section: Section<'_>) -> Admin {
    let default = SocketAddr::from((Ipv4Addr::LOCALHOST, 9464));
    let listen =
        section.value("listen", default, "an address such as \"127.0.0.1:9464\" or \"0.0.0.0:9464\"", of_text(socket_address));
    Admin { listen }
}

fn log(mut section: Section<'_>) -> Log {
    let named = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    let format = section.choice("format", LogFormat::Text, &named, "is not a format of the log");
    let right = "error, warn, info, debug or trace, or directives such as \"info,crm_processor=debug\"";
    let level = section.value("level", "info".to_owned(), right, |given| {
        let level = text(given)?;
        EnvFilter::try_new(&level).map(|_| level).map_err(|e| format!("is not a level: {e}"))
    });
    Log { format, level }
}

fn telemetry(mut section: Section<'_>) -> Telemetry {
    let right = "the base URL of a collector, such as \"http://127.0.0.1:4318\"";
    Telemetry { otlp_endpoint: section.optional("otlp_endpoint", right, of_text(http_url)) }
}

/// Returns the finding for a file that is not TOML. It does not show the line, which may hold a secret.
fn not_toml(text: &str, error: &toml::de::Error) -> Finding {
    let at = error.span().map_or(0, |span| span.start);
    let line = text.get(..at).unwrap_or_default().matches('\n').count() + 1;
    Finding {
        key: format!("line {line}"),
        value: None,
        variable: None,
        reason: format!("is not TOML: {}", error.message().replace('\n', " ")),
        right: "key = value lines below [section] headers".into(),
    }
}

#[cfg(test)]
mod tests;
