//! Reads what `deploy/` gives to those who watch the processor, as far as the tests need it: the alert rules and the dashboard.

use crm_processor::telemetry::metrics::Metrics;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A metric as a process exposes it.
#[derive(Debug, Default)]
pub struct Metric {
    pub name: String,
    pub help: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: String,
    /// The labels, each with its values in the order of the exposition.
    pub labels: BTreeMap<String, Vec<String>>,
}

/// A rule of `deploy/prometheus/rules.yml`.
#[derive(Debug)]
pub struct Rule {
    /// The name of the recorded series or of the alert.
    pub name: String,
    pub is_alert: bool,
    pub expr: String,
    /// All lines of the rule.
    pub text: String,
}

/// A query of the dashboard.
#[derive(Debug)]
pub struct Query {
    /// The dashboard's row of the query's panel.
    pub row: String,
    pub panel: String,
    pub expr: String,
}

/// Returns the path of a file of the repository.
pub fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Returns the contents of a file of the repository.
pub fn read(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// Returns all metrics of a process, in the order of their names.
pub fn metrics() -> Vec<Metric> {
    let metrics = Metrics::new();
    // These metrics have a series for each assigned partition, and none without a partition.
    metrics.consumer_lag.set(0, 0);
    metrics.consumer_lag_age.set(0, 0.0);
    metrics.stable_offset_behind.set(0, 0);
    metrics.stable_offset_stuck.set(0, 0.0);
    // This metric has a series for each node of the database.
    metrics.store_node_faults.know("127.0.0.1:9042");
    let mut all: Vec<Metric> = Vec::new();
    for line in metrics.exposition().lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            all.push(Metric { name: name.into(), help: help.into(), ..Metric::default() });
            continue;
        }
        let last = all.last_mut().expect("the help comes first");
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            last.kind = rest.split(' ').nth(1).expect("name and type").into();
        } else if let Some((_, rest)) = line.split_once('{') {
            let (labels, _) = rest.split_once('}').expect("braces come in pairs");
            for (name, value) in labels.split(',').filter_map(|label| label.split_once('=')) {
                let values = last.labels.entry(name.into()).or_default();
                let value = value.trim_matches('"').to_owned();
                if !values.contains(&value) {
                    values.push(value);
                }
            }
        }
    }
    all
}

/// Returns all rules, in their order.
pub fn rules() -> Vec<Rule> {
    let text = read("deploy/prometheus/rules.yml");
    let mut rules: Vec<Rule> = Vec::new();
    for line in text.lines() {
        let named = [("      - record: ", false), ("      - alert: ", true)];
        if let Some((name, is_alert)) = named.iter().find_map(|(prefix, alert)| Some((line.strip_prefix(prefix)?, *alert))) {
            rules.push(Rule { name: name.into(), is_alert, expr: String::new(), text: String::new() });
        } else if let Some(rule) = rules.last_mut() {
            if let Some(expr) = line.strip_prefix("        expr: ") {
                rule.expr = expr.trim_start_matches(">-").into();
            } else if line.starts_with("          ") && !rule.text.contains("\n        for: ") && !rule.text.contains("labels: ")
            {
                rule.expr.extend([" ", line.trim()]);
            }
            rule.text.extend(["\n", line]);
        }
    }
    rules
}

/// Returns all queries of the dashboard, in their order.
pub fn queries() -> Vec<Query> {
    let dashboard: Json = serde_json::from_str(&read("deploy/grafana/dashboards/crm-processor.json")).expect("it is JSON");
    let (mut row, mut queries) = (String::new(), Vec::new());
    let text = |json: &Json| json.as_str().expect("is a text").to_owned();
    for panel in dashboard["panels"].as_array().expect("it has panels") {
        if panel["type"] == "row" {
            row = text(&panel["title"]);
        }
        for target in panel["targets"].as_array().into_iter().flatten() {
            queries.push(Query { row: row.clone(), panel: text(&panel["title"]), expr: text(&target["expr"]) });
        }
    }
    queries
}

/// Returns the metrics and recorded series that an expression uses. A histogram's series count as the histogram.
pub fn named_in(expr: &str, metrics: &[Metric]) -> Vec<String> {
    let unquoted = expr.split('"').step_by(2);
    let words = unquoted.flat_map(|part| part.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':'));
    let ours = words.filter(|word| ["crm_", "crm:", "process_"].iter().any(|prefix| word.starts_with(prefix)));
    let is_histogram = |name: &str| metrics.iter().any(|m| m.name == name && m.kind == "histogram");
    let whole = |word: &str| {
        let mut parts = ["_bucket", "_sum", "_count"].iter().filter_map(|suffix| word.strip_suffix(suffix));
        parts.find(|name| is_histogram(name)).unwrap_or(word).to_owned()
    };
    ours.map(whole).collect()
}
