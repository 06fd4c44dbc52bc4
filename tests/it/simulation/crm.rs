//! The CRM: it writes commands about a few customers, accounts and subscribers, some of them twice, some of them nonsense.
//!
//! Commands about most customers always have the customer's key, as they should, so that their answers can be foretold. They set names,
//! segments and states. Commands about accounts create and rename them and set their states, have keys of all kinds or none, and contend
//! for few ids. So do, now and then, commands that create and rename other customers, and that create subscribers.

use crm_processor::domain::command::{Command, RawCommand, RawReference};
use crm_processor::domain::entity::{Entity, EntityType};
use crm_processor::domain::reference::Reference;
use crm_processor::domain::use_case::UseCase;
use crm_processor::domain::values::{ExternalId, Rules, SegmentCode};
use crm_processor::flow::{Partition, RecordId};
use crm_processor::store::claims::Submission;
use crm_processor::store::simulated::Random;
use uuid::Uuid;

/// The customers whose external ids stay as they are. The last one does not exist.
pub const CUSTOMERS: [&str; 4] = ["c0", "c1", "c2", "nobody"];
/// The external ids of the customers that are created and renamed. The first one belongs to a customer in the beginning.
pub const MOVING_IDS: [&str; 3] = ["d0", "d1", "d2"];
pub const ACCOUNTS: [&str; 3] = ["a0", "a1", "a2"];
/// The external ids of accounts. The first ones belong to accounts in the beginning.
pub const ACCOUNT_IDS: [&str; 5] = ["a0", "a1", "a2", "x", "y"];
/// The external ids of subscribers. There are none in the beginning.
pub const SUBSCRIBER_IDS: [&str; 2] = ["s0", "s1"];
/// The widths of gaps: offsets without a record, as transactions and compaction leave them. Some gaps are wider than the bitmap
/// reaches.
const WIDE_GAPS: [i64; 3] = [11_000, 13_000, 30_000];

/// A record of the command topic.
#[derive(Clone, Debug)]
pub struct Incoming {
    pub at: RecordId,
    pub key: Option<String>,
    pub body: Body,
    /// Whether the command asks for a reply to a topic of its own.
    pub named: bool,
    /// The writer's schema, which each instance must fetch first.
    pub schema: u32,
    /// How often the retention had ended before the record was written.
    pub era: u32,
}

#[derive(Clone, Debug)]
pub enum Body {
    Command(Box<Command>),
    /// A command that does not pass request validation.
    Invalid,
    /// An unreadable record, which gets a reply only if it has a correlation id.
    Unreadable {
        correlated: bool,
    },
}

impl Incoming {
    /// Returns whether a reply is due.
    pub fn is_answered(&self) -> bool {
        !matches!(self.body, Body::Unreadable { correlated: false })
    }

    /// Returns the correlation id that its command's Business Transaction must have.
    pub fn correlation_id(&self) -> String {
        format!("correlation {}/{}", self.at.partition, self.at.offset)
    }

    /// What its command is decided as.
    pub fn submission(&self, command: &Command) -> Submission {
        Submission::new(command.clone(), Some(self.correlation_id()), None, self.at.on("crm.commands".into()))
    }
}

pub fn ref_id(name: &str) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes())
}

fn by_id_of(name: &str) -> RawReference {
    RawReference { external_id: Some(name.into()), ref_id: None }
}

fn by_ref(ref_id: Uuid) -> RawReference {
    RawReference { external_id: None, ref_id: Some(ref_id.to_string()) }
}

/// Returns the refId of the entity that a command creates, if nothing speaks against it; `None` if the command creates none.
pub fn created(command: &Command) -> Option<Uuid> {
    command.contents.creation()?;
    match command.target {
        Reference::RefId(ref_id) => Some(ref_id),
        Reference::ExternalId(_) => None,
    }
}

/// Returns whether the answers to a command can be foretold: it is about one of [`CUSTOMERS`], and so has that customer's key.
pub fn is_foretold(command: &Command) -> bool {
    let names_it = |name: &&str| match &command.target {
        Reference::ExternalId(id) => id.as_str() == *name,
        Reference::RefId(of) => *of == ref_id(name),
    };
    command.entity_type() == EntityType::Customer && CUSTOMERS.iter().any(names_it)
}

/// Returns the entities that exist in the beginning.
pub fn entities() -> impl Iterator<Item = Entity> {
    let customers = CUSTOMERS[..3].iter().chain(&MOVING_IDS[..1]).map(|name| (EntityType::Customer, *name));
    customers
        .chain(ACCOUNTS.iter().map(|name| (EntityType::Account, *name)))
        .map(|(entity_type, name)| Entity::new(entity_type, ref_id(name), ExternalId::parse(name).expect("a fit id")))
}

pub fn pick<T: Copy>(random: &mut Random, from: &[T]) -> T {
    from[usize::try_from(random.below(from.len() as u64)).expect("an index")]
}

/// Writes `left` records.
pub struct Crm {
    random: Random,
    pub left: u64,
    next: Vec<i64>,
    /// The records in a thousand that stand behind a wide gap.
    pub wide_gaps: u64,
    pub era: u32,
    sent: Vec<(Option<String>, Command)>,
}

impl Crm {
    pub fn new(mut random: Random, partitions: Partition, records: u64) -> Self {
        let next = (0..partitions).map(|_| pick(&mut random, &[0, 7, 1_000_000_000])).collect();
        let wide_gaps = pick(&mut random, &[0, 0, 0, 200]);
        Self { random, left: records, next, wide_gaps, era: 0, sent: Vec::new() }
    }

    /// Writes one record.
    pub fn write(&mut self, topic: &mut [Vec<Incoming>]) {
        self.left -= 1;
        let (key, body) = match self.random.below(20) {
            0 => (self.any_key(), Body::Invalid),
            1 => (self.any_key(), Body::Unreadable { correlated: self.random.chance(500) }),
            2..5 if !self.sent.is_empty() => self.again(),
            5..7 if !self.sent.is_empty() => self.other_contents(),
            _ => {
                let request = format!("request {}", self.left);
                let (key, command) = self.command(&request);
                self.sent.push((key.clone(), command.clone()));
                (key, Body::Command(Box::new(command)))
            }
        };
        let partition = self.partition(key.as_deref());
        let gap = match (self.random.chance(self.wide_gaps), self.random.below(10)) {
            (true, _) => pick(&mut self.random, &WIDE_GAPS),
            (false, 0) => 1,
            (false, 1) => 5,
            _ => 0,
        };
        let offset = self.next[partition] + gap;
        self.next[partition] = offset + 1;
        let at = RecordId { partition: Partition::try_from(partition).expect("few"), offset };
        let (named, schema) = (self.random.chance(200), u32::from(self.random.chance(100)));
        topic[partition].push(Incoming { at, key, body, named, schema, era: self.era });
    }

    /// Writes a command again, because the CRM did not get its answer in time.
    fn again(&mut self) -> (Option<String>, Body) {
        let (key, command) = self.one_sent();
        let key = if is_foretold(&command) || self.random.chance(500) { key } else { self.any_key() };
        (key, Body::Command(Box::new(command)))
    }

    /// Uses a request id once more, for another command.
    fn other_contents(&mut self) -> (Option<String>, Body) {
        let (key, command) = self.one_sent();
        let (_, other) = loop {
            let other = self.command(command.request_id.as_str());
            let kind = |command: &Command| (command.entity_type(), is_foretold(command));
            if kind(&other.1) == kind(&command) {
                break other;
            }
        };
        // The entity that a creation is about follows from its request id and its external id.
        let target = if other.contents.creation().is_some() { other.target.clone() } else { command.target };
        (key, Body::Command(Box::new(Command { target, ..other })))
    }

    fn one_sent(&mut self) -> (Option<String>, Command) {
        let which = self.random.below(self.sent.len() as u64);
        self.sent[usize::try_from(which).expect("an index")].clone()
    }

    fn command(&mut self, request: &str) -> (Option<String>, Command) {
        // The rare ones are rare, so that the others still meet as often as the deliberate defects need.
        let (key, use_case, reference, value) = match self.random.below(100) {
            0..58 => self.about_a_customer(),
            58..95 => self.about_an_account(),
            95..98 => self.about_a_moving_customer(),
            _ => self.creation_of_a_subscriber(),
        };
        let expected_version =
            (!use_case.is_creation() && self.random.chance(200)).then(|| pick(&mut self.random, &[1, 2, 3, 4]));
        let (request_id, value) = (Some(request.into()), Some(value.into()));
        let raw = RawCommand { use_case, request_id, reference, values: use_case.first_value(value), expected_version };
        let rules = Rules { segments: ["RESIDENTIAL", "ENTERPRISE"].map(|s| SegmentCode::parse(s).expect("a code")).into() };
        (key, raw.validate(&rules).expect("a valid command"))
    }

    fn about_a_customer(&mut self) -> (Option<String>, UseCase, Option<RawReference>, &'static str) {
        let name = pick(&mut self.random, &CUSTOMERS);
        let (use_case, value) = match self.random.below(20) {
            0..13 => (UseCase::UpdateCustomerCustomName, pick(&mut self.random, &["Ada", "Bea", "Cleo"])),
            13..18 => (UseCase::UpdateCustomerSegment, pick(&mut self.random, &["RESIDENTIAL", "ENTERPRISE"])),
            _ => (UseCase::UpdateCustomerState, self.state()),
        };
        let by_id = self.random.chance(600) || name == "nobody";
        (Some(name.to_owned()), use_case, Some(if by_id { by_id_of(name) } else { by_ref(ref_id(name)) }), value)
    }

    /// Makes a command that creates or renames a customer; its answer follows from what other lanes do.
    fn about_a_moving_customer(&mut self) -> (Option<String>, UseCase, Option<RawReference>, &'static str) {
        let (key, id) = (self.any_key(), pick(&mut self.random, &MOVING_IDS));
        if self.random.chance(400) {
            return (key, UseCase::CreateCustomer, None, id);
        }
        let reference = if self.random.chance(600) {
            by_id_of(pick(&mut self.random, &MOVING_IDS))
        } else {
            by_ref(self.one_created(EntityType::Customer).unwrap_or_else(|| ref_id(MOVING_IDS[0])))
        };
        (key, UseCase::UpdateCustomerExternalId, Some(reference), id)
    }

    /// Makes a command that creates a subscriber below an account which may be renamed, or not be there.
    fn creation_of_a_subscriber(&mut self) -> (Option<String>, UseCase, Option<RawReference>, &'static str) {
        let (key, id) = (self.any_key(), pick(&mut self.random, &SUBSCRIBER_IDS));
        let superior = self.account();
        (key, UseCase::CreateSubscriber, Some(superior), id)
    }

    fn about_an_account(&mut self) -> (Option<String>, UseCase, Option<RawReference>, &'static str) {
        let (key, id) = (self.any_key(), pick(&mut self.random, &ACCOUNT_IDS));
        if self.random.chance(250) {
            // Commands about the customer are in another lane, most probably.
            let customer = pick(&mut self.random, &CUSTOMERS);
            let by_id = self.random.chance(500) || customer == "nobody";
            let superior = if by_id { by_id_of(customer) } else { by_ref(ref_id(customer)) };
            return (key, UseCase::CreateAccount, Some(superior), id);
        }
        let reference = self.account();
        if self.random.chance(150) {
            let state = self.state();
            return (key, UseCase::UpdateAccountState, Some(reference), state);
        }
        (key, UseCase::UpdateAccountExternalId, Some(reference), id)
    }

    /// Returns a reference to an account, which may not be there.
    fn account(&mut self) -> RawReference {
        if self.random.chance(600) {
            by_id_of(pick(&mut self.random, &ACCOUNT_IDS))
        } else if let Some(created) = self.one_created(EntityType::Account).filter(|_| self.random.chance(300)) {
            by_ref(created)
        } else {
            by_ref(ref_id(pick(&mut self.random, &ACCOUNTS)))
        }
    }

    /// Returns a state. An entity that is deactivated is of little use from then on.
    fn state(&mut self) -> &'static str {
        if self.random.chance(50) { "DEACTIVATED" } else { pick(&mut self.random, &["ACTIVE", "SUSPENDED", "INACTIVE"]) }
    }

    /// Returns an entity that a command was to create, whether it has come into being or not; `None` if there is no such command.
    fn one_created(&mut self, entity_type: EntityType) -> Option<Uuid> {
        let of_type = self.sent.iter().filter(|(_, command)| command.entity_type() == entity_type);
        let created: Vec<Uuid> = of_type.filter_map(|(_, command)| created(command)).collect();
        (!created.is_empty()).then(|| pick(&mut self.random, &created))
    }

    /// There are few keys, so that lanes are long.
    fn any_key(&mut self) -> Option<String> {
        pick(&mut self.random, &[None, Some("a0"), Some("a1"), Some("c0")]).map(Into::into)
    }

    fn partition(&mut self, key: Option<&str>) -> usize {
        let partitions = self.next.len();
        match key {
            Some(key) => key.bytes().map(usize::from).sum::<usize>() % partitions,
            None => usize::try_from(self.random.below(partitions as u64)).expect("an index"),
        }
    }
}
