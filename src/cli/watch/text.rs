//! Replies, business transactions and change rows as lines for people: one for each record, and one more for each finding.

use crate::domain::transaction::Snapshot;
use crate::toolbox::paint::Paint;
use crate::toolbox::reply::{BusinessTransaction, ChangeRow, DecodedReply};
use crate::wire::headers::rfc3339;
use rdkafka::message::{Message as _, OwnedMessage};
use serde::Deserialize as _;
use serde_json::Value;

/// Returns the lines about a record; `decoded` is its value, or why that can't be decoded.
pub(super) fn line(record: &OwnedMessage, decoded: Result<Value, String>, paint: Paint) -> String {
    let at = paint.dim(record.timestamp().to_millis().map_or("no time".into(), rfc3339));
    let value = match decoded {
        Ok(value) => value,
        Err(why) => return format!("{at}  {}", paint.red(format!("{} bytes: {why}", record.payload().map_or(0, <[u8]>::len)))),
    };
    let request = paint.dim(format!("request {}", value["requestId"]));
    if let Ok(transaction) = BusinessTransaction::deserialize(&value) {
        let use_case = value["useCase"].as_str().unwrap_or_default();
        let what = if use_case == Snapshot::USE_CASE { transaction.state() } else { transaction.summary() };
        return format!("{at}  {}  {what}  {request}", paint.cyan(use_case));
    }
    if let Ok(row) = ChangeRow::deserialize(&value) {
        return format!("{at}  {}  {}  {request}", paint.cyan(&row.use_case), row.summary());
    }
    let Ok(reply) = DecodedReply::read(value) else {
        return format!("{at}  {}", paint.red("neither a reply nor a business transaction nor a change row"));
    };
    let done = reply.business_transaction.as_ref().map(|transaction| format!("  {}", transaction.summary()));
    let findings = reply.findings(paint).map(|finding| format!("\n  {finding}"));
    let below: String = done.into_iter().chain(findings).collect();
    format!("{at}  {}  {request}{below}", reply.headline(paint))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::Timestamp;
    use serde_json::json;

    fn shown(value: Result<Value, String>) -> String {
        let record = OwnedMessage::new(Some(b"xyz".to_vec()), None, "t".into(), Timestamp::CreateTime(0), 0, 0, None);
        line(&record, value, Paint::plain())
    }

    #[test]
    fn each_kind_of_record_has_its_line() {
        let transaction = |use_case: &str, previous: i64, changes: Value| {
            json!({"useCase": use_case, "requestId": "r-1", "refId": "e", "version": 2, "previousVersion": previous,
                "changes": changes, "customer": {"externalId": "c-1"}, "account": null, "subscriber": null})
        };
        let changes = json!([{"field": "customName", "old": null, "new": "Ann"}]);
        let changed = transaction("updateCustomerCustomName", 1, changes);
        let reply = |status: i32, errors: Value, transaction: Value| {
            json!({"requestId": "r-1", "statusCode": status, "statusMessage": "OK", "replayed": false, "errors": errors,
                "businessTransaction": transaction})
        };
        for (value, expected) in [
            (
                Ok(changed.clone()),
                "updateCustomerCustomName  customer c-1, version 1 → 2, customName: null → \"Ann\"  request \"r-1\"",
            ),
            (Ok(transaction("snapshot", 2, json!([]))), "snapshot  customer c-1, version 2  request \"r-1\""),
            (
                Ok(reply(200, json!([]), changed)),
                "200 OK  request \"r-1\"  customer c-1, version 1 → 2, customName: null → \"Ann\"",
            ),
            (
                Ok(reply(400, json!([{"code": "CASM-A", "field": "x", "message": "is wrong"}]), Value::Null)),
                "400 OK  request \"r-1\"\n  CASM-A  x  is wrong",
            ),
            (Err("no schema".into()), "3 bytes: no schema"),
            (
                Ok(
                    json!({"useCase": "updateCustomerCustomName", "requestId": "r-1", "entityType": "CUSTOMER", "externalId": "c-1",
                    "version": 2, "previousVersion": 1, "changedFields": "customName"}),
                ),
                "updateCustomerCustomName  customer c-1, version 1 → 2, changed: customName  request \"r-1\"",
            ),
            (
                Ok(json!({"useCase": "snapshot", "requestId": "snapshot:2", "entityType": "CUSTOMER", "externalId": "c-1",
                    "version": 2, "previousVersion": 2, "changedFields": ""})),
                "snapshot  customer c-1, version 2  request \"snapshot:2\"",
            ),
            (Ok(json!({})), "neither a reply nor a business transaction nor a change row"),
        ] {
            let context = format!("{value:?}");
            assert_eq!(shown(value), format!("1970-01-01T00:00:00.000Z  {expected}"), "{context}");
        }
    }
}
