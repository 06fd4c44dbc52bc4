//! Commands: what the CRM asks for, from the fields as they came to a checked [`Command`], and the decision about one.

use super::Timestamp;
use super::entity::{Entity, EntityType, State};
use super::rejection::{FieldPath, Rejection};
use super::text::InvalidText;
use super::transaction::Change;
use super::update_account_external_id::UpdateAccountExternalId;
use super::update_customer_custom_name::UpdateCustomerCustomName;
use super::update_customer_segment::UpdateCustomerSegment;
use super::update_subscriber_external_id::UpdateSubscriberExternalId;
use super::values::{ExternalId, RequestId, Rules, parse_ref_id};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What each use case brings: its names, its request validation and its decision.
pub trait Case: Sized {
    /// In replies, transactions and metrics: `updateCustomerCustomName`.
    const NAME: &'static str;
    /// The command's Avro record in namespace `crm.v1`: `UpdateCustomerCustomName`.
    const RECORD: &'static str;
    /// The record's Avro schema.
    const SCHEMA: &'static str;
    /// What it changes. The record's reference has this name, too.
    const ENTITY_TYPE: EntityType;
    /// The record's field with the new value, which is the attribute's name in `changes`, too.
    const VALUE_FIELD: &'static str;

    /// Checks the new value.
    ///
    /// # Errors
    /// The first finding.
    fn validate(value: Option<&str>, rules: &Rules) -> Result<Self, Rejection>;

    /// The new value as text.
    fn value(&self) -> &str;

    /// What `entity` has in the attribute that it changes, as text.
    fn attribute(entity: &Entity) -> Option<&str>;

    /// What `entity` becomes; None if it is so already. Its version is raised by the caller.
    fn change(&self, entity: &Entity, now: Timestamp) -> Option<(Entity, Change)>;

    /// The external id that must be claimed before the change is applied.
    fn wanted(&self) -> Option<&ExternalId> {
        None
    }
}

macro_rules! use_cases {
    ($($case:ident),+ $(,)?) => {
        /// Which use case, without its contents. Bounded, so fit for a metric's label.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[allow(missing_docs, reason = "each is documented in its file")]
        pub enum UseCaseName { $($case),+ }

        impl UseCaseName {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$case),+];
            /// `updateCustomerCustomName`, …
            pub fn name(self) -> &'static str { match self { $(Self::$case => $case::NAME),+ } }
            /// `UpdateCustomerCustomName`, …: the Avro record, without its namespace.
            pub fn record(self) -> &'static str { match self { $(Self::$case => $case::RECORD),+ } }
            /// The Avro schema of the record.
            pub fn schema(self) -> &'static str { match self { $(Self::$case => $case::SCHEMA),+ } }
            /// What the use case changes.
            pub fn entity_type(self) -> EntityType { match self { $(Self::$case => $case::ENTITY_TYPE),+ } }
            /// The record's field with the new value.
            pub fn value_field(self) -> &'static str { match self { $(Self::$case => $case::VALUE_FIELD),+ } }

            /// What `entity` has in the attribute that the use case changes, as text.
            pub fn attribute(self, entity: &Entity) -> Option<&str> { match self { $(Self::$case => $case::attribute(entity)),+ } }

            fn validate(self, value: Option<&str>, rules: &Rules) -> Result<UseCase, Rejection> {
                match self { $(Self::$case => $case::validate(value, rules).map(UseCase::$case)),+ }
            }
        }

        /// A use case with its contents.
        #[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[allow(missing_docs, reason = "each is documented in its file")]
        pub enum UseCase { $($case($case)),+ }

        impl UseCase {
            /// Which one it is.
            pub fn name(&self) -> UseCaseName { match self { $(Self::$case(_) => UseCaseName::$case),+ } }
            /// The new value as text.
            pub fn value(&self) -> &str { match self { $(Self::$case(case) => case.value()),+ } }
            /// The external id that must be claimed before the change is applied: the use case is a rename.
            pub fn wanted(&self) -> Option<&ExternalId> { match self { $(Self::$case(case) => case.wanted()),+ } }
            fn change(&self, entity: &Entity, now: Timestamp) -> Option<(Entity, Change)> {
                match self { $(Self::$case(case) => case.change(entity, now)),+ }
            }
        }
    };
}

// Their order numbers them in what is stored: new ones go to the end.
use_cases! {
    UpdateCustomerCustomName,
    UpdateCustomerSegment,
    UpdateAccountExternalId,
    UpdateSubscriberExternalId,
}

impl UseCaseName {
    /// The use case called `name` (see [`UseCaseName::name`]).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|u| u.name() == name)
    }

    /// True if commands of this use case claim an external id (see [`UseCase::wanted`]): the attribute that they change.
    pub fn is_rename(self) -> bool {
        self.value_field() == "externalId"
    }
}

/// Which entity a command is about. The type is the use case's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reference {
    /// By the id that the CRM gave it, and may give to another later.
    ExternalId(ExternalId),
    /// By the id that it has for ever.
    RefId(Uuid),
}

impl Reference {
    /// The path of the reference as given: `customer.externalId` or `customer.refId`.
    pub fn field(&self, entity_type: EntityType) -> FieldPath {
        match self {
            Self::ExternalId(_) => external_id_field(entity_type),
            Self::RefId(_) => ref_id_field(entity_type),
        }
    }
}

/// The reference of a command as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawReference {
    /// `externalId`, null as None.
    pub external_id: Option<String>,
    /// `refId`, null as None.
    pub ref_id: Option<String>,
}

/// A command as it came: decoded, nothing checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawCommand {
    /// The use case, told by the record's name.
    pub use_case: UseCaseName,
    /// `requestId`, null as None.
    pub request_id: Option<String>,
    /// `customer`, `account` or `subscriber`, null as None.
    pub reference: Option<RawReference>,
    /// `customName`, `customerSegment` or `externalId`, null as None.
    pub value: Option<String>,
    /// `expectedVersion`, null as None.
    pub expected_version: Option<i64>,
}

/// A command that passed request validation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Makes the request recognisable when it comes again; scoped to the entity.
    pub request_id: RequestId,
    /// The entity.
    pub target: Reference,
    /// What is asked for.
    pub use_case: UseCase,
    /// If given, the entity must have this version.
    pub expected_version: Option<i64>,
}

impl RawCommand {
    /// Request validation.
    ///
    /// # Errors
    /// All findings, in field order, at most one a field.
    pub fn validate(&self, rules: &Rules) -> Result<Command, Vec<Rejection>> {
        let entity_type = self.use_case.entity_type();
        let mut findings = Vec::new();
        let request_id = keep(&mut findings, parse_request_id(self.request_id.as_deref()));
        let target = parse_reference(self.reference.as_ref(), entity_type, &mut findings);
        let use_case = keep(&mut findings, self.use_case.validate(self.value.as_deref(), rules));
        if self.expected_version.is_some_and(|v| v < 0) {
            findings.push(Rejection::InvalidAttribute { field: "expectedVersion".into(), reason: "must not be negative".into() });
        }
        match (request_id, target, use_case) {
            (Some(request_id), Some(target), Some(use_case)) if findings.is_empty() => {
                Ok(Command { request_id, target, use_case, expected_version: self.expected_version })
            }
            _ => Err(findings),
        }
    }
}

impl Command {
    /// The type of the entity that it is about.
    pub fn entity_type(&self) -> EntityType {
        self.use_case.name().entity_type()
    }

    /// The entity, as it is referenced: commands for which this is equal are about the same one.
    pub fn entity_named(&self) -> (EntityType, &Reference) {
        (self.entity_type(), &self.target)
    }

    /// Tells requests with the same id and other contents apart: a UUIDv5 (OID namespace) of use case, value and expected
    /// version. How the entity is referenced does not count.
    pub fn fingerprint(&self) -> Uuid {
        fingerprint(&self.use_case, self.expected_version)
    }
}

/// See [`Command::fingerprint`].
pub fn fingerprint(use_case: &UseCase, expected_version: Option<i64>) -> Uuid {
    let version = expected_version.map(|v| v.to_string()).unwrap_or_default();
    let contents = [use_case.name().name(), "\n", &version, "\n", use_case.value()].concat();
    Uuid::new_v5(&Uuid::NAMESPACE_OID, contents.as_bytes())
}

/// What is to become of an entity. Whether a wanted external id is free is not known here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The entity is to be changed.
    Change {
        /// The entity afterwards, its version raised by one.
        after: Entity,
        /// What is different.
        change: Change,
    },
    /// The value is already the requested one.
    Unchanged,
    /// The command is refused.
    Rejected(Rejection),
}

/// Business validation and business logic, as far as one entity can tell.
pub fn decide(entity: &Entity, use_case: &UseCase, expected_version: Option<i64>, now: Timestamp) -> Decision {
    if entity.state == State::Deactivated {
        return Decision::Rejected(Rejection::Deactivated { field: entity.entity_type.name().into() });
    }
    if let Some(expected) = expected_version.filter(|v| *v != entity.version) {
        return Decision::Rejected(Rejection::VersionConflict { expected, actual: entity.version });
    }
    match use_case.change(entity, now) {
        Some((after, change)) => Decision::Change { after: Entity { version: entity.version + 1, ..after }, change },
        None => Decision::Unchanged,
    }
}

/// Turns what is wrong with the text of `field` into a finding.
pub fn finding(field: impl Into<FieldPath>, error: InvalidText) -> Rejection {
    match error {
        InvalidText::Blank => Rejection::MandatoryAttribute { field: field.into() },
        _ => Rejection::InvalidAttribute { field: field.into(), reason: error.to_string().into() },
    }
}

fn parse_request_id(text: Option<&str>) -> Result<RequestId, Rejection> {
    RequestId::parse(text.unwrap_or_default()).map_err(|e| finding("requestId", e))
}

/// The reference's own findings come in the order of its fields: the whole, then `externalId`, then `refId`.
fn parse_reference(raw: Option<&RawReference>, entity_type: EntityType, findings: &mut Vec<Rejection>) -> Option<Reference> {
    let field = entity_type.name();
    let Some(raw) = raw else {
        findings.push(Rejection::MandatoryAttribute { field: field.into() });
        return None;
    };
    if raw.external_id.is_some() == raw.ref_id.is_some() {
        findings.push(Rejection::InvalidAttribute {
            field: field.into(),
            reason: "must have exactly one of externalId and refId".into(),
        });
    }
    let external_id =
        raw.external_id.as_deref().map(|text| ExternalId::parse(text).map_err(|e| finding(external_id_field(entity_type), e)));
    let external_id = external_id.and_then(|parsed| keep(findings, parsed));
    let ref_id = raw.ref_id.as_deref().map(|text| {
        parse_ref_id(text).ok_or_else(|| Rejection::InvalidAttribute {
            field: ref_id_field(entity_type),
            reason: "must be a hyphenated UUID".into(),
        })
    });
    let ref_id = ref_id.and_then(|parsed| keep(findings, parsed));
    external_id.map(Reference::ExternalId).or(ref_id.map(Reference::RefId))
}

fn external_id_field(entity_type: EntityType) -> FieldPath {
    match entity_type {
        EntityType::Customer => "customer.externalId",
        EntityType::Account => "account.externalId",
        EntityType::Subscriber => "subscriber.externalId",
    }
    .into()
}

fn ref_id_field(entity_type: EntityType) -> FieldPath {
    match entity_type {
        EntityType::Customer => "customer.refId",
        EntityType::Account => "account.refId",
        EntityType::Subscriber => "subscriber.refId",
    }
    .into()
}

fn keep<T>(findings: &mut Vec<Rejection>, parsed: Result<T, Rejection>) -> Option<T> {
    parsed.map_err(|finding| findings.push(finding)).ok()
}
