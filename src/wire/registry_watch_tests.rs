//! What operators are told of records that wait for schemas, and of a registry that is away.

use super::*;
use crate::wire::registry::{RegistryClient, RegistryOptions};

fn wait(partition: i32, odd: Option<(&str, u64)>) -> Wait {
    Wait {
        partition,
        offset: 15,
        schema: 7.into(),
        lasts: Duration::from_secs(12),
        odd: odd.map(|(reason, seconds)| (reason.into(), Duration::from_secs(seconds))),
    }
}

#[test]
fn a_record_that_waits_is_named_with_what_the_registry_says_and_what_will_become_of_it() {
    let bound = OddAnswer::DeadLetterAfter(Duration::from_secs(60));
    for (wait, odd_answer, expected) in [
        (wait(3, None), bound, "crm.commands[3] has waited at offset 15 for 12 s for the schema with id 7"),
        (
            wait(3, Some(("it answered 403", 10))),
            bound,
            "crm.commands[3] has waited at offset 15 for 12 s for the schema with id 7, while the registry answers about others: it answered \
             403; in 50 s its records go to the dead letter topic (registry.odd_answer)",
        ),
        (
            wait(3, Some(("it answered 403", 10))),
            OddAnswer::Wait,
            "crm.commands[3] has waited at offset 15 for 12 s for the schema with id 7, while the registry answers about others: it answered \
             403; it is waited for as long as that takes (registry.odd_answer)",
        ),
    ] {
        assert_eq!(describe(&wait, "crm.commands", odd_answer), expected);
    }
}

#[tokio::test]
async fn a_registry_that_is_away_is_an_obstacle_only_while_a_record_waits_for_it() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let registry = RegistryClient::new(&RegistryOptions { urls: vec![url], ..RegistryOptions::default() }).unwrap();
    registry.note_ours(1, "crm.replies-value", crate::wire::REPLY_SCHEMA);
    let (metrics, health) = (Metrics::new(), Health::new());
    assert!(matches!(registry.look().await, Sameness::Away(_)));
    let obstacle = || health.obstacles().contains(&"the schema registry does not answer".to_owned());
    tell(&registry, "c", &metrics, &health);
    assert_eq!((metrics.registry_up.get(), obstacle()), (0, false));
    registry.lacking().add(3, 15, 7.into());
    tell(&registry, "c", &metrics, &health);
    assert!(obstacle());
    registry.lacking().remove(3);
    tell(&registry, "c", &metrics, &health);
    assert!(!obstacle());
}
