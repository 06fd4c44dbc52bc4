//! The claim protocol as a model: the specification of `crm_processor::store::claims`, and the proof that it keeps its promises.
//!
//! The model goes through every order of events of a scenario. Each attempt at a record is a sequence of statements, and each statement is
//! one conditional write to one partition or one read of one partition. Between any two statements anything else may happen: a process
//! dies and its records are delivered again; a zombie goes on beside its successor; a write that timed out is applied at any later time, or
//! never; old outcomes are forgotten; a bug panics. `properties` says what must hold in every state.
//!
//! Read the files in this order: `vocabulary`, `store` (the conditional writes), `protocol` (the rules), `attempt` and `claiming` (the
//! order of the statements), `properties`, `scenarios`. `system` puts them together. `weakened` leaves the rules out, one at a time, and
//! names the promise that breaks then.
//!
//! Four use cases stand for all: to the protocol a segment is a value like the name, and entities of all types are renamed and created
//! alike. Of the states only DEACTIVATED matters, which an entity never leaves. The superior of an entity that is created is an entity
//! like any other.
//!
//! Not in the model: more than two entities, and runs of more than two commands. A cache is an earlier look at the store: its bounds, and
//! how it is filled, are not modelled.
//!
//! `cargo test --test model` goes through the small scenarios. `CRM_MODEL=large` adds faults and decisions from memory to each scenario,
//! `CRM_MODEL=zombies` a zombie beside each attempt. These take seconds to hours, and some many GiB, so name a scenario and give
//! `--test-threads=1`. A violation prints the shortest way to it. `--nocapture` shows the number of states.

#![allow(clippy::trivially_copy_pass_by_ref, reason = "that claims and statics are small is the model's doing")]
#![allow(clippy::print_stdout, reason = "the tests say how many states there were")]

mod attempt;
mod check;
mod claiming;
mod creating;
mod normal;
mod owner;
mod properties;
mod protocol;
mod retention;
mod scenario;
mod scenarios;
mod store;
mod system;
mod trace;
mod vocabulary;
mod weakened;
mod witness;

macro_rules! hold {
    ($($scenario:ident),+ $(,)?) => {
        $(#[test]
        fn $scenario() {
            check::holds(scenarios::$scenario());
        })+
    };
}

hold! {
    race,
    handover,
    zombies,
    rivals,
    new_id,
    swap,
    there_and_back,
    rejected_claimant,
    claim_comes_back,
    expiry,
    expiry_without_renames,
    expiry_beside_a_claim,
    expiry_beside_a_zombie,
    expiry_of_a_refusal_beside_a_zombie,
    expiry_of_previous_owners,
    expiry_of_a_reused_request_id,
    expiry_of_a_reused_request_id_in_a_run,
    reused_request_id,
    reused_request_id_of_nobody,
    shared_request_id,
    own_outcome,
    duplicate_of_a_rename_claims,
    claim_that_came_to_nothing,
    unknown_ref_id,
    unknown_ref_id_of_a_rename,
    import_races_a_rename,
    contradictory_imports,
    late_claim_of_an_import,
    run,
    run_with_a_rename,
    run_of_nobody,
    run_with_a_duplicate,
    bug,
    cache,
    unchanged_and_back,
    cache_at_a_handover,
    cache_by_ref_id,
    creations_race,
    creation_races_a_rename,
    creation_races_a_rename_away,
    creation_races_an_import,
    creation_races_an_import_of_it,
    duplicate_of_a_refused_creation,
    creator_dies,
    created_and_renamed,
    superior_is_deactivated,
    superior_is_renamed,
    superior_is_created,
    creation_after_an_update_of_it,
    creation_after_a_refusal,
    expiry_of_a_creation,
    expiry_of_an_update_before_a_creation,
}
