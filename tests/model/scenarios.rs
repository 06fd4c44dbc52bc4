//! The scenarios. They are small, so that the model can go through everything that may happen.

use super::scenario::{
    A, B, FIRST, Faults, Reached, SECOND, Scenario, X, Y, at_version, create, create_below, deactivate, import, name, rename,
};

const fn faults(crashes: u8, timeouts: u8) -> Faults {
    Faults { crashes, timeouts, panics: 0 }
}

/// Two renames to one id, one of them sent twice.
pub fn race() -> Scenario {
    let commands = vec![rename(1, A, X), rename(1, A, X), rename(2, B, X), name(3, A, 1)];
    Scenario {
        faults: faults(1, 1),
        reaches: &[Reached::Helped, Reached::Taken, Reached::AnsweredFromThePast],
        ..Scenario::new("race", commands, &[(&[0], 1), (&[1], 1), (&[2], 1), (&[3], 1)])
    }
}

/// An id changes hands while a command about its holder is under way, twice.
pub fn handover() -> Scenario {
    let commands = vec![rename(1, A, X), rename(2, B, A), name(3, A, 1), name(3, A, 1)];
    Scenario {
        faults: faults(1, 1),
        reaches: &[Reached::Helped, Reached::Replaced, Reached::NotFound, Reached::AnsweredFromThePast],
        ..Scenario::new("handover", commands, &[(&[0], 1), (&[1], 1), (&[2], 1), (&[3], 1)])
    }
}

/// Each attempt has a zombie beside it.
pub fn zombies() -> Scenario {
    let commands = vec![rename(1, A, X), rename(2, B, X)];
    Scenario {
        faults: faults(1, 2),
        progress: true,
        reaches: &[Reached::Helped, Reached::Taken],
        ..Scenario::new("zombies", commands, &[(&[0], 2), (&[1], 2)])
    }
}

/// Two renames of one entity and one of another contend for two ids.
pub fn rivals() -> Scenario {
    let commands = vec![rename(1, A, X), rename(2, A, Y), rename(3, B, X)];
    Scenario {
        faults: faults(1, 1),
        progress: true,
        reaches: &[Reached::Helped, Reached::Replaced, Reached::NotFound, Reached::Taken],
        ..Scenario::new("rivals", commands, &[(&[0], 2), (&[1], 1), (&[2], 1)])
    }
}

/// A command names an id that a rename is about to give to an entity.
pub fn new_id() -> Scenario {
    let commands = vec![rename(1, A, X), name(2, X, 1), name(2, X, 1), rename(3, B, X)];
    Scenario {
        faults: faults(1, 1),
        reaches: &[Reached::Helped, Reached::NotFound],
        ..Scenario::new("new id", commands, &[(&[0], 1), (&[1], 1), (&[2], 1), (&[3], 1)])
    }
}

/// Two entities swap their ids by way of a third one.
pub fn swap() -> Scenario {
    let commands = vec![rename(1, A, X), rename(2, B, A), rename(3, X, B), rename(3, X, B)];
    Scenario {
        faults: faults(0, 1),
        reaches: &[Reached::Helped, Reached::Replaced, Reached::Taken, Reached::NotFound],
        ..Scenario::new("swap", commands, &[(&[0], 1), (&[1], 1), (&[2], 1), (&[3], 1)])
    }
}

/// An entity goes back to an id that it gave up, and another wants it meanwhile.
pub fn there_and_back() -> Scenario {
    let commands = vec![rename(1, A, X), rename(2, X, A), rename(3, B, A), name(4, A, 1), name(4, A, 1)];
    Scenario {
        reaches: &[Reached::Helped, Reached::Replaced, Reached::AnsweredFromThePast],
        ..Scenario::new("there and back", commands, &[(&[0], 1), (&[1], 1), (&[2], 1), (&[3], 1), (&[4], 1)])
    }
}

/// A rename is refused after it has claimed, and its entity claims the same id again.
pub fn rejected_claimant() -> Scenario {
    let commands = vec![at_version(1, rename(1, B, X)), name(2, B, 1), rename(3, B, X), name(4, X, 1)];
    Scenario {
        faults: faults(1, 1),
        reaches: &[Reached::Helped, Reached::Replaced],
        ..Scenario::new("rejected claimant", commands, &[(&[0], 1), (&[1], 1), (&[2], 1), (&[3], 1)])
    }
}

/// A rename is refused after it has claimed; another takes the id and leaves it; a zombie claims the id for the refused rename once more.
pub fn claim_comes_back() -> Scenario {
    let refused = at_version(1, rename(1, SECOND, X));
    let commands = vec![refused, name(2, SECOND, 1), rename(3, FIRST, X), rename(4, FIRST, Y), name(5, X, 1)];
    Scenario {
        reaches: &[Reached::Helped, Reached::Replaced],
        ..Scenario::new("claim comes back", commands, &[(&[0], 2), (&[1], 1), (&[2, 3], 1), (&[4], 2)])
    }
}

/// A rename is refused because its id is taken. The id is given up then, and the refusal would be forgotten.
pub fn expiry() -> Scenario {
    let commands = vec![rename(1, A, B), rename(2, B, Y), name(3, B, 1)];
    Scenario {
        faults: faults(1, 1),
        expiry: true,
        progress: true,
        reaches: &[Reached::Helped, Reached::Taken, Reached::Replaced, Reached::Forgotten],
        ..Scenario::new("expiry", commands, &[(&[0], 2), (&[1], 1), (&[2], 1)])
    }
}

/// Of entities that can't be renamed all outcomes but changes are forgotten, and a record that comes then is decided anew.
pub fn expiry_without_renames() -> Scenario {
    let commands = vec![at_version(2, name(1, A, 1)), at_version(2, name(1, A, 1)), name(2, A, 2), name(3, X, 1), name(3, X, 1)];
    Scenario {
        faults: faults(0, 1),
        expiry: true,
        progress: true,
        reaches: &[Reached::Forgotten, Reached::NotFound],
        ..Scenario::new("expiry without renames", commands, &[(&[0], 1), (&[1], 1), (&[2], 1), (&[3], 1), (&[4], 1)])
    }
}

/// A rename claims from memory, though its request id was used for a name that was refused. While that refusal expires another entity wants
/// the id.
pub fn expiry_beside_a_claim() -> Scenario {
    let commands = vec![at_version(2, name(1, A, 1)), rename(1, A, X), rename(2, B, X)];
    Scenario {
        faults: faults(1, 1),
        cache: true,
        expiry: true,
        progress: true,
        reaches: &[Reached::Held, Reached::Replaced, Reached::Reused, Reached::Taken],
        ..Scenario::new("expiry beside a claim", commands, &[(&[0], 1), (&[1], 2), (&[2], 1)])
    }
}

/// A duplicate comes with a zombie beside it, while the outcome of its request expires. The entity has changed since, so that the command
/// would not be refused once more.
pub fn expiry_beside_a_zombie() -> Scenario {
    let commands = vec![at_version(2, name(1, A, 1)), name(2, A, 2), at_version(2, name(1, A, 1))];
    Scenario {
        faults: faults(1, 1),
        cache: true,
        expiry: true,
        progress: true,
        reaches: &[Reached::Forgotten, Reached::VersionConflict, Reached::Held],
        ..Scenario::new("expiry beside a zombie", commands, &[(&[0], 1), (&[1], 1), (&[2], 2)])
    }
}

/// Nobody was found under an id. A duplicate comes with a zombie beside it while that refusal expires, and an entity has the id by then.
pub fn expiry_of_a_refusal_beside_a_zombie() -> Scenario {
    let commands = vec![name(1, X, 1), rename(2, A, X), name(1, X, 1)];
    Scenario {
        faults: faults(1, 1),
        cache: true,
        expiry: true,
        progress: true,
        reaches: &[Reached::Forgotten, Reached::NotFound, Reached::Held],
        ..Scenario::new("expiry of a refusal beside a zombie", commands, &[(&[0], 1), (&[1], 1), (&[2], 2)])
    }
}

/// A duplicate names an id that was given up. It comes before or after it is forgotten which entity gave the id up.
pub fn expiry_of_previous_owners() -> Scenario {
    let commands = vec![rename(1, A, X), rename(1, A, X), rename(2, B, A), rename(3, A, Y)];
    Scenario {
        expiry: true,
        faults: faults(1, 0),
        reaches: &[Reached::AnsweredFromThePast, Reached::Forgotten, Reached::NotFound],
        ..Scenario::new("expiry of previous owners", commands, &[(&[0], 1), (&[1], 1), (&[2], 1), (&[3], 1)])
    }
}

/// A name is refused, and a rename with the same request id has claimed. If the refusal were forgotten, the claim would be pending.
pub fn expiry_of_a_reused_request_id() -> Scenario {
    let commands = vec![at_version(2, name(1, A, 1)), rename(1, A, X), name(2, X, 2)];
    Scenario {
        faults: faults(1, 1),
        expiry: true,
        progress: true,
        reaches: &[Reached::Helped, Reached::Reused, Reached::Held],
        ..Scenario::new("expiry of a reused request id", commands, &[(&[0], 1), (&[1], 2), (&[2], 1)])
    }
}

/// A name is refused, and in the same run a rename with the same request id is answered with that. The rename comes once more, elsewhere.
pub fn expiry_of_a_reused_request_id_in_a_run() -> Scenario {
    let commands = vec![at_version(2, name(1, A, 1)), rename(1, A, X), rename(1, A, X), name(2, X, 2)];
    Scenario {
        faults: faults(1, 1),
        expiry: true,
        progress: true,
        reaches: &[Reached::Helped, Reached::Reused, Reached::Held],
        ..Scenario::new("expiry of a reused request id in a run", commands, &[(&[0, 1], 2), (&[2], 1), (&[3], 1)])
    }
}

/// A request id comes with other contents: another value, another use case.
pub fn reused_request_id() -> Scenario {
    let commands = vec![rename(1, A, X), rename(1, A, Y), name(1, A, 1), name(1, A, 1)];
    Scenario {
        faults: faults(1, 1),
        reaches: &[Reached::Reused, Reached::AnsweredFromThePast],
        ..Scenario::new("reused request id", commands, &[(&[0], 1), (&[1], 1), (&[2], 1), (&[3], 1)])
    }
}

/// A request id comes with other contents under an id that nobody holds yet.
pub fn reused_request_id_of_nobody() -> Scenario {
    let commands = vec![name(1, X, 1), name(1, X, 2), name(1, X, 1), rename(2, A, X)];
    Scenario {
        faults: faults(1, 1),
        reaches: &[Reached::NotFound, Reached::Reused],
        ..Scenario::new("reused request id of nobody", commands, &[(&[0], 1), (&[1], 1), (&[2], 1), (&[3], 1)])
    }
}

/// A request id is used under an external id about the entity that holds it now, and by refId about the one that held it before.
pub fn shared_request_id() -> Scenario {
    let commands = vec![rename(1, A, X), rename(2, B, A), name(3, A, 1), name(3, FIRST, 1)];
    Scenario {
        faults: faults(1, 1),
        shares_request_ids: true,
        reaches: &[Reached::Shared, Reached::AnsweredFromThePast],
        ..Scenario::new("shared request id", commands, &[(&[0], 1), (&[1], 1), (&[2], 2), (&[3], 1)])
    }
}

/// A request id is used under an external id about the entity that holds it, and by refId about the one that holds it next.
pub fn own_outcome() -> Scenario {
    let commands = vec![rename(1, A, X), rename(2, B, A), name(3, A, 1), name(3, SECOND, 1)];
    Scenario {
        faults: faults(1, 1),
        shares_request_ids: true,
        reaches: &[Reached::Shared, Reached::AnsweredFromThePast],
        ..Scenario::new("own outcome", commands, &[(&[0], 1), (&[1], 1), (&[2], 1), (&[3], 1)])
    }
}

/// An entity has come to an id and left it, and a duplicate of the rename that brought it there claims the id once more. What is decided
/// about the entity since then is no answer under that id.
pub fn duplicate_of_a_rename_claims() -> Scenario {
    let commands = vec![rename(1, FIRST, X), rename(2, FIRST, Y), rename(1, FIRST, X), name(3, FIRST, 1), name(3, X, 1)];
    Scenario {
        cache: true,
        shares_request_ids: true,
        reaches: &[Reached::Replaced, Reached::NotFound, Reached::AnsweredFromThePast],
        ..Scenario::new("duplicate of a rename claims", commands, &[(&[0, 1], 1), (&[2], 1), (&[3], 1), (&[4], 1)])
    }
}

/// A rename that came to nothing leaves a claim by an entity that never held the id. Request ids are used for that entity and for the one
/// that takes the id.
pub fn claim_that_came_to_nothing() -> Scenario {
    let commands = vec![rename(1, FIRST, X), rename(2, FIRST, Y), name(3, X, 1), name(3, FIRST, 1), rename(4, B, X)];
    Scenario {
        shares_request_ids: true,
        reaches: &[Reached::Shared, Reached::Replaced],
        ..Scenario::new("claim that came to nothing", commands, &[(&[0], 1), (&[1], 1), (&[2], 1), (&[3], 1), (&[4], 1)])
    }
}

/// A command names a refId that no entity has yet. The refusal is kept in the absent entity's partition.
pub fn unknown_ref_id() -> Scenario {
    let commands = vec![name(1, SECOND, 1), name(1, SECOND, 1), import(1, B), name(2, B, 2)];
    Scenario {
        held: [Some(A), None],
        faults: faults(1, 2),
        progress: true,
        reaches: &[Reached::NotFound, Reached::Helped],
        ..Scenario::new("unknown refId", commands, &[(&[0], 1), (&[1], 1), (&[2], 1), (&[3], 1)])
    }
}

/// A command names a refId that no entity has yet, of a type that can be renamed.
pub fn unknown_ref_id_of_a_rename() -> Scenario {
    let commands = vec![rename(1, SECOND, X), rename(1, SECOND, X), import(1, B), rename(2, A, X)];
    Scenario {
        held: [Some(A), None],
        faults: faults(1, 1),
        cache: true,
        expiry: true,
        reaches: &[Reached::NotFound, Reached::Helped, Reached::Taken],
        ..Scenario::new("unknown refId of a rename", commands, &[(&[0], 1), (&[1], 1), (&[2], 1), (&[3], 1)])
    }
}

/// An import and a rename want one id, and a command names it.
pub fn import_races_a_rename() -> Scenario {
    let commands = vec![import(1, X), rename(1, A, X), name(2, X, 1), name(3, SECOND, 2)];
    Scenario {
        held: [Some(A), None],
        faults: faults(1, 1),
        reaches: &[Reached::Helped, Reached::Taken, Reached::Contradicted, Reached::NotFound],
        ..Scenario::new("import races a rename", commands, &[(&[0], 2), (&[1], 1), (&[2], 1), (&[3], 1)])
    }
}

/// An entity leaves the id that it was imported with, comes back and leaves it again; a zombie of the import claims the id once more.
pub fn late_claim_of_an_import() -> Scenario {
    let (away, back) = (at_version(1, rename(1, FIRST, X)), at_version(2, rename(2, FIRST, A)));
    let commands = vec![import(0, A), away, back, at_version(3, rename(3, A, Y)), rename(4, SECOND, A)];
    Scenario {
        stalled_import: true,
        reaches: &[Reached::Replaced, Reached::AnsweredFromThePast],
        ..Scenario::new("late claim of an import", commands, &[(&[0], 1), (&[1, 2], 1), (&[3], 2), (&[4], 1)])
    }
}

/// Two lines import one entity with different ids, and a rename wants the id that the loser has claimed.
pub fn contradictory_imports() -> Scenario {
    let commands = vec![import(1, X), import(1, Y), rename(1, A, X), name(2, Y, 1)];
    Scenario {
        held: [Some(A), None],
        faults: faults(1, 1),
        reaches: &[Reached::Helped, Reached::Replaced, Reached::Contradicted],
        ..Scenario::new("contradictory imports", commands, &[(&[0], 1), (&[1], 1), (&[2], 1), (&[3], 1)])
    }
}

/// A run of two commands comes with a duplicate of each, and with a zombie that may take them one at a time.
pub fn run() -> Scenario {
    let second = at_version(2, name(2, A, 2));
    let commands = vec![name(1, A, 1), second, name(1, A, 1), second];
    Scenario {
        faults: faults(1, 1),
        progress: true,
        reaches: &[Reached::Batched],
        ..Scenario::new("run", commands, &[(&[0, 1], 2), (&[2], 1), (&[3], 1)])
    }
}

/// Runs have a rename at their head and at their end.
pub fn run_with_a_rename() -> Scenario {
    let commands = vec![name(1, A, 1), rename(2, A, X), rename(3, B, X), name(4, B, 1)];
    Scenario {
        faults: faults(1, 1),
        reaches: &[Reached::Helped, Reached::Taken],
        ..Scenario::new("run with a rename", commands, &[(&[0, 1], 2), (&[2, 3], 1)])
    }
}

/// A run comes under an id that a rename is about to give to an entity, and a request of it comes twice.
pub fn run_of_nobody() -> Scenario {
    let commands = vec![name(1, X, 1), name(2, X, 2), rename(3, A, X), name(1, X, 1)];
    Scenario {
        faults: faults(1, 1),
        reaches: &[Reached::Batched, Reached::NotFound],
        ..Scenario::new("run of nobody", commands, &[(&[0, 1], 2), (&[2], 1), (&[3], 1)])
    }
}

/// A request comes twice in one run.
pub fn run_with_a_duplicate() -> Scenario {
    let commands = vec![name(1, A, 1), name(1, A, 1), rename(2, A, X), name(1, A, 2)];
    Scenario {
        faults: faults(1, 1),
        reaches: &[Reached::Reused],
        ..Scenario::new("run with a duplicate", commands, &[(&[0, 1], 2), (&[2], 1), (&[3], 1)])
    }
}

/// A bug panics while a command is decided.
pub fn bug() -> Scenario {
    let commands = vec![rename(1, A, X), rename(1, A, X), rename(2, B, X), name(3, X, 1)];
    Scenario {
        faults: Faults { panics: 1, ..faults(1, 0) },
        reaches: &[Reached::InternalError, Reached::Helped],
        ..Scenario::new("bug", commands, &[(&[0], 1), (&[1], 1), (&[2], 1), (&[3], 1)])
    }
}

/// Commands are decided from memory while their id comes to be held.
pub fn cache() -> Scenario {
    let commands = vec![rename(1, A, X), name(2, X, 1), name(2, X, 1)];
    Scenario {
        faults: faults(1, 2),
        cache: true,
        progress: true,
        reaches: &[Reached::NotFound, Reached::Helped],
        ..Scenario::new("cache", commands, &[(&[0], 1), (&[1], 1), (&[2], 1)])
    }
}

/// A value is set, and another one, and no-ops and conflicts come in between. All are decided from memory.
pub fn unchanged_and_back() -> Scenario {
    let commands = vec![name(1, A, 1), at_version(2, name(2, A, 0)), name(3, A, 1), at_version(1, name(4, FIRST, 0))];
    Scenario {
        faults: faults(1, 1),
        cache: true,
        progress: true,
        reaches: &[Reached::Unchanged, Reached::VersionConflict],
        ..Scenario::new("unchanged and back", commands, &[(&[0], 1), (&[1], 1), (&[2], 1), (&[3], 1)])
    }
}

/// Commands are decided from memory while their id changes hands.
pub fn cache_at_a_handover() -> Scenario {
    let commands = vec![rename(1, A, X), rename(2, B, A), name(3, A, 1), name(3, A, 1)];
    Scenario {
        faults: faults(0, 1),
        cache: true,
        reaches: &[Reached::AnsweredFromThePast, Reached::Replaced],
        ..Scenario::new("cache at a handover", commands, &[(&[0], 1), (&[1], 1), (&[2], 1), (&[3], 1)])
    }
}

/// Commands that refer by refId are decided from memory, beside one that refers by external id.
pub fn cache_by_ref_id() -> Scenario {
    let commands = vec![rename(1, FIRST, X), rename(2, FIRST, Y), rename(2, A, Y), rename(3, SECOND, X)];
    Scenario {
        faults: faults(0, 1),
        cache: true,
        reaches: &[Reached::Helped, Reached::Replaced, Reached::Taken],
        ..Scenario::new("cache by refId", commands, &[(&[0], 1), (&[1], 1), (&[2], 1), (&[3], 1)])
    }
}

/// Two creations race for one id, and one of them comes in two records.
pub fn creations_race() -> Scenario {
    let commands = vec![create(1, FIRST, X), create(2, SECOND, X), create(1, FIRST, X), name(3, X, 1)];
    Scenario {
        held: [None, None],
        faults: faults(1, 1),
        cache: true,
        reaches: &[Reached::Created, Reached::Helped, Reached::Taken, Reached::NotFound],
        ..Scenario::new("creations race", commands, &[(&[0], 1), (&[1], 1), (&[2], 1), (&[3], 1)])
    }
}

/// A creation and a rename want one id.
pub fn creation_races_a_rename() -> Scenario {
    let commands = vec![create(1, SECOND, X), rename(2, A, X), name(3, X, 1), create(1, SECOND, X)];
    Scenario {
        held: [Some(A), None],
        faults: faults(1, 1),
        cache: true,
        reaches: &[Reached::Created, Reached::Helped, Reached::Taken, Reached::NotFound],
        ..Scenario::new("creation races a rename", commands, &[(&[0], 1), (&[1], 1), (&[2], 1), (&[3], 1)])
    }
}

/// A creation wants an id that a rename gives up.
pub fn creation_races_a_rename_away() -> Scenario {
    let commands = vec![rename(1, A, X), create(2, SECOND, A), create(2, SECOND, A), name(3, A, 1)];
    Scenario {
        held: [Some(A), None],
        faults: faults(0, 1),
        cache: true,
        reaches: &[Reached::Created, Reached::Helped, Reached::Taken, Reached::Replaced, Reached::AnsweredFromThePast],
        ..Scenario::new("creation races a rename away", commands, &[(&[0], 1), (&[1], 1), (&[2], 1), (&[3], 1)])
    }
}

/// A creation and the import of another entity want one id.
pub fn creation_races_an_import() -> Scenario {
    let commands = vec![create(1, SECOND, X), import(0, X), name(2, X, 1), create(1, SECOND, X)];
    Scenario {
        held: [None, None],
        faults: faults(1, 1),
        cache: true,
        reaches: &[Reached::Created, Reached::Helped, Reached::Taken, Reached::Contradicted],
        ..Scenario::new("creation races an import", commands, &[(&[0], 1), (&[1], 1), (&[2], 1), (&[3], 1)])
    }
}

/// A creation races with an import of the very entity, under another id, and another entity wants the creation's id.
pub fn creation_races_an_import_of_it() -> Scenario {
    let commands = vec![create(1, SECOND, X), import(1, Y), rename(2, A, X), name(3, SECOND, 1)];
    Scenario {
        held: [Some(A), None],
        faults: faults(0, 1),
        cache: true,
        progress: true,
        reaches: &[Reached::Created, Reached::Helped, Reached::Taken, Reached::Contradicted, Reached::Replaced],
        ..Scenario::new("creation races an import of it", commands, &[(&[0], 1), (&[1], 1), (&[2], 1), (&[3], 1)])
    }
}

/// A creation is refused because its id is taken. The id is given up, and a duplicate of the creation comes, and another creation.
pub fn duplicate_of_a_refused_creation() -> Scenario {
    let commands = vec![create(1, SECOND, A), rename(2, A, X), create(1, SECOND, A), create_below(1, SECOND, A, X)];
    Scenario {
        held: [Some(A), None],
        faults: faults(0, 1),
        cache: true,
        reaches: &[Reached::Created, Reached::Taken, Reached::Reused, Reached::NoSuperior],
        ..Scenario::new("duplicate of a refused creation", commands, &[(&[0], 1), (&[1], 1), (&[2], 1), (&[3], 1)])
    }
}

/// The creator dies after its claim. Others meet the claim: a command that names the id, a rename and another creation that want it.
pub fn creator_dies() -> Scenario {
    let commands = vec![create(1, SECOND, X), name(2, X, 1), rename(3, A, X), name(2, X, 1)];
    Scenario {
        held: [Some(A), None],
        faults: faults(1, 1),
        reaches: &[Reached::Created, Reached::Helped, Reached::Taken, Reached::NotFound],
        ..Scenario::new("creator dies", commands, &[(&[0], 2), (&[1], 1), (&[2], 1), (&[3], 1)])
    }
}

/// A created entity leaves its id, another is created with it, and a duplicate of the first creation claims the id once more.
pub fn created_and_renamed() -> Scenario {
    let commands = vec![create(1, FIRST, X), rename(2, X, Y), create(3, SECOND, X), create(1, FIRST, X), name(2, X, 1)];
    Scenario {
        held: [None, None],
        cache: true,
        shares_request_ids: true,
        reaches: &[Reached::Created, Reached::Helped, Reached::Taken, Reached::Replaced, Reached::Reused],
        ..Scenario::new("created and renamed", commands, &[(&[0], 1), (&[1], 1), (&[2], 1), (&[3], 1), (&[4], 1)])
    }
}

/// The superior is deactivated while an entity is created below it.
pub fn superior_is_deactivated() -> Scenario {
    let created = create_below(1, SECOND, X, A);
    let commands = vec![created, deactivate(2, A), created, name(3, A, 1)];
    Scenario {
        held: [Some(A), None],
        faults: faults(1, 1),
        cache: true,
        reaches: &[Reached::Created, Reached::SuperiorDeactivated, Reached::Deactivated],
        ..Scenario::new("superior is deactivated", commands, &[(&[0], 1), (&[1], 1), (&[2], 1), (&[3], 1)])
    }
}

/// The superior leaves the id by which a creation refers to it, and comes back.
pub fn superior_is_renamed() -> Scenario {
    let created = create_below(1, SECOND, X, A);
    let commands = vec![rename(2, FIRST, Y), rename(3, FIRST, A), created, created];
    Scenario {
        held: [Some(A), None],
        faults: faults(1, 1),
        cache: true,
        reaches: &[Reached::Created, Reached::NoSuperior, Reached::Helped],
        ..Scenario::new("superior is renamed", commands, &[(&[0, 1], 1), (&[2], 1), (&[3], 1)])
    }
}

/// The superior is created itself, and referred to by refId and by external id.
pub fn superior_is_created() -> Scenario {
    let commands = vec![create(1, FIRST, X), create_below(2, SECOND, Y, X), create_below(2, SECOND, Y, FIRST)];
    Scenario {
        held: [None, None],
        faults: faults(1, 1),
        cache: true,
        reaches: &[Reached::Created, Reached::NoSuperior, Reached::Helped, Reached::Reused],
        ..Scenario::new("superior is created", commands, &[(&[0], 1), (&[1], 2), (&[2], 1)])
    }
}

/// An update by refId is refused before its entity is created, under the creation's request id and under another.
pub fn creation_after_an_update_of_it() -> Scenario {
    let commands = vec![name(1, SECOND, 1), create(1, SECOND, X), create(1, SECOND, X), name(2, SECOND, 2)];
    Scenario {
        held: [Some(A), None],
        faults: faults(0, 1),
        cache: true,
        reaches: &[Reached::Created, Reached::NotFound, Reached::Reused],
        ..Scenario::new("creation after an update of it", commands, &[(&[0], 1), (&[1], 1), (&[2], 1), (&[3], 1)])
    }
}

/// An update by external id is refused before an entity is created with that id, under the creation's request id.
pub fn creation_after_a_refusal() -> Scenario {
    let commands = vec![name(1, X, 1), create(1, SECOND, X), name(1, X, 1), create(1, SECOND, X)];
    Scenario {
        held: [Some(A), None],
        faults: faults(1, 1),
        cache: true,
        shares_request_ids: true,
        reaches: &[Reached::Created, Reached::NotFound, Reached::Reused],
        ..Scenario::new("creation after a refusal", commands, &[(&[0], 1), (&[1], 1), (&[2], 1), (&[3], 1)])
    }
}

/// A creation is refused, after it has claimed or before. If the refusal were forgotten, the claim would be pending.
pub fn expiry_of_a_creation() -> Scenario {
    let created = create_below(1, SECOND, X, A);
    let commands = vec![created, deactivate(2, A), created, name(3, X, 1)];
    Scenario {
        held: [Some(A), None],
        faults: faults(0, 1),
        cache: true,
        expiry: true,
        reaches: &[Reached::Created, Reached::SuperiorDeactivated, Reached::NotFound, Reached::Forgotten],
        ..Scenario::new("expiry of a creation", commands, &[(&[0], 1), (&[1], 1), (&[2], 1), (&[3], 1)])
    }
}

/// An update by refId is refused under the request id of a creation, which claims without having seen that. While the refusal expires
/// another entity wants the id.
pub fn expiry_of_an_update_before_a_creation() -> Scenario {
    let commands = vec![name(1, SECOND, 1), create(1, SECOND, X), rename(2, A, X)];
    Scenario {
        held: [Some(A), None],
        faults: faults(1, 1),
        cache: true,
        expiry: true,
        progress: true,
        reaches: &[Reached::Created, Reached::NotFound, Reached::Reused, Reached::Held, Reached::Replaced],
        ..Scenario::new("expiry of an update before a creation", commands, &[(&[0], 1), (&[1], 2), (&[2], 1)])
    }
}
