//! The entities and ids of the simulation, few of each so that commands contend; and the events that must happen now and then.

use super::{Simulation, pick};
use crate::polls::complete;
use crate::protocol::world::World;
use crm_processor::domain::attribute::Attribute;
use crm_processor::domain::command::RawReference;
use crm_processor::domain::entity::EntityType::{Account, Customer, Subscriber};
use crm_processor::domain::entity::{Entity, EntityType, State};
use crm_processor::domain::reference::Reference;
use crm_processor::domain::use_case::UseCase::{
    CreateAccount, CreateCustomer, CreateSubscriber, UpdateAccountExternalId, UpdateAccountState, UpdateCustomerCustomName,
    UpdateCustomerExternalId, UpdateCustomerSegment, UpdateCustomerState, UpdateSubscriberExternalId, UpdateSubscriberState,
};
use crm_processor::store::claims::Submission;
use crm_processor::store::simulated::Random;
use crm_processor::store::{ConditionalStore, Consistency, EntityKey};
use std::collections::BTreeMap;
use uuid::Uuid;

/// The entities that exist from the beginning, under ids of the same names.
pub const THERE: [(EntityType, &str); 5] =
    [(Account, "a"), (Account, "b"), (Customer, "d"), (Subscriber, "a"), (Subscriber, "s")];
/// The entities that are imported meanwhile, and their ids. Some lines contradict each other.
pub const IMPORTS: [(EntityType, &str, &str); 5] =
    [(Account, "c", "c"), (Account, "c", "x"), (Customer, "e", "e"), (Subscriber, "t", "s"), (Subscriber, "t", "x")];
/// All entities that may exist.
pub const ENTITIES: [(EntityType, &str); 8] = [
    (Account, "a"),
    (Account, "b"),
    (Account, "c"),
    (Customer, "d"),
    (Customer, "e"),
    (Subscriber, "a"),
    (Subscriber, "s"),
    (Subscriber, "t"),
];
pub const IDS: [(EntityType, &[&str]); 3] =
    [(Account, &["a", "b", "c", "x", "y"]), (Customer, &["d", "e", "z"]), (Subscriber, &["a", "s", "x"])];
/// The operator's requests, one a phase, which change an entity's state without a command.
pub const OPERATIONS: [&str; 3] = ["operation-0", "operation-1", "operation-2"];
pub const OPERATED: [(EntityType, &str); 3] = [(Account, "a"), (Account, "b"), (Customer, "d")];
pub const STATES: [State; 3] = [State::Deactivated, State::Active, State::Active];

/// All events that must happen now and then.
const EVENTS: [&str; 20] = [
    "CASM-ENTITY-NOT-FOUND",
    "CASM-EXTERNAL-ID-NOT-UNIQUE",
    "CASM-INTERNAL-ERROR",
    "CASM-REQUEST-ID-REUSED",
    "CASM-STATE-DEACTIVATED",
    "CASM-VERSION-CONFLICT",
    "a caller crashed",
    "a change was published",
    "a command was read ahead",
    "a fault was met",
    "a name was erased",
    "a process was replaced",
    "a run of several was decided",
    "a stored answer was given again",
    "a value was there already",
    "an entity was created",
    "an entity was imported",
    "an import came too late",
    "an import contradicted",
    "outcomes expired",
];

/// Counts of the events, because runs in which nothing ever happens prove nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Happened(pub BTreeMap<&'static str, usize>);

impl Happened {
    pub fn note(&mut self, event: &'static str) {
        assert!(EVENTS.contains(&event), "{event} is not listed");
        *self.0.entry(event).or_default() += 1;
    }

    pub fn add(&mut self, others: &Self) {
        for (event, count) in &others.0 {
            *self.0.entry(event).or_default() += count;
        }
    }

    pub fn missing(&self) -> Vec<&'static str> {
        EVENTS.into_iter().filter(|event| !self.0.contains_key(event)).collect()
    }
}

impl Simulation {
    /// Returns all entities that exist now.
    pub fn entities(&self) -> Vec<Entity> {
        let read = |key| complete(self.store.read_entity(key, &[], Consistency::Serial)).expect("no faults");
        self.keys().into_iter().filter_map(|key| read(key).statics.map(|statics| statics.entity)).collect()
    }

    /// Returns the keys of all entities that may exist.
    pub fn keys(&self) -> Vec<EntityKey> {
        let named = ENTITIES.map(|(entity_type, name)| EntityKey { entity_type, ref_id: self.world.ref_id(name) });
        let created = self.created.lock().unwrap();
        let created = created.iter().map(|(entity_type, ref_id)| EntityKey { entity_type: *entity_type, ref_id: *ref_id });
        named.into_iter().chain(created).collect()
    }

    /// Returns the records of a phase: requests, most of them new, some of them twice or thrice, some with a request id that was
    /// used already.
    pub fn submissions(&self, phase: usize, earlier: &mut Vec<Submission>, random: &mut Random) -> Vec<Submission> {
        let mut several = self.several.lock().unwrap();
        let mut submissions: Vec<Submission> = Vec::new();
        for submission in earlier.iter().filter(|_| random.chance(200)) {
            several.insert(submission.request.id.as_str().into());
            submissions.push(self.world.again(submission));
        }
        // With only one or two entities, lanes have runs to fold.
        let references: Vec<_> = (0..pick(random, &[1, 2, 20])).map(|_| reference(&self.world, random)).collect();
        for n in 0..4 + random.below(8) {
            let mut request = format!("r{phase}-{n}");
            if random.chance(150) && n > 0 {
                request = format!("r{phase}-{}", random.below(n));
                several.insert(request.clone());
            }
            let (entity_type, reference) = pick(random, &references);
            let first = submission(&self.world, &request, entity_type, reference, random);
            self.created.lock().unwrap().extend(created(&first));
            for _ in 0..pick(random, &[0, 0, 1, 1, 2]) {
                submissions.push(self.world.again(&first));
            }
            earlier.push(first.clone());
            submissions.push(first);
        }
        for n in (1..submissions.len()).rev() {
            let other = random.below(n as u64 + 1);
            submissions.swap(n, usize::try_from(other).expect("an index"));
        }
        submissions
    }
}

/// Returns a reference that names one of them.
pub fn reference<S: ConditionalStore>(w: &World<S>, random: &mut Random) -> (EntityType, RawReference) {
    let entity_type = pick(random, &[Account, Account, Account, Customer, Customer, Subscriber]);
    (entity_type, one_of(w, entity_type, random))
}

/// Returns a reference that names an entity of this type.
fn one_of<S: ConditionalStore>(w: &World<S>, entity_type: EntityType, random: &mut Random) -> RawReference {
    let ids = IDS.iter().find(|ids| ids.0 == entity_type).expect("each type has its ids").1;
    let names: Vec<&str> = ENTITIES.iter().filter(|e| e.0 == entity_type).map(|e| e.1).collect();
    if random.chance(700) { w.by_id(pick(random, ids)) } else { w.by_ref(pick(random, &names)) }
}

/// Makes a command in a record of its own.
pub fn submission<S: ConditionalStore>(
    w: &World<S>,
    request: &str,
    entity_type: EntityType,
    reference: RawReference,
    random: &mut Random,
) -> Submission {
    let expected_version = random.chance(200).then(|| pick(random, &[1, 2, 3]));
    let ids = IDS.iter().find(|ids| ids.0 == entity_type).expect("each type has its ids").1;
    let wanted = w.id(pick(random, ids));
    if random.chance(200) {
        let (use_case, superior) = match entity_type {
            Customer => (CreateCustomer, Customer),
            Account => (CreateAccount, Customer),
            Subscriber => (CreateSubscriber, Account),
        };
        // No customer has a superior, and the reference is left out.
        let superior = one_of(w, superior, random);
        let name = random.chance(500).then(|| pick(random, &["Ada", "Bea"]).to_owned());
        let values = use_case.first_value(Some(wanted.to_string())).with(Attribute::CustomName, name);
        return w.submit_values(use_case, request, superior, values, None);
    }
    let state = pick(random, &["ACTIVE", "ACTIVE", "SUSPENDED", "SUSPENDED", "DEACTIVATED"]);
    let (use_case, value) = match (entity_type, random.below(10)) {
        (Account, 0) => (UpdateAccountState, state),
        (Account, _) => (UpdateAccountExternalId, wanted.as_str()),
        (Subscriber, 0) => (UpdateSubscriberState, state),
        (Subscriber, _) => (UpdateSubscriberExternalId, wanted.as_str()),
        (Customer, 0) => (UpdateCustomerState, state),
        (Customer, 1) => (UpdateCustomerExternalId, wanted.as_str()),
        (Customer, 2..8) => (UpdateCustomerCustomName, pick(random, &["Ada", "Bea"])),
        (Customer, _) => (UpdateCustomerSegment, "RESIDENTIAL"),
    };
    w.submit(use_case, request, reference, value, expected_version)
}

/// Returns the entity that a submission creates, whether it comes into being or not; `None` if the submission creates none.
pub fn created(submission: &Submission) -> Option<(EntityType, Uuid)> {
    submission.request.contents.creation()?;
    match submission.target {
        Reference::RefId(ref_id) => Some((submission.entity_type(), ref_id)),
        Reference::ExternalId(_) => None,
    }
}
