//! Makes `docs/asyncapi.yaml` from the schemas, and checks it: the parser of `AsyncAPI` accepts it, and a running processor takes
//! and gives exactly the records of its examples.

use crate::crm::{Draft, Entity, Kind, json_lines, unique};
use crate::examples::node::installed;
use crate::inbox::Record;
use crate::operation::{path, read};
use crate::world::{Shared, shared};
use apache_avro::Schema;
use apache_avro::types::Value;
use crm_processor::domain::use_case::UseCase;
use serde_json::{Value as Json, json};
use std::process::{Command, Output};
use uuid::Uuid;

const DOCUMENT: &str = "docs/asyncapi.yaml";

#[test]
fn the_document_is_made_from_the_schemas() {
    let expected = document();
    if std::env::var_os("CRM_BLESS").is_some() {
        std::fs::write(path(DOCUMENT), &expected).unwrap_or_else(|e| panic!("{DOCUMENT}: {e}"));
    }
    let there = std::fs::read_to_string(path(DOCUMENT)).unwrap_or_default();
    let differ = there.lines().zip(expected.lines()).find(|(there, expected)| there != expected);
    assert!(
        there == expected,
        "{DOCUMENT} is not what its template and the schemas say; `CRM_BLESS=1 cargo test --test it -- asyncapi` writes it anew.\n\
         The first lines that differ (there, expected): {differ:#?}"
    );
}

/// Returns the template with its sections repeated for each command, and with the named files inserted.
fn document() -> String {
    let template = read("tests/it/asyncapi/template.yaml").replace("{version}", env!("CARGO_PKG_VERSION"));
    let mut lines = template.lines();
    let mut document = String::new();
    while let Some(line) = lines.next() {
        if line.trim() != "# each command" {
            document += &filled_in(line);
            continue;
        }
        let section: Vec<_> = lines.by_ref().take_while(|line| line.trim() != "# end").collect();
        for case in UseCase::ALL {
            let schema: Json = serde_json::from_str(case.schema()).expect("is JSON");
            let doc = schema["doc"].as_str().expect("a command's record is documented");
            let of_case =
                |line: &str| line.replace("{record}", case.record()).replace("{use case}", case.name()).replace("{doc}", doc);
            for line in &section {
                document += &filled_in(&of_case(line));
            }
        }
    }
    document
}

/// Returns a line, or, if it is `@FILE@`, that file at the line's indentation. (JSON is YAML.)
fn filled_in(line: &str) -> String {
    let name = line.trim().strip_prefix('@').and_then(|rest| rest.strip_suffix('@'));
    let Some(name) = name else { return format!("{line}\n") };
    let indentation = &line[..line.len() - line.trim_start().len()];
    read(name).lines().fold(String::new(), |text, line| text + indentation + line + "\n")
}

#[test]
fn the_asyncapi_parser_finds_nothing_to_blame_and_the_examples_fit_the_schemas() {
    let Some(output) = checked(&document()) else { return };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let messages: Json = serde_json::from_slice(&output.stdout).expect("JSON");
    let messages = messages.as_object().expect("messages by name");
    assert_eq!(messages.len(), UseCase::ALL.len() + 5, "{messages:#?}");
    for (name, message) in messages {
        let examples = message["examples"].as_array().filter(|examples| !examples.is_empty());
        for example in examples.unwrap_or_else(|| panic!("{name} has no examples")) {
            let Some(record) = message["name"].as_str().and_then(|name| name.strip_prefix("crm.v1.")) else { continue };
            let schema = Schema::parse_str(&read(&format!("schemas/{record}.avsc"))).unwrap_or_else(|e| panic!("{record}: {e}"));
            let value = Value::try_from(example["payload"].clone()).and_then(|value| value.resolve(&schema));
            let value = value.unwrap_or_else(|e| panic!("{name}: {e} in {example}"));
            // Fields that the schema does not know would be left out.
            let again: Json = value.try_into().expect("a record can be shown as JSON");
            let fields = example["payload"].as_object().expect("a record").keys();
            let unknown: Vec<_> = fields.filter(|field| again.get(field).is_none()).collect();
            assert!(unknown.is_empty(), "{name}: the schema has no {unknown:?}");
        }
    }
}

#[test]
fn the_asyncapi_parser_would_blame_a_wrong_document() {
    for (right, wrong) in [("action: receive", "action: take"), ("\"statusCode\": 200", "\"statusCode\": \"200\"")] {
        let document = document();
        assert!(document.contains(right), "{right}");
        let Some(output) = checked(&document.replacen(right, wrong, 1)) else { return };
        assert_eq!(output.status.code(), Some(1), "{wrong} passes: {output:?}");
    }
}

/// Returns what `check.mjs` says about a document, or `None` if it can't run here; the reason has been printed.
fn checked(document: &str) -> Option<Output> {
    let folder = installed("node-asyncapi-parser-3.6.3", &path("tests/it/asyncapi"), &["check.mjs"])?;
    let file = folder.join(unique("asyncapi"));
    std::fs::write(&file, document).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    Some(Command::new("node").arg(folder.join("check.mjs")).arg(file).output().expect("node is there"))
}

#[test]
fn the_examples_are_what_the_processor_takes_and_answers() {
    let Some(shared) = shared() else { return };
    let example =
        |name: &str| -> Json { serde_json::from_str(&read(&format!("schemas/examples/{name}.json"))).expect("is JSON") };
    let [customer, account, subscriber, other] = import(shared);
    let ask = |record: &'static str, body: Json, correlation: &str| {
        shared.ask(&Draft::new(record, body).header("correlation-id", correlation))
    };

    let reply = ask("UpdateCustomerCustomName", example("UpdateCustomerCustomName"), "order 66");
    assert_eq!(timeless(&reply.body), timeless(&example("Reply")));
    let transaction = shared.transaction(&customer, "r-1");
    assert_eq!(timeless(&transaction.body), timeless(&example("BusinessTransaction")));
    for (record, entity) in [
        ("UpdateCustomerSegment", &customer),
        ("UpdateAccountExternalId", &account),
        ("UpdateSubscriberExternalId", &subscriber),
        ("UpdateCustomerExternalId", &customer),
        ("UpdateAccountCustomName", &account),
        ("UpdateSubscriberCustomName", &subscriber),
        ("UpdateCustomerState", &customer),
        ("UpdateAccountState", &account),
        ("UpdateSubscriberState", &subscriber),
    ] {
        let command = example(record);
        let reply = ask(record, command.clone(), &unique("c"));
        assert_eq!(reply.body["statusCode"], 200, "{command}: {reply:?}");
        shared.transaction(entity, command["requestId"].as_str().expect("has one"));
    }
    for record in ["CreateCustomer", "CreateAccount", "CreateSubscriber"] {
        let command = example(record);
        let reply = ask(record, command.clone(), &unique("c"));
        assert_eq!(
            (&reply.body["statusCode"], &reply.body["businessTransaction"]["version"]),
            (&json!(200), &json!(1)),
            "{reply:?}"
        );
    }
    let taken = json!({"requestId": "r-5", "account": other.by_ref_id(), "externalId": "a-2001"});
    let refusal = ask("UpdateAccountExternalId", taken, "order 67");
    assert_eq!(timeless(&refusal.body), timeless(&example("Reply.refused")));

    let snapshot = example("BusinessTransaction.snapshot");
    let id = format!("crm:snapshot:customer:{}:{}", customer.ref_id, snapshot["version"]);
    assert_eq!(snapshot["transactionId"], Uuid::new_v5(&Uuid::NAMESPACE_URL, id.as_bytes()).to_string());
    for field in ["customer", "account", "subscriber", "entityType", "refId", "version"] {
        assert_eq!(timeless(&snapshot)[field], timeless(&transaction.body)[field], "{field}");
    }

    let unreadable = Draft::raw(Some(b"?".to_vec()));
    let sent = shared.send(&unreadable);
    let offset = sent.offset.to_string();
    let is_it =
        |r: &Record| r.topic == shared.dlq && r.key == unreadable.key && r.text("__connect.errors.offset") == Some(&offset);
    let letter = shared.inbox.first("the dead letter", is_it);
    the_document_describes_the_headers(&[("reply", &reply), ("transaction", &transaction), ("DeadLetter", &letter)]);
}

/// The entities that the examples are about, and another account.
fn import(shared: &Shared) -> [Entity; 4] {
    let entity = |kind, ref_id: &str, external_id: &str| Entity {
        kind,
        ref_id: ref_id.into(),
        external_id: external_id.into(),
        state: "ACTIVE",
    };
    let customer = entity(Kind::Customer, "6ec0bd7f-11c0-43da-975e-2a8ad9ebae0b", "c-1001");
    let account = entity(Kind::Account, "7f2d1c1e-63f7-4c0f-9f10-1c1f0f6a7b11", "a-1001");
    let subscriber = entity(Kind::Subscriber, "b1a5cf43-4d09-4c52-9ad2-3d5f4e1c8a77", "s-1001");
    let other = shared.account();
    let mut line = customer.line();
    line["customerSegment"] = json!("RESIDENTIAL");
    shared.import_lines(&json_lines(&[line, account.line(), subscriber.line()])).succeeded();
    [customer, account, subscriber, other]
}

/// Returns a body without the fields that depend on the time, and without those that the tests' reader adds.
fn timeless(body: &Json) -> Json {
    match body {
        Json::Object(fields) => fields
            .iter()
            .filter(|(name, _)| !["occurredAt", "processedAt", "record"].contains(&name.as_str()))
            .map(|(name, value)| (name.clone(), timeless(value)))
            .collect(),
        Json::Array(values) => values.iter().map(timeless).collect(),
        other => other.clone(),
    }
}

/// Checks that each header of a record is in the record's section of the document.
fn the_document_describes_the_headers(records: &[(&str, &Record)]) {
    let document = document();
    let (_, components) = document.split_once("\ncomponents:\n").expect("a section");
    for (section, record) in records {
        let start = components.find(&format!("\n    {section}:\n")).unwrap_or_else(|| panic!("no section {section}"));
        let lines = components[start + 1..].lines();
        let section: Vec<_> = lines.skip(1).take_while(|line| line.starts_with("     ")).map(str::trim).collect();
        for (name, _) in &record.headers {
            assert!(section.contains(&format!("{name}:").as_str()), "{DOCUMENT} says nothing of the header {name} of {record:?}");
        }
    }
}
