//! The contents of a request: all that the request asks for, without the entity that it is about and without who asks. In a creation, the
//! superior of the new entity is part of the contents. A request id that comes again must come with the same contents.

use super::change::{Creation, RequestedChange};
use super::use_case::UseCase;
use uuid::Uuid;

/// The checked contents of a request. Its change is of the use case's kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Contents {
    use_case: UseCase,
    change: RequestedChange,
    expected_version: Option<i64>,
    fingerprint: Uuid,
}

impl Contents {
    /// Puts together what request validation has checked; `change` came from [`check`](super::change::ChangeKind::check) of
    /// the use case's kind.
    pub(super) fn new(use_case: UseCase, change: RequestedChange, expected_version: Option<i64>) -> Self {
        let version = expected_version.map(|version| version.to_string()).unwrap_or_default();
        let text = [use_case.name(), "\n", &version, "\n", &change.text()].concat();
        let fingerprint = Uuid::new_v5(&Uuid::NAMESPACE_OID, text.as_bytes());
        Self { use_case, change, expected_version, fingerprint }
    }

    /// Rebuilds contents that were checked before. They are not checked again, because the rules and the configuration may
    /// have changed in the meantime. Returns `None` if `text` is no [text](RequestedChange::text) of a change of the use case's kind.
    pub fn restore(use_case: UseCase, text: &str, expected_version: Option<i64>) -> Option<Self> {
        Some(Self::new(use_case, use_case.kind().restore(text)?, expected_version))
    }

    /// Returns the use case.
    pub fn use_case(&self) -> UseCase {
        self.use_case
    }

    /// Returns the change that is asked for.
    pub fn change(&self) -> &RequestedChange {
        &self.change
    }

    /// Returns the entity that is to be created, or `None` if the request changes one that is there.
    pub fn creation(&self) -> Option<&Creation> {
        match &self.change {
            RequestedChange::Create(creation) => Some(creation),
            _ => None,
        }
    }

    /// Returns the contents with another entity that is to be created.
    #[must_use]
    pub fn with_creation(&self, creation: Creation) -> Self {
        Self::new(self.use_case, RequestedChange::Create(creation.into()), self.expected_version)
    }

    /// Returns the version that the entity must have, or `None` if any will do.
    pub fn expected_version(&self) -> Option<i64> {
        self.expected_version
    }

    /// Returns a UUIDv5 (OID namespace) of use case, new values and expected version, which tells different contents apart. It is
    /// stored, and is the same in every version of this program.
    pub fn fingerprint(&self) -> Uuid {
        self.fingerprint
    }
}
