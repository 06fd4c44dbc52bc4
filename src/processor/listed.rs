//! Lists partitions in a warning, however many there are.

use crate::telemetry::wording::counted;

/// The most partitions that are named.
const NAMED: usize = 3;

/// Joins the words about each of some partitions. If there are many, the text says how many others there are.
pub fn listed(partitions: impl ExactSizeIterator<Item = String>, separator: &str) -> String {
    let others = partitions.len().saturating_sub(NAMED);
    let others = (others > 0).then(|| format!("and {}", counted(others, "more partition")));
    partitions.take(NAMED).chain(others).collect::<Vec<_>>().join(separator)
}

#[cfg(test)]
mod tests {
    use super::listed;

    #[test]
    fn the_first_three_are_named_and_the_others_counted() {
        let text = |count: usize| listed((0..count).map(|n| n.to_string()), "; ");
        assert_eq!([text(0), text(1), text(3)], ["", "0", "0; 1; 2"]);
        assert_eq!([text(4), text(5)], ["0; 1; 2; and 1 more partition", "0; 1; 2; and 2 more partitions"]);
    }
}
