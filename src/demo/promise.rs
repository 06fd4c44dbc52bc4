//! The promises that scenes make about answers, and the ways in which answers break them.

use crate::toolbox::reply::DecodedReply;

/// A promise about a reply.
#[derive(Clone, Debug)]
pub enum Promise {
    /// 200: one attribute changes, and a Business Transaction is published.
    Changed {
        /// The attribute that changes.
        field: &'static str,
        /// The attribute's value before.
        old: Option<&'static str>,
        /// The attribute's value afterwards.
        new: &'static str,
        /// The entity's version afterwards.
        version: i64,
    },
    /// 200: an entity comes into being at version 1, or several attributes change at once. A Business Transaction is published.
    ChangedAll {
        /// The attributes that change, each with its value before and afterwards.
        changes: Vec<(&'static str, Option<&'static str>, String)>,
        /// The entity's version afterwards.
        version: i64,
    },
    /// 200: the value was already the requested one. Nothing is published.
    Unchanged,
    /// 400 with these findings: the code, and the field, which is empty if there is none.
    Refused(&'static [(&'static str, &'static str)]),
    /// The same as in the first reply, to the letter, and marked as replayed. Nothing new is published.
    Replayed(Box<DecodedReply>),
}

impl Promise {
    /// Returns whether a Business Transaction must appear on its topic.
    pub fn publishes(&self) -> bool {
        matches!(self, Self::Changed { .. } | Self::ChangedAll { .. })
    }

    /// Returns a sentence for each thing that is not as promised, and nothing if all is.
    pub fn broken_by(&self, reply: &DecodedReply) -> Vec<String> {
        let mut broken = Vec::new();
        let mut expect = |what: &str, promised: String, got: String| {
            if promised != got {
                broken.push(format!("{what} is {got}, but {promised} was promised"));
            }
        };
        let findings: Vec<_> = reply.errors.iter().map(|e| (e.code.as_str(), e.field.as_deref().unwrap_or_default())).collect();
        let status = match self {
            Self::Changed { .. } | Self::ChangedAll { .. } | Self::Unchanged => 200,
            Self::Refused(_) => 400,
            Self::Replayed(first) => first.status_code,
        };
        expect("the status", status.to_string(), reply.status_code.to_string());
        expect("replayed", matches!(self, Self::Replayed(_)).to_string(), reply.replayed.to_string());
        let transaction = reply.business_transaction.as_ref();
        let versions = transaction.map(|t| (t.previous_version, t.version));
        let changes: Vec<_> =
            transaction.iter().flat_map(|t| &t.changes).map(|c| (c.field.as_str(), c.old.as_deref(), c.new.as_deref())).collect();
        let mut expect_changes = |promised: &[(&str, Option<&str>, Option<&str>)], version: i64| {
            expect("the change", format!("{promised:?}"), format!("{changes:?}"));
            expect("the version", format!("{:?}", Some((version - 1, version))), format!("{versions:?}"));
            expect("the list of findings", "[]".into(), format!("{findings:?}"));
        };
        match self {
            Self::Changed { field, old, new, version } => expect_changes(&[(*field, *old, Some(*new))], *version),
            Self::ChangedAll { changes, version } => {
                let promised: Vec<_> = changes.iter().map(|(field, old, new)| (*field, *old, Some(new.as_str()))).collect();
                expect_changes(&promised, *version);
            }
            Self::Unchanged => {
                expect("the change", "[]".into(), format!("{changes:?}"));
                expect(
                    "the version",
                    "the one before".into(),
                    match versions {
                        Some((before, after)) if before == after => "the one before".into(),
                        other => format!("{other:?}"),
                    },
                );
                expect("the list of findings", "[]".into(), format!("{findings:?}"));
            }
            Self::Refused(promised) => {
                expect("the list of findings", format!("{promised:?}"), format!("{findings:?}"));
                expect("the Business Transaction", "None".into(), format!("{transaction:?}"));
            }
            Self::Replayed(first) => {
                for part in ["requestId", "statusMessage", "errors", "businessTransaction"] {
                    expect(part, first.json[part].to_string(), reply.json[part].to_string());
                }
            }
        }
        broken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn reply(changes: &Value) -> DecodedReply {
        let json = json!({
            "requestId": "r-1", "statusCode": 200, "statusMessage": "OK", "errors": [], "replayed": false,
            "businessTransaction": {"transactionId": "t", "refId": "e", "version": 3, "previousVersion": 2, "changes": changes},
        });
        DecodedReply::read(json).unwrap()
    }

    fn changed(new: &'static str, version: i64) -> Promise {
        Promise::Changed { field: "customName", old: None, new, version }
    }

    #[test]
    fn a_promise_is_kept_only_by_the_very_answer() {
        let ann = reply(&json!([{"field": "customName", "old": null, "new": "Ann"}]));
        let replayed = DecodedReply { replayed: true, ..ann.clone() };
        let kept = [changed("Ann", 3).broken_by(&ann), Promise::Replayed(Box::new(ann.clone())).broken_by(&replayed)];
        assert_eq!(kept, [Vec::<String>::new(), Vec::new()]);
        let all = |new: &str, version| Promise::ChangedAll { changes: vec![("customName", None, new.into())], version };
        assert_eq!(all("Ann", 3).broken_by(&ann), Vec::<String>::new());
        for (broken, by) in [
            (all("Bob", 3), &ann),
            (all("Ann", 4), &ann),
            (changed("Bob", 3), &ann),
            (changed("Ann", 4), &ann),
            (changed("Ann", 3), &replayed),
            (Promise::Unchanged, &ann),
            (Promise::Refused(&[("CASM-ENTITY-NOT-FOUND", "customer.externalId")]), &ann),
            (Promise::Replayed(Box::new(ann.clone())), &ann),
            (Promise::Replayed(Box::new(reply(&json!([])))), &replayed),
        ] {
            assert!(!broken.broken_by(by).is_empty(), "{broken:?} is not kept by {by:?}");
        }
    }

    #[test]
    fn findings_are_promised_in_their_order() {
        let refused = |errors: Value| {
            let json = json!({
                "requestId": null, "statusCode": 400, "statusMessage": "", "errors": errors, "replayed": false,
                "businessTransaction": null,
            });
            DecodedReply::read(json).unwrap()
        };
        let (a, b) = (json!({"code": "A", "field": "x", "message": ""}), json!({"code": "B", "field": null, "message": ""}));
        let promise = Promise::Refused(&[("A", "x"), ("B", "")]);
        assert_eq!(promise.broken_by(&refused(json!([a, b]))), Vec::<String>::new());
        assert!(!promise.broken_by(&refused(json!([b, a]))).is_empty());
        assert!(!promise.broken_by(&refused(json!([a]))).is_empty());
    }
}
