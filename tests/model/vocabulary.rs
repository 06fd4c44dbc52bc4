//! What the model talks about: commands and the records that bring them, claims and outcomes, and the two kinds of
//! partition that hold them. Everything is small and numbered; what no rule depends on is left out.

/// An entity, by its refId.
pub type Entity = u8;
/// An external id.
pub type Id = u8;
/// A request id.
pub type Request = u8;
/// A record of the command topic: its coordinates. Each record brings one command, so its number is the command's as well.
pub type Record = u8;

pub const ENTITIES: usize = 2;
pub const IDS: usize = 4;
pub const REQUESTS: usize = 6;
pub const RECORDS: usize = 6;
/// The most commands that one conditional write decides.
pub const RUN: usize = 2;

/// The request that claims for an import, and whose row an import writes. No command has it.
pub const FIRST_ROW: Request = 0;

/// How a command names its entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    Id(Id),
    RefId(Entity),
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UseCase {
    /// Give the entity this external id.
    Rename(Id),
    /// Set some other value of the entity.
    Name(u8),
    /// Create the entity, with this external id. Not a command but a line of an import, which publishes nothing.
    Import(Id),
}

/// What a record asks for.
#[derive(Clone, Copy, Debug)]
pub struct Command {
    pub request: Request,
    pub target: Target,
    pub use_case: UseCase,
    pub expected_version: Option<u8>,
}

impl Command {
    /// What a request id stands for besides the entity. Another command with other contents reuses the id.
    pub fn same_contents(&self, other: &Self) -> bool {
        (self.use_case, self.expected_version) == (other.use_case, other.expected_version)
    }

    /// The external id that the entity is to have.
    pub fn wanted(&self) -> Option<Id> {
        match self.use_case {
            UseCase::Rename(id) | UseCase::Import(id) => Some(id),
            UseCase::Name(_) => None,
        }
    }

    pub fn is_import(&self) -> bool {
        matches!(self.use_case, UseCase::Import(_))
    }
}

/// What a command, or a line of an import, is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Answer {
    /// The after-image, as far as it matters.
    Changed {
        version: u8,
        external_id: Id,
    },
    Unchanged,
    VersionConflict,
    Taken,
    NotFound,
    /// A bug was caught while the command was decided.
    InternalError,
    /// The request id stands for something else. Never stored.
    Reused,
    Imported {
        external_id: Id,
    },
    /// The import found the entity there: as its line says, or not. Never stored.
    Existed,
    Contradicts,
}

impl Answer {
    pub fn is_change(self) -> bool {
        matches!(self, Self::Changed { .. })
    }
}

/// What a request is answered, now and whenever it comes again: its row in the log of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Outcome {
    pub answer: Answer,
    /// The record that caused it. It stands for the command's contents, too.
    pub record: Record,
    /// The entity that it is about, and the epoch that this had when it was decided; 0: it was not there.
    /// None: it is kept under an external id that nobody held.
    pub about: Option<(Entity, u8)>,
    /// It is forgotten when the retention is over.
    pub expires: bool,
}

/// A claim on an external id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Claim {
    /// Counts the claims on this id, from 1.
    pub generation: u8,
    pub owner: Entity,
    /// The epoch that the owner will have when the claim is completed.
    pub epoch: u8,
    pub claimed_by: Request,
    /// Stands for the blob: the contents of the command or import, and the coordinates of its record.
    pub record: Record,
}

/// For each entity that held an id before: the last of its epochs during which it did. 0: it did not, or too long ago.
pub type PreviousOwners = [u8; ENTITIES];

/// The statics of an external id's partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IdStatics {
    pub claim: Option<Claim>,
    pub previous_owners: PreviousOwners,
    /// Some request was refused here and is remembered.
    pub refused: bool,
}

/// The statics of an entity's partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntityStatics {
    pub ref_id: Entity,
    pub external_id: Id,
    /// Of the claim by which it holds its external id.
    pub generation: u8,
    /// Who made that claim. No rule depends on it, but a weakened one.
    pub claimed_by: Request,
    /// Counts its external ids, from 1.
    pub epoch: u8,
    /// Counts its changes, from 1.
    pub version: u8,
    pub name: u8,
}

/// The outcomes that a partition holds, by request.
pub type Log = [Option<Outcome>; REQUESTS];

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct IdPartition {
    pub statics: IdStatics,
    pub log: Log,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct EntityPartition {
    /// None: there is no such entity.
    pub statics: Option<EntityStatics>,
    pub log: Log,
}
