//! The store: partitions of an external id and of an entity, and the three conditional writes. A write concerns one
//! partition and happens as a whole or not at all; between any two writes anything else may happen.

use super::protocol::Protocol;
use super::vocabulary::{
    Claim, ENTITIES, Entity, EntityPartition, EntityStatics, FIRST_ROW, IDS, Id, IdPartition, Lifetime, Log, Outcome,
    PreviousOwners, RUN, Request, Target,
};
use super::weakened::Weakening;

/// A row that a write is to add to the log.
pub type Row = (Request, Outcome);
/// The rows of a write: of different requests, from the front.
pub type Rows = [Option<Row>; RUN];

/// A conditional write. It holds everything that it depends on, because it may be applied long after its sender gave up on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Write {
    /// Puts a claim in the place of the one that was read: `IF generation =` that of `read`. A stale claim stays stale, so no further
    /// condition is needed.
    Claim { id: Id, read: Option<Claim>, claim: Claim, previous_owners: PreviousOwners },
    /// Stores what was decided about an entity, or that there is no such entity: `IF version = read`, which stands for all statics that
    /// were read, `AND outcome = null` for each row, which says that the row's request is undecided.
    Apply { entity: Entity, read: Option<u8>, after: Option<EntityStatics>, rows: Rows },
    /// Stores that nobody holds an id: `IF generation =` that of `read`, which says that nobody has claimed the id since, `AND outcome =
    /// null` for each row.
    Refuse { id: Id, read: Option<Claim>, rows: Rows },
    /// Lets an outcome live on: `IF outcome =` the one that was read. In the partition of an entity it is kept for ever from then on. Under
    /// an external id its time begins anew, and that of the mark `refused` with it.
    Hold { place: Target, row: Row },
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Store {
    pub ids: [IdPartition; IDS],
    pub entities: [EntityPartition; ENTITIES],
}

impl Write {
    pub fn rows(&self) -> impl Iterator<Item = Row> {
        let rows = match *self {
            Self::Claim { .. } | Self::Hold { .. } => [None; RUN],
            Self::Apply { rows, .. } | Self::Refuse { rows, .. } => rows,
        };
        rows.into_iter().flatten()
    }

    /// Returns whether the write is on behalf of a request.
    pub fn concerns(&self, request: Request) -> bool {
        match self {
            Self::Claim { claim, .. } => claim.claimed_by == request,
            Self::Hold { row, .. } => row.0 == request,
            Self::Apply { .. } | Self::Refuse { .. } => self.rows().any(|(of, _)| of == request),
        }
    }
}

impl Store {
    pub fn id(&self, id: Id) -> &IdPartition {
        &self.ids[usize::from(id)]
    }

    pub fn entity(&self, entity: Entity) -> &EntityPartition {
        &self.entities[usize::from(entity)]
    }

    pub fn statics(&self) -> impl Iterator<Item = &EntityStatics> {
        self.entities.iter().filter_map(|e| e.statics.as_ref())
    }

    /// Returns the entity under a reference at this instant. This is the truth, which no attempt can read in one statement.
    pub fn holder(&self, target: Target) -> Option<Entity> {
        let is_meant = |e: &&EntityStatics| match target {
            Target::Id(id) => e.external_id == id,
            Target::RefId(entity) => e.ref_id == entity,
        };
        self.statics().find(is_meant).map(|e| e.ref_id)
    }

    /// Returns all outcomes, each with its request.
    pub fn outcomes(&self) -> impl Iterator<Item = (Request, &Outcome)> {
        let logs = self.ids.iter().map(|p| &p.log).chain(self.entities.iter().map(|p| &p.log));
        logs.flat_map(|log| (0..).zip(log)).filter_map(|(request, outcome)| Some((request, outcome.as_ref()?)))
    }

    /// Returns the outcomes that expire, each with its partition and its request.
    pub fn expiring(&self) -> impl Iterator<Item = (Target, Request, &Outcome)> {
        let ids = (0..).zip(&self.ids).map(|(id, p)| (Target::Id(id), &p.log));
        let logs = ids.chain((0..).zip(&self.entities).map(|(entity, p)| (Target::RefId(entity), &p.log)));
        let rows = logs.flat_map(|(place, log)| (0..).zip(log).filter_map(move |(r, o)| Some((place, r, o.as_ref()?))));
        rows.filter(|(.., outcome)| outcome.lifetime != Lifetime::Kept)
    }

    pub fn row(&self, place: Target, request: Request) -> Option<Outcome> {
        match place {
            Target::Id(id) => self.id(id).log[usize::from(request)],
            Target::RefId(entity) => self.entity(entity).log[usize::from(request)],
        }
    }

    fn log_mut(&mut self, place: Target) -> &mut Log {
        match place {
            Target::Id(id) => &mut self.ids[usize::from(id)].log,
            Target::RefId(entity) => &mut self.entities[usize::from(entity)].log,
        }
    }

    /// Makes an outcome old.
    pub fn age(&mut self, place: Target, request: Request) {
        let row = &mut self.log_mut(place)[usize::from(request)];
        *row = row.map(|outcome| Outcome { lifetime: Lifetime::Old, ..outcome });
    }

    /// Forgets an outcome.
    pub fn expire(&mut self, place: Target, request: Request) {
        self.log_mut(place)[usize::from(request)] = None;
        if let Target::Id(id) = place {
            let partition = &mut self.ids[usize::from(id)];
            partition.statics.refused &= partition.log.iter().any(Option::is_some);
        }
    }
}

impl Protocol {
    pub fn condition_holds(&self, store: &Store, write: &Write) -> bool {
        match *write {
            Write::Claim { id, read, .. } => {
                self.is(Weakening::ClaimUnconditionally) || self.same_claim(store.id(id).statics.claim, read)
            }
            Write::Apply { entity, read, after, rows } => {
                let there = store.entity(entity);
                if read.is_none() && after.is_some() && self.is(Weakening::CreatedAnyway) {
                    return true;
                }
                let created = read.is_none() && after.is_some() && rows[0].is_some_and(|(request, _)| request != FIRST_ROW);
                let unconditional = read.is_some() && self.is(Weakening::ApplyToAnyVersion)
                    || after.is_none() && self.is(Weakening::RejectAtAnyVersion);
                let checked = if self.is(Weakening::FirstRowOfBatchChecked) { &rows[..1] } else { &rows[..] };
                (there.statics.map(|s| s.version) == read || unconditional)
                    && (undecided(&there.log, checked)
                        || self.is(Weakening::ApplyToDecided)
                        || created && self.is(Weakening::CreatedThoughDecided))
            }
            Write::Refuse { id, read, rows } => {
                let there = store.id(id);
                (self.same_claim(there.statics.claim, read) || self.is(Weakening::RefuseUnderAnyClaim))
                    && (undecided(&there.log, &rows) || self.is(Weakening::RefuseDecided))
            }
            Write::Hold { place, row: (request, outcome) } => {
                self.is(Weakening::HeldUnconditionally) || store.row(place, request).is_some_and(|there| there.same(&outcome))
            }
        }
    }

    /// Lets a write take effect whose condition holds.
    pub fn perform(&self, store: &mut Store, write: &Write) {
        match *write {
            Write::Claim { id, claim, previous_owners, .. } => {
                let statics = &mut store.ids[usize::from(id)].statics;
                statics.claim = Some(claim);
                statics.previous_owners = previous_owners;
            }
            Write::Apply { entity, after, .. } => {
                if let Some(after) = after {
                    self.release(store, &after);
                    store.entities[usize::from(entity)].statics = Some(after);
                }
                for row in write.rows() {
                    let kept = self.kept(&store.ids, row);
                    add(&mut store.entities[usize::from(entity)].log, kept);
                }
            }
            Write::Refuse { id, .. } => {
                store.ids[usize::from(id)].statics.refused = true;
                for row in write.rows() {
                    let kept = self.kept(&store.ids, row);
                    add(&mut store.ids[usize::from(id)].log, kept);
                }
            }
            Write::Hold { place, row: (request, outcome) } => {
                let lifetime = self.held(place);
                if let (Target::Id(id), true) = (place, self.is(Weakening::HeldWithoutMark)) {
                    store.ids[usize::from(id)].statics.refused = false;
                }
                store.log_mut(place)[usize::from(request)] = Some(Outcome { lifetime, ..outcome });
            }
        }
    }
}

fn undecided(log: &Log, rows: &[Option<Row>]) -> bool {
    rows.iter().flatten().all(|(request, _)| log[usize::from(*request)].is_none())
}

fn add(log: &mut Log, row: Option<Row>) {
    if let Some((request, outcome)) = row {
        log[usize::from(request)] = Some(outcome);
    }
}
