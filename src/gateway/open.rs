//! The requests whose replies are awaited. A request that comes again while it is open joins the one that is there, so that both get the
//! same answer from one record.
//!
//! Each record has a token, which its reply brings back. The table holds a token for as long as somebody waits, so it has at most as many
//! entries as there are open requests.

use super::command::Identity;
use super::reply::JsonReply;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// How far a command has come.
#[derive(Clone, Debug, PartialEq)]
pub enum CommandProgress {
    /// The command was given to the Kafka client.
    Sent,
    /// The command is on the topic.
    Written,
    /// The command is certainly not on the topic, and never will be, for this reason.
    Unwritten(&'static str),
    /// It is not known whether the command is on the topic, or its reply can't be read.
    Unknown,
    /// The reply has come.
    Answered(Arc<JsonReply>),
}

/// The open requests of a gateway.
#[derive(Clone, Debug, Default)]
pub struct OpenRequests(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    last_token: u64,
    by_token: HashMap<u64, Entry>,
    by_identity: HashMap<Identity, u64>,
}

#[derive(Debug)]
struct Entry {
    identity: Identity,
    progress: watch::Sender<CommandProgress>,
    waiting: usize,
}

/// A place among those who wait for the reply to a command. It is given up when this is dropped.
#[derive(Debug)]
pub struct Waiter {
    table: Arc<Mutex<Table>>,
    /// The token of the command's record.
    pub token: u64,
    /// Whether the command has yet to be sent, because this is the first to wait for it.
    pub is_first: bool,
    /// How far the command has come.
    pub progress: watch::Receiver<CommandProgress>,
}

impl OpenRequests {
    /// Begins to wait for the reply to a request, alone or with those who wait for it already.
    pub fn wait_for(&self, identity: &Identity) -> Waiter {
        let mut table = lock(&self.0);
        let joined = table.by_identity.get(identity).copied();
        let token = joined.unwrap_or_else(|| table.open(identity));
        let entry = table.by_token.get_mut(&token).expect("each token of the second map is one of the first");
        entry.waiting += 1;
        Waiter { table: self.0.clone(), token, is_first: joined.is_none(), progress: entry.progress.subscribe() }
    }

    /// Notes how far a command has come. Once a reply is noted, all further progress is ignored. Returns whether anybody waits.
    pub fn note(&self, token: u64, progress: CommandProgress) -> bool {
        let mut table = lock(&self.0);
        let Some(entry) = table.by_token.get(&token) else { return false };
        let is_over = !matches!(progress, CommandProgress::Written | CommandProgress::Sent);
        entry.progress.send_if_modified(|known| {
            let is_news = match (&*known, &progress) {
                (CommandProgress::Answered(_), _) => false,
                // The report that a command is written may come after its reply, which was known to be unreadable.
                (known, CommandProgress::Written) => matches!(known, CommandProgress::Sent),
                _ => true,
            };
            if is_news {
                *known = progress;
            }
            is_news
        });
        if is_over {
            // Whoever asks from now on asks anew.
            let identity = entry.identity.clone();
            if table.by_identity.get(&identity) == Some(&token) {
                table.by_identity.remove(&identity);
            }
        }
        true
    }

    /// Returns whether somebody waits for the reply with this token.
    pub fn is_awaited(&self, token: u64) -> bool {
        lock(&self.0).by_token.contains_key(&token)
    }
}

impl Table {
    fn open(&mut self, identity: &Identity) -> u64 {
        self.last_token += 1;
        let token = self.last_token;
        let entry = Entry { identity: identity.clone(), progress: watch::Sender::new(CommandProgress::Sent), waiting: 0 };
        self.by_token.insert(token, entry);
        self.by_identity.insert(identity.clone(), token);
        token
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut table = lock(&self.table);
        let Some(entry) = table.by_token.get_mut(&self.token) else { return };
        entry.waiting -= 1;
        if entry.waiting == 0
            && let Some(Entry { identity, .. }) = table.by_token.remove(&self.token)
            && table.by_identity.get(&identity) == Some(&self.token)
        {
            table.by_identity.remove(&identity);
        }
    }
}

fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::answer::Answer;
    use crate::domain::reference::Reference;
    use crate::domain::rejection::Rejection;
    use crate::domain::use_case::UseCase;
    use crate::domain::values::RequestId;
    use uuid::Uuid;

    fn request(id: &str, contents: u128) -> Identity {
        Identity {
            use_case: UseCase::UpdateCustomerSegment,
            target: Reference::RefId(Uuid::nil()),
            request_id: RequestId::parse(id).unwrap(),
            contents: Uuid::from_u128(contents),
        }
    }

    fn answered() -> CommandProgress {
        let answer = Answer::Rejected(Rejection::InternalError);
        CommandProgress::Answered(JsonReply::replay(&RequestId::parse("r").unwrap(), &answer, 0).into())
    }

    #[test]
    fn the_same_request_waits_for_the_same_reply_and_another_one_does_not() {
        let open = OpenRequests::default();
        let (first, second, other) =
            (open.wait_for(&request("r", 1)), open.wait_for(&request("r", 1)), open.wait_for(&request("r", 2)));
        assert_eq!((first.is_first, second.is_first, other.is_first), (true, false, true));
        assert_eq!((first.token == second.token, first.token == other.token), (true, false));
        assert!(open.note(first.token, answered()));
        assert_eq!(*second.progress.borrow(), answered());
        assert_eq!(*other.progress.borrow(), CommandProgress::Sent);
        assert!(open.wait_for(&request("r", 1)).is_first, "what comes after the reply asks anew");
    }

    #[test]
    fn a_token_lives_for_as_long_as_somebody_waits() {
        let open = OpenRequests::default();
        let (first, second) = (open.wait_for(&request("r", 1)), open.wait_for(&request("r", 1)));
        let token = first.token;
        drop(first);
        assert!(open.is_awaited(token));
        drop(second);
        assert!(!open.is_awaited(token) && !open.note(token, answered()));
        let again = open.wait_for(&request("r", 1));
        assert!(again.is_first && again.token != token);
    }

    #[test]
    fn a_reply_is_the_last_word_and_a_failure_is_joined_by_nobody() {
        let open = OpenRequests::default();
        let first = open.wait_for(&request("r", 1));
        open.note(first.token, answered());
        open.note(first.token, CommandProgress::Unknown);
        assert_eq!(*first.progress.borrow(), answered());
        let failed = open.wait_for(&request("s", 1));
        open.note(failed.token, CommandProgress::Unwritten("no Kafka"));
        let next = open.wait_for(&request("s", 1));
        assert!(next.is_first);
        drop(failed);
        assert!(!open.wait_for(&request("s", 1)).is_first, "the one that failed took nothing with it");
    }
}
