//! Words for figures, in what operators read.

/// Returns a number with a noun: `1 record`, `2 records`.
pub fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}
