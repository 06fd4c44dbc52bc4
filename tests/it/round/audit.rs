//! Compares what came out of a round with what went in. The number of mistakes must be zero.

use super::traffic::Traffic;
use crate::inbox;
use crate::ledger::{Breach, Ledger};
use crate::runtime;
use crate::world::{World, members};
use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session_builder::SessionBuilder;
use scylla::statement::Consistency;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use uuid::Uuid;

/// The answers in a round, and everything that is wrong with them.
#[derive(Default)]
pub struct Audit {
    commands: usize,
    statuses: BTreeMap<i64, usize>,
    changes: usize,
    /// The number of commands that are on the topic once more than they were sent.
    repeated: usize,
    /// The number of mistakes of each kind, by name.
    wrong: BTreeMap<&'static str, Vec<String>>,
}

/// All kinds of mistakes. Those that did not happen are shown, too.
const WRONGS: [&str; 14] = [
    REPLIES_MISSING,
    REPLIES_DOUBLED,
    "replies unasked for",
    TRANSACTIONS_MISSING,
    TRANSACTIONS_DOUBLED,
    "transactions without a reply",
    "replies that differ from their transaction",
    "version gaps",
    "changes not on top of the last",
    "versions of a customer out of order",
    "commands about a customer out of order",
    "internal errors",
    UNIQUENESS,
    DIFFERENT,
];
const REPLIES_MISSING: &str = "replies missing";
const REPLIES_DOUBLED: &str = "replies doubled";
const TRANSACTIONS_MISSING: &str = "transactions missing";
const TRANSACTIONS_DOUBLED: &str = "transactions doubled";
const UNIQUENESS: &str = "uniqueness violations";
const DIFFERENT: &str = "entities that differ from what was published";

impl Audit {
    /// Compares everything that came out with everything that went in, and with the keyspace of the database. All processors must
    /// have ended.
    pub fn of(world: &World, traffic: &Traffic, cassandra: &str, keyspace: &str) -> Self {
        let mut audit = Self::default();
        audit.hold(world, traffic, cassandra, keyspace);
        audit
    }

    fn hold(&mut self, world: &World, traffic: &Traffic, cassandra: &str, keyspace: &str) {
        // The CRM's producer is idempotent, and yet a command may come to stand on the topic twice when brokers freeze.
        let times = inbox::header_counts(world.kafka(), &world.commands, "correlation-id");
        let ledger = Ledger::so_far(world, &traffic.correlations(), &times, |r| r.body["entityType"] == "CUSTOMER");
        self.repeated = ledger.repeated;
        self.commands = traffic.sent();
        for reply in ledger.replies.values() {
            *self.statuses.entry(reply.body["statusCode"].as_i64().expect("is an int")).or_default() += 1;
        }
        self.changes = ledger.transactions.values().map(Vec::len).sum();
        for (breach, what) in &ledger.breaches {
            self.add(name(*breach), what.clone());
        }
        for reply in ledger.replies.values().filter(|r| r.body["statusCode"] == 500) {
            self.add("internal errors", format!("{reply:?}"));
        }
        self.check_order(&ledger, &traffic.order());
        self.check_topics(world, &ledger);
        self.check_database(&ledger, cassandra, keyspace);
    }

    pub fn assert_clean(&self) {
        let first = self.wrong.iter().map(|(wrong, what)| format!("{wrong}: {}", what[0])).collect::<Vec<_>>();
        assert!(first.is_empty(), "one of each:\n{}", first.join("\n"));
    }

    fn add(&mut self, wrong: &'static str, what: String) {
        self.wrong.entry(wrong).or_default().push(what);
    }

    fn check_order(&mut self, ledger: &Ledger, order: &HashMap<String, usize>) {
        for records in ledger.transactions.values() {
            let sent = |n: usize| order.get(records[n].body["requestId"].as_str().expect("is mandatory"));
            for n in 1..records.len() {
                if sent(n - 1).zip(sent(n)).is_some_and(|(before, after)| before > after) {
                    self.add("commands about a customer out of order", format!("{:?} then {:?}", records[n - 1], records[n]));
                }
            }
        }
    }

    /// Counts again when nobody can add anything any more.
    fn check_topics(&mut self, world: &World, ledger: &Ledger) {
        for (topic, seen, doubled) in [
            (&world.replies, ledger.replies.len() + ledger.repeated, REPLIES_DOUBLED),
            (&world.transactions, self.changes, TRANSACTIONS_DOUBLED),
        ] {
            let there = inbox::count(world.kafka(), &[topic]);
            if there != seen {
                self.add(doubled, format!("{there} records in {topic}, {seen} expected"));
            }
        }
    }

    /// Checks that the stored values are those of the last Business Transaction, and that each external id belongs to one entity.
    fn check_database(&mut self, ledger: &Ledger, cassandra: &str, keyspace: &str) {
        let (entities, claims) = runtime().block_on(read(cassandra, keyspace));
        let mut holders: HashMap<(&str, &str), Uuid> = HashMap::new();
        for (kind, ref_id, external_id, version) in &entities {
            let last = ledger.transactions.get(&ref_id.to_string()).and_then(|records| records.last());
            let published = last.map(|r| (r.body["version"].as_i64(), r.body[&**kind]["externalId"].as_str()));
            if *version != published.map_or(1, |(version, _)| version.unwrap_or(0))
                || published.is_some_and(|(_, published)| published != Some(external_id))
            {
                self.add(DIFFERENT, format!("{kind} {ref_id} {external_id} version {version}: {last:?}"));
            }
            if let Some(other) = holders.insert((kind, external_id), *ref_id) {
                self.add(UNIQUENESS, format!("{kind} {external_id} is held by {other} and {ref_id}"));
            }
            if claims.get(&(kind.clone(), external_id.clone())) != Some(ref_id) {
                self.add(UNIQUENESS, format!("{kind} {ref_id} holds {external_id} without a claim"));
            }
        }
        for ref_id in ledger.transactions.keys().filter(|r| !entities.iter().any(|(_, e, ..)| e.to_string() == **r)) {
            self.add(DIFFERENT, format!("{ref_id} was published and is not in the database"));
        }
    }
}

/// Reads all entities (type, refId, external id, version), and the owner of the claim on each external id.
async fn read(cassandra: &str, keyspace: &str) -> (Vec<(String, Uuid, String, i64)>, HashMap<(String, String), Uuid>) {
    // The nodes of all data centres are asked.
    let profile = ExecutionProfile::builder().consistency(Consistency::Quorum).build();
    let session = SessionBuilder::new().known_nodes(members(cassandra)).default_execution_profile_handle(profile.into_handle());
    let session = session.use_keyspace(keyspace, false).build().await.expect("Cassandra is up");
    let rows = async |cql: &str| session.query_unpaged(cql, ()).await.expect("it answers").into_rows_result().expect("rows");
    let entities = rows("SELECT DISTINCT entity_type, ref_id, external_id, version FROM entity").await;
    let entities = entities.rows::<(String, Uuid, Option<String>, Option<i64>)>().expect("these columns");
    let entities = entities.map(|row| row.expect("a row")).filter_map(|(kind, ref_id, external_id, version)| {
        // A partition without values only holds refusals.
        Some((kind.to_lowercase(), ref_id, external_id?, version?))
    });
    let claims = rows("SELECT DISTINCT entity_type, external_id, owner FROM external_id").await;
    let claims = claims.rows::<(String, String, Option<Uuid>)>().expect("these columns");
    let claims = claims.map(|row| row.expect("a row")).filter_map(|(kind, id, owner)| Some(((kind.to_lowercase(), id), owner?)));
    (entities.collect(), claims.collect())
}

fn name(breach: Breach) -> &'static str {
    match breach {
        Breach::ReplyMissing => REPLIES_MISSING,
        Breach::ReplyDoubled => REPLIES_DOUBLED,
        Breach::ReplyUnasked => "replies unasked for",
        Breach::TransactionMissing => TRANSACTIONS_MISSING,
        Breach::TransactionDoubled => TRANSACTIONS_DOUBLED,
        Breach::TransactionUnasked => "transactions without a reply",
        Breach::Difference => "replies that differ from their transaction",
        Breach::VersionGap => "version gaps",
        Breach::OutOfOrder => "versions of a customer out of order",
        Breach::NotOnTop => "changes not on top of the last",
    }
}

impl fmt::Display for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} commands: replies by status {:?}, {} changes", self.commands, self.statuses, self.changes)?;
        writeln!(f, "{:>6}  commands that the brokers took twice", self.repeated)?;
        for wrong in WRONGS {
            writeln!(f, "{:>6}  {wrong}", self.wrong.get(wrong).map_or(0, Vec::len))?;
        }
        Ok(())
    }
}
