//! Decides a run of commands about one entity, one after another in memory. Pure.
//!
//! What comes out is as if each had been decided and stored by itself: each sees the entity as its predecessor left it, and
//! a request id that comes twice sees the first one's outcome. What one write has no room for is left to the next.

use super::resolve::{Holder, Sight};
use super::retention::Retention;
use super::{Decided, Submission, Target};
use crate::domain::Timestamp;
use crate::domain::command::{Decision, RequestId, UseCase, decide, fingerprint};
use crate::domain::entity::Entity;
use crate::domain::rejection::Rejection;
use crate::domain::transaction::{Change, Transaction};
use crate::store::outcome::{Answer, ClaimingCommand, Coordinates, Outcome};
use crate::store::{EntityStatics, LogRow, MAX_ROWS};
use std::borrow::Borrow;
use std::collections::HashMap;
use std::sync::Arc;
use uuid::Uuid;

/// What the rows of one write may take, in bytes, unless it is a single row. Each replica keeps the write as one cell of its
/// Paxos state before it applies it: 128 KiB is far below the 1 MiB from which on ScyllaDB reports a cell as large, and
/// holds [`MAX_ROWS`] rows of usual size (150 to 250 bytes). The largest rows, with every text at its bound, have about 12 KiB.
const MAX_BYTES: usize = 128 << 10;

/// What was decided of the head of a run, and what must be applied before it is final.
#[derive(Default)]
pub(super) struct Fold {
    /// One for each submission of the head.
    pub decided: Vec<Decided>,
    /// The outcomes that are not stored yet; none if all were known.
    pub rows: Vec<LogRow>,
    /// The entity after them; None if it stays as it is.
    pub after: Option<EntityStatics>,
    /// Of the rows.
    bytes: usize,
}

impl Fold {
    /// Goes through `open` up to the first rename that would change the entity, which needs a claim first, or as far as one
    /// write has room.
    pub fn of(open: &[impl Borrow<Submission>], target: &Target, sight: &Sight, now: Timestamp, retention: &Retention) -> Self {
        let (decided, rows) = (Vec::with_capacity(open.len()), Vec::with_capacity(open.len()));
        let mut fold = Self { decided, rows, ..Self::default() };
        // The entity as the last change among what is decided leaves it.
        let mut changed: Option<usize> = None;
        // What is decided here, for those of the same request id behind it.
        let mut outcomes: HashMap<&str, Outcome> = HashMap::with_capacity(open.len() - 1);
        for (n, submission) in open.iter().map(Borrow::borrow).enumerate() {
            let request = Request::of(submission);
            let known = sight.known.of(&request).or_else(|| outcomes.get(request.id.as_str()));
            let decided = if let Some(outcome) = known {
                Decided::by(outcome, &request)
            } else {
                let entity = changed.and_then(|n| fold.decided[n].answer.changed());
                let Some(answer) = answer(&request, submission, &sight.holder, entity, now) else { break };
                let outcome = request.outcome(answer, sight.holder.epoch(), now);
                if !fold.add(retention.row(target, &sight.holder, request.id, &outcome)) {
                    break;
                }
                if outcome.answer.changed().is_some() {
                    changed = Some(fold.decided.len());
                }
                let decided = Decided::by(&outcome, &request);
                if n + 1 < open.len() {
                    outcomes.insert(request.id.as_str(), outcome);
                }
                decided
            };
            fold.decided.push(decided);
        }
        if let (Holder::Entity(seen), Some(entity)) = (&sight.holder, changed.and_then(|n| fold.decided[n].answer.changed())) {
            fold.after = Some(EntityStatics { entity: entity.clone(), ..*seen });
        }
        fold
    }

    /// Whether there is room for the row, which is added then.
    fn add(&mut self, row: LogRow) -> bool {
        let bytes = self.bytes + row.request_id.len() + row.outcome.len();
        if !self.rows.is_empty() && (self.rows.len() == MAX_ROWS || bytes > MAX_BYTES) {
            return false;
        }
        self.bytes = bytes;
        self.rows.push(row);
        true
    }
}

/// What a submission is to be answered, if the entity is as it was seen, or `changed` since. None: it can't be told in memory.
fn answer(
    request: &Request<'_>,
    submission: &Submission,
    holder: &Holder,
    changed: Option<&Entity>,
    now: Timestamp,
) -> Option<Answer> {
    let entity = match holder {
        Holder::NotAsked => return None,
        Holder::Nobody { .. } => {
            let field = submission.command.target.field(submission.command.entity_type());
            return Some(Answer::Rejected(Rejection::EntityNotFound { field }));
        }
        Holder::Entity(seen) => changed.unwrap_or(&seen.entity),
    };
    let answer = request.decide(entity, now);
    let needs_a_claim = answer.changed().is_some() && request.use_case.wanted().is_some();
    (!needs_a_claim).then_some(answer)
}

/// What a decision depends on besides the entity: of a submission, or of a claim that is completed for another.
pub(super) struct Request<'a> {
    pub id: &'a RequestId,
    pub use_case: &'a UseCase,
    expected_version: Option<i64>,
    correlation_id: Option<&'a str>,
    pub record: &'a Coordinates,
    /// See [`fingerprint`].
    pub fingerprint: Uuid,
}

impl<'a> Request<'a> {
    pub fn of(submission: &'a Submission) -> Self {
        let command = &submission.command;
        Self {
            id: &command.request_id,
            use_case: &command.use_case,
            expected_version: command.expected_version,
            correlation_id: submission.correlation_id.as_deref(),
            record: &submission.record,
            fingerprint: command.fingerprint(),
        }
    }

    pub fn of_claimant(command: &'a ClaimingCommand) -> Self {
        Self {
            id: &command.request_id,
            use_case: &command.use_case,
            expected_version: command.expected_version,
            correlation_id: command.correlation_id.as_deref(),
            record: &command.record,
            fingerprint: fingerprint(&command.use_case, command.expected_version),
        }
    }

    /// What the request is to be answered, if `entity` stays as it is until that is applied.
    pub fn decide(&self, entity: &Entity, now: Timestamp) -> Answer {
        match decide(entity, self.use_case, self.expected_version, now) {
            Decision::Change { after, change } => Answer::Changed(self.transaction(entity.version, vec![change], after, now)),
            Decision::Unchanged => Answer::Unchanged(self.transaction(entity.version, Vec::new(), entity.clone(), now)),
            Decision::Rejected(rejection) => Answer::Rejected(rejection),
        }
    }

    /// `answer` as it is stored, decided in this epoch of the entity.
    pub fn outcome(&self, answer: Answer, epoch: Option<i64>, now: Timestamp) -> Outcome {
        Outcome { fingerprint: self.fingerprint, record: self.record.clone(), at: now, epoch, answer }
    }

    fn transaction(&self, previous_version: i64, changes: Vec<Change>, entity: Entity, now: Timestamp) -> Arc<Transaction> {
        Arc::new(Transaction {
            use_case: self.use_case.name(),
            request_id: self.id.clone(),
            correlation_id: self.correlation_id.map(Into::into),
            occurred_at: now,
            previous_version,
            changes,
            entity,
        })
    }
}
