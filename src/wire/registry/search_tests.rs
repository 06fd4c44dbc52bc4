//! What is concluded from each answer, by what the registry says about our own schemas, and after how long.

use super::*;
use crate::wire::registry::RegistryRemedy;

const ID: SchemaId = SchemaId::Number(7);
const BOUND: Duration = Duration::from_secs(60);
const ODD: OddAnswer = OddAnswer::DeadLetterAfter(BOUND);

fn fault() -> RegistryFault {
    RegistryFault::new("fetching the schema with id 7", "http://registry", "it answered 403 Forbidden", RegistryRemedy::Grant)
}

fn away() -> Sameness {
    Sameness::Away(fault())
}

fn differs() -> Sameness {
    Sameness::Differs("id 1 is another one".into())
}

/// Returns the class of the conclusion, "a schema" if the schema is known; `None` if the registry is asked again.
fn class(step: SearchStep) -> Option<&'static str> {
    match step {
        SearchStep::Conclude(Ok(_)) => Some("a schema"),
        SearchStep::Conclude(Err(reason)) => Some(reason.class_name()),
        SearchStep::AskAgain(pause) => {
            assert!(!pause.is_zero() && pause <= LONGEST, "{pause:?}");
            None
        }
    }
}

#[test]
fn an_id_is_unknown_only_after_some_seconds_in_which_the_registry_knew_our_own() {
    let start = Instant::now();
    let mut search = SchemaSearch::new(false);
    let mut after = |seconds: u64, standing: &Sameness| {
        class(search.judge(ID, RegistryAnswer::Unknown, standing, ODD, start + Duration::from_secs(seconds)))
    };
    assert_eq!(after(0, &Sameness::Same), None);
    assert_eq!(after(4, &Sameness::Same), None);
    assert_eq!(after(5, &away()), None, "it may have lost what it had");
    assert_eq!(after(6, &Sameness::Same), None, "the time begins anew");
    assert_eq!(after(10, &Sameness::Same), None);
    assert_eq!(after(10, &differs()), None);
    assert_eq!(after(11, &Sameness::Same), None);
    assert_eq!(after(16, &Sameness::Same), Some("crm.UnknownSchemaId"));
}

#[test]
fn an_odd_answer_is_final_after_what_the_operator_chose_and_only_while_the_registry_answers_about_others() {
    let start = Instant::now();
    for (odd_answer, expected) in [(ODD, Some("crm.OddRegistryAnswer")), (OddAnswer::Wait, None)] {
        let mut search = SchemaSearch::new(false);
        let mut after = |seconds: u64, standing: &Sameness| {
            let now = start + Duration::from_secs(seconds);
            (
                class(search.judge(ID, RegistryAnswer::Fault(fault()), standing, odd_answer, now)),
                search.odd(now).map(|(_, lasts)| lasts.as_secs()),
            )
        };
        assert_eq!(after(0, &Sameness::Same), (None, Some(0)));
        assert_eq!(after(59, &Sameness::Same), (None, Some(59)));
        assert_eq!(after(60, &away()), (None, None), "that says nothing about this schema");
        assert_eq!(after(1_000, &away()), (None, None));
        assert_eq!(after(2_000, &Sameness::Same), (None, Some(0)));
        assert_eq!(after(2_060, &Sameness::Same), (expected, Some(60)), "{odd_answer:?}");
    }
}

#[test]
fn what_was_concluded_before_needs_one_more_answer_and_no_more_time() {
    let now = Instant::now();
    for (found, odd_answer, expected) in [
        (RegistryAnswer::Unknown, ODD, Some("crm.UnknownSchemaId")),
        (RegistryAnswer::Fault(fault()), ODD, Some("crm.OddRegistryAnswer")),
        (RegistryAnswer::Fault(fault()), OddAnswer::Wait, None),
    ] {
        let what = format!("{found:?} {odd_answer:?}");
        assert_eq!(class(SchemaSearch::new(true).judge(ID, found, &Sameness::Same, odd_answer, now)), expected, "{what}");
        assert_eq!(class(SchemaSearch::new(true).judge(ID, RegistryAnswer::Unknown, &away(), odd_answer, now)), None, "{what}");
    }
}

#[test]
fn a_schema_is_known_at_once_but_not_from_a_registry_that_has_lost_ours() {
    let now = Instant::now();
    let known = || RegistryAnswer::Known(Err(Unreadable::UnknownRecordName { name: "x".into() }));
    for (standing, expected) in [(Sameness::Same, Some("crm.UnknownRecordName")), (differs(), None), (away(), None)] {
        assert_eq!(class(SchemaSearch::new(false).judge(ID, known(), &standing, ODD, now)), expected, "{standing:?}");
    }
}

#[test]
fn questions_become_rarer_up_to_a_bound() {
    let now = Instant::now();
    let cases: [(fn() -> RegistryAnswer, Duration); 2] =
        [(|| RegistryAnswer::Unknown, LONGEST_WHILE_UNKNOWN), (|| RegistryAnswer::Fault(fault()), LONGEST)];
    for (found, longest) in cases {
        let mut search = SchemaSearch::new(false);
        let mut pauses = Vec::new();
        for _ in 0..10 {
            let SearchStep::AskAgain(pause) = search.judge(ID, found(), &Sameness::Same, ODD, now) else { panic!("not yet") };
            pauses.push(pause);
        }
        assert_eq!(pauses[..3], [FIRST_PAUSE, FIRST_PAUSE * 2, FIRST_PAUSE * 4]);
        assert_eq!(pauses[9], longest);
    }
}
