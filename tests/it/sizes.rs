//! Tests commands of the largest size: replies repeat their values, and must get through all the same.

use crate::crm::{custom_name, unique};
use crate::inbox::Record;
use crate::world::{Shared, shared};
use std::sync::Arc;

/// Almost `max_command_bytes`, with room for the rest of the command.
const LARGE: usize = (1 << 20) - 2_000;

/// Returns the one reply with a header, and checks that the commands beside it are answered, too.
fn one_reply(shared: &Shared, name: &str, value: &str) -> Arc<Record> {
    let is_reply = |r: &Record| shared.holds_replies(&r.topic) && r.header(name) == Some(value.as_bytes());
    let reply = shared.inbox.first(&format!("a reply with the header {name}"), is_reply);
    let beside = custom_name(&unique("r"), &shared.customer().by_ref_id(), "Ada");
    assert_eq!(shared.ask(&beside).body["statusCode"], 200);
    assert_eq!(shared.inbox.all(is_reply).len(), 1, "{reply:?}");
    reply
}

#[test]
fn a_command_with_a_large_key_is_answered() {
    let Some(shared) = shared() else { return };
    for size in [LARGE / 2, LARGE] {
        let correlation = unique("c");
        let mut key = unique("k").into_bytes();
        key.resize(size, b'x');
        let draft = custom_name(&unique("r"), &shared.customer().by_ref_id(), "Ada").key(&key);
        shared.send(&draft.header("correlation-id", &correlation));
        let reply = one_reply(shared, "correlation-id", &correlation);
        assert_eq!((&reply.body["statusCode"], reply.key.as_ref() == Some(&key)), (&200.into(), true), "{reply:?}");
    }
}

#[test]
fn a_command_with_a_large_invalid_request_id_is_answered() {
    let Some(shared) = shared() else { return };
    for size in [LARGE / 4, LARGE / 2, LARGE] {
        let correlation = unique("c");
        let request = "x".repeat(size);
        let draft = custom_name(&request, &shared.customer().by_ref_id(), "Ada");
        shared.send(&draft.header("correlation-id", &correlation));
        let reply = one_reply(shared, "correlation-id", &correlation);
        let errors = &reply.body["errors"];
        let found = (&reply.body["statusCode"], &errors[0]["code"], &errors[0]["field"]);
        assert_eq!(found, (&400.into(), &"CASM-INVALID-ATTRIBUTE".into(), &"requestId".into()), "{size}: {errors}");
    }
}

#[test]
fn a_command_with_a_large_invalid_request_id_and_no_other_is_answered() {
    let Some(shared) = shared() else { return };
    for size in [LARGE / 4, LARGE / 2, LARGE] {
        let draft = custom_name(&"x".repeat(size), &shared.customer().by_ref_id(), "Ada");
        let reply = &shared.ask_by_key(std::slice::from_ref(&draft))[0];
        assert_eq!(reply.body["errors"][0]["field"], "requestId", "{size}: {}", reply.body["errors"]);
        let keyless = custom_name(&"y".repeat(size), &shared.customer().by_ref_id(), "Ada").without_key();
        let marker = unique("c");
        shared.send(&keyless.header("correlation-id", &marker));
        let reply = one_reply(shared, "correlation-id", &marker);
        assert_eq!(reply.body["errors"][0]["field"], "requestId", "{size}: {}", reply.body["errors"]);
    }
}

#[test]
fn commands_with_large_values_in_a_burst_are_answered_one_by_one() {
    const COMMANDS: usize = 24;
    let Some(shared) = shared() else { return };
    let drafts: Vec<_> = (0..COMMANDS)
        .map(|n| {
            let draft = custom_name(&unique("r"), &shared.customer().by_ref_id(), "Ada");
            let draft = draft.header("ballast", vec![b'x'; LARGE]);
            if n % 2 == 0 { draft } else { draft.key("one lane") }
        })
        .collect();
    let replies = shared.ask_all(&drafts);
    assert!(replies.iter().all(|r| r.body["statusCode"] == 200), "{replies:#?}");
}
