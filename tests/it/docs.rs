//! What the documents say agrees with the program, as far as that can be looked up.

use crm_processor::domain::rejection::Rejection;
use crm_processor::telemetry::metrics::Metrics;
use std::path::Path;

const DOCUMENTS: [&str; 5] = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/reliability.md"];

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
fn the_metrics_that_the_readme_names_exist() {
    let metrics = Metrics::new();
    // It has a series for each assigned partition, and none without.
    metrics.consumer_lag.set(0, 0);
    let exposition = metrics.exposition();
    let readme = document("README.md");
    let named: Vec<_> = readme.split('`').filter(|text| text.starts_with("crm_") && !text.contains(' ')).collect();
    assert!(named.len() > 5, "{named:?}");
    for name in named {
        assert!(exposition.contains(&format!("# TYPE {name} ")), "there is no metric {name}");
    }
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
