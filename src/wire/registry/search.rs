//! Decides what is concluded from the registry's answers about one schema, and when.
//!
//! **The problem.** A record whose schema is not known makes its partition wait, and a conclusion can't be taken back: the record
//! goes to the dead letter topic, or is applied. So nothing may be concluded from an answer that says more about the registry
//! than about the schema. But one schema that the registry is odd about must not stop a partition for ever.
//!
//! **The idea.** After each answer the registry is asked for a schema of our own. Only if it still has that one does the answer
//! say something about the schema that was asked for. Then
//!
//! - a schema is known at once,
//! - "not known" is believed if it is still the answer after [`UNKNOWN_AFTER`], because the node that was asked may be behind the node that
//!   gave the id,
//! - any other answer (403, 500, one that can't be read) is odd, and the record is unreadable once the answers have been odd for as long as
//!   the operator chose.
//!
//! If the registry does not answer for our own schema, or has another one in its place, both clocks begin anew.

use super::fault::RegistryFault;
use crate::config::OddAnswer;
use crate::pauses::Pauses;
use crate::wire::command::WriterSchema;
use crate::wire::schema_id::SchemaId;
use crate::wire::unreadable::Unreadable;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the registry must say that it does not know an id before it is believed, unless an earlier search believed it already. The
/// nodes of a registry learn of each other's schemas within a second or two.
pub(super) const UNKNOWN_AFTER: Duration = Duration::from_secs(5);
/// The first pause between two questions.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause while the registry says that it does not know the id.
const LONGEST_WHILE_UNKNOWN: Duration = Duration::from_secs(1);
/// The longest pause in all other cases.
const LONGEST: Duration = Duration::from_secs(5);

/// A conclusion about a schema id: the schema, or the reason why records with this id can't be read.
pub(super) type SchemaConclusion = Result<Arc<WriterSchema>, Unreadable>;

/// An answer of the registry about one schema.
#[derive(Debug)]
pub(super) enum RegistryAnswer {
    /// The registry has the schema, be it one that can't be used.
    Known(SchemaConclusion),
    /// The registry says that it has no such schema.
    Unknown,
    /// The registry answered something else, or nothing.
    Fault(RegistryFault),
}

/// Whether the registry can be believed.
#[derive(Clone, Debug)]
pub enum Sameness {
    /// The registry answers, and has our own schemas under the ids that it gave them.
    Same,
    /// The registry answers, but its ids mean other schemas than before; the text says which.
    Differs(Arc<str>),
    /// The registry does not answer for our own schemas either.
    Away(RegistryFault),
}

/// The search for one schema.
#[derive(Clone, Debug)]
pub(super) struct SchemaSearch {
    /// Since when the registry says that it does not know the schema.
    unknown_since: Option<Instant>,
    /// Since when the registry's answers are odd.
    odd_since: Option<Instant>,
    /// The last answer that was no schema.
    last: Option<Arc<str>>,
    /// Whether an earlier search ended with "unknown" or "odd". Then one more such answer is enough.
    concluded_before: bool,
    pauses: Pauses,
}

/// The next step of a search.
#[derive(Debug)]
pub(super) enum SearchStep {
    /// End the search with this conclusion.
    Conclude(SchemaConclusion),
    /// Ask again after this time.
    AskAgain(Duration),
}

impl SchemaSearch {
    pub(super) fn new(concluded_before: bool) -> Self {
        Self { unknown_since: None, odd_since: None, last: None, concluded_before, pauses: Pauses::new(FIRST_PAUSE, LONGEST) }
    }

    /// Judges an answer. `standing` is what a look found that began after the answer.
    pub(super) fn judge(
        &mut self,
        id: SchemaId,
        answer: RegistryAnswer,
        standing: &Sameness,
        odd_answer: OddAnswer,
        now: Instant,
    ) -> SearchStep {
        let longest = match (answer, standing) {
            (RegistryAnswer::Known(known), Sameness::Same) => return SearchStep::Conclude(known),
            (RegistryAnswer::Unknown, Sameness::Same) => {
                self.odd_since = None;
                let since = *self.unknown_since.get_or_insert(now);
                if self.concluded_before || now - since >= UNKNOWN_AFTER {
                    return SearchStep::Conclude(Err(Unreadable::UnknownSchemaId { id }));
                }
                self.last = Some("it knows no such schema".into());
                LONGEST_WHILE_UNKNOWN
            }
            (RegistryAnswer::Fault(fault), Sameness::Same) => {
                let reason: Arc<str> = fault.to_string().into();
                let since = *self.odd_since.get_or_insert(now);
                if odd_answer.is_over(now - since) || (self.concluded_before && odd_answer != OddAnswer::Wait) {
                    return SearchStep::Conclude(Err(Unreadable::OddRegistryAnswer { id, reason }));
                }
                self.last = Some(reason);
                LONGEST
            }
            (_, Sameness::Differs(_) | Sameness::Away(_)) => {
                (self.unknown_since, self.odd_since, self.last) = (None, None, None);
                LONGEST
            }
        };
        SearchStep::AskAgain(self.pauses.next_pause().min(longest))
    }

    /// Returns what the registry says about this schema while it answers well about others, and for how long it has said so. Returns `None`
    /// if its answers are not odd.
    pub(super) fn odd(&self, now: Instant) -> Option<(Arc<str>, Duration)> {
        Some((self.last.clone()?, now.saturating_duration_since(self.odd_since?)))
    }
}

#[cfg(test)]
#[path = "search_tests.rs"]
mod tests;
