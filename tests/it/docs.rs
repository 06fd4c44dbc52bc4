//! Checks that the documents agree with the program, as far as a test can tell: links, names of metrics and tests, error codes,
//! snippets.

use crate::operation::{Metric, metrics, named_in, queries, rules};
use crm_processor::domain::rejection::Rejection;
use std::fmt::Write as _;
use std::path::Path;

const DOCUMENTS: [&str; 13] = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/deployment.md",
    "docs/http.md",
    "docs/integration.md",
    "docs/metrics.md",
    "docs/performance.md",
    "docs/reliability.md",
    "docs/runbook.md",
    "docs/security.md",
    "docs/warehouse.md",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn document(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

#[test]
fn the_files_that_documents_link_to_exist() {
    for name in DOCUMENTS {
        for target in document(name).split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let (file, _) = target.split_once('#').unwrap_or((target, ""));
            let beside = root().join(name).parent().expect("it is in a folder").join(file);
            assert!(file.starts_with("https://") || beside.exists(), "{name} links to {target}");
        }
    }
}

#[test]
fn the_metrics_that_documents_name_exist() {
    let metrics = metrics();
    for document_name in DOCUMENTS {
        let document = document(document_name);
        let named = document.split('`').skip(1).step_by(2).filter(|text| text.starts_with("crm_") && !text.contains(' '));
        // A label may follow the name.
        let named: Vec<_> = named.map(|text| text.split('{').next().unwrap_or(text)).collect();
        assert!(document_name != "README.md" || named.len() > 5, "{named:?}");
        for name in named {
            assert!(metrics.iter().any(|metric| metric.name == name), "{document_name}: there is no metric {name}");
        }
    }
}

#[test]
fn the_page_about_metrics_is_what_the_code_says() {
    let file = root().join("docs/metrics.md");
    let expected = page_about_metrics();
    if std::env::var_os("CRM_BLESS").is_some() {
        std::fs::write(&file, &expected).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    }
    let there = std::fs::read_to_string(&file).unwrap_or_default();
    let lines = there.lines().map(Some).chain(std::iter::repeat(None)).zip(expected.lines());
    let first: Vec<_> = lines.filter(|(there, expected)| *there != Some(*expected)).take(3).collect();
    assert!(
        there == expected,
        "docs/metrics.md is not what the code says; `CRM_BLESS=1 cargo test --test it -- docs` writes it anew.\n\
         The first lines that differ (there, expected): {first:#?}"
    );
}

fn page_about_metrics() -> String {
    let metrics = metrics();
    let mut page = String::from(
        "# Metrics\n\n\
         What `/metrics` on `admin.listen` tells. Made from the code and from the files in `deploy/`: after a change,\n\
         `CRM_BLESS=1 cargo test --test it -- docs` writes this page anew. What to do about an alert is in the\n\
         [runbook](runbook.md); the dashboard is [deploy/grafana](../deploy/grafana/dashboards/crm-processor.json).\n\n\
         Counters begin at 0 with the process, and each combination of label values is there from the start. Label values are\n\
         those below and no others; of `partition` there are as many as are assigned, of `node` as many as the database has.\n\n\
         | metric | type | unit | labels | meaning | alerts | rows of the dashboard |\n|---|---|---|---|---|---|---|\n",
    );
    for metric in &metrics {
        let Metric { name, kind, help, .. } = metric;
        let (labels, [alerts, rows]) = (labels_of(metric), uses_of(name, &metrics));
        let _ = writeln!(page, "| `{name}` | {kind} | {} | {labels} | {help} | {alerts} | {rows} |", unit_of(name));
    }
    page.push_str(
        "\n## Buckets\n\nThe upper bounds of each histogram's buckets, in the metric's unit.\n\n| metric | |\n|---|---|\n",
    );
    for metric in metrics.iter().filter(|metric| metric.kind == "histogram") {
        let bounds = metric.labels["le"].iter().filter(|bound| *bound != "+Inf").map(String::as_str);
        let _ = writeln!(page, "| `{}` | {} |", metric.name, bounds.collect::<Vec<_>>().join(", "));
    }
    page
}

fn unit_of(name: &str) -> &str {
    let name = name.trim_end_matches("_total");
    ["seconds", "bytes", "records"].into_iter().find(|unit| name.ends_with(&format!("_{unit}"))).unwrap_or("")
}

fn labels_of(metric: &Metric) -> String {
    let labels = metric.labels.iter().filter(|(name, _)| *name != "le").map(|(name, values)| match name.as_str() {
        "partition" => "`partition`: its number".to_owned(),
        "node" => "`node`: its address".to_owned(),
        "version" => "`version`: that of the program".to_owned(),
        _ => format!("`{name}`: {}", values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(", ")),
    });
    labels.collect::<Vec<_>>().join("; ")
}

/// Returns the alerts and the rows of the dashboard that use a metric, or a series that is recorded from it.
fn uses_of(metric: &str, metrics: &[Metric]) -> [String; 2] {
    let (rules, names) = (rules(), |expr: &str, name: &str| named_in(expr, metrics).iter().any(|named| named == name));
    let recorded: Vec<_> = rules.iter().filter(|rule| !rule.is_alert && names(&rule.expr, metric)).collect();
    let asks = |expr: &str| names(expr, metric) || recorded.iter().any(|rule| names(expr, &rule.name));
    let alerts = rules.iter().filter(|rule| rule.is_alert && asks(&rule.expr));
    let alerts: Vec<_> = alerts.map(|rule| format!("[{}](runbook.md#{})", rule.name, rule.name.to_lowercase())).collect();
    let mut rows: Vec<_> = queries().into_iter().filter(|query| asks(&query.expr)).map(|query| query.row).collect();
    rows.dedup();
    [alerts.join(", "), rows.join("; ")]
}

/// Snippets in these languages are copies of lines of the tested examples. Only their indentation may differ.
#[test]
fn the_snippets_of_documents_are_from_the_tested_examples() {
    let tested = |languages: &[&str], folders: &[&str]| -> Vec<Vec<String>> {
        let entries = folders.iter().flat_map(|folder| std::fs::read_dir(root().join(folder)).expect("a folder"));
        let files = entries.map(|entry| entry.expect("an entry").path());
        let files = files.filter(|file| file.extension().is_some_and(|ext| languages.iter().any(|language| ext == *language)));
        files.map(|file| trimmed(&std::fs::read_to_string(file).expect("a text"))).collect()
    };
    let mut found = 0;
    for (language, sources) in [
        ("java", tested(&["java"], &["examples/java"])),
        ("python", tested(&["py"], &["examples/python"])),
        ("js", tested(&["mjs"], &["examples/node"])),
        ("go", tested(&["go"], &["examples/go"])),
    ] {
        for name in DOCUMENTS {
            let document = document(name);
            let fence = format!("```{language}\n");
            for snippet in document.split(&fence).skip(1).filter_map(|rest| rest.split("```").next()) {
                let lines = trimmed(snippet);
                let is_there = sources.iter().any(|source| source.windows(lines.len()).any(|window| window == lines));
                assert!(is_there, "{name}: this is in no example:\n{snippet}");
                found += 1;
            }
        }
    }
    assert!(found > 10, "only {found} snippets");
    let page = document("docs/integration.md");
    let examples = tested(&["json"], &["schemas/examples"]);
    for snippet in page.split("```json\n").skip(1).filter_map(|rest| rest.split("```").next()) {
        let lines = trimmed(snippet);
        assert!(examples.iter().any(|example| example.windows(lines.len()).any(|window| window == lines)), "{snippet}");
    }
}

fn trimmed(text: &str) -> Vec<String> {
    text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
}

#[test]
fn the_tests_that_the_page_about_reliability_names_exist() {
    let page = document("docs/reliability.md");
    let column = page.lines().filter(|l| l.starts_with("| ")).filter_map(|l| l.split('|').nth(4));
    let named: Vec<_> = column.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    assert!(named.len() > 10, "{named:?}");
    for name in named {
        let path = name.replace("::", "/");
        let places = [format!("tests/it/{path}.rs"), format!("tests/{path}/main.rs")];
        assert!(places.iter().any(|place| root().join(place).exists()), "there are no tests {name}");
    }
}

#[test]
fn the_readme_explains_each_error_code_in_the_order_of_precedence() {
    let field = "x";
    let codes = [
        Rejection::MandatoryAttribute { field: field.into() },
        Rejection::InvalidAttribute { field: field.into(), reason: "".into() },
        Rejection::SegmentNotConfigured { field: field.into() },
        Rejection::RequestIdReused,
        Rejection::EntityNotFound { field: field.into() },
        Rejection::Deactivated { field: field.into() },
        Rejection::VersionConflict { expected: 0, actual: 0 },
        Rejection::ExternalIdNotUnique,
        Rejection::RecordUnreadable { reason: "".into() },
        Rejection::InternalError,
    ];
    let expected: Vec<_> = codes.iter().map(|r| format!("| `{}` | {} |", r.code(), r.status().code())).collect();
    let readme = document("README.md");
    let rows: Vec<_> = readme.lines().filter(|line| line.starts_with("| `CASM-")).collect();
    assert_eq!(rows.len(), expected.len(), "{rows:#?}");
    for (row, expected) in rows.iter().zip(expected) {
        assert!(row.starts_with(&expected), "{row}\nis not the row of {expected}");
    }
}
