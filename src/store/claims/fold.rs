//! Decides a run of commands about one entity, one after another in memory. Pure.
//!
//! The result is the same as if each command had been decided and stored by itself: each sees the entity as its predecessor left it, and
//! a request id that comes twice sees the first one's outcome. What one write has no room for is left to the next write.

use super::data::{Decided, Submission, Target};
use super::retention::Retention;
use super::sight::{Holder, Sight};
use crate::domain::Timestamp;
use crate::domain::answer::Answer;
use crate::domain::change::Creation;
use crate::domain::decision::decide;
use crate::domain::entity::Entity;
use crate::domain::rejection::Rejection;
use crate::store::outcome::Outcome;
use crate::store::{ApplyWrite, EntityStatics, LogRow, MAX_ROWS, RefuseWrite};
use std::borrow::Borrow;
use std::collections::HashMap;

/// The most bytes that the rows of one write take, unless it is a single row. Each replica keeps the write as one cell of its Paxos state
/// before it applies it. 128 KiB is far below the 1 MiB from which on ScyllaDB reports a cell as large, and has room for [`MAX_ROWS`]
/// rows of usual size (150 to 250 bytes). The largest rows, with every text at its bound, have about 12 KiB.
const MAX_BYTES: usize = 128 << 10;

/// What can be decided of a run in memory.
#[expect(clippy::large_enum_variant, reason = "the large one is the usual one, and is taken apart at once")]
pub(super) enum Fold<'a> {
    /// The head of the run, at least one submission.
    Head {
        /// One decision for each submission of the head.
        decided: Vec<Decided>,
        /// The write that must be applied before the decisions are final, because it stores the outcomes which are not stored yet. `None`
        /// if all were known.
        write: Option<DecidedWrite>,
    },
    /// Nothing can be decided in memory: the first submission needs a claim.
    Needs(NeededClaim<'a>),
}

/// The claim that a submission needs.
pub(super) enum NeededClaim<'a> {
    /// The claim of this creation, whose entity is not there.
    OfCreation(&'a Creation),
    /// The claim of this entity, which the submission renames.
    OfRename(&'a EntityStatics),
}

/// The write that makes decisions final.
pub(super) enum DecidedWrite {
    /// A write to the partition of an entity.
    Apply(ApplyWrite),
    /// A write to the partition of an external id that leads to no entity.
    Refuse(RefuseWrite),
}

impl DecidedWrite {
    /// Returns the write that stores outcomes where they belong: with the entity, or, if there is none, with the reference. Returns
    /// `None` if there are no rows.
    pub fn of(target: &Target, holder: &Holder, rows: Vec<LogRow>, after: Option<EntityStatics>, now: Timestamp) -> Option<Self> {
        if rows.is_empty() {
            return None;
        }
        Some(match (holder, target) {
            (Holder::Entity(seen), _) => Self::Apply(ApplyWrite::about(seen, after, rows)),
            (Holder::Nobody { generation }, Target::Id(id)) => {
                Self::Refuse(RefuseWrite { id: id.clone(), expected_generation: *generation, refused: now, rows })
            }
            (Holder::Nobody { .. }, Target::Entity(key)) => {
                Self::Apply(ApplyWrite { key: *key, expected_version: None, after: None, rows })
            }
        })
    }
}

/// The rows of one write, as far as there is room.
#[derive(Default)]
struct Rows {
    rows: Vec<LogRow>,
    bytes: usize,
}

impl<'a> Fold<'a> {
    /// Decides the submissions of `open` one after another. Stops where the write has no more room, and before a submission that needs a
    /// claim first: the creation of the entity, or a rename that would change it.
    pub fn of(
        open: &'a [impl Borrow<Submission>],
        target: &Target,
        sight: &'a Sight,
        now: Timestamp,
        retention: &Retention,
    ) -> Self {
        let mut all = Vec::<Decided>::with_capacity(open.len());
        let mut rows = Rows { rows: Vec::with_capacity(open.len()), bytes: 0 };
        // The index in `all` of the last change. Its answer holds the entity as it is after that change.
        let mut changed: Option<usize> = None;
        // The outcomes that are decided here, for submissions with the same request id further back.
        let mut outcomes: HashMap<&str, Outcome> = HashMap::with_capacity(open.len() - 1);
        for (n, submission) in open.iter().map(Borrow::borrow).enumerate() {
            let request = &submission.request;
            let known = sight.known.of(request).map(|found| &found.outcome).or_else(|| outcomes.get(request.id.as_str()));
            let decided = if let Some(outcome) = known {
                Decided::by(outcome, request)
            } else {
                let (holder, entity) = (sight.holder(), changed.and_then(|n| all[n].answer.changed()));
                let answer = match answer(submission, holder, entity, now) {
                    Ok(answer) => answer,
                    Err(claim) if all.is_empty() => return Self::Needs(claim),
                    Err(_) => break,
                };
                let outcome = Outcome::of(request, answer, holder.epoch(), now);
                if !rows.add(retention.row(target, holder, request, &outcome)) {
                    break;
                }
                if outcome.answer.changed().is_some() {
                    changed = Some(all.len());
                }
                let decided = Decided::by(&outcome, request);
                if n + 1 < open.len() {
                    outcomes.insert(request.id.as_str(), outcome);
                }
                decided
            };
            all.push(decided);
        }
        let after = match (&sight.holder, changed.and_then(|n| all[n].answer.changed())) {
            (Some(Holder::Entity(seen)), Some(entity)) => Some(EntityStatics { entity: entity.clone(), ..*seen }),
            _ => None,
        };
        let write = sight.holder.as_ref().and_then(|holder| DecidedWrite::of(target, holder, rows.rows, after, now));
        Self::Head { decided: all, write }
    }
}

impl Rows {
    /// Adds a row, and returns whether there was room for it.
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

/// Returns the answer to a submission, given the entity as it was seen, or as `changed` since. Returns the claim that the submission needs
/// if it can't be answered without one.
fn answer<'a>(
    submission: &'a Submission,
    holder: &'a Holder,
    changed: Option<&Entity>,
    now: Timestamp,
) -> Result<Answer, NeededClaim<'a>> {
    let contents = &submission.request.contents;
    let seen = match (holder, contents.creation()) {
        (Holder::Entity(seen), _) => seen,
        (Holder::Nobody { .. }, Some(creation)) => return Err(NeededClaim::OfCreation(creation)),
        (Holder::Nobody { .. }, None) => {
            let field = submission.target.field(submission.entity_type());
            return Ok(Answer::Rejected(Rejection::EntityNotFound { field }));
        }
    };
    let answer = decide(changed.unwrap_or(&seen.entity), &submission.request, now);
    let is_rename = answer.changed().is_some() && contents.change().wanted().is_some();
    if is_rename { Err(NeededClaim::OfRename(seen)) } else { Ok(answer) }
}
