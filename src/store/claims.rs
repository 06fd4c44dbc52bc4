//! The claim protocol, written once over [`ConditionalStore`]: how commands are resolved, decided and applied so that each
//! takes effect once and external ids stay unique, whatever is delivered twice and in whatever order processes die, stall
//! or overlap.
//!
//! Only an applied conditional write makes a decision final; whatever was not applied is read and decided again. The parts:
//! `resolve` finds the entity behind a reference, `fold` decides a run of commands in memory, `rename` claims external ids
//! and completes claims, `import`, `show` and `erase` serve the command line, `cache` keeps the happy path at one write and no
//! read, and `ahead` fills it before a command's turn.

mod ahead;
mod cache;
mod erase;
mod fold;
mod import;
mod meter;
mod packed;
mod past;
mod rename;
mod resolve;
mod retention;
mod show;

use super::outcome::{Answer, Coordinates, Outcome};
use super::{Applied, ApplyWrite, ConditionalStore, EntityKey, EntityStatics, IdKey, LogRow, MAX_ROWS, RefuseWrite, StoreFault};
use crate::domain::Timestamp;
use crate::domain::command::{Command, Reference};
use crate::domain::rejection::Rejection;
use crate::telemetry::metrics::Metrics;
use ahead::Reads;
use cache::Cache;
use fold::{Fold, Request};
use meter::Meter;
use packed::Packed;
use resolve::{Holder, Trust};
use retention::Retention;
use std::borrow::Borrow;
use std::sync::Arc;
use std::time::Duration;

pub use erase::{ERASED, Erased, Erasure, Found};
pub use import::{Imported, Importing};
pub use show::HistoryEntry;

/// The longest run that [`Claims::decide`] takes: what one write has room for, if its rows are of usual size.
pub const MAX_RUN: usize = MAX_ROWS;

/// The first pause after a fault; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause after a fault: short enough that a record goes on soon after the store came back.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What time it is, in milliseconds since 1970.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What an operator may choose about the protocol.
#[derive(Clone, Debug)]
pub struct ClaimsOptions {
    /// How long rejections, no-ops and refusals are remembered, and a previous owner of an id is asked. Must outlive every
    /// attempt at a record and every write under way. Default: 30 days.
    pub outcome_retention: Duration,
    /// What the cache of claims and entities may hold, in approximate bytes; 0: nothing. Default: 32 MiB, some 150,000 entities.
    pub cache_bytes: u64,
}

impl Default for ClaimsOptions {
    fn default() -> Self {
        Self { outcome_retention: Duration::from_secs(30 * 24 * 60 * 60), cache_bytes: 32 << 20 }
    }
}

/// A command, with what its outcome remembers of the record that it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// What is asked for.
    pub command: Command,
    /// Of the record; goes into the business transaction.
    pub correlation_id: Option<String>,
    /// The record.
    pub record: Coordinates,
}

/// What a submission is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// The stored answer, or [`Rejection::RequestIdReused`], which is not stored.
    pub answer: Answer,
    /// The answer was stored for another record. (A redelivery of the very record is no replay.)
    pub replayed: bool,
    /// This record publishes the business transaction: the answer is a change that this very record caused, whoever
    /// applied it and at whichever attempt.
    pub publish: bool,
}

impl Decided {
    /// What `request` is answered, now that its id has an outcome.
    fn by(outcome: &Outcome, request: &Request<'_>) -> Self {
        if outcome.fingerprint != request.fingerprint {
            return Self { answer: Answer::Rejected(Rejection::RequestIdReused), replayed: false, publish: false };
        }
        let replayed = outcome.record != *request.record;
        let publish = matches!(outcome.answer, Answer::Changed(_)) && !replayed;
        Self { answer: outcome.answer.clone(), replayed, publish }
    }
}

/// The protocol over a store. One for all lanes of a process; any number of processes may work on one store.
pub struct Claims<S> {
    store: Arc<S>,
    retention: Retention,
    cache: Cache,
    reads: Reads,
    meter: Meter,
    clock: Clock,
}

/// The partition that a reference leads to first.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Target {
    Id(IdKey),
    Entity(EntityKey),
}

impl Target {
    fn of(command: &Command) -> Self {
        let entity_type = command.entity_type();
        match &command.target {
            Reference::ExternalId(id) => Self::Id(IdKey { entity_type, external_id: id.clone() }),
            Reference::RefId(ref_id) => Self::Entity(EntityKey { entity_type, ref_id: *ref_id }),
        }
    }
}

impl EntityStatics {
    fn key(&self) -> EntityKey {
        EntityKey { entity_type: self.entity.entity_type, ref_id: self.entity.ref_id }
    }
}

impl<S: ConditionalStore> Claims<S> {
    /// The protocol over `store`. All processes that share a store should have the same `outcome_retention`.
    pub fn new(store: Arc<S>, options: &ClaimsOptions, clock: Clock) -> Self {
        let retention = Retention::new(options.outcome_retention);
        let (cache, reads, meter) = (Cache::new(options.cache_bytes), Reads::default(), Meter::default());
        Self { store, retention, cache, reads, meter, clock }
    }

    /// Counts in `metrics` from now on what the cache is good for.
    #[must_use]
    pub fn counting_in(mut self, metrics: Arc<Metrics>) -> Self {
        self.meter = Meter(Some(metrics));
        self
    }

    /// Brings the metrics of the cache's size up to date.
    pub fn measure_cache(&self) {
        let [claims, entities] = self.cache.room();
        self.meter.room(claims, entities);
    }

    /// Decides a run of at most [`MAX_RUN`] submissions that all name the same entity by the same reference, in order; one
    /// result each. What can be folded takes one conditional write, or as few as have room for it.
    ///
    /// # Errors
    /// A fault leaves open which of the run took effect. Going round again with the same run is right at any time.
    pub async fn decide<R: Borrow<Submission> + Sync>(&self, run: &[R]) -> Result<Vec<Decided>, StoreFault> {
        debug_assert!(
            run.len() <= MAX_RUN
                && run.windows(2).all(|w| w[0].borrow().command.entity_named() == w[1].borrow().command.entity_named())
        );
        let mut decided = Vec::with_capacity(run.len());
        let mut trust = Trust::Cache;
        while let Some(next) = run.get(decided.len()) {
            let more = self.attempt(&run[decided.len()..], trust).await;
            let contended = more.as_ref().is_ok_and(Vec::is_empty);
            trust = if contended { trust.shaken() } else { Trust::Cache };
            if contended || more.is_err() {
                self.cache.forget(&Target::of(&next.borrow().command));
            }
            decided.extend(more?);
            if contended {
                // Not applied: somebody else's write was. Its author got somewhere, so going round ends.
                tokio::task::yield_now().await;
            }
        }
        Ok(decided)
    }

    /// [`Claims::decide`], again and again with capped exponential back-off until the store lets it: there is no giving
    /// up, for an earlier attempt may have written. `on_fault` is told each fault and the number of the attempt, from 1.
    pub async fn decide_until_done<R: Borrow<Submission> + Sync>(
        &self,
        run: &[R],
        on_fault: impl Fn(&StoreFault, u32) + Send + Sync,
    ) -> Vec<Decided> {
        let mut attempt = 1;
        loop {
            match self.decide(run).await {
                Ok(decided) => return decided,
                Err(fault) => on_fault(&fault, attempt),
            }
            tokio::time::sleep(pause_after(attempt)).await;
            attempt = attempt.saturating_add(1);
        }
    }

    /// After a caught panic: the outcome that the submission has, or else [`Rejection::InternalError`], stored as its
    /// outcome so that nothing of it can take effect later.
    ///
    /// # Errors
    /// A fault leaves open whether it was stored. Going round again is right at any time.
    pub async fn give_up(&self, submission: &Submission) -> Result<Decided, StoreFault> {
        let target = Target::of(&submission.command);
        let request = Request::of(submission);
        self.cache.forget(&target);
        loop {
            if let Some((sight, _)) = self.see(&target, &[request.id.as_str()], Trust::Serial).await? {
                if let Some(outcome) = sight.known.of(&request) {
                    return Ok(Decided::by(outcome, &request));
                }
                let outcome = request.outcome(Answer::Rejected(Rejection::InternalError), sight.holder.epoch(), self.now());
                let row = self.retention.row(&target, &sight.holder, request.id, &outcome);
                if self.write(&target, &sight.holder, vec![row], None).await? == Applied::Yes {
                    return Ok(Decided::by(&outcome, &request));
                }
            }
            tokio::task::yield_now().await;
        }
    }

    /// One round: what it decided of the head of `open`; nothing if all must be read and decided again.
    async fn attempt<R: Borrow<Submission> + Sync>(&self, open: &[R], trust: Trust) -> Result<Vec<Decided>, StoreFault> {
        let first = open[0].borrow();
        let target = Target::of(&first.command);
        let requests: Vec<&str> = open.iter().map(|s| s.borrow().command.request_id.as_str()).collect();
        let Some((sight, asked)) = self.see(&target, &requests, trust).await? else { return Ok(Vec::new()) };
        let Fold { decided, rows, after, .. } = Fold::of(&open[..asked], &target, &sight, self.now(), &self.retention);
        if let (true, Holder::Entity(seen)) = (decided.is_empty(), &sight.holder) {
            let renamed = match trust {
                Trust::Cache => Box::pin(self.rename_to_unclaimed(first, seen)).await?,
                Trust::Plain | Trust::Serial => Box::pin(self.rename(first, seen)).await?,
            };
            return Ok(renamed.into_iter().collect());
        }
        if rows.is_empty() || self.write(&target, &sight.holder, rows, after).await? == Applied::Yes {
            return Ok(decided);
        }
        Ok(Vec::new())
    }

    /// Stores outcomes where they belong: with the entity, or, where there is none, with the reference.
    async fn write(
        &self,
        target: &Target,
        holder: &Holder,
        rows: Vec<LogRow>,
        after: Option<EntityStatics>,
    ) -> Result<Applied, StoreFault> {
        match (holder, target) {
            (Holder::Entity(seen), _) => {
                self.apply(ApplyWrite { key: seen.key(), read: Some(seen.entity.version), after, rows }).await
            }
            (Holder::Nobody { generation }, Target::Id(id)) => {
                let refused = self.now();
                self.store.refuse(RefuseWrite { id: id.clone(), read: *generation, refused, rows }).await
            }
            (Holder::Nobody { .. }, Target::Entity(key)) => {
                self.apply(ApplyWrite { key: *key, read: None, after: None, rows }).await
            }
            (Holder::NotAsked, _) => unreachable!("rows are decided only about what was asked"),
        }
    }

    /// Applies, and keeps the cache at what the entity is now.
    async fn apply(&self, write: ApplyWrite) -> Result<Applied, StoreFault> {
        let (key, after) = (write.key, write.after.as_ref().map(Packed::new));
        let applied = self.store.apply(write).await;
        match (&applied, after) {
            (Ok(Applied::Yes), Some(after)) => self.cache.put_packed(key, after),
            (Ok(Applied::Yes), None) => {}
            (Ok(Applied::No) | Err(_), _) => self.cache.forget_entity(key),
        }
        applied
    }

    fn now(&self) -> Timestamp {
        (self.clock)()
    }
}

/// The pause after so many attempts: exponential, capped.
fn pause_after(attempts: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1_u32.checked_shl(attempts.saturating_sub(1)).unwrap_or(u32::MAX)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests;
