//! Proves that the checks find mistakes: a store, or callers, with one deliberate defect each must fail within a number of seeds.

use super::simulate;
use crate::seeds::{self, defects, must_fail};
use crm_processor::store::erasable::{ErasableStore, Redaction};
use crm_processor::store::outcome::Outcome;
use crm_processor::store::simulated::Simulated;
use crm_processor::store::{
    Applied, ApplyWrite, ClaimWrite, ConditionalStore, Consistency, EntityKey, EntityRead, HistoryRow, HoldWrite, IdKey, IdRead,
    RefuseWrite, StoreFault,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use uuid::Uuid;

/// The number of seeds within which a defect must show.
const BUDGET: u64 = 2_000;
/// These defects show only once in so many writes, because a defect that shows all the time proves little.
const SELDOM: u64 = 16;

/// What the store, or a caller, does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// `IF version = ?` is left out.
    VersionConditionDropped,
    /// `IF outcome = null` is left out.
    OutcomeConditionDropped,
    /// `IF generation = ?` is left out of claims.
    ClaimConditionDropped,
    /// `IF generation = ?` is left out of refusals.
    RefusalConditionDropped,
    /// Now and then the log row is written without the statics that belong to it.
    RowWithoutStatics,
    /// Now and then statics are written without their log row.
    StaticsWithoutRow,
    /// Now and then a write is acknowledged that does not happen.
    AcknowledgedWriteLost,
    /// Now and then a write that happens is said not to have been applied. No defect: it is only looked at again.
    AppliedWriteDenied,
    /// A serial read is done as a plain read.
    SerialReadIsPlain,
    /// Rows and statics are read one after the other.
    TornRead,
    /// Every record that is answered with a change publishes it.
    SourceRecordIgnored,
    /// A fault is answered, as if nothing could have happened.
    FaultIsAnswered,
    /// Outcomes expire while their records are being worked at.
    RetentionTooShort,
    /// Erasing a name from an outcome makes it the outcome of another command.
    ErasedFingerprint,
    /// Erasing a name from an outcome makes it the outcome of another record.
    ErasedRecord,
}

fn found(defect: Defect) {
    must_fail(defect, BUDGET, |seed| drop(simulate(seed, Some(defect))));
}

defects! {
    a_dropped_version_condition_is_found: VersionConditionDropped,
    a_dropped_outcome_condition_is_found: OutcomeConditionDropped,
    a_dropped_condition_of_claims_is_found: ClaimConditionDropped,
    a_dropped_condition_of_refusals_is_found: RefusalConditionDropped,
    a_row_without_its_statics_is_found: RowWithoutStatics,
    statics_without_their_row_are_found: StaticsWithoutRow,
    a_lost_write_that_was_acknowledged_is_found: AcknowledgedWriteLost,
    a_serial_read_that_is_none_is_found: SerialReadIsPlain,
    a_read_of_two_instants_is_found: TornRead,
    ignored_source_records_are_found: SourceRecordIgnored,
    an_answered_fault_is_found: FaultIsAnswered,
    a_retention_that_is_too_short_is_found: RetentionTooShort,
    a_fingerprint_that_is_erased_is_found: ErasedFingerprint,
    a_record_that_is_erased_is_found: ErasedRecord,
}

/// Databases do so when a write is proposed a second time, for a coordinator that seems to have died.
#[test]
fn a_write_that_happened_and_was_denied_harms_nobody() {
    seeds::each(500, |seed| simulate(seed, Some(Defect::AppliedWriteDenied)), |_| ());
}

/// The simulated store, with its defect.
pub struct Defective {
    pub store: Arc<Simulated>,
    pub defect: Option<Defect>,
    pub writes: AtomicU64,
}

impl Defective {
    pub fn new(store: Arc<Simulated>, defect: Option<Defect>) -> Self {
        Self { store, defect, writes: AtomicU64::new(0) }
    }

    fn is(&self, defect: Defect) -> bool {
        self.defect == Some(defect)
    }

    fn is_seldom(&self, defect: Defect) -> bool {
        self.is(defect) && self.writes.fetch_add(1, Relaxed) % SELDOM == SELDOM - 1
    }

    fn consistency(&self, asked: Consistency) -> Consistency {
        if self.is(Defect::SerialReadIsPlain) { Consistency::Quorum } else { asked }
    }

    async fn version(&self, key: EntityKey) -> Result<Option<i64>, StoreFault> {
        let read = self.store.read_entity(key, &[], Consistency::Serial).await?;
        Ok(read.statics.map(|statics| statics.entity.version))
    }

    async fn generation(&self, id: &IdKey) -> Result<Option<i64>, StoreFault> {
        let read = self.store.read_id(id, &[], Consistency::Serial).await?;
        Ok(read.claim.map(|claim| claim.generation))
    }

    /// Writes everything but outcomes that exist already.
    async fn beside_outcomes(&self, write: &mut ApplyWrite) -> Result<(), StoreFault> {
        let requests: Vec<&str> = write.rows.iter().map(|row| row.request_id.as_str()).collect();
        let there = self.store.read_entity(write.key, &requests, Consistency::Serial).await?.outcomes;
        for row in write.rows.iter_mut().filter(|row| there.iter().any(|there| there.request_id == row.request_id)) {
            row.request_id.push_str(", again");
        }
        Ok(())
    }
}

impl ConditionalStore for Defective {
    async fn read_id(&self, id: &IdKey, requests: &[&str], consistency: Consistency) -> Result<IdRead, StoreFault> {
        let read = self.store.read_id(id, requests, self.consistency(consistency)).await?;
        if self.is(Defect::TornRead) {
            let outcomes = self.store.read_id(id, requests, consistency).await?.outcomes;
            return Ok(IdRead { outcomes, ..read });
        }
        Ok(read)
    }

    async fn read_entity(&self, key: EntityKey, requests: &[&str], consistency: Consistency) -> Result<EntityRead, StoreFault> {
        let read = self.store.read_entity(key, requests, self.consistency(consistency)).await?;
        if self.is(Defect::TornRead) {
            let statics = self.store.read_entity(key, requests, consistency).await?.statics;
            return Ok(EntityRead { statics, ..read });
        }
        Ok(read)
    }

    async fn claim(&self, mut write: ClaimWrite) -> Result<Applied, StoreFault> {
        if self.is(Defect::ClaimConditionDropped) {
            write.expected_generation = self.generation(&write.id).await?;
        }
        self.store.claim(write).await
    }

    async fn apply(&self, mut write: ApplyWrite) -> Result<Applied, StoreFault> {
        if self.is(Defect::VersionConditionDropped) {
            write.expected_version = self.version(write.key).await?;
        }
        if self.is(Defect::OutcomeConditionDropped) {
            self.beside_outcomes(&mut write).await?;
        }
        if self.is_seldom(Defect::RowWithoutStatics) {
            write.after = None;
        }
        if self.is_seldom(Defect::StaticsWithoutRow) {
            write.rows.iter_mut().for_each(|row| row.request_id.push_str(", elsewhere"));
        }
        if self.is_seldom(Defect::AcknowledgedWriteLost) {
            return Ok(Applied::Yes);
        }
        let denied = self.is_seldom(Defect::AppliedWriteDenied);
        let applied = self.store.apply(write).await?;
        Ok(if denied { Applied::No } else { applied })
    }

    async fn refuse(&self, mut write: RefuseWrite) -> Result<Applied, StoreFault> {
        if self.is(Defect::RefusalConditionDropped) {
            write.expected_generation = self.generation(&write.id).await?;
        }
        self.store.refuse(write).await
    }

    async fn hold(&self, write: HoldWrite) -> Result<Applied, StoreFault> {
        self.store.hold(write).await
    }

    async fn history(&self, key: EntityKey) -> Result<Vec<HistoryRow>, StoreFault> {
        self.store.history(key).await
    }

    async fn ping(&self) -> Result<(), StoreFault> {
        self.store.ping().await
    }
}

impl ErasableStore for Defective {
    async fn log(&self, key: EntityKey) -> Result<Vec<(String, Vec<u8>)>, StoreFault> {
        self.store.log(key).await
    }

    async fn redact(&self, mut redaction: Redaction) -> Result<Applied, StoreFault> {
        let mut outcome = Outcome::decode(&redaction.request_id, &redaction.outcome)?;
        match self.defect {
            Some(Defect::ErasedFingerprint) => outcome.fingerprint = Uuid::nil(),
            Some(Defect::ErasedRecord) => outcome.record.offset += 1_000_000,
            _ => return self.store.redact(redaction).await,
        }
        redaction.outcome = outcome.encode();
        self.store.redact(redaction).await
    }
}
