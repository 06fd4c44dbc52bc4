//! What each creation is told that is refused: for its fields, or for what is there.

use super::{refusal, succeeded};
use crate::crm::{Draft, Entity, Kind, create, unique};
use crate::world::{STATES, World};
use serde_json::{Value as Json, json};

const MANDATORY: &str = "CASM-MANDATORY-ATTRIBUTE";
const INVALID: &str = "CASM-INVALID-ATTRIBUTE";
const SEGMENT: &str = "CASM-SEGMENT-NOT-CONFIGURED";
const NOT_FOUND: &str = "CASM-ENTITY-NOT-FOUND";
const DEACTIVATED: &str = "CASM-STATE-DEACTIVATED";
const NOT_UNIQUE: &str = "CASM-EXTERNAL-ID-NOT-UNIQUE";

/// The entities that are there before the processor runs.
pub struct Imported {
    /// An entity of each type in each state.
    each: Vec<Entity>,
    /// A creation, and an entity that has the refId which the creation would give.
    foreseen: (Draft, Entity),
}

impl Imported {
    pub fn new() -> Self {
        let each = Kind::ALL.into_iter().flat_map(|kind| STATES.map(|state| Entity::new(kind, state))).collect();
        let creation = create(Kind::Customer, &unique("r"), &unique("e"), &Json::Null);
        let entity = Entity { external_id: unique("e"), ..Entity::created_by(&creation) };
        Self { each, foreseen: (creation, entity) }
    }

    pub fn entities(&self) -> Vec<Entity> {
        self.each.iter().chain([&self.foreseen.1]).cloned().collect()
    }

    fn one(&self, kind: Kind, state: &str) -> &Entity {
        self.each.iter().find(|entity| (entity.kind, entity.state) == (kind, state)).expect("one of each")
    }
}

/// Sends creations with each field as it must not be. `customer` and `account` can be superiors.
pub fn by_their_fields(world: &World, customer: &Entity, account: &Entity) {
    let long = |length: usize| json!("x".repeat(length));
    let of_all = [
        ("requestId", vec![Json::Null, json!(""), json!(" ")], MANDATORY),
        ("requestId", vec![long(129), json!(" r"), json!("r\u{7}"), json!("r\u{200b}")], INVALID),
        ("externalId", vec![Json::Null, json!(""), json!("\u{3000}")], MANDATORY),
        ("externalId", vec![long(257), json!(" e"), json!("e\u{7}"), json!("e\u{200b}")], INVALID),
        ("customName", vec![json!(""), json!(" "), json!("a\u{7}"), long(256)], INVALID),
        ("state", vec![json!(""), json!("active"), json!("GONE"), json!("DEACTIVATED")], INVALID),
        ("stateReason", vec![json!(""), json!(" "), json!("x "), json!("x\u{7}"), long(129)], INVALID),
    ];
    let mut rows: Vec<(Draft, Vec<(&str, String)>)> = Vec::new();
    for (kind, superior) in [(Kind::Customer, None), (Kind::Account, Some(customer)), (Kind::Subscriber, Some(account))] {
        let reference = superior.map_or(Json::Null, Entity::by_external_id);
        let creation = || create(kind, &unique("r"), &unique("e"), &reference);
        let with = |field: &str, value: &Json| {
            let mut creation = creation();
            creation.body[field] = value.clone();
            creation
        };
        for (field, values, code) in &of_all {
            rows.extend(values.iter().map(|value| (with(field, value), vec![(*code, (*field).to_owned())])));
        }
        let Some(superior) = superior else {
            for (code, value) in [(INVALID, ""), (INVALID, " "), (SEGMENT, "GOLD"), (SEGMENT, "enterprise")] {
                rows.push((with("customerSegment", &json!(value)), vec![(code, "customerSegment".into())]));
            }
            continue;
        };
        let of = superior.kind.name();
        let field = |name: &str| format!("{of}.{name}");
        for (value, code, field) in [
            (Json::Null, MANDATORY, of.to_owned()),
            (json!({}), INVALID, of.to_owned()),
            (json!({"externalId": superior.external_id, "refId": superior.ref_id}), INVALID, of.to_owned()),
            (json!({"externalId": " "}), MANDATORY, field("externalId")),
            (json!({"externalId": " x"}), INVALID, field("externalId")),
            (json!({"refId": "x"}), INVALID, field("refId")),
        ] {
            rows.push((with(of, &value), vec![(code, field)]));
        }
        // All findings are reported at once, in the order of the fields.
        let mut wrong = create(kind, "", " ", &json!({"externalId": "", "refId": "x"}));
        for (field, value) in [("customName", " "), ("state", "GONE"), ("stateReason", "")] {
            wrong.body[field] = json!(value);
        }
        let findings = [
            (MANDATORY, "requestId".to_owned()),
            (MANDATORY, "externalId".to_owned()),
            (INVALID, of.to_owned()),
            (MANDATORY, field("externalId")),
            (INVALID, field("refId")),
            (INVALID, "customName".to_owned()),
            (INVALID, "state".to_owned()),
            (INVALID, "stateReason".to_owned()),
        ];
        rows.push((wrong, findings.into()));
    }
    let drafts: Vec<_> = rows.iter().map(|(draft, _)| draft.clone()).collect();
    for ((draft, expected), reply) in rows.iter().zip(world.ask_all(&drafts)) {
        let found = reply.body["errors"].as_array().expect("an array").iter();
        let found: Vec<_> = found.map(|error| (error["code"].as_str(), error["field"].as_str())).collect();
        let expected: Vec<_> = expected.iter().map(|(code, field)| (Some(*code), Some(field.as_str()))).collect();
        assert_eq!(found, expected, "input: {draft:?}\nreply: {reply:?}");
        assert_eq!((&reply.body["statusCode"], &reply.body["replayed"]), (&json!(400), &json!(false)), "{draft:?}: {reply:?}");
    }
    // Nothing of this was stored: the request id can still be used.
    for kind in Kind::ALL {
        let reference = if kind == Kind::Account { customer.by_ref_id() } else { account.by_ref_id() };
        let creation = create(kind, &unique("r"), &unique("e"), &reference);
        let mut wrong = creation.clone();
        wrong.body["state"] = json!("DEACTIVATED");
        assert_eq!(refusal(world, &wrong), (INVALID.into(), json!("state")));
        succeeded(world, &creation);
    }
}

/// Sends creations whose fields are in order, below or with the id of what is there. Each refusal is stored.
pub fn by_what_is_there(world: &World, imported: &Imported) {
    let mut rows: Vec<(Draft, &str, Json)> = Vec::new();
    let new = |kind: Kind, superior: &Json| create(kind, &unique("r"), &unique("e"), superior);
    for kind in Kind::ALL {
        let superior = kind.superior().map(|of| imported.one(of, "ACTIVE"));
        let reference = superior.map_or(Json::Null, Entity::by_ref_id);
        // The id of an entity stays taken in whatever state the entity is.
        for state in ["ACTIVE", "DEACTIVATED"] {
            let holder = imported.one(kind, state);
            rows.push((create(kind, &unique("r"), &holder.external_id, &reference), NOT_UNIQUE, json!("externalId")));
        }
        let Some(superior) = superior else { continue };
        let (of, taken) = (superior.kind, imported.one(kind, "SUSPENDED"));
        let (gone, nobody) = (imported.one(of, "DEACTIVATED"), Entity::new(of, "ACTIVE"));
        let field = |name: &str| json!(format!("{}.{name}", of.name()));
        for (reference, code, field) in [
            (nobody.by_external_id(), NOT_FOUND, field("externalId")),
            (nobody.by_ref_id(), NOT_FOUND, field("refId")),
            // An entity of another type is no superior.
            (taken.by_external_id(), NOT_FOUND, field("externalId")),
            (gone.by_external_id(), DEACTIVATED, json!(of.name())),
            (gone.by_ref_id(), DEACTIVATED, json!(of.name())),
        ] {
            rows.push((new(kind, &reference), code, field.clone()));
            // The superior comes before the external id.
            rows.push((create(kind, &unique("r"), &taken.external_id, &reference), code, field));
        }
    }
    let (creation, _) = &imported.foreseen;
    rows.push((creation.clone(), NOT_UNIQUE, json!("externalId")));
    let drafts: Vec<_> = rows.iter().map(|(draft, ..)| draft.clone()).collect();
    for replayed in [false, true] {
        // A duplicate is in another lane.
        let drafts: Vec<_> = drafts.iter().map(|draft| draft.clone().key(unique("k"))).collect();
        for ((draft, code, field), reply) in rows.iter().zip(world.ask_all(&drafts)) {
            let errors = reply.body["errors"].as_array().expect("an array");
            assert_eq!(errors.len(), 1, "{draft:?}: {reply:?}");
            let got = (&errors[0]["code"], &errors[0]["field"], &reply.body["replayed"]);
            assert_eq!(got, (&json!(code), field, &json!(replayed)), "{draft:?}: {reply:?}");
            assert_eq!((&reply.body["statusCode"], &reply.body["businessTransaction"]), (&json!(400), &Json::Null), "{reply:?}");
            let says_whose = imported.each.iter().any(|entity| reply.body.to_string().contains(&entity.ref_id));
            assert!(!says_whose, "{reply:?}");
        }
    }
    // The three other states are fine, and so is an id that an entity of another type has.
    for state in ["ACTIVE", "INACTIVE", "SUSPENDED"] {
        succeeded(world, &new(Kind::Account, &imported.one(Kind::Customer, state).by_external_id()));
        succeeded(world, &new(Kind::Subscriber, &imported.one(Kind::Account, state).by_ref_id()));
    }
    let superior = imported.one(Kind::Customer, "ACTIVE");
    let with_its_id = create(Kind::Account, &unique("r"), &superior.external_id, &superior.by_external_id());
    assert_eq!(succeeded(world, &with_its_id)["account"]["externalId"], superior.external_id.as_str());
}
