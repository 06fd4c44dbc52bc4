//! Checks the promises on everything that came out: one reply for each command, one business transaction for each change,
//! versions without gaps.

use crate::inbox::Record;
use crate::world::World;
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// A broken promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Breach {
    ReplyMissing,
    ReplyDoubled,
    ReplyUnasked,
    TransactionMissing,
    TransactionDoubled,
    /// A business transaction is in no reply.
    TransactionUnasked,
    /// A reply and its business transaction differ.
    Difference,
    VersionGap,
    /// The old value of a change is not the new value of the change before.
    NotOnTop,
    /// Versions of an entity are not in ascending order on the topic.
    OutOfOrder,
}

/// All replies and business transactions of an installation.
pub struct Ledger {
    /// The reply to each command, by its `correlation-id` header.
    pub replies: HashMap<String, Arc<Record>>,
    /// The business transactions of each entity by its refId, in the order of their versions.
    pub transactions: BTreeMap<String, Vec<Arc<Record>>>,
    /// All broken promises that were found.
    pub breaches: Vec<(Breach, String)>,
    /// The further replies to commands that are on the topic more than once.
    pub repeated: usize,
}

impl Ledger {
    /// Waits until each of the commands has a reply and each change a business transaction, and fails if there is anything else.
    /// `commands` must be all commands that the installation ever got, each with a correlation id of its own. All commands about
    /// one entity must have had the same key.
    pub fn close(world: &World, correlations: &[String]) -> Self {
        world.inbox.until(&format!("{} replies, and the business transactions they show", correlations.len()), |records| {
            let (replies, rest): (Vec<_>, Vec<_>) = records.iter().partition(|r| r.topic == world.replies);
            let published = rest.into_iter().filter(|r| r.topic == world.transactions).count();
            let answered: HashSet<_> = replies.iter().map(|r| r.header("correlation-id")).collect();
            let changes: HashSet<_> = replies.iter().filter_map(|r| change(r)).collect();
            (answered.len() >= correlations.len() && published >= changes.len()).then_some(())
        });
        let ledger = Self::so_far(world, correlations, &HashMap::new(), |_| true);
        assert!(ledger.breaches.is_empty(), "{:#?}", ledger.breaches);
        ledger
    }

    /// Returns what has come out so far, and all that is wrong with it. All commands about an entity with `one_key` had the same
    /// key. A command that is on the topic several times, according to `times`, has as many replies.
    pub fn so_far(
        world: &World,
        correlations: &[String],
        times: &HashMap<String, usize>,
        one_key: impl Fn(&Record) -> bool,
    ) -> Self {
        let of = |topic: &str| world.inbox.all(|r| r.topic == topic);
        Self::of(of(&world.replies), of(&world.transactions), correlations, times, one_key)
    }

    fn of(
        replies: Vec<Arc<Record>>,
        transactions: Vec<Arc<Record>>,
        correlations: &[String],
        times: &HashMap<String, usize>,
        one_key: impl Fn(&Record) -> bool,
    ) -> Self {
        let mut ledger =
            Self { replies: HashMap::new(), transactions: by_entity(transactions), breaches: Vec::new(), repeated: 0 };
        ledger.check_replies(replies, correlations, times);
        ledger.check_changes();
        ledger.sort(one_key);
        ledger.check_versions();
        ledger
    }

    /// Returns how many replies have this status.
    pub fn with_status(&self, status: i32) -> usize {
        self.replies.values().filter(|r| r.body["statusCode"] == status).count()
    }

    fn check_replies(&mut self, replies: Vec<Arc<Record>>, correlations: &[String], times: &HashMap<String, usize>) {
        let mut seen: HashMap<String, usize> = HashMap::new();
        let asked: HashSet<&str> = correlations.iter().map(String::as_str).collect();
        for reply in replies {
            let correlation = reply.text("correlation-id").expect("each command had one").to_owned();
            if !asked.contains(correlation.as_str()) {
                self.breaches.push((Breach::ReplyUnasked, format!("{reply:?}")));
            } else if let Some(first) = self.replies.get(&correlation) {
                let seen = seen.entry(correlation.clone()).or_insert(1);
                *seen += 1;
                if times.get(&correlation).is_some_and(|times| *seen <= *times) {
                    self.repeated += 1;
                } else {
                    self.breaches.push((Breach::ReplyDoubled, format!("{first:?} and {reply:?}")));
                }
            } else {
                self.replies.insert(correlation, reply);
            }
        }
        let missing = correlations.iter().filter(|c| !self.replies.contains_key(*c));
        self.breaches.extend(missing.map(|c| (Breach::ReplyMissing, c.clone())));
    }

    /// Checks that the changes in replies are those that were published, each once, and that both say the same.
    fn check_changes(&mut self) {
        let mut breaches = Vec::new();
        let mut published: HashMap<&str, &Record> = HashMap::new();
        for record in self.transactions.values().flatten() {
            let id = record.body["transactionId"].as_str().expect("is mandatory");
            if let Some(first) = published.insert(id, record) {
                breaches.push((Breach::TransactionDoubled, format!("{first:?} and {record:?}")));
            }
        }
        let mut answered = HashSet::new();
        for reply in self.replies.values() {
            let Some(id) = change(reply) else { continue };
            answered.insert(id);
            let Some(record) = published.get(id) else {
                breaches.push((Breach::TransactionMissing, format!("{reply:?}")));
                continue;
            };
            let mut shown = reply.body["businessTransaction"].clone();
            shown["record"] = "crm.v1.BusinessTransaction".into();
            if shown != record.body {
                breaches.push((Breach::Difference, format!("{reply:?} and {record:?}")));
            }
        }
        let unasked = published.iter().filter(|(id, _)| !answered.contains(*id));
        breaches.extend(unasked.map(|(_, record)| (Breach::TransactionUnasked, format!("{record:?}"))));
        self.breaches.extend(breaches);
    }

    /// Checks the order on the topic. A lane publishes in its order, but lanes publish independently, so changes of one entity in
    /// two lanes may be in any order.
    fn sort(&mut self, one_key: impl Fn(&Record) -> bool) {
        for records in self.transactions.values_mut() {
            let version = |r: &Record| r.body["version"].as_i64().expect("is mandatory");
            if let Some(pair) = records.windows(2).find(|pair| version(&pair[0]) > version(&pair[1]))
                && one_key(&pair[0])
            {
                self.breaches.push((Breach::OutOfOrder, format!("{:?} then {:?}", pair[0], pair[1])));
            }
            records.sort_by_key(|r| version(r));
        }
    }

    /// Checks that versions begin at 1 with a creation and at 2 otherwise (the import is 1), and that each change builds on the one before.
    fn check_versions(&mut self) {
        let mut breaches = Vec::new();
        for (ref_id, records) in &self.transactions {
            let mut values: HashMap<&str, &Json> = HashMap::new();
            let is_creation = |r: &Record| r.body["useCase"].as_str().is_some_and(|use_case| use_case.starts_with("create"));
            let first = if records.first().is_some_and(|r| is_creation(r)) { 1 } else { 2 };
            for (record, version) in records.iter().zip(first..) {
                if record.body["previousVersion"] != version - 1 || record.body["version"] != version {
                    breaches.push((Breach::VersionGap, format!("expected version {version} of {ref_id}: {record:?}")));
                }
                for change in record.body["changes"].as_array().expect("is mandatory") {
                    let field = change["field"].as_str().expect("is mandatory");
                    if values.insert(field, &change["new"]).is_some_and(|before| change["old"] != *before) {
                        breaches.push((Breach::NotOnTop, format!("{record:?}")));
                    }
                }
            }
        }
        self.breaches.extend(breaches);
    }
}

/// Returns the id of the change in a reply, or `None` if the command changed nothing.
fn change(reply: &Record) -> Option<&str> {
    let shown = &reply.body["businessTransaction"];
    if shown["changes"].as_array().is_some_and(|changes| !changes.is_empty()) { shown["transactionId"].as_str() } else { None }
}

fn by_entity(transactions: Vec<Arc<Record>>) -> BTreeMap<String, Vec<Arc<Record>>> {
    let mut by_entity: BTreeMap<String, Vec<Arc<Record>>> = BTreeMap::new();
    for record in transactions {
        let ref_id = record.body["refId"].as_str().expect("is mandatory").to_owned();
        by_entity.entry(ref_id).or_default().push(record);
    }
    by_entity
}

#[test]
fn each_breach_of_a_promise_is_found() {
    // Two changes of one customer, each with its reply.
    let (replies, changes) = ([reply("c-1", 2), reply("c-2", 3)], [published(2), published(3)]);
    let asked = ["c-1".to_owned(), "c-2".to_owned()];
    let found = |replies: &[&Arc<Record>], changes: &[&Arc<Record>]| {
        let all = |records: &[&Arc<Record>]| records.iter().map(|r| Arc::clone(r)).collect::<Vec<_>>();
        let ledger = Ledger::of(all(replies), all(changes), &asked, &HashMap::new(), |_| true);
        ledger.breaches.iter().map(|(breach, _)| *breach).collect::<Vec<_>>()
    };
    let ([r2, r3], [t2, t3]) = (&replies, &changes);
    assert_eq!(found(&[r2, r3], &[t2, t3]), [], "all is well");
    assert_eq!(found(&[r2], &[t2, t3]), [Breach::ReplyMissing, Breach::TransactionUnasked]);
    assert_eq!(found(&[r2, r3, r2], &[t2, t3]), [Breach::ReplyDoubled]);
    assert_eq!(found(&[r2, r3, &reply("c-3", 3)], &[t2, t3]), [Breach::ReplyUnasked]);
    assert_eq!(found(&[r2, r3], &[t2]), [Breach::TransactionMissing]);
    assert_eq!(found(&[r2, r3], &[t3]), [Breach::TransactionMissing, Breach::VersionGap]);
    assert_eq!(found(&[r2, r3], &[t2, t3, t3]), [Breach::TransactionDoubled, Breach::VersionGap, Breach::NotOnTop]);
    assert_eq!(found(&[r2, r3], &[t3, t2]), [Breach::OutOfOrder]);
    let other_time = changed(t3, |body| body["occurredAt"] = 7.into());
    assert_eq!(found(&[r2, r3], &[t2, &other_time]), [Breach::Difference]);
    let other_old = |body: &mut Json| body["changes"][0]["old"] = "name 9".into();
    let created = |body: &mut Json| {
        body["useCase"] = "createCustomer".into();
        body["version"] = 1.into();
        body["previousVersion"] = 0.into();
    };
    let (reply_of_creation, creation) = (changed(r2, |body| created(&mut body["businessTransaction"])), changed(t2, created));
    assert_eq!(found(&[&reply_of_creation, r3], &[&creation, t3]), [Breach::VersionGap], "2 is missing");
    let reply_other_old = changed(r3, |body| other_old(&mut body["businessTransaction"]));
    assert_eq!(found(&[r2, &reply_other_old], &[t2, &changed(t3, other_old)]), [Breach::NotOnTop]);
}

/// Makes the Business Transaction that changes a name and gives this version.
fn transaction(version: i64) -> Json {
    let change = json!({
        "field": "customName", "old": format!("name {}", version - 1), "new": format!("name {version}"),
    });
    json!({
        "transactionId": format!("t-{version}"), "refId": "e", "previousVersion": version - 1, "version": version,
        "occurredAt": version, "changes": [change],
    })
}

fn published(version: i64) -> Arc<Record> {
    let mut body = transaction(version);
    body["record"] = "crm.v1.BusinessTransaction".into();
    record(Vec::new(), body)
}

fn reply(correlation: &str, version: i64) -> Arc<Record> {
    let headers = vec![("correlation-id".to_owned(), Some(correlation.as_bytes().to_vec()))];
    record(headers, json!({"statusCode": 200, "businessTransaction": transaction(version)}))
}

fn record(headers: Vec<(String, Option<Vec<u8>>)>, body: Json) -> Arc<Record> {
    let seen = std::time::Instant::now();
    Arc::new(Record { topic: String::new(), partition: 0, offset: 0, key: None, value: None, headers, body, seen })
}

fn changed(record: &Record, change: impl Fn(&mut Json)) -> Arc<Record> {
    let mut changed = record.clone();
    change(&mut changed.body);
    Arc::new(changed)
}
