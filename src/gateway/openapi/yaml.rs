//! YAML in block style, as far as a document of texts, numbers, lists and objects needs it.

use serde_json::Value;
use std::fmt::Write as _;

/// Writes a value in block style. Texts are quoted as in JSON, which is YAML, too.
pub fn write_yaml(text: &mut String, value: &Value, depth: usize) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(entries) if !entries.is_empty() => {
            for (key, value) in entries {
                let _ = write!(text, "{indent}{}:", Value::from(key.as_str()));
                write_nested(text, value, depth);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                let _ = write!(text, "{indent}-");
                write_nested(text, item, depth);
            }
        }
        scalar => {
            let _ = writeln!(text, "{indent}{scalar}");
        }
    }
}

fn write_nested(text: &mut String, value: &Value, depth: usize) {
    let is_block =
        value.as_object().is_some_and(|object| !object.is_empty()) || value.as_array().is_some_and(|array| !array.is_empty());
    if is_block {
        text.push('\n');
        write_yaml(text, value, depth + 1);
    } else {
        let _ = writeln!(text, " {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn yaml_nests_by_indentation() {
        let mut text = String::new();
        write_yaml(&mut text, &json!({ "a": { "b": [1, { "c": "x: y" }], "d": {} }, "e": [] }), 0);
        let expected = "\"a\":\n  \"b\":\n    - 1\n    -\n      \"c\": \"x: y\"\n  \"d\": {}\n\"e\": []\n";
        assert_eq!(text, expected);
    }
}
