//! Tests requests that come twice: the stored answer comes again, whoever asks for it, and however the command names the entity.

use crate::crm::{Draft, Entity, Kind, custom_name, rename, segment, unique};
use crate::inbox::Record;
use crate::world::{World, shared};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::{Value as Json, json};

const REUSED: &str = "CASM-REQUEST-ID-REUSED";

/// Checks that a duplicate's reply equals the first one, but for the fields that tell the two apart.
fn assert_replayed(first: &Record, second: &Record) {
    let mut expected = first.body.clone();
    expected["replayed"] = true.into();
    expected["correlationId"] = second.text("correlation-id").map_or(Json::Null, Into::into);
    expected["processedAt"] = second.body["processedAt"].clone();
    assert_ne!(first.body["correlationId"], expected["correlationId"], "each record has its own correlation id");
    assert_eq!(second.body, expected, "first: {first:?}");
}

fn assert_reused(draft: &Draft, reply: &Record) {
    let error = &reply.body["errors"][0];
    assert_eq!(
        (&reply.body["statusCode"], &error["code"], &error["field"], &reply.body["businessTransaction"]),
        (&json!(400), &json!(REUSED), &json!("requestId"), &Json::Null),
        "{draft:?}: {reply:?}"
    );
}

#[test]
fn a_duplicate_of_a_change_gets_the_stored_business_transaction_and_publishes_none() {
    let Some(shared) = shared() else { return };
    let (customer, account) = (shared.customer(), shared.account());
    let request = unique("r");
    for (entity, first, duplicates) in [
        (
            &customer,
            custom_name(&request, &customer.by_external_id(), "Ada"),
            vec![custom_name(&request, &customer.by_external_id(), "Ada"), custom_name(&request, &customer.by_ref_id(), "Ada")],
        ),
        (
            &account,
            rename(Kind::Account, &request, &account.by_ref_id(), &format!("{request}-new")),
            vec![
                rename(Kind::Account, &request, &account.by_ref_id(), &format!("{request}-new")),
                rename(Kind::Account, &request, &json!({"externalId": format!("{request}-new")}), &format!("{request}-new")),
            ],
        ),
    ] {
        let reply = shared.ask(&first);
        assert_eq!((&reply.body["statusCode"], &reply.body["replayed"]), (&json!(200), &json!(false)), "{first:?}: {reply:?}");
        for duplicate in duplicates {
            assert_replayed(&reply, &shared.ask(&duplicate));
        }
        assert_eq!(shared.transactions(entity).len(), 1, "one change, one business transaction of {entity:?}");
    }
}

#[test]
fn a_duplicate_is_recognised_after_later_changes() {
    let Some(shared) = shared() else { return };
    let customer = shared.customer();
    let first = custom_name(&unique("r"), &customer.by_ref_id(), "Ada");
    let reply = shared.ask(&first);
    shared.ask(&custom_name(&unique("r"), &customer.by_ref_id(), "Bob"));
    assert_replayed(&reply, &shared.ask(&first));
    let transactions = shared.transactions(&customer);
    assert_eq!(transactions.last().expect("two changes").body["customer"]["customName"], "Bob", "nothing was set back");
}

#[test]
fn a_duplicate_of_a_rename_may_name_the_entity_by_the_id_that_it_gave_up() {
    let Some(shared) = shared() else { return };
    let (account, other) = (shared.account(), shared.account());
    let first = rename(Kind::Account, &unique("r"), &account.by_external_id(), &unique("a"));
    let reply = shared.ask(&first);
    assert_eq!(reply.body["statusCode"], 200, "{reply:?}");
    assert_replayed(&reply, &shared.ask(&first));

    let takes_it = rename(Kind::Account, &unique("r"), &other.by_ref_id(), &account.external_id);
    assert_eq!(shared.ask(&takes_it).body["statusCode"], 200, "the id is free at once");
    assert_replayed(&reply, &shared.ask(&first));
    assert_eq!(shared.transactions(&account).len(), 1);
    assert_eq!(shared.transactions(&other).len(), 1);
}

#[test]
fn a_duplicate_of_a_rejection_gets_the_rejection_again_though_it_would_be_accepted_now() {
    let Some(shared) = shared() else { return };
    let (customer, unborn) = (shared.customer(), Entity::new(Kind::Customer, "ACTIVE"));
    let (holder, account) = (shared.account(), shared.account());
    let early = custom_name(&unique("r"), &customer.by_ref_id(), "Ada").expecting(2);
    let unknown = custom_name(&unique("r"), &unborn.by_external_id(), "Ada");
    let taken = rename(Kind::Account, &unique("r"), &account.by_ref_id(), &holder.external_id);
    let firsts = shared.ask_all(&[early.clone(), unknown.clone(), taken.clone()]);

    assert_eq!(shared.ask(&custom_name(&unique("r"), &customer.by_ref_id(), "Bob")).body["statusCode"], 200);
    shared.import(std::slice::from_ref(&unborn));
    let freed = rename(Kind::Account, &unique("r"), &holder.by_ref_id(), &unique("a"));
    assert_eq!(shared.ask(&freed).body["statusCode"], 200);

    for (first, again) in firsts.iter().zip(shared.ask_all(&[early, unknown, taken])) {
        assert_eq!(first.body["statusCode"], 400, "{first:?}");
        assert_replayed(first, &again);
    }
    let accepted = shared.ask(&custom_name(&unique("r"), &unborn.by_external_id(), "Ada"));
    assert_eq!(accepted.body["statusCode"], 200, "a new request is decided anew: {accepted:?}");
}

#[test]
fn a_duplicate_of_a_no_op_gets_the_same_answer() {
    let Some(shared) = shared() else { return };
    let customer = shared.customer();
    shared.ask(&segment(&unique("r"), &customer.by_ref_id(), "ENTERPRISE"));
    let no_op = segment(&unique("r"), &customer.by_ref_id(), "ENTERPRISE");
    let first = shared.ask(&no_op);
    shared.ask(&segment(&unique("r"), &customer.by_ref_id(), "RESIDENTIAL"));
    assert_replayed(&first, &shared.ask(&no_op));
    assert_eq!(shared.transactions(&customer).len(), 2);
}

#[test]
fn a_request_id_with_other_contents_is_refused() {
    let Some(shared) = shared() else { return };
    let (customer, account) = (shared.customer(), shared.account());
    let (request, by_ref_id) = (unique("r"), customer.by_ref_id());
    shared.ask(&custom_name(&request, &by_ref_id, "Ada"));
    let drafts = [
        custom_name(&request, &by_ref_id, "Bob"),
        custom_name(&request, &by_ref_id, "Ada").expecting(1),
        custom_name(&request, &customer.by_external_id(), "Ada ").expecting(2),
        segment(&request, &by_ref_id, "ENTERPRISE"),
    ];
    for (draft, reply) in drafts.iter().zip(shared.ask_all(&drafts)) {
        assert_reused(draft, &reply);
    }
    assert_eq!(shared.transactions(&customer).len(), 1);

    let request = unique("r");
    let (first, second) = (unique("a"), unique("a"));
    assert_eq!(shared.ask(&rename(Kind::Account, &request, &account.by_ref_id(), &first)).body["statusCode"], 200);
    for reference in [account.by_ref_id(), account.by_external_id(), json!({"externalId": first})] {
        let draft = rename(Kind::Account, &request, &reference, &second);
        assert_reused(&draft, &shared.ask(&draft));
    }
    assert_eq!(shared.transactions(&account).len(), 1);
}

#[test]
fn a_request_id_with_other_contents_is_refused_after_a_rejection_and_a_not_found_too() {
    let Some(shared) = shared() else { return };
    let (gone, nobody) = (shared.entity(Kind::Customer, "DEACTIVATED"), Entity::new(Kind::Customer, "ACTIVE"));
    for reference in [gone.by_ref_id(), nobody.by_external_id(), nobody.by_ref_id()] {
        let request = unique("r");
        let first = shared.ask(&custom_name(&request, &reference, "Ada"));
        assert_eq!(first.body["statusCode"], 400, "{first:?}");
        let draft = custom_name(&request, &reference, "Bob");
        assert_reused(&draft, &shared.ask(&draft));
        assert_replayed(&first, &shared.ask(&custom_name(&request, &reference, "Ada")));
    }
}

#[test]
fn request_ids_are_scoped_to_an_entity() {
    let Some(shared) = shared() else { return };
    let (one, other, account) = (shared.customer(), shared.customer(), shared.account());
    let request = unique("r");
    let drafts = [
        custom_name(&request, &one.by_ref_id(), "Ada"),
        custom_name(&request, &other.by_ref_id(), "Bob"),
        rename(Kind::Account, &request, &account.by_ref_id(), &unique("a")),
    ];
    for (draft, reply) in drafts.iter().zip(shared.ask_all(&drafts)) {
        let got = (&reply.body["statusCode"], &reply.body["replayed"]);
        assert_eq!(got, (&json!(200), &json!(false)), "{draft:?}: {reply:?}");
    }
}

#[test]
fn requests_that_fail_validation_are_not_remembered() {
    let Some(shared) = shared() else { return };
    let (request, customer) = (unique("r"), shared.customer().by_ref_id());
    let replies =
        shared.ask_all(&[custom_name(&request, &customer, "").key("k"), custom_name(&request, &customer, "Ada").key("k")]);
    let got: Vec<_> = replies.iter().map(|r| (&r.body["statusCode"], &r.body["replayed"])).collect();
    assert_eq!(got, [(&json!(400), &json!(false)), (&json!(200), &json!(false))], "{replies:#?}");
}

#[test]
fn a_rejection_is_forgotten_after_the_retention_and_a_change_never() {
    let Some(world) = World::set_up("retention", |config| {
        let store = config["store"].as_table_mut().expect("is a table");
        store.insert("outcome_retention".into(), "3s".into());
    }) else {
        return;
    };
    let customer = Entity::new(Kind::Customer, "ACTIVE");
    world.import(std::slice::from_ref(&customer));
    let _processor = world.run();
    let change = custom_name(&unique("r"), &customer.by_ref_id(), "Ada");
    let early = custom_name(&unique("r"), &customer.by_ref_id(), "Eve").expecting(3);
    let replies = world.ask_all(&[change.clone().key("k"), early.clone().key("k")]);
    assert_eq!(replies[1].body["errors"][0]["code"], "CASM-VERSION-CONFLICT", "{replies:?}");
    assert_eq!(world.ask(&segment(&unique("r"), &customer.by_ref_id(), "ENTERPRISE")).body["statusCode"], 200);

    // A duplicate that came after half of the retention would keep the outcome alive. So other commands tell when the retention is over;
    // the database counts whole seconds.
    let decided = |reply: &Record| reply.body["processedAt"].as_i64().expect("is a time");
    let mut others = (0..100_000).map(|_| world.ask(&segment(&unique("r"), &customer.by_ref_id(), "ENTERPRISE")));
    others.find(|other| decided(other) > decided(&replies[1]) + 5_000).expect("time passes");
    let again = world.ask(&early);
    assert_eq!(again.body["replayed"], false, "it was forgotten: {again:?}");
    assert_eq!(again.body["statusCode"], 200, "version 3 is there by now: {again:?}");
    assert_replayed(&replies[0], &world.ask(&change));
}

#[test]
fn duplicates_in_one_burst_are_applied_once() {
    const COPIES: usize = 20;
    let Some(shared) = shared() else { return };
    let (customer, account) = (shared.customer(), shared.account());
    let name = custom_name(&unique("r"), &customer.by_external_id(), "Ada");
    let id = rename(Kind::Account, &unique("r"), &account.by_external_id(), &unique("a"));
    for (entity, draft) in [(&customer, name), (&account, id)] {
        // Half of them are in one lane, the others each in a lane of its own.
        let copies: Vec<_> =
            (0..COPIES).map(|n| draft.clone().key(if n % 2 == 0 { entity.ref_id.clone() } else { unique("k") })).collect();
        let replies = shared.ask_all(&copies);
        assert!(replies.iter().all(|r| r.body["statusCode"] == 200), "{replies:#?}");
        let fresh: Vec<_> = replies.iter().filter(|r| r.body["replayed"] == false).collect();
        assert_eq!(fresh.len(), 1, "one of {COPIES} is not a replay: {replies:#?}");
        let shown = |r: &Record| r.body["businessTransaction"].clone();
        assert!(replies.iter().all(|r| shown(r) == shown(fresh[0])), "{replies:#?}");
        assert_eq!(shared.transactions(entity).len(), 1, "{entity:?}");
    }
}

#[test]
fn a_redelivered_record_is_answered_and_published_again_as_the_first_time() {
    let Some(world) = World::set_up("redelivery", |_| {}) else { return };
    let (customer, account) = (Entity::new(Kind::Customer, "ACTIVE"), Entity::new(Kind::Account, "ACTIVE"));
    world.import(&[customer.clone(), account.clone()]);
    let processor = world.run();
    let key = unique("k");
    let drafts = [
        custom_name(&unique("r"), &customer.by_external_id(), "Ada").key(&key),
        custom_name(&unique("r"), &customer.by_external_id(), "Bob").key(&key),
        rename(Kind::Account, &unique("r"), &account.by_external_id(), &unique("a")).key(&key),
        custom_name(&unique("r"), &customer.by_external_id(), "Bob").key(&key).expecting(1),
    ];
    let before = world.ask_all(&drafts);
    processor.signal("TERM");
    assert_eq!(processor.wait(), 0, "{}", processor.log_tail());

    rewind(&world);
    let _processor = world.run();
    for first in before {
        let correlation = first.header("correlation-id").expect("was sent with one");
        let again = world.inbox.first(&format!("a second answer like {first:?}"), |r| {
            r.topic == world.replies && r.header("correlation-id") == Some(correlation) && r.offset > first.offset
        });
        let mut expected = first.body.clone();
        expected["processedAt"] = again.body["processedAt"].clone();
        assert_eq!(again.body, expected, "a redelivery is no duplicate: replayed stays false");
    }
    for (entity, changes) in [(&customer, 2), (&account, 1)] {
        let published = world.transactions(entity);
        assert_eq!(published.len(), 2 * changes, "{published:#?}");
        let (first, again) = published.split_at(changes);
        let values = |records: &[std::sync::Arc<Record>]| records.iter().map(|r| r.value.clone()).collect::<Vec<_>>();
        assert_eq!(values(first), values(again), "the same bytes each time");
    }
}

/// Sets the group back to the beginning of the command topic, as an operator would.
#[expect(clippy::disallowed_methods, reason = "no processor is running")]
fn rewind(world: &World) {
    let kafka = crate::servers::kafka().expect("is up");
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", kafka)
        .set("group.id", world.group())
        .set("enable.auto.commit", "false")
        .create()
        .expect("a consumer");
    let mut offsets = TopicPartitionList::new();
    for partition in 0..crate::world::PARTITIONS {
        offsets.add_partition_offset(&world.commands, partition, Offset::Offset(0)).expect("a valid offset");
    }
    consumer.commit(&offsets, CommitMode::Sync).expect("the group is empty");
}
