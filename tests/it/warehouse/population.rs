//! Entities that have all that an import or a creation can give, in the tests of the warehouse. Their texts are such as a database may
//! take for others: with quotes, blanks at either end, other scripts, and accents that are characters of their own.

use crate::crm::{Draft, Entity, Kind, create, json_lines, unique};
use crate::world::World;
use serde_json::{Value as Json, json};
use toml::Table;

/// A code that only an installation with [`add_segment`] has.
const SEGMENT: &str = "Größe \"S\", it's \\ 10 %";

/// Adds a segment to the configuration that no English code resembles. [`import`] gives it to customers.
pub fn add_segment(config: &mut Table) {
    config["segments"].as_array_mut().expect("a list").push(SEGMENT.into());
}

/// Makes entities of the three types in turn, in any of these states, with external ids that are not ASCII.
pub fn entities(count: usize, states: &[&'static str]) -> Vec<Entity> {
    let entity = |n: usize| {
        let entity = Entity::new(Kind::ALL[n % Kind::ALL.len()], states[n % states.len()]);
        // The accent is a character of its own, and becomes one with its letter in the store.
        Entity { external_id: format!("{} e\u{301}'\"\\", entity.external_id), ..entity }
    };
    (0..count).map(entity).collect()
}

/// Imports entities with other combinations of attributes for each.
pub fn import(world: &World, entities: &[Entity]) {
    let lines: Vec<_> = entities.iter().enumerate().map(|(n, entity)| line(n, entity, entities)).collect();
    world.import_lines(&json_lines(&lines)).succeeded();
}

fn line(n: usize, entity: &Entity, all: &[Entity]) -> Json {
    // The numbers of values have no common divisor with that of the types, nor with each other, so that all combinations occur.
    let names = [
        Json::Null,
        json!("Zoë \"O'Hara\""),
        json!("  blanks at both ends \u{a0}"),
        json!("back\\slash; -- /* no comment"),
        json!("日本語 😀"),
        json!("e\u{301}, not composed"),
        json!("a\u{2028}line\u{feff}separator"),
        json!("ü".repeat(255)),
    ];
    let times = [
        Json::Null,
        json!(1_700_000_000_123_i64),
        json!(-1),
        json!("2026-01-31T12:00:00.5+01:00"),
        json!(0),
        json!("1999-12-31T23:59:59.999Z"),
        json!(1_234_567_890_000_i64),
    ];
    let reasons = [Json::Null, json!("unpaid"), json!("Zoë's \"bill\" \\ 1"), json!("α  β"), json!("0")];
    let mut line = entity.line();
    line["customName"] = names[n % names.len()].clone();
    line["stateValidFrom"] = times[n % times.len()].clone();
    line["stateReason"] = reasons[n % reasons.len()].clone();
    match entity.kind.superior() {
        None => line["customerSegment"] = [Json::Null, json!("RESIDENTIAL"), json!(SEGMENT)][n / Kind::ALL.len() % 3].clone(),
        Some(of) if n.is_multiple_of(2) => line[format!("{}RefId", of.name())] = json!(any_in_use(of, all).ref_id),
        Some(_) => {}
    }
    line
}

/// Makes a creation that gives all that one can, and returns it with the entity. Its key is the entity's refId. The superior, if one is
/// needed, is among `entities`.
pub fn creation(kind: Kind, entities: &[Entity]) -> (Entity, Draft) {
    let superior = kind.superior().map_or(Json::Null, |of| any_in_use(of, entities).by_ref_id());
    let mut creation = create(kind, &unique("r"), &unique("n\u{e9}e '\""), &superior);
    for (field, value) in [("customName", " Zoë \"O'Hara\" "), ("state", "INACTIVE"), ("stateReason", "n\u{e9}e '\"")] {
        creation.body[field] = json!(value);
    }
    if kind == Kind::Customer {
        creation.body["customerSegment"] = json!("SMALL_BUSINESS");
    }
    let entity = Entity { state: "INACTIVE", ..Entity::created_by(&creation) };
    let creation = creation.key(&entity.ref_id);
    (entity, creation)
}

fn any_in_use(kind: Kind, entities: &[Entity]) -> &Entity {
    let is_in_use = |entity: &&Entity| entity.kind == kind && entity.state != "DEACTIVATED";
    entities.iter().find(is_in_use).unwrap_or_else(|| panic!("there is no {}", kind.name()))
}
