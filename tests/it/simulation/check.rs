//! Checks what must hold: while a life goes on, for all records that readers of committed records see; and in the end, for the
//! whole.

use super::crm::{Body, Incoming, created, entities};
use super::expected;
use super::lane::panics;
use super::outputs::{Output, Reply};
use crm_processor::domain::answer::Answer;
use crm_processor::domain::rejection::Rejection;
use crm_processor::domain::transaction::Transaction;
use crm_processor::domain::use_case::UseCase;
use crm_processor::flow::RecordId;
use crm_processor::store::claims::Decided;
use crm_processor::store::outcome::Outcome;
use crm_processor::store::simulated::Simulated;
use crm_processor::store::{ConditionalStore, Consistency, EntityKey};
use std::collections::{BTreeMap, BTreeSet};

/// The records that readers of committed records have seen so far.
#[derive(Default)]
pub struct Seen {
    count: usize,
    replies: BTreeMap<RecordId, Reply>,
    transactions: Vec<(RecordId, Transaction)>,
    dead_letters: BTreeSet<RecordId>,
}

impl Seen {
    /// Looks at the records since the last look, and checks that nothing comes twice.
    pub fn read(&mut self, view: &[Output]) {
        for output in &view[self.count..] {
            match output.clone() {
                Output::Reply { of, reply, .. } => {
                    let before = self.replies.insert(of, reply);
                    assert!(before.is_none(), "two replies to {of:?}: {output:?} after {before:?}");
                }
                Output::DeadLetter { of } => assert!(self.dead_letters.insert(of), "two dead letters for {of:?}"),
                Output::Transaction { of, transaction } => {
                    let id = transaction.id();
                    let before = self.transactions.iter().find(|(_, t)| t.id() == id);
                    assert!(before.is_none(), "{of:?} has published what is there already: {transaction:?}");
                    self.transactions.push((of, transaction));
                }
            }
        }
        self.count = view.len();
    }

    /// Returns whether a change of this use case was published.
    pub fn shows(&self, use_case: UseCase) -> bool {
        self.transactions.iter().any(|(_, transaction)| transaction.use_case == use_case)
    }

    /// Returns whether everything in `topic` was answered.
    pub fn is_complete(&self, topic: &[Vec<Incoming>]) -> bool {
        topic.iter().flatten().all(|r| self.lacks(r).is_none())
    }

    /// Returns the records that have not been answered yet.
    pub fn missing<'a>(&'a self, topic: &'a [Vec<Incoming>]) -> impl Iterator<Item = String> + 'a {
        topic.iter().flatten().filter_map(|r| self.lacks(r).map(|what| format!("{what} {r:?}")))
    }

    pub fn lacks(&self, record: &Incoming) -> Option<&'static str> {
        if record.is_answered() && !self.replies.contains_key(&record.at) {
            return Some("no reply to");
        }
        let unreadable = matches!(record.body, Body::Unreadable { .. });
        (unreadable && !self.dead_letters.contains(&record.at)).then_some("no dead letter for")
    }

    /// Checks in the end that everything was answered, and rightly.
    pub async fn check(&self, topic: &[Vec<Incoming>], store: &Simulated, bug: bool) {
        let wrongly = self.given_up().into_iter().find(|at| !bug || !panics(at.offset));
        assert_eq!(wrongly, None, "given up without a bug");
        self.check_kinds(topic);
        self.check_customers(topic);
        self.check_requests(topic);
        self.check_order(topic);
        self.check_changes(topic, store).await;
    }

    fn check_kinds(&self, topic: &[Vec<Incoming>]) {
        for record in topic.iter().flatten() {
            let reply = self.replies.get(&record.at);
            let fits = match record.body {
                Body::Command(_) => matches!(reply, Some(Reply::Decided(_))),
                Body::Invalid => reply == Some(&Reply::Invalid),
                Body::Unreadable { correlated } => reply == correlated.then_some(&Reply::Unreadable),
            };
            assert!(fits, "{reply:?} is no reply to {record:?}");
            let unreadable = matches!(record.body, Body::Unreadable { .. });
            assert_eq!(self.dead_letters.contains(&record.at), unreadable, "dead letter for {record:?}");
        }
    }

    /// Checks that commands whose answers can be foretold got those that one process would give that never has trouble.
    fn check_customers(&self, topic: &[Vec<Incoming>]) {
        let decided_at = |at| match &self.replies[&at] {
            Reply::Decided(decided) => match &decided.answer {
                Answer::Changed(transaction) | Answer::Unchanged(transaction) => transaction.occurred_at,
                Answer::Rejected(_) => 0,
            },
            Reply::Invalid | Reply::Unreadable => 0,
        };
        for (at, expected) in expected::answers(topic, &self.given_up(), decided_at) {
            let got = &self.replies[&at];
            assert_eq!(*got, Reply::Decided(Box::new(expected)), "the reply to {at:?}");
        }
    }

    /// Returns the records that were answered with a bug.
    fn given_up(&self) -> BTreeSet<RecordId> {
        let given_up = |reply: &Reply| match reply {
            Reply::Decided(decided) => !decided.replayed && decided.answer == Answer::Rejected(Rejection::InternalError),
            Reply::Invalid | Reply::Unreadable => false,
        };
        self.replies.iter().filter(|(_, reply)| given_up(reply)).map(|(at, _)| *at).collect()
    }

    /// Checks that a request is decided for one of its records, and that the others get the same answer. If a request comes again
    /// when the retention is over, it may be decided anew, about the entity that has its external id by then, unless it creates an
    /// entity.
    fn check_requests(&self, topic: &[Vec<Incoming>]) {
        let mut requests: BTreeMap<&str, Vec<(&Incoming, &Decided)>> = BTreeMap::new();
        let mut contents: BTreeMap<&str, BTreeSet<_>> = BTreeMap::new();
        for record in topic.iter().flatten() {
            if let (Body::Command(command), Some(Reply::Decided(decided))) = (&record.body, self.replies.get(&record.at)) {
                let request = command.request_id.as_str();
                requests.entry(request).or_default().push((record, decided));
                let era = if created(command).is_some() { 0 } else { record.era };
                contents.entry(request).or_default().insert((command.contents.fingerprint(), era));
            }
        }
        for (request, replies) in requests.iter().filter(|(request, _)| contents[*request].len() == 1) {
            let firsts = replies.iter().filter(|(_, decided)| !decided.replayed).count();
            assert_eq!(firsts, 1, "{request} is decided once: {replies:?}");
            let agree = replies.iter().all(|(_, decided)| decided.answer == replies[0].1.answer);
            assert!(agree, "the replies to {request} agree: {replies:?}");
        }
    }

    /// Checks that commands with the same key take effect and are published in their order, even if outputs are refused.
    fn check_order(&self, topic: &[Vec<Incoming>]) {
        let key = |at: &RecordId| topic.iter().flatten().find(|r| r.at == *at).and_then(|r| r.key.clone());
        let mut versions: BTreeMap<_, Vec<(RecordId, i64)>> = BTreeMap::new();
        for (of, transaction) in &self.transactions {
            if let Some(key) = key(of) {
                let entity = transaction.entity.ref_id;
                versions.entry((key, entity)).or_default().push((*of, transaction.entity.version));
            }
        }
        for ((key, entity), mut published) in versions {
            assert!(published.is_sorted(), "published in order under key {key}, entity {entity}: {published:?}");
            published.sort_unstable();
            let in_order = published.is_sorted_by_key(|(_, version)| version);
            assert!(in_order, "changes in order under key {key}, entity {entity}: {published:?}");
        }
    }

    /// Checks that each change of the store was published once, by the record that caused it, and that nothing else was
    /// published.
    async fn check_changes(&self, topic: &[Vec<Incoming>], store: &Simulated) {
        let mut changes = Vec::new();
        let mut held = BTreeSet::new();
        let there: BTreeSet<_> = entities().map(|entity| (entity.entity_type, entity.ref_id)).collect();
        let created = topic.iter().flatten().filter_map(|record| match &record.body {
            Body::Command(command) => Some((command.entity_type(), created(command)?)),
            Body::Invalid | Body::Unreadable { .. } => None,
        });
        let all: BTreeSet<_> = created.chain(there.iter().copied()).collect();
        for (entity_type, ref_id) in all {
            let key = EntityKey { entity_type, ref_id };
            let read = store.read_entity(key, &[], Consistency::Serial).await.expect("no faults");
            let was_there = there.contains(&(entity_type, ref_id));
            let Some(entity) = read.statics.map(|statics| statics.entity) else {
                assert!(!was_there, "{ref_id} is there from the beginning");
                continue;
            };
            assert!(held.insert((entity_type, entity.external_id.clone())), "{} is held twice", entity.external_id.as_str());
            let history = store.history(key).await.expect("no faults");
            let versions: Vec<i64> = history.iter().map(|row| row.changed_to).collect();
            let first = if was_there { 2 } else { 1 };
            assert_eq!(versions, (first..=entity.version).collect::<Vec<_>>(), "the versions of {ref_id} have no gaps");
            for row in history {
                let Outcome { record, answer, .. } = Outcome::decode(&row.request_id, &row.outcome).expect("an outcome");
                let Answer::Changed(transaction) = answer else { panic!("no change: {answer:?}") };
                assert_eq!(transaction.previous_version + 1, transaction.entity.version, "{transaction:?}");
                changes.push((RecordId { partition: record.partition, offset: record.offset }, transaction));
            }
        }
        for (of, change) in &changes {
            let published = self.transactions.iter().find(|(_, t)| t.id() == change.id());
            assert_eq!(published, Some(&(*of, (**change).clone())), "each change has its Business Transaction");
            let correlation = format!("correlation {}/{}", of.partition, of.offset);
            assert_eq!(change.correlation_id, Some(correlation), "of the record that caused it");
        }
        assert_eq!(self.transactions.len(), changes.len(), "each Business Transaction has its change");
    }
}
