//! Reads the statements of a page's section from its `sh` and `sql` blocks.

use std::path::Path;

/// The statements that a page tells an administrator to run.
pub struct Statements {
    /// Command lines of Kafka's tools.
    pub kafka: Vec<String>,
    /// Statements of CQL.
    pub cql: Vec<String>,
}

/// Returns the statements below the heading `section` of a page, up to the next heading.
pub fn statements(page: &str, section: &str) -> Statements {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(page);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let heading = |line: &str| line.starts_with("##").then(|| line.trim_start_matches('#').trim().to_owned());
    let below = text.lines().skip_while(|line| heading(line).as_deref() != Some(section)).skip(1);
    let body: String = below.take_while(|line| heading(line).is_none()).flat_map(|line| [line, "\n"]).collect();
    assert!(!body.is_empty(), "{page} has no section {section:?}");
    // Blocks in lists are indented.
    let body: String = body.lines().flat_map(|line| [line.trim_start(), "\n"]).collect();
    let kafka = blocks(&body, "sh").replace("\\\n", "");
    let kafka = kafka.lines().filter(|line| line.starts_with("kafka-")).map(ToOwned::to_owned).collect();
    let cql = blocks(&body, "sql").split(';').map(str::trim).filter(|s| !s.is_empty()).map(ToOwned::to_owned).collect();
    Statements { kafka, cql }
}

fn blocks(body: &str, language: &str) -> String {
    let opening = format!("```{language}\n");
    body.split(&opening).skip(1).filter_map(|rest| rest.split("```").next()).collect()
}
