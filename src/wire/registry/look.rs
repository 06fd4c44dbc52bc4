//! Looks whether the registry is there, and whether it is still the one that gave us our ids.
//!
//! A registry that loses its schemas (one in memory, a restart from an old backup, another one behind the same name) gives the same ids
//! again to other schemas. Then an answer of ours reads as something else, and a command may be decoded as one of another kind. So the
//! registry is asked again and again for the schemas under our own ids, and for those under the ids of the writers' schemas that are kept.

use super::http::HttpAnswer;
use super::inner::{Inner, Kept, Looked, Ours};
use super::search::Sameness;
use crate::wire::schema_id::SchemaId;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

/// How many kept schemas one look asks for again, in turn. A topic has a handful of them. Each process asks every few seconds, and
/// this number bounds the load that the registry has from it.
const LOOKED_UP_AGAIN: usize = 16;

impl Inner {
    /// Returns the result of a look that began at `after` or later: another caller's, or a new one. Unless the last look found something
    /// wrong, a new look asks for the first of our ids only, because there is one after each answer about a schema.
    pub(super) async fn standing_since(&self, after: Instant) -> Sameness {
        let _one_at_a_time = self.looking.lock().await;
        if let Some(looked) = self.looked().filter(|looked| looked.began >= after) {
            return looked.standing;
        }
        self.look_for(1, 0).await
    }

    /// Asks for all of our own ids, and for some of the schemas that are kept.
    pub(super) async fn look(&self) -> Sameness {
        let _one_at_a_time = self.looking.lock().await;
        self.look_for(usize::MAX, LOOKED_UP_AGAIN).await
    }

    /// Asks for at most `most_ours` of our own schemas, and for at most `most_kept` of the schemas that are kept. Asks for all of both if
    /// the registry was away, or differed, at the last look, because it may have lost its schemas then.
    async fn look_for(&self, most_ours: usize, most_kept: usize) -> Sameness {
        let was_well = self.looked().is_some_and(|looked| matches!(looked.standing, Sameness::Same));
        let (most_ours, most_kept) = if was_well { (most_ours, most_kept) } else { (usize::MAX, usize::MAX) };
        let began = Instant::now();
        let standing = match self.ask_for_ours(most_ours).await {
            Sameness::Same => self.look_up_again(most_kept).await,
            other => other,
        };
        self.note_look(began, standing)
    }

    fn note_look(&self, began: Instant, standing: Sameness) -> Sameness {
        // A schema that was replaced once counts as replaced for ever: records on the topic may have been written with either schema.
        let standing = match self.replaced() {
            Some(replaced) if matches!(standing, Sameness::Same) => Sameness::Differs(replaced),
            _ => standing,
        };
        // That a registry does not answer is no reason to suspend, nor to end a suspension.
        match &standing {
            Sameness::Same => self.suspend(None),
            Sameness::Differs(how) => self.suspend(Some(how.clone())),
            Sameness::Away(_) => {}
        }
        self.keep_look(Looked { began, standing: standing.clone() });
        standing
    }

    async fn ask_for_ours(&self, most: usize) -> Sameness {
        for ours in self.ours().into_iter().take(most) {
            let Ours { id, subject, .. } = &ours;
            match self.http.schema(*id).await {
                Ok(HttpAnswer::Found(answer)) if ours.is(&answer) => {}
                Ok(HttpAnswer::Found(_) | HttpAnswer::TooLong) => {
                    return Sameness::Differs(format!("{id} was our schema of {subject}, and is another one now").into());
                }
                Ok(HttpAnswer::NotFound { has_code: false }) => {
                    return Sameness::Away(self.http.not_a_registry(&format!("fetching our own schema with {id}")));
                }
                Ok(HttpAnswer::NotFound { has_code: true }) => {
                    return Sameness::Differs(
                        format!("{id} was our schema of {subject}, and the registry has none there now").into(),
                    );
                }
                Err(fault) => return Sameness::Away(fault),
            }
        }
        Sameness::Same
    }

    async fn look_up_again(&self, most: usize) -> Sameness {
        for (id, kept) in self.next_kept(most) {
            match self.http.schema(id).await {
                Ok(HttpAnswer::Found(answer)) if answer.print() == kept.print => {}
                Ok(HttpAnswer::Found(_)) => match (&kept.known, self.look_up(id).await) {
                    // The text is another one, and is read in the same way.
                    (Ok(before), Ok(Some((Ok(now), print)))) if before.reads_as(&now) => {
                        self.cache.insert(id, Kept { known: Ok(now), until: None, print });
                    }
                    (Ok(_), Ok(Some(_))) => {
                        let replaced: Arc<str> = format!("{id} was the schema of commands, and is another one now").into();
                        self.note_replaced(replaced.clone());
                        return Sameness::Differs(replaced);
                    }
                    // A schema that could not be used may be usable now; one that can't be fetched now is looked at the next time.
                    (Err(_), _) | (_, Ok(None)) => drop(self.cache.remove(&id)),
                    (_, Err(_)) => {}
                },
                // The id may be given again, to another schema.
                Ok(HttpAnswer::NotFound { .. } | HttpAnswer::TooLong) => drop(self.cache.remove(&id)),
                // The registry is odd about this schema, and answers well about ours.
                Err(_) => {}
            }
        }
        Sameness::Same
    }

    /// Returns the kept schemas whose turn it is, at most `most`. Ids that are unknown or odd are left out: they are asked for again when
    /// they are needed.
    fn next_kept(&self, most: usize) -> Vec<(SchemaId, Kept)> {
        let mut all: Vec<_> = self.cache.iter().filter(|(_, kept)| kept.until.is_none()).collect();
        all.sort_by_key(|(id, _)| *id);
        let count = all.len().min(most);
        if count == 0 {
            return Vec::new();
        }
        let first = self.turn.fetch_add(count, Relaxed);
        (0..count).filter_map(|n| all.get((first + n) % all.len()).cloned()).collect()
    }
}
