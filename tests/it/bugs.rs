//! Tests bugs in the middle of the processing: fail points make the processor panic while it decides commands whose request id
//! contains a certain text. The sender of such a command gets its stored outcome, or a stored 500; nobody else notices anything.

use crate::crm::{Draft, Entity, Kind, create, custom_name, rename, state, unique};
use crate::inbox::Record;
use crate::ledger::Ledger;
use crate::world::{Processor, World, embedded};
use serde_json::Value as Json;
use std::sync::Arc;
use toml::Table;

/// The fail points that panic before a command is decided, and after its outcome was stored.
const FAIL_POINTS: (&str, &str) = ("FAILPOINTS", "deciding=return(early);decided=return(late)");

/// An installation with entities, and the commands that were sent to it.
struct Buggy {
    world: World,
    customers: Vec<Entity>,
    account: Entity,
    correlations: Vec<String>,
}

impl Buggy {
    fn set_up(name: &str) -> Option<Self> {
        Self::set_up_with(name, |_| {})
    }

    fn set_up_with(name: &str, adjust: impl FnOnce(&mut Table)) -> Option<Self> {
        let world = World::set_up(name, adjust)?;
        let customers: Vec<_> = (0..20).map(|_| Entity::new(Kind::Customer, "ACTIVE")).collect();
        let account = Entity::new(Kind::Account, "ACTIVE");
        world.import(&[&customers[..], std::slice::from_ref(&account)].concat());
        Some(Self { world, customers, account, correlations: Vec::new() })
    }

    fn start(&self) -> Processor {
        self.world.start_with(&unique("slot"), &[FAIL_POINTS])
    }

    /// Sends commands all at once and waits for their replies.
    fn ask_all(&mut self, drafts: Vec<Draft>) -> Vec<Arc<Record>> {
        let correlations: Vec<_> = drafts.iter().map(|_| unique("c")).collect();
        let drafts: Vec<_> = drafts.into_iter().zip(&correlations).map(|(d, c)| d.header("correlation-id", c)).collect();
        self.correlations.extend(correlations);
        self.world.ask_all(&drafts)
    }

    /// Checks that everything that came out is right, and that so many commands were answered 500.
    fn close(&self, with_500: usize) -> Ledger {
        let ledger = Ledger::close(&self.world, &self.correlations);
        assert_eq!(ledger.with_status(500), with_500);
        assert_eq!(ledger.with_status(200) + with_500, self.correlations.len());
        ledger
    }
}

/// Makes a command with the customer's key, so that all of them are in one lane.
fn name(customer: &Entity, request: &str) -> Draft {
    custom_name(request, &customer.by_ref_id(), request).key(&customer.ref_id)
}

fn statuses(replies: &[Arc<Record>]) -> Vec<u64> {
    replies.iter().map(|r| r.body["statusCode"].as_u64().expect("is a number")).collect()
}

fn assert_internal_errors(replies: &[Arc<Record>], replayed: bool) {
    for reply in replies {
        let (body, code) = (&reply.body, "CASM-INTERNAL-ERROR");
        assert_eq!((&body["statusCode"], &body["statusMessage"]), (&500.into(), &"Internal error".into()), "{reply:?}");
        assert_eq!(body["errors"].as_array().map(Vec::len), Some(1), "{reply:?}");
        assert_eq!((&body["errors"][0]["code"], &body["replayed"]), (&code.into(), &replayed.into()), "{reply:?}");
        assert!(body["businessTransaction"].is_null(), "{reply:?}");
    }
}

/// Makes a command of each sort about entities of its own: a name and a state of a customer, a rename and a creation of accounts. Each
/// command has the key of its entity.
fn one_of_each(customer: &Entity, account: &Entity, new_ids: &[String; 2], requests: &[String; 4]) -> Vec<Draft> {
    let [renamed_to, created_with] = new_ids;
    let [named, in_state, renamed, created] = requests;
    let creation = create(Kind::Account, created, created_with, &customer.by_ref_id());
    let its_key = Entity::created_by(&creation).ref_id;
    vec![
        name(customer, named),
        state(Kind::Customer, in_state, &customer.by_ref_id(), "SUSPENDED", Json::Null).key(&customer.ref_id),
        rename(Kind::Account, renamed, &account.by_ref_id(), renamed_to).key(&account.ref_id),
        creation.key(its_key),
    ]
}

#[test]
fn a_command_that_panics_before_it_is_decided_gets_a_stored_500_and_never_takes_effect() {
    let Some(buggy) = Buggy::set_up("panic-before") else { return };
    get_a_stored_500(buggy);
}

#[test]
fn a_command_that_panics_before_it_is_decided_gets_a_500_that_the_embedded_store_keeps() {
    let Some(buggy) = Buggy::set_up_with("panic-embedded", embedded) else { return };
    get_a_stored_500(buggy);
}

fn get_a_stored_500(mut buggy: Buggy) {
    let processor = buggy.start();
    let (customer, account, new_ids) = (buggy.customers[0].clone(), buggy.account.clone(), ["a", "a"].map(unique));
    let early = one_of_each(&customer, &account, &new_ids, &["early"; 4].map(unique));
    let replies = buggy.ask_all(early.clone());
    assert_internal_errors(&replies, false);
    // The same requests come in new records, then another request for the same change, all in the same lanes.
    let replies = buggy.ask_all(early.clone());
    assert_internal_errors(&replies, true);
    let replies = buggy.ask_all(vec![name(&customer, &unique("r"))]);
    assert_eq!(statuses(&replies), [200]);
    assert!(processor.metric("crm_panics_total") >= 4, "counted");
    for use_case in ["updateCustomerCustomName", "updateCustomerState", "updateAccountExternalId", "createAccount"] {
        let counted = processor.metric(&format!("crm_commands_total{{status=\"500\",use_case=\"{use_case}\"}}"));
        assert!(counted >= 1, "{use_case}");
    }
    assert!(processor.log().contains("a bug: a panic"), "{}", processor.log_tail());
    processor.until_ready();
    processor.signal("TERM");
    assert_eq!(processor.wait(), 0, "{}", processor.log_tail());

    // Without the bug the requests stay refused: the CRM was told so.
    let processor = buggy.world.run();
    let replies = buggy.ask_all(early);
    assert_internal_errors(&replies, true);
    let replies = buggy.ask_all(one_of_each(&customer, &account, &new_ids, &["r"; 4].map(unique)));
    assert_eq!(statuses(&replies), [200; 4], "new requests can do it");
    assert_eq!(processor.metric("crm_panics_total"), 0);
    let ledger = buggy.close(12);
    let changes: Vec<_> = ledger.transactions.values().map(Vec::len).collect();
    assert_eq!(changes.iter().sum::<usize>(), 5, "nothing of the others took effect");
}

#[test]
fn a_command_that_panics_after_its_outcome_was_stored_is_answered_with_it() {
    let Some(mut buggy) = Buggy::set_up("panic-after") else { return };
    let processor = buggy.start();
    let (customer, account) = (buggy.customers[0].clone(), buggy.account.clone());
    let late = one_of_each(&customer, &account, &["a", "a"].map(unique), &["late"; 4].map(unique));
    let replies = buggy.ask_all([late.clone(), vec![name(&customer, &unique("r"))]].concat());
    assert_eq!(statuses(&replies), [200; 5]);
    assert!(replies.iter().all(|r| r.body["replayed"] == false), "{replies:?}");
    let duplicates = buggy.ask_all(late);
    assert!(duplicates.iter().all(|r| r.body["statusCode"] == 200 && r.body["replayed"] == true), "{duplicates:?}");
    assert!(processor.metric("crm_panics_total") >= 4, "counted");
    processor.until_ready();
    let ledger = buggy.close(0);
    assert_eq!(ledger.transactions.values().map(Vec::len).sum::<usize>(), 5, "each change is published once");
}

#[test]
fn in_a_lane_only_the_commands_that_panic_get_the_500_and_other_lanes_go_on() {
    const COMMANDS: usize = 120;
    let Some(mut buggy) = Buggy::set_up("panic-lane") else { return };
    let kind = |n: usize| {
        if n % 10 == 4 {
            "early"
        } else if n % 10 == 7 {
            "late"
        } else {
            "r"
        }
    };
    // Every other command is for one customer, so that these queue and are decided in runs. The rest are for other customers.
    let customers = buggy.customers.clone();
    let drafts: Vec<_> = (0..COMMANDS)
        .flat_map(|n| [name(&customers[0], &unique(kind(n))), name(&customers[1 + n % (customers.len() - 1)], &unique("r"))])
        .collect();
    // The commands are on the topic before the processor starts, so that the runs are long.
    let correlations: Vec<_> = drafts.iter().map(|_| unique("c")).collect();
    let drafts: Vec<_> = drafts.into_iter().zip(&correlations).map(|(d, c)| d.header("correlation-id", c)).collect();
    buggy.correlations = correlations;
    let sent = buggy.world.send_all(&drafts);
    let beside = sent.iter().skip(1).step_by(2).filter(|s| s.partition == sent[0].partition).count();
    assert!(beside > 0, "there are other lanes in its partition");
    let processor = buggy.start();
    let ledger = buggy.close(COMMANDS / 10);
    for (n, (draft, correlation)) in drafts.iter().zip(&buggy.correlations).enumerate() {
        let expected = if n % 2 == 0 && kind(n / 2) == "early" { 500 } else { 200 };
        let reply = &ledger.replies[correlation];
        assert_eq!(reply.body["statusCode"], expected, "{draft:?}: {reply:?}");
    }
    let names: Vec<_> = ledger.transactions[&customers[0].ref_id].iter().map(|r| r.body["requestId"].clone()).collect();
    let expected: Vec<_> = drafts.iter().step_by(2).map(Draft::request).filter(|r| !r.starts_with("early")).collect();
    assert_eq!(names, expected, "in their order");
    processor.until_ready();
    let panics = processor.metric("crm_panics_total");
    assert!(panics >= 2 * (COMMANDS / 10) as u64, "counted: {panics}");
    processor.signal("TERM");
    assert_eq!(processor.wait(), 0, "{}", processor.log_tail());
}

/// Two processors, each in a consumer group of its own: the consuming thread of one panics once, and the publishers of the other always do.
#[test]
fn a_process_whose_parts_panic_ends_and_another_goes_on_where_it_stopped() {
    let cases = [
        ("panic-polling", "polling=100*off->panic(boom)", "the consuming thread ended because of a bug"),
        ("panic-publishing", "producing=panic(boom)", "the publisher ended 5 times in a row because of a bug"),
    ];
    for (place, fail_point, message) in cases {
        let Some(mut buggy) = Buggy::set_up(place) else { return };
        let processor = buggy.world.start_with(&unique("slot"), &[("FAILPOINTS", fail_point)]);
        let commands: Vec<_> = buggy.customers.iter().map(|c| name(c, &unique("r"))).collect();
        let correlations: Vec<_> = commands.iter().map(|_| unique("c")).collect();
        let sent =
            commands.into_iter().zip(&correlations).map(|(draft, correlation)| draft.header("correlation-id", correlation));
        buggy.world.send_all(&sent.collect::<Vec<_>>());
        buggy.correlations = correlations;
        assert_eq!(processor.wait(), 1, "{place}: {}", processor.log_tail());
        let log = processor.log();
        assert!(log.contains(message) && log.contains("to be started anew"), "{place}: {log}");

        let _another = buggy.world.run();
        let ledger = buggy.close(0);
        assert_eq!(ledger.with_status(200), buggy.customers.len(), "{place}");
    }
}
