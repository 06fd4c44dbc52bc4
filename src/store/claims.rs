//! The claim protocol, written once over [`ConditionalStore`].
//!
//! **The problem.** Several processes may decide one command at the same time: one was killed and left half of its work behind, one was
//! replaced and does not know it yet, and a write whose answer was lost may still land. The database's transactions cover one partition
//! each, and a change of an external id touches two: the entity's and the id's. Still each command must take effect once, and no external
//! id may belong to two entities.
//!
//! **The idea.** Only an applied conditional write makes a decision final; if the write is not applied, everything is read and decided
//! again. One such write to the entity's partition stores the change of an entity together with the outcome of its request. So whoever
//! comes later finds the outcome, and not only the change. An external id is claimed first, in its own partition. The claim says what it
//! is for, so that whoever meets it can complete it. Whether it ever took effect is read from the entity's partition.
//!
//! **The layers**, each of which uses only those before it:
//!
//! 1. `data`: the types that the layers hand on to one another.
//! 2. Deciding, which is pure: `sight` holds what was seen behind a reference, `retention` says how long an outcome is kept, `past` says
//!    who held an id before, `standing` says whether a claim has taken effect, and `fold` decides a run.
//! 3. Resolving: `base` holds the store, and what is remembered of it (`cache` and `packed`, `reads`, `meter`); `resolve` finds the entity
//!    behind a reference.
//! 4. Claiming: `claim` claims ids and completes claims; `create` creates entities by a claim.
//!
//! [`Claims`] puts the layers together: it looks, decides and writes, and does so again until a write is applied. `inquiry` only looks, and
//! serves readers.

mod base;
mod cache;
pub(super) mod claim;
mod create;
mod data;
mod fold;
mod inquiry;
mod meter;
mod packed;
mod past;
mod reads;
mod resolve;
mod retention;
mod sight;
pub(super) mod standing;

use super::outcome::Outcome;
use super::{Applied, ConditionalStore, MAX_ROWS, StoreFault};
use crate::domain::answer::Answer;
use crate::domain::rejection::Rejection;
use crate::pauses::Pauses;
use crate::telemetry::metrics::Metrics;
use base::Base;
use claim::Claimer;
use data::Target;
use fold::{DecidedWrite, Fold, NeededClaim};
use meter::Meter;
use resolve::{Resolution, Resolver, Strictness};
use sight::Sight;
use std::borrow::Borrow;
use std::sync::Arc;
use std::time::Duration;

pub use base::{ClaimsOptions, Clock};
pub use data::{Decided, Submission};
pub use inquiry::Freshness;

/// The longest run that [`Claims::decide`] takes: what one write has room for, if its rows are of usual size.
pub const MAX_RUN: usize = MAX_ROWS;

/// The first pause after a fault; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause after a fault: short enough that a record goes on soon after the store came back.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The claim protocol over a store. All lanes of a process share one, and any number of processes may work on one store.
pub struct Claims<S> {
    pub(super) base: Base<S>,
}

/// What an attempt at deciding a run came to.
enum Attempted {
    /// The head of the run is decided: at least one submission.
    Decided(Vec<Decided>),
    /// Something was in the way: a write that came first, a pending claim, or a cache that did not suffice. All must be read and decided
    /// again.
    Contended,
}

impl From<Option<Decided>> for Attempted {
    fn from(first: Option<Decided>) -> Self {
        first.map_or(Self::Contended, |first| Self::Decided(vec![first]))
    }
}

impl<S: ConditionalStore> Claims<S> {
    /// Creates the protocol over `store`. All processes that share a store should have the same `outcome_retention`.
    pub fn new(store: Arc<S>, options: &ClaimsOptions, clock: Clock) -> Self {
        Self { base: Base::new(store, options, clock) }
    }

    /// Counts in `metrics` from now on how the cache is used.
    #[must_use]
    pub fn counting_in(mut self, metrics: Arc<Metrics>) -> Self {
        self.base.meter = Meter(Some(metrics));
        self
    }

    /// Brings the metrics of the cache's size up to date.
    pub fn measure_cache(&self) {
        let [claims, entities] = self.base.cache.occupancy();
        self.base.meter.occupancy(claims, entities);
    }

    /// Decides a run of at most [`MAX_RUN`] submissions, in order, and returns one result for each. All of them must name the same entity
    /// by the same reference. Those that can be folded take one conditional write, or as few as have room for them.
    ///
    /// # Errors
    /// Returns a fault if the store does not answer. That leaves open which submissions of the run took effect. The same run may be decided
    /// again at any time.
    pub async fn decide<R: Borrow<Submission> + Sync>(&self, run: &[R]) -> Result<Vec<Decided>, StoreFault> {
        debug_assert!(
            run.len() <= MAX_RUN && run.windows(2).all(|w| w[0].borrow().entity_named() == w[1].borrow().entity_named())
        );
        let mut decided = Vec::with_capacity(run.len());
        let mut strictness = Strictness::Cache;
        while let Some(next) = run.get(decided.len()) {
            let attempted = self.attempt(&run[decided.len()..], strictness).await;
            if !matches!(attempted, Ok(Attempted::Decided(_))) {
                self.base.cache.forget(&Target::of(next.borrow()));
            }
            match attempted? {
                Attempted::Decided(head) => {
                    decided.extend(head);
                    strictness = Strictness::Cache;
                }
                // The rounds come to an end, because each time somebody else has made progress, or the next look reads more strictly.
                Attempted::Contended => {
                    strictness = strictness.stricter();
                    tokio::task::yield_now().await;
                }
            }
        }
        Ok(decided)
    }

    /// Calls [`Claims::decide`] again and again, with capped exponential back-off, until the store lets it succeed. It never ends without a
    /// decision, because an earlier attempt may have written. `on_fault` is told each fault and the number of the attempt, from 1.
    pub async fn decide_until_done<R: Borrow<Submission> + Sync>(
        &self,
        run: &[R],
        on_fault: impl Fn(&StoreFault, u32) + Send + Sync,
    ) -> Vec<Decided> {
        let (mut attempt, mut pauses) = (1_u32, Pauses::new(FIRST_PAUSE, LONGEST_PAUSE));
        loop {
            match self.decide(run).await {
                Ok(decided) => return decided,
                Err(fault) => on_fault(&fault, attempt),
            }
            pauses.wait().await;
            attempt = attempt.saturating_add(1);
        }
    }

    /// Settles a submission whose decision panicked. Returns the outcome that the submission has. If there is none, stores
    /// [`Rejection::InternalError`] as its outcome, so that nothing of the submission can take effect later.
    ///
    /// # Errors
    /// Returns a fault if the store does not answer. That leaves open whether the outcome was stored. The same submission may be given up
    /// again at any time.
    pub async fn give_up(&self, submission: &Submission) -> Result<Decided, StoreFault> {
        let (target, request) = (Target::of(submission), &submission.request);
        self.base.cache.forget(&target);
        loop {
            match self.resolver().look(&target, &[request.id.as_str()], Strictness::Serial).await? {
                Resolution::Seen { sight, .. } => {
                    if !self.hold(std::slice::from_ref(submission), &sight).await? {
                        continue;
                    }
                    if let Some(found) = sight.known.of(request) {
                        return Ok(Decided::by(&found.outcome, request));
                    }
                    let answer = Answer::Rejected(Rejection::InternalError);
                    let (holder, now) = (sight.holder(), self.base.now());
                    let outcome = Outcome::of(request, answer, holder.epoch(), now);
                    let row = self.base.retention.row(&target, holder, request, &outcome);
                    let write = DecidedWrite::of(&target, holder, vec![row], None, now);
                    if let Some(write) = write
                        && self.write(write).await? == Applied::Yes
                    {
                        return Ok(Decided::by(&outcome, request));
                    }
                }
                Resolution::Pending(claim) => self.claimer().complete_met(&claim).await?,
            }
            tokio::task::yield_now().await;
        }
    }

    /// Returns whether [`Claims::read_ahead`] would read anything for the submission.
    pub fn can_read_ahead(&self, submission: &Submission) -> bool {
        // The entity that a creation is about is not there yet.
        let creates = submission.request.contents.creation().is_some();
        !creates && !self.base.cache.is_off() && !self.base.cache.has(&Target::of(submission))
    }

    /// Reads the entity that the submission names into the cache, with plain reads, unless the entity is there already or somebody is
    /// reading it. If the request has an outcome already, nothing is remembered: the command's turn finds the outcome with plain reads,
    /// too, and needs no write. What is read ahead may propose a write and no more, like all that is in the cache. The future may be
    /// dropped at any await.
    pub async fn read_ahead(&self, submission: &Submission) {
        let target = Target::of(submission);
        let Some(_reading) = self.base.reads.begin(&target) else { return };
        if !self.can_read_ahead(submission) {
            return;
        }
        // A fault is not reported here: the command's turn meets it again, and has more to say about it.
        if let Ok(Some(_)) = self.resolver().glance(&target, &[submission.request.id.as_str()]).await {
            self.base.meter.read_ahead();
        }
    }

    pub(super) fn resolver(&self) -> Resolver<'_, S> {
        Resolver(&self.base)
    }

    pub(super) fn claimer(&self) -> Claimer<'_, S> {
        Claimer(&self.base)
    }

    /// Makes one attempt at deciding `open`.
    async fn attempt<R: Borrow<Submission> + Sync>(&self, open: &[R], strictness: Strictness) -> Result<Attempted, StoreFault> {
        let first = open[0].borrow();
        if let (Some(creation), Strictness::Cache) = (first.request.contents.creation(), strictness) {
            return Ok(Box::pin(self.claimer().create(first, creation, strictness)).await?.into());
        }
        let target = Target::of(first);
        let requests: Vec<&str> = open.iter().map(|s| s.borrow().request.id.as_str()).collect();
        let (sight, asked) = match self.resolver().look(&target, &requests, strictness).await? {
            Resolution::Seen { sight, asked } => (sight, asked),
            Resolution::Pending(claim) => {
                Box::pin(self.claimer().complete_met(&claim)).await?;
                return Ok(Attempted::Contended);
            }
        };
        if !sight.known.is_empty() && !Box::pin(self.hold(&open[..asked], &sight)).await? {
            return Ok(Attempted::Contended);
        }
        let fold = Fold::of(&open[..asked], &target, &sight, self.base.now(), &self.base.retention);
        let (decided, write) = match fold {
            Fold::Head { decided, write } => (decided, write),
            Fold::Needs(NeededClaim::OfCreation(creation)) => {
                return Ok(Box::pin(self.claimer().create(first, creation, strictness)).await?.into());
            }
            Fold::Needs(NeededClaim::OfRename(seen)) => {
                return Ok(match strictness {
                    Strictness::Cache => Box::pin(self.claimer().rename_to_unclaimed(first, seen)).await?.into(),
                    Strictness::Plain | Strictness::Serial => Box::pin(self.claimer().rename(first, seen)).await?.into(),
                });
            }
        };
        let applied = match write {
            Some(write) => self.write(write).await?,
            None => Applied::Yes,
        };
        Ok(if applied == Applied::Yes { Attempted::Decided(decided) } else { Attempted::Contended })
    }

    /// Holds those outcomes that are to answer `open` and might expire too early. Returns `false` if one of them is no longer there; then
    /// the caller must look again.
    async fn hold<R: Borrow<Submission> + Sync>(&self, open: &[R], sight: &Sight) -> Result<bool, StoreFault> {
        let (now, mut held) = (self.base.now(), Vec::new());
        for request in open.iter().map(|submission| &submission.borrow().request) {
            let hold = sight.known.of(request).and_then(|found| self.base.retention.hold(request, found, now));
            let Some(write) = hold.filter(|_| !held.contains(&&request.id)) else { continue };
            if self.base.store.hold(write).await? == Applied::No {
                return Ok(false);
            }
            held.push(&request.id);
        }
        Ok(true)
    }

    async fn write(&self, write: DecidedWrite) -> Result<Applied, StoreFault> {
        match write {
            DecidedWrite::Apply(write) => self.base.apply(write).await,
            DecidedWrite::Refuse(write) => self.base.store.refuse(write).await,
        }
    }
}
