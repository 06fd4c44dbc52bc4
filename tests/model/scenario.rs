//! The parts of a scenario.

use super::system::ATTEMPTS;
use super::vocabulary::{Command, ENTITIES, Entity, FIRST_ROW, Id, Record, Request, Target, UseCase};

/// A scenario: commands, the records that bring them, and what may go wrong meanwhile.
#[expect(clippy::struct_excessive_bools, reason = "independent of one another")]
#[derive(Clone, Debug)]
pub struct Scenario {
    pub name: &'static str,
    /// The external ids of the entities that are there from the beginning.
    pub held: [Option<Id>; ENTITIES],
    /// The commands, by record.
    pub commands: Vec<Command>,
    pub deliveries: Vec<Delivery>,
    pub faults: Faults,
    /// Whether attempts may decide from memory.
    pub cache: bool,
    /// Whether the retention may pass.
    pub expiry: bool,
    /// Whether the first attempt is a zombie of an import, which has seen that there is no such entity when there was none.
    pub stalled_import: bool,
    /// Whether it is checked, too, that an attempt that is left alone comes to its end. That takes long.
    pub progress: bool,
    /// Whether a request id is used for more than one entity.
    pub shares_request_ids: bool,
    /// The events that must be reached.
    pub reaches: &'static [Reached],
}

/// Records that are handled as one run, one after another.
#[derive(Clone, Copy, Debug)]
pub struct Delivery {
    pub run: &'static [Record],
    /// The number of attempts that overlap. Of two, one may be a zombie.
    pub attempts: usize,
}

/// The numbers of mishaps that may happen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    pub crashes: u8,
    pub timeouts: u8,
    pub panics: u8,
}

/// An event without which a scenario would not be about what it is meant for.
#[derive(Clone, Copy, Debug)]
pub enum Reached {
    Helped,
    Replaced,
    AnsweredFromThePast,
    Batched,
    Reused,
    Shared,
    Taken,
    NotFound,
    VersionConflict,
    Unchanged,
    InternalError,
    Forgotten,
    Held,
    Created,
    Deactivated,
    NoSuperior,
    SuperiorDeactivated,
    Contradicted,
}

impl Reached {
    pub fn name(self) -> &'static str {
        match self {
            Self::Helped => "a claim is completed by another",
            Self::Replaced => "a stale claim is replaced",
            Self::AnsweredFromThePast => "an answer is given by who held the id before",
            Self::Batched => "several commands are decided by one write",
            Self::Reused => "other contents under a request id are refused",
            Self::Shared => "a request id has outcomes at two entities",
            Self::Created => "an entity is created",
            Self::Deactivated => "a command is refused because its entity is deactivated",
            Self::NoSuperior => "a creation is refused because its superior is not there",
            Self::SuperiorDeactivated => "a creation is refused because its superior is deactivated",
            Self::Taken => "a rename or a creation is refused because the id is taken",
            Self::NotFound => "a command is refused because nobody is there",
            Self::VersionConflict => "a command is refused because of the version",
            Self::Unchanged => "a command changes nothing",
            Self::InternalError => "a bug is answered",
            Self::Forgotten => "an outcome is forgotten",
            Self::Held => "an outcome is held",
            Self::Contradicted => "an import is refused",
        }
    }
}

impl Scenario {
    /// Makes a scenario with two entities that hold an id each, in which nothing goes wrong.
    pub fn new(name: &'static str, commands: Vec<Command>, deliveries: &[(&'static [Record], usize)]) -> Self {
        Self {
            name,
            held: [Some(A), Some(B)],
            commands,
            deliveries: deliveries.iter().map(|(run, attempts)| Delivery { run, attempts: *attempts }).collect(),
            faults: Faults::default(),
            cache: false,
            expiry: false,
            stalled_import: false,
            progress: false,
            shares_request_ids: false,
            reaches: &[],
        }
    }

    /// Returns the scenario with one more crash, one more time-out, and decisions from memory.
    pub fn with_more_faults(self) -> Self {
        let Faults { crashes, timeouts, panics } = self.faults;
        Self { faults: Faults { crashes: crashes + 1, timeouts: timeouts + 1, panics }, cache: true, ..self }
    }

    /// Returns the scenario with a zombie beside each attempt, as far as there is room. A zombie may go on with what it saw long ago.
    pub fn with_zombies(mut self) -> Self {
        let mut room = ATTEMPTS - self.deliveries.iter().map(|d| d.attempts).sum::<usize>();
        for delivery in self.deliveries.iter_mut().filter(|d| d.attempts == 1) {
            let zombies = room.min(1);
            delivery.attempts += zombies;
            room -= zombies;
        }
        self
    }
}

// The external ids: A and B are those that the entities begin with, X and Y are free.
pub const A: Id = 0;
pub const B: Id = 1;
pub const X: Id = 2;
pub const Y: Id = 3;

// The entities.
pub const FIRST: Target = Target::RefId(0);
pub const SECOND: Target = Target::RefId(1);

pub fn rename(request: Request, target: impl Into<Target>, to: Id) -> Command {
    Command { request, target: target.into(), use_case: UseCase::Rename(to), expected_version: None }
}

pub fn name(request: Request, target: impl Into<Target>, name: u8) -> Command {
    Command { request, target: target.into(), use_case: UseCase::Name(name), expected_version: None }
}

pub fn deactivate(request: Request, target: impl Into<Target>) -> Command {
    Command { request, target: target.into(), use_case: UseCase::Deactivate, expected_version: None }
}

/// Returns the creation of an entity. Creations with the same request and the same id must be of the same entity, and no others.
pub fn create(request: Request, entity: Target, id: Id) -> Command {
    Command { request, target: entity, use_case: UseCase::Create { id, superior: None }, expected_version: None }
}

pub fn create_below(request: Request, entity: Target, id: Id, superior: impl Into<Target>) -> Command {
    let use_case = UseCase::Create { id, superior: Some(superior.into()) };
    Command { use_case, ..create(request, entity, id) }
}

pub fn import(entity: Entity, id: Id) -> Command {
    Command { request: FIRST_ROW, target: Target::RefId(entity), use_case: UseCase::Import(id), expected_version: None }
}

pub fn at_version(version: u8, command: Command) -> Command {
    Command { expected_version: Some(version), ..command }
}

impl From<Id> for Target {
    fn from(id: Id) -> Self {
        Self::Id(id)
    }
}
