//! The vocabulary of the checks: processes over one watched store, entities and commands under a prefix.

use crm_processor::domain::answer::Answer;
use crm_processor::domain::attribute::RawValues;
use crm_processor::domain::command::{RawCommand, RawReference};
use crm_processor::domain::entity::{Entity, EntityType};
use crm_processor::domain::reference::Reference;
use crm_processor::domain::rejection::Rejection;
use crm_processor::domain::request::{Request, SourceRecord};
use crm_processor::domain::transaction::Transaction;
use crm_processor::domain::use_case::UseCase;
use crm_processor::domain::values::{ExternalId, Rules, SegmentCode};
use crm_processor::store::claims::{Claims, ClaimsOptions, Clock, Decided, Submission};
use crm_processor::store::erasable::{ErasableStore, Redaction};
use crm_processor::store::upkeep::import::Imported;
use crm_processor::store::{
    Applied, ApplyWrite, ClaimWrite, ConditionalStore, Consistency, EntityKey, EntityRead, HistoryRow, HoldWrite, IdKey, IdRead,
    RefuseWrite, StoreFault,
};
use std::future::{Future, pending};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering::SeqCst};
use tokio::sync::Notify;
use uuid::Uuid;

/// The time of everything that happens, save where time matters.
const NOW: i64 = 1_750_000_000_000;

/// A store that counts reads and writes, and can keep a write from ever happening, and delay a read until others have happened.
pub struct Watched<S> {
    store: Arc<S>,
    reads: AtomicUsize,
    writes: AtomicUsize,
    reads_left: AtomicUsize,
    writes_left: AtomicUsize,
    stopped: Notify,
    resumed: Notify,
}

impl<S> Watched<S> {
    pub fn new(store: Arc<S>) -> Self {
        let [reads, writes] = [0, 0].map(AtomicUsize::new);
        let [reads_left, writes_left] = [usize::MAX; 2].map(AtomicUsize::new);
        Self { store, reads, writes, reads_left, writes_left, stopped: Notify::new(), resumed: Notify::new() }
    }

    async fn before_read(&self) {
        if self.reads_left.load(SeqCst) == 0 {
            self.reads_left.store(usize::MAX, SeqCst);
            self.stopped.notify_one();
            self.resumed.notified().await;
        }
        self.reads_left.fetch_sub(1, SeqCst);
        self.reads.fetch_add(1, SeqCst);
    }

    async fn before_write(&self) {
        if self.writes_left.load(SeqCst) == 0 {
            self.stopped.notify_one();
            pending::<()>().await;
        }
        self.writes_left.fetch_sub(1, SeqCst);
        self.writes.fetch_add(1, SeqCst);
    }
}

impl<S: ConditionalStore> ConditionalStore for Watched<S> {
    async fn read_id(&self, id: &IdKey, requests: &[&str], consistency: Consistency) -> Result<IdRead, StoreFault> {
        self.before_read().await;
        self.store.read_id(id, requests, consistency).await
    }

    async fn read_entity(&self, key: EntityKey, requests: &[&str], consistency: Consistency) -> Result<EntityRead, StoreFault> {
        self.before_read().await;
        self.store.read_entity(key, requests, consistency).await
    }

    async fn claim(&self, write: ClaimWrite) -> Result<Applied, StoreFault> {
        self.before_write().await;
        self.store.claim(write).await
    }

    async fn apply(&self, write: ApplyWrite) -> Result<Applied, StoreFault> {
        self.before_write().await;
        self.store.apply(write).await
    }

    async fn refuse(&self, write: RefuseWrite) -> Result<Applied, StoreFault> {
        self.before_write().await;
        self.store.refuse(write).await
    }

    async fn hold(&self, write: HoldWrite) -> Result<Applied, StoreFault> {
        self.before_write().await;
        self.store.hold(write).await
    }

    async fn history(&self, key: EntityKey) -> Result<Vec<HistoryRow>, StoreFault> {
        self.store.history(key).await
    }

    async fn ping(&self) -> Result<(), StoreFault> {
        self.store.ping().await
    }
}

impl<S: ErasableStore> ErasableStore for Watched<S> {
    async fn log(&self, key: EntityKey) -> Result<Vec<(String, Vec<u8>)>, StoreFault> {
        self.before_read().await;
        self.store.log(key).await
    }

    async fn redact(&self, redaction: Redaction) -> Result<Applied, StoreFault> {
        self.before_write().await;
        self.store.redact(redaction).await
    }
}

pub type Process<S> = Claims<Watched<S>>;

/// One store, with a prefix that makes all names unique in it.
pub struct World<S> {
    pub store: Arc<Watched<S>>,
    prefix: String,
    clock: Clock,
    offset: AtomicI64,
}

impl<S: ConditionalStore> World<S> {
    pub fn new(store: Arc<S>, prefix: &str) -> Self {
        Self::with_clock(store, prefix, Arc::new(|| NOW))
    }

    pub fn with_clock(store: Arc<S>, prefix: &str, clock: Clock) -> Self {
        Self { store: Arc::new(Watched::new(store)), prefix: prefix.into(), clock, offset: AtomicI64::new(0) }
    }

    /// Starts a process with a cold cache.
    pub fn process(&self) -> Process<S> {
        self.process_with(&ClaimsOptions::default())
    }

    pub fn process_with(&self, options: &ClaimsOptions) -> Process<S> {
        Claims::new(Arc::clone(&self.store), options, Arc::clone(&self.clock))
    }

    pub fn id(&self, name: &str) -> ExternalId {
        ExternalId::parse(&format!("{}-{name}", self.prefix)).expect("a fit name")
    }

    pub fn ref_id(&self, name: &str) -> Uuid {
        Uuid::new_v5(&Uuid::NAMESPACE_OID, self.id(name).as_str().as_bytes())
    }

    /// Makes an entity whose external id and refId are derived from `name`.
    pub fn entity(&self, entity_type: EntityType, name: &str) -> Entity {
        Entity::new(entity_type, self.ref_id(name), self.id(name))
    }

    pub async fn customer(&self, name: &str) {
        self.create(self.entity(EntityType::Customer, name)).await;
    }

    pub async fn account(&self, name: &str) {
        self.create(self.entity(EntityType::Account, name)).await;
    }

    pub async fn create(&self, entity: Entity) {
        assert_eq!(self.process().import(entity).await.expect("no faults"), Imported::Created);
    }

    pub fn by_id(&self, name: &str) -> RawReference {
        RawReference { external_id: Some(self.id(name).to_string()), ref_id: None }
    }

    pub fn by_ref(&self, name: &str) -> RawReference {
        RawReference { external_id: None, ref_id: Some(self.ref_id(name).to_string()) }
    }

    /// Makes request `request`, in a record of its own, which names the customer `value`.
    pub fn name(&self, request: &str, customer: RawReference, value: &str) -> Submission {
        self.submit(UseCase::UpdateCustomerCustomName, request, customer, value, None)
    }

    /// Makes request `request`, in a record of its own, which gives the account the external id of `to`.
    pub fn rename(&self, request: &str, account: RawReference, to: &str) -> Submission {
        self.submit(UseCase::UpdateAccountExternalId, request, account, self.id(to).as_str(), None)
    }

    pub fn submit(
        &self,
        use_case: UseCase,
        request: &str,
        reference: RawReference,
        value: &str,
        expected_version: Option<i64>,
    ) -> Submission {
        self.submit_values(use_case, request, reference, use_case.first_value(Some(value.into())), expected_version)
    }

    pub fn submit_values(
        &self,
        use_case: UseCase,
        request: &str,
        reference: RawReference,
        values: RawValues,
        expected_version: Option<i64>,
    ) -> Submission {
        let (request_id, reference) = (Some(request.into()), Some(reference));
        let raw = RawCommand { use_case, request_id, reference, values, expected_version };
        let rules = Rules { segments: vec![SegmentCode::parse("RESIDENTIAL").expect("a code")] };
        let command = raw.validate(&rules).expect("a valid command");
        Submission::new(command, Some(format!("c-{request}")), None, self.record())
    }

    /// Makes request `request`, in a record of its own, which creates an account with the external id of `name` below a customer.
    pub fn creation(&self, request: &str, name: &str, customer: RawReference) -> Submission {
        self.submit(UseCase::CreateAccount, request, customer, self.id(name).as_str(), None)
    }

    /// Returns the same command in another record.
    pub fn again(&self, submission: &Submission) -> Submission {
        let request = Request { record: self.record(), ..submission.request.clone() };
        Submission { request, ..submission.clone() }
    }

    fn record(&self) -> SourceRecord {
        SourceRecord { topic: "crm.commands".into(), partition: 0, offset: self.offset.fetch_add(1, SeqCst) }
    }

    /// Returns the result of `work`, and how many reads and writes it took.
    pub async fn counted<T>(&self, work: impl Future<Output = T>) -> (T, [usize; 2]) {
        let before = self.counts();
        let done = work.await;
        let after = self.counts();
        (done, [after[0] - before[0], after[1] - before[1]])
    }

    fn counts(&self) -> [usize; 2] {
        [self.store.reads.load(SeqCst), self.store.writes.load(SeqCst)]
    }

    /// Lets a process die at `submission` after so many writes.
    pub async fn dies_after(&self, writes: usize, submission: &Submission) {
        let process = self.process();
        self.interrupt(writes, process.decide(std::slice::from_ref(submission))).await;
    }

    /// Drops `work` when it is about to write for one time more than this.
    pub async fn interrupt<T>(&self, writes: usize, work: impl Future<Output = T>) {
        self.store.writes_left.store(writes, SeqCst);
        tokio::select! {
            biased;
            _ = work => panic!("it was over before it could be interrupted"),
            () = self.store.stopped.notified() => {}
        }
        self.store.writes_left.store(usize::MAX, SeqCst);
    }

    /// Returns the result of a zombie, which stalls when it is about to read for one time more than this, and goes on after
    /// `meanwhile`.
    pub async fn stalled<T>(&self, reads: usize, zombie: impl Future<Output = T>, meanwhile: impl Future<Output = ()>) -> T {
        self.store.reads_left.store(reads, SeqCst);
        let others = async {
            self.store.stopped.notified().await;
            meanwhile.await;
            self.store.resumed.notify_one();
        };
        tokio::join!(zombie, others).0
    }

    /// Returns the result of `waiting`, when `gone` is dropped as it is about to read for one time more than this.
    pub async fn abandoned<T>(&self, reads: usize, gone: impl Future<Output = ()>, waiting: impl Future<Output = T>) -> T {
        self.store.reads_left.store(reads, SeqCst);
        let until_gone = async {
            tokio::select! {
                () = gone => panic!("it was over before it could be dropped"),
                () = self.store.stopped.notified() => {}
            }
        };
        tokio::join!(until_gone, waiting).1
    }

    /// Returns the version of an entity, which it finds by refId.
    pub async fn version(&self, entity_type: EntityType, name: &str) -> i64 {
        let shown = self.process().show(entity_type, &Reference::RefId(self.ref_id(name))).await.expect("no faults");
        shown.expect("it is there").0.entity.version
    }

    /// Returns the refId of the account that holds the id of `name`.
    pub async fn holder(&self, name: &str) -> Option<Uuid> {
        let shown = self.process().show(EntityType::Account, &Reference::ExternalId(self.id(name))).await.expect("no faults");
        shown.map(|(statics, _)| statics.entity.ref_id)
    }
}

/// Decides one submission.
pub async fn decide<S: ConditionalStore>(process: &Process<S>, submission: &Submission) -> Decided {
    process.decide(std::slice::from_ref(submission)).await.expect("no faults").remove(0)
}

/// Returns the change that this record has to publish.
#[track_caller]
pub fn published(decided: &Decided) -> &Transaction {
    assert!(decided.publishes() && !decided.replayed, "to be published: {decided:?}");
    changed(decided)
}

#[track_caller]
pub fn changed(decided: &Decided) -> &Transaction {
    match &decided.answer {
        Answer::Changed(transaction) => transaction,
        answer => panic!("expected a change, got {answer:?}"),
    }
}

/// Returns why the command was refused, now and for the first time.
#[track_caller]
pub fn refused(decided: &Decided) -> &Rejection {
    assert!(!decided.publishes() && !decided.replayed, "not to be published, and no replay: {decided:?}");
    rejection(decided)
}

#[track_caller]
pub fn rejection(decided: &Decided) -> &Rejection {
    match &decided.answer {
        Answer::Rejected(rejection) => rejection,
        answer => panic!("expected a rejection, got {answer:?}"),
    }
}

/// Checks that the answer is the one that `first` got, and that this record does not publish it.
#[track_caller]
pub fn assert_replay(decided: &Decided, first: &Decided) {
    assert_eq!(decided, &Decided { answer: first.answer.clone(), replayed: true });
}

pub fn not_found() -> Rejection {
    Rejection::EntityNotFound { field: "customer.externalId".into() }
}
