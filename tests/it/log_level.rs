//! Tests that the log level of a running processor can be changed for a limited time.

use crate::crm::{Draft, custom_name, unique};
use crate::inbox::Inbox;
use crate::registry;
use crate::world::{Shared, shared};
use reqwest::Method;
use serde_json::{Value as Json, json};
use std::time::Instant;
use uuid::Uuid;

/// Makes a request for the log level, and returns status and body of the answer.
fn ask(shared: &Shared, method: Method, query: &str) -> (u16, Json) {
    let (status, body) = registry::request(method, &format!("{}/log-level{query}", shared.processor.admin()));
    (status, serde_json::from_str(&body).unwrap_or(Json::String(body)))
}

/// Waits until the configured level is in force again.
fn until_configured(shared: &Shared) {
    let deadline = Instant::now() + Inbox::PATIENCE;
    while ask(shared, Method::GET, "").1["left"] != Json::Null {
        assert!(Instant::now() < deadline, "the change does not end");
        crate::pause();
    }
}

#[test]
fn the_log_level_can_be_changed_for_a_time_and_ends_by_itself() {
    let Some(shared) = shared() else { return };
    let (processor, configured) = (&shared.processor, json!({"filter": "info", "configured": "info", "left": null}));
    let trace = || Uuid::new_v4().simple().to_string();
    let traced = |trace: &str| -> Draft {
        let name = custom_name(&unique("r"), &shared.customer().by_ref_id(), "Ada");
        name.header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"))
    };
    let (before, during, after) = (trace(), trace(), trace());
    assert_eq!(ask(shared, Method::GET, ""), (200, configured.clone()));
    shared.ask(&traced(&before));

    let (status, body) = ask(shared, Method::PUT, "?filter=info,crm_processor::spans=debug&for=50m");
    assert_eq!((status, &body["filter"]), (200, &json!("info,crm_processor::spans=debug")), "{body}");
    let left: u64 = body["left"].as_str().and_then(|left| left.strip_suffix('s')?.parse().ok()).expect("seconds");
    assert!((2900..=3000).contains(&left), "{body}");
    processor.until_metric("crm_log_level_changed", 1);
    shared.ask(&traced(&during));

    // The later change counts, and it ends soon.
    assert_eq!(ask(shared, Method::PUT, "?filter=crm_processor=info,warn&for=1s").0, 200);
    until_configured(shared);
    assert_eq!(ask(shared, Method::GET, ""), (200, configured.clone()));
    processor.until_metric("crm_log_level_changed", 0);
    shared.ask(&traced(&after));

    assert_eq!(ask(shared, Method::PUT, "?filter=debug").0, 200);
    assert_eq!(ask(shared, Method::DELETE, ""), (200, configured));

    let log = processor.log();
    let with = |text: &str| log.lines().filter(|line| line.contains(text)).count();
    let spans = |trace: &str| log.lines().filter(|line| line.contains(trace) && line.contains("close")).count();
    assert!(spans(&during) >= 4, "decoded, decided, stored, published: {log}");
    assert_eq!((spans(&before), spans(&after)), (0, 0), "{log}");
    assert_eq!((with("the log level is changed for a time"), with("the log level is as configured again")), (3, 2), "{log}");
}

#[test]
fn a_change_of_the_log_level_that_cannot_be_meant_is_refused_with_a_reason() {
    let Some(shared) = shared() else { return };
    for (query, reason) in [
        ("?filter=crm=loud", "is neither a level"),
        ("?filter=", "is empty"),
        ("?filter=debug&for=2h", "between 1s and 1h"),
        ("?filter=debug&for=0s", "between 1s and 1h"),
        ("?filter=debug&for=soon", "not a duration"),
        ("?for=10m", "filter"),
        ("?filter=debug&level=debug", "level"),
    ] {
        let (status, body) = ask(shared, Method::PUT, query);
        assert_eq!(status, 400, "{query}: {body}");
        assert!(body.to_string().contains(reason), "{query}: {body} says {reason:?}");
    }
    assert_eq!(ask(shared, Method::POST, "?filter=debug").0, 405);
}
