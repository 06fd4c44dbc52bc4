//! The things in the model: commands and the records that bring them, claims and outcomes, and the two kinds of
//! partition that hold them. Everything is small and numbered. Whatever no rule depends on is left out.

/// An entity, by its refId.
pub type Entity = u8;
/// An external id.
pub type Id = u8;
/// A request id.
pub type Request = u8;
/// A record of the command topic. Each record brings one command, so the record's number is the command's as well.
pub type Record = u8;

pub const ENTITIES: usize = 2;
pub const IDS: usize = 4;
pub const REQUESTS: usize = 6;
pub const RECORDS: usize = 6;
/// The most commands that one conditional write decides.
pub const RUN: usize = 2;

/// The request that claims for an import, and whose row the first write of an entity has. No command has it.
pub const FIRST_ROW: Request = 0;

/// How a command names its entity. It stands for the partition, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    Id(Id),
    RefId(Entity),
}

/// What a command, or a line of an import, asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UseCase {
    /// Give the entity this external id.
    Rename(Id),
    /// Set some other value of the entity.
    Name(u8),
    /// Deactivate the entity. After that it refuses every command.
    Deactivate,
    /// Create the entity, with this external id, below this superior. The command's target is the refId that the entity will have: it is a
    /// function of the external id and the request, so that scenarios give the same target where both are the same.
    Create { id: Id, superior: Option<Target> },
    /// Import the entity, with this external id. This is not a command but a line of an import, which publishes nothing.
    Import(Id),
}

/// The command of a record.
#[derive(Clone, Copy, Debug)]
pub struct Command {
    pub request: Request,
    pub target: Target,
    pub use_case: UseCase,
    pub expected_version: Option<u8>,
}

impl Command {
    /// Returns whether two commands have the same contents. A command with a request id that was used with other contents reuses the id.
    pub fn same_contents(&self, other: &Self) -> bool {
        (self.use_case, self.expected_version) == (other.use_case, other.expected_version)
    }

    /// Returns the external id that the entity is to have, or `None` if the command wants none.
    pub fn wanted(&self) -> Option<Id> {
        match self.use_case {
            UseCase::Rename(id) | UseCase::Import(id) | UseCase::Create { id, .. } => Some(id),
            UseCase::Name(_) | UseCase::Deactivate => None,
        }
    }

    pub fn is_rename(&self) -> bool {
        matches!(self.use_case, UseCase::Rename(_))
    }

    pub fn is_creation(&self) -> bool {
        matches!(self.use_case, UseCase::Create { .. })
    }

    /// Returns whether requests of this kind claim an external id. (An import is no request.)
    pub fn is_claimer(&self) -> bool {
        self.is_rename() || self.is_creation()
    }

    /// Returns the reference to the superior below which the command creates an entity.
    pub fn superior(&self) -> Option<Target> {
        match self.use_case {
            UseCase::Create { superior, .. } => superior,
            _ => None,
        }
    }

    pub fn is_import(&self) -> bool {
        matches!(self.use_case, UseCase::Import(_))
    }
}

/// The answer to a command, or to a line of an import.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Answer {
    /// The entity was changed, or created. These are the values of the after-image that matter.
    Changed {
        version: u8,
        external_id: Id,
    },
    Unchanged,
    VersionConflict,
    Taken,
    NotFound,
    /// The entity is deactivated.
    Deactivated,
    /// The reference to the superior of an entity that was to be created resolved to nothing.
    NoSuperior,
    /// The superior of an entity that was to be created is deactivated.
    SuperiorDeactivated,
    /// A bug was caught while the command was decided.
    InternalError,
    /// The request id was used with other contents. This answer is never stored.
    Reused,
    Imported {
        external_id: Id,
    },
    /// The import found the entity there, as its line says. This answer is never stored.
    Existed,
    /// The import found the entity or the external id there, and not as its line says. This answer is never stored.
    Contradicts,
}

impl Answer {
    pub fn is_change(self) -> bool {
        matches!(self, Self::Changed { .. })
    }
}

/// The outcome of a request: the answer, now and whenever the request comes again. It is a row in the log of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Outcome {
    pub answer: Answer,
    /// The record that caused the outcome. It stands for the command's contents, too.
    pub record: Record,
    /// The entity that the outcome is about, and the epoch that the entity had when the request was decided: 0 if there was no entity.
    /// `None` if the outcome is kept under an external id that nobody held.
    pub about: Option<(Entity, u8)>,
    pub lifetime: Lifetime,
}

/// How long an outcome is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lifetime {
    /// The outcome expires, but not before half of the retention is over. No attempt takes as long as that.
    Young,
    /// More than half of the retention is over, so that the outcome may expire at any instant.
    Old,
    /// The outcome is kept for ever.
    Kept,
}

impl Outcome {
    /// Returns the partition that holds the outcome, if a command that names this `target` found it.
    pub fn place(&self, target: Target) -> Target {
        self.about.map_or(target, |(entity, _)| Target::RefId(entity))
    }

    /// Returns whether two outcomes are the same, however long they are kept.
    pub fn same(&self, other: &Self) -> bool {
        (self.answer, self.record, self.about) == (other.answer, other.record, other.about)
    }
}

/// A claim on an external id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Claim {
    /// The number of this claim among those on its id, from 1.
    pub generation: u8,
    pub owner: Entity,
    /// The epoch that the owner will have when the claim is completed.
    pub epoch: u8,
    pub claimed_by: Request,
    /// The record that claims. It stands for the blob with the whole request or import.
    pub record: Record,
    /// The superior of the entity that is to be created, as it was found before the claim was made.
    pub superior: Option<Entity>,
}

/// For each entity, the last of its epochs during which it held an id before: 0 if it did not hold the id, or too long ago.
pub type PreviousOwners = [u8; ENTITIES];

/// The statics of an external id's partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IdStatics {
    pub claim: Option<Claim>,
    pub previous_owners: PreviousOwners,
    /// Whether some request was refused under the id and is remembered.
    pub refused: bool,
}

/// The statics of an entity's partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntityStatics {
    pub ref_id: Entity,
    pub external_id: Id,
    /// The generation of the claim by which the entity holds its external id.
    pub generation: u8,
    /// The request that made that claim. Only a weakened rule depends on this.
    pub claimed_by: Request,
    /// The number of external ids that the entity has had: 1 after the import.
    pub epoch: u8,
    /// The entity's version: 1 after the import, one more with each change.
    pub version: u8,
    pub name: u8,
    pub deactivated: bool,
    /// The superior below which the entity was created.
    pub superior: Option<Entity>,
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
    /// The statics; `None` if there is no such entity.
    pub statics: Option<EntityStatics>,
    pub log: Log,
}
