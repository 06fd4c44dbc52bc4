//! The promises, checked over all that came out: one reply for each command, one business transaction for each change,
//! versions without gaps.

use crate::inbox::Record;
use crate::world::World;
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// All replies and business transactions of an installation, once each command was answered.
pub struct Ledger {
    /// The reply to each command, by its `correlation-id` header.
    pub replies: HashMap<String, Arc<Record>>,
    /// In the order of their topic, by refId.
    pub transactions: BTreeMap<String, Vec<Arc<Record>>>,
}

impl Ledger {
    /// Waits until each of the commands has a reply and each change a business transaction, then checks that there is nothing
    /// else. The commands must be all that the installation ever got, each with a correlation id of its own.
    pub fn close(world: &World, correlations: &[String]) -> Self {
        let (replies, transactions) =
            world.inbox.until(&format!("{} replies, and the business transactions they show", correlations.len()), |records| {
                let (replies, rest): (Vec<_>, Vec<_>) = records.iter().partition(|r| r.topic == world.replies);
                let published: Vec<_> = rest.into_iter().filter(|r| r.topic == world.transactions).cloned().collect();
                let answered: HashSet<_> = replies.iter().map(|r| r.header("correlation-id")).collect();
                let changes: HashSet<_> = replies.iter().filter_map(|r| change(r)).collect();
                let done = answered.len() >= correlations.len() && published.len() >= changes.len();
                done.then(|| (replies.into_iter().cloned().collect::<Vec<_>>(), published))
            });
        let ledger = Self { replies: one_each(&replies, correlations), transactions: by_entity(transactions) };
        ledger.check_changes();
        ledger.check_versions();
        ledger
    }

    /// How many replies have this status.
    pub fn with_status(&self, status: i32) -> usize {
        self.replies.values().filter(|r| r.body["statusCode"] == status).count()
    }

    /// The changes that replies show are those that were published, each once, and both say the same.
    fn check_changes(&self) {
        let mut published: HashMap<&str, &Record> = HashMap::new();
        for record in self.transactions.values().flatten() {
            let id = record.body["transactionId"].as_str().expect("is mandatory");
            assert!(published.insert(id, record).is_none(), "published twice: {record:?}");
        }
        let mut answered = HashSet::new();
        for reply in self.replies.values() {
            let Some(id) = change(reply) else { continue };
            let record = published.get(id).unwrap_or_else(|| panic!("answered but not published: {reply:?}"));
            let mut shown = reply.body["businessTransaction"].clone();
            shown["record"] = "crm.v1.BusinessTransaction".into();
            assert_eq!(shown, record.body, "reply and business transaction differ: {reply:?}");
            answered.insert(id);
        }
        assert_eq!(answered.len(), published.len(), "more was published than answered");
    }

    /// From 2 on (1 is the import), in the order of the topic, each on top of the one before.
    fn check_versions(&self) {
        for (ref_id, records) in &self.transactions {
            let versions: Vec<_> = records.iter().map(|r| (&r.body["previousVersion"], &r.body["version"])).collect();
            let expected: Vec<_> = (1..=records.len()).map(|n| (json!(n), json!(n + 1))).collect();
            assert!(versions.iter().copied().eq(expected.iter().map(|(p, v)| (p, v))), "versions of {ref_id}: {versions:?}");
            let mut values: HashMap<&str, &Json> = HashMap::new();
            for record in records {
                let change = &record.body["changes"][0];
                let field = change["field"].as_str().expect("is mandatory");
                if let Some(before) = values.insert(field, &change["new"]) {
                    assert_eq!(&change["old"], before, "not on top of the change before: {record:?}");
                }
            }
        }
    }
}

/// The id of the change that a reply shows; None: it changed nothing.
fn change(reply: &Record) -> Option<&str> {
    let shown = &reply.body["businessTransaction"];
    if shown["changes"].as_array().is_some_and(|changes| !changes.is_empty()) { shown["transactionId"].as_str() } else { None }
}

fn one_each(replies: &[Arc<Record>], correlations: &[String]) -> HashMap<String, Arc<Record>> {
    let mut one_each = HashMap::new();
    for reply in replies {
        let correlation = reply.text("correlation-id").expect("each command had one").to_owned();
        let first = one_each.insert(correlation, reply.clone());
        assert!(first.is_none(), "two replies to one command: {first:?} and {reply:?}");
    }
    let missing: Vec<_> = correlations.iter().filter(|c| !one_each.contains_key(*c)).collect();
    assert!(missing.is_empty(), "no reply to {missing:?}");
    assert_eq!(one_each.len(), correlations.len(), "replies to commands that nobody sent");
    one_each
}

fn by_entity(transactions: Vec<Arc<Record>>) -> BTreeMap<String, Vec<Arc<Record>>> {
    let mut by_entity: BTreeMap<String, Vec<Arc<Record>>> = BTreeMap::new();
    for record in transactions {
        let ref_id = record.body["refId"].as_str().expect("is mandatory").to_owned();
        by_entity.entry(ref_id).or_default().push(record);
    }
    by_entity
}
