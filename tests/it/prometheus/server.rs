//! A Prometheus of a test's own, with the rules of `deploy/`. Time passes faster in it: every duration is divided.

use crate::guarded::Guarded;
use crate::inbox::Inbox;
use crate::operation::{read, rules};
use crate::{registry, servers};
use serde_json::Value as Json;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

/// The divisor of the rules' durations and of Prometheus' intervals in tests that should lose no time.
pub const HASTY: u32 = 60;
/// The interval at which Prometheus scrapes and evaluates the rules in `deploy/prometheus/prometheus.yml`.
const LOOKS_EVERY: Duration = Duration::from_secs(15);
/// How long a series counts as present after its last sample.
const LOOKS_BACK: Duration = Duration::from_secs(300);
/// The shortest interval. Below it, a busy machine misses scrapes.
const SHORTEST_LOOK: Duration = Duration::from_millis(500);

/// Returns a program of the Debian package `prometheus`, or `None` if it is not installed; the reason has been printed, and the
/// test returns.
pub fn installed(program: &str) -> Option<Command> {
    if Command::new(program).arg("--version").output().is_err() {
        servers::skip(&format!("{program} is not installed (Debian: apt-get install prometheus)"));
        return None;
    }
    Some(Command::new(program))
}

/// A running Prometheus.
pub struct Prometheus {
    url: String,
    process: Guarded,
}

impl Prometheus {
    /// Starts a Prometheus that scrapes the admin addresses `targets`, and divides all durations by `haste`.
    pub fn scraping(targets: &[&str], haste: u32) -> Self {
        let dir = tempfile::Builder::new().prefix("crm-processor-prometheus-").tempdir().expect("there is room").keep();
        let targets: Vec<_> = targets.iter().map(|target| format!("{:?}", target.trim_start_matches("http://"))).collect();
        let look = (LOOKS_EVERY / haste).max(SHORTEST_LOOK).as_millis();
        let config = format!(
            "global: {{scrape_interval: {look}ms, scrape_timeout: {look}ms, evaluation_interval: {look}ms}}\nrule_files: [rules.yml]\n\
             scrape_configs:\n  - {{job_name: crm-processor, static_configs: [{{targets: [{}]}}]}}\n",
            targets.join(", ")
        );
        for (name, text) in [("rules.yml", hastened(&read("deploy/prometheus/rules.yml"), haste)), ("prometheus.yml", config)] {
            std::fs::write(dir.join(name), text).expect("there is room");
        }
        let port = servers::free_port();
        let mut command = Command::new("prometheus");
        command.arg(format!("--config.file={}", dir.join("prometheus.yml").display()));
        command.arg(format!("--storage.tsdb.path={}", dir.join("data").display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        command.arg(format!("--query.lookback-delta={}ms", (LOOKS_BACK / haste).max(10 * SHORTEST_LOOK).as_millis()));
        let log = servers::log_dir().join(format!("prometheus-{port}.log"));
        let prometheus = Self { url: format!("http://127.0.0.1:{port}"), process: Guarded::spawn(&command, &log, Some(&dir)) };
        prometheus.until("it is ready", |p| match registry::get(&format!("{}/-/ready", p.url)) {
            (200, _) => Ok(()),
            (status, body) => Err(format!("{status} {body}")),
        });
        prometheus
    }

    /// Returns the address of its own pages.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Tries again and again until `look` succeeds. A failure has the last error.
    pub fn until(&self, what: &str, look: impl FnMut(&Self) -> Result<(), String>) {
        self.until_within(Inbox::PATIENCE, what, look);
    }

    /// Tries again and again until `look` succeeds, for at most `patience`.
    pub fn until_within(&self, patience: Duration, what: &str, mut look: impl FnMut(&Self) -> Result<(), String>) {
        let deadline = Instant::now() + patience;
        while let Err(said) = look(self) {
            assert!(Instant::now() < deadline, "expected: {what}\ngot: {said}\n{}", self.process.log_tail());
            crate::pause();
        }
    }

    /// Returns the alerts that fire.
    pub fn firing(&self) -> BTreeSet<String> {
        let answer = self.api("alerts");
        let alerts = answer["data"]["alerts"].as_array().unwrap_or_else(|| panic!("no alerts: {answer}")).iter();
        let firing = alerts.filter(|alert| alert["state"] == "firing");
        firing.map(|alert| alert["labels"]["alertname"].as_str().expect("each has a name").to_owned()).collect()
    }

    pub fn is_firing(&self, alert: &str) -> bool {
        self.firing().contains(alert)
    }

    /// For [`Prometheus::until`].
    pub fn fires(&self, alert: &str) -> Result<(), String> {
        let firing = self.firing();
        if firing.contains(alert) { Ok(()) } else { Err(format!("{firing:?} fire")) }
    }

    /// For [`Prometheus::until`].
    pub fn keeps_quiet(&self, alert: &str) -> Result<(), String> {
        if self.is_firing(alert) { Err("it fires".into()) } else { Ok(()) }
    }

    /// Returns the values of all series that an expression gives.
    pub fn query(&self, expr: &str) -> Vec<f64> {
        let mut request = "query?query=".to_owned();
        for byte in expr.bytes() {
            let _ = write!(request, "%{byte:02X}");
        }
        let answer = self.api(&request);
        assert_eq!(answer["status"], "success", "{expr}: {answer}");
        let result = answer["data"]["result"].as_array().expect("a vector");
        result.iter().map(|series| series["value"][1].as_str().expect("a value").parse().expect("a number")).collect()
    }

    /// Checks, for [`Prometheus::until`], that all rules were evaluated and none failed.
    pub fn rules_are_healthy(&self) -> Result<(), String> {
        let answer = self.api("rules");
        let groups = answer["data"]["groups"].as_array().expect("groups");
        let told: Vec<_> = groups.iter().flat_map(|group| group["rules"].as_array().expect("rules")).collect();
        assert_eq!(told.len(), rules().len(), "{answer}");
        let ill: Vec<_> = told.into_iter().filter(|rule| rule["health"] != "ok").collect();
        if ill.is_empty() { Ok(()) } else { Err(format!("{ill:#?}")) }
    }

    fn api(&self, request: &str) -> Json {
        let (status, body) = registry::get_patiently(&format!("{}/api/v1/{request}", self.url));
        serde_json::from_str(&body).unwrap_or_else(|e| panic!("{request}: {e} in {status} {body:?}"))
    }
}

/// Returns the rules with each `for:` and each window divided by `haste`. Thresholds stay as they are.
fn hastened(rules: &str, haste: u32) -> String {
    let line = |line: &str| {
        if let Some(duration) = line.trim_start().strip_prefix("for: ") {
            format!("{}{}\n", &line[..line.len() - duration.len()], divided(duration, haste))
        } else {
            let mut parts = line.split('[');
            let first = parts.next().unwrap_or_default().to_owned();
            let rest = parts.map(|part| match part.split_once(']') {
                Some((window, rest)) => {
                    let window: Vec<_> = window.split(':').map(|duration| divided(duration, haste)).collect();
                    format!("[{}]{rest}", window.join(":"))
                }
                None => format!("[{part}"),
            });
            first + &rest.collect::<String>() + "\n"
        }
    };
    rules.lines().map(line).collect()
}

/// Divides a duration: `5m` by 10 is `30000ms`.
fn divided(duration: &str, by: u32) -> String {
    let (number, unit) = duration.split_at(duration.find(|c: char| !c.is_ascii_digit()).unwrap_or(duration.len()));
    let unit = match unit {
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        other => panic!("a duration in {other:?}: {duration}"),
    };
    let millis: u64 = number.parse::<u64>().unwrap_or_else(|e| panic!("{duration}: {e}")) * unit;
    format!("{}ms", millis / u64::from(by))
}

#[test]
fn rules_are_hastened_in_their_durations_alone() {
    let given = "- alert: A2m\n        expr: sum(rate(x{a=\"1m\"}[5m])) > 120 and deriv(y[15m:1m]) > 0\n        for: 2m\n";
    let expected = "- alert: A2m\n        expr: sum(rate(x{a=\"1m\"}[30000ms])) > 120 and deriv(y[90000ms:6000ms]) > 0\n        for: 12000ms\n";
    assert_eq!(hastened(given, 10), expected);
    let all = hastened(&read("deploy/prometheus/rules.yml"), 10);
    let mut windows = all.split('[').skip(1).filter_map(|part| Some(part.split_once(']')?.0));
    assert!(windows.all(|window| window.split(':').all(|duration| duration.ends_with("ms"))), "{all}");
}
