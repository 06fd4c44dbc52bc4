//! References within the document.

use serde_json::{Value, json};

/// Returns a reference to a component of this kind and name.
pub fn reference(kind: &str, name: &str) -> Value {
    json!({ "$ref": format!("#/components/{kind}/{name}") })
}
