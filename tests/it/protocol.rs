//! Tests the claim protocol step by step, over any store: the answer to each command, and the number of writes that it takes.
//!
//! The checks take a store and a prefix for all names, so that they can share a database. Each runs as a test of its own over the
//! simulated store, without faults (`simulation` adds those), and all run in one test over each of the other stores.

mod ahead;
mod cache;
mod creations;
mod dead;
mod erasing;
mod expiry;
mod folding;
mod imports;
mod inquiries;
mod one_at_a_time;
mod renames;
mod requests;
mod simulation;
mod upgrades;
mod world;

use crm_processor::store::erasable::ErasableStore;
use std::sync::Arc;
use uuid::Uuid;

#[tokio::test]
async fn every_check_holds_over_the_embedded_store() {
    let folder = tempfile::tempdir().expect("a folder");
    Box::pin(all(Arc::new(crate::embedded::open(folder.path())), "t")).await;
}

#[tokio::test]
async fn every_check_holds_over_a_database() {
    let Some(store) = crate::cql::connect().await else { return };
    Box::pin(all(Arc::new(store), &Uuid::new_v4().to_string())).await;
}

macro_rules! checks {
    ($($subject:ident: $($check:ident),+ $(,)?;)+) => {
        /// Runs every check over `store`; `prefix` must not have been used there before.
        async fn all<S: ErasableStore>(store: Arc<S>, prefix: &str) {
            $($(
                println!("{}", stringify!($check));
                $subject::$check(&world::World::new(Arc::clone(&store), &format!("{prefix}-{}", stringify!($check)))).await;
            )+)+
        }

        mod simulated {
            use crm_processor::store::simulated::{Faults, Simulated};
            use std::sync::Arc;
            $($(
                #[tokio::test]
                async fn $check() {
                    let store = Arc::new(Simulated::new(1, Faults::default()));
                    super::$subject::$check(&super::world::World::new(store, "t")).await;
                }
            )+)+
        }
    };
}

checks! {
    requests:
        a_change_takes_one_write_and_no_read_once_the_entity_is_known,
        a_command_by_ref_id_takes_one_read_and_one_write,
        a_value_that_is_there_already_is_answered_without_a_new_version,
        an_unknown_external_id_is_refused_with_one_write,
        an_unknown_ref_id_is_refused_with_one_write,
        a_duplicate_gets_the_stored_answer_without_a_write,
        a_duplicate_is_known_however_it_names_the_entity,
        a_redelivery_of_the_very_record_is_no_duplicate_and_publishes_again,
        a_request_id_with_other_contents_is_refused_and_not_stored,
        a_rejection_stays_when_its_reason_is_gone,
        a_caught_panic_is_answered_and_nothing_of_it_can_take_effect_later,
        a_caught_panic_after_the_outcome_was_stored_is_answered_with_that;
    renames:
        a_rename_takes_two_writes,
        a_rename_onto_an_id_that_was_given_up_takes_three_writes,
        a_rename_onto_a_held_id_is_refused_with_two_writes,
        an_old_external_id_no_longer_resolves,
        a_duplicate_by_the_id_that_was_given_up_gets_its_answer,
        a_duplicate_by_an_id_that_another_took_gets_its_answer,
        a_record_finds_its_own_change_though_the_next_holder_used_the_same_request_id,
        a_duplicate_is_known_under_each_id_that_was_given_up_since,
        what_an_entity_decides_after_it_gave_an_id_up_is_no_answer_under_that_id,
        a_duplicate_of_a_rename_makes_nobody_a_previous_owner,
        an_entity_can_go_back_to_its_old_id,
        of_two_renames_to_one_id_one_is_refused,
        two_processes_at_one_record_apply_it_once;
    creations:
        a_creation_below_a_known_superior_takes_two_writes_and_one_read,
        a_creation_sets_what_was_given_and_is_shown,
        a_creation_with_a_held_id_is_refused_for_ever,
        a_creation_below_nobody_is_refused_for_ever,
        a_creation_below_a_deactivated_superior_is_refused,
        a_superior_that_another_process_changed_is_not_taken_from_the_cache,
        of_two_creations_with_one_id_one_is_refused,
        two_processes_at_one_creation_create_once,
        a_creation_with_other_contents_reuses_its_request_id,
        a_creation_with_an_id_that_was_given_up_takes_three_writes,
        a_claim_of_a_dead_creator_is_completed_by_who_names_the_id,
        a_claim_of_a_dead_creator_is_completed_by_who_wants_the_id,
        a_claim_of_a_dead_creator_is_completed_by_its_redelivery,
        a_claim_of_a_dead_creator_keeps_its_superior,
        a_creation_that_was_given_up_creates_nothing,
        an_imported_entity_is_not_created,
        an_update_before_the_creation_under_its_request_id_counts,
        what_the_created_entity_knows_outweighs_an_earlier_refusal,
        a_created_entity_that_was_renamed_is_still_the_answer,
        the_first_name_of_a_created_entity_can_be_erased;
    inquiries:
        a_rename_of_a_dead_process_is_completed_by_a_reader_who_meets_it,
        a_creation_of_a_dead_process_is_completed_by_a_reader_who_meets_it,
        a_reader_who_asks_for_other_contents_learns_that_the_request_id_is_taken,
        a_reader_finds_the_answer_of_a_previous_owner_by_the_contents;
    dead:
        a_claim_of_a_dead_process_is_completed_by_who_names_the_wanted_id,
        a_claim_of_a_dead_process_is_completed_by_who_wants_the_id,
        a_claim_of_a_dead_process_is_completed_by_its_redelivery,
        a_claim_that_was_overtaken_by_another_rename_can_be_replaced,
        a_claim_is_not_completed_twice,
        a_claim_whose_request_was_given_up_can_be_replaced,
        a_reused_request_id_does_not_change_what_a_claim_was_made_for;
    folding:
        a_run_takes_one_write,
        a_run_of_the_largest_commands_is_decided,
        a_run_may_be_longer_than_a_read,
        what_one_write_has_no_room_for_goes_into_the_next,
        what_is_behind_a_rename_is_folded,
        a_duplicate_in_a_run_sees_the_first_ones_outcome,
        a_run_of_renames_is_decided_one_after_another,
        a_run_for_nobody_takes_one_write;
    imports:
        an_import_creates_what_is_not_there_and_leaves_what_is,
        an_import_that_contradicts_what_is_there_does_nothing,
        an_import_takes_an_id_that_was_given_up,
        a_late_claim_of_an_import_hides_nothing_that_its_entity_decided_since,
        an_interrupted_import_is_completed_by_the_next,
        an_interrupted_import_is_completed_by_a_command,
        an_entity_is_shown_with_its_changes;
    erasing:
        former_names_are_erased_and_the_present_one_stays,
        a_duplicate_gets_the_redacted_answer_and_is_not_applied_again,
        a_present_name_that_was_one_before_stays,
        what_is_decided_meanwhile_is_left_to_the_next_run,
        who_held_an_id_is_known_after_erasing,
        nobody_is_there_to_be_erased;
    ahead:
        a_command_that_was_read_ahead_takes_one_write_and_no_read,
        a_turn_waits_for_what_is_being_read_ahead,
        what_a_turn_is_reading_is_not_read_ahead,
        a_turn_goes_on_when_what_reads_ahead_is_gone,
        what_was_read_ahead_and_has_changed_since_is_read_again,
        a_duplicate_that_is_read_ahead_takes_no_write,
        an_unknown_id_that_is_read_ahead_is_refused_only_if_nobody_has_it_at_its_turn,
        what_a_rename_names_is_read_ahead;
    upgrades:
        an_outcome_of_a_newer_release_is_waited_for,
        a_claim_of_a_newer_release_is_waited_for;
    cache:
        a_cached_entity_that_another_process_changed_is_read_again,
        a_cached_id_that_changed_hands_is_read_again,
        who_was_refused_before_the_id_was_claimed_is_refused_again_though_the_holder_is_cached,
        an_id_that_nobody_had_is_remembered_by_who_gives_it_to_an_entity,
        who_was_served_by_a_previous_owner_is_answered_so_though_the_holder_is_cached;
}
