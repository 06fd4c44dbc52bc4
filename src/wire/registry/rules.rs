//! The rules that Confluent's data contracts put beside a schema, as far as they change the values that are written.
//!
//! A serializer runs a schema's rules on the values that it writes, and the reader is to run them backwards. This processor runs no rules.
//! So a rule that changes values on the way (`ENCRYPT` makes cipher text of them) makes a schema useless here: the cipher text would pass
//! for a name.
//!
//! | rule | here |
//! |---|---|
//! | `disabled` | harmless: it is not run |
//! | of type `ENCRYPT`, `ENCRYPT_PAYLOAD`, … | refused: the values are cipher text, whatever kind and mode the rule has |
//! | in `encodingRules` | refused, unless it is a `CONDITION`: the whole body is something else |
//! | `TRANSFORM` in `domainRules`, mode `WRITE` | harmless: the values that were written are those that are meant |
//! | `TRANSFORM` in `domainRules`, any other mode | refused: the reader is to transform the values back, and does not |
//! | `CONDITION` | harmless: it checks values and changes none |
//! | in `migrationRules` | harmless: they are for readers that want another version of the schema |

use crate::wire::shape::quote;
use serde::Deserialize;

/// A schema's rules, without the fields that do not matter here.
#[derive(Deserialize, Hash)]
#[serde(rename_all = "camelCase")]
pub(super) struct RuleSet {
    #[serde(default)]
    domain_rules: Option<Vec<Rule>>,
    #[serde(default)]
    encoding_rules: Option<Vec<Rule>>,
}

#[derive(Deserialize, Hash)]
struct Rule {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    kind: Option<String>,
    #[serde(default)]
    mode: Option<String>,
    #[serde(default, rename = "type")]
    executor: Option<String>,
    #[serde(default)]
    disabled: Option<bool>,
}

/// The beginning of the types of rules that encrypt.
const ENCRYPT: &str = "ENCRYPT";

impl RuleSet {
    /// Returns why the schema can't be used, or `None` if no rule changes the values that are written.
    pub(super) fn obstacle(&self) -> Option<String> {
        let rules = |rules: &Option<Vec<Rule>>, is_encoding| -> Option<String> {
            rules.iter().flatten().find_map(|rule| rule.obstacle(is_encoding))
        };
        rules(&self.domain_rules, false).or_else(|| rules(&self.encoding_rules, true))
    }
}

impl Rule {
    fn obstacle(&self, is_encoding: bool) -> Option<String> {
        let is = |field: &Option<String>, text: &str| field.as_deref().is_some_and(|f| f.eq_ignore_ascii_case(text));
        if self.disabled == Some(true) {
            return None;
        }
        let name = quote(self.name.as_deref().unwrap_or_default());
        let kind = quote(self.executor.as_deref().unwrap_or_default());
        if self.executor.as_deref().is_some_and(|e| e.to_ascii_uppercase().starts_with(ENCRYPT)) {
            return Some(format!("its rule {name} of type {kind} encrypts values, and they are not decrypted here"));
        }
        if is(&self.kind, "CONDITION") || (!is_encoding && is(&self.mode, "WRITE")) {
            return None;
        }
        Some(format!("its rule {name} of type {kind} transforms values, and they are not transformed back here"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_rule_that_makes_something_else_of_the_bytes_is_an_obstacle_and_every_other_is_none() {
        let encrypt = json!({
            "name": "pii", "kind": "TRANSFORM", "mode": "WRITEREAD", "type": "ENCRYPT", "tags": ["PII"],
            "params": {"encrypt.kek.name": "k"}, "onFailure": "ERROR,NONE",
        });
        let with = |base: &Value, key: &str, value: Value| {
            let mut rule = base.clone();
            rule[key] = value;
            rule
        };
        let cel = json!({"name": "cel", "kind": "TRANSFORM", "mode": "WRITEREAD", "type": "CEL_FIELD", "expr": "value + 'x'"});
        let domain = |rule: Value| json!({ "domainRules": [rule] });
        let encoding = |rule: Value| json!({ "encodingRules": [rule] });
        for (rules, expected) in [
            (json!({}), None),
            (json!({"domainRules": null, "migrationRules": null, "encodingRules": null}), None),
            (domain(encrypt.clone()), Some("encrypts")),
            (domain(with(&encrypt, "kind", "CONDITION".into())), Some("encrypts")),
            (domain(with(&encrypt, "mode", "WRITE".into())), Some("encrypts")),
            (domain(with(&encrypt, "disabled", true.into())), None),
            (domain(with(&encrypt, "disabled", false.into())), Some("encrypts")),
            (domain(with(&encrypt, "type", "ENCRYPT_PAYLOAD".into())), Some("encrypts")),
            (encoding(with(&encrypt, "type", "ENCRYPT_PAYLOAD".into())), Some("encrypts")),
            (encoding(with(&cel, "mode", "WRITE".into())), Some("transforms")),
            (domain(cel.clone()), Some("transforms")),
            (domain(with(&cel, "mode", "READ".into())), Some("transforms")),
            (domain(with(&cel, "mode", Value::Null)), Some("transforms")),
            (domain(with(&cel, "kind", Value::Null)), Some("transforms")),
            (domain(with(&cel, "mode", "WRITE".into())), None),
            (domain(with(&cel, "kind", "CONDITION".into())), None),
            (json!({"migrationRules": [with(&cel, "mode", "UPGRADE".into())]}), None),
            (json!({"domainRules": [with(&cel, "kind", "CONDITION".into()), encrypt.clone()]}), Some("encrypts")),
        ] {
            let set: RuleSet = serde_json::from_value(rules.clone()).unwrap();
            let got = set.obstacle();
            assert_eq!(got.is_some(), expected.is_some(), "{rules}: {got:?}");
            assert!(got.as_deref().unwrap_or_default().contains(expected.unwrap_or_default()), "{rules}: {got:?}");
        }
    }
}
